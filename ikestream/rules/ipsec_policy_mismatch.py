"""IpsecPolicyMismatch: phase 1 and the authentication went well, and no phase 2 proposal is common to both (facts 2.4).

The same notify as in phase 1; what tells the phases apart is that AUTH or selectors were spoken of in the session, or
that a quick mode was cleaned up (1.4). The first child is negotiated inside IKE_AUTH, which carries no key exchange,
so PFS cannot be the reason there (RFC 7296 1.2): encryption and integrity alone are compared. As responder Azure
takes more than it offers as initiator; each refusal is held against the list of Azure's role in it.

A reason with the policy code in TunnelDiagnosticLog does not tell the phase and is not judged here.
"""

from __future__ import annotations

from ikestream.episode import Situation
from ikestream.events import Kind
from ikestream.finding import ActionOn, Cause, Confidence, FailedStep, Finding, Hypothesis, OffersSource
from ikestream.negotiation import Negotiation
from ikestream.offers import Comparison, Phase, compare, gateway_kind, target
from ikestream.rules.offered import Offers, change_after, collect_offers, last_agreed, tell_before, tell_far
from ikestream.rules.signature import (
    POLICY_MATCH,
    collides_around,
    ikev2_is_shown,
    newest_of_each,
    newest_or_before,
    prove,
    refuses_child,
    rekeys,
)

PROOF = (
    Kind.NOTIFY_SENT,
    Kind.NOTIFY_RECEIVED,
    Kind.CLEANUP_QM,
    Kind.CLOSED,
    Kind.ERROR,
    Kind.ESP_RECEIVED,
    Kind.ESP_SENT,
    Kind.AUTH_RECEIVED,
    Kind.AUTH_SENT,
    Kind.TS_REQUESTED,
    Kind.TS_PROPOSED,
)


def judge(situation: Situation) -> Finding | None:
    """Return the finding if the newest failures are refusals of a child SA by policy."""
    refused = [n for n in situation.newest if refuses_child(situation, n)]
    if not situation.newest:  # the renewals that were refused just before the tunnel went down
        before = [n for n in newest_or_before(situation) if refuses_child(situation, n) and rekeys(situation, n)]
        if collides_around(situation, before):
            return None
        refused = newest_of_each(situation, before)
    if not refused:
        return None
    quick_mode = not ikev2_is_shown(situation)
    offers = collect_offers(situation, refused, with_group=quick_mode)
    compared = compare(offers.azure, offers.peer, Phase.IPSEC) if offers.peer else None
    if compared is None or (compared.common and not offers.surely):
        return _unknown(situation, refused, offers)
    if compared.common or compared.cut or not offers.whole:
        return _agree(situation, refused, offers, compared)
    return _differ(situation, refused, offers, compared)


def _differ(situation: Situation, refused: list[Negotiation], offers: Offers, compared: Comparison) -> Finding:
    names = ", ".join(f"{m.parameter} (Azure {'/'.join(m.azure)}, peer {'/'.join(m.peer)})" for m in compared.mismatch)
    told = (
        "Phase 1 and the authentication went well, but no phase 2 proposal of the peer equals one of Azure's. Against the"
        f" nearest of Azure's, what differs is {names}."
    )
    if offers.source is OffersSource.ASSUMED_DEFAULT:
        told += " What Azure accepts is not in this log; the documented default of this type of gateway is assumed."
    told += tell_far(situation, offers)
    stale = change_after(situation, offers.sessions)
    if stale is not None:
        told += " The configuration was written after one of these offers was logged, so it may be out of date."
    kind = gateway_kind(situation.gateway.key)
    cure = target(offers.azure, offers.peer, Phase.IPSEC, kind, last_agreed(situation.last_good).ipsec)
    if cure is not None and cure.ran_before:
        told += tell_before(cure)
    return Finding(
        cause=Cause.IPSEC_POLICY_MISMATCH,
        confidence=Confidence.HIGH if stale is None and offers.surely else Confidence.MEDIUM,
        explanation=told,
        action_on=cure.side_to_change if cure else ActionOn.BOTH,
        failed_step=_step(situation, refused),
        mismatch=compared.mismatch,
        azure_offers=offers.azure,
        peer_offers=offers.peer,
        offers_source=offers.source,
        code=_code(refused),
        evidence=prove(dict.fromkeys([*refused, *offers.sessions]), PROOF),
    )


def _agree(situation: Situation, refused: list[Negotiation], offers: Offers, compared: Comparison) -> Finding:
    if compared.common:
        told = (
            "Phase 2 was refused as a policy mismatch, although the two sides' logged proposals have a combination in common:"
            " the printed algorithms are not the reason."
        )
    else:
        told = (
            "Phase 2 was refused as a policy mismatch. One side's proposals are not wholly in the log, so that what is missing"
            " cannot be named."
        )
    hypotheses = [
        Hypothesis(
            "A value the log does not print differs: extended sequence numbers or key length",
            Confidence.LOW,
            "Read the peer's log at the time and SPI of this attempt, and its settings for phase 2.",
        )
    ]
    if not ikev2_is_shown(situation):
        hypotheses.insert(
            0,
            Hypothesis(
                "The PFS groups differ: with IKEv1 they are compared already in the first quick mode",
                Confidence.MEDIUM,
                "Compare the PFS group of phase 2 on both ends.",
            ),
        )
    return Finding(
        cause=Cause.IPSEC_POLICY_MISMATCH,
        confidence=Confidence.LOW,
        explanation=told,
        action_on=ActionOn.UNKNOWN,
        failed_step=_step(situation, refused),
        azure_offers=offers.azure,
        peer_offers=offers.peer,
        offers_source=offers.source,
        hypotheses=tuple(hypotheses),
        missing_evidence="The peer's own log at the time and SPI given here says what it offered or refused.",
        code=_code(refused),
        evidence=prove(dict.fromkeys([*refused, *offers.sessions]), PROOF),
        title="phase 2 (IPsec) is refused as a policy mismatch",
    )


def _unknown(situation: Situation, refused: list[Negotiation], offers: Offers) -> Finding:
    told = "Phase 1 and the authentication went well, then phase 2 was refused as a policy mismatch."
    missing = (
        "The peer's phase 2 offer. Make the peer initiate once (restart only this tunnel there): its proposals then appear in"
        " the log and this verdict names the parameter."
    )
    if situation.far is not None and offers.far is not None:
        told += (
            f" The peer is gateway {situation.far.name} of this stream, and its documented default would have fitted: the policy of"
            " the connection there is another. It has not initiated, so its log does not show which."
        )
        missing = "The IPsec / IKE policy of the connection at the other gateway: read it there."
    else:
        told += " What the peer offers in phase 2 is not in this log, so the parameter cannot be named yet."
    return Finding(
        cause=Cause.IPSEC_POLICY_MISMATCH,
        confidence=Confidence.MEDIUM,
        explanation=told,
        action_on=ActionOn.BOTH,
        failed_step=_step(situation, refused),
        azure_offers=offers.azure,
        offers_source=offers.source,
        missing_evidence=missing,
        code=_code(refused),
        evidence=prove(refused, PROOF),
    )


def _step(situation: Situation, refused: list[Negotiation]) -> FailedStep:
    return FailedStep.REKEY if all(rekeys(situation, n) for n in refused) else FailedStep.CHILD_SA


def _code(refused: list[Negotiation]) -> int:
    return next((c for n in refused for c in n.codes if c == POLICY_MATCH), POLICY_MATCH)
