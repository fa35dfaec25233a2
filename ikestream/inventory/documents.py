"""Resources of Azure as JSON -> Listings: gateways, connections, local network gateways, VPN sites, put together.

Two shapes are read alike: Resource Manager keeps settings under `properties`, `az` writes most of them beside the name.
What a resource is, its id says. Only the fields named here are taken; whatever is called a key is dropped before
anything is looked at, because a list of link connections may hold one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from typing import Any, TypeAlias

from ikestream.events import Proposal
from ikestream.inventory.connections import Connection, Listing, Mode, Pair, VpnGateway
from ikestream.offers import spell

Resource: TypeAlias = Mapping[str, Any]

VENDOR = "ikestream-vendor"
"""Tag of a connection or local network gateway: whose device it is, such as `FortiOS`."""
ADDRESSES = "ikestream-addresses"
"""Tag: other public addresses of the same site, divided by commas or spaces."""
ON_DEMAND = "ikestream-on-demand"
"""Tag, `true`: the peer dials when there is traffic, and a tunnel that it ended in good order is no outage."""

MAX_TEXT = 512
MAX_LIST = 1024
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_SECRET = re.compile(r"shared_?key|secret|password|authorization_?key|private_?key", re.IGNORECASE)
_PRIVATE = tuple(ip_network(n) for n in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"))


def scrub(value: object) -> Any:
    """Return a JSON value without whatever is called a key or a secret, however deep."""
    if isinstance(value, dict):
        return {name: scrub(inner) for name, inner in value.items() if not _SECRET.search(str(name))}
    if isinstance(value, list):
        return [scrub(inner) for inner in value]
    return value


@dataclass(slots=True)
class Gathered:
    """Resources by kind and id in lower case, as far as any of it is of use."""

    gateways: dict[str, Resource] = field(default_factory=dict)
    connections: dict[str, Resource] = field(default_factory=dict)
    sites: dict[str, Resource] = field(default_factory=dict)  # local network gateways, VPN sites and their links
    links: dict[str, Resource] = field(default_factory=dict)  # Virtual WAN's connections
    addresses: dict[str, Resource] = field(default_factory=dict)  # public ones
    other: int = 0  # resources of other kinds

    def __bool__(self) -> bool:
        return bool(self.gateways or self.connections or self.sites or self.links)

    def add(self, resource: object) -> None:
        """Take in one resource, and those that stand inside it."""
        if not isinstance(resource, dict):
            self.other += 1
            return
        plain = flatten(scrub(resource))
        key = _text(plain, "id").lower()
        keep = self._place(key.split("/"))
        if keep is None:
            self.other += 1
            return
        keep[key] = {**keep.get(key, {}), **{k: v for k, v in plain.items() if v is not None}}
        for inner in ("connections", "vpnConnections", "vpnSiteLinks"):
            if "/vpngateways/" in key or "/vpnsites/" in key:
                for part in _items(plain, inner):
                    self.add(part)

    def hidden_addresses(self, key: str) -> list[str]:
        """Return the ids of the public addresses of a gateway that does not say itself which they are."""
        r = self.gateways[key]
        return [] if _said_addresses(r) else [public for c in _items(r, "ipConfigurations") if (public := _public(c))]

    def _place(self, parts: list[str]) -> dict[str, Resource] | None:
        types = parts[parts.index("microsoft.network") + 1 :: 2] if "microsoft.network" in parts else []
        match types:
            case ["virtualnetworkgateways" | "vpngateways"]:
                return self.gateways
            case ["connections"]:
                return self.connections
            case ["localnetworkgateways"] | ["vpnsites"] | ["vpnsites", "vpnsitelinks"]:
                return self.sites
            case ["vpngateways", "vpnconnections"]:
                return self.links
            case ["publicipaddresses"]:
                return self.addresses
        return None


def flatten(resource: Resource) -> dict[str, Any]:
    """Return a resource with its `properties` beside its name."""
    inner = resource.get("properties")
    plain = {k: v for k, v in resource.items() if k != "properties"}
    return {**inner, **plain} if isinstance(inner, dict) else plain


def put_together(gathered: Gathered) -> tuple[tuple[Listing, ...], tuple[str, ...]]:
    """Return every gateway with its connections, and one line for everything that is missing."""
    gateways = {key: _gateway(r, gathered) for key, r in gathered.gateways.items() if _is_vpn(r)}
    others = gathered.gateways.keys() - gateways.keys()  # ExpressRoute
    found: dict[str, list[Connection]] = {key: [] for key in gateways}
    missing: list[str] = []

    def take(gateway_id: str, connections: Iterable[Connection]) -> None:
        key = gateway_id.lower()
        if key in others:
            return
        if key not in gateways:  # the list of gateways was not given: its id says who it is
            gateways[key] = VpnGateway(gateway_id, gateway_id.rpartition("/")[2], _group(gateway_id))
        found.setdefault(key, []).extend(connections)

    for r in gathered.connections.values():
        if _text(r, "connectionType") not in ("", "IPsec", "Vnet2Vnet"):
            continue
        one, two = (reference(r.get(f"virtualNetworkGateway{n}")) for n in (1, 2))
        if not one:
            missing.append(f"connection {_shown(r)} names no gateway")
            continue
        if two:
            take(one, _to_gateway(r, two, gathered, missing))
        else:
            take(one, _to_site(r, gathered, missing))
    for key, r in gathered.links.items():
        gateway_id = _text(r, "id")[: key.index("/vpnconnections/")]
        take(gateway_id, _links(r, gathered, missing))
    listings = (Listing(gateway, tuple(sorted(found[key], key=_order))) for key, gateway in sorted(gateways.items()))
    return tuple(listings), tuple(sorted(set(missing)))


def _order(connection: Connection) -> tuple[str, str, str]:
    return (*connection.identity, connection.remote)


def _is_vpn(r: Resource) -> bool:
    return _text(r, "gatewayType").lower() in ("", "vpn")


def _gateway(r: Resource, gathered: Gathered) -> VpnGateway:
    bgp = _object(r, "bgpSettings")
    clients = _object(r, "vpnClientConfiguration")
    virtual_wan = "/vpngateways/" in _text(r, "id").lower()
    subnets = [reference(flatten(c).get("subnet")) for c in _items(r, "ipConfigurations")]
    subnet = next((s for s in subnets if "/virtualnetworks/" in s.lower()), "")
    return VpnGateway(
        id=_text(r, "id"),
        name=_text(r, "name") or _text(r, "id").rpartition("/")[2],
        resource_group=_group(_text(r, "id")),
        addresses=_own_addresses(r, gathered),
        active_active=virtual_wan or r.get("activeActive") is True or r.get("active") is True,
        policy_based=_text(r, "vpnType").lower() == "policybased",
        p2s=bool(_texts(_object(clients, "vpnClientAddressPool"), "addressPrefixes")),
        asn=_number(bgp, "asn"),
        bgp_addresses=_bgp_addresses(bgp),
        network=_after(subnet, "virtualnetworks"),
        network_group=_group(subnet),
    )


def _own_addresses(r: Resource, gathered: Gathered) -> tuple[str, ...]:
    found = _said_addresses(r)
    if not found:  # a gateway may name its public addresses and not say them
        names = (_public(c).lower() for c in _items(r, "ipConfigurations"))
        texts = (_text(gathered.addresses.get(name, {}), "ipAddress") for name in names)
        found = tuple(dict.fromkeys(a for a in map(_address, texts) if a))
    return found


def _public(configuration: Resource) -> str:
    plain = flatten(configuration)
    return reference(plain.get("publicIPAddress") or plain.get("publicIpAddress"))


def _said_addresses(r: Resource) -> tuple[str, ...]:
    peerings = _items(_object(r, "bgpSettings"), "bgpPeeringAddresses")
    texts = [a for p in peerings for a in _texts(p, "tunnelIpAddresses")]
    # Of Virtual WAN each instance has a private one, too.
    texts += [_text(flatten(c), "publicIpAddress") for c in _items(r, "ipConfigurations")]
    found = dict.fromkeys(a for a in map(_address, texts) if a and not _is_private(a))
    return tuple(found)


def _bgp_addresses(bgp: Resource, tunnel: str = "") -> tuple[str, ...]:
    """Return the inner addresses: those of the instance that has the public address `tunnel`, if one is named."""
    peerings = _items(bgp, "bgpPeeringAddresses")
    own = [p for p in peerings if tunnel and tunnel in map(_address, _texts(p, "tunnelIpAddresses"))]
    texts = [] if own else _text(bgp, "bgpPeeringAddress").split(",")
    for p in own or peerings:
        texts += [*_texts(p, "defaultBgpIpAddresses"), *_texts(p, "customBgpIpAddresses")]
    return tuple(dict.fromkeys(a for a in map(_address, texts) if a))


def _to_site(r: Resource, gathered: Gathered, missing: list[str]) -> list[Connection]:
    named = r.get("localNetworkGateway2")
    site_id = reference(named)
    inside = flatten(named) if isinstance(named, dict) else {}
    site = gathered.sites.get(site_id.lower(), inside)
    remote, fqdn = _address(_text(site, "gatewayIpAddress")), _text(site, "fqdn")
    if not remote and not fqdn:
        missing.append(
            f"connection {_shown(r)}: the address of its local network gateway {site_id.rpartition('/')[2] or '(none)'} is not given"
        )
    bgp = _object(site, "bgpSettings")
    return [
        _connection(
            r,
            site,
            remote=remote,
            fqdn=fqdn if not remote else "",
            site=site_id.rpartition("/")[2],
            site_group=_group(site_id),
            prefixes=_prefixes(_object(site, "localNetworkAddressSpace")),
            asn=_number(bgp, "asn"),
            bgp_addresses=_bgp_addresses(bgp) if r.get("enableBgp") is True else (),
        )
    ]


def _to_gateway(r: Resource, other_id: str, gathered: Gathered, missing: list[str]) -> list[Connection]:
    """Of two virtual networks: one tunnel for each public address of the other gateway."""
    other = gathered.gateways.get(other_id.lower(), {})
    bgp = _object(other, "bgpSettings")
    remotes = _own_addresses(other, gathered)
    if not remotes:
        missing.append(
            f"connection {_shown(r)}: the addresses of the other gateway {other_id.rpartition('/')[2]} are not given"
        )
    return [
        _connection(
            r,
            {},
            remote=remote,
            site=other_id.rpartition("/")[2],
            site_group=_group(other_id),
            asn=_number(bgp, "asn"),
            bgp_addresses=_bgp_addresses(bgp, remote) if r.get("enableBgp") is True else (),
        )
        for remote in remotes or ("",)
    ]


def _links(r: Resource, gathered: Gathered, missing: list[str]) -> list[Connection]:
    """Of Virtual WAN: one tunnel for each link; a connection without links has its settings itself."""
    site_id = reference(r.get("remoteVpnSite"))
    site = gathered.sites.get(site_id.lower(), {})
    common: dict[str, Any] = {
        "site": site_id.rpartition("/")[2],
        "site_group": _group(site_id),
        "prefixes": _prefixes(_object(site, "addressSpace")),
    }
    vendor = _text(_object(site, "deviceProperties"), "deviceVendor")
    found = []
    for part in _items(r, "vpnLinkConnections") or [{}]:
        link = flatten(part)
        link_id = reference(link.get("vpnSiteLink"))
        at = gathered.sites.get(link_id.lower(), site if not link_id else {})
        remote, fqdn = _address(_text(at, "ipAddress")), _text(at, "fqdn")
        if not remote and not fqdn:
            missing.append(
                f"connection {_shown(r)}: the address of VPN site {site_id.rpartition('/')[2] or '(none)'} is not given"
            )
        bgp = _object(at, "bgpProperties")
        # A link's own settings count; those of the connection stand for links that were made before there were links.
        own = {**r, **{k: v for k, v in link.items() if v is not None and k not in ("id", "name", "type", "tags")}}
        connection = _connection(
            own,
            site,
            remote=remote,
            fqdn=fqdn if not remote else "",
            link=_text(link, "name"),
            site_link=link_id.rpartition("/")[2],
            asn=_number(bgp, "asn"),
            bgp_addresses=tuple(a for a in (_address(_text(bgp, "bgpPeeringAddress")),) if a),
            vendor=_tag(site, VENDOR) or _word(vendor),
            **common,
        )
        found.append(connection)
    return found


def _connection(r: Resource, site: Resource, /, **where: Any) -> Connection:
    policy = next(iter(_items(r, "ipsecPolicies")), None)
    ike = _proposal(policy, "ikeEncryption", "ikeIntegrity", "dhGroup") if policy else None
    ipsec = _proposal(policy, "ipsecEncryption", "ipsecIntegrity", "pfsGroup") if policy else None
    if ike and ipsec and ipsec.group == "PFSMM":  # the group of main mode
        ipsec = replace(ipsec, group=ike.group.replace("DHGroup14", "PFS2048").replace("DHGroup", "PFS"))
    mode = _text(r, "connectionMode") or _text(r, "vpnLinkConnectionMode")
    tagged = {
        "vendor": _tag(r, VENDOR) or _tag(site, VENDOR),
        "also": tuple(
            dict.fromkeys(
                a for source in (r, site) for a in map(_address, re.split(r"[,;\s]+", _tag(source, ADDRESSES))) if a
            )
        ),
        "on_demand": "true" in (_tag(r, ON_DEMAND).lower(), _tag(site, ON_DEMAND).lower()),
    }
    settings: dict[str, Any] = {
        "id": _text(r, "id"),
        "name": _text(r, "name") or _text(r, "id").rpartition("/")[2],
        "resource_group": _group(_text(r, "id")),
        "kind": _text(r, "connectionType") or "IPsec",
        "protocol": _word(_text(r, "connectionProtocol") or _text(r, "vpnConnectionProtocolType")),
        "mode": next((m for m in Mode if m.value.lower() == mode.lower()), Mode.DEFAULT),
        "method": _word(_text(r, "authenticationType")),
        "ike": ike if ike and ipsec else None,
        "ipsec": ipsec if ike and ipsec else None,
        "lifetime": _number(policy or {}, "saLifeTimeSeconds"),
        "size": _number(policy or {}, "saDataSizeKilobytes"),
        "policy_based": r.get("usePolicyBasedTrafficSelectors") is True,
        "selectors": tuple(
            Pair(_cidrs(_texts(p, "localAddressRanges")), _cidrs(_texts(p, "remoteAddressRanges")))
            for p in _items(r, "trafficSelectorPolicies")
        ),
        "dpd": _number(r, "dpdTimeoutSeconds"),
        "bgp": r.get("enableBgp") is True,
    }
    return Connection(**{**settings, **tagged, **where})


def _proposal(policy: Resource, encryption: str, integrity: str, group: str) -> Proposal | None:
    values = [spell(_word(_text(policy, name))) for name in (encryption, integrity, group)]
    return Proposal(*values) if all(values) else None


def _prefixes(space: Resource) -> tuple[str, ...]:
    return _cidrs(_texts(space, "addressPrefixes"))


def _cidrs(texts: Iterable[str]) -> tuple[str, ...]:
    return _all(texts, lambda text: str(ip_network(text.strip(), strict=False)))


def _address(text: str) -> str:
    found = _all((text,), lambda t: str(ip_address(t.strip())))
    return found[0] if found else ""


def _all(texts: Iterable[str], read: Callable[[str], str]) -> tuple[str, ...]:
    found = []
    for text in texts:
        try:
            if "%" not in text:  # a zone is free text
                found.append(read(text))
        except ValueError:
            continue
    return tuple(dict.fromkeys(found))[:MAX_LIST]


def _is_private(address: str) -> bool:
    parsed = ip_address(address)
    return any(parsed in network for network in _PRIVATE if network.version == parsed.version)


def _text(r: Resource, name: str) -> str:
    value = r.get(name)
    return value.strip()[:MAX_TEXT] if isinstance(value, str) else ""


def _word(text: str) -> str:
    return text if _WORD.fullmatch(text) else ""


def _number(r: Resource, name: str) -> int:
    value = r.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 33 else 0


def _object(r: Resource, name: str) -> dict[str, Any]:
    value = r.get(name)
    return value if isinstance(value, dict) else {}


def _items(r: Resource, name: str) -> list[dict[str, Any]]:
    value = r.get(name)
    return [v for v in value[:MAX_LIST] if isinstance(v, dict)] if isinstance(value, list) else []


def _texts(r: Resource, name: str) -> list[str]:
    value = r.get(name)
    return [v for v in value[:MAX_LIST] if isinstance(v, str)] if isinstance(value, list) else []


def _tag(r: Resource, name: str) -> str:
    tags = {str(k).lower(): v for k, v in _object(r, "tags").items()}
    value = tags.get(name)
    return value.strip()[:MAX_TEXT] if isinstance(value, str) else ""


def reference(value: object) -> str:
    """Return the id that one resource names another by, '' if it names none."""
    return _text(value, "id") if isinstance(value, dict) else value if isinstance(value, str) else ""


def _group(resource_id: str) -> str:
    return _after(resource_id, "resourcegroups")


def _after(resource_id: str, kind: str) -> str:
    parts = resource_id.split("/")
    return next((parts[i + 1] for i, p in enumerate(parts[:-1]) if p.lower() == kind), "")


def _shown(r: Resource) -> str:
    name = _text(r, "name") or _text(r, "id").rpartition("/")[2]
    return name if re.fullmatch(r"[\w.()-]{1,80}", name) else repr(name[:80])
