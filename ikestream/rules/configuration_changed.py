"""ConfigurationChanged: somebody changed the connection or the gateway in Azure, and that ended the tunnel (facts 2.19).

Azure says so itself (13849, a reason '... changed', TunnelRemoved): then it is proven. Or a configuration was written
around the drop and the tunnel came back by itself within five minutes: then it is the usual reading, no more, because
SetGatewayConfiguration is written for every change of the gateway or of any local network gateway. If the peer then
refuses Azure, the refusal is the cause, and the change stands in `ChangedSince`. A connection that was removed while it was
up is no fault, and told for the record.
"""

from __future__ import annotations

from ikestream.episode import Situation
from ikestream.events import IkeEvent, Kind
from ikestream.finding import ActionOn, Cause, Confidence, FailedStep, Finding, Hypothesis, Severity
from ikestream.rules.ending import How, code, endings, evidence, reason, those
from ikestream.rules.gateway import near
from ikestream.rules.signature import prove, reached
from ikestream.times import MINUTE

WRITTEN_BEFORE = 15 * MINUTE
WRITTEN_AFTER = 5 * MINUTE
BACK_SOON = 5 * MINUTE
"""A tunnel that a change renegotiates is back within this time (facts 2.19)."""


def judge(situation: Situation) -> Finding | None:
    """Return the finding if Azure says that a change ended the tunnel."""
    found = endings(situation)
    shown = those(found, How.RECONFIGURED, How.REMOVED)
    if not shown:
        return None
    told = "Azure ended the tunnel because its configuration was changed."
    if those(shown, How.REMOVED):
        told = "Azure ended the tunnel because its connection was removed."
    return _find(situation, Confidence.HIGH, told + reason(shown), code(shown), evidence(shown))


def judge_by_time(situation: Situation) -> Finding | None:
    """Return the finding if nothing but a configuration written around the drop explains it."""
    found = endings(situation)
    written = near(situation, Kind.CONFIGURATION, WRITTEN_BEFORE, WRITTEN_AFTER)
    if not written or those(found, How.DELETED, How.SHUT_DOWN):
        return None
    managed = those(found, How.MANAGED)
    back = situation.episode.up is not None and situation.episode.up - situation.episode.start <= BACK_SOON
    if not managed and not back:
        return None
    told = "A configuration was written in Azure around the drop"
    told += ", and the tunnel's security association was deleted by a management operation." if managed else "."
    if back:
        told += " The tunnel came back by itself within five minutes."
    return _find(situation, Confidence.MEDIUM, told + reason(found), code(managed), evidence(found))


def _find(
    situation: Situation, confidence: Confidence, told: str, number: int | None, lines: list[IkeEvent]
) -> Finding:
    events = near(situation, Kind.CONFIGURATION, WRITTEN_BEFORE, WRITTEN_AFTER)
    return Finding(
        cause=Cause.CONFIGURATION_CHANGED,
        confidence=confidence,
        explanation=told,
        action_on=ActionOn.AZURE,
        failed_step=reached(situation.newest[0]) if situation.newest else FailedStep.ESTABLISHED,
        hypotheses=()
        if confidence is Confidence.HIGH
        else (
            Hypothesis(
                "The change concerned another connection, and this tunnel dropped for a reason of its own",
                Confidence.MEDIUM,
                "Read in the activity log which resource was changed at this minute.",
            ),
        ),
        missing_evidence="Who changed what: the activity log. These logs name no actor.",
        severity=Severity.INFORMATIONAL if situation.episode.down_time() == 0 else Severity.CRITICAL,
        code=number,
        evidence=tuple([*events, *lines, *prove(situation.newest)][:12]),
    )
