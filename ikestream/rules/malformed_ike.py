"""MalformedIke: one end sends messages the other cannot read, again and again (facts 2.14).

Three attempts at least, with a known peer. Invalid payloads after selectors were spoken of are about the selectors,
invalid cookies (13846) are what remains of an SA after a failover and count for nothing here, and with IKEv1 a wrong key turns good messages into
rubbish: as long as no line shows IKEv2, the key is the first thing to check.
"""

from __future__ import annotations

from ikestream import codes
from ikestream.episode import Situation
from ikestream.events import Kind
from ikestream.finding import ActionOn, Cause, Confidence, Finding, Hypothesis
from ikestream.negotiation import Negotiation
from ikestream.rules.signature import count, ikev2_is_shown, prove, reached

PAYLOAD_CODES = frozenset({13823, 13824, 13843, *range(13829, 13833), *range(13835, 13843)})
NOTIFIES = frozenset({"INVALID_SYNTAX", "UNSUPPORTED_CRITICAL_PAYLOAD"})
ENOUGH = 3


def judge(situation: Situation) -> Finding | None:
    """Return the finding if the newest failures are unreadable messages, seen often enough."""
    shown = [n for n in situation.newest if _is_malformed(n)]
    if not shown:
        return None
    alike = [n for n in situation.failed if _is_malformed(n)]
    attempts = count(situation, alike)
    if attempts < ENOUGH:
        return None
    version = ikev2_is_shown(situation)
    code = next((c for n in shown for c in n.codes if c in PAYLOAD_CODES), None)
    by_peer = any(NOTIFIES & n.received_notifies for n in shown)
    words = f"'{codes.CODES[code].message.rstrip('.')}'" if code is not None else "Invalid Syntax"
    return Finding(
        cause=Cause.MALFORMED_IKE,
        confidence=Confidence.MEDIUM if version else Confidence.LOW,
        explanation=f"{attempts} attempts ended because {'the peer' if by_peer else 'Azure'} could not read a message: {words}.",
        action_on=ActionOn.PEER,
        failed_step=reached(shown[0]),
        hypotheses=_HYPOTHESES if version else (_KEY, *_HYPOTHESES),
        missing_evidence="What was in the message: a packet capture on the connection in Azure during an attempt, and the peer's"
        " log at the time and SPI given here.",
        code=code,
        evidence=prove(dict.fromkeys((*shown, alike[0], alike[-1]))),
    )


_KEY = Hypothesis(
    "The pre-shared keys differ: with IKEv1 a wrong key turns messages into rubbish",
    Confidence.MEDIUM,
    "Compare the length and the first and last two characters of both keys by telephone, never by log or mail.",
)
_HYPOTHESES = (
    Hypothesis(
        "The device, or its version, sends payloads Azure does not know",
        Confidence.LOW,
        "Compare the device and its version with Microsoft's list of validated devices.",
    ),
    Hypothesis(
        "Something on the way changes or cuts packets",
        Confidence.LOW,
        "Compare a packet capture at both ends.",
    ),
)


def _is_malformed(n: Negotiation) -> bool:
    if n.kinds & {Kind.TS_PROPOSED, Kind.TS_REQUESTED, Kind.TS_FINAL} or n.refusal is not None:
        return False
    return bool(PAYLOAD_CODES & set(n.codes) or NOTIFIES & (n.sent_notifies | n.received_notifies))
