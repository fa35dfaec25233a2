"""NatTraversalBlocked: SA_INIT passes on UDP 500, and once Azure moves to UDP 4500 nothing comes back (facts 2.9).

Never more than Medium: a peer that silently drops IKE_AUTH, because it knows no such identity or profile, looks the
same from here. One line received on 4500, or an AUTH that stayed on port 500, rules it out. With certificates the
AUTH message is large, and lost fragments are the likelier reason: that is told as a stalled negotiation.
"""

from __future__ import annotations

from ikestream.episode import Situation
from ikestream.events import Direction, IkeEvent, Kind
from ikestream.finding import ActionOn, Cause, Confidence, FailedStep, Finding, Hypothesis
from ikestream.negotiation import Initiator, Negotiation
from ikestream.rules.signature import answered, count, prove, timed_out, uses_certificates
from ikestream.timeline import Outcome

NAT_PORT = 4500
AUTH_KINDS = frozenset({Kind.AUTH_SENT, Kind.TS_PROPOSED, Kind.ESP_SENT})
ARRIVED = frozenset({Kind.AUTH_RECEIVED, Kind.TS_REQUESTED, Kind.ESP_RECEIVED})
PROOF = (Kind.AUTH_SENT, Kind.SA_INIT_ANSWERED, Kind.CLOSED, Kind.ERROR, Kind.SA_INIT_SENT)


def judge(situation: Situation) -> Finding | None:
    """Return the finding if Azure's newest attempts end when they move to UDP 4500."""
    newest = next((n for n in situation.newest if _ends_on_4500(n)), None)
    if newest is None or uses_certificates(situation):
        return None
    if _answers_on_4500(situation, situation.conclusions[newest].at):
        return None
    ended = [n for n in situation.failed if _ends_on_4500(n)]
    attempts = count(situation, ended)
    if attempts < 2:
        return None
    return Finding(
        cause=Cause.NAT_TRAVERSAL_BLOCKED,
        confidence=Confidence.MEDIUM,
        explanation=f"SA_INIT is answered, so UDP 500 passes. Azure then sends IKE_AUTH on UDP 4500 and nothing comes back, in"
        f" {attempts} attempts.",
        action_on=ActionOn.PATH,
        failed_step=FailedStep.AUTH,
        hypotheses=(
            Hypothesis(
                "A firewall or NAT on the way drops UDP 4500",
                Confidence.MEDIUM,
                "Capture UDP 4500 at the peer during an attempt: do Azure's packets arrive, and do answers leave?",
            ),
            Hypothesis(
                "The peer drops IKE_AUTH without a word: no profile for this Azure address or identity",
                Confidence.LOW,
                "Read the peer's log at the time and SPI of this attempt.",
            ),
            Hypothesis(
                "IKE_AUTH is fragmented and the fragments are dropped",
                Confidence.LOW,
                "See that every firewall on the way lets UDP fragments pass.",
            ),
        ),
        missing_evidence="Where the packets stop: capture UDP 4500 at the peer and on the connection in Azure at the same time.",
        code=next((c for n in (newest, *ended) for c in n.codes), None),
        evidence=prove(dict.fromkeys((newest, ended[0], ended[-1])), PROOF),
    )


def _ends_on_4500(n: Negotiation) -> bool:
    if n.initiator is not Initiator.AZURE or n.depth != 3 or not answered(n) or not timed_out(n):
        return False
    sent = [e for e in n.events if e.kind in AUTH_KINDS]
    return bool(sent) and all(_on_4500(e) for e in sent)


def _on_4500(event: IkeEvent) -> bool:
    return NAT_PORT in (event.local_port, event.remote_port)


def _answers_on_4500(situation: Situation, at: int) -> bool:
    # Since it was last up: what arrived before that says nothing about the way as it is now. What ends well after
    # the silence heals it.
    since = situation.conclusions[situation.last_good].at if situation.last_good is not None else 0
    return any(
        (e.direction is Direction.RECEIVED or e.kind in ARRIVED)
        and _on_4500(e)
        and n is not situation.last_good
        and (e.at or 0) >= since
        and not ((e.at or 0) > at and situation.conclusions[n].outcome in (Outcome.SUCCEEDED, Outcome.PENDING))
        for n in situation.negotiations
        for e in n.events
    )
