"""GatewayMaintenance: Azure worked on the host or the instance that carried the tunnel (facts 2.17).

Planned work takes 10 to 15 seconds, an unplanned takeover up to three minutes; only what lasted longer is an outage.
The maintenance event, or the status 'shutting down', counts if it hit what stood on that instance: when one of several
tunnels dropped, the instance was not the reason, and it stays a hypothesis. Not all maintenance is logged, and Azure may log it minutes late.
"""

from __future__ import annotations

from collections.abc import Sequence

from ikestream.episode import Situation
from ikestream.events import IkeEvent, Kind
from ikestream.finding import ActionOn, Cause, Confidence, FailedStep, Finding, Hypothesis
from ikestream.rules.ending import How, code, endings, evidence, reason, those
from ikestream.rules.gateway import instances, near, neighbours
from ikestream.rules.signature import prove, reached
from ikestream.timeline import State


def judge(situation: Situation) -> Finding | None:
    """Return the finding if maintenance took the tunnel down."""
    found = endings(situation)
    if those(found, How.RECONFIGURED, How.REMOVED):
        return None
    standby, stopped = those(found, How.STANDBY), those(found, How.SHUT_DOWN)
    events = [e for e in near(situation, Kind.MAINTENANCE) if not e.instance or _touches(situation, e.instance)]
    if standby:
        confidence: Confidence | None = Confidence.HIGH
        told = "The gateway moved the tunnel to its other instance, as it does for maintenance."
    else:
        confidence = weigh(situation, [e.instance for e in events] + [e.event.instance for e in stopped])
        told = "Azure did maintenance on the gateway when the tunnel went down."
        if stopped:
            told = "The gateway instance that carried the tunnel was shut down."
    if confidence is None:
        return None
    told += reason(standby or found) + " It took longer than a takeover should (3 minutes)."
    return Finding(
        cause=Cause.GATEWAY_MAINTENANCE,
        confidence=confidence,
        explanation=told,
        action_on=ActionOn.AZURE,
        failed_step=reached(situation.newest[0]) if situation.newest else FailedStep.ESTABLISHED,
        hypotheses=(STALE_PEER,),
        missing_evidence="Whether it was planned: Service Health in the portal.",
        code=code(stopped),
        evidence=tuple([*events, *evidence(standby or found), *prove(situation.newest)][:12]),
    )


def weigh(situation: Situation, where: Sequence[str]) -> Confidence | None:
    """Return how sure it is that what happened to the instances `where` took the tunnel down, None if it did not."""
    if not where:
        return None
    hit = neighbours(situation)
    there = hit.on(where)
    if len(hit.stood) == 1:
        return Confidence.MEDIUM  # a gateway with a single leg: nothing to compare it with
    if len(there.fell) >= 2 or there.fell == there.stood:
        return Confidence.HIGH
    return None


def suspect(situation: Situation) -> Hypothesis | None:
    """Return that it was maintenance after all, where Azure logged one and other tunnels of the instance stood."""
    if not any(c.state is State.UP and c.at < situation.episode.start for c in situation.changes):
        return None
    if not any(not e.instance or _touches(situation, e.instance) for e in near(situation, Kind.MAINTENANCE)):
        return None
    return _SUSPECT


def _touches(situation: Situation, instance: str) -> bool:
    return bool(instances(situation) & {instance, ""})


def mention(events: Sequence[IkeEvent]) -> str:
    """Name gateway events as Azure does."""
    return ", ".join(dict.fromkeys(e.name or e.kind.value for e in events))


_SUSPECT = Hypothesis(
    "Azure's maintenance at this time took it down, although other tunnels of the instance stood",
    Confidence.LOW,
    "Read Service Health for this minute.",
)
STALE_PEER = Hypothesis(
    "The peer still holds the security association with the instance that is gone",
    Confidence.MEDIUM,
    "Look at the peer for a tunnel that it believes is up; its dead peer detection may take minutes. Restart only this tunnel.",
)
