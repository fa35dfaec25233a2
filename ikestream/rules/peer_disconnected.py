"""PeerDisconnected: the peer itself ended the tunnel, in good order, and nobody has tried since (facts 2.15).

13885 says 'lifetime expired or peer sent a delete' in one text: by the age of the SA it was the delete (facts 1.4).
A failed attempt afterwards says more than the delete, so any of them is judged by its own rule. Whether somebody shut
the tunnel down, or the peer ends it when there is no traffic, the log cannot show; a leg that was seen to be dialled
on demand is no incident at all (`on_demand`).
"""

from __future__ import annotations

from ikestream.episode import Situation
from ikestream.finding import ActionOn, Cause, Confidence, FailedStep, Finding, Hypothesis, Severity
from ikestream.rules.configured import waiting
from ikestream.rules.ending import LIFETIME_OR_DELETE, How, attempts_after, code, endings, evidence, reason, those


def judge(situation: Situation) -> Finding | None:
    """Return the finding if the peer ended the tunnel and no attempt has failed since."""
    shown = those(endings(situation), How.DELETED, How.ENDED)
    if not shown or attempts_after(situation):
        return None
    told = "The tunnel was up; then the peer ended it"
    told += "." if those(shown, How.DELETED) else " (or its lifetime ended, which its age makes unlikely)."
    told += reason(shown) + " Neither end has tried and failed to bring it up since."
    version = situation.configured
    told += waiting(version)
    return Finding(
        cause=Cause.PEER_DISCONNECTED,
        confidence=Confidence.MEDIUM,
        explanation=told,
        action_on=ActionOn.PEER,
        failed_step=FailedStep.ESTABLISHED,
        hypotheses=(
            *((_RENEWED,) if situation.episode.up is not None else ()),
            *(_HYPOTHESES if version is None else _HYPOTHESES[:-1]),
        ),
        missing_evidence="Why the peer ended it: its own log at this minute.",
        severity=Severity.WARNING,
        code=code(shown) or LIFETIME_OR_DELETE,
        evidence=tuple(evidence(shown)[:12]),
    )


_RENEWED = Hypothesis(
    "The peer renews its keys by ending the tunnel and negotiating it anew (reauthentication), and was late this time",
    Confidence.LOW,
    "Compare the age of the tunnel at this minute with the peer's IKE lifetime.",
)
_HYPOTHESES = (
    Hypothesis(
        "The peer ends the tunnel when it is idle and dials again when there is traffic",
        Confidence.MEDIUM,
        "Send traffic from behind the peer: if the tunnel comes up, all is well.",
    ),
    Hypothesis(
        "Somebody cleared the tunnel or removed the connection at the peer",
        Confidence.MEDIUM,
        "Ask the owner of the site what was done at this minute.",
    ),
    Hypothesis(
        "The peer's device restarted in good order",
        Confidence.LOW,
        "Read the device's uptime.",
    ),
    Hypothesis(
        "Azure's connection is set to ResponderOnly, so that it does not call the peer by itself",
        Confidence.LOW,
        "Read the connection mode of the connection.",
    ),
)
