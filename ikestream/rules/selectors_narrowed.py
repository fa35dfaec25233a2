"""SelectorsNarrowed: the tunnel is up and carries fewer prefixes than before, or than Azure asked for (facts 2.22).

A responder may agree to a part of what was proposed (RFC 7296 2.9), so nothing is refused and nothing looks broken:
the hosts in the missing prefixes are simply not reached. Compared are agreements of one leg with the same initiator,
since each negotiation shows the wishes of its initiator. Several child SAs with different pairs of prefixes are no
loss: less is only what lies within the agreement before it. Azure's configured prefixes (facts 2.22) are those that it asks
for when it calls; a peer that calls asks for one pair at a time, which is no less than it wants.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ikestream.advice import Advice, Impact, Outlook
from ikestream.events import Selector
from ikestream.finding import ActionOn, Advisory, Confidence, FailedStep, Finding, Hypothesis, Severity
from ikestream.history import Agreement
from ikestream.selectors import cidrs, compare_selectors, covers
from ikestream.times import DAY, MINUTE

HOLD = 10 * MINUTE
"""The pairs of prefixes that come up one after the other after a restart are all there by then."""
ACCEPTED = 7 * DAY
"""Fewer prefixes for this long are what somebody wanted."""


def advise(outlook: Outlook) -> Iterator[Advice]:
    """Yield one advice for each agreement that lost prefixes; a wider one ends it."""
    agreements = [a for a in outlook.history.agreements if a.local and a.remote]
    for side in sorted({a.side for a in agreements}):
        own = [a for a in agreements if a.side == side]
        for before, now in zip([None, *own], own, strict=False):
            lost = _lost(before, now)
            if not lost:
                continue
            wider = next(
                (a.at for a in agreements if a.at > now.at and a.leg == now.leg and not _lacks(a, before, now)), None
            )
            if wider is None or wider - now.at >= HOLD:
                yield _advice(outlook, before, now, lost, wider)


def _lost(before: Agreement | None, now: Agreement) -> dict[str, tuple[str, ...]]:
    """Return what is gone, by whose end of the tunnel it is."""
    if before is not None and _within(now, before):
        gone = {
            "Azure's": compare_selectors(before.local, now.local).missing,
            "the peer's": compare_selectors(before.remote, now.remote).missing,
        }
    else:
        gone = {
            "Azure's": compare_selectors(now.asked[0], now.local).missing,
            "the peer's": compare_selectors(now.asked[1], now.remote).missing,
        }
    return {whose: missing for whose, missing in gone.items() if missing}


def _within(now: Agreement, before: Agreement) -> bool:
    return covers(before.local, now.local) and covers(before.remote, now.remote)


def _lacks(later: Agreement, before: Agreement | None, now: Agreement) -> bool:
    local, remote = (before.local, before.remote) if before is not None else now.asked
    return not (covers(later.local, local) and covers(later.remote, remote))


def _advice(
    outlook: Outlook, before: Agreement | None, now: Agreement, lost: dict[str, tuple[str, ...]], wider: int | None
) -> Advice:
    than_before = before is not None and _within(now, before)
    gone = " and ".join(f"{', '.join(missing[:6])} on {whose} side" for whose, missing in lost.items())
    told = f"The newest agreement holds {_show(now.local)} on Azure's side and {_show(now.remote)} on the peer's. "
    if than_before and before is not None:
        told += f"The one before held {_show(before.local)} and {_show(before.remote)}. Missing now: {gone}."
    else:
        told += f"Azure had asked for {_show(now.asked[0])} and {_show(now.asked[1])}. Missing: {gone}."
    told += " Nothing was refused: a peer may agree to a part, and what is left out is just not carried."
    remote = outlook.tunnel.remote
    usual = "before" if than_before else "Azure asked for"
    end = wider if wider is not None else now.at + ACCEPTED
    lines = (*(before.lines if than_before and before is not None else ()), *now.lines)
    return Advice(
        finding=Finding(
            cause=Advisory.SELECTORS_NARROWED,
            confidence=Confidence.MEDIUM,
            explanation=told,
            action_on=ActionOn.PEER,
            failed_step=FailedStep.CHILD_SA,
            hypotheses=_HYPOTHESES,
            missing_evidence="Whether somebody took the prefixes out on purpose: the peer's configuration shows it.",
            severity=Severity.WARNING,
            evidence=lines,
        ),
        summary=f"The tunnel to {remote} is up but carries fewer prefixes than {usual}: without {gone}.",
        past=f"The tunnel to {remote} carried fewer prefixes than {usual}: without {gone}.",
        start=now.at,
        held=now.at + HOLD,
        last=now.at,
        impact=Impact.PART_OF_PREFIXES,
        end=end,
        settled=end,
        by_absence=wider is None,
        resolution="Recovered" if wider is not None else "NotObserved",
    )


def _show(selectors: Iterable[Selector]) -> str:
    texts = cidrs(selectors)
    return ", ".join(texts[:6]) + (f" and {len(texts) - 6} more" if len(texts) > 6 else "")


_HYPOTHESES = (
    Hypothesis(
        "A prefix was taken out of, or never entered in, the peer's selectors",
        Confidence.MEDIUM,
        "Compare the peer's selectors with the address space of the virtual network and of the local network gateway.",
    ),
    Hypothesis(
        "The missing prefixes have an IPsec security association of their own that this log did not show",
        Confidence.LOW,
        "List the security associations at the peer; see whether hosts in the missing prefixes answer.",
    ),
)
