"""IkeEvents of one SESSION_ID -> negotiations: which records are one attempt.

A session is one SESSION_ID; a negotiation is the part of a session whose records lie closer together than
`times.NEGOTIATION_GAP`. Where a session lives as long as its IKE SA, what asks again after a refusal is the next
negotiation, however soon it comes. A record's identity is (event time, instance, message), so that learning it again changes
nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from ikestream.events import PROPOSING, Category, IkeEvent, Kind
from ikestream.negotiation import RANK, REFUSALS, SAME_MOMENT, Negotiation
from ikestream.times import MINUTE, NEGOTIATION_GAP

EventKey: TypeAlias = tuple[int, str, str]
"""(event time ms, instance, message): one record, however often and in whatever format it arrives."""

MAX_EVENTS_PER_SESSION = 1024
LATEST = 1 << 62
SESSIONLESS = "local:"
"""Lines without SESSION_ID (Network Watcher's IkeLogs.txt) share one session per local address, under this prefix."""


def identify(event: IkeEvent) -> EventKey:
    """Return the identity of the record behind `event`."""
    if event.category is Category.IKE:
        return (event.at or 0, event.instance, event.message)
    # The other categories say with fields what IKE lines say with words; their message may be empty.
    return (event.at or 0, event.instance, f"{event.message}|{event.kind}|{event.remote}|{event.text}")


@dataclass(slots=True)
class Session:
    """The records of one SESSION_ID, by identity, and the negotiations they form."""

    events: dict[EventKey, IkeEvent] = field(default_factory=dict)
    crowded: bool = False
    written: bytes | None = field(default=None, compare=False, repr=False)  # as `codec` wrote it
    _view: tuple[Negotiation, ...] | None = None

    def add(self, event: IkeEvent) -> bool:
        """Learn one record; return whether it was new."""
        key = identify(event)
        if key in self.events:
            return False
        self.events[key] = event
        if len(self.events) > MAX_EVENTS_PER_SESSION:
            self.crowded = True
            self.events = _thin_out(self.events)
            if len(self.events) > MAX_EVENTS_PER_SESSION:  # more facts a minute than any exchange has: its ends stay
                ordered, half = sorted(self.events), MAX_EVENTS_PER_SESSION // 4
                self.events = {key: self.events[key] for key in ordered[:half] + ordered[-half:]}
        self._view = self.written = None
        return True

    def drop(self, keys: Iterable[EventKey]) -> None:
        """Forget records, because what they prove was folded."""
        for key in keys:
            self.events.pop(key, None)
        self._view = self.written = None

    def negotiations(self, session: str) -> tuple[Negotiation, ...]:
        """Return the negotiations in order of start."""
        if self._view is None:
            split = _split_by_gap if not session.startswith(SESSIONLESS) else _split_by_spi
            if self.crowded:
                self.events, self.written = _thin_out(self.events), None
            ordered = sorted(self.events.values(), key=lambda e: (e.at or 0, RANK[e.kind], e.message))
            self._view = tuple(Negotiation(session, group) for group in split(ordered))
        return self._view


def _thin_out(events: dict[EventKey, IkeEvent]) -> dict[EventKey, IkeEvent]:
    """Keep of each fact its first and last record per minute.

    What the facts prove, their span and the gaps between negotiations survive a flood of repeats; and because
    first and last of a union are first and last of the parts, the result does not depend on when it is done.
    """
    facts: dict[tuple[object, ...], tuple[EventKey, EventKey]] = {}
    for key, e in events.items():
        fact = (key[0] // MINUTE, e.kind, e.name, e.code, e.proposals, e.initiator_spi, e.initiator_selectors)
        first, last = facts.get(fact, (key, key))
        facts[fact] = (min(first, key), max(last, key))
    return {key: events[key] for pair in facts.values() for key in pair}


_ASKS = PROPOSING | {Kind.SA_INIT_SENT, Kind.SA_INIT_RECEIVED}
"""What an exchange begins with."""
_NOTIFIES = frozenset({Kind.NOTIFY_SENT, Kind.NOTIFY_RECEIVED})


def _split_by_gap(ordered: list[IkeEvent]) -> list[list[IkeEvent]]:
    groups: list[list[IkeEvent]] = []
    last, refused, cleaned = 0, LATEST, LATEST
    for event in ordered:
        at = event.at or 0
        if (
            not groups
            or at - last > NEGOTIATION_GAP
            or (event.kind in _ASKS and at - refused > SAME_MOMENT)
            or (event.kind is Kind.CLEANUP_QM and at - cleaned > SAME_MOMENT)
        ):
            groups.append([])
            refused = cleaned = LATEST
        groups[-1].append(event)
        last = at
        if event.kind is Kind.CLEANUP_QM:
            refused = cleaned = at
        elif event.kind in _NOTIFIES and event.name in REFUSALS:
            refused = at
    return groups


def _split_by_spi(ordered: list[IkeEvent]) -> list[list[IkeEvent]]:
    # Lines without SESSION_ID: the initiator's SPI tells attempts apart, and a line without one belongs to the
    # attempt that spoke last.
    groups: list[list[IkeEvent]] = []
    by_spi: dict[str, list[IkeEvent]] = {}
    current: list[IkeEvent] = []
    for event in ordered:
        if event.initiator_spi:
            known = by_spi.get(event.initiator_spi)
            # Lines of the attempt that come before its first SPI: only a fresh group without one may take it.
            if known is None and (not current or any(e.initiator_spi for e in current)):
                groups.append([])
                known = groups[-1]
            current = by_spi[event.initiator_spi] = current if known is None else known
        elif not current or (event.at or 0) - (current[-1].at or 0) > NEGOTIATION_GAP:
            current = []
            groups.append(current)
        current.append(event)
    return groups
