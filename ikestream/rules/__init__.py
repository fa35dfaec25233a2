"""Situation -> Finding, Outlook -> Advice: the rules, listed once in order of specificity, and the advisories.

Each rule is one file: when it holds in a network engineer's words, the fact it rests on, a function
`judge(situation)` that returns a `Finding` or None. The first that answers names the cause. An advisory is a function
`advise(outlook)` that yields all it has to say; each is an incident of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeAlias

from ikestream.advice import Advice, Advise, AdviseGateway, Outlook
from ikestream.episode import Situation
from ikestream.finding import Cause, Finding
from ikestream.rules import (
    certificate_authentication_failed,
    child_sa_failing,
    configuration_changed,
    configuration_risk,
    connection_mode_refused,
    feed_silent,
    flapping,
    gateway_failover,
    gateway_maintenance,
    ike_policy_mismatch,
    ike_version_mismatch,
    ipsec_policy_mismatch,
    malformed_ike,
    nat_traversal_blocked,
    negotiation_stalled,
    peer_address_mismatch,
    peer_disconnected,
    peer_not_responding,
    peer_stopped_responding,
    periodic_drop,
    pfs_mismatch,
    pre_shared_key_mismatch,
    redundancy_lost,
    rekey_collision,
    rekey_failed,
    selectors_narrowed,
    traffic_selector_mismatch,
    unclassified,
    unknown_peer,
    weak_cryptography,
)
from ikestream.tunnel import Gateway

Rule: TypeAlias = Callable[[Situation], Finding | None]

RULES: tuple[Rule, ...] = (
    # The same failed AUTH as with keys; that it was a certificate is the more that the log says.
    certificate_authentication_failed.judge,
    # A failed AUTH proves that phase 1 was agreed, so the key is more specific than any refusal of a proposal.
    pre_shared_key_mismatch.judge,
    # Beyond AUTH: selectors are named as the reason, so they go before the policy, whose notify says less.
    traffic_selector_mismatch.judge,
    # A refusal when a child is renewed is PFS unless encryption or integrity differ: before the general one.
    pfs_mismatch.judge,
    # A refusal of the child, with nothing above explaining it.
    ipsec_policy_mismatch.judge,
    # In SA_INIT: what names its reason in so many words goes before a refused proposal.
    ike_version_mismatch.judge,
    connection_mode_refused.judge,
    # A refusal in SA_INIT, with nothing of the newest attempts beyond it.
    ike_policy_mismatch.judge,
    # Unreadable messages say least of all that is said: every refusal above goes before.
    malformed_ike.judge,
    # It was up, went down, and nothing was refused since. Azure's own word that a change did it needs no reading.
    configuration_changed.judge,
    # The gateway explains what its tunnels say: peers that fall silent by the dozen, a takeover on a maintained host.
    gateway_maintenance.judge,
    gateway_failover.judge,
    # A peer that went silent while its double calls: it says more than silence, and less than any refusal.
    peer_address_mismatch.judge,
    # A peer that went silent leaves rekeys unanswered too, and Azure's later attempts.
    peer_stopped_responding.judge,
    # A side that cannot renew its keys gives the tunnel up with a delete.
    rekey_failed.judge,
    # '13885' beside a configuration that was written is Azure's delete rather than the peer's.
    configuration_changed.judge_by_time,
    # The peer's delete, and nobody's attempt has failed since: one that did says more, and what follows judges it.
    peer_disconnected.judge,
    # From here on nothing was said, and the causes rest on silence: the further it came, the more specific.
    nat_traversal_blocked.judge,
    # Half-way and silent, on whichever port.
    negotiation_stalled.judge,
    # Nothing came back at all.
    peer_not_responding.judge,
    # Down, and none of the above: what is known is told, the reason is not guessed.
    unclassified.judge,
)


def diagnose(situation: Situation) -> Finding | None:
    """Return the finding of the most specific rule that holds, None if the episode is no outage after all."""
    finding = next((finding for rule in RULES if (finding := rule(situation)) is not None), None)
    if finding is not None and finding.cause in _MAY_BE_AZURES and (other := gateway_maintenance.suspect(situation)):
        finding = replace(finding, hypotheses=(*finding.hypotheses, other))
    return finding


_MAY_BE_AZURES = frozenset(
    {Cause.PEER_STOPPED_RESPONDING, Cause.PEER_DISCONNECTED, Cause.PEER_NOT_RESPONDING, Cause.UNCLASSIFIED}
)
"""Nothing was refused, and the reason lies with the peer or is not known: Azure's own doings may be it (facts 2.17)."""


ADVISORIES: tuple[Advise, ...] = (
    # Neither hides the other, so the order is only that in which they are told: what may cost traffic today first.
    flapping.advise,
    child_sa_failing.advise,
    # One failed renewal; two within ten minutes are the one above.
    rekey_failed.advise,
    selectors_narrowed.advise,
    redundancy_lost.advise,
    # The same drops as those of flapping, hours apart instead of minutes.
    periodic_drop.advise,
    rekey_collision.advise,
    # For the record.
    weak_cryptography.advise,
    # What nobody sees in a log.
    configuration_risk.advise,
)

OF_GATEWAYS: tuple[AdviseGateway, ...] = (feed_silent.advise, unknown_peer.advise)
WHILE_WATCHING = frozenset({feed_silent.advise})
"""That a feed is silent is a running monitor's to conclude: a saved log just ends."""


def advise_gateway(gateway: Gateway, *, live: bool) -> Iterator[Advice]:
    """Yield everything there is to say about a gateway and none of its tunnels."""
    for advisory in OF_GATEWAYS:
        if live or advisory not in WHILE_WATCHING:
            yield from advisory(gateway)


def advise(outlook: Outlook) -> Iterator[Advice]:
    """Yield everything there is to say about a tunnel that works."""
    for advisory in ADVISORIES:
        yield from advisory(outlook)
