"""Advisory -> Steps and commands: what to do while the tunnel still works, at leisure.

A restart at the peer interrupts what is up, so no command here does one (facts 06 4.5).
"""

from __future__ import annotations

from ikestream.finding import Finding
from ikestream.offers import Agreed, Phase
from ikestream.remedy import azure, peer, policy
from ikestream.remedy.names import Words
from ikestream.remedy.steps import NOTHING, Plan, Steps


def restore_redundancy(_finding: Finding, words: Words, _agreed: Agreed) -> Plan:
    """One of several legs is down."""
    addresses = " and ".join(words.azure_ips) or "both public IP addresses of the gateway"
    steps = Steps(
        check="traffic still flows over the other leg. See which Azure address has no tunnel.",
        azure=NOTHING,
        peer=f"the device needs a tunnel to each of {addresses}, with the same policy and key, and a firewall that lets both in."
        " Restart only the tunnel to the address that is missing: the other one carries everything.",
        proof="every leg of the tunnel is up.",
    )
    return steps, (*azure.list_ike_sas(words), *peer.view(words))


def mend_child(_finding: Finding, words: Words, _agreed: Agreed) -> Plan:
    """IKE is up and an IPsec security association is refused."""
    steps = Steps(
        check="IKE is up, but an IPsec security association is refused or not answered. Compare phase 2, PFS and selectors.",
        azure="nothing to change until the parameter is known.",
        peer="read its log at the time of the refusal; it names what it did not accept. A restart of this tunnel takes down what"
        " still works: only if nothing passes, or at a time that suits.",
        proof="the peer lists an IPsec security association for every pair of prefixes.",
    )
    return steps, (*azure.check_connection(words), *azure.list_ike_sas(words), *peer.view(words))


def renew_in_time(_finding: Finding, words: Words, _agreed: Agreed) -> Plan:
    """A renewal failed and the tunnel is still up: nothing here takes it down."""
    steps = Steps(
        check="traffic still flows. Read the peer's log at the time of the rekey, and see whether it has renewed since.",
        azure="nothing to change until the reason is known, and no reset: it would drop the tunnel now instead of later.",
        peer="the same PFS group as on Azure, which shows only at a rekey, and lifetimes that differ from Azure's (27,000 s"
        " for phase 2, 28,800 s for phase 1). If nothing helps before the old keys end, restart only this tunnel at a time"
        " that suits.",
        proof="the tunnel stays up longer than one phase 2 lifetime.",
    )
    return steps, (*azure.check_connection(words), *azure.list_ike_sas(words), *peer.view(words))


def widen_selectors(_finding: Finding, words: Words, _agreed: Agreed) -> Plan:
    """The tunnel carries fewer prefixes than before."""
    steps = Steps(
        check="the tunnel works, for fewer prefixes than before. Can the missing ones still be reached?",
        azure=f"see that the {words.site} holds every prefix of the site.",
        peer="add the missing prefixes to its selectors, or use any-to-any (route-based) if the device can.",
        proof="hosts in the missing prefixes answer.",
    )
    return steps, (
        *azure.show_site(words, "localNetworkAddressSpace.addressPrefixes"),
        *azure.list_ike_sas(words),
        *peer.view(words),
    )


def end_periodic_drops(_finding: Finding, words: Words, _agreed: Agreed) -> Plan:
    """Drops come at equal intervals."""
    steps = Steps(
        check="drops at equal intervals come from a timer, nearly always a lifetime that ends: find the one that fits on"
        " either end. IKEv1 on Azure drops for up to 5 seconds at every phase 1 rekey; that is normal.",
        azure="nothing to change. Lifetimes need not match.",
        peer="use IKEv2; compare the PFS group; switch off reauthentication, or make it overlap.",
        proof="the next end of that lifetime passes without a drop.",
    )
    return steps, (*azure.check_connection(words), *azure.list_ike_sas(words), *peer.view(words))


def calm_flapping(_finding: Finding, words: Words, _agreed: Agreed) -> Plan:
    """The tunnel goes up and down."""
    steps = Steps(
        check="read the device's log and its access line for loss; see whether two devices or tunnels share one configuration.",
        azure="nothing to change, unless the DPD timeout is below 30 seconds: then set it to 45.",
        peer="cure the line or the device first. Only one tunnel per pair of addresses.",
        proof="the tunnel stays up for an hour.",
    )
    commands = (
        *azure.show_property(words, "dpdTimeoutSeconds"),
        *peer.view(words),
        *azure.set_property(words, "dpdTimeoutSeconds", "45", "The same command with the value that the check showed."),
    )
    return steps, commands


def strengthen(_finding: Finding, words: Words, agreed: Agreed) -> Plan:
    """What was chosen is weak."""
    steps = Steps(
        check="the tunnel works with weak algorithms. Ask the owner of the peer what else the device has.",
        azure="at an agreed time set a custom policy. Good values: AES256, SHA384 or SHA256, ECP384, ECP256 or DHGroup14 for"
        " phase 1; GCMAES256 and a PFS group from ECP384, ECP256, PFS2048 for phase 2.",
        peer="offer the same values first, beside the old ones; take the old ones away when the tunnel is up again.",
        proof="the advisory does not come back after the next rekey.",
    )
    commands = (
        *azure.check_connection(words),
        *peer.view(words),
        *azure.set_policy(words, Phase.IKE, policy.UNKNOWN, Agreed(ipsec=agreed.ipsec), present=False),
    )
    return steps, commands


def name_stranger(_finding: Finding, words: Words, _agreed: Agreed) -> Plan:
    """Addresses without a connection knock."""
    steps = Steps(
        check="is one of these addresses a site of yours that moved? Ask its owner by telephone.",
        azure="nothing to change: an address without a connection is refused. Enter a new address only when its owner"
        " confirmed it.",
        peer=NOTHING,
        proof="nothing needs to happen; scanners come and go.",
    )
    return steps, azure.show_site(words, "gatewayIpAddress")


def wake_feed(_finding: Finding, words: Words, _agreed: Agreed) -> Plan:
    """A gateway that wrote logs is silent."""
    steps = Steps(
        check="does the gateway still exist, and does its diagnostic setting still send IKEDiagnosticLog and"
        " TunnelDiagnosticLog to the Event Hub?",
        azure="switch the diagnostic setting on again. Until then nothing here says whether a tunnel is up.",
        peer=NOTHING,
        proof="records of this gateway arrive again.",
    )
    return steps, (*azure.show_gateway(words), *azure.check_status(words))
