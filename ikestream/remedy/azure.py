"""Words -> Command: what is typed on Azure's side.

`az` flags were read in the source of azure-cli 2.91.0, PowerShell parameters in the reference pages (facts 04 and 06
4.3), those of Virtual WAN in the source of its extension and the pages of its cmdlets. Nothing here was run against Azure. `ipsec-policy add` appends to the list although a connection may hold one
policy only, so a policy that exists is replaced with PowerShell. CLI 2.91.0 has no reset of one connection: PowerShell
has.
"""

from __future__ import annotations

from collections.abc import Mapping

from ikestream.events import Proposal
from ikestream.finding import ActionOn, Command, Parameter
from ikestream.inventory import Connection
from ikestream.inventory.connections import SHORT_DPD
from ikestream.offers import Agreed, GatewayKind, Phase, custom_values, parameters, spell, weak
from ikestream.remedy.names import Words, networks, write

NONE = "None; it only reads."
NO_UNDO = "Not needed."
DROPS = "Drops this tunnel for some seconds, on every leg. Other connections of the gateway are not touched."
_SIGNED_IN = "PowerShell is signed in to the subscription of the gateway."
SA_LIFETIME = 27000  # seconds, Azure's default; lifetimes are not negotiated and need not match (facts 01)
SA_SIZE = 102400000  # KB, Azure's default

_UNKNOWN = Proposal("", "", "")
_HOLES = {
    Parameter.IKE_ENCRYPTION: "<ike-encryption>",
    Parameter.IKE_INTEGRITY: "<ike-integrity>",
    Parameter.DH_GROUP: "<dh-group>",
    Parameter.IPSEC_ENCRYPTION: "<ipsec-encryption>",
    Parameter.IPSEC_INTEGRITY: "<ipsec-integrity>",
    Parameter.PFS_GROUP: "<pfs-group>",
}


def check_connection(words: Words) -> tuple[Command, ...]:
    """Read the settings of the connection before anything is changed; find its name first if it is unknown."""
    if words.virtual_wan:
        return (
            *_read_link(
                words, _LINK, "policy (p), IKE version (v), mode and selectors (ts)", lead=_subscription(words)
            ),
            _check_virtual_wan(words),
        )
    found = []
    if words.connection.startswith("<"):
        listing = f"az network vpn-connection list -g {words.gateway_group} --vnet-gateway {words.gateway} -o table"
        found.append(_az(f"{_subscription(words)}{listing}", "None; it lists the gateway's connections by name."))
    query = '--query "{p:ipsecPolicies,v:connectionProtocol,ts:usePolicyBasedTrafficSelectors}"'
    lead = _subscription(words) if not found else ""
    show = f"{lead}az network vpn-connection show -g {words.group} -n {words.connection} {query}"
    effect = "None; it shows custom policy (p), IKE version (v) and policy-based selectors (ts). Keep a copy."
    return (*found, _az(show, effect, *words.same_group))


def check_status(words: Words) -> tuple[Command, ...]:
    """See whether it worked."""
    if words.virtual_wan:
        return _read_link(words, "connectionStatus", "Connected when the tunnel is up, some minutes late", lead="")
    show = f"az network vpn-connection show -g {words.group} -n {words.connection} --query connectionStatus"
    return (_az(show, "None; it shows Connected when the tunnel is up, some minutes late.", *words.same_group),)


def list_ike_sas(words: Words) -> tuple[Command, ...]:
    """Read what is negotiated right now."""
    if words.virtual_wan:
        get = (
            f"Get-AzVpnSiteLinkConnectionIkeSa -ResourceGroupName {words.group} -VpnGatewayName {words.gateway}"
            f" -VpnConnectionName {words.connection} -Name {words.link}"
        )
        return (_powershell(get, "None; it shows the security associations that exist now.", NO_UNDO),)
    listing = f"az network vpn-connection list-ike-sas -g {words.group} -n {words.connection}"
    return (_az(listing, "None; it shows the security associations that exist now.", *words.same_group),)


def set_policy(words: Words, phase: Phase, proposal: Proposal, agreed: Agreed, present: bool) -> tuple[Command, ...]:
    """Set a custom policy with `proposal` for `phase`; `present` says that the connection has one already.

    All six values are required. What is not known stays a placeholder: a policy replaces all of Azure's default offers,
    so a guess in the other phase could break what works there. What is configured is known: its other phase and its
    lifetimes stay as they are.
    """
    configured = words.configured
    if configured is not None:
        present = present or configured.custom  # the log may show one that the reading does not
        agreed = Agreed(configured.ike or agreed.ike, configured.ipsec or agreed.ipsec)
    values, told = policy_values(words.kind, phase, proposal, agreed)
    if configured is not None and configured.custom:
        values, told = _keep(configured, phase, values, told, group_given=bool(proposal.group))
    assumed = [*words.same_group, *told]
    if words.virtual_wan:
        return (_set_virtual_wan(words, values, told, present=present),)
    replace = _replace(words, values)
    clear = f"az network vpn-connection ipsec-policy clear -g {words.group} --connection-name {words.connection}"
    if present:
        undo = "The same three lines with the six values shown by the check."
        if configured is not None and configured.custom:
            undo = _replace(words, dict(zip(values, _held(configured), strict=True)))
        return (_powershell(replace, f"Replaces the custom policy of this connection. {DROPS}", undo, *assumed),)
    if configured is not None and configured.policy_based:
        update = f"az network vpn-connection update -g {words.group} -n {words.connection}"
        undo = f"{clear}\n{update} --use-policy-based-traffic-selectors true\n(back to the default offers; the first line alone would switch policy-based traffic selectors off)"
    elif configured is not None:
        undo = f"{clear}\n(back to the default offers)"
    else:
        undo = f"{clear}\n(back to the default offers; it also switches policy-based traffic selectors off)"
    flags = " ".join(f"--{_flag(parameter)} {value}" for parameter, value in values.items())
    add = (
        f"az network vpn-connection ipsec-policy add -g {words.group} --connection-name {words.connection} {flags}"
        f" --sa-lifetime {SA_LIFETIME} --sa-max-size {SA_SIZE}"
    )
    first = "The check shows no custom policy on this connection (p is empty): this command adds, it does not replace."
    either = "The same change as with az, and the right one if the connection has a policy already: it replaces."
    if configured is not None:
        first, either = (
            "The connection still has no custom policy: this command adds, it does not replace.",
            "The same change as with az.",
        )
    return (
        write(ActionOn.AZURE, "az", add, f"Sets the custom policy. {DROPS}", undo, (first, *assumed)),
        _powershell(replace, f"{either} {DROPS}", f"Without a policy before: {undo}", *assumed),
    )


def _replace(words: Words, values: Mapping[Parameter, str]) -> str:
    configured = words.configured
    lifetime = (configured.lifetime if configured else 0) or SA_LIFETIME
    size = (configured.size if configured else 0) or SA_SIZE
    return "\n".join(
        (
            f"$c = Get-AzVirtualNetworkGatewayConnection -Name {words.connection} -ResourceGroupName {words.group}",
            "$p = New-AzIpsecPolicy "
            + " ".join(f"-{_cmdlet(parameter)} {value}" for parameter, value in values.items())
            + f" -SALifeTimeSeconds {lifetime} -SADataSizeKilobytes {size}",
            "Set-AzVirtualNetworkGatewayConnection -VirtualNetworkGatewayConnection $c -IpsecPolicies $p",
        )
    )


def _held(configured: Connection) -> tuple[str, ...]:
    """The six values of the custom policy as it is, each one of Azure's or a placeholder."""
    ike, ipsec = configured.ike or _UNKNOWN, configured.ipsec or _UNKNOWN
    values = (ike.encryption, ike.integrity, ike.group, ipsec.encryption, ipsec.integrity, ipsec.group)
    kinds = tuple(custom_values(kind, p) for p in _HOLES for kind in GatewayKind)
    named = {name for names in kinds for name in names}
    return tuple(v if v in named else hole for v, hole in zip(values, _HOLES.values(), strict=True))


def _keep(
    configured: Connection,
    phase: Phase,
    values: dict[Parameter, str],
    told: tuple[str, ...],
    *,
    group_given: bool,
) -> tuple[dict[Parameter, str], tuple[str, ...]]:
    """Leave the other phase as it is configured, weak or not: this change is not about it."""
    other = parameters(Phase.IPSEC if phase is Phase.IKE else Phase.IKE)
    held = dict(zip(values, _held(configured), strict=True))
    kept = {p: held[p] if p in other else value for p, value in values.items()}
    frail = [p for p in other if weak(held[p], p)]
    if phase is Phase.IPSEC and not group_given:
        # Nobody asked for another group: what the connection has is what it keeps.
        kept[Parameter.PFS_GROUP] = held[Parameter.PFS_GROUP]
    said = [t for t in told if any(v.startswith("<") for v in kept.values())]
    if frail:
        said.append(
            f"{', '.join(f'{p.value} {held[p]}' for p in frail)} stays as it is configured, although it is weak."
        )
    return kept, tuple(said)


def policy_values(
    kind: GatewayKind, phase: Phase, proposal: Proposal, agreed: Agreed
) -> tuple[dict[Parameter, str], tuple[str, ...]]:
    """The six values of a custom policy, and what is to be said about those that are placeholders.

    Only strong values that this kind of gateway supports get through, whatever the log says.
    """
    ike = proposal if phase is Phase.IKE else agreed.ike
    ipsec = proposal if phase is Phase.IPSEC else agreed.ipsec
    wanted = {
        Parameter.IKE_ENCRYPTION: ike.encryption if ike else "",
        Parameter.IKE_INTEGRITY: ike.integrity if ike else "",
        Parameter.DH_GROUP: ike.group if ike else "",
        Parameter.IPSEC_ENCRYPTION: ipsec.encryption if ipsec else "",
        Parameter.IPSEC_INTEGRITY: ipsec.integrity if ipsec else "",
        Parameter.PFS_GROUP: ipsec.group if ipsec else "",
    }
    values = {parameter: _settle(kind, parameter, value) for parameter, value in wanted.items()}
    if values[Parameter.IPSEC_ENCRYPTION].startswith("GCM"):
        values[Parameter.IPSEC_INTEGRITY] = values[Parameter.IPSEC_ENCRYPTION]
    told = []
    if any(values[p].startswith("<") for p in (Parameter.IKE_ENCRYPTION, Parameter.IKE_INTEGRITY, Parameter.DH_GROUP)):
        told.append("Phase 1 values not known here: take those the peer uses; list-ike-sas shows them while IKE is up.")
    ipsec_open = (Parameter.IPSEC_ENCRYPTION, Parameter.IPSEC_INTEGRITY)
    if any(values[p].startswith("<") for p in ipsec_open):
        told.append("Phase 2 was never negotiated in this log: ask the peer for its IPsec encryption and integrity.")
    if values[Parameter.PFS_GROUP].startswith("<"):
        told.append("PFS does not show in this log: ask the peer for its PFS group, or None if it has PFS off.")
    return values, tuple(told)


def reset_connection(words: Words) -> Command:
    """Reset this connection alone: the right first reset (facts 06 4.3)."""
    if words.virtual_wan:
        reset = (
            f"Reset-AzVpnSiteLinkConnection -ResourceGroupName {words.group} -VpnGatewayName {words.gateway}"
            f" -VpnConnectionName {words.connection} -Name {words.link}"
        )
        return _powershell(reset, "Resets this link connection only. Its tunnel drops for some seconds.", NO_UNDO)
    reset = f"Reset-AzVirtualNetworkGatewayConnection -ResourceGroupName {words.group} -Name {words.connection}"
    return _powershell(
        reset, "Resets this connection only. Its tunnel drops for some seconds.", NO_UNDO, *words.same_group
    )


def set_key(words: Words) -> tuple[Command, ...]:
    """Enter a new key from a prompt: it is never part of the line that is typed, nor of the shell's history."""
    if words.virtual_wan:
        return ()
    effect = f"Asks for the key without showing it and sets it. {DROPS}"
    undo = "The old key, if somebody has it; it is in no log."
    private = "This machine is yours alone: while az runs, its arguments can be seen in the process list."
    az = (
        'read -rs -p "Pre-shared key: " PSK\n'
        f"az network vpn-connection shared-key update -g {words.group} --connection-name {words.connection}"
        ' --value "$PSK" -o none\n'
        "unset PSK"
    )
    powershell = (
        "$k = Read-Host -AsSecureString 'Pre-shared key'\n"
        f"Set-AzVirtualNetworkGatewayConnectionSharedKey -Name {words.connection} -ResourceGroupName {words.group}"
        " -Value ([Net.NetworkCredential]::new('', $k).Password) | Out-Null"
    )
    return (
        write(ActionOn.AZURE, "az", az, effect, undo, (*words.same_group, private)),
        _powershell(powershell, f"The same change as with az. {effect}", undo, *words.same_group),
    )


def measure_key(words: Words) -> tuple[Command, ...]:
    """Compare the key's length without showing the key."""
    if words.virtual_wan:
        return ()
    show = (
        f"az network vpn-connection shared-key show -g {words.group} --connection-name {words.connection}"
        ' --query "length(value)"'
    )
    return (_az(show, "None; it prints how many characters the key has, not the key.", *words.same_group),)


def set_property(words: Words, name: str, value: str, undo: str, effect: str = DROPS) -> tuple[Command, ...]:
    """Set one property of the connection (`connectionMode`, `dpdTimeoutSeconds`), both of them constants of ours."""
    if words.virtual_wan:
        return ()
    update = f"az network vpn-connection update -g {words.group} -n {words.connection} --set {name}"
    if words.configured is not None:
        before = {"connectionMode": words.configured.mode.value, "dpdTimeoutSeconds": str(words.configured.dpd)}.get(
            name
        )
        undo = f"{update}={before}" if before is not None else undo
        if before == value or (name == "dpdTimeoutSeconds" and not 0 < words.configured.dpd < SHORT_DPD):
            return ()  # it is so already, or long enough
    update = f"{update}={value}"
    below = (
        (f"The check shows less than {SHORT_DPD}; empty means the default, 45.",) if name == "dpdTimeoutSeconds" else ()
    )
    return (write(ActionOn.AZURE, "az", update, effect, undo, (*below, *words.same_group)),)


def show_property(words: Words, name: str) -> tuple[Command, ...]:
    """Read one property of the connection."""
    if words.virtual_wan:
        return _read_link(words, _OF_LINK.get(name, name), "it", lead="")
    show = f"az network vpn-connection show -g {words.group} -n {words.connection} --query {name}"
    return (_az(show, NONE, *words.same_group),)


def set_policy_based_selectors(words: Words) -> tuple[Command, ...]:
    """Let Azure propose one pair of selectors per VNet prefix and local gateway prefix."""
    if words.virtual_wan:
        return ()
    update = (
        f"az network vpn-connection update -g {words.group} -n {words.connection} --use-policy-based-traffic-selectors"
    )
    effect = (
        f"Azure proposes one pair per VNet prefix and local network gateway prefix, at most 200 a gateway. {DROPS} The sites"
        " behind this connection then reach this VNet only, and a peer that uses any-to-any is refused."
    )
    assumed = (
        *words.same_group,
        "The peer is policy-based and cannot be changed; no BGP and no transit on this connection.",
    )
    return (write(ActionOn.AZURE, "az", f"{update} true", effect, f"{update} false", assumed),)


def show_site(words: Words, query: str) -> tuple[Command, ...]:
    """Read the resource that stands for the peer's site; `query` is a constant of ours."""
    if words.peer_gateway:
        return ()
    if words.virtual_wan:
        effect = "None; it shows address and prefixes of the site."
        show = f"az network vpn-site show -g {words.site_group} -n {words.site_name}"
        get = f"Get-AzVpnSite -ResourceGroupName {words.site_group} -Name {words.site_name}"
        return (
            _az(show, effect, *words.same_site_group, _EXTENSION),
            _powershell(get, effect, NO_UNDO, *words.same_site_group),
        )
    show = f"az network local-gateway show -g {words.site_group} -n {words.site_name} --query {query}"
    return (_az(show, NONE, *words.same_site_group),)


def set_site(words: Words, flag: str, value: str, effect: str) -> tuple[Command, ...]:
    """Change the local network gateway; `value` is made of checked addresses and placeholders."""
    if words.virtual_wan or words.peer_gateway:
        return ()
    update = f"az network local-gateway update -g {words.site_group} -n {words.site_name} {flag} {value}"
    assumed = (
        *words.same_site_group,
        "The owner of the site confirmed the value by telephone.",
    )
    undo = "The same command with the value that the check showed."
    if words.configured is not None:
        held = {
            "--gateway-ip-address": words.configured.remote,
            "--local-address-prefixes": " ".join(networks(words.configured.prefixes)),
        }.get(flag, "")
        undo = f"{update.removesuffix(value)}{held}" if held else undo
    return (write(ActionOn.AZURE, "az", update, effect, undo, assumed),)


def show_gateway_subnet(words: Words) -> tuple[Command, ...]:
    """Look for a route table or network security group on the GatewaySubnet."""
    if words.virtual_wan:
        return ()
    query = '--query "{rt:routeTable.id,nsg:networkSecurityGroup.id}"'
    show = f"az network vnet subnet show -g {words.network_group} --vnet-name {words.network} -n GatewaySubnet {query}"
    return (_az(show, "None; both should be empty, or let UDP 500, UDP 4500 and ESP through."),)


def capture_packets(words: Words) -> tuple[Command, ...]:
    """Capture what reaches the gateway on this connection."""
    if words.virtual_wan:
        return ()
    start = f"az network vpn-connection packet-capture start -g {words.group} -n {words.connection}"
    stop = (
        f"az network vpn-connection packet-capture stop -g {words.group} -n {words.connection}"
        " --sas-url <storage-container-sas-url>"
    )
    effect = "None for the tunnel; it records packets until it is stopped."
    return (
        write(
            ActionOn.AZURE, "az", start, effect, stop, (*words.same_group, "Let two attempts fail before stopping it.")
        ),
    )


def show_gateway(words: Words) -> tuple[Command, ...]:
    """Read the state of the gateway itself."""
    if words.virtual_wan:
        return ()
    show = f"az network vnet-gateway show -g {words.gateway_group} -n {words.gateway} --query provisioningState"
    return (_az(f"{_subscription(words)}{show}", "None; it shows Succeeded when no operation is under way."),)


def show_activity(words: Words) -> tuple[Command, ...]:
    """See who changed the gateway."""
    show = f"az monitor activity-log list --resource-id {words.gateway_id}"
    return (_az(f"{_subscription(words)}{show}", "None; it shows who changed the gateway and when."),)


def show_bgp(words: Words) -> tuple[Command, ...]:
    """Read the BGP sessions and the routes learned."""
    if words.virtual_wan:
        return ()
    peers = f"az network vnet-gateway list-bgp-peer-status -g {words.gateway_group} -n {words.gateway} -o table"
    routes = f"az network vnet-gateway list-learned-routes -g {words.gateway_group} -n {words.gateway} -o table"
    return (
        _az(f"{_subscription(words)}{peers}", "None; it shows state, ASN and address of each BGP peer."),
        _az(routes, "None; it shows the routes learned."),
    )


def show_site_bgp(words: Words) -> tuple[Command, ...]:
    """Read the BGP settings Azure holds for the peer."""
    return show_site(words, "bgpSettings")


_EXTENSION = "The virtual-wan extension of the az command line is installed."
_LINK = "{p:ipsecPolicies,v:vpnConnectionProtocolType,mode:vpnLinkConnectionMode,ts:usePolicyBasedTrafficSelectors}"
_OF_LINK = {"connectionMode": "vpnLinkConnectionMode", "connectionProtocol": "vpnConnectionProtocolType"}
"""What Virtual WAN calls a property that the other connections have, too."""


def _read_link(words: Words, query: str, what: str, *, lead: str) -> tuple[Command, ...]:
    show = (
        f"{lead}az network vpn-gateway connection vpn-site-link-conn list -g {words.group}"
        f" --gateway-name {words.gateway} --connection-name {words.connection}"
        f" --query \"[?name=='{words.link}'].{query}\""
    )
    return (_az(show, f"None; it shows {what}, of this link.", _EXTENSION),)


def _check_virtual_wan(words: Words) -> Command:
    get = (
        f"Get-AzVpnConnection -ResourceGroupName {words.group} -ParentResourceName {words.gateway}"
        f" -Name {words.connection}"
    )
    return _powershell(get, "None; it shows the connection with its links and IPsec policies. Keep a copy.", NO_UNDO)


def _set_virtual_wan(words: Words, values: Mapping[Parameter, str], told: tuple[str, ...], *, present: bool) -> Command:
    configured = words.configured
    link = f"-g {words.group} --gateway-name {words.gateway} --connection-name {words.connection} --name {words.link}"
    group = "az network vpn-gateway connection vpn-site-link-conn ipsec-policy"
    # A link holds one policy, and `add` makes a second: the one there is goes first.
    remove = f"{group} remove {link} --index 1"
    lifetime = (configured.lifetime if configured is not None else 0) or SA_LIFETIME
    size = (configured.size if configured is not None else 0) or SA_SIZE

    def add(those: Mapping[Parameter, str]) -> str:
        flags = " ".join(f"--{_flag(parameter)} {value}" for parameter, value in those.items())
        return f"{group} add {link} {flags} --sa-lifetime {lifetime} --sa-data-size {size}"

    command, undo = add(values), f"{remove}\n(back to the default offers)"
    effect = "Sets the custom policy of this link. Its tunnel drops for some seconds."
    needs = "The link has no custom policy yet (the check shows none); with one, remove it first (ipsec-policy remove --index 1)."
    if configured is not None and configured.custom:
        held = dict(zip(values, _held(configured), strict=True))
        command, undo = f"{remove}\n{command}", f"{remove}\n{add(held)}"
        effect = (
            "Takes the custom policy of this link away and sets the new one. Its tunnel drops for some seconds, twice."
        )
        needs = "The link still has the one policy that was read."
    elif configured is not None and not present:
        needs = "The link still has no custom policy."
    return write(ActionOn.AZURE, "az", command, effect, undo, (needs, _EXTENSION, *told))


def _settle(kind: GatewayKind, parameter: Parameter, value: str) -> str:
    known = spell(value)
    if known not in custom_values(kind, parameter) or weak(known, parameter):
        return _HOLES[parameter]
    # The Virtual WAN documents name group 14 PFS14, those of the VPN Gateway PFS2048; the API takes both.
    return "PFS14" if kind is GatewayKind.VIRTUAL_WAN and known == "PFS2048" else known


def _flag(parameter: Parameter) -> str:
    return {
        Parameter.IKE_ENCRYPTION: "ike-encryption",
        Parameter.IKE_INTEGRITY: "ike-integrity",
        Parameter.DH_GROUP: "dh-group",
        Parameter.IPSEC_ENCRYPTION: "ipsec-encryption",
        Parameter.IPSEC_INTEGRITY: "ipsec-integrity",
        Parameter.PFS_GROUP: "pfs-group",
    }[parameter]


def _cmdlet(parameter: Parameter) -> str:
    return parameter.value


def _subscription(words: Words) -> str:
    return f"az account set --subscription {words.subscription}\n" if words.subscription else ""


def _az(text: str, effect: str, *assumed: str) -> Command:
    return write(ActionOn.AZURE, "az", text, effect, NO_UNDO, assumed)


def _powershell(text: str, effect: str, undo: str, *assumed: str) -> Command:
    return write(ActionOn.AZURE, "PowerShell", text, effect, undo, (*assumed, _SIGNED_IN))
