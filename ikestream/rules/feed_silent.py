"""FeedSilent: a gateway that wrote logs writes none, while a tunnel of it is believed up (facts 3.6).

Silence is neither up nor down, so no outage is told; but a monitor that hears nothing sees nothing. Nine hours are
longer than the IKE lifetime of Azure's gateways (28,800 s), so some rekey should have been logged; that rekeys are
logged at all is not established, hence the low confidence, and a gateway that was ever silent for longer gets twice
that time. A saved log simply ends: only a running monitor concludes this.
"""

from __future__ import annotations

from collections.abc import Iterator

from ikestream.advice import Advice, Impact
from ikestream.finding import ActionOn, Advisory, Confidence, Finding, Hypothesis, Severity
from ikestream.times import DAY, HOUR
from ikestream.timestamps import iso
from ikestream.tunnel import Gateway

LEAST = 9 * HOUR
LOOK_BACK = 7 * DAY


def advise(gateway: Gateway) -> Iterator[Advice]:
    """Yield one advice for each silence that was, or would be, too long."""
    heard = [gateway.heard[hour] for hour in sorted(gateway.heard)]
    if not heard:  # a gateway that is only known by its configuration never had a feed
        return
    gaps: list[tuple[int, int]] = []  # (when it ended, how long it was)
    for (_, last), following in zip(heard, [*heard[1:], None], strict=True):
        usual = max((length for ended, length in gaps if ended > last - LOOK_BACK), default=0)
        patience = max(LEAST, 2 * usual)
        end = following[0] if following is not None else None
        if end is not None:
            gaps.append((end, end - last))
        if (end is None or end - last > patience) and _is_up(gateway, last):
            yield _advice(last, last + patience, end)


def _is_up(gateway: Gateway, at: int) -> bool:
    return any(
        spell.up and spell.start <= at and (spell.end is None or spell.end > at)
        for tunnel in gateway.tunnels.values()
        for spell in tunnel.spells
    )


def _advice(last: int, held: int, end: int | None) -> Advice:
    hours = (held - last) // HOUR
    return Advice(
        finding=Finding(
            cause=Advisory.FEED_SILENT,
            confidence=Confidence.LOW,
            explanation=f"The last record of this gateway is of {iso(last)}; a tunnel of it was up then, and for more than"
            f" {hours} hours not one record of any category has come. Until records come again nothing here says whether"
            " its tunnels are up.",
            action_on=ActionOn.AZURE,
            hypotheses=_HYPOTHESES,
            missing_evidence="The gateway's diagnostic setting, and its metrics, which do not come through this feed.",
            severity=Severity.WARNING,
        ),
        summary="This gateway has stopped writing logs, so nothing is known of its tunnels.",
        past="This gateway wrote no logs for a while.",
        start=last,
        held=held,
        last=last,
        impact=Impact.NONE,
        end=end,
        settled=end or 0,
    )


_HYPOTHESES = (
    Hypothesis(
        "The gateway's diagnostic setting was removed or changed",
        Confidence.MEDIUM,
        "Look at the gateway's diagnostic settings in the portal, and at the activity log for who changed them.",
    ),
    Hypothesis(
        "The gateway was deleted",
        Confidence.LOW,
        "Look for the gateway in the portal.",
    ),
    Hypothesis(
        "Nothing happened: the tunnels are up and renewed nothing that Azure logs",
        Confidence.LOW,
        "Look at the tunnel's bytes in and out in the gateway's metrics.",
    ),
)
