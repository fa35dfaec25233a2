"""Gateway -> what happened to it, and to its other tunnels, when this one went down.

A tunnel's drop has its reason in the gateway if the gateway's other tunnels dropped too. What the others did is read
from the lines that say so by themselves, never from a verdict about them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ikestream.episode import Situation
from ikestream.events import IkeEvent, Kind
from ikestream.rules.ending import How, read
from ikestream.timeline import Outcome
from ikestream.times import MINUTE, SECOND
from ikestream.tunnel import Tunnel

BEFORE = 5 * MINUTE
AFTER = 10 * MINUTE
"""A gateway event this near a drop may be its reason; Azure may write it minutes late (facts 2.17, DG')."""
TOGETHER = 120 * SECOND
"""Legs that drop within this time dropped together (facts 2.17, 3.7)."""


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Legs as (remote address, instance): those that dropped with this tunnel, and all that were up before."""

    fell: frozenset[tuple[str, str]]
    stood: frozenset[tuple[str, str]]

    def on(self, instances: Iterable[str]) -> Neighbours:
        """Return those of some instances; '' among them, or as a leg's instance, stands for any."""
        kept = frozenset(instances)
        if "" in kept:
            return self
        return Neighbours(
            *(frozenset(leg for leg in legs if leg[1] in kept | {""}) for legs in (self.fell, self.stood))
        )

    @property
    def peers(self) -> int:
        """How many peers' tunnels dropped."""
        return len({remote for remote, _ in self.fell})

    @property
    def of(self) -> int:
        """How many peers' tunnels were up before."""
        return len({remote for remote, _ in self.stood})


def near(situation: Situation, kind: Kind, before: int = BEFORE, after: int = AFTER) -> list[IkeEvent]:
    """Return the gateway's events of one kind around the drop, in event order."""
    start = situation.episode.start
    return [e for e in situation.gateway_events if e.kind is kind and start - before <= (e.at or 0) <= start + after]


def neighbours(situation: Situation, *how: How) -> Neighbours:
    """Return which legs of the gateway dropped together with this tunnel, its own included; only those that dropped
    in one of the ways `how`, if any is given."""
    start = situation.episode.start
    fell: set[tuple[str, str]] = set()
    stood: set[tuple[str, str]] = set()
    for tunnel in situation.gateway.tunnels.values():
        if not tunnel.known():
            continue
        dropped = {
            (tunnel.remote, e.instance)
            for e in drops(tunnel, start - TOGETHER, min(start + TOGETHER, situation.until))
            if not how or read(e) in how
        }
        fell |= dropped
        stood |= dropped or {(tunnel.remote, i) for i in up_on(tunnel, start - TOGETHER)}
    own = {(situation.tunnel.remote, instance) for instance in instances(situation)}
    return Neighbours(frozenset(fell | own), frozenset(stood | own))


def drops(tunnel: Tunnel, first: int, last: int) -> list[IkeEvent]:
    """Return the lines from `first` to `last` that say a leg of the tunnel went down."""
    return [e for e in (*tunnel.ends.values(), *tunnel.marks.values()) if first <= (e.at or 0) <= last and _drops(e)]


def _drops(event: IkeEvent) -> bool:
    # A delete of the peer ends every SA that has a successor, too: alone it is no drop.
    return event.kind is Kind.TUNNEL_DOWN or (
        event.kind is Kind.CLOSED and read(event) not in (How.ENDED, How.DELETED, How.UNSAID)
    )


def instances(situation: Situation) -> frozenset[str]:
    """Return where this tunnel's legs were when they dropped; '' where no line says it."""
    found = set()
    for change in situation.downs:
        if change.mark is not None:
            found.add(change.mark.instance)
        elif change.negotiation is not None:
            found.add(change.negotiation.instance)
    return frozenset(found or {""})


def went_down_on(tunnel: Tunnel, instance: str, at: int) -> bool:
    """Whether the newest word of the Tunnel log about `instance` before `at` is that the tunnel is down there."""
    said = [((e.at or 0), e.kind is Kind.TUNNEL_UP) for e in tunnel.marks.values() if e.instance == instance]
    return not max((s for s in said if s[0] < at), default=(0, True))[1]


def up_on(tunnel: Tunnel, at: int) -> set[str]:
    """Return the instances on which the tunnel was up at `at`, as far as the lines before it show."""
    said: dict[str, tuple[int, bool]] = {}
    for e in tunnel.marks.values():
        if (e.at or 0) < at:
            said[e.instance] = max(said.get(e.instance, (0, False)), (e.at or 0, e.kind is Kind.TUNNEL_UP))
    if said:
        return {instance for instance, (_, up) in said.items() if up}
    agreed = [
        (n.child_agreed_at, n.instance)
        for n in tunnel.recent()
        if n.child_agreed_at is not None and n.child_agreed_at < at
    ]
    agreed += [
        (when, n.instance)
        for span in tunnel.spans
        if span.outcome == Outcome.SUCCEEDED
        for n, when in ((span.first, span.first_at), (span.last, span.last_at))
        if when < at
    ]
    if not agreed:
        return set()
    newest, instance = max(agreed)
    # A successor comes before its predecessor's end: only an end well after it took the tunnel down.
    ended = any(newest + MINUTE < (e.at or 0) < at for e in tunnel.ends.values())
    return set() if ended else {instance}
