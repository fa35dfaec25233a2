"""Finding of a policy cause -> Steps and commands: one combination for both ends, and who changes (facts 06 4.1, 4.2)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ikestream.events import Proposal
from ikestream.finding import ActionOn, Confidence, Finding, OffersSource, Parameter
from ikestream.offers import (
    Agreed,
    Phase,
    Role,
    Target,
    compare,
    custom_values,
    is_default,
    spell,
    strongest,
    target,
    weak,
)
from ikestream.remedy import azure, peer
from ikestream.remedy.names import Words
from ikestream.remedy.steps import PROOF, Plan, Steps

UNKNOWN = Proposal("", "", "")

_PATH = {
    False: "on the connection, Configuration > IPsec / IKE policy: Custom",
    True: "in the hub, VPN (Site to site) > the connection > edit the link > IPsec: Custom",
}
_REQUIRED = "A custom policy needs all six values and replaces the default offers of both phases."


@dataclass(frozen=True, slots=True)
class Policy:
    """What a policy cure rests on: the finding read as offers of one phase."""

    finding: Finding
    words: Words
    agreed: Agreed
    phase: Phase
    chosen: Target | None

    @property
    def default(self) -> bool:
        """Whether Azure runs without a custom policy, as far as known."""
        offers = self.finding.azure_offers
        if self.finding.offers_source in (None, OffersSource.ASSUMED_DEFAULT) or not offers:
            return True
        return any(is_default(offers, f"/{self.words.kind}/", self.phase, role) for role in Role)


def read(finding: Finding, words: Words, agreed: Agreed, phase: Phase) -> Policy:
    """Choose the target for the offers in `finding`."""
    before = agreed.ike if phase is Phase.IKE else agreed.ipsec
    chosen = target(finding.azure_offers, finding.peer_offers, phase, words.kind, before)
    return Policy(finding, words, agreed, phase, chosen)


def cure_policy(policy: Policy) -> Plan:
    """The steps and commands for a mismatch of phase 1 or of IPsec encryption and integrity."""
    chosen = policy.chosen
    if chosen is None:
        # Low without the peer's offers: the algorithms are known not to be the reason.
        return _agree(policy) if policy.finding.confidence is Confidence.LOW else _ask(policy)
    # What both offer may be weak, but another choice of it mends nothing that the log does not print.
    offers = policy.finding
    if (
        chosen.side_to_change is ActionOn.UNKNOWN
        or compare(offers.azure_offers, offers.peer_offers, policy.phase).common
    ):
        return _agree(policy)
    if chosen.side_to_change is ActionOn.AZURE:
        return _change_azure(policy, chosen)
    return _change_peer(policy, chosen)


def cure_pfs(policy: Policy) -> Plan:
    """The steps and commands for a PFS group that differs: it shows at the first rekey (facts 06 2.5)."""
    words = policy.words
    chosen = policy.chosen
    if chosen is not None and chosen.side_to_change is ActionOn.PEER:
        return _change_peer(policy, chosen)
    wanted = chosen.proposal if chosen else policy.agreed.ipsec or UNKNOWN
    group = spell(wanted.group)
    # The first child is agreed without a group whatever both ends want later: none shown is not none wanted.
    known = (
        group != "None"
        and group in custom_values(words.kind, Parameter.PFS_GROUP)
        and not weak(group, Parameter.PFS_GROUP)
    )
    steps = Steps(
        check="on both ends read the PFS group of phase 2. Without a custom policy Azure never offers PFS when it starts a"
        " rekey, so the failure depends on who rekeys first.",
        azure=f"{_PATH[words.virtual_wan]}, PFS Group {group if known else 'as the peer has it'} (PFS2048 is group 14, ECP256"
        f" is 19, ECP384 is 20). {_REQUIRED}",
        peer=f"{words.peer} uses the same PFS group. Switch PFS off there only if the device has none of these groups.",
        proof="the next rekey passes: the tunnel stays up longer than the phase 2 lifetime (27,000 s on Azure's side, often"
        " 3,600 s at the peer).",
    )
    proposal = Proposal(wanted.encryption, wanted.integrity, group if known else "")
    commands = (
        *azure.check_connection(words),
        *peer.view(words),
        # The group is what this is about: where it is not known it is asked for, not kept as it is.
        *azure.set_policy(
            words,
            Phase.IPSEC,
            proposal if known else replace(proposal, group="unknown"),
            policy.agreed,
            present=not policy.default,
        ),
        *peer.propose(
            words, Phase.IPSEC, Proposal(proposal.encryption, proposal.integrity, group if known else "<group>")
        ),
        *azure.list_ike_sas(words),
    )
    return steps, commands


def _change_azure(policy: Policy, chosen: Target) -> Plan:
    words, phase = policy.words, policy.phase
    steps = Steps(
        check="on the connection note the IPsec / IKE policy as it is now, Default or Custom.",
        azure=f"{_PATH[words.virtual_wan]}, {_spoken(policy, chosen.proposal)}. {_whence(policy, chosen)} {_REQUIRED} {_rest(words, phase)}",
        peer="nothing to change. Have the owner at hand: the tunnel drops for some seconds, then must negotiate.",
        proof=PROOF,
    )
    commands = (
        *azure.check_connection(words),
        *azure.set_policy(words, phase, chosen.proposal, policy.agreed, present=not policy.default),
        *azure.check_status(words),
        *peer.view(words),
        *peer.restart(words),
    )
    return steps, commands


def _change_peer(policy: Policy, chosen: Target) -> Plan:
    words, phase = policy.words, policy.phase
    both = chosen.side_to_change is ActionOn.BOTH
    setting = f"{_PATH[words.virtual_wan]}, {_spoken(policy, chosen.proposal)}. {_REQUIRED} {_rest(words, phase)}"
    interim = chosen.interim
    stopgap = (
        f" Weak, interim, for hours at most: {_joined(interim)} is what the peer offers today and a custom policy can hold."
        if interim
        else ""
    )
    azure_does = (
        f"after the peer is ready, {setting}{stopgap}"
        if both
        else "nothing to change." + ("" if chosen.ran_before else " Do not add weaker values here to meet the peer.")
    )
    steps = Steps(
        check="read what the peer is set to offer, and the IPsec / IKE policy of the connection.",
        azure=azure_does,
        peer=f"set {words.peer} to {_spoken(policy, chosen.proposal)}. {_why(policy, chosen)}",
        proof=PROOF,
    )
    commands = (
        *azure.check_connection(words),
        *peer.view(words),
        *peer.propose(words, phase, chosen.proposal),
        *(azure.set_policy(words, phase, chosen.proposal, policy.agreed, present=not policy.default) if both else ()),
        *peer.restart(words),
        *azure.check_status(words),
    )
    return steps, commands


def _agree(policy: Policy) -> Plan:
    words = policy.words
    addresses = " and ".join(words.azure_ips) or "each public IP address of the gateway"
    steps = Steps(
        check=(
            "the printed algorithms of both sides already have a combination in common. Read "
            if policy.finding.peer_offers
            else "the algorithms are not the reason, for the peer's own attempts agree on them. Read "
        )
        + ("the IKE version of the connection and " if policy.phase is Phase.IKE else "")
        + "the peer's own log at the time and SPI of the attempt.",
        azure="nothing to change.",
        peer=f"see that a connection exists for {addresses}, with the IKE version of the Azure connection. Then compare what"
        " the log does not print: PRF, extended sequence numbers (off), key length."
        if policy.phase is Phase.IKE
        else "its log at the time and SPI given here names what it refused. Compare what this log does not print: extended"
        " sequence numbers (off), key length, mode (tunnel).",
    )
    return steps, (*azure.check_connection(words), *peer.view(words), *peer.restart(words), *azure.check_status(words))


def _ask(policy: Policy) -> Plan:
    words, phase = policy.words, policy.phase
    own = strongest(policy.finding.azure_offers, phase)
    accepts = _listed(policy.finding.azure_offers)
    assumed = (
        " (the documented default, assumed)" if policy.finding.offers_source is OffersSource.ASSUMED_DEFAULT else ""
    )
    steps = Steps(
        check="the peer's offer is not in this log. While the tunnel is down, restart it on the peer: its offer is then"
        " logged, and this verdict names the parameter.",
        azure="nothing to change yet." + (f" Today it accepts {accepts}{assumed}." if accepts else ""),
        peer=f"compare that with phase {int(phase)} of {words.peer}."
        + (" The lines do not show the phase: compare phase 2 and PFS, too." if not policy.finding.failed_step else "")
        + (
            f" One that fits and is strong: {_joined(own)}."
            if own
            else " All of it is weak: both ends should move to stronger values."
        ),
    )
    commands = (
        *azure.check_connection(words),
        *peer.view(words),
        *peer.restart(words),
        *(peer.propose(words, phase, own) if own else ()),
        *azure.check_status(words),
    )
    return steps, commands


_LAST_GOOD = "That is what the tunnel last ran with, and this side has changed since."


def _whence(policy: Policy, chosen: Target) -> str:
    if chosen.ran_before:
        return _LAST_GOOD
    return f"That is the strongest that {policy.words.peer} offers and Azure supports."


def _why(policy: Policy, chosen: Target) -> str:
    if chosen.ran_before:
        return _LAST_GOOD
    offered = [p for p in policy.finding.peer_offers if strongest((p,), policy.phase)]
    if not offered:
        return "What it offers today is weak."
    return "What it offers today a custom policy of Azure cannot hold, or would make Azure weaker."


def _rest(words: Words, phase: Phase) -> str:
    if words.peer_gateway:
        return "Both connection resources need the same policy: take all six values from the one at the other gateway."
    if phase is Phase.IKE:
        return "Phase 2 and PFS do not show while phase 1 fails: ask the peer for them before you save."
    return (
        "Keep phase 1 as it is agreed today; ask the peer for its PFS group, it does not show at the first connection."
    )


def _spoken(policy: Policy, proposal: Proposal) -> str:
    words = (
        ("Encryption", "Integrity/PRF", "DH Group")
        if policy.phase is Phase.IKE
        else ("Encryption", "Integrity", "PFS Group")
    )
    title = "IKE Phase 1" if policy.phase is Phase.IKE else "IKE Phase 2 (IPsec)"
    values = (proposal.encryption, proposal.integrity, proposal.group)
    spoken = ", ".join(f"{w} {v}" for w, v in zip(words, values, strict=True) if v and _printable(v))
    return f"{title}: {spoken}"


def _joined(proposal: Proposal) -> str:
    return "/".join(v for v in (proposal.encryption, proposal.integrity, proposal.group) if v and _printable(v))


def _listed(proposals: tuple[Proposal, ...]) -> str:
    shown = list(
        dict.fromkeys(
            _joined(p) for p in proposals if all(not v or _printable(v) for v in (p.encryption, p.integrity, p.group))
        )
    )
    more = f" and {len(shown) - 6} more" if len(shown) > 6 else ""
    return ", ".join(shown[:6]) + more


def _printable(value: str) -> bool:
    """Whether `value` is a name, not something a peer made up."""
    return value.isascii() and value.isalnum() and len(value) <= 16
