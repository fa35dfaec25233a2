"""ChildSaFailing: IKE is up, and an IPsec security association is refused or not answered (facts 2.22, 1.5).

A child SA is asked for on the established IKE SA: a renewal, or another pair of prefixes. Refused or unanswered twice
within ten minutes it will not be had by asking again. The leg stays up meanwhile, and whatever runs over its other
children goes on; when the last one ends it is an outage, and the outage is told instead.
"""

from __future__ import annotations

from collections.abc import Iterator

from ikestream.advice import Advice, Impact, Outlook
from ikestream.finding import ActionOn, Advisory, Confidence, FailedStep, Finding, Hypothesis, Severity
from ikestream.history import NAMED, SETTLED, Reason, Streak, What
from ikestream.timeline import Outcome, State
from ikestream.times import MINUTE

HOLD = 3 * MINUTE
"""A refusal that takes the tunnel down does it within this time: then the outage says it all (facts 3.3)."""
OUTAGE = 10 * MINUTE
"""An outage that begins this soon after the newest failure is what the failure led to."""


def advise(outlook: Outlook) -> Iterator[Advice]:
    """Yield one advice for each streak of failures dense enough."""
    for streak in outlook.history.streaks:
        if streak.what is not What.CHILD or streak.since is None or streak.told is None:
            continue
        down = next((e.start for e in outlook.episodes if streak.since <= e.start <= streak.last + OUTAGE), None)
        if down is not None and down < streak.told + HOLD:
            continue
        yield _advice(outlook, streak, down)


def _advice(outlook: Outlook, streak: Streak, down: int | None) -> Advice:
    end, settled = streak.healed, (streak.healed or 0) + (0 if streak.broken else SETTLED)
    held = (streak.told or streak.last) + HOLD
    if streak.broken and streak.healed is not None and streak.healed < held:
        held = max(held, streak.healed + outlook.times.hold_near_gateway_event)  # by then it is an outage, or none
    if down is not None:
        end = settled = down if end is None else min(end, down)
    reasons = sorted(streak.reasons)
    named = bool(streak.reasons & NAMED)
    told = (
        f"While the leg was up, a child SA failed {streak.count} times: {', '.join(reasons)}. What was up before goes on"
        " until its own lifetime ends."
    )
    if streak.reasons & {Reason.GROUP, Reason.POLICY}:
        told += " Refused at a renewal and accepted with the first exchange, the PFS group is the first suspect."
    remote = outlook.tunnel.remote
    return Advice(
        finding=Finding(
            cause=Advisory.CHILD_SA_FAILING,
            confidence=Confidence.MEDIUM if named else Confidence.LOW,
            explanation=told,
            action_on=ActionOn.BOTH if named else ActionOn.PEER,
            failed_step=FailedStep.CHILD_SA,
            hypotheses=_hypotheses(streak.reasons),
            missing_evidence=_missing(streak.reasons),
            severity=Severity.ERROR if _is_only_child(outlook, streak) else Severity.WARNING,
            code=streak.code,
            evidence=(*streak.lines, *streak.latest),
        ),
        summary=f"IKE to {remote} is up, but an IPsec security association fails again and again.",
        past=f"An IPsec security association to {remote} failed {streak.count} times while IKE was up.",
        start=streak.since or streak.first,
        held=held,
        last=streak.last,
        impact=Impact.PART_OF_PREFIXES,
        end=end,
        settled=settled,
        attempts=streak.count,
    )


def _is_only_child(outlook: Outlook, streak: Streak) -> bool:
    """Whether no child was agreed since the leg came up, which the log shows: then nothing flows over it."""
    ups = [
        c.at
        for c in outlook.timeline.changes
        if c.state is State.UP and c.mark is not None and streak.leg in ("", c.leg) and c.at <= streak.first
    ]
    if not ups or streak.first - ups[-1] > outlook.times.attempts_window:
        return False
    return not any(
        c.outcome is Outcome.SUCCEEDED and ups[-1] - outlook.times.grace <= c.at <= streak.last
        for n, c in outlook.timeline.conclusions.items()
        if streak.leg in ("", n.local)
    )


_GROUP = Hypothesis(
    "The PFS groups differ, which shows only when a child is renewed",
    Confidence.MEDIUM,
    "Compare the PFS group of the connection's policy with the peer's phase 2 settings.",
)
_PREFIXES = Hypothesis(
    "The peer wants a pair of prefixes that Azure does not have, or the other way round",
    Confidence.MEDIUM,
    "Compare the peer's selectors with the address space and the local network gateway.",
)
_LOST = Hypothesis(
    "The peer has lost its IKE SA and drops what it does not know",
    Confidence.LOW,
    "See at the peer whether its IKE SA with Azure is older than this failure, younger, or gone.",
)


def _hypotheses(reasons: frozenset[Reason]) -> tuple[Hypothesis, ...]:
    """What it may be, by the reasons given: refused selectors are no PFS group, and a refusal is an answer."""
    if not reasons <= NAMED:
        return _GROUP, _PREFIXES, _LOST
    return (
        *([_GROUP] if reasons & {Reason.GROUP, Reason.POLICY} else []),
        *([_PREFIXES] if Reason.SELECTORS in reasons else []),
    )


def _missing(reasons: frozenset[Reason]) -> str:
    if reasons == {Reason.SELECTORS}:
        return "The prefixes of the other end: its settings show them, not this log."
    return "The PFS group and the selectors: the settings of both ends show them, not this log."
