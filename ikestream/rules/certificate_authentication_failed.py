"""CertificateAuthenticationFailed: authentication failed, and the ends use certificates (facts 2.2).

A code of its own says which check failed: validity, chain, key usage, revocation. Where only the general failure is
logged, Azure's own method as logged (R2, `Auth:` in its phase 1 payload) tells key from certificate, or else the connection as
it is configured. A leg that logs `Auth:PreShared Key` is never judged here.

No log of a certificate's failure is published; a code is believed by its own words (inferred), for it says nothing but that.

An IKE_AUTH that is too large for the path is no hypothesis here: what was refused had arrived. It is one of a negotiation that
stalled.
"""

from __future__ import annotations

from ikestream import codes
from ikestream.episode import Situation
from ikestream.events import IkeEvent
from ikestream.finding import ActionOn, Cause, Confidence, FailedStep, Finding, Hypothesis
from ikestream.negotiation import CERTIFICATE_CODES, Negotiation
from ikestream.rules.configured import authentication
from ikestream.rules.signature import SWITCH_ON_IKE_LOG, disconnected_with, prove, uses_certificates
from ikestream.times import CLOCKLESS, DAY, MINUTE

IDENTITY_CODES = frozenset({13889, 13834, 13869})
AUTHENTICATION_CODES = frozenset({13801, 13826})
_AZURES = frozenset({13806, 13820})
"""Azure finds no certificate of its own, or no private key of it."""
_PEERS = frozenset({13828, 13847})
"""The peer sent none that is valid, or one without a public key."""
CERTIFICATE = "certificate"
NEAR_MIDNIGHT = 5 * MINUTE
"""Certificates end at midnight more often than chance would have it."""


def judge(situation: Situation) -> Finding | None:
    """Return the finding if the newest failures show a certificate that was not accepted."""
    uses = uses_certificates(situation)
    mark = disconnected_with(situation, CERTIFICATE_CODES | (AUTHENTICATION_CODES if uses else frozenset()))
    if mark is not None:
        return _by_reason(mark)
    shown = [n for n in situation.newest if n.refused_authentication and _by_certificate(situation, n)]
    if not shown:
        return None
    code = next((c for n in shown for c in n.codes if c in CERTIFICATE_CODES), None)
    told = "Phase 1 was agreed, then authentication by certificate failed"
    if code is not None:
        told += f": {codes.CODES[code].message.partition('. ')[0].rstrip('.')}."  # what follows is for Windows desktops
    else:
        told += "; the log does not say which check of the certificate failed."
    sent = any("AUTHENTICATION_FAILED" in n.sent_notifies for n in shown)
    got = any("AUTHENTICATION_FAILED" in n.received_notifies for n in shown)
    if sent is not got:
        told += " Azure refused the peer." if sent else " The peer refused Azure."
    return Finding(
        cause=Cause.CERTIFICATE_AUTHENTICATION_FAILED,
        confidence=Confidence.HIGH if code is not None else Confidence.MEDIUM,
        explanation=told,
        action_on=ActionOn.AZURE if code in _AZURES else ActionOn.PEER if code in _PEERS else ActionOn.BOTH,
        failed_step=FailedStep.AUTH,
        hypotheses=_hypotheses(situation),
        missing_evidence=""
        if code is not None
        else "Which check failed: the peer's log at the time and SPI given here, and the validity dates of both certificates.",
        code=code or next((c for n in shown for c in n.codes), 13801),
        evidence=prove(shown),
    )


def _by_certificate(situation: Situation, n: Negotiation) -> bool:
    if IDENTITY_CODES & set(n.codes):
        return False
    method = n.auth_method or _method_of_leg(situation, n)
    return method == CERTIFICATE or (not method and bool(CERTIFICATE_CODES & set(n.codes)))


def _method_of_leg(situation: Situation, n: Negotiation) -> str:
    told = [o for o in situation.negotiations if o.auth_method and o.start <= n.end and o.local in ("", n.local)]
    if told:
        return max(told, key=lambda o: (o.start, o.session)).auth_method
    return authentication(situation.configured)


def _hypotheses(situation: Situation) -> tuple[Hypothesis, ...]:
    expired = Hypothesis(
        "A certificate has expired",
        Confidence.MEDIUM if _began_at_midnight(situation) else Confidence.LOW,
        "Read the validity dates of both leaf certificates and of their chains.",
    )
    chain = Hypothesis(
        "The chain is not sent or too long, or its root is not the one the other end trusts",
        Confidence.LOW,
        "Compare the root and intermediate certificates installed on both ends.",
    )
    vault = Hypothesis(
        "The gateway's identity may no longer read its certificate in Key Vault, or a revocation list is out of reach",
        Confidence.LOW,
        "Check the managed identity's access to Key Vault, and the revocation addresses in the certificates.",
    )
    return (expired, chain, vault)


def _began_at_midnight(situation: Situation) -> bool:
    # An end of validity is usually the end of a day, in UTC.
    if situation.last_good is None or situation.times is CLOCKLESS:
        return False
    return situation.episode.start % DAY <= NEAR_MIDNIGHT


def _by_reason(mark: IkeEvent) -> Finding:
    return Finding(
        cause=Cause.CERTIFICATE_AUTHENTICATION_FAILED,
        confidence=Confidence.MEDIUM,
        explanation=f"Azure disconnected the tunnel and gave as reason '{mark.text}'.",
        action_on=ActionOn.BOTH,
        failed_step=FailedStep.AUTH,
        missing_evidence=SWITCH_ON_IKE_LOG,
        code=mark.code,
        evidence=(mark,),
    )
