"""BgpPeerDown: a BGP session inside a tunnel that stands has fallen and not come back (facts 2.20).

RouteDiagnosticLog says that the session to a peer's inner address fell. It is a fault of its own only if the tunnels
stood 200 seconds before and after: BGP notices a dead tunnel after its hold time of 180 seconds, and then it is the
symptom; so it is of a leg that has long been down on the instance that lost the session. A session that another instance
holds to the same address is no loss. That every session of an instance fell at once speaks for maintenance, which is then
the first hypothesis; but it is told, because routes are missing and three minutes were not enough. Which tunnel carries a session is not
in the event (its layout is not published): an inventory knows whose address it is; without one it is told of the tunnel
if only one was up, else of the gateway.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ikestream.events import IkeEvent, Kind
from ikestream.finding import ActionOn, Cause, Confidence, FailedStep, Finding, Hypothesis, Severity
from ikestream.inventory import Connections
from ikestream.inventory.connections import NOTHING
from ikestream.rules.gateway import drops, up_on, went_down_on
from ikestream.times import SECOND
from ikestream.tunnel import Gateway

SETTLED = 200 * SECOND
"""The tunnels must have stood this long before and after: BGP's hold time of 180 s and some."""
TOGETHER = 120 * SECOND


@dataclass(frozen=True, slots=True)
class Fallen:
    """A session that fell while the tunnels stood: the peer's inner address, the tunnels' peers that were up, the
    lines. `up` is when it came back, None while it has not."""

    address: str
    start: int
    up: int | None
    remotes: tuple[str, ...]
    lines: tuple[IkeEvent, ...]
    crowd: bool  # every session of its instance fell with it
    beside: bool = False  # another session of the same tunnel stood all the time
    owner: str = ""  # the tunnel whose inner address it is, as configured

    @property
    def remote(self) -> str:
        """The tunnel it belongs to, '' if that cannot be told."""
        if self.owner:
            return self.owner
        return self.remotes[0] if len(self.remotes) == 1 else ""


def fallen(gateway: Gateway, now: int, connections: Connections = NOTHING) -> tuple[Fallen, ...]:
    """Return the sessions that fell and were down for long enough, oldest first."""
    sessions: dict[str, list[IkeEvent]] = {}
    for _, event in sorted(gateway.marks.items()):
        if event.kind in (Kind.BGP_UP, Kind.BGP_DOWN) and event.text:
            sessions.setdefault(event.text, []).append(event)
    falls = [(address, *fall) for address, events in sessions.items() for fall in _falls(events)]
    found = []
    for address, lost, back in sorted(falls, key=lambda f: (f[1].at or 0, f[0])):
        start = lost.at or 0
        up = back.at or 0 if back is not None else None
        if (now if up is None else up) < start + SETTLED:
            continue
        owner = _owner(connections, address)
        owner = owner if owner in gateway.tunnels else ""
        # Whose tunnel it is in is known, or any of them may have carried it.
        tunnels = [gateway.tunnels[owner]] if owner else [t for t in gateway.tunnels.values() if t.known()]
        if any(drops(t, start - SETTLED, start + SETTLED) for t in tunnels):
            continue
        remotes = tuple(
            sorted(t.remote for t in tunnels if up_on(t, start) and not went_down_on(t, lost.instance, start))
        )
        if not remotes:
            continue
        lines = (lost,) if back is None else (lost, back)
        fall = Fallen(address, start, up, remotes, lines, crowd=_fell_alike(lost, sessions), owner=owner)
        # Of several tunnels each has its own sessions, and only an inventory tells whose is which.
        own = (o for o in sessions if o != address and (_owner(connections, o) == owner if owner else fall.remote))
        found.append(replace(fall, beside=any(_stood(sessions[o], start, now if up is None else up) for o in own)))
    return tuple(found)


def _owner(connections: Connections, address: str) -> str:
    inside = connections.inside(address)
    return inside.remote if inside is not None else ""


def _fell_alike(lost: IkeEvent, sessions: dict[str, list[IkeEvent]]) -> bool:
    """Whether every session of the instance, at least two, fell at that time."""
    here = [[e for e in events if e.instance == lost.instance] for events in sessions.values()]
    here = [events for events in here if events]
    fell = [
        events
        for events in here
        if any(e.kind is Kind.BGP_DOWN and abs((e.at or 0) - (lost.at or 0)) <= TOGETHER for e in events)
    ]
    return len(here) > 1 and len(fell) == len(here)


def _stood(events: list[IkeEvent], start: int, end: int) -> bool:
    """Whether a session was up from `start` to `end`, as far as its lines show; events in order."""
    known = any(
        (e.kind is Kind.BGP_UP and (e.at or 0) <= start) or (e.kind is Kind.BGP_DOWN and (e.at or 0) > end)
        for e in events
    )
    return known and all(
        (lost.at or 0) > end or (back is not None and (back.at or 0) < start) for lost, back in _falls(events)
    )


def _falls(events: list[IkeEvent]) -> Iterator[tuple[IkeEvent, IkeEvent | None]]:
    """Yield each (line with which the last session to this address fell, line with which one came back)."""
    up: set[str] = set()
    lost: IkeEvent | None = None
    for event in events:
        if event.kind is Kind.BGP_UP:
            up.add(event.instance)
            if lost is not None:
                yield lost, event
                lost = None
        else:
            up.discard(event.instance)
            if not up and lost is None:
                lost = event
    if lost is not None:
        yield lost, None


def judge(session: Fallen) -> Finding:
    """Return the finding for one session."""
    where = "the tunnel" if session.remote else f"{len(session.remotes)} tunnels of this gateway"
    told = (
        f"The BGP session to {session.address} fell; {where} stood before and after, so the tunnel is not the reason."
    )
    if session.crowd:
        told += " Every BGP session of the instance fell with it."
    if session.beside:
        told += " Another session of the tunnel stands, so routes are still learned."
    if not session.remote:
        told += " Which tunnel carries this session is not in the log."
    return Finding(
        cause=Cause.BGP_PEER_DOWN,
        confidence=Confidence.MEDIUM if session.crowd else Confidence.HIGH,
        explanation=told,
        action_on=ActionOn.UNKNOWN if session.crowd else ActionOn.PEER,
        failed_step=FailedStep.BGP,
        hypotheses=(_MAINTENANCE, *_HYPOTHESES) if session.crowd else _HYPOTHESES,
        missing_evidence="The peer's BGP log at this minute: it names the notification that ended the session.",
        severity=Severity.WARNING if session.beside else Severity.ERROR,
        evidence=session.lines,
    )


_MAINTENANCE = Hypothesis(
    "Azure did maintenance on the gateway",
    Confidence.MEDIUM,
    "Look in the portal at the state of the gateway and at Service Health for this minute.",
)
_HYPOTHESES = (
    Hypothesis(
        "TCP port 179 or the route to the other BGP address does not pass the tunnel any more",
        Confidence.MEDIUM,
        "At the peer, ping Azure's BGP address through the tunnel from the peer's own BGP address.",
    ),
    Hypothesis(
        "The peer announces more than 4,000 prefixes, which Azure answers by ending the session",
        Confidence.MEDIUM,
        "Count the prefixes that the peer announces to Azure.",
    ),
    Hypothesis(
        "ASN or BGP address was changed on one side",
        Confidence.LOW,
        "Compare both with the local network gateway. With APIPA addresses the device must start the session.",
    ),
)
