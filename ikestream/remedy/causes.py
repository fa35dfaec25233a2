"""Cause -> Steps and commands: one row per cause and advisory, keyed by its name.

Every row begins with what only reads, makes the smallest change that can help, and never loosens Azure. Rows are keyed
by text so that a cause can be prepared before it is a member of `Cause`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from ikestream.finding import Advisory, Confidence, FailedStep, Finding
from ikestream.negotiation import UNABLE
from ikestream.offers import Agreed, Phase
from ikestream.remedy import advisories, azure, inventory, peer, policy, selectors
from ikestream.remedy.names import Words
from ikestream.remedy.steps import NOTHING, Plan, Steps

Cure: TypeAlias = Callable[[Finding, Words, Agreed], Plan]

_TSG = "https://learn.microsoft.com/troubleshoot/azure/vpn-gateway/"
_DOC = "https://learn.microsoft.com/azure/vpn-gateway/"
_CONNECT = f"{_TSG}troubleshoot-vpn-tunnel-cannot-connect"
_CODES = f"{_TSG}vpn-gateway-troubleshoot-site-to-site-error-codes"
_DROPS = f"{_TSG}vpn-gateway-troubleshoot-site-to-site-disconnected-intermittently"
_DIAGNOSTICS = f"{_TSG}troubleshoot-vpn-with-azure-diagnostics"
_DEVICES = f"{_DOC}vpn-gateway-about-vpn-devices#ipsec"
_POLICY = f"{_DOC}ipsec-ike-policy-howto"
_AVAILABLE = f"{_DOC}vpn-gateway-highlyavailable"
_MODE = f"{_DOC}vpn-gateway-about-vpn-gateway-settings#connectionmode"

_PORTAL_KEY = "Settings > Authentication type of the connection"


def _pre_shared_key(_finding: Finding, words: Words, _agreed: Agreed) -> Plan:
    addresses = ", ".join(words.azure_ips) or "the gateway's public IP address"
    place = (
        "in the hub, VPN (Site to site) > the connection > edit the link > Pre-shared key"
        if words.virtual_wan
        else _PORTAL_KEY
    )
    there = f"Its connection to this gateway: {_PORTAL_KEY}" if words.peer_gateway else peer.key_places(words)
    steps = Steps(
        check="compare the length of the key on both ends, and its first and last two characters, by telephone, never by mail"
        f" or log. In the peer's log look for an ID mismatch: it must expect {addresses} as the remote ID.",
        azure=f"agree on one new key of letters and digits, then enter it here last ({place})."
        " IKE cannot show which end is wrong, so replace it on both.",
        peer=f"enter the new key first. {there}.",
    )
    commands = (
        *azure.check_connection(words),
        *azure.measure_key(words),
        *peer.view(words),
        *azure.set_key(words),
        *peer.restart(words),
        *azure.check_status(words),
    )
    return steps, commands


def _certificate(_finding: Finding, words: Words, _agreed: Agreed) -> Plan:
    steps = Steps(
        check="on both ends read the validity dates of the certificate and of its whole chain, its subject name, and that its"
        " extended key usage has client and server authentication.",
        azure="see that the gateway's managed identity may read the certificate in Key Vault, and that the connection holds"
        " the peer's root and subject name. Replace what has expired.",
        peer="replace what has expired; install the chain that issued Azure's certificate; let large UDP packets and"
        " fragments through, since certificates make IKE_AUTH large.",
    )
    return steps, (
        *azure.check_connection(words),
        *peer.view(words),
        *azure.check_status(words),
        azure.reset_connection(words),
    )


def _ike_policy(finding: Finding, words: Words, agreed: Agreed) -> Plan:
    return policy.cure_policy(policy.read(finding, words, agreed, Phase.IKE))


def _ipsec_policy(finding: Finding, words: Words, agreed: Agreed) -> Plan:
    return policy.cure_policy(policy.read(finding, words, agreed, Phase.IPSEC))


def _pfs(finding: Finding, words: Words, agreed: Agreed) -> Plan:
    return policy.cure_pfs(policy.read(finding, words, agreed, Phase.IPSEC))


def _selectors(finding: Finding, words: Words, _agreed: Agreed) -> Plan:
    return selectors.cure_selectors(finding, words)


def _peer_not_responding(_finding: Finding, words: Words, _agreed: Agreed) -> Plan:
    senders = " and ".join(words.azure_ips) or "the gateway's public IP addresses"
    steps = Steps(
        check="is the address that Azure calls still the public address of the site? Ask the owner."
        + (
            ""
            if words.virtual_wan
            else " On the GatewaySubnet no route table or network security group may stop UDP 500, UDP 4500 or ESP."
        ),
        azure=f"if the address is wrong, correct it in the {words.site}; nothing else.",
        peer=f"is the device up and its access line too? Let UDP 500, UDP 4500 and ESP in from {senders}, then let the device"
        " start the tunnel once: if its packets arrive, they show in the log.",
        proof="lines marked RECEIVED from the peer appear in the log, then Status of the connection is Connected.",
    )
    commands = (
        *azure.show_site(words, "gatewayIpAddress"),
        *azure.show_gateway_subnet(words),
        *peer.view(words),
        *peer.restart(words),
        *azure.capture_packets(words),
        *azure.set_site(
            words,
            "--gateway-ip-address",
            "<confirmed-peer-ip>",
            "Every connection that uses this local network gateway calls the new address; their tunnels drop.",
        ),
        *azure.check_status(words),
    )
    return steps, commands


def _peer_stopped(_finding: Finding, words: Words, _agreed: Agreed) -> Plan:
    steps = Steps(
        check="read uptime and log of the device at this minute; ask its owner about the access line, load and NAT.",
        azure="nothing to change, unless the DPD timeout is below 30 seconds: then set it to 45.",
        peer="if the device runs, restart only this tunnel on it. If it is behind NAT, switch keepalives on and let it start"
        " the tunnel itself.",
    )
    commands = (
        *azure.show_property(words, "dpdTimeoutSeconds"),
        *azure.list_ike_sas(words),
        *peer.view(words),
        *peer.restart(words),
        *azure.set_property(words, "dpdTimeoutSeconds", "45", "The same command with the value that the check showed."),
        azure.reset_connection(words),
        *azure.check_status(words),
    )
    return steps, commands


def _nat_traversal(_finding: Finding, words: Words, _agreed: Agreed) -> Plan:
    senders = " and ".join(words.azure_ips) or "the gateway's public IP addresses"
    steps = Steps(
        check="capture UDP 4500 at both ends at the same time: which side's packets do not arrive?",
        azure=f"the {words.site} must hold the public address of the NAT, not the private one of the device.",
        peer=f"every firewall on the way lets UDP 4500 pass in both directions, from and to {senders}, fragments included."
        " Behind NAT forward UDP 500 and 4500 to the device and let it start the tunnel.",
    )
    commands = (
        *azure.show_site(words, "gatewayIpAddress"),
        *azure.show_gateway_subnet(words),
        *azure.capture_packets(words),
        *peer.view(words),
        *peer.restart(words),
        *azure.check_status(words),
    )
    return steps, commands


def _stalled(_finding: Finding, words: Words, _agreed: Agreed) -> Plan:
    steps = Steps(
        check="read the peer's log at the time and SPI of the attempt: it tells what it waits for or why it dropped a message.",
        azure="nothing to change yet. Capture packets on the connection while two attempts fail.",
        peer="let UDP 500 and 4500 and fragments pass; see that the remote ID it expects is the gateway's public IP address."
        " Then restart only this tunnel.",
    )
    commands = (
        *azure.check_connection(words),
        *azure.capture_packets(words),
        *peer.view(words),
        *peer.restart(words),
        azure.reset_connection(words),
        *azure.check_status(words),
    )
    return steps, commands


def _ike_version(_finding: Finding, words: Words, _agreed: Agreed) -> Plan:
    steps = Steps(
        check="read the IKE protocol of the connection (v in the check).",
        azure="nothing to change. The protocol of a connection is fixed when it is created; deleting and creating it again"
        " with the other one is the last resort, an outage, and loses its settings.",
        peer="set this tunnel to the same IKE version. Prefer IKEv2 on both ends.",
    )
    return steps, (*azure.check_connection(words), *peer.view(words), *peer.restart(words), *azure.check_status(words))


def _connection_mode(_finding: Finding, words: Words, _agreed: Agreed) -> Plan:
    steps = Steps(
        check="read the connection mode: InitiatorOnly refuses every attempt of the peer.",
        azure="Configuration > Connection Mode: Default, unless somebody wants Azure alone to start. Then leave it and find"
        " out why Azure's own attempts fail.",
        peer="nothing to change.",
    )
    commands = (
        *azure.show_property(words, "connectionMode"),
        *azure.set_property(
            words,
            "connectionMode",
            "Default",
            "The same command with InitiatorOnly.",
            "Both ends may start the tunnel. It can drop for some seconds.",
        ),
        *azure.check_status(words),
    )
    return steps, commands


def _peer_address(_finding: Finding, words: Words, _agreed: Agreed) -> Plan:
    steps = Steps(
        check="ask the owner of the site by telephone for its public address today. Never take it from the log: anybody can"
        " send such packets.",
        azure=f"if the owner confirms a new address, enter it in the {words.site} (IP address, or FQDN if it changes"
        " often).",
        peer=NOTHING,
    )
    effect = "Every connection that uses this local network gateway calls the new address; their tunnels drop."
    commands = (
        *azure.show_site(words, "gatewayIpAddress"),
        *azure.set_site(words, "--gateway-ip-address", "<confirmed-peer-ip>", effect),
        *azure.check_status(words),
    )
    return steps, commands


def _malformed(finding: Finding, words: Words, _agreed: Agreed) -> Plan:
    perhaps_ikev1 = finding.confidence is Confidence.LOW  # no line shows IKEv2
    key = (
        "with IKEv1 compare the pre-shared key first: a wrong key turns good messages into rubbish. Then "
        if perhaps_ikev1
        else ""
    )
    steps = Steps(
        check=f"{key}compare the device and its version with Microsoft's list of validated devices.",
        azure="nothing to change.",
        peer=f"{'use IKEv2 if both ends can; ' if perhaps_ikev1 else ''}update the device if its maker knows the fault; restart only this tunnel.",
    )
    commands = (
        *azure.check_connection(words),
        *(azure.measure_key(words) if perhaps_ikev1 else ()),
        *peer.view(words),
        *peer.restart(words),
        *azure.capture_packets(words),
        *azure.check_status(words),
    )
    return steps, commands


def _peer_disconnected(_finding: Finding, words: Words, _agreed: Agreed) -> Plan:
    steps = Steps(
        check="ask whether somebody cleared the tunnel there, and read idle timeout and log of the device at this minute.",
        azure="nothing to change. If it does not come back although there is traffic, reset the connection.",
        peer="switch the idle timeout off, or accept that the tunnel comes up on demand. Restart only this tunnel.",
    )
    commands = (
        *azure.list_ike_sas(words),
        *peer.view(words),
        *peer.restart(words),
        azure.reset_connection(words),
        *azure.check_status(words),
    )
    return steps, commands


def _rekey(finding: Finding, words: Words, agreed: Agreed) -> Plan:
    if isinstance(finding.cause, Advisory):
        return advisories.renew_in_time(finding, words, agreed)
    steps = Steps(
        check="read the peer's log at the time of the rekey. Compare the PFS group first: it shows only at a rekey.",
        azure="nothing to change until the reason is known. A reset of the connection brings a down tunnel back until the next"
        " rekey.",
        peer="the same PFS group as on Azure, and lifetimes that differ from Azure's (27,000 s for phase 2, 28,800 s for"
        " phase 1) so that both ends do not rekey at once.",
        proof="the tunnel stays up longer than one phase 2 lifetime.",
    )
    commands = (
        *azure.check_connection(words),
        *azure.list_ike_sas(words),
        *peer.view(words),
        azure.reset_connection(words),
        *peer.restart(words),
    )
    return steps, commands


def _rekey_collision(_finding: Finding, words: Words, _agreed: Agreed) -> Plan:
    steps = Steps(
        check="do packets stop while both ends rekey? If not, leave it: collisions sort themselves out (RFC 7296 2.8).",
        azure="nothing to change.",
        peer="choose lifetimes clearly shorter or longer than Azure's (27,000 s for phase 2, 28,800 s for phase 1).",
        proof="the advisory does not come back within a day.",
    )
    return steps, (*azure.list_ike_sas(words), *peer.view(words))


def _maintenance(_finding: Finding, words: Words, _agreed: Agreed) -> Plan:
    steps = Steps(
        check="look in the portal for planned maintenance (Service Health), and at the state of the gateway.",
        azure="wait: a planned takeover takes 10 to 15 seconds, an unplanned one up to 3 minutes. If one tunnel stays down,"
        " reset that connection. Resetting the gateway is the last resort: it drops all its tunnels and P2S clients.",
        peer="if it still holds the old security association, restart only this tunnel. An active-active gateway with a"
        " tunnel to each of its addresses keeps one up.",
    )
    commands = (
        *azure.show_gateway(words),
        *azure.check_status(words),
        *peer.view(words),
        azure.reset_connection(words),
        *peer.restart(words),
    )
    return steps, commands


def _configuration(_finding: Finding, words: Words, _agreed: Agreed) -> Plan:
    steps = Steps(
        check=f"read in the activity log who changed the gateway, a connection or a {words.site}, and whether it was"
        f" meant. A change of any {words.site} is logged as a change of the gateway.",
        azure="take the change back if it was not meant; else tell the peer's owner the new values.",
        peer="nothing to change if the change at Azure is taken back; else follow it.",
    )
    commands = (
        *azure.show_activity(words),
        *azure.check_connection(words),
        *peer.view(words),
        *azure.check_status(words),
    )
    return steps, commands


def _bgp(_finding: Finding, words: Words, _agreed: Agreed) -> Plan:
    steps = Steps(
        check="the tunnel is up, BGP inside it is not. Compare ASN and BGP peer addresses on both ends.",
        azure=f"the {words.site} holds the peer's ASN and BGP address; Enable BGP is on for the connection. Azure"
        " takes at most 4,000 prefixes. ASN 65515 is Azure's own.",
        peer="let TCP 179 pass inside the tunnel, with a route to Azure's BGP address through it. With APIPA addresses"
        " (169.254.21.0 to 169.254.22.255) the device must start the session. Hold time is 180 s.",
        proof="the BGP peer's state is Connected.",
    )
    return steps, (
        *azure.show_bgp(words),
        *azure.show_site_bgp(words),
        *azure.check_connection(words),
        *peer.view(words),
    )


_NAMED: tuple[tuple[frozenset[int], str, str], ...] = (
    (
        frozenset({13834, 13869}),
        "nothing to change: it knows the peer by the address that the {site} holds.",
        "set its local ID to the address that the {site} holds, and its remote ID to the gateway's public IP address.",
    ),
    (
        frozenset({13889}),
        "read the authentication type of the connection: pre-shared key or certificate.",
        "set phase 1 of this tunnel to the same authentication method.",
    ),
    (
        frozenset({13861}),
        "read the IPsec / IKE policy of the connection and save it again; if that does not help, ask Azure support.",
        "nothing to change.",
    ),
    (
        UNABLE,
        "look at Resource health and the metrics of the gateway. If other tunnels suffer too, ask Azure support with these lines.",
        "nothing to change: Azure's gateway could not go on.",
    ),
)
"""(codes, what to do in Azure, what at the peer): faults that a code names and no cause of the list covers."""


def _unclassified(finding: Finding, words: Words, _agreed: Agreed) -> Plan:
    tried = finding.failed_step is not FailedStep.ESTABLISHED
    named = next((does for codes, *does in _NAMED if finding.code in codes), None)
    steps = Steps(
        check=f"read the peer's log {'at the time and SPI of the attempts given here' if tried else 'at the minute it went down'},"
        " and compare the settings of both ends.",
        azure=named[0].format(site=words.site)
        if named
        else "nothing to change yet: what the log shows does not name the reason. Resetting the connection is harmless while"
        " it is down.",
        peer=named[1].format(site=words.site)
        if named
        else "restart only this tunnel, so that the peer's own attempt is in the log too.",
    )
    commands = (
        *azure.check_connection(words),
        *azure.list_ike_sas(words),
        *peer.view(words),
        *peer.restart(words),
        *azure.capture_packets(words),
        azure.reset_connection(words),
        *azure.check_status(words),
    )
    return steps, commands


CURES: dict[str, tuple[Cure, tuple[str, ...]]] = {
    "PreSharedKeyMismatch": (_pre_shared_key, (_CONNECT, _CODES)),
    "CertificateAuthenticationFailed": (_certificate, (f"{_TSG}troubleshoot-digital-certificate-authentication",)),
    "IkePolicyMismatch": (_ike_policy, (_CONNECT, _POLICY, _DEVICES)),
    "IpsecPolicyMismatch": (_ipsec_policy, (_CONNECT, _POLICY, _DEVICES)),
    "PfsMismatch": (_pfs, (_CONNECT, _POLICY, _DROPS)),
    "TrafficSelectorMismatch": (
        _selectors,
        (_CONNECT, _CODES, f"{_DOC}vpn-gateway-connect-multiple-policybased-rm-ps"),
    ),
    "PeerNotResponding": (_peer_not_responding, (_CONNECT, _CODES)),
    "PeerStoppedResponding": (_peer_stopped, (_DIAGNOSTICS, _DROPS)),
    "NatTraversalBlocked": (_nat_traversal, (_CONNECT, f"{_DOC}vpn-gateway-vpn-faq")),
    "NegotiationStalled": (_stalled, (_CONNECT, _DIAGNOSTICS)),
    "IkeVersionMismatch": (_ike_version, (_CODES,)),
    "ConnectionModeRefused": (_connection_mode, (_CODES, _MODE)),
    "PeerAddressMismatch": (_peer_address, (_CONNECT,)),
    "MalformedIke": (_malformed, (_CODES, _DEVICES)),
    "PeerDisconnected": (_peer_disconnected, (_DIAGNOSTICS, _DROPS)),
    "RekeyFailed": (_rekey, (_DROPS, _POLICY)),
    "GatewayMaintenance": (_maintenance, (_AVAILABLE, f"{_DOC}customer-controlled-gateway-maintenance")),
    "GatewayFailover": (_maintenance, (_AVAILABLE, _DIAGNOSTICS)),
    "ConfigurationChanged": (_configuration, (_DIAGNOSTICS,)),
    "BgpPeerDown": (_bgp, (f"{_TSG}vpn-gateway-troubleshoot-bgp",)),
    "Unclassified": (_unclassified, (_CONNECT, _DIAGNOSTICS)),
    "RedundancyLost": (advisories.restore_redundancy, (f"{_DOC}about-active-active-gateways", _AVAILABLE)),
    "ChildSaFailing": (advisories.mend_child, (_CONNECT, _DROPS)),
    "SelectorsNarrowed": (advisories.widen_selectors, (_CONNECT,)),
    "PeriodicDrop": (advisories.end_periodic_drops, (_DROPS, _POLICY)),
    "Flapping": (advisories.calm_flapping, (_DROPS, _DIAGNOSTICS)),
    "RekeyCollision": (_rekey_collision, (_DROPS,)),
    "WeakCryptography": (advisories.strengthen, (_POLICY,)),
    "UnknownPeer": (advisories.name_stranger, (_CONNECT,)),
    "ConnectionSilent": (inventory.look_for, (_DIAGNOSTICS,)),
    "ConfigurationRisk": (inventory.reconsider, (_POLICY, _AVAILABLE)),
    "FeedSilent": (advisories.wake_feed, (_DIAGNOSTICS,)),
}
"""Cause or advisory -> how to cure it, and what to read (addresses from facts 04, their host not opened)."""
