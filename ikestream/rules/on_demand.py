"""On-demand tunnels: the peer ends them when idle and dials again; no outage (facts 3.5).

A leg is dialled on demand if at least twice the peer ended it in good order, or its child SA ran out unused (13895),
nobody's attempt failed, and later the peer itself brought it up again. That is known only once it has happened twice: what was told before is taken back.
Brought up again at once it was not idle: a peer that renews its tunnel by ending it first is none that dials on demand.
"""

from __future__ import annotations

from collections import Counter

from ikestream.episode import Episode
from ikestream.inventory import Version
from ikestream.negotiation import Initiator
from ikestream.rules.ending import How, read, written_about
from ikestream.timeline import FAILED, Change, Outcome, State, Timeline
from ikestream.times import MINUTE, SECOND, Times
from ikestream.tunnel import Tunnel

CYCLES = 2
"""Times it must have been seen."""
AT_ONCE = 10 * SECOND
"""Who is back within this time, the gap of a rekey, was not idle; of a line that is dialled on demand some may be, by chance."""


def is_on_demand(
    tunnel: Tunnel, timeline: Timeline, episode: Episode, times: Times, version: Version | None = None
) -> bool:
    """Whether the legs that went down with `episode` are dialled on demand, and went down as such legs do."""
    return ends_on_demand(tunnel, timeline, episode.start, times, version)


def ends_on_demand(tunnel: Tunnel, timeline: Timeline, at: int, times: Times, version: Version | None = None) -> bool:
    """Whether the legs that went down at `at` are dialled on demand, and went down as such legs do.

    `version` is the connection as configured: a tag may say that it is, and then nobody has to see it first.
    """

    began = [c for c in timeline.changes if c.state is State.DOWN and c.at == at]
    if not began or not all(_is_clean(tunnel, timeline, c, times) for c in began):
        return False  # as nearly always, and the rest is dear
    dialled = ended_on_demand(tunnel, timeline, times, version)
    return all((c.leg, c.at) in dialled for c in began)


def ended_on_demand(
    tunnel: Tunnel, timeline: Timeline, times: Times, version: Version | None = None
) -> frozenset[tuple[str, int]]:
    """Return every (leg, instant) at which a leg that is dialled on demand went down as such legs do."""
    least = 0 if version is not None and version.connection.on_demand else CYCLES
    clean = [c for c in timeline.changes if c.state is State.DOWN and _is_clean(tunnel, timeline, c, times)]
    cycles = Counter(
        c.leg
        for c in clean
        if (up := _next_up(timeline, c)) is not None and up.at - c.at > AT_ONCE and _calls(timeline, up)
    )
    return frozenset((c.leg, c.at) for c in clean if cycles[c.leg] >= least)


def _is_clean(tunnel: Tunnel, timeline: Timeline, down: Change, times: Times) -> bool:
    how = {read(e) for e in written_about(tunnel, timeline.marks, down, times.grace)} - {How.UNSAID}
    return (
        bool(how)
        and how <= {How.DELETED, How.ENDED, How.EXPIRED}
        and not _fails(timeline, down, _next_up(timeline, down))
    )


def _next_up(timeline: Timeline, down: Change) -> Change | None:
    return next((c for c in timeline.changes if c.leg == down.leg and c.state is State.UP and c.at > down.at), None)


def _fails(timeline: Timeline, down: Change, up: Change | None) -> bool:
    """Whether an attempt failed between the two."""
    return any(
        down.at <= conclusion.at and (up is None or conclusion.at <= up.at)
        for n, conclusion in timeline.conclusions.items()
        if conclusion.outcome in FAILED and n.initiator is not Initiator.UNKNOWN
    )


def _calls(timeline: Timeline, up: Change) -> bool:
    """Whether the peer initiated what brought the leg up."""
    if up.negotiation is not None:
        return up.negotiation.initiator is Initiator.PEER
    return any(
        n.initiator is Initiator.PEER
        and timeline.conclusions[n].outcome is Outcome.SUCCEEDED
        and abs(timeline.conclusions[n].at - up.at) <= MINUTE
        for n in timeline.negotiations
    )
