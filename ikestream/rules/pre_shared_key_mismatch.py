"""PreSharedKeyMismatch: phase 1 was agreed and the keys were compared, and they differ (facts 2.1).

The responder always notices first: it verifies the initiator's AUTH. When Azure is the responder and says so
itself, the log proves it. When the peer refuses Azure, the peer's reason is hidden on purpose (RFC 7296 2.21.2):
Microsoft documents it as the key, but a peer that expects another identity of Azure writes the same line. Where the peer
is a gateway of this stream, too, its own log tells which it was.
Which side's key is wrong cannot be seen in IKE.

With IKEv1 the key is part of what encrypts message 5 (RFC 2409 5), so a wrong one leaves rubbish or silence after the
key exchange and never a clean refusal. Where no line is of IKEv2, the tunnel never came up and that happens again and
again, the key is the first lead; lines of IKEv1 are not published, so the signature is inferred and stays Low. With TunnelDiagnosticLog alone the reason of a disconnect is all there is.
"""

from __future__ import annotations

from ikestream import codes
from ikestream.episode import Situation
from ikestream.events import IkeEvent, Kind
from ikestream.finding import ActionOn, Cause, Confidence, FailedStep, Finding, Hypothesis
from ikestream.negotiation import CERTIFICATE_CODES, Initiator, Negotiation
from ikestream.rules.ending import endings
from ikestream.rules.signature import (
    SWITCH_ON_IKE_LOG,
    answered,
    count,
    disconnected_with,
    ikev2_is_shown,
    prove,
    timed_out,
    uses_certificates,
)
from ikestream.timeline import Outcome, State

IDENTITY_CODES = frozenset({13889, 13834, 13869})
"""Authentication method or identity refused: not the key."""
HASH_CODE = 13870
PROOF = (
    Kind.NOTIFY_SENT,
    Kind.NOTIFY_RECEIVED,
    Kind.CLOSED,
    Kind.ERROR,
    Kind.CLEANUP_MM,
    Kind.CLEANUP_QM,
    Kind.AUTH_RECEIVED,
    Kind.AUTH_SENT,
    Kind.SA_INIT_ANSWERED,
    Kind.SA_INIT_SENT,
    Kind.SA_INIT_RECEIVED,
)
KEY_CODES = frozenset({13801, 13826, HASH_CODE})
RUBBISH_CODES = frozenset({13843, 13824})
AGAIN_AND_AGAIN = 3


def judge(situation: Situation) -> Finding | None:
    """Return the finding if the newest failures show a failed authentication by key."""
    if uses_certificates(situation):
        return None
    mark = disconnected_with(situation, KEY_CODES)
    if mark is not None:
        return _by_reason(mark)
    shown = [n for n in situation.newest if _fails_on_key(n)]
    if not shown:
        return _after_key_exchange(situation)
    if any((IDENTITY_CODES | CERTIFICATE_CODES) & set(n.codes) for n in shown) or _other_leg_authenticates(
        situation, shown
    ):
        return None
    lately = _lately(situation, shown)
    azure_refused = any(_refused_by_azure(n) for n in lately)
    peer_refused = any(_refused_by_peer(n) for n in lately)
    told_there = peer_refused and _refused_there(situation, shown)
    worked_before = any(_worked_before(situation, n) for n in shown)
    changed = _key_was_changed(situation)
    proven = azure_refused or told_there or worked_before or changed
    if azure_refused and peer_refused:
        told = "Phase 1 was agreed, then each side refused the other's authentication"
    elif azure_refused:
        told = "Phase 1 was agreed, then Azure could not verify the peer's authentication"
    else:
        told = "Phase 1 was agreed, then the peer refused Azure's authentication"
    if told_there and situation.far is not None:
        told += f". The peer is gateway {situation.far.name} of this stream, and its own log says that it could not verify it"
    # That the key is what the peer refused is Microsoft's reading, and the usual one.
    told += ". The" if proven else ". Most likely the"
    told += " pre-shared keys on the two sides differ; the log cannot show which one is wrong."
    if changed:
        told += " Azure says that the key of this connection was changed."
    elif worked_before:
        told += " The same direction worked before, so a key was changed on one side."
    hypotheses = [
        Hypothesis(
            "Keys swapped between two connections, cut or too long, or with a character one side does not take",
            Confidence.LOW,
            "Compare the length and the first and last two characters of both keys by telephone, never by log or mail.",
        )
    ]
    if situation.far is not None:
        hypotheses = [_TWO_RESOURCES]
    if not azure_refused and not told_there:
        hypotheses.insert(
            0,
            Hypothesis(
                "The peer expects another identity (remote ID) of Azure than the gateway's public IP address",
                Confidence.LOW if worked_before or changed else Confidence.MEDIUM,
                "Look in the peer's log at the time and SPI of this attempt: 'authentication failed' or 'ID mismatch'.",
            ),
        )
    return Finding(
        cause=Cause.PRE_SHARED_KEY_MISMATCH,
        confidence=Confidence.HIGH if proven else Confidence.MEDIUM,
        explanation=told,
        action_on=ActionOn.BOTH,
        failed_step=FailedStep.AUTH,
        hypotheses=tuple(hypotheses),
        missing_evidence=""
        if proven
        else "Why the peer refused: its own log says so at the time and SPI given here. Or let the peer initiate once: if Azure then refuses it, the key is proven.",
        # Both ends may write their own; which of them did last is no news.
        code=next((c for c in (13801, 13826, HASH_CODE) if any(c in n.codes for n in lately)), 13801),
        evidence=prove(shown, PROOF),
    )


_TWO_RESOURCES = Hypothesis(
    "The two connection resources, one at each gateway, hold different keys: each has its own",
    Confidence.MEDIUM,
    "See in the activity log of both which one was written last, then set one new key on both.",
)


def _fails_on_key(n: Negotiation) -> bool:
    # Without a line beyond SA_INIT a lone 13801 still names authentication: lines get lost.
    return n.refused_authentication and bool(
        "AUTHENTICATION_FAILED" in n.sent_notifies | n.received_notifies
        or KEY_CODES & set(n.codes)
        or IDENTITY_CODES & set(n.codes)
    )


def _worked_before(situation: Situation, refused: Negotiation) -> bool:
    """Whether the same side had called on the same leg, and got in: the peer knew the address and the identity."""
    return any(
        situation.conclusions[n].outcome is Outcome.SUCCEEDED
        and situation.conclusions[n].at <= situation.episode.start
        and n.initiator is refused.initiator
        and (n.local == refused.local or not n.local or not refused.local)
        for n in situation.negotiations
    )


def _key_was_changed(situation: Situation) -> bool:
    # An internal name, used if seen (facts 1.4): `Pre-shared Key Changed`.
    return any("presharedkeychanged" in codes.fold(e.event.text) for e in endings(situation))


def _lately(situation: Situation, shown: list[Negotiation]) -> list[Negotiation]:
    """Return the same failure in the minutes before, too: of the newest attempt not every line may have come yet."""
    oldest = max(situation.conclusions[n].at for n in shown) - situation.times.attempts_window
    return [n for n in situation.failed if n in shown or (_fails_on_key(n) and situation.conclusions[n].at >= oldest)]


def _refused_by_azure(n: Negotiation) -> bool:
    verified = "AUTHENTICATION_FAILED" in n.sent_notifies or 13826 in n.codes
    return (
        verified
        and n.initiator is not Initiator.AZURE
        and (Kind.AUTH_RECEIVED in n.kinds or "AUTHENTICATION_FAILED" in n.sent_notifies)
    )


def _refused_by_peer(n: Negotiation) -> bool:
    return "AUTHENTICATION_FAILED" in n.received_notifies


def _refused_there(situation: Situation, shown: list[Negotiation]) -> bool:
    """Whether the peer's own log, of a gateway of this stream, shows that the key is what it refused."""
    if situation.far is None:
        return False
    reach = situation.times.grace
    return any(
        _refused_by_azure(far) and any(n.start - reach <= far.start and far.end <= n.end + reach for n in shown)
        for far in situation.far.negotiations
    )


def _other_leg_authenticates(situation: Situation, shown: list[Negotiation]) -> bool:
    # One Azure address refused while the other authenticates with the same peer: the key is right, the peer does
    # not expect this address. A success that comes after the last refusal is the cure, not a contradiction.
    refused = {n.local for n in shown}
    newest = max(situation.conclusions[n].at for n in shown)
    for n in situation.negotiations:
        concluded = situation.conclusions[n]
        if not n.local or n.local in refused or concluded.at < situation.episode.start:
            continue
        if (concluded.outcome is Outcome.SUCCEEDED and concluded.at < newest) or (
            concluded.outcome is not Outcome.SUCCEEDED and n.depth >= 4 and not n.refused_authentication
        ):
            return True
    return False


def _by_reason(mark: IkeEvent) -> Finding:
    return Finding(
        cause=Cause.PRE_SHARED_KEY_MISMATCH,
        confidence=Confidence.MEDIUM,
        explanation=f"Azure disconnected the tunnel and gave as reason '{mark.text}': with pre-shared keys, the keys on the two"
        " sides differ.",
        action_on=ActionOn.BOTH,
        failed_step=FailedStep.AUTH,
        missing_evidence=SWITCH_ON_IKE_LOG,
        code=mark.code,
        evidence=(mark,),
    )


def _after_key_exchange(situation: Situation) -> Finding | None:
    ended = [n for n in situation.newest if _is_rubbish(n)]
    never_up = situation.last_good is None and all(c.state is not State.UP for c in situation.changes)
    if not ended or not never_up or ikev2_is_shown(situation):
        return None
    if count(situation, [n for n in situation.failed if _is_rubbish(n)]) < AGAIN_AND_AGAIN:
        return None
    return Finding(
        cause=Cause.PRE_SHARED_KEY_MISMATCH,
        confidence=Confidence.LOW,
        explanation="The key exchange goes through, and what follows cannot be read or gets no answer, in every attempt. With"
        " IKEv1 that is how different pre-shared keys look; no line shows IKEv2.",
        action_on=ActionOn.BOTH,
        failed_step=FailedStep.AUTH,
        hypotheses=(
            Hypothesis(
                "UDP 4500 or fragments are dropped on the way",
                Confidence.LOW,
                "Capture UDP 4500 at both ends during an attempt.",
            ),
        ),
        missing_evidence="Why it ends there: the peer's log at the time of an attempt, and the IKE version on both ends.",
        code=next((c for n in ended for c in n.codes), None),
        evidence=prove(ended),
    )


def _is_rubbish(n: Negotiation) -> bool:
    if n.refusal is not None or n.reached_auth or not answered(n):
        return False
    return bool(RUBBISH_CODES & set(n.codes)) or (timed_out(n) and bool(n.codes))
