"""Record, IkeEvent: the words everything downstream speaks.

A `Record` is one log record as Azure wrote it, freed of its envelope. An `IkeEvent` is what the grammar
read in it. Both are values: no logic, no I/O, no clock. Times are event times in whole milliseconds since
1970-01-01 UTC, because that is the precision every export format shares: the same record read from a hub
body and from a portal CSV must be equal. `None` means that the source carries no clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Category(StrEnum):
    """The diagnostic categories of VPN gateways, in Azure's spelling."""

    IKE = "IKEDiagnosticLog"
    TUNNEL = "TunnelDiagnosticLog"
    GATEWAY = "GatewayDiagnosticLog"
    ROUTE = "RouteDiagnosticLog"
    P2S = "P2SDiagnosticLog"


class Direction(StrEnum):
    """Who acted, as the bracket tag says."""

    SENT = "SEND"
    RECEIVED = "RECEIVED"
    LOCAL = "LOCAL_MSG"
    NONE = ""


class Kind(StrEnum):
    """What a line says. One member per fact of an IKE exchange; presence counts, order does not."""

    SA_INIT_SENT = "SA_INIT sent"  # Azure is the initiator
    SA_INIT_ANSWERED = "SA_INIT answered by the peer"
    SA_INIT_RECEIVED = "SA_INIT received"  # the peer is the initiator
    RESPONDER_SPI = "responder SPI generated"  # Azure answered; no proof that it accepted
    IKE_SENT = "IKE proposals sent"
    IKE_RECEIVED = "IKE proposals received"
    MM_PACKET = "main mode packet received"
    AUTH_SENT = "AUTH sent"
    AUTH_RECEIVED = "AUTH received"
    TS_PROPOSED = "traffic selectors proposed"
    TS_REQUESTED = "traffic selectors requested by the peer"
    TS_FINAL = "traffic selectors agreed"
    ESP_SENT = "IPsec proposals sent"
    ESP_RECEIVED = "IPsec proposals received"
    NOTIFY_SENT = "notify sent"
    NOTIFY_RECEIVED = "notify received"
    CLOSED = "tunnel closed"
    CLEANUP_MM = "phase 1 negotiation cleaned up"
    CLEANUP_QM = "phase 2 negotiation cleaned up"
    ERROR = "error reported"  # [ErrorCode] / [ErrorMessage] / [IkeEvent], in any combination
    IKE_OTHER = "other IKE message"  # an exchange line read as such whose text has no row of its own
    TUNNEL_UP = "TunnelConnected"
    TUNNEL_DOWN = "TunnelDisconnected"
    CONFIGURATION = "configuration written"
    MAINTENANCE = "host maintenance"
    PRIMARY_CHANGED = "gateway primary changed"
    GATEWAY_OTHER = "gateway operation"
    BGP_UP = "BGP session up"
    BGP_DOWN = "BGP session down"
    ROUTE_OTHER = "route operation"
    P2S = "point-to-site client"
    UNREAD = "not read"  # a line of a known category whose words no row knows


# Nobody assigns to a Record or an IkeEvent. They are not frozen, because that makes them three times as dear, and one of
# each is made for every record.


PROPOSING = frozenset(
    {Kind.IKE_SENT, Kind.IKE_RECEIVED, Kind.ESP_SENT, Kind.ESP_RECEIVED, Kind.TS_PROPOSED, Kind.TS_REQUESTED}
)
"""Lines that hold what an end offers, chooses or asks for."""


@dataclass(slots=True, unsafe_hash=True)
class Record:
    """One diagnostic record. `gateway` is the resource id as written (or the file's name where lines carry none)."""

    at: int | None
    gateway: str
    category: Category
    operation: str
    instance: str
    message: str
    level: str = ""
    remote_ip: str = ""  # TunnelDiagnosticLog: properties.remoteIP
    status: str = ""  # TunnelDiagnosticLog: Connected / Disconnected
    reason: str = ""  # TunnelDiagnosticLog: stateChangeReason, free text


@dataclass(frozen=True, slots=True, order=True)
class Proposal:
    """One combination of algorithms, in the names of Azure's custom policy; '' where the line prints none.

    `group` is the Diffie-Hellman group in phase 1 (`DHGroup14`, `ECP256`) and the PFS group in phase 2
    (`PFS2048`, `ECP256`, `None`). With AES-GCM in phase 2 integrity repeats the encryption. Values Azure
    has no name for stay as logged.
    """

    encryption: str
    integrity: str
    group: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Selector:
    """One range of a traffic selector payload; addresses in canonical text, ends included (RFC 7296 3.13.1)."""

    start: str
    end: str
    port_start: int = 0
    port_end: int = 65535
    protocol: int = 0


@dataclass(slots=True, unsafe_hash=True)
class IkeEvent:
    """What one record says. Empty string, 0 and () mean: not in the line."""

    at: int | None
    gateway: str
    kind: Kind
    message: str  # verbatim
    category: Category = Category.IKE
    instance: str = ""
    session: str = ""  # GUID in lower case
    remote: str = ""  # address in canonical text
    remote_port: int = 0
    local: str = ""
    local_port: int = 0
    direction: Direction = Direction.NONE
    initiator_spi: str = ""  # 16 upper-case hex digits, as the peer's own log prints it
    responder_spi: str = ""
    tunnel_id: str = ""  # 0x.. in lower case
    ts_id: str = ""
    auth: str = ""  # Azure's authentication method as logged: `PreShared Key`
    proposals: tuple[Proposal, ...] = ()
    initiator_selectors: tuple[Selector, ...] = ()  # TSi belongs to the initiator, whoever that is
    responder_selectors: tuple[Selector, ...] = ()
    cut: bool = False  # a payload ends in the middle: what is listed is true, but not all there was
    code: int | None = None  # Windows code, from number or text
    text: str = ""  # the notify's or status's own words, the reason of a tunnel event
    name: str = ""  # [IkeEvent] name, or the operation of a gateway, route or P2S record
    shape: str = field(default="", compare=False)  # UNREAD: the line with numbers, addresses and ids masked
