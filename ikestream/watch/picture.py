"""Batches and heads -> what is known at this moment: tunnels, incidents, and how far behind. What the screen is drawn from."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from ikestream.batch import Delivery, sort, take
from ikestream.estate import Estate, Scope
from ikestream.events import IkeEvent, Kind
from ikestream.incident import Row
from ikestream.inventory import Inventory, Mode
from ikestream.replay import Tally
from ikestream.status import observe
from ikestream.tick import tell
from ikestream.timeline import State
from ikestream.times import LIVE

SHOWN_AFTERWARDS = 5
"""Incidents that are over and still shown, newest."""
RETRACTED = ("Withdrawn", "Merged")
"""Ends of an incident that never was one, or is another."""
RATE = 60
"""Seconds over which records are counted for the rate."""


class Standing(StrEnum):
    """How a tunnel stands: some legs up and others not is degraded; nothing seen yet either way is unknown."""

    DOWN = "down"
    DEGRADED = "degraded"
    UNKNOWN = "unknown"
    UP = "up"


@dataclass(frozen=True, slots=True)
class TunnelNow:
    """One tunnel. `since` is ms, None while unknown; `legs` are (up, known)."""

    gateway: str
    remote: str
    connection: str
    standing: Standing
    since: int | None
    legs: tuple[int, int]
    last: IkeEvent | None


@dataclass(slots=True)
class Picture:
    """Everything that is known. Times are ms."""

    inventory: Inventory
    now: int
    """The time on the wall, as last told."""
    estate: Estate = field(init=False)
    tally: Tally = field(default_factory=Tally)
    dead: int = 0
    """Bodies that could not be decoded."""
    skipped: int = 0
    """Records of other services."""
    reached: int | None = None
    """Up to when everything has been read; None until that is known."""
    open: dict[str, Row] = field(default_factory=dict)
    """Incidents that are open, by id, oldest first."""
    over: list[Row] = field(default_factory=list)
    """The newest of those that are over, oldest first."""
    told: int = 0
    _last: dict[Scope, IkeEvent] = field(default_factory=dict)
    _standings: dict[Scope, tuple[TunnelNow, int | None]] = field(default_factory=dict)
    _arrived: deque[tuple[int, int]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.estate = Estate(inventory=self.inventory, changed=set())

    def learn(self, deliveries: Sequence[Delivery], now: int) -> None:
        """Learn a batch of one partition."""
        parcels, report = sort(deliveries)
        self.now = now
        for parcel in parcels:
            take(self.estate, parcel)
            self.estate.read(parcel.partition, parcel.last, parcel.enqueued)
            for event in parcel.events:
                self.tally.count(event)
                self._note(event)
        self.dead += len(report.dead)
        self.skipped += sum(report.skipped.values())
        self._arrived.append((now, report.records))

    def begin(self, partition: str, sequence_number: int, at: int) -> None:
        """Note that what stands in a partition up to here is not asked for."""
        self.estate.read(partition, sequence_number, at)

    def conclude(self, heads: Mapping[str, int], now: int) -> list[Row]:
        """Judge what is due, over nothing that is unread (law 4); return the revisions in the order told."""
        self.now = now
        # Strangers come and go, on a board or without one.
        self._last = {s: e for s, e in self._last.items() if s.remote in self.estate.gateways[s.gateway].tunnels}
        self.reached = self.estate.watermark(heads, now)
        if self.reached is None:
            return []
        rows = tell(self.estate, self.reached)
        for row in rows:
            self.told += 1
            incident = row["IncidentId"]
            self.over = [other for other in self.over if other["IncidentId"] != incident]
            if row["State"] == "Open":
                self.open[incident] = row
                continue
            self.open.pop(incident, None)
            if row["Resolution"] not in RETRACTED:
                self.over = [*self.over, row][-SHOWN_AFTERWARDS:]
        return rows

    @property
    def lag(self) -> float | None:
        """How old (s) what is known is; None until that is known."""
        return None if self.reached is None else max(self.now - self.reached, 0) / 1000

    def rate(self, now: int) -> float:
        """Records a second, over the last minute or since the first came."""
        while self._arrived and self._arrived[0][0] < now - RATE * 1000:
            self._arrived.popleft()
        if not self._arrived:
            return 0.0
        return sum(count for _, count in self._arrived) / max((now - self._arrived[0][0]) / 1000, 1.0)

    def tunnels(self) -> list[TunnelNow]:
        """Return every known tunnel, what needs somebody first."""
        changed = self.estate.changed or set()
        at = self.reached if self.reached is not None else self.now
        shown: dict[Scope, tuple[TunnelNow, int | None]] = {}
        for key, gateway in self.estate.gateways.items():
            orphans: list[tuple[str, str, IkeEvent]] | None = None
            for remote, tunnel in gateway.tunnels.items():
                scope = Scope(key, remote)
                known = self._standings.get(scope)
                if known is not None and scope not in changed and (known[1] is None or known[1] > at):
                    shown[scope] = known
                elif tunnel.known():
                    if orphans is None:
                        orphans = list(gateway.orphans())
                    shown[scope] = self._look(scope, [(s, e) for r, s, e in orphans if r == remote], at)
        self.estate.changed = set()
        self._standings = shown
        order = list(Standing)
        return sorted(
            (standing for standing, _ in shown.values()),
            key=lambda t: (order.index(t.standing), t.connection.lower(), t.gateway.lower(), t.remote),
        )

    def _look(self, scope: Scope, extra: list[tuple[str, IkeEvent]], at: int) -> tuple[TunnelNow, int | None]:
        gateway = self.estate.gateways[scope.gateway]
        tunnel, connections = gateway.tunnels[scope.remote], self.inventory.of(scope.gateway)
        version = connections.of(scope.remote, called=True)
        deaf = version is not None and version.connection.mode is Mode.INITIATOR_ONLY
        timeline = observe(gateway, tunnel, extra, at, LIVE, connections.ended(scope.remote), deaf=deaf)
        legs = [leg for leg in timeline.legs if leg.state is not State.UNKNOWN]
        up = [leg for leg in legs if leg.state is State.UP]
        # A leg that never came up is no leg that is missing.
        missing = [leg for leg in legs if leg.state is not State.UP and leg.ever_up]
        if up:
            standing = Standing.DEGRADED if missing else Standing.UP
        else:
            standing = Standing.DOWN if legs else Standing.UNKNOWN
        decisive = missing if standing is Standing.DEGRADED else legs if standing is Standing.DOWN else up
        since = max((leg.since for leg in decisive if leg.since is not None), default=None)
        if standing is Standing.UP:  # up since its first leg is
            since = min((leg.since for leg in up if leg.since is not None), default=None)
        now = TunnelNow(
            gateway=gateway.name[1].rpartition("/")[2] if gateway.name else scope.gateway.rpartition("/")[2],
            remote=scope.remote,
            connection=version.connection.name if version is not None else "",
            standing=standing,
            since=since,
            legs=(len(up), len(up) + len(missing)) if up else (0, len(legs)),
            last=self._last.get(scope),
        )
        return now, min((d for d in timeline.deadlines if d > at), default=None)

    def _note(self, event: IkeEvent) -> None:
        if not event.remote or event.kind is Kind.UNREAD:
            return
        scope = Scope(event.gateway.lower(), event.remote)
        known = self._last.get(scope)
        if known is None or (known.at or 0) <= (event.at or 0):
            self._last[scope] = event
