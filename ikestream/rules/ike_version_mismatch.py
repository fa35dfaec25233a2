"""IkeVersionMismatch: one end speaks IKEv1, the other IKEv2, and one of them says so (facts 2.11).

Azure's code for it is 13880, the notify is INVALID_MAJOR_VERSION. Most devices do not say it: a wrong version usually
looks like silence, NO_PROPOSAL_CHOSEN or "no policy configured", and then it is a hypothesis of those causes. If an
attempt got as far as an answered SA_INIT, on whichever leg, both ends speak the same version; but one from well before the
refusals only shows that they did, until somebody changed it. An inventory knows Azure's version: then a peer's SA_INIT on
a connection that is IKEv1 is enough.
"""

from __future__ import annotations

from collections.abc import Sequence

from ikestream.episode import Situation
from ikestream.events import Kind
from ikestream.finding import ActionOn, Cause, Confidence, FailedStep, Finding
from ikestream.negotiation import Initiator, Negotiation
from ikestream.rules.signature import disconnected_with, prove

CODE = 13880
NOTIFY = "INVALID_MAJOR_VERSION"


def judge(situation: Situation) -> Finding | None:
    """Return the finding if the newest failures name the version."""
    refused = [n for n in situation.newest if _refuses_version(n)]
    version = situation.configured
    ours = version.connection.protocol if version is not None else ""
    if not refused and ours == "IKEv1":
        return _by_configuration(situation)
    mark = disconnected_with(situation, frozenset({CODE}))
    if (not refused and mark is None) or _speaks_the_same(situation, refused):
        return None
    by_peer = any(NOTIFY in n.received_notifies for n in refused)
    told = "The peer does not take" if by_peer else "Azure does not take"
    return Finding(
        cause=Cause.IKE_VERSION_MISMATCH,
        confidence=Confidence.HIGH if refused else Confidence.MEDIUM,
        explanation=f"{told} the IKE version of the other side: one end is set to IKEv1, the other to IKEv2.",
        action_on=ActionOn.PEER,
        failed_step=FailedStep.SA_INIT,
        missing_evidence=f"The peer's IKE version: the connection in Azure is set to {ours}."
        if ours
        else "Which end has which version: the IKE protocol of the connection in Azure, and the peer's settings.",
        code=CODE,
        evidence=prove(refused) or ((mark,) if mark is not None else ()),
    )


def _by_configuration(situation: Situation) -> Finding | None:
    """The connection is set to IKEv1, and the peer calls with messages that exist in IKEv2 only."""
    calls = [n for n in situation.newest if n.initiator is Initiator.PEER and Kind.SA_INIT_RECEIVED in n.kinds]
    if not calls or _speaks_the_same(situation, calls):
        return None
    return Finding(
        cause=Cause.IKE_VERSION_MISMATCH,
        confidence=Confidence.HIGH,
        explanation="The peer calls with IKEv2 (SA_INIT), and the connection in Azure is set to IKEv1.",
        action_on=ActionOn.PEER,
        failed_step=FailedStep.SA_INIT,
        code=next((c for n in calls for c in n.codes), None),
        evidence=prove(calls),
    )


def _speaks_the_same(situation: Situation, refused: Sequence[Negotiation]) -> bool:
    """Whether an attempt of this outage that the refusals do not leave behind shows that the versions are the same."""
    newest = max((situation.conclusions[n].at for n in refused), default=0)
    return any(
        _is_answered(n)
        and not _refuses_version(n)
        and situation.conclusions[n].at >= newest - situation.times.attempts_window
        for n in situation.failed
    )


def _is_answered(n: Negotiation) -> bool:
    """Whether one end took the other's SA_INIT. Azure makes up an SPI for a call that it then refuses, too (facts 1.1)."""
    return n.depth >= 3 or (n.depth == 2 and (n.initiator is not Initiator.PEER or n.refusal is None))


def _refuses_version(n: Negotiation) -> bool:
    return CODE in n.codes or NOTIFY in n.sent_notifies | n.received_notifies
