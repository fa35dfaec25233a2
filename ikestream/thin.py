"""Tunnel -> Tunnel, smaller still: what nobody asks for any more goes.

Of equal negotiations folding keeps two for each time that the legs stayed as they were. A tunnel that is well adds some of
those every day, and nobody ever looked at most of them again: in a month a fleet's fill a small instance. What an outage, an
advisory or a comparison that may still be told looks at stays, as does what is looked back for from however far.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from ikestream.events import PROPOSING, Kind
from ikestream.negotiation import Initiator, Negotiation
from ikestream.rules.ending import LIFETIME_OR_DELETE
from ikestream.timeline import EXCHANGE, Change, Outcome, State, Timeline
from ikestream.times import FLOOR, FOLD_HORIZON, LIVE, MINUTE
from ikestream.tunnel import Attempts, Span, Tunnel

LOOKED_BACK = 6
"""Drops, and returns, of which more is asked than when: on demand is who was called back twice, a lifetime what was seen three times."""
MAX_MARKS = 512
MANY_MARKS = 64
"""Lines of the Tunnel log that are kept whatever their age: a tunnel that is well makes so many in a week."""
_AGREED = frozenset({Outcome.SUCCEEDED, Outcome.HARMLESS})
_PAYLOADS = PROPOSING | {Kind.TS_FINAL}


class _Entry(NamedTuple):
    """One of the two negotiations that a span keeps, by when it was concluded (ms)."""

    at: int
    session: str
    place: int  # of the span
    last: bool


def thin(tunnel: Tunnel, timeline: Timeline, watermark: int, oldest: int, readings: Sequence[int]) -> None:
    """Drop what went well, days before anything that may still be told, and is neither the first nor the newest of its kind.

    What failed stays: between a drop and the return it says that the leg was not idle. `oldest` is where the earliest outage
    begins that may still be told, `readings` are when the connection was seen to be configured anew (ms).
    """
    before = _asked_since(tunnel, timeline, watermark, oldest) - LIVE.offers_age - FOLD_HORIZON
    near = [c.at for c in timeline.changes][-2 * LOOKED_BACK :]
    _thin_marks(tunnel, near, before)
    _thin_changes(tunnel, before)
    for span in tunnel.spans:
        if span.last_at < before:  # nobody counts any more how many they were
            span.attempts = Attempts(frozenset((span.last.identity,)), span.attempts.newest[:1])
    entries = [e for e in _entries(tunnel.spans) if tunnel.spans[e.place].outcome in _AGREED]
    old = [e for e in entries if e.at < before]
    if not old:
        return
    first: dict[object, _Entry] = {}
    newest: dict[object, _Entry] = {}
    for entry in old:
        kind = _kind(_negotiation(tunnel, entry), tunnel.spans[entry.place].outcome, readings)
        first[kind] = min(entry, first.get(kind, entry))
        newest[kind] = max(entry, newest.get(kind, entry))
    kept = {*first.values(), *newest.values(), *_looked_back_for(tunnel, timeline, entries)}
    gone = set(old) - kept
    spans: list[Span] = []
    for place, span in enumerate(tunnel.spans):
        has_first = _Entry(span.first_at, span.first.session, place, last=False) not in gone
        has_last = _Entry(span.last_at, span.last.session, place, last=True) not in gone
        if has_last and not has_first:
            span.first, span.first_at = span.last, span.last_at
        elif has_first and not has_last:
            span.last, span.last_at = span.first, span.first_at
        if has_first or has_last:
            spans.append(span)
    tunnel.spans = spans


def bound_marks(tunnel: Tunnel, watermark: int) -> None:
    """Drop lines of the Tunnel log that no episode can need any more: those older than the floor, but the newest of each.

    Whatever is folded or not: where there is no IKE log, nothing ever is.
    """
    if len(tunnel.marks) > MAX_MARKS // 2:
        floor = watermark - FLOOR - FOLD_HORIZON
        newest = {(mark.instance, mark.kind): key for key, mark in sorted(tunnel.marks.items())}
        kept = [key for key in sorted(tunnel.marks) if key[0] > floor or key in newest.values()]
        tunnel.marks = {key: tunnel.marks[key] for key in kept[-MAX_MARKS:]}


def _thin_marks(tunnel: Tunnel, near: Sequence[int], before: int) -> None:
    """Drop lines of the Tunnel log, but each instance's first and its newest of each kind, and those beside the newest drops."""
    if len(tunnel.marks) <= MANY_MARKS:
        return
    newest = {(mark.instance, mark.kind): key for key, mark in sorted(tunnel.marks.items())}
    first = {mark.instance: key for key, mark in sorted(tunnel.marks.items(), reverse=True)}
    kept = {*newest.values(), *first.values()}
    tunnel.marks = {
        key: mark
        for key, mark in tunnel.marks.items()
        if key[0] >= before or key in kept or any(abs(key[0] - at) <= MINUTE for at in near)
    }


def _thin_changes(tunnel: Tunnel, before: int) -> None:
    """Keep of old changes when they were and what the Tunnel log said, but each leg's newest."""
    newest = {change.leg: change for change in tunnel.folded_changes}
    tunnel.folded_changes = tuple(
        replace(c, negotiation=None) if c.negotiation is not None and c.at < before and c is not newest[c.leg] else c
        for c in tunnel.folded_changes
    )


def _asked_since(tunnel: Tunnel, timeline: Timeline, watermark: int, oldest: int) -> int:
    """Return where the earliest of all that may still be told begins: outages, legs that are away, failures without an end."""
    floor = watermark - FLOOR
    starts = [leg.since for leg in timeline.legs if leg.state is State.DOWN and leg.since is not None]
    starts += [s.start for s in tunnel.spells if not s.up and (s.end is None or s.end > floor)]
    if tunnel.folded_history is not None:
        starts += [s.first for s in tunnel.folded_history.streaks if s.healed is None or s.healed > floor]
    return min(floor, oldest, *starts)


def _entries(spans: Iterable[Span]) -> Iterator[_Entry]:
    for place, span in enumerate(spans):
        yield _Entry(span.first_at, span.first.session, place, last=False)
        yield _Entry(span.last_at, span.last.session, place, last=True)


def _negotiation(tunnel: Tunnel, entry: _Entry) -> Negotiation:
    span = tunnel.spans[entry.place]
    return span.last if entry.last else span.first


def _kind(n: Negotiation, outcome: str, readings: Sequence[int]) -> tuple[object, ...]:
    """Return what tells it from others of which somebody may ask for the newest, or the first."""
    return (
        n.local,
        n.initiator,
        outcome,
        bool(n.kinds & EXCHANGE),
        n.reached_auth,
        n.heard_at is not None,
        n.auth_method,
        (n.azure_ike, n.peer_ike, n.chosen_ike, n.azure_esp, n.peer_esp, n.chosen_esp),
        frozenset(e.kind for e in n.events if e.kind in _PAYLOADS and not e.cut),
        max((at for at in readings if at <= n.start), default=None),
    )


def _looked_back_for(tunnel: Tunnel, timeline: Timeline, entries: Sequence[_Entry]) -> Iterator[_Entry]:
    """Yield what shows who called a leg back, and how old an SA was when its lifetime may have ended."""
    good = [(e, _negotiation(tunnel, e)) for e in entries if tunnel.spans[e.place].outcome == Outcome.SUCCEEDED]
    for up in [c for c in timeline.changes if c.state is State.UP][-LOOKED_BACK:]:
        yield from (e for e, n in good if n.initiator is Initiator.PEER and abs(e.at - up.at) <= MINUTE)
    for down in [c for c in timeline.changes if c.state is State.DOWN and _may_be_lifetime(c)][-LOOKED_BACK:]:
        born = [
            e
            for e, n in good
            if e.at < down.at and n.kinds & EXCHANGE and (not n.local or not down.leg or n.local == down.leg)
        ]
        if born:
            yield max(born)


def _may_be_lifetime(down: Change) -> bool:
    return down.mark is not None and down.mark.code == LIFETIME_OR_DELETE
