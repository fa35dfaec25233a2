"""PeriodicDrop: drops come at equal intervals, so a timer causes them (facts 2.22).

Lifetimes never keep a tunnel from coming up, but an end that cannot renew in time lets it drop whenever one ends. The
distance names the timer. IKEv1 on Azure drops for up to five seconds at every phase 1 rekey, which is normal (POL).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ikestream.advice import Advice, Impact, Outlook
from ikestream.finding import ActionOn, Advisory, Confidence, FailedStep, Finding, Hypothesis, Severity
from ikestream.rules.drops import AGREES, LIFETIMES, SETTLED, Drop, drops
from ikestream.times import DAY, MINUTE, SECOND
from ikestream.timestamps import moment

LEAST = 3
LEAST_UNNAMED = 4
"""Three drops that fit no lifetime are as often chance: two distances out of many agree within 5 % by themselves."""
WITHIN = 7 * DAY
SHORTEST = 30 * MINUTE
"""Nothing renews more often; drops that come faster are `Flapping`."""
LONG = 10 * SECOND
"""A drop longer than this is more than the gap of a rekey; one of the run is enough, since it may be the next one again."""


def advise(outlook: Outlook) -> Iterator[Advice]:
    """Yield one advice for each run of drops at equal intervals."""
    for run in _runs(drops(outlook)):
        yield _advice(outlook, run)


def _runs(found: Sequence[Drop]) -> Iterator[list[Drop]]:
    """Yield the longest runs whose distances agree with their first one, none shared but an end with a beginning."""
    run: list[Drop] = []
    for drop in found:
        if len(run) < 2:
            step = drop.start - run[-1].start if run else 0
            run = [*run, drop] if not run or SHORTEST <= step <= WITHIN else [drop]
        elif abs((drop.start - run[-1].start) - (run[1].start - run[0].start)) <= AGREES * (
            run[1].start - run[0].start
        ):
            run.append(drop)
        else:
            if _is_periodic(run):
                yield run
            step = drop.start - run[-1].start
            run = [run[-1], drop] if SHORTEST <= step <= WITHIN else [drop]
    if _is_periodic(run):
        yield run


def _is_periodic(run: Sequence[Drop]) -> bool:
    least = _least(run)
    return len(run) >= least and run[LEAST - 1].start - run[0].start <= WITHIN


def _least(run: Sequence[Drop]) -> int:
    """Return how many make it: what the first distance fits decides, so that later drops do not move the answer."""
    return LEAST if len(run) > 1 and _fitting(run[1].start - run[0].start) else LEAST_UNNAMED


def _fitting(distance: int) -> str:
    """Return the lifetime nearest to that distance, '' if none is within `AGREES`."""
    off, seconds, whose = min((abs(distance / 1000 - s) / s, s, whose) for s, whose in LIFETIMES)
    return f"{seconds:,} s: {whose}" if off <= AGREES else ""


def _advice(outlook: Outlook, run: list[Drop]) -> Advice:
    distance = (run[-1].start - run[0].start) // (len(run) - 1)
    fits = _fitting(distance)
    missed = run[-1].start + distance + distance // 2
    longest = max(drop.end - drop.start for drop in run)
    every = _span(distance)
    told = f"It dropped {len(run)} times, every {every}, for at most {max(longest // 1000, 1)} s: "
    told += ", ".join(moment(drop.start) for drop in run[-6:]) + " (UTC)."
    told += f" That fits {fits}." if fits else " No usual lifetime fits: look for a job or a line that keeps this time."
    ended = {e.text or e.message for drop in run for e in drop.lines[:1]}
    if len(ended) == 1:
        told += " Each ended alike, see the evidence."
    remote = outlook.tunnel.remote
    return Advice(
        finding=Finding(
            cause=Advisory.PERIODIC_DROP,
            confidence=Confidence.MEDIUM if fits or len(run) > LEAST else Confidence.LOW,
            explanation=told,
            action_on=ActionOn.PEER,
            failed_step=FailedStep.REKEY if fits else None,
            hypotheses=_HYPOTHESES,
            missing_evidence="The lifetimes of both ends, which no log shows, and the device's log at one of these times.",
            severity=Severity.WARNING if longest > LONG else Severity.INFORMATIONAL,
            code=next((e.code for drop in reversed(run) for e in drop.lines if e.code), None),
            evidence=tuple(e for drop in run[-6:] for e in drop.lines[:2]),
        ),
        summary=f"The tunnel to {remote} drops every {every}.",
        past=f"The tunnel to {remote} dropped every {every}, {len(run)} times.",
        start=run[0].start,
        held=run[_least(run) - 1].end + SETTLED,
        last=run[-1].end,
        impact=Impact.DEGRADED if longest > LONG else Impact.NONE,
        end=missed,
        settled=missed,
        by_absence=True,
    )


def _span(ms: int) -> str:
    minutes = round(ms / 60_000)
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours and rest else f"{hours} h" if hours else f"{minutes} min"


_HYPOTHESES = (
    Hypothesis(
        "A lifetime ends and the renewal comes too late, or fails at first: PFS differs, or the peer reauthenticates by"
        " taking the tunnel down",
        Confidence.MEDIUM,
        "Compare the lifetimes and the PFS group, and see whether the device reauthenticates instead of rekeying.",
    ),
    Hypothesis(
        "The access line is reconnected at fixed times",
        Confidence.LOW,
        "Compare these times with the line's own log.",
    ),
)
