"""Advisory -> Steps and commands for what only the configuration shows, while nothing is broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from ikestream.finding import Command, Finding, Risk
from ikestream.offers import Agreed, Phase
from ikestream.remedy import azure, peer, policy
from ikestream.remedy.names import Words, at_site
from ikestream.remedy.steps import NOTHING, Plan, Steps


def look_for(_finding: Finding, words: Words, _agreed: Agreed) -> Plan:
    """A connection of which nothing was ever logged."""
    steps = Steps(
        check="read the status of the connection, and whether the gateway's diagnostic setting sends IKEDiagnosticLog.",
        azure="remove the connection if nobody needs it; else nothing to change.",
        peer=f"is there a device at {words.peer_ip}, and is it set to call Azure?"
        if not words.peer_ip.startswith("<")
        else NOTHING,
        proof="a line of this connection is logged.",
    )
    return steps, (*azure.check_status(words), *azure.check_connection(words), *peer.view(words))


def reconsider(finding: Finding, words: Words, agreed: Agreed) -> Plan:
    """A configuration that works today and is a risk: what can be done about each, at leisure."""
    cures = [_RISKS[risk](finding, words, agreed) for risk in finding.risks]
    steps = Steps(
        check="nothing is broken. Read the connection and its site as they are configured, and decide whether it is meant.",
        azure=" ".join(text for text, _, _ in cures if text) or NOTHING,
        peer=" ".join(text for _, text, _ in cures if text) or NOTHING,
        proof="this advisory is over once the changed configuration has been read.",
    )
    changes = tuple(command for _, _, commands in cures for command in commands)
    return steps, tuple(dict.fromkeys((*azure.check_connection(words), *peer.view(words), *changes)))


Part: TypeAlias = tuple[str, str, tuple[Command, ...]]
"""What Azure's side does, what the peer does, and the commands for it."""


def _overlap(finding: Finding, words: Words, _agreed: Agreed) -> Part:
    sites = (words, *(at_site(words, other) for other in finding.beside))
    reads = (command for site in sites for command in azure.show_site(site, "localNetworkAddressSpace.addressPrefixes"))
    told = (
        f"Take the shared prefix out of one {words.site}, or let both connections learn their routes with BGP: which of the"
        " two carries the traffic now is chance."
    )
    return told, "", tuple(reads)


def _never_offered(_finding: Finding, words: Words, _agreed: Agreed) -> Part:
    held = words.configured.ike if words.configured is not None else None
    told = "Put the phase 1 values of the connection's custom policy into what the device offers itself, beside the others."
    return "", told, peer.propose(words, Phase.IKE, held) if held is not None else ()


def _one_address(_finding: Finding, words: Words, _agreed: Agreed) -> Part:
    addresses = " and ".join(words.azure_ips) or "both public IP addresses of the gateway"
    told = f"The device needs a tunnel to each of {addresses}, with the same policy and key."
    return "", told, azure.list_ike_sas(words)


def _ikev1(_finding: Finding, words: Words, _agreed: Agreed) -> Part:
    told = (
        "If the device has IKEv2, plan an hour to move: the protocol of a connection is fixed when it is created, so it is"
        " deleted and created again with IKEv2."
    )
    return told, "Set this tunnel to IKEv2 at the same time.", azure.show_property(words, "connectionProtocol")


def _default_policy(_finding: Finding, words: Words, agreed: Agreed) -> Part:
    told = (
        "At an agreed time set a custom policy. Good values: AES256, SHA384 or SHA256, ECP384, ECP256 or DHGroup14 for phase"
        " 1; GCMAES256 and a PFS group from ECP384, ECP256, PFS2048 for phase 2."
    )
    change = azure.set_policy(words, Phase.IKE, policy.UNKNOWN, Agreed(ipsec=agreed.ipsec), present=False)
    return told, "Offer the same values first, beside the old ones.", change


_RISKS: dict[Risk, Callable[[Finding, Words, Agreed], Part]] = {
    Risk.OVERLAP: _overlap,
    Risk.NEVER_OFFERED: _never_offered,
    Risk.ONE_ADDRESS: _one_address,
    Risk.IKEV1: _ikev1,
    Risk.DEFAULT_POLICY: _default_policy,
}
