"""Listings -> Inventory: the connections of each gateway as configured, since when, and what they were before.

An inventory is a value that verdicts are a function of, beside facts and time: whoever reads it notes when, and nothing
here asks the clock. A reading replaces what is there now and ends what is no longer, so that a verdict can say what
changed. A key is in none of this: no field could hold one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache

from ikestream.events import Proposal
from ikestream.times import EXPECTED_LEG_AGE

MAX_VERSIONS = 8
"""Kept of one connection: one that is changed more often in a month is being tried out."""


SHORT_DPD = 30
"""Seconds: a shorter DPD timeout takes a moment's loss for a dead peer; Azure advises 30 to 45 (facts 01)."""


class Mode(StrEnum):
    """Who may begin (Azure: connection mode)."""

    DEFAULT = "Default"
    INITIATOR_ONLY = "InitiatorOnly"
    RESPONDER_ONLY = "ResponderOnly"


@dataclass(frozen=True, slots=True, order=True)
class Pair:
    """One custom traffic selector: ranges behind Azure and behind the peer, as CIDRs."""

    local: tuple[str, ...]
    remote: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Connection:
    """One tunnel as configured: a connection to one address, of Virtual WAN one link. '', 0 and () mean: not given."""

    id: str  # resource id as written
    name: str
    resource_group: str
    remote: str = ""  # the peer's public address; '' if Azure looks it up by `fqdn`
    link: str = ""  # Virtual WAN: the name of the link connection
    kind: str = "IPsec"  # IPsec, Vnet2Vnet
    protocol: str = ""  # IKEv1, IKEv2
    mode: Mode = Mode.DEFAULT
    method: str = ""  # PSK, Certificate
    ike: Proposal | None = None  # of the custom policy, both or none
    ipsec: Proposal | None = None
    lifetime: int = 0  # of the custom policy: s
    size: int = 0  # and KB
    policy_based: bool = False
    selectors: tuple[Pair, ...] = ()
    dpd: int = 0  # s; 0 is Azure's default
    bgp: bool = False
    site: str = ""  # local network gateway, VPN site, or the other gateway
    site_group: str = ""
    site_link: str = ""  # Virtual WAN: the name of the site's link
    fqdn: str = ""
    prefixes: tuple[str, ...] = ()
    asn: int = 0
    bgp_addresses: tuple[str, ...] = ()  # the peer's, inside the tunnel
    vendor: str = ""  # of the device, as a tag or the VPN site names it
    also: tuple[str, ...] = ()  # other public addresses of the same site, as a tag says
    on_demand: bool = False  # as a tag says: the peer dials when there is traffic

    @property
    def identity(self) -> tuple[str, str]:
        """What stays when its settings change."""
        return self.id.lower(), self.link.lower()

    @property
    def custom(self) -> bool:
        """Whether it has a custom policy."""
        return self.ike is not None and self.ipsec is not None


@dataclass(frozen=True, slots=True)
class VpnGateway:
    """The gateway itself."""

    id: str
    name: str
    resource_group: str
    addresses: tuple[str, ...] = ()  # its public addresses, one for each leg
    active_active: bool = False
    policy_based: bool = False
    p2s: bool = False  # clients may call it, too
    asn: int = 0
    bgp_addresses: tuple[str, ...] = ()
    network: str = ""  # the virtual network that it stands in, and that one's resource group
    network_group: str = ""


@dataclass(frozen=True, slots=True)
class Version:
    """A connection as it stood from `since` on (ms; 0: nobody knows since when), until `until`; None: still."""

    connection: Connection
    since: int = 0
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """That Azure no longer has a connection to an address: since when it was seen, and where it went if it was moved."""

    at: int
    version: Version | None = None  # what it was, if that was ever seen
    moved_to: Connection | None = None


@dataclass(frozen=True, slots=True)
class Connections:
    """Everything configured on one gateway. Without `gateway` nothing is known of it."""

    gateway: VpnGateway | None = None
    versions: tuple[Version, ...] = ()
    since: int = 0  # when it was first read (ms)

    @property
    def current(self) -> Iterator[Version]:
        """The connections as they stand."""
        return (v for v in self.versions if v.until is None)

    @property
    def addresses(self) -> frozenset[str]:
        """The peers' addresses that Azure calls, or waits for."""
        return frozenset(v.connection.remote for v in self.current if v.connection.remote)

    @property
    def peers(self) -> frozenset[str]:
        """Those, and whom Azure called a while ago: what such a peer wrote then may be read now."""
        return frozenset(v.connection.remote for v in self.versions if v.connection.remote)

    def of(self, remote: str, *, called: bool = False, at: int | None = None) -> Version | None:
        """Return the connection to `remote`, the last one that was if there is none any more; `at` an instant, if given.

        `called`: Azure was seen to call this address or to be connected with it. It does so with configured peers only,
        so if no connection names the address, it is that of the only one whose address is looked up by name.
        """
        if not self.versions:
            return None
        index = _index(Same(self))
        own: Sequence[Version] = index.to.get(remote, ())
        if not own and called:
            own = index.named if len(index.named) == 1 else ()
        if at is not None:  # before it was first read it was as it was read first
            own = [v for v in own if v.since <= at] or sorted(own, key=lambda v: v.since)[:1]
        return max(own, key=lambda v: (v.until is None, v.since, v.connection.identity), default=None)

    @property
    def named(self) -> tuple[Version, ...]:
        """The connections of now whose peer's address Azure looks up."""
        return _index(Same(self)).named

    def ended(self, remote: str) -> tuple[Ended, ...]:
        """Return when a connection to `remote` went, oldest first; () if none did, or if that cannot be known."""
        if self.gateway is None:
            return ()
        own = _index(Same(self)).to.get(remote, ())
        if not own:
            # It was gone when the gateway was first read; but it may be, or have been, that of a connection whose address
            # nobody could read, or that Azure looks up by name.
            unnamed = [v.until for v in self.versions if not v.connection.remote]
            if not self.since or None in unnamed:
                return ()
            return (Ended(max([self.since, *(until for until in unnamed if until is not None)])),)
        found = []
        for v in own:
            at = v.until
            if at is None or any(o.since <= at and (o.until is None or o.until > at) for o in own):
                continue
            heirs = [o for o in self.same(v.connection) if o.connection.link == v.connection.link and o.since == at]
            if heirs and not (heirs[0].connection.remote or heirs[0].connection.fqdn):
                continue  # it is there, and to whom may not be read any more
            found.append(Ended(at, v, heirs[0].connection if heirs else None))
        return tuple(sorted(found, key=lambda e: e.at))

    def first_had(self, remote: str) -> int | None:
        """Return since when there has been a connection to `remote` (0: nobody knows), None if there never was one."""
        return min((v.since for v in _index(Same(self)).to.get(remote, ())), default=None)

    def readings(self, remote: str) -> list[int]:
        """Return when the connection to `remote` was seen to be configured anew."""
        version = self.of(remote, called=True)
        return [v.since for v in self.same(version.connection) if v.since] if version is not None else []

    def same(self, connection: Connection) -> tuple[Version, ...]:
        """Return what the connection and all its links are and were, oldest first by link."""
        return _index(Same(self)).ids.get(connection.id.lower(), ())

    def before(self, version: Version) -> Iterator[Version]:
        """Yield what the same connection was before, newest first."""
        older = [
            v
            for v in self.same(version.connection)
            if v.connection.identity == version.connection.identity and v.until is not None and v.until <= version.since
        ]
        yield from sorted(older, key=lambda v: (v.until or 0, v.since), reverse=True)

    def beside(self, remote: str) -> tuple[Connection, ...]:
        """Return the other tunnels of the site that `remote` belongs to: other links of its connection, or connections to
        an address that a tag says is the same site's."""
        version = self.of(remote, called=True)
        if version is None or version.until is not None:
            return ()
        own, index = version.connection, _index(Same(self))
        near = [*self.same(own), *index.also.get(own.remote, ())]
        near += [v for address in own.also for v in index.to.get(address, ())]
        found = {v.connection for v in near if v.until is None and v.connection.remote not in ("", own.remote)}
        return tuple(sorted(found, key=lambda c: (c.identity, c.remote)))

    def inside(self, address: str) -> Connection | None:
        """Return the connection whose peer has this BGP address, if it is one only."""
        found = [v.connection for v in self.current if address in v.connection.bgp_addresses]
        return found[0] if len({c.remote for c in found}) == 1 and found[0].remote else None


class Same:
    """A gateway's connections by which object they are, not by what they hold: a key for what is worked out of them once."""

    __slots__ = ("it",)

    def __init__(self, it: Connections) -> None:
        self.it = it

    def __hash__(self) -> int:
        return id(self.it)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.it is self.it


@dataclass(frozen=True, slots=True)
class _Index:
    """The versions where they are looked for: a gateway of Virtual WAN may have a thousand."""

    to: Mapping[str, tuple[Version, ...]]  # by the peer's address
    ids: Mapping[str, tuple[Version, ...]]  # by resource id in lower case
    also: Mapping[str, tuple[Version, ...]]  # by what a tag says are other addresses of the site
    named: tuple[Version, ...]  # those of now whose address Azure looks up


MOST_INDEXED = 256
"""Gateways; what is worked out of a larger estate is worked out again."""


@lru_cache(MOST_INDEXED)
def _index(same: Same) -> _Index:
    to: dict[str, list[Version]] = {}
    ids: dict[str, list[Version]] = {}
    also: dict[str, list[Version]] = {}
    for v in same.it.versions:
        to.setdefault(v.connection.remote, []).append(v)
        ids.setdefault(v.connection.id.lower(), []).append(v)
        for address in v.connection.also:
            also.setdefault(address, []).append(v)
    named = tuple(v for v in to.get("", ()) if v.until is None and v.connection.fqdn)
    to_, ids_, also_ = ({key: tuple(versions) for key, versions in part.items()} for part in (to, ids, also))
    return _Index(to_, ids_, also_, named)


NOTHING = Connections()


@dataclass(frozen=True, slots=True)
class Inventory:
    """Gateway key (resource id in lower case) -> what is configured on it, and when it was last read (ms)."""

    gateways: Mapping[str, Connections] = field(default_factory=dict)
    read_at: int = 0

    def of(self, key: str) -> Connections:
        """Return what is configured on a gateway, `NOTHING` if it was never listed.

        A log without resource ids is filed under a name: it is that of a gateway, or of a file, and then the only
        gateway there is.
        """
        found = self.gateways.get(key)
        if found is not None or "/" in key:
            return found or NOTHING
        named = [c for c in self.gateways.values() if c.gateway is not None and c.gateway.name.lower() == key]
        named = named or list(self.gateways.values())
        return named[0] if len(named) == 1 else NOTHING


@dataclass(frozen=True, slots=True)
class Listing:
    """What one complete reading found of one gateway."""

    gateway: VpnGateway
    connections: tuple[Connection, ...] = ()


def renew(old: Inventory, found: Iterable[Listing], at: int) -> Inventory:
    """Return the inventory after a complete reading at `at` (ms; 0: at a time nobody knows)."""
    listed = {listing.gateway.id.lower(): listing for listing in found}
    gateways: dict[str, Connections] = {}
    for key in sorted({*listed, *old.gateways}):
        before, listing = old.gateways.get(key), listed.get(key)
        known = before or Connections(since=at)
        gateway = listing.gateway if listing is not None else known.gateway
        now = listing.connections if listing is not None else ()
        versions = _versions(known.versions, now, at)
        if listing is None and not any(v.until is None for v in versions) and _forgotten(known, at):
            continue
        gateways[key] = replace(known, gateway=gateway, versions=versions)
    return Inventory(gateways, at)


def _versions(old: tuple[Version, ...], now: tuple[Connection, ...], at: int) -> tuple[Version, ...]:
    standing = {v.connection for v in old if v.until is None}
    kept = [v if v.until is not None or v.connection in now else replace(v, until=at) for v in old]
    kept += [Version(c, at) for c in dict.fromkeys(now) if c not in standing]
    by_identity: dict[tuple[str, str], list[Version]] = {}
    for v in kept:
        if v.until is None or v.until > at - EXPECTED_LEG_AGE:
            by_identity.setdefault(v.connection.identity, []).append(v)
    chosen: list[Version] = []
    for versions in by_identity.values():
        ended = sorted((v for v in versions if v.until is not None), key=lambda v: (v.until or 0, v.since))
        chosen += [*ended[-MAX_VERSIONS:], *(v for v in versions if v.until is None)]
    return tuple(sorted(chosen, key=_order))


def _order(version: Version) -> tuple[tuple[str, str], int, str]:
    return version.connection.identity, version.since, version.connection.remote


def _forgotten(connections: Connections, at: int) -> bool:
    ends = [v.until for v in connections.versions if v.until is not None]
    return max(ends, default=connections.since) <= at - EXPECTED_LEG_AGE
