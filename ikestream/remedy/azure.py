"""Words -> Command: what is typed on Azure's side.

`az` flags were read in the source of azure-cli 2.91.0, PowerShell parameters in the reference pages (facts 04 and 06
4.3). Nothing here was run against Azure. `ipsec-policy add` appends to the list although a connection may hold one
policy only, so a policy that exists is replaced with PowerShell. CLI 2.91.0 has no reset of one connection: PowerShell
has.
"""

from __future__ import annotations

from ikestream.events import Proposal
from ikestream.finding import ActionOn, Command, Parameter
from ikestream.offers import GatewayKind, Phase, custom_values, spell, weak
from ikestream.remedy.names import SAME_GROUP, Agreed, Words, write

NONE = "None; it only reads."
NO_UNDO = "Not needed."
DROPS = "Drops this tunnel for some seconds, on every leg. Other connections of the gateway are not touched."
_SITE_GROUP = "The resource of the site is in the resource group of the gateway."
_SIGNED_IN = "PowerShell is signed in to the subscription of the gateway."
SA_LIFETIME = 27000  # seconds, Azure's default; lifetimes are not negotiated and need not match (facts 01)
SA_SIZE = 102400000  # KB, Azure's default

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
        return (_check_virtual_wan(words),)
    found = []
    if words.connection.startswith("<"):
        listing = f"az network vpn-connection list -g {words.group} --vnet-gateway {words.gateway} -o table"
        found.append(_az(f"{_subscription(words)}{listing}", "None; it lists the gateway's connections by name."))
    query = '--query "{p:ipsecPolicies,v:connectionProtocol,ts:usePolicyBasedTrafficSelectors}"'
    lead = _subscription(words) if not found else ""
    show = f"{lead}az network vpn-connection show -g {words.group} -n {words.connection} {query}"
    effect = "None; it shows custom policy (p), IKE version (v) and policy-based selectors (ts). Keep a copy."
    return (*found, _az(show, effect, SAME_GROUP))


def check_status(words: Words) -> tuple[Command, ...]:
    """See whether it worked."""
    if words.virtual_wan:
        return ()
    show = f"az network vpn-connection show -g {words.group} -n {words.connection} --query connectionStatus"
    return (_az(show, "None; it shows Connected when the tunnel is up, some minutes late.", SAME_GROUP),)


def list_ike_sas(words: Words) -> tuple[Command, ...]:
    """Read what is negotiated right now."""
    if words.virtual_wan:
        return ()
    listing = f"az network vpn-connection list-ike-sas -g {words.group} -n {words.connection}"
    return (_az(listing, "None; it shows the security associations that exist now.", SAME_GROUP),)


def set_policy(words: Words, phase: Phase, proposal: Proposal, agreed: Agreed, present: bool) -> tuple[Command, ...]:
    """Set a custom policy with `proposal` for `phase`; `present` says that the connection has one already.

    All six values are required. What is not known stays a placeholder: a policy replaces all of Azure's default offers,
    so a guess in the other phase could break what works there.
    """
    values, told = policy_values(words.kind, phase, proposal, agreed)
    assumed = [SAME_GROUP, *told]
    if words.virtual_wan:
        return (_set_virtual_wan(words, values, assumed),)
    replace = "\n".join(
        (
            f"$c = Get-AzVirtualNetworkGatewayConnection -Name {words.connection} -ResourceGroupName {words.group}",
            "$p = New-AzIpsecPolicy "
            + " ".join(f"-{_cmdlet(parameter)} {value}" for parameter, value in values.items())
            + f" -SALifeTimeSeconds {SA_LIFETIME} -SADataSizeKilobytes {SA_SIZE}",
            "Set-AzVirtualNetworkGatewayConnection -VirtualNetworkGatewayConnection $c -IpsecPolicies $p",
        )
    )
    clear = f"az network vpn-connection ipsec-policy clear -g {words.group} --connection-name {words.connection}"
    if present:
        undo = "The same three lines with the six values shown by the check."
        return (_powershell(replace, f"Replaces the custom policy of this connection. {DROPS}", undo, *assumed),)
    undo = f"{clear}\n(back to the default offers; it also switches policy-based traffic selectors off)"
    flags = " ".join(f"--{_flag(parameter)} {value}" for parameter, value in values.items())
    add = (
        f"az network vpn-connection ipsec-policy add -g {words.group} --connection-name {words.connection} {flags}"
        f" --sa-lifetime {SA_LIFETIME} --sa-max-size {SA_SIZE}"
    )
    first = "The check shows no custom policy on this connection (p is empty): this command adds, it does not replace."
    either = "The same change as with az, and the right one if the connection has a policy already: it replaces."
    return (
        write(ActionOn.AZURE, "az", add, f"Sets the custom policy. {DROPS}", undo, (first, *assumed)),
        _powershell(replace, f"{either} {DROPS}", f"Without a policy before: {undo}", *assumed),
    )


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
            f" -VpnConnectionName {words.connection} -Name <link-connection-name>"
        )
        return _powershell(reset, "Resets this link connection only. Its tunnel drops for some seconds.", NO_UNDO)
    reset = f"Reset-AzVirtualNetworkGatewayConnection -ResourceGroupName {words.group} -Name {words.connection}"
    return _powershell(reset, "Resets this connection only. Its tunnel drops for some seconds.", NO_UNDO, SAME_GROUP)


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
        write(ActionOn.AZURE, "az", az, effect, undo, (SAME_GROUP, private)),
        _powershell(powershell, f"The same change as with az. {effect}", undo, SAME_GROUP),
    )


def measure_key(words: Words) -> tuple[Command, ...]:
    """Compare the key's length without showing the key."""
    if words.virtual_wan:
        return ()
    show = (
        f"az network vpn-connection shared-key show -g {words.group} --connection-name {words.connection}"
        ' --query "length(value)"'
    )
    return (_az(show, "None; it prints how many characters the key has, not the key.", SAME_GROUP),)


def set_property(words: Words, name: str, value: str, undo: str, effect: str = DROPS) -> tuple[Command, ...]:
    """Set one property of the connection (`connectionMode`, `dpdTimeoutSeconds`), both of them constants of ours."""
    if words.virtual_wan:
        return ()
    update = f"az network vpn-connection update -g {words.group} -n {words.connection} --set {name}={value}"
    return (write(ActionOn.AZURE, "az", update, effect, undo, (SAME_GROUP,)),)


def show_property(words: Words, name: str) -> tuple[Command, ...]:
    """Read one property of the connection."""
    if words.virtual_wan:
        return ()
    show = f"az network vpn-connection show -g {words.group} -n {words.connection} --query {name}"
    return (_az(show, NONE, SAME_GROUP),)


def set_policy_based_selectors(words: Words) -> tuple[Command, ...]:
    """Let Azure propose one pair of selectors per VNet prefix and local gateway prefix."""
    if words.virtual_wan:
        return ()
    update = (
        f"az network vpn-connection update -g {words.group} -n {words.connection} --use-policy-based-traffic-selectors"
    )
    effect = (
        f"Azure proposes one pair per VNet prefix and local network gateway prefix. {DROPS} The sites behind this"
        " connection then reach this VNet only."
    )
    assumed = (SAME_GROUP, "The peer is policy-based and cannot be changed; no BGP and no transit on this connection.")
    return (write(ActionOn.AZURE, "az", f"{update} true", effect, f"{update} false", assumed),)


def show_site(words: Words, query: str) -> tuple[Command, ...]:
    """Read the resource that stands for the peer's site; `query` is a constant of ours."""
    if words.virtual_wan:
        get = f"Get-AzVpnSite -ResourceGroupName {words.group} -Name <vpn-site>"
        return (_powershell(get, "None; it shows address and prefixes of the site.", NO_UNDO, _SITE_GROUP),)
    show = f"az network local-gateway show -g {words.group} -n <local-network-gateway> --query {query}"
    return (_az(show, NONE, _SITE_GROUP),)


def set_site(words: Words, flag: str, value: str, effect: str) -> tuple[Command, ...]:
    """Change the local network gateway; `value` is made of checked addresses and placeholders."""
    if words.virtual_wan:
        return ()
    update = f"az network local-gateway update -g {words.group} -n <local-network-gateway> {flag} {value}"
    assumed = (
        _SITE_GROUP,
        "The owner of the site confirmed the value by telephone.",
    )
    undo = "The same command with the value that the check showed."
    return (write(ActionOn.AZURE, "az", update, effect, undo, assumed),)


def show_gateway_subnet(words: Words) -> tuple[Command, ...]:
    """Look for a route table or network security group on the GatewaySubnet."""
    if words.virtual_wan:
        return ()
    query = '--query "{rt:routeTable.id,nsg:networkSecurityGroup.id}"'
    show = f"az network vnet subnet show -g {words.group} --vnet-name <virtual-network> -n GatewaySubnet {query}"
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
        write(ActionOn.AZURE, "az", start, effect, stop, (SAME_GROUP, "Let two attempts fail before stopping it.")),
    )


def show_gateway(words: Words) -> tuple[Command, ...]:
    """Read the state of the gateway itself."""
    if words.virtual_wan:
        return ()
    show = f"az network vnet-gateway show -g {words.group} -n {words.gateway} --query provisioningState"
    return (_az(f"{_subscription(words)}{show}", "None; it shows Succeeded when no operation is under way."),)


def show_activity(words: Words) -> tuple[Command, ...]:
    """See who changed the gateway."""
    show = f"az monitor activity-log list --resource-id {words.gateway_id}"
    return (_az(f"{_subscription(words)}{show}", "None; it shows who changed the gateway and when."),)


def show_bgp(words: Words) -> tuple[Command, ...]:
    """Read the BGP sessions and the routes learned."""
    if words.virtual_wan:
        return ()
    peers = f"az network vnet-gateway list-bgp-peer-status -g {words.group} -n {words.gateway} -o table"
    routes = f"az network vnet-gateway list-learned-routes -g {words.group} -n {words.gateway} -o table"
    return (
        _az(f"{_subscription(words)}{peers}", "None; it shows state, ASN and address of each BGP peer."),
        _az(routes, "None; it shows the routes learned."),
    )


def show_site_bgp(words: Words) -> tuple[Command, ...]:
    """Read the BGP settings Azure holds for the peer."""
    return show_site(words, "bgpSettings")


def _check_virtual_wan(words: Words) -> Command:
    get = (
        f"Get-AzVpnConnection -ResourceGroupName {words.group} -ParentResourceName {words.gateway}"
        f" -Name {words.connection}"
    )
    return _powershell(get, "None; it shows the connection with its links and IPsec policies. Keep a copy.", NO_UNDO)


def _set_virtual_wan(words: Words, values: dict[Parameter, str], assumed: list[str]) -> Command:
    flags = " ".join(f"--{_flag(parameter)} {value}" for parameter, value in values.items())
    add = (
        f"az network vpn-gateway connection vpn-site-link-conn ipsec-policy add -g {words.group}"
        f" --gateway-name {words.gateway} --connection-name {words.connection} --name <link-connection-name> {flags}"
        f" --sa-lifetime {SA_LIFETIME} --sa-data-size {SA_SIZE}"
    )
    undo = "Portal: the hub's VPN (Site to site) > the connection > edit the link > IPsec: Default."
    needs = (
        "The link has no custom policy yet (the check shows none); with one, change it in the portal instead.",
        "The virtual-wan extension of the az command line is installed.",
    )
    effect = "Sets the custom policy of this link. Its tunnel drops for some seconds."
    return write(ActionOn.AZURE, "az", add, effect, undo, (*needs, *assumed[1:]))


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
