"""PeerStoppedResponding: dead peer detection ended the tunnel (facts 2.8).

The tunnel was up, then Azure's liveness checks got no answer: 13886 closes the IKE SA, or TunnelDisconnected says so.
That the peer went silent is certain, why is not: its line, its power, its processor and the NAT before it look alike.
If Azure's attempts afterwards go unanswered it is still the same silence; an explicit refusal is another cause, and
its rule comes first. If half of the gateway's tunnels went silent in one minute, the peers are not the reason.
"""

from __future__ import annotations

from ikestream.episode import Situation
from ikestream.events import IkeEvent
from ikestream.finding import ActionOn, Cause, Confidence, FailedStep, Finding, Hypothesis
from ikestream.inventory.connections import SHORT_DPD
from ikestream.negotiation import Initiator
from ikestream.rules.configured import waiting
from ikestream.rules.ending import Ending, How, attempts_after, code, endings, evidence, reason, those
from ikestream.rules.gateway import neighbours
from ikestream.rules.signature import prove, reached

DPD = 13886


def judge(situation: Situation) -> Finding | None:
    """Return the finding if dead peer detection is what ended the tunnel."""
    shown = those(endings(situation), How.VANISHED, How.CRASHED)
    if not shown:
        return None
    near = neighbours(situation, How.VANISHED)
    crowd = near.peers > 1 and 2 * near.peers >= near.of
    by_name_only = not those(shown, How.VANISHED)
    told = "The tunnel was up; then the peer stopped answering Azure's liveness checks (dead peer detection)"
    told += _afterwards(situation) + "." + reason(shown)
    if not attempts_after(situation):
        told += waiting(situation.configured)
    if crowd:
        told += f" {near.peers} of {near.of} tunnels of this gateway dropped in the same two minutes."
    return Finding(
        cause=Cause.PEER_STOPPED_RESPONDING,
        confidence=Confidence.MEDIUM if crowd or by_name_only else Confidence.HIGH,
        explanation=told,
        action_on=ActionOn.UNKNOWN if crowd else ActionOn.PEER,
        failed_step=reached(situation.newest[0]) if situation.newest else FailedStep.ESTABLISHED,
        hypotheses=_hypotheses(situation, crowd=crowd),
        missing_evidence="Why the peer went silent: its uptime, and its own log at this minute.",
        code=code(shown) or DPD,
        evidence=_prove(situation, shown),
    )


def _afterwards(situation: Situation) -> str:
    start = situation.episode.start
    if any(n.initiator is Initiator.PEER and n.start > start for n in situation.negotiations):
        return ". Since then the peer's own attempts arrive: it restarted, or the path is back"
    if any(n.initiator is Initiator.AZURE for n in attempts_after(situation)):
        return " and does not answer since"
    return ""


def _hypotheses(situation: Situation, *, crowd: bool) -> tuple[Hypothesis, ...]:
    version = situation.configured
    dpd = version.connection.dpd if version is not None else 0
    short = (
        Hypothesis(
            f"The DPD timeout of the connection is {dpd} s, so that a moment's loss takes a living peer for a dead one",
            Confidence.MEDIUM,
            "Set it to 45 s and see whether the drops go on.",
        ),
    )
    return (*((_COMMON,) if crowd else ()), *(short if 0 < dpd < SHORT_DPD else ()), *_HYPOTHESES)


def _prove(situation: Situation, shown: list[Ending]) -> tuple[IkeEvent, ...]:
    return tuple([*evidence(shown), *prove(situation.newest)][:12])


_COMMON = Hypothesis(
    "The gateway, or a line that these peers share",
    Confidence.MEDIUM,
    "Look in the portal at the state of the gateway and at Service Health for this minute.",
)
_HYPOTHESES = (
    Hypothesis(
        "The path between the two ends lost packets, or the peer's internet line is down",
        Confidence.MEDIUM,
        "Ask the owner whether other services of the site failed at this minute.",
    ),
    Hypothesis(
        "The peer's device restarted or was too busy to answer",
        Confidence.MEDIUM,
        "Read the device's uptime, and its log at this minute.",
    ),
    Hypothesis(
        "A NAT device before the peer forgot the idle connection",
        Confidence.LOW,
        "If the peer is behind NAT, compare its keepalive interval with the NAT's timeout.",
    ),
)
