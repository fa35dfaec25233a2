"""FeedSilent: a gateway that wrote logs writes none, while a tunnel of it is believed up (facts 3.6).

Silence is neither up nor down, so no outage is told; but a monitor that hears nothing sees nothing. Nine hours are
longer than the IKE lifetime of Azure's gateways (28,800 s), so some rekey should have been logged; that rekeys are
logged at all is not established, hence the low confidence, and a gateway that was ever silent for longer gets twice
that time. A saved log simply ends: only a running monitor concludes this.

A gateway that calls a peer in vain writes lines every few seconds, and does not stop by itself: if it falls silent in the
middle of that, without a tunnel that came up and without a change in Azure, twenty minutes are enough. That all gateways
fall silent at once is the hub's fault, or the settings', and an alert of its own (`sent-nothing.kql`).
"""

from __future__ import annotations

from collections.abc import Iterator

from ikestream.advice import Advice, Impact
from ikestream.events import Kind
from ikestream.finding import ActionOn, Advisory, Confidence, Finding, Hypothesis, Severity
from ikestream.times import DAY, HOUR, MINUTE
from ikestream.timestamps import iso
from ikestream.tunnel import SLOT, Gateway

LEAST = 9 * HOUR
LOOK_BACK = 7 * DAY
BROKEN_OFF = 20 * MINUTE
"""So long a gateway that was calling again and again may say nothing (facts 3.6)."""
CALLING = 15
CALLED = 12
"""Again and again: it called in so many of the last `CALLING` minutes."""
STOPS = 5 * MINUTE
"""A change in Azure this long before the last record may be why it stopped."""


def advise(gateway: Gateway) -> Iterator[Advice]:
    """Yield one advice for each silence that was, or would be, too long."""
    heard = [gateway.heard[hour] for hour in sorted(gateway.heard)]
    if not heard:  # a gateway that is only known by its configuration never had a feed
        return
    broken_off = dict(_broken_off(gateway))
    for last, end in broken_off.items():
        yield _advice(last, last + BROKEN_OFF, end, calling=True)
    gaps: list[tuple[int, int]] = []  # (when it ended, how long it was)
    for (_, last), following in zip(heard, [*heard[1:], None], strict=True):
        usual = max((length for ended, length in gaps if ended > last - LOOK_BACK), default=0)
        patience = max(LEAST, 2 * usual)
        end = following[0] if following is not None else None
        if end is not None:
            gaps.append((end, end - last))
        if (end is None or end - last > patience) and _is_up(gateway, last) and last not in broken_off:
            yield _advice(last, last + patience, end, calling=False)


def _broken_off(gateway: Gateway) -> Iterator[tuple[int, int | None]]:
    """Yield (last record, next one or None) of each silence that began while Azure called a peer again and again."""
    slots = sorted(gateway.pulse)
    for slot, following in zip(slots, [*slots[1:], None], strict=True):
        last = gateway.pulse[slot][1]
        end = gateway.pulse[following][0] if following is not None else None
        if (end is None or end - last > BROKEN_OFF) and _calls(gateway, last) and not _is_explained(gateway, last):
            yield last, end


def _calls(gateway: Gateway, until: int) -> bool:
    minutes = range(until // MINUTE - CALLING + 1, until // MINUTE + 1)
    per_slot = SLOT // MINUTE
    called = [gateway.pulse.get(m // per_slot, (0, 0, 0))[2] >> m % per_slot & 1 for m in minutes]
    return sum(called) >= CALLED


def _is_explained(gateway: Gateway, last: int) -> bool:
    """Whether a tunnel came up, or something was written in Azure, so that there is nothing to call any more."""
    came_up = any(
        spell.up and last - CALLING * MINUTE <= spell.start <= last
        for tunnel in gateway.tunnels.values()
        for spell in tunnel.spells
    )
    return came_up or any(
        e.kind is Kind.CONFIGURATION and last - STOPS <= (e.at or 0) <= last for e in gateway.marks.values()
    )


def _is_up(gateway: Gateway, at: int) -> bool:
    return any(
        spell.up and spell.start <= at and (spell.end is None or spell.end > at)
        for tunnel in gateway.tunnels.values()
        for spell in tunnel.spells
    )


def _advice(last: int, held: int, end: int | None, *, calling: bool) -> Advice:
    if calling:
        told = (
            f"Up to {iso(last)} Azure called a peer again and again; then, in the middle of it, the lines stop, and for"
            f" {BROKEN_OFF // MINUTE} minutes not one record of any category has come. No tunnel came up, and no change was logged."
        )
    else:
        told = (
            f"The last record of this gateway is of {iso(last)}; a tunnel of it was up then, and for more than"
            f" {(held - last) // HOUR} hours not one record of any category has come."
        )
    return Advice(
        finding=Finding(
            cause=Advisory.FEED_SILENT,
            confidence=Confidence.LOW,
            explanation=f"{told} Until records come again nothing here says whether its tunnels are up.",
            action_on=ActionOn.AZURE,
            hypotheses=(*_HYPOTHESES[:-1], _GAVE_UP) if calling else _HYPOTHESES,
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


_GAVE_UP = Hypothesis(
    "Azure has stopped calling: the connection was removed, or set to wait for the peer",
    Confidence.LOW,
    "Look in the portal whether the connection is still there, and at its connection mode.",
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
