"""RekeyCollision: both ends renew at the same moment, time and again (facts 2.22, RFC 7296 2.25).

One collision is part of the protocol: TEMPORARY_FAILURE or CHILD_SA_NOT_FOUND is said, and one end tries again. Three
in a day say that both ends' lifetimes run out together; with some devices that leaves doubled or lost child SAs.
"""

from __future__ import annotations

from collections.abc import Iterator

from ikestream.advice import Advice, Impact, Outlook
from ikestream.finding import ActionOn, Advisory, Confidence, FailedStep, Finding, Severity
from ikestream.history import What
from ikestream.times import DAY


def advise(outlook: Outlook) -> Iterator[Advice]:
    """Yield one advice for each leg on which it happened often enough; a day without one ends it."""
    for streak in outlook.history.streaks:
        if streak.what is not What.COLLISION or streak.since is None or streak.told is None:
            continue
        remote = outlook.tunnel.remote
        yield Advice(
            finding=Finding(
                cause=Advisory.REKEY_COLLISION,
                confidence=Confidence.MEDIUM,
                explanation=f"While the leg was up, both ends renewed at once {streak.count} times and one had to step back."
                " Once is normal; this often it means that both lifetimes run out together.",
                action_on=ActionOn.PEER,
                failed_step=FailedStep.REKEY,
                missing_evidence="The lifetimes of both ends: the connection's policy and the device show them, this log does not.",
                severity=Severity.INFORMATIONAL,
                code=streak.code,
                evidence=(*streak.lines, *streak.latest),
            ),
            summary=f"Both ends of the tunnel to {remote} renew their keys at the same moment again and again.",
            past=f"Both ends of the tunnel to {remote} renewed their keys at the same moment {streak.count} times.",
            start=streak.since,
            held=streak.told,
            last=streak.last,
            impact=Impact.NONE,
            end=streak.last + DAY,
            settled=streak.last + DAY,
            by_absence=True,
            attempts=streak.count,
        )
