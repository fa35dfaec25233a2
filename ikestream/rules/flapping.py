"""Flapping: the tunnel goes down and comes back, again and again (facts 2.22).

Three drops within an hour are no accident. Each may be too short for an outage, and an engineer who looks finds the
tunnel up; the applications behind it notice every one. A rekey, a takeover or a maintained host is one drop.
"""

from __future__ import annotations

from collections.abc import Iterator

from ikestream.advice import Advice, Impact, Outlook
from ikestream.finding import ActionOn, Advisory, Confidence, Finding, Hypothesis, Severity
from ikestream.rules.drops import SETTLED, Drop, drops
from ikestream.rules.ending import How, read
from ikestream.times import HOUR
from ikestream.timestamps import clock

LEAST = 3
"""So many drops within an hour (facts 2.22)."""
MANY = 6
"""So many within an hour are an error, because little gets through."""
LONG = HOUR
"""A tunnel that is away for longer does not flap: it is down, and the outage is told."""
LISTED = 5


def advise(outlook: Outlook) -> Iterator[Advice]:
    """Yield one advice for each run of drops that was dense enough; an hour without one ends it."""
    run: list[Drop] = []
    for drop in (*drops(outlook), None):
        short = drop is not None and drop.end - drop.start <= LONG
        if drop is not None and short and (not run or drop.start - run[-1].end <= HOUR):
            run.append(drop)
            continue
        first = next((i for i in range(len(run) - LEAST + 1) if run[i + LEAST - 1].start - run[i].start <= HOUR), None)
        if first is not None:
            yield _advice(outlook, run[first:])
        run = [drop] if drop is not None and short else []


def _advice(outlook: Outlook, run: list[Drop]) -> Advice:
    densest = max(sum(0 <= other.start - drop.start <= HOUR for other in run) for drop in run)
    legs = sorted({leg for drop in run for leg in drop.legs})
    partly = len(outlook.timeline.legs) > 1 and not any(len(drop.legs) > 1 for drop in run)
    who = f"the leg at Azure's {', '.join(legs)} of the tunnel" if partly else "the tunnel"
    times = ", ".join(f"{clock(drop.start)} for {drop.seconds} s" for drop in run[-LISTED:])
    told = f"It went down and came back {len(run)} times"
    told += f", up to {densest} times within an hour" if densest < len(run) else " within an hour"
    told += f". {'The newest: d' if len(run) > LISTED else 'D'}own at {times}."
    said = sorted({how.value for drop in run for e in drop.lines if (how := read(e)) is not How.UNSAID})
    if said:
        told += f" The log says: {', '.join(said)}."
    remote = outlook.tunnel.remote
    end = run[-1].end
    # Down again within the hour: whether it goes on shows when that is over, or has become long.
    again = next((s.start for s in outlook.spells if not s.up and s.end is None and end < s.start <= end + HOUR), None)
    return Advice(
        finding=Finding(
            cause=Advisory.FLAPPING,
            confidence=Confidence.HIGH,
            explanation=told,
            action_on=ActionOn.PATH,
            hypotheses=_HYPOTHESES,
            missing_evidence="Why it dropped: the device's own log and its access line at these times.",
            severity=Severity.ERROR if densest >= MANY else Severity.WARNING,
            code=next((e.code for drop in reversed(run) for e in drop.lines if e.code), None),
            evidence=tuple(e for drop in run[-LISTED:] for e in drop.lines[:2]),
        ),
        summary=f"{who[0].upper()}{who[1:]} to {remote} goes down and comes back again and again.",
        past=f"{who[0].upper()}{who[1:]} to {remote} went down and came back {len(run)} times.",
        start=run[0].start,
        held=run[LEAST - 1].end + SETTLED,
        last=end,
        impact=Impact.DEGRADED,
        end=end,
        settled=end + HOUR if again is None else again + LONG,
        by_absence=True,
    )


_HYPOTHESES = (
    Hypothesis(
        "The peer's access line loses packets or reconnects",
        Confidence.MEDIUM,
        "Look at the line's error counters and at a ping to the peer's address at these times.",
    ),
    Hypothesis(
        "Two devices, or two tunnels of one device, use the same pair of addresses and throw each other out",
        Confidence.LOW,
        "See that only one device is configured with this pair of addresses, also in a cluster.",
    ),
    Hypothesis(
        "Dead peer detection is too quick for this line",
        Confidence.LOW,
        "Compare the DPD timeouts of both ends; below 30 seconds a short loss takes the tunnel down.",
    ),
)
