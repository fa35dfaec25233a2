"""NegotiationStalled: SA_INIT was answered, and then somebody no longer speaks (facts 2.10, 1.5).

How far it came and who should speak next is certain; why that side is silent is not, so the cause is never more than
a lead. From Azure's side two attempts count, or one that Azure itself closed as timed out; a peer whose attempts stop
after Azure's answer must do so three times, since its answer may have gone another way.
"""

from __future__ import annotations

from ikestream.episode import Situation
from ikestream.events import Kind
from ikestream.finding import ActionOn, Cause, Confidence, Finding, Hypothesis
from ikestream.negotiation import Initiator, Negotiation
from ikestream.rules.signature import (
    answered,
    closed_by_time,
    count,
    prove,
    reached,
    stopped_after,
    timed_out,
    uses_certificates,
)

PROOF = (
    Kind.AUTH_SENT,
    Kind.AUTH_RECEIVED,
    Kind.RESPONDER_SPI,
    Kind.SA_INIT_ANSWERED,
    Kind.CLOSED,
    Kind.ERROR,
    Kind.SA_INIT_RECEIVED,
    Kind.SA_INIT_SENT,
)


def judge(situation: Situation) -> Finding | None:
    """Return the finding if the newest attempts stop half-way without a word."""
    stalled = [n for n in situation.newest if _stops(n) and _often(situation, n)]
    if not stalled:
        return None
    newest = stalled[0]
    deaf = newest.initiator is Initiator.PEER and any(
        n.initiator is Initiator.AZURE and n.depth == 0 and timed_out(n) for n in situation.newest
    )
    how = stopped_after(newest)
    told = f"The attempts stop half-way without an error. {how[0].upper()}{how[1:]}."
    if deaf:
        told += " Azure's own attempts get no answer either: what Azure sends does not reach the peer."
    hypotheses = _hypotheses(situation, newest, deaf=deaf)
    return Finding(
        cause=Cause.NEGOTIATION_STALLED,
        confidence=Confidence.LOW,
        explanation=told,
        action_on=_turn(newest),
        failed_step=reached(newest),
        hypotheses=hypotheses,
        missing_evidence="Why it went silent: the peer's log at the time and SPI given here, and a packet capture on the connection"
        " in Azure during an attempt.",
        code=next((c for n in stalled for c in n.codes), None),
        evidence=prove(dict.fromkeys((*stalled, next(n for n in situation.failed if _stops(n)))), PROOF),
    )


def _stops(n: Negotiation) -> bool:
    if not timed_out(n) or n.initiator is Initiator.UNKNOWN or not answered(n):
        return False
    return n.depth in (2, 3)


def _often(situation: Situation, n: Negotiation) -> bool:
    alike = [o for o in situation.failed if o.initiator is n.initiator and _stops(o)]
    attempts = count(situation, alike)
    if n.initiator is Initiator.PEER:
        return attempts >= 3
    return attempts >= 2 or any(map(closed_by_time, alike))


def _turn(n: Negotiation) -> ActionOn:
    initiator, responder = ActionOn.AZURE, ActionOn.PEER
    if n.initiator is Initiator.PEER:
        initiator, responder = responder, initiator
    return responder if n.depth == 3 else initiator


def _hypotheses(situation: Situation, n: Negotiation, *, deaf: bool) -> tuple[Hypothesis, ...]:
    found: list[Hypothesis] = []
    if uses_certificates(situation):
        found.append(
            Hypothesis(
                "IKE_AUTH is too large: certificates make fragments, and something on the way drops them",
                Confidence.MEDIUM,
                "See that every firewall on the way lets UDP fragments pass; compare a capture at both ends.",
            )
        )
    if n.initiator is Initiator.AZURE and not any(e.local_port or e.remote_port for e in n.events):
        found.append(
            Hypothesis(
                "IKE_AUTH went to UDP 4500 and a firewall or NAT on the way drops that: these lines hold no ports",
                Confidence.LOW,
                "Export the whole Message column: its ports tell. Or capture UDP 4500 at the peer during an attempt.",
            )
        )
    if n.initiator is Initiator.PEER and n.depth == 2:
        found.append(
            Hypothesis(
                "Azure's answer does not reach the peer",
                Confidence.MEDIUM if deaf else Confidence.LOW,
                "Capture UDP 500 at the peer: does Azure's answer arrive?",
            )
        )
        found.append(
            Hypothesis(
                "The peer goes on with UDP 4500 and that is blocked on the way to Azure",
                Confidence.LOW,
                "See that the peer's side lets UDP 4500 out to every public address of this gateway.",
            )
        )
    found.append(
        Hypothesis(
            "The peer dislikes what was negotiated, or expects another identity, and drops the exchange without a word",
            Confidence.LOW,
            "Read the peer's log at the time and SPI of this attempt.",
        )
    )
    return tuple(found)
