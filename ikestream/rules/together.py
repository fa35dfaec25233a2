"""Many tunnels of a gateway at once: what they have in common is the gateway, or the line before it (facts 3.7, 2.17).

The gateway's own events decide first, then what the closing lines say: peers that fall silent by the dozen in one
minute did not all fail. Where most came back on the other instance, that one took them over, whatever they say. With no
word from anybody the cause stays open; that it was the gateway's is plain.
"""

from __future__ import annotations

from ikestream.events import IkeEvent, Kind
from ikestream.finding import ActionOn, Cause, Confidence, FailedStep, Finding, Hypothesis, Severity
from ikestream.rules.ending import How, read
from ikestream.rules.gateway import AFTER, BEFORE
from ikestream.together import Together
from ikestream.tunnel import Gateway, Spell


def judge(gateway: Gateway, crowd: Together) -> Finding:
    """Return the finding for legs that went down together."""
    said = {how: [e for s in crowd.fell for e in s.lines if read(e) is how] for how in How}
    share = {how: sum(any(read(e) is how for e in s.lines) for s in crowd.fell) for how in How}
    half = len(crowd.fell) / 2
    maintenance, takeover = (_near(gateway, kind, crowd) for kind in (Kind.MAINTENANCE, Kind.PRIMARY_CHANGED))
    moved = said[How.STANDBY] + said[How.SHUT_DOWN]
    cause, confidence, action, told = (
        Cause.UNCLASSIFIED,
        Confidence.LOW,
        ActionOn.UNKNOWN,
        "Azure's log gives no reason.",
    )
    lines: list[IkeEvent] = []
    if maintenance or moved:
        cause, confidence, action = Cause.GATEWAY_MAINTENANCE, Confidence.HIGH, ActionOn.AZURE
        told, lines = "Azure did maintenance on the gateway.", maintenance + moved
    elif takeover:
        cause, confidence, action = Cause.GATEWAY_FAILOVER, Confidence.HIGH, ActionOn.AZURE
        told, lines = "The gateway changed its primary instance.", takeover
    elif share[How.RECONFIGURED] >= half:
        cause, confidence, action = Cause.CONFIGURATION_CHANGED, Confidence.MEDIUM, ActionOn.AZURE
        told, lines = "The configuration of the gateway was changed.", said[How.RECONFIGURED]
    elif sum(_moved(gateway, s) for s in crowd.fell) > half:
        cause, confidence, action = Cause.GATEWAY_FAILOVER, Confidence.MEDIUM, ActionOn.AZURE
        told = "Most of them came back on the other instance: the gateway failed over, and said nothing of it."
    elif share[How.VANISHED] >= half:
        cause, confidence = Cause.PEER_STOPPED_RESPONDING, Confidence.MEDIUM
        told = "Their peers stopped answering Azure's liveness checks (dead peer detection) in the same two minutes: the gateway, or a line that they share, is the likely reason, not the peers."
        lines = said[How.VANISHED]
    lines = lines or [e for s in crowd.fell for e in s.lines]
    return Finding(
        cause=cause,
        confidence=confidence,
        explanation=told,
        action_on=action,
        failed_step=FailedStep.ESTABLISHED,
        hypotheses=() if confidence is Confidence.HIGH else _HYPOTHESES,
        missing_evidence="What Azure did at this minute: Service Health and the activity log of the gateway.",
        severity=Severity.CRITICAL if crowd.down else Severity.WARNING,
        code=next((e.code for e in lines if e.code), None),
        evidence=tuple(sorted(set(lines), key=lambda e: (e.at or 0, e.instance, e.remote, e.message, e.text))[:12]),
    )


def _moved(gateway: Gateway, fell: Spell) -> bool:
    """Whether a leg came back on another instance than the one it had been on."""
    tunnel = gateway.tunnels.get(fell.remote)
    back = (
        (s for s in tunnel.spells if s.up and s.leg == fell.leg and s.start == fell.end) if tunnel is not None else ()
    )
    return any(s.instance and fell.instance and s.instance != fell.instance for s in back)


def _near(gateway: Gateway, kind: Kind, crowd: Together) -> list[IkeEvent]:
    return [
        e
        for _, e in sorted(gateway.marks.items())
        if e.kind is kind
        and crowd.start - BEFORE <= (e.at or 0) <= crowd.start + AFTER
        and (not e.instance or not crowd.instance or e.instance == crowd.instance)
    ]


_HYPOTHESES = (
    Hypothesis(
        "The gateway was maintained or failed over without a word in its log",
        Confidence.MEDIUM,
        "Look in the portal at the state of the gateway and at Service Health for this minute.",
    ),
    Hypothesis(
        "The peers share a line or a provider that failed",
        Confidence.MEDIUM,
        "Ask whether the peers' sites share a provider or a data centre.",
    ),
)
