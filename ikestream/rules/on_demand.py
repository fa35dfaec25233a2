"""On-demand tunnels: the peer ends them when idle and dials again; no outage (facts 3.5).

A leg is dialled on demand if at least twice the peer ended it in good order, nobody's attempt failed, and later the
peer itself brought it up again. That is known only once it has happened twice: what was told before is taken back.
"""

from __future__ import annotations

from ikestream.episode import Episode
from ikestream.rules.ending import How, read
from ikestream.status import FAILED, Change, Outcome, State, Timeline
from ikestream.times import MINUTE
from ikestream.tunnel import Initiator

CYCLES = 2
"""Times it must have been seen."""


def is_on_demand(timeline: Timeline, episode: Episode) -> bool:
    """Whether the legs that were down in `episode` are dialled on demand and it ended as such legs do."""
    began = [c for c in timeline.changes if c.state is State.DOWN and c.at == episode.start]
    if not began or not all(_is_clean(timeline, c, _next_up(timeline, c)) for c in began):
        return False
    return all(_cycles(timeline, c.leg) >= CYCLES for c in began)


def _cycles(timeline: Timeline, leg: str) -> int:
    seen = 0
    for change in timeline.changes:
        if change.leg != leg or change.state is not State.DOWN:
            continue
        up = _next_up(timeline, change)
        seen += up is not None and _dialled(timeline, up) and _is_clean(timeline, change, up)
    return seen


def _next_up(timeline: Timeline, down: Change) -> Change | None:
    return next((c for c in timeline.changes if c.leg == down.leg and c.state is State.UP and c.at > down.at), None)


def _is_clean(timeline: Timeline, down: Change, up: Change | None) -> bool:
    """Whether the peer ended the leg and no attempt failed until it came up again."""
    if down.mark is None or read(down.mark) not in (How.DELETED, How.ENDED):
        return False
    return not any(
        down.at <= conclusion.at and (up is None or conclusion.at <= up.at)
        for conclusion in timeline.conclusions.values()
        if conclusion.outcome in FAILED
    )


def _dialled(timeline: Timeline, up: Change) -> bool:
    """Whether the peer initiated what brought the leg up."""
    if up.negotiation is not None:
        return up.negotiation.initiator is Initiator.PEER
    return any(
        n.initiator is Initiator.PEER
        and timeline.conclusions[n].outcome is Outcome.SUCCEEDED
        and abs(timeline.conclusions[n].at - up.at) <= MINUTE
        for n in timeline.negotiations
    )
