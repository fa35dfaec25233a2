"""IkePolicyMismatch: the two sides have no phase 1 proposal in common (facts 2.3).

One session never shows both offers: Azure's stand in a session Azure initiated, the peer's in one the peer
initiated. They are joined across the sessions of the tunnel and compared as combinations. Azure's offers, if
not logged, are the documented default of this type of gateway, and said to be assumed. If a common
combination exists, the algorithms are not the reason: many peers answer NO_PROPOSAL_CHOSEN when they have no
connection for this Azure address (libreswan issue 282), and PRF, ESN and key length are not printed. The same if in these
minutes the attempts of the other side get beyond phase 1: then only one direction fails.

With IKEv1 the authentication method is part of the phase 1 proposal too (RFC 2409 5), and no line prints the peer's; lines of
IKEv1 are not published, so that reading is inferred and a hypothesis.

A group that the other side asks for (INVALID_KE_PAYLOAD) and gets is the normal course; asked for in every attempt and never
followed it is a refusal.

With TunnelDiagnosticLog alone a disconnect's reason may hold the policy code. It does not tell the phase (1.4), so
phase 1 is the usual reading, and phase 2 and PFS stay hypotheses. The same where a refusal is the only line of its session.
"""

from __future__ import annotations

from ikestream.episode import Situation
from ikestream.events import IkeEvent
from ikestream.finding import ActionOn, Cause, Confidence, FailedStep, Finding, Hypothesis, OffersSource
from ikestream.negotiation import POLICY_CODES, Initiator, Negotiation
from ikestream.offers import Comparison, Phase, compare, gateway_kind, target
from ikestream.rules.configured import contradicts, no_connection
from ikestream.rules.offered import Offers, change_after, collect_ike_offers, last_agreed, tell_before, tell_far
from ikestream.rules.signature import (
    DH_CODES,
    POLICY_MATCH,
    SWITCH_ON_IKE_LOG,
    disconnected_with,
    ikev2_is_shown,
    in_phase_one,
    prove,
    refuses_group,
    shows_phase_one,
)


def judge(situation: Situation) -> Finding | None:
    """Return the finding if the newest failures are phase 1 refusals."""
    mark = disconnected_with(situation, POLICY_CODES)
    if mark is not None:
        return _by_reason(mark)
    refused = [n for n in situation.newest if _refuses(n)]
    if not refused:
        return None
    offers = collect_ike_offers(situation, max(situation.conclusions[n].at for n in refused))
    compared = compare(offers.azure, offers.peer, Phase.IKE) if offers.peer else None
    if compared is not None and not compared.common:
        return _differ(situation, refused, offers, compared)
    if not any(shows_phase_one(n) for n in refused):
        return _tell_no_phase(refused, offers)
    one_way = _goes_the_other_way(situation, refused)
    if one_way or (compared is not None and offers.surely):
        return _agree(situation, refused, offers, one_way=one_way)
    return _unknown(situation, refused, offers)


def _refuses(n: Negotiation) -> bool:
    return in_phase_one(n) and (n.refused_policy or refuses_group(n))


def _goes_the_other_way(situation: Situation, refused: list[Negotiation]) -> bool:
    """Whether the peer refuses Azure, and in the same minutes its own attempts on the same leg agree on phase 1."""
    if any(n.initiator is not Initiator.AZURE for n in refused):
        return False
    newest = max(situation.conclusions[n].at for n in refused)
    legs = {n.local for n in refused}
    return any(
        n.initiator is Initiator.PEER
        and n.depth >= 3
        and (n.local in legs or not n.local)
        and abs(situation.conclusions[n].at - newest) <= situation.times.attempts_window
        for n in situation.negotiations
    )


def _differ(situation: Situation, refused: list[Negotiation], offers: Offers, compared: Comparison) -> Finding:
    names = ", ".join(f"{m.parameter} (Azure {'/'.join(m.azure)}, peer {'/'.join(m.peer)})" for m in compared.mismatch)
    told = f"No phase 1 proposal of the peer equals one of Azure's. Against the nearest of Azure's, what differs is {names}."
    if offers.source is OffersSource.ASSUMED_DEFAULT:
        told += (
            " Azure's offers are not (wholly) in this log; the documented default of this type of gateway is assumed."
        )
    elif offers.source is OffersSource.CONFIGURED:
        told += " Azure's offers are not in this log; compared is what the connection is configured to offer."
    elif offers.source is OffersSource.LOGGED:
        told += contradicts(situation.configured, offers.azure, situation.gateway.key)
    told += tell_far(situation, offers)
    kind = gateway_kind(situation.gateway.key)
    cure = target(offers.azure, offers.peer, Phase.IKE, kind, last_agreed(situation.last_good).ike)
    if cure is not None and cure.ran_before:
        told += tell_before(cure)
    confidence = Confidence.HIGH if offers.surely else Confidence.MEDIUM
    if change_after(situation, offers.sessions) is not None:
        told += " The configuration was written after one of these offers was logged, so it may be out of date."
        confidence = Confidence.MEDIUM
    return Finding(
        cause=Cause.IKE_POLICY_MISMATCH,
        confidence=confidence,
        explanation=told,
        action_on=cure.side_to_change if cure else ActionOn.BOTH,
        failed_step=FailedStep.SA_INIT,
        mismatch=compared.mismatch,
        azure_offers=offers.azure,
        peer_offers=offers.peer,
        offers_source=offers.source,
        code=_code(refused),
        evidence=prove([*refused, *offers.sessions]),
    )


def _agree(situation: Situation, refused: list[Negotiation], offers: Offers, *, one_way: bool) -> Finding:
    by_peer = any("NO_PROPOSAL_CHOSEN" in n.received_notifies for n in refused)
    # A peer that does not know Azure's address is no reason for Azure to refuse the peer.
    by_both = by_peer and any("NO_PROPOSAL_CHOSEN" in n.sent_notifies for n in refused)
    unsure = offers.source is OffersSource.ASSUMED_DEFAULT and not one_way
    custom = Hypothesis(
        "The Azure connection has a custom IPsec / IKE policy, not the default assumed here",
        Confidence.MEDIUM,
        "Read the policy of the connection, or let Azure initiate once: its offers then appear in the log.",
    )
    unprinted = Hypothesis(
        "A value the log does not print differs: PRF, extended sequence numbers or key length",
        Confidence.MEDIUM if by_both else Confidence.LOW,
        "Read the peer's log at the time and SPI of this attempt.",
    )
    changed = Hypothesis(
        "The policy was changed between the two sessions compared here",
        Confidence.LOW,
        "Let the other side initiate once more and compare again.",
    )
    hypotheses = [no_connection(situation.configured, Confidence.MEDIUM)] if by_peer and not by_both else []
    hypotheses += [custom] if unsure else []
    hypotheses += [unprinted, changed] if offers.peer and not unsure else [unprinted]
    hypotheses += _other_method(situation)
    if one_way:
        told = (
            "Phase 1 was refused as a policy mismatch when Azure called, although the peer's own attempts agree on it in the same"
            " minutes: only one direction fails, and the algorithms are not the reason."
        )
        missing = "The peer's own log at the time and SPI given here says what it refused."
    elif unsure:
        told = (
            "Phase 1 was refused as a policy mismatch, although the peer's offer has a proposal in common with the documented "
            "default of this type of gateway; what Azure really offers is not in this log."
        )
        missing = "Azure's offer: read the policy of the connection, or let Azure initiate once."
    else:
        whose = (
            "what Azure is configured to offer and the peer's logged offer"
            if offers.source is OffersSource.CONFIGURED
            else "the two sides' logged offers"
        )
        told = (
            f"Phase 1 was refused as a policy mismatch, although {whose} have a proposal in common: "
            "the printed algorithms are not the reason."
        )
        missing = "The peer's own log at the time and SPI given here says what it refused."
    return Finding(
        cause=Cause.IKE_POLICY_MISMATCH,
        confidence=Confidence.LOW,
        explanation=told,
        action_on=ActionOn.BOTH
        if by_both
        else ActionOn.PEER
        if by_peer
        else ActionOn.AZURE
        if unsure
        else ActionOn.UNKNOWN,
        failed_step=FailedStep.SA_INIT,
        azure_offers=offers.azure,
        peer_offers=offers.peer,
        offers_source=offers.source,
        hypotheses=tuple(hypotheses),
        missing_evidence=missing,
        code=_code(refused),
        evidence=prove([*refused, *offers.sessions]),
        title="phase 1 (IKE) is refused as a policy mismatch",
    )


def _other_method(situation: Situation) -> tuple[Hypothesis, ...]:
    if ikev2_is_shown(situation):
        return ()
    return (
        Hypothesis(
            "The authentication methods differ, pre-shared key and certificate: with IKEv1 they are part of the phase 1 proposal",
            Confidence.LOW,
            "Compare the authentication method of the connection in Azure with that of phase 1 at the peer.",
        ),
    )


def _unknown(situation: Situation, refused: list[Negotiation], offers: Offers) -> Finding:
    ended, what = "was refused as a policy mismatch", "the parameter"
    if any(map(refuses_group, refused)):
        ended, what = "ended at the Diffie-Hellman group", "the group that it wants"
    called = any(n.initiator is Initiator.PEER for n in refused)
    why = "the line that lists it is missing" if called else "because the peer has not initiated"
    told = f"Phase 1 {ended}. What the peer offers is not in this log, {why}, so {what} cannot be named yet."
    missing = (
        "The peer's offer. Make the peer initiate once"
        + (" more" if called else "")
        + " (restart only this tunnel there): its proposals then appear in the log and this verdict names the parameter."
    )
    if situation.far is not None and offers.far is not None:
        told = (
            f"Phase 1 was refused as a policy mismatch. The peer is gateway {situation.far.name} of this stream, and its documented"
            " default would have fitted: the connection there, or its policy, is another than that. It has not initiated, so its"
            " log does not show which."
        )
        missing = "The IPsec / IKE policy of the connection at the other gateway: read it there."
    return Finding(
        cause=Cause.IKE_POLICY_MISMATCH,
        confidence=Confidence.MEDIUM,
        explanation=told,
        action_on=ActionOn.BOTH,
        failed_step=FailedStep.SA_INIT,
        azure_offers=offers.azure,
        offers_source=offers.source,
        hypotheses=(
            *(() if called or not _says_no(refused) else (no_connection(situation.configured, Confidence.LOW),)),
            *_other_method(situation),
        ),
        missing_evidence=missing,
        code=_code(refused),
        evidence=prove([*refused, *offers.sessions]),
    )


def _tell_no_phase(refused: list[Negotiation], offers: Offers) -> Finding:
    fits = " The phase 1 proposals that are logged have one in common." if offers.peer and offers.surely else ""
    return Finding(
        cause=Cause.IKE_POLICY_MISMATCH,
        confidence=Confidence.MEDIUM if not fits else Confidence.LOW,
        explanation="A proposal was refused as a policy mismatch. The lines do not show which phase: of these attempts nothing"
        f" but the refusal is in this log.{fits}",
        action_on=ActionOn.BOTH,
        azure_offers=offers.azure,
        peer_offers=offers.peer,
        offers_source=offers.source,
        hypotheses=(_PHASE_TWO,),
        missing_evidence="The other lines of these attempts: see that the diagnostic setting sends all of IKEDiagnosticLog here. Or"
        " make the peer initiate once (restart only this tunnel there), and compare its proposals.",
        code=_code(refused),
        evidence=prove([*refused, *offers.sessions]),
        title="a proposal was refused, and the log does not show of which phase",
    )


_PHASE_TWO = Hypothesis(
    "It is phase 2 or its PFS group, refused when the child SA was renewed",
    Confidence.MEDIUM,
    "Compare encryption, integrity and PFS group of phase 2 on both ends, not only phase 1.",
)


def _says_no(refused: list[Negotiation]) -> bool:
    """Whether it was a proposal that was refused, and not the group alone."""
    return any(n.refused_policy for n in refused)


def _code(refused: list[Negotiation]) -> int | None:
    told = next((c for n in refused for c in n.codes if c in DH_CODES or c in POLICY_CODES), None)
    return POLICY_MATCH if told is None and _says_no(refused) else told


def _by_reason(mark: IkeEvent) -> Finding:
    return Finding(
        cause=Cause.IKE_POLICY_MISMATCH,
        confidence=Confidence.MEDIUM,
        explanation=f"Azure disconnected the tunnel and gave as reason '{mark.text}': the policies of the two sides do not match."
        " The reason tells neither the parameter nor the phase.",
        action_on=ActionOn.BOTH,
        hypotheses=(_PHASE_TWO,),
        missing_evidence=SWITCH_ON_IKE_LOG,
        code=mark.code,
        evidence=(mark,),
    )
