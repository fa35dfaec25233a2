"""Records of a saved log -> rows: learning and telling with the log's own clock.

Records with times come in event-time order; a tunnel is judged at the first tick after each instant at which
something about it may change, and after the last record the clock runs on until no deadline is pending. Records
without times have no
clock: their place in the file stands in for it, no hold applies, and one definite refusal is enough.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from ikestream.estate import Estate
from ikestream.events import IkeEvent, Kind, Record
from ikestream.grammar import read
from ikestream.incident import Pace, Row
from ikestream.inventory import Inventory
from ikestream.tick import tell
from ikestream.times import CLOCKLESS, LIVE, TICK

MAX_SHAPES = 256
NO_INVENTORY = Inventory()
THE_END = 1 << 42
"""After every place in a file that can stand in for a time."""
Keep: TypeAlias = Callable[[Estate, int], None]
"""Called at the end with everything known and the instant as of which it was judged, for whoever draws it."""


@dataclass(slots=True)
class Tally:
    """What a run saw, for the summary: records, lines not read by shape, and addresses that were not judged."""

    records: int = 0
    unread: Counter[str] = field(default_factory=Counter)
    strangers: dict[str, int] = field(default_factory=dict)  # address -> negotiations

    def count(self, event: IkeEvent) -> None:
        """Count one event."""
        self.records += 1
        if event.kind is Kind.UNREAD and (event.shape in self.unread or len(self.unread) < MAX_SHAPES):
            self.unread[event.shape] += 1
        elif event.kind is Kind.UNREAD:
            self.unread["(other shapes)"] += 1


def replay(
    records: Iterable[Record],
    tally: Tally,
    peers: frozenset[str] = frozenset(),
    inventory: Inventory = NO_INVENTORY,
    keep: Keep | None = None,
) -> Iterator[Row]:
    """Yield every revision in the order told, for records with times in event-time order."""
    store = Estate(peers, grid=TICK, inventory=inventory)
    end = 0
    for record in records:
        event = read(record)
        tally.count(event)
        at = event.at or 0
        while (due := store.next_due()) is not None and due < at:
            yield from tell(store, due, LIVE, Pace.REPLAY)
        # Nothing a record brings can be told before the hold, and earlier deadlines stand beside it.
        store.learn(event, at + LIVE.hold)
        end = max(end, at)
    now = 0
    while (due := store.next_due()) is not None:
        now = due
        yield from tell(store, due, LIVE, Pace.REPLAY, end)
    yield from _finish(store, now, end, tally)
    if keep is not None:
        keep(store, now)


def replay_clockless(
    records: Iterable[Record],
    tally: Tally,
    peers: frozenset[str] = frozenset(),
    inventory: Inventory = NO_INVENTORY,
    keep: Keep | None = None,
) -> Iterator[Row]:
    """Yield the verdicts for records without times, in file order; their rows carry no times."""
    store = Estate(peers, inventory=inventory)
    events = [read(record) for record in records]
    # From 1: what stands at 0 counts as folded long ago.
    for place, event in enumerate(reversed(events) if _newest_first(events) else events, start=1):
        tally.count(event)
        store.learn(replace(event, at=place), THE_END)
    for row in tell(store, THE_END, CLOCKLESS, Pace.FINAL):
        yield {**row, "TimeGenerated": None}
    _note_strangers(store, tally)
    if keep is not None:
        keep(store, THE_END)


def _finish(store: Estate, now: int, end: int, tally: Tally) -> Iterator[Row]:
    for scope in store.scopes():
        store.schedule(scope, now)
    yield from tell(store, now, LIVE, Pace.FINAL, end)
    _note_strangers(store, tally)


def _note_strangers(store: Estate, tally: Tally) -> None:
    for gateway in store.gateways.values():
        for tunnel in gateway.tunnels.values():
            if not tunnel.known():
                tally.strangers[tunnel.remote] = tally.strangers.get(tunnel.remote, 0) + len(tunnel.recent())


_FIRST = frozenset({Kind.SA_INIT_SENT, Kind.SA_INIT_RECEIVED})
_LAST = frozenset({Kind.CLOSED, Kind.NOTIFY_SENT, Kind.NOTIFY_RECEIVED})

# What is written in one moment stands in any order, so only steps that the network lies between count.
_STEPS = {
    kind: step
    for step, kinds in enumerate(
        (
            _FIRST,
            {Kind.SA_INIT_ANSWERED},
            {Kind.AUTH_SENT, Kind.AUTH_RECEIVED},
            {*_LAST, Kind.CLEANUP_MM, Kind.CLEANUP_QM, Kind.ERROR},
        )
    )
    for kind in kinds
}


def _newest_first(events: list[IkeEvent]) -> bool:
    """Tell from the sessions themselves which way lines without times are sorted: most begin with SA_INIT.

    Where no line names a session, from line to line of one peer: an exchange goes up in many steps and down in one.
    """
    places: dict[str, list[tuple[int, bool]]] = {}
    for place, event in enumerate(events):
        if event.session and (event.kind in _FIRST or event.kind in _LAST):
            places.setdefault(event.session, []).append((place, event.kind in _FIRST))
    backwards = forwards = 0
    for marks in places.values():
        begins = [place for place, first in marks if first]
        ends = [place for place, first in marks if not first]
        if begins and ends:
            backwards += max(begins) > min(ends)
            forwards += min(begins) < max(ends)
    if not places:
        steps: dict[tuple[str, str], int] = {}
        for event in events:
            step = _STEPS.get(event.kind)
            if step is not None:
                before = steps.get((event.remote, event.local), step)
                forwards += step > before
                backwards += step < before
                steps[event.remote, event.local] = step
    return backwards > forwards
