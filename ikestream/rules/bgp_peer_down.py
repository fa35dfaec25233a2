"""BgpPeerDown: a BGP session inside a tunnel that stands has fallen and not come back (facts 2.20).

RouteDiagnosticLog says that the session to a peer's inner address fell. It is a fault of its own only if the tunnels
stood 200 seconds before and after: BGP notices a dead tunnel after its hold time of 180 seconds, and then it is the
symptom. A session that another instance holds to the same address is no loss. Which tunnel carries a session is not
in the event (its layout is not published): an inventory knows whose address it is; without one it is told of the tunnel
if only one was up, else of the gateway.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ikestream.events import IkeEvent, Kind
from ikestream.finding import ActionOn, Cause, Confidence, FailedStep, Finding, Hypothesis, Severity
from ikestream.inventory import Connections
from ikestream.inventory.connections import NOTHING
from ikestream.rules.gateway import drops, up_on
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
    crowd: bool  # every session of the gateway fell with it
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
        inside = connections.inside(address)
        owner = inside.remote if inside is not None and inside.remote in gateway.tunnels else ""
        # Whose tunnel it is in is known, or any of them may have carried it.
        tunnels = [gateway.tunnels[owner]] if owner else [t for t in gateway.tunnels.values() if t.known()]
        if any(drops(t, start - SETTLED, start + SETTLED) for t in tunnels):
            continue
        remotes = tuple(sorted(t.remote for t in tunnels if up_on(t, start)))
        if not remotes:
            continue
        together = {other for other, event, _ in falls if abs((event.at or 0) - start) <= TOGETHER}
        lines = (lost,) if back is None else (lost, back)
        crowd = len(together) > 1 and len(together) == len(sessions)
        found.append(Fallen(address, start, up, remotes, lines, crowd, owner))
    return tuple(found)


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
        told += " Every BGP session of the gateway fell with it."
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
        severity=Severity.ERROR,
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
