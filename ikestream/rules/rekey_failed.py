"""RekeyFailed: the tunnel was up, its keys could not be renewed, and it went down for that (facts 2.16).

Before the old keys end, either side asks for new ones on the established IKE SA (CREATE_CHILD_SA). If the newest such
exchange before the drop failed, and the refusal does not speak of proposals, groups or selectors, whose rules come
first, the drop is the old security association's end.

While the tunnel stays up it is an advisory: the old security association still carries everything, and ends at the latest
when its lifetime does. Failed twice within ten minutes it is `ChildSaFailing`, which says more.
"""

from __future__ import annotations

from collections.abc import Iterator

from ikestream import codes
from ikestream.advice import Advice, Impact, Outlook
from ikestream.episode import Situation
from ikestream.finding import ActionOn, Advisory, Cause, Confidence, FailedStep, Finding, Hypothesis, Severity
from ikestream.history import NAMED, SETTLED, Streak, What
from ikestream.negotiation import Negotiation
from ikestream.rules.ending import How, endings, evidence, those
from ikestream.rules.signature import DH_CODES, prove, rekeys
from ikestream.timeline import FAILED, Outcome
from ikestream.times import HOUR
from ikestream.timestamps import moment

LEAD = HOUR
"""A rekey this long before the drop may be the one it lacked: sides begin at 90 to 97 % of at most 8 hours."""
_OF_OTHERS = frozenset({"NO_PROPOSAL_CHOSEN", "TS_UNACCEPTABLE", "SINGLE_PAIR_REQUIRED", "INVALID_KE_PAYLOAD"})


def judge(situation: Situation) -> Finding | None:
    """Return the finding if the newest rekey before the drop failed."""
    found = endings(situation)
    failed = [n for leg in {c.leg for c in situation.downs} if (n := _last_rekey(situation, leg)) is not None]
    if not failed or those(found, How.VANISHED, How.CRASHED, How.STANDBY, How.RECONFIGURED, How.REMOVED):
        return None
    failed.sort(key=lambda n: (n.start, n.session))
    newest = failed[-1]
    said = [c.message.rstrip(".") for n in newest.codes if (c := codes.CODES.get(n)) is not None]
    said += sorted(newest.sent_notifies | newest.received_notifies)
    return Finding(
        cause=Cause.REKEY_FAILED,
        confidence=Confidence.MEDIUM,
        explanation="The tunnel was up; renewing its keys failed"
        + (f" ({', '.join(said)})" if said else "")
        + ", and then the tunnel went down.",
        action_on=ActionOn.BOTH,
        failed_step=FailedStep.REKEY,
        hypotheses=_HYPOTHESES,
        missing_evidence="The peer's log at the time of the rekey.",
        code=next(iter(newest.codes), None),
        evidence=tuple([*prove(failed, limit=8), *evidence(found)][:12]),
    )


def advise(outlook: Outlook) -> Iterator[Advice]:
    """Yield one advice for each renewal that failed on a leg that stayed up, and that no success followed."""
    for streak in outlook.history.streaks:
        if streak.what is not What.CHILD or streak.since is not None or streak.reasons & NAMED:
            continue
        held = streak.stood if streak.stood is not None else streak.last + SETTLED
        if streak.stood is None and streak.healed is not None:
            continue  # the next attempt succeeded, or the leg went down at once and the outage says it
        yield _advice(outlook, streak, held)


def _advice(outlook: Outlook, streak: Streak, held: int) -> Advice:
    healed = streak.healed
    end = streak.last + outlook.times.child_lifetime if healed is None else healed
    if healed is None:
        latest, since = _lasts(outlook, streak)
        follows = (
            f" What is up carries on until its own lifetime ends. If no attempt succeeds before, the tunnel drops then: by"
            f" {moment(latest)} UTC at the latest, which is Azure's phase 2 lifetime of {outlook.times.child_lifetime // 1000:,} s"
            f" after {since}; sooner if the peer's is shorter."
        )
    elif streak.broken:
        follows = f" At {moment(healed)} UTC it went down."
    else:
        follows = f" At {moment(healed)} UTC an attempt succeeded."
    remote = outlook.tunnel.remote
    return Advice(
        finding=Finding(
            cause=Advisory.REKEY_FAILED,
            confidence=Confidence.LOW,
            explanation=f"At {moment(streak.last)} UTC, while the leg was up, renewing its keys failed:"
            f" {', '.join(sorted(streak.reasons))}.{follows}",
            action_on=ActionOn.BOTH,
            failed_step=FailedStep.REKEY,
            hypotheses=_HYPOTHESES,
            missing_evidence="The peer's log at the time of the rekey. Whether Azure logs every rekey that succeeds is not established.",
            severity=Severity.WARNING,
            code=streak.code,
            evidence=(*streak.lines, *streak.latest),
        ),
        summary=f"The tunnel to {remote} is up, but renewing its keys failed: unless the next attempt succeeds it will"
        " drop when the old ones end.",
        past=f"Renewing the keys of the tunnel to {remote} failed while it was up.",
        start=streak.first,
        held=held,
        last=streak.last,
        impact=Impact.NONE,
        end=end,
        # Failing again this soon after a success it goes on.
        settled=end if healed is None or streak.broken else end + SETTLED,
        by_absence=healed is None,
        resolution="Recovered" if healed is not None else "NotObserved",
        attempts=streak.count,
    )


def _lasts(outlook: Outlook, streak: Streak) -> tuple[int, str]:
    """Return when what is up ends at the latest, and what that is counted from."""
    lifetime = outlook.times.child_lifetime
    agreed = [
        conclusion.at
        for n, conclusion in outlook.timeline.conclusions.items()
        if conclusion.outcome is Outcome.SUCCEEDED and conclusion.at <= streak.last and streak.leg in ("", n.local)
    ]
    if agreed and max(agreed) + lifetime > streak.last:
        return max(agreed) + lifetime, f"the newest success in this log, {moment(max(agreed))} UTC"
    return streak.last + lifetime, "the failure"


_HYPOTHESES = (
    Hypothesis(
        "The PFS groups differ, which shows only at a rekey",
        Confidence.MEDIUM,
        "Compare the PFS group of the connection's policy with the peer's phase 2 settings.",
    ),
    Hypothesis(
        "Both ends renewed at the same moment and neither gave way",
        Confidence.LOW,
        "Read the peer's log at the time of the rekey; choose lifetimes that differ from Azure's.",
    ),
)


def _last_rekey(situation: Situation, leg: str) -> Negotiation | None:
    """Return the newest rekey of the leg in the hour before it dropped if it failed by itself, else None."""
    down = max(c.at for c in situation.downs if c.leg == leg)
    tried = [
        n
        for n in situation.negotiations
        if (not n.local or not leg or n.local == leg)
        and down - LEAD <= situation.conclusions[n].at <= down
        and (situation.conclusions[n].outcome is Outcome.SUCCEEDED or (_failed(situation, n) and rekeys(situation, n)))
    ]
    newest = max(tried, key=lambda n: (situation.conclusions[n].at, n.session), default=None)
    return newest if newest is not None and _failed(situation, newest) else None


def _failed(situation: Situation, n: Negotiation) -> bool:
    if n.only_ends:
        return False
    named = (n.sent_notifies | n.received_notifies) & _OF_OTHERS or n.refused_policy or DH_CODES & set(n.codes)
    return situation.conclusions[n].outcome in FAILED and not named and 13999 not in n.codes
