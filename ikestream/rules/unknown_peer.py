"""UnknownPeer: addresses without a connection knock at the gateway (facts 2.22, 3.1).

A gateway has a public address, so scanners find it, and clients of a point-to-site gateway look the same. None of them
is a tunnel, and none is ever an outage. They are told once a day and gateway, because one of them may be a site of
your own whose address has changed. No command names such an address: entering it would let a stranger in.
"""

from __future__ import annotations

from collections.abc import Iterator

from ikestream.advice import Advice, Impact
from ikestream.finding import ActionOn, Advisory, Confidence, Finding, Hypothesis, Severity
from ikestream.times import DAY, WORST_DELAY
from ikestream.timestamps import clock, iso
from ikestream.tunnel import MAX_KNOCKS, Gateway

LISTED = 10


def advise(gateway: Gateway) -> Iterator[Advice]:
    """Yield one advice for each day (UTC) on which a stranger knocked."""
    for day, knocks in sorted(gateway.knocks.items()):
        strange = {
            remote: span
            for remote, span in knocks.items()
            if (tunnel := gateway.tunnels.get(remote)) is None or not tunnel.known()
        }
        if strange:
            yield _advice(day, strange, more=len(knocks) >= MAX_KNOCKS)


def _advice(day: int, strange: dict[str, tuple[int, int]], *, more: bool) -> Advice:
    start, last = min(first for first, _ in strange.values()), max(newest for _, newest in strange.values())
    end = (day + 1) * DAY
    listed = sorted(strange.items(), key=lambda item: (-item[1][1] + item[1][0], item[1][0], item[0]))[:LISTED]
    shown = "; ".join(f"{remote} {_span(first, newest)}" for remote, (first, newest) in listed)
    count = f"{'at least ' if more else ''}{len(strange)} address{'es' if len(strange) != 1 else ''}"
    return Advice(
        finding=Finding(
            cause=Advisory.UNKNOWN_PEER,
            confidence=Confidence.LOW,
            explanation=f"On {iso(day * DAY)[:10]} {count} without a known connection tried to negotiate with this gateway:"
            f" {shown}{' and others' if len(strange) > LISTED else ''}. Nothing shows that one of them is a peer of yours.",
            action_on=ActionOn.UNKNOWN,
            hypotheses=_HYPOTHESES,
            missing_evidence="The list of connections: who is in it is no stranger.",
            severity=Severity.INFORMATIONAL,
        ),
        summary=f"{count[0].upper()}{count[1:]} without a known connection knocked at this gateway.",
        start=start,
        held=start + WORST_DELAY,
        last=last,
        impact=Impact.NONE,
        end=end,
        settled=end + WORST_DELAY,
        resolution="NotObserved",
    )


def _span(first: int, last: int) -> str:
    return f"from {clock(first)} to {clock(last)}" if clock(first) != clock(last) else f"at {clock(first)}"


_HYPOTHESES = (
    Hypothesis("Scanners of the internet, or point-to-site clients", Confidence.MEDIUM, "Nothing to check."),
    Hypothesis(
        "A site whose public address changed, or whose address was entered with a mistake",
        Confidence.LOW,
        "Compare the addresses with the list of your sites, and ask the owner by telephone before you enter one.",
    ),
)
