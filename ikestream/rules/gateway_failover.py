"""GatewayFailover: the gateway's other instance took the tunnel over (facts 2.18).

The leg went down on one instance and came up on the other within three minutes; or Azure says that the primary
changed. Later than that it may have been chance, unless another peer's tunnel made the same move: peers that hold on to
the old security association come back minutes after a takeover that nobody announced. Two instances that were up at the
same time are two legs of an active-active gateway, not a takeover. A manual reset of the gateway looks the same. Inside
the hold time nobody is told.
"""

from __future__ import annotations

from ikestream.episode import Situation
from ikestream.events import IkeEvent, Kind
from ikestream.finding import ActionOn, Cause, Confidence, FailedStep, Finding, Hypothesis
from ikestream.rules.ending import How, endings, evidence, reason, those
from ikestream.rules.gateway import AFTER, TOGETHER, drops, near
from ikestream.rules.gateway_maintenance import STALE_PEER, weigh
from ikestream.rules.signature import prove, reached
from ikestream.timeline import Change, State
from ikestream.times import SECOND
from ikestream.tunnel import Tunnel

TAKEOVER = 180 * SECOND
"""Down on one instance and up on the other within this time is a takeover (facts 2.18)."""
REACH = AFTER
"""So long after the drop a second peer is waited for that made the same move."""


def judge(situation: Situation) -> Finding | None:
    """Return the finding if the other instance took the tunnel over."""
    found = endings(situation)
    if those(found, How.RECONFIGURED, How.REMOVED, How.DELETED):
        return None
    moved = _moved(situation, TAKEOVER)
    confidence = Confidence.HIGH
    events = near(situation, Kind.PRIMARY_CHANGED)
    # Which of the two instances the event names is not published. It is no reason if other tunnels stood.
    if not moved and not weigh(situation, [""] if events else []):
        moved = _moved(situation, REACH)
        if not moved or not _others_moved(situation, *moved):
            return None
        confidence = Confidence.MEDIUM
    if moved:
        old, new = moved
        took = "" if confidence is Confidence.HIGH else " So did another peer's tunnel."
        told = (
            f"The tunnel went down on {old} and came up on {new}: the gateway failed over to its other instance." + took
        )
    else:
        told = "The gateway changed its primary instance when the tunnel went down."
    return Finding(
        cause=Cause.GATEWAY_FAILOVER,
        confidence=confidence,
        explanation=told + reason(found),
        action_on=ActionOn.AZURE,
        failed_step=reached(situation.newest[0]) if situation.newest else FailedStep.ESTABLISHED,
        hypotheses=(
            Hypothesis(
                "Somebody reset the gateway, which looks the same",
                Confidence.MEDIUM,
                "Read the activity log of the gateway for this minute.",
            ),
            STALE_PEER,
        ),
        missing_evidence="Who or what caused it: the activity log of the gateway, and Service Health.",
        evidence=_prove(situation, [*events, *evidence(found)]),
    )


def _moved(situation: Situation, within: int) -> tuple[str, str] | None:
    """Return (instance it left, instance it came up on) if a leg came up on the other one `within` so many ms."""
    for down in situation.downs:
        old = _instance(down)
        up = next((c for c in situation.changes if c.leg == down.leg and c.state is State.UP and c.at > down.at), None)
        new = _instance(up) if up is not None else ""
        if up is None or not old or not new or old == new or up.at - down.at > within:
            continue
        if not _up_together(situation.tunnel, situation.episode.start, {old, new}):
            return old, new
    return None


def _others_moved(situation: Situation, old: str, new: str) -> bool:
    """Whether the tunnel of another peer left one instance at the same time and came up on the other."""
    start = situation.episode.start
    for tunnel in situation.gateway.tunnels.values():
        if tunnel is situation.tunnel or _up_together(tunnel, start - TOGETHER, {old, new}):
            continue
        left = [e.at or 0 for e in drops(tunnel, start - TOGETHER, start + TOGETHER) if e.instance == old]
        came = (e.at or 0 for e in tunnel.marks.values() if e.kind is Kind.TUNNEL_UP and e.instance == new)
        if left and any(min(left) < at <= start + REACH for at in came):
            return True
    return False


def _instance(change: Change) -> str:
    if change.mark is not None and change.mark.instance:
        return change.mark.instance
    return change.negotiation.instance if change.negotiation is not None else ""


def _up_together(tunnel: Tunnel, until: int, both: set[str]) -> bool:
    up: set[str] = set()
    for _, mark in sorted(tunnel.marks.items()):
        if (mark.at or 0) > until:
            break
        (up.add if mark.kind is Kind.TUNNEL_UP else up.discard)(mark.instance)
        if both <= up:
            return True
    return False


def _prove(situation: Situation, first: list[IkeEvent]) -> tuple[IkeEvent, ...]:
    return tuple([*first, *prove(situation.newest)][:12])
