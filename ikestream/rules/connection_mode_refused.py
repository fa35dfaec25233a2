"""ConnectionModeRefused: the peer calls, and Azure does not want to be called (facts 2.12).

A connection set to InitiatorOnly ends every attempt of the peer with 1225, "the remote computer refused the network
connection". Another text, 4320, is Azure's word for a second tunnel beside one that is up or on the standby instance,
and no refusal of this kind. Where Azure's own newest attempt was refused, that refusal is why the tunnel is down:
the mode then only does what it was set to do. An inventory knows the mode: then the peer's attempts that nobody
answers are enough.
"""

from __future__ import annotations

from ikestream.episode import Situation
from ikestream.events import IkeEvent
from ikestream.finding import ActionOn, Cause, Confidence, FailedStep, Finding, Hypothesis
from ikestream.inventory import Mode
from ikestream.negotiation import Initiator, Negotiation
from ikestream.rules.signature import disconnected_with, prove, timed_out
from ikestream.timeline import Outcome

CODE = 1225


def judge(situation: Situation) -> Finding | None:
    """Return the finding if Azure refused the peer's newest attempt because of the connection mode."""
    refused = [n for n in situation.newest if _is_refused(n)]
    mark = disconnected_with(situation, frozenset({CODE}))
    version = situation.configured
    certain = version is not None and version.connection.mode is Mode.INITIATOR_ONLY
    if certain and not refused:
        refused = [n for n in situation.newest if n.initiator is Initiator.PEER and n.depth == 0 and timed_out(n)]
    if not refused and mark is None:
        return None
    own = [n for n in situation.newest if n.initiator is Initiator.AZURE]
    if any(situation.conclusions[n].outcome is Outcome.REFUSED for n in own):
        return None
    if version is not None and not certain:
        told = "The peer starts the tunnel and Azure refuses to be called, although the connection is not set to InitiatorOnly now."
        return _finding(refused, mark, told, own, confident=False, known=True)
    told = "The peer starts the tunnel and Azure refuses to be called, as it does when the connection mode is InitiatorOnly."
    if certain:
        told = "The peer starts the tunnel and Azure refuses to be called: the connection is set to InitiatorOnly."
    return _finding(refused, mark, told, own, confident=bool(refused), known=certain)


def _finding(
    refused: list[Negotiation],
    mark: IkeEvent | None,
    told: str,
    own: list[Negotiation],
    *,
    confident: bool,
    known: bool,
) -> Finding:
    if own:
        told += " Azure's own attempts do not succeed either."
    return Finding(
        cause=Cause.CONNECTION_MODE_REFUSED,
        confidence=Confidence.HIGH if confident else Confidence.MEDIUM,
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
        missing_evidence=""
        if known
        else "The mode itself: read Connection Mode in the configuration of the connection.",
        code=CODE if mark is not None or any(map(_is_refused, refused)) else None,
        evidence=prove(refused) or ((mark,) if mark is not None else ()),
    )


def _is_refused(n: Negotiation) -> bool:
    return CODE in n.codes
