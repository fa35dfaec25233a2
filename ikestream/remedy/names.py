"""Names -> Words: what may stand in a command. All else is a placeholder the reader fills in.

Names and values come from logs that a peer can write into. A command holds a value only if it is one of Azure's or a
vendor's known names, a syntactically valid address or CIDR, or a resource name made of harmless characters. Everything
else becomes `<a-placeholder>`, and every placeholder is named in the command's `assumed`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network

from ikestream.finding import ActionOn, Command
from ikestream.inventory import Connection
from ikestream.offers import GatewayKind, gateway_kind

PLACEHOLDER = re.compile(r"<[a-z][a-z0-9-]*>")
SAME_GROUP = "The connection is in the resource group of the gateway."
SAME_SITE_GROUP = "The resource of the site is in the resource group of the gateway."

# Letters, digits and `_.-` mean nothing to any shell; a leading `-` would be read as an option. Resource groups may
# have parentheses too: they are rare and shells read them, so such a name is typed by hand.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,89}")
_GUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


@dataclass(frozen=True, slots=True)
class Names:
    """What is known about one tunnel, as logged; '' and () where nothing is. `gateway_id` is the full resource id.

    `peer_ip_is_known` says that `remote_ip` is a peer and no stranger (facts 06 3.1): only then a command may hold it.
    """

    gateway_id: str
    gateway_name: str = ""
    resource_group: str = ""
    connection: str = ""
    remote_ip: str = ""
    azure_ips: tuple[str, ...] = ()
    peer_ip_is_known: bool = False
    link: str = ""  # Virtual WAN: the name of the link connection
    configured: Connection | None = None  # the connection as it is in Azure now, if an inventory says
    network: str = ""  # the virtual network of the gateway
    network_group: str = ""
    peer_gateway: str = ""  # VNet-to-VNet: the name of the Azure gateway that the peer is


@dataclass(frozen=True, slots=True)
class Words:
    """The same names, each safe to paste: checked, or a placeholder."""

    kind: GatewayKind
    gateway_id: str
    gateway: str
    gateway_group: str
    group: str  # of the connection
    connection: str
    subscription: str  # '' if unknown
    peer_ip: str
    azure_ip: str
    azure_ips: tuple[str, ...]  # every valid one, for prose
    link: str  # Virtual WAN: the link connection
    site_name: str  # local network gateway or VPN site
    site_group: str
    network: str
    network_group: str
    peer_gateway: str  # '' if the peer is a device, as far as known
    configured: Connection | None = None  # as it is now: its names are not checked, its values are

    @property
    def virtual_wan(self) -> bool:
        """Whether the gateway belongs to a virtual hub, which has its own commands."""
        return self.kind is GatewayKind.VIRTUAL_WAN

    @property
    def same_group(self) -> tuple[str, ...]:
        """What is assumed of the connection's resource group: nothing if it is known."""
        return () if self.configured is not None else (SAME_GROUP,)

    @property
    def same_site_group(self) -> tuple[str, ...]:
        """The same of the site's."""
        return () if self.configured is not None else (SAME_SITE_GROUP,)

    @property
    def peer(self) -> str:
        """The peer in prose: with its name and address if they are known."""
        known = [self.peer_gateway] if self.peer_gateway else []
        known += [self.peer_ip] if not self.peer_ip.startswith("<") else []
        return f"the peer ({', '.join(known)})" if known else "the peer"

    @property
    def site(self) -> str:
        """What Azure calls the resource that holds the peer's address and prefixes."""
        if self.peer_gateway:
            return "other gateway"
        return "VPN site" if self.virtual_wan else "local network gateway"


def choose_words(names: Names) -> Words:
    """Check every name; the gateway's own id fills what the other fields leave empty."""
    parts = names.gateway_id.split("/")
    lower = [p.casefold() for p in parts]

    def after(word: str) -> str:
        return parts[lower.index(word) + 1] if word in lower[:-1] else ""

    kind = gateway_kind(names.gateway_id)
    subscription = after("subscriptions")
    subscription = subscription if _GUID.fullmatch(subscription) else ""
    gateway_group = _name(after("resourcegroups"), "<resource-group>")
    group = _name(names.resource_group or after("resourcegroups"), "<resource-group>")
    named = after(kind.casefold())
    # A log without resource ids is filed under its own file name, which is the name of no gateway.
    given = names.gateway_name if named or names.gateway_name != parts[-1] else ""
    gateway = _name(given or named, "<gateway-name>")
    whole = subscription and "<" not in gateway_group + gateway
    azure_ips = tuple(a for a in dict.fromkeys(_address(a) for a in names.azure_ips) if a)
    return Words(
        kind=kind,
        gateway_id=f"/subscriptions/{subscription}/resourceGroups/{gateway_group}/providers/Microsoft.Network/{kind}/{gateway}"
        if whole
        else "<gateway-resource-id>",
        gateway=gateway,
        gateway_group=gateway_group,
        group=group,
        connection=_name(names.connection, "<connection-name>"),
        subscription=subscription,
        peer_ip=(_address(names.remote_ip) if names.peer_ip_is_known else "") or "<peer-public-ip>",
        azure_ip=azure_ips[0] if len(azure_ips) == 1 else "<azure-public-ip>",
        azure_ips=azure_ips,
        link=_name(names.link, "<link-connection-name>"),
        site_name=_name(
            names.configured.site if names.configured else "",
            "<vpn-site>" if kind is GatewayKind.VIRTUAL_WAN else "<local-network-gateway>",
        ),
        site_group=_name(names.configured.site_group, "<resource-group>") if names.configured else group,
        network=_name(names.network, "<virtual-network>"),
        network_group=_name(names.network_group, "<resource-group>") if names.network_group else gateway_group,
        peer_gateway=_name(names.peer_gateway or _between_networks(names.configured), ""),
        configured=names.configured,
    )


def at_site(words: Words, other: Connection) -> Words:
    """Return the words for what is done to the site of another connection of the gateway."""
    hole = "<vpn-site>" if words.virtual_wan else "<local-network-gateway>"
    return replace(words, site_name=_name(other.site, hole), site_group=_name(other.site_group, "<resource-group>"))


def write(side: ActionOn, tool: str, command: str, effect: str, undo: str, assumed: Iterable[str] = ()) -> Command:
    """A `Command` whose `assumed` begins with every placeholder in it and in its undo."""
    holes = dict.fromkeys(PLACEHOLDER.findall(f"{command}\n{undo}"))
    filled = f"Fill in {', '.join(holes)}." if holes else ""
    return Command(side, tool, command, effect, undo, " ".join(s for s in (filled, *assumed) if s))


def networks(texts: Iterable[str]) -> tuple[str, ...]:
    """Those of `texts` that are CIDRs with no bits set beyond their prefix; ranges and anything else are left out."""
    found = []
    for text in texts:
        try:
            network = ip_network(text)
        except ValueError:
            continue
        if "%" not in text:  # a zone (fe80::1%eth0) is free text to ipaddress
            found.append(str(network))
    return tuple(dict.fromkeys(found))


def _between_networks(configured: Connection | None) -> str:
    """Return the name of the other gateway if no device stands at the other end, and no resource holds its address."""
    return configured.site if configured is not None and configured.kind == "Vnet2Vnet" else ""


def _name(text: str, placeholder: str) -> str:
    return text if _NAME.fullmatch(text) else placeholder


def _address(text: str) -> str:
    try:
        address = ip_address(text)
    except ValueError:
        return ""
    # As above, and no part of a public address.
    return "" if "%" in text else str(address)
