"""lines of one gateway -> Records: the clock, ids and tags that every line of the log carries."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from uuid import UUID

from ikestream.events import Category, Record
from ikestream.lab.wording import Wording


@dataclass(slots=True)
class Log:
    """What one gateway wrote, in the order it happened; times of one session may tie or swap, as Azure's do."""

    gateway_id: str
    random: Random
    tunnel_log: bool = True
    lost: float = 0.0  # share of IKE lines that never arrive: resource logs are not lossless
    short: bool = False  # notifies and closes carry the SESSION_ID alone (facts 00, variant C)
    records: list[Record] = field(default_factory=list)
    wording: Wording = field(init=False)

    def __post_init__(self) -> None:
        self.wording = Wording(self.random)

    def session(self) -> str:
        """Return a fresh SESSION_ID."""
        return str(UUID(int=self.random.getrandbits(128), version=4))

    def spi(self) -> str:
        """Return a fresh cookie as Azure prints it: no padding, capitals."""
        return f"0x{self.random.getrandbits(64) | 1:X}"

    def ike(self, at: int, instance: str, message: str) -> None:
        """Write a line of the IKE log."""
        if self.random.random() >= self.lost:
            self._write(at, Category.IKE, "IKELogEvent", instance, message)

    def tunnel(self, at: int, instance: str, remote: str, *, up: bool, reason: str = "") -> None:
        """Write TunnelConnected or TunnelDisconnected, if this gateway has the category switched on."""
        if not self.tunnel_log:
            return
        operation, status = ("TunnelConnected", "Connected") if up else ("TunnelDisconnected", "Disconnected")
        self.records.append(
            Record(
                at, self.gateway_id, Category.TUNNEL, operation, instance, "", "Informational", remote, status, reason
            )
        )

    def operation(self, at: int, operation: str, instance: str = "", message: str = "") -> None:
        """Write a gateway or route event."""
        category = Category.ROUTE if "Bgp" in operation else Category.GATEWAY
        self._write(at, category, operation, instance, message)

    def client(self, at: int, instance: str, message: str) -> None:
        """Write a line of the point-to-site log."""
        self._write(at, Category.P2S, "P2SLogEvent", instance, message)

    def _write(self, at: int, category: Category, operation: str, instance: str, message: str) -> None:
        self.records.append(Record(at, self.gateway_id, category, operation, instance, message, "Informational"))


@dataclass(slots=True)
class Page:
    """One session's lines: endpoints, instance, and a clock that goes on by the gateway's step from line to line."""

    log: Log
    at: int
    instance: str
    remote: str
    local: str
    remote_port: int = 500
    local_port: int = 500
    session: str = ""
    tunnel: int = 3
    ts: int = 0x37
    bare: bool = False  # no prefix at all, as Network Watcher's log has cleanup lines

    def write(self, line: str, *, after: int | None = None) -> None:
        """Write `line`, `after` ms since the one before; by default the same instant, a few ms later or earlier."""
        step = after if after is not None else self.log.random.choice((0, 0, 3, 31, 31, -2))
        self.at += step
        say = self.log.wording
        prefix = say.prefix(self.session, self.remote, self.remote_port, self.local, self.local_port)
        if self.bare:
            prefix = ""
        elif self.log.short and ("[NOTIFY]" in line or "Tunnel closed" in line):
            prefix = say.session_prefix(self.session)
        self.log.ike(self.at, self.instance, prefix + line)
