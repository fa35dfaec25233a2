"""Estate -> Lanes: when each leg of each tunnel was up and down, and what the gateways did, for drawing over time."""

from __future__ import annotations

from dataclasses import dataclass

from ikestream.episode import GATEWAY_EVENTS
from ikestream.estate import Estate
from ikestream.events import Kind
from ikestream.inventory import Connections, Mode
from ikestream.negotiation import Negotiation
from ikestream.status import observe
from ikestream.timeline import Change, Outcome, State, Timeline
from ikestream.times import Times
from ikestream.tunnel import Gateway, Tunnel

MAX_SPELLS = 120
"""Of one leg, the newest: more cannot be told apart on a screen."""

MARKS = {
    Kind.MAINTENANCE: "maintenance",
    Kind.PRIMARY_CHANGED: "failover",
    Kind.CONFIGURATION: "configuration",
    Kind.BGP_DOWN: "BGP down",
    Kind.BGP_UP: "BGP up",
}


@dataclass(frozen=True, slots=True)
class Spell:
    """One leg being up or down; times are ms, `end` is the end of the log where it lasts."""

    state: State
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Lane:
    """One leg: its local address or instance, and its spells, oldest first. `left_out` older ones are not listed."""

    name: str
    spells: tuple[Spell, ...]
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Track:
    """One tunnel: its legs, and its negotiations as far as they are known whole, with how they ended."""

    gateway: str  # key
    remote: str
    connection: str
    lanes: tuple[Lane, ...]
    negotiations: tuple[tuple[Negotiation, Outcome], ...]

    @property
    def state(self) -> State:
        """Up if a leg is, down if none is and one went down, as of the end."""
        newest = {lane.spells[-1].state for lane in self.lanes if lane.spells}
        return next((s for s in (State.UP, State.DOWN) if s in newest), State.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Mark:
    """Something a gateway did, at an instant (ms)."""

    at: int
    what: str  # a value of `MARKS`
    says: str


@dataclass(frozen=True, slots=True)
class Site:
    """One gateway: its name, what it did, and its tunnels by remote address."""

    key: str
    name: str
    marks: tuple[Mark, ...]
    tracks: tuple[Track, ...]


def sites(estate: Estate, now: int, until: int, times: Times) -> list[Site]:
    """Return the gateways that have a tunnel or did something, by name; `until` (ms) is where the log ends."""
    found = []
    for key, gateway in estate.gateways.items():
        connections = estate.inventory.of(key)
        tracks = [
            _track(gateway, tunnel, connections, now, until, times)
            for _, tunnel in sorted(gateway.tunnels.items())
            if tunnel.known()
        ]
        marks = [
            Mark(event.at or 0, MARKS[event.kind], " ".join(filter(None, (event.name, event.text, event.message))))
            for _, event in sorted(gateway.marks.items())
            if event.kind in MARKS
        ]
        if tracks or any(e.kind in GATEWAY_EVENTS for e in gateway.marks.values()):
            written = gateway.name[1] if gateway.name else key
            found.append(Site(key, written.rpartition("/")[2], tuple(marks), tuple(tracks)))
    return sorted(found, key=lambda site: (site.name, site.key))


def _track(gateway: Gateway, tunnel: Tunnel, connections: Connections, now: int, until: int, times: Times) -> Track:
    extra = [(session, event) for remote, session, event in gateway.orphans() if remote == tunnel.remote]
    configured = connections.of(tunnel.remote, called=True)
    deaf = configured is not None and configured.connection.mode is Mode.INITIATOR_ONLY
    timeline = observe(gateway, tunnel, extra, now, times, connections.ended(tunnel.remote), deaf=deaf)
    return Track(
        gateway=gateway.key,
        remote=tunnel.remote,
        connection=configured.connection.name if configured is not None else "",
        lanes=tuple(_lane(leg.leg, timeline, until) for leg in timeline.legs),
        negotiations=tuple((n, timeline.conclusions[n].outcome) for n in timeline.negotiations),
    )


def _lane(leg: str, timeline: Timeline, until: int) -> Lane:
    own: list[Change] = [
        change for change in timeline.changes if change.leg == leg and change.state is not State.UNKNOWN
    ]
    ends = [change.at for change in own[1:]] + [until] * bool(own)
    spells = [Spell(c.state, c.at, max(end, c.at)) for c, end in zip(own, ends, strict=True)]
    return Lane(leg, tuple(spells[-MAX_SPELLS:]), max(len(spells) - MAX_SPELLS, 0))
