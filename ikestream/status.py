"""Tunnel -> timeline: when each leg was up and down, as far as the facts show by a given instant.

Up is positive evidence only; silence is neither up nor down. A close is no failure by itself. All of it is
a pure function of the facts and of `now`, the instant up to which everything has been read.

A BGP session that comes up (facts 3.3) is not taken for a tunnel that is: its address is one inside the peer's network, which
another tunnel of the site may lead to just as well, and believed up what is down would hide an outage.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from operator import attrgetter

from ikestream import codes
from ikestream.events import IkeEvent, Kind
from ikestream.inventory import Ended
from ikestream.legs import Legs
from ikestream.negotiation import Initiator, Negotiation
from ikestream.timeline import (
    FAILED,
    REMOVED,
    Change,
    Conclusion,
    Interval,
    LegStatus,
    Outcome,
    State,
    Timeline,
    conclude,
)
from ikestream.times import Times
from ikestream.tunnel import Attempt, Attempts, Gateway, Tunnel
from ikestream.walk import walk


def observe(
    gateway: Gateway,
    tunnel: Tunnel,
    extra: Iterable[tuple[str, IkeEvent]],
    now: int,
    times: Times,
    ended: Iterable[Ended] = (),
    *,
    deaf: bool = False,
) -> Timeline:
    """Return the timeline of `tunnel` at `now`; `extra` are (session, event) of waiting lines it owns, `ended` when its
    connection went. `deaf`: Azure is configured to be called by nobody, so a peer's call that nobody answers is no sign
    of life of the tunnel."""
    recent = _join(tunnel.recent(), extra)
    deadlines: set[int] = set()
    view = id(times)
    conclusions: dict[Negotiation, Conclusion] = {}
    attempts: dict[Negotiation, Attempts] = {}
    for span in tunnel.spans:
        for n, outcome, at in ((span.first, span.outcome, span.first_at), (span.last, span.outcome, span.last_at)):
            conclusions[n] = Conclusion(Outcome(outcome), at)
            attempts[n] = span.attempts
    for n in recent:
        known = n.final.get(view)
        if known is None:
            concluded = conclude(n, now, times)
            known = (concluded, Attempts(frozenset((n.identity,)), (Attempt(concluded.at, n.session, n.spis),)))
            if concluded.outcome is Outcome.PENDING:
                deadlines.update((n.end + times.stall, (n.child_agreed_at or 0) + times.confirm))
            else:
                n.final[view] = known  # its records are fixed, so time cannot change it any more
        conclusions[n], attempts[n] = known
    negotiations = sorted(conclusions, key=attrgetter("order"))
    leg_of = Legs(tunnel, negotiations)
    # When anything at all came from the peer, on whichever leg.
    received = sorted(
        n.heard_at
        for n in recent
        if n.heard_at is not None and not (deaf and n.initiator is Initiator.PEER and n.depth == 0)
    )
    by_leg: dict[str, list[Negotiation]] = {leg: [] for leg in leg_of.names}
    for n in recent:
        by_leg[n.local or leg_of.name("", n.instance)].append(n)
    changes = [replace(c, leg=leg_of.name("", c.leg)) if c.leg in tunnel.homes else c for c in tunnel.folded_changes]
    for leg in leg_of.names:
        changes += walk(
            gateway,
            leg,
            leg_of,
            tunnel,
            by_leg[leg],
            received,
            conclusions,
            now,
            times,
            deadlines,
            [c for c in changes if c.leg == leg],
        )
    changes.sort(key=lambda c: (c.at, c.state is State.UP, c.leg))
    gone = _removals(tunnel, ended)
    return Timeline(
        negotiations=tuple(negotiations),
        conclusions=conclusions,
        attempts=attempts,
        changes=tuple(changes),
        downs=tuple(_cut(_downs(changes), gone, conclusions, now, times, deadlines)),
        legs=tuple(_newest(leg, leg_of, changes) for leg in leg_of.names),
        deadlines=frozenset(d for d in deadlines if d > now),
        pending=any(c.outcome is Outcome.PENDING for c in conclusions.values()),
        removals=tuple(gone),
        marks=leg_of.marks,
    )


def _join(negotiations: list[Negotiation], extra: Iterable[tuple[str, IkeEvent]]) -> list[Negotiation]:
    joined = list(negotiations)
    for session, event in extra:
        near = [n for n in joined if n.session == session]
        nearest = min(near, key=lambda n: (abs(n.start - (event.at or 0)), n.start), default=None)
        if nearest is not None:
            joined[joined.index(nearest)] = Negotiation(session, [*nearest.events, event])
    return joined


def _downs(changes: list[Change]) -> tuple[Interval, ...]:
    """Return when the tunnel was down: no leg up, at least one down, and none that was ever up in an unknown state."""
    states: dict[str, State] = {}
    downs: list[Interval] = []
    start: int | None = None
    for change in changes:
        states[change.leg] = change.state
        down = State.UP not in states.values() and State.DOWN in states.values()
        if down and start is None:
            start = change.at
        elif not down and start is not None:
            if change.at > start:
                downs.append(Interval(start, change.at))
            start = None
    if start is not None:
        downs.append(Interval(start, None))
    return tuple(downs)


def _removals(tunnel: Tunnel, ended: Iterable[Ended]) -> dict[int, bool]:
    """Return when the connection went from Azure, in order, and whether it goes to another address since."""
    said = {
        e.at or 0: False for e in tunnel.marks.values() if e.kind is Kind.TUNNEL_DOWN and REMOVED in codes.fold(e.text)
    }
    gone = said | {e.at: e.moved_to is not None for e in ended}
    return {at: gone[at] for at in sorted(gone)}


def _cut(
    downs: Iterable[Interval],
    gone: dict[int, bool],
    conclusions: dict[Negotiation, Conclusion],
    now: int,
    times: Times,
    deadlines: set[int],
) -> Iterator[Interval]:
    """Yield the times down, ended where the connection was removed; attempts that fail later begin another one.

    Unless the tunnel is back within the hold: then it was replaced, not removed.
    """
    deadlines.update(at + times.hold_near_gateway_event for at in gone)
    for down in downs:
        start: int | None = down.start
        end = now if down.end is None else down.end
        for at, moved in gone.items():
            if start is None or not start <= at or end - at < times.hold_near_gateway_event:
                continue
            yield Interval(start, at, removed=True, moved=moved)
            # The peer may go on dialling a connection that is no more; Azure never does.
            start = min(
                (
                    concluded.at
                    for n, concluded in conclusions.items()
                    if concluded.outcome in FAILED
                    and at < n.start < end
                    and (n.initiator is Initiator.AZURE or n.reached_auth)
                ),
                default=None,
            )
        if start is not None:
            yield Interval(start, down.end)


def _newest(leg: str, legs: Legs, changes: list[Change]) -> LegStatus:
    own = [c for c in changes if c.leg == leg]
    return LegStatus(
        leg=leg,
        instance=legs.instances.get(leg, (0, ""))[1],
        state=own[-1].state if own else State.UNKNOWN,
        since=own[-1].at if own else None,
        ever_up=any(c.state is State.UP for c in own),
    )
