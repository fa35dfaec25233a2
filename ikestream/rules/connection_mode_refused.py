"""ConnectionModeRefused: the peer calls, and Azure does not want to be called (facts 2.12).

A connection set to InitiatorOnly ends every attempt of the peer with 1225, "the remote computer refused the network
connection". Another text, 4320, is Azure's word for a second tunnel beside one that is up or on the standby instance,
and no refusal of this kind. Where Azure's own newest attempt was refused, that refusal is why the tunnel is down:
the mode then only does what it was set to do.
"""

from __future__ import annotations

from ikestream.episode import Situation
from ikestream.finding import ActionOn, Cause, Confidence, FailedStep, Finding, Hypothesis
from ikestream.negotiation import Initiator, Negotiation
from ikestream.rules.signature import disconnected_with, prove
from ikestream.status import Outcome

CODE = 1225


def judge(situation: Situation) -> Finding | None:
    """Return the finding if Azure refused the peer's newest attempt because of the connection mode."""
    refused = [n for n in situation.newest if _is_refused(n)]
    mark = disconnected_with(situation, frozenset({CODE}))
    if not refused and mark is None:
        return None
    own = [n for n in situation.newest if n.initiator is Initiator.AZURE]
    if any(situation.conclusions[n].outcome is Outcome.REFUSED for n in own):
        return None
    told = "The peer starts the tunnel and Azure refuses to be called, as it does when the connection mode is InitiatorOnly."
    if own:
        told += " Azure's own attempts do not succeed either."
    return Finding(
        cause=Cause.CONNECTION_MODE_REFUSED,
        confidence=Confidence.HIGH if refused else Confidence.MEDIUM,
        explanation=told,
        action_on=ActionOn.AZURE,
        failed_step=FailedStep.SA_INIT,
        hypotheses=(
            Hypothesis(
                "The mode is meant, and Azure's own attempts do not reach the peer",
                Confidence.LOW,
                "See in this log whether Azure sends SA_INIT to this peer, and what becomes of it.",
            ),
        ),
        missing_evidence="The mode itself: read Connection Mode in the configuration of the connection.",
        code=CODE,
        evidence=prove(refused) or ((mark,) if mark is not None else ()),
    )


def _is_refused(n: Negotiation) -> bool:
    return CODE in n.codes
