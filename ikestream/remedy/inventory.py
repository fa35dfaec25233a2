"""Advisory -> Steps and commands for what only the configuration shows, while nothing is broken."""

from __future__ import annotations

from ikestream.finding import Finding
from ikestream.remedy import azure, peer
from ikestream.remedy.names import Agreed, Words
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


def reconsider(finding: Finding, words: Words, _agreed: Agreed) -> Plan:
    """A configuration that works today and is a risk."""
    advice = finding.missing_evidence or "decide whether it is meant."
    steps = Steps(
        check="read the connection and its site as they are configured. Nothing is broken.",
        azure=advice,
        peer="agree on the change with the owner of the site first.",
        proof="this advisory is over after the change has been read.",
    )
    return steps, (
        *azure.check_connection(words),
        *azure.show_site(words, "localNetworkAddressSpace.addressPrefixes"),
        *peer.view(words),
    )
