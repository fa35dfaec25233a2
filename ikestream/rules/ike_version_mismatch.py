"""IkeVersionMismatch: one end speaks IKEv1, the other IKEv2, and one of them says so (facts 2.11).

Azure's code for it is 13880, the notify is INVALID_MAJOR_VERSION. Most devices do not say it: a wrong version usually
looks like silence, NO_PROPOSAL_CHOSEN or "no policy configured", and then it is a hypothesis of those causes. If an
attempt of this outage got as far as an answered SA_INIT, both ends speak the same version.
"""

from __future__ import annotations

from ikestream.episode import Situation
from ikestream.finding import ActionOn, Cause, Confidence, FailedStep, Finding
from ikestream.negotiation import Negotiation
from ikestream.rules.signature import disconnected_with, prove

CODE = 13880
NOTIFY = "INVALID_MAJOR_VERSION"


def judge(situation: Situation) -> Finding | None:
    """Return the finding if the newest failures name the version."""
    refused = [n for n in situation.newest if _refuses_version(n)]
    mark = disconnected_with(situation, frozenset({CODE}))
    if (not refused and mark is None) or any(n.depth >= 2 and not _refuses_version(n) for n in situation.failed):
        return None
    by_peer = any(NOTIFY in n.received_notifies for n in refused)
    told = "The peer does not take" if by_peer else "Azure does not take"
    return Finding(
        cause=Cause.IKE_VERSION_MISMATCH,
        confidence=Confidence.HIGH if refused else Confidence.MEDIUM,
        explanation=f"{told} the IKE version of the other side: one end is set to IKEv1, the other to IKEv2.",
        action_on=ActionOn.PEER,
        failed_step=FailedStep.SA_INIT,
        missing_evidence="Which end has which version: the IKE protocol of the connection in Azure, and the peer's settings.",
        code=CODE,
        evidence=prove(refused) or ((mark,) if mark is not None else ()),
    )


def _refuses_version(n: Negotiation) -> bool:
    return CODE in n.codes or NOTIFY in n.sent_notifies | n.received_notifies
