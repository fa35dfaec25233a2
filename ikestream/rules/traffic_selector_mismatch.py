"""TrafficSelectorMismatch: the two ends do not agree on which addresses the tunnel is for (facts 2.6).

The peer or Azure says so in a notify or with 13999; or selectors were spoken of and the negotiation then timed out or
ended as an invalid payload, which is how Microsoft's support pages show a peer that takes only its own, narrow
selectors. Where the two sides' own are in the log and have nothing in common, that the attempts ended is enough.
Selectors belong to the initiator (R4): TSi is Azure's side when Azure begins and the peer's side when the
peer begins. What is compared is the union of the ranges, since the first may be the one packet that started it (R5).

Narrower final selectors without an error are a success and no mismatch. An Azure that is known to propose any-to-any
accepts as responder whatever the peer proposes, so there only an explicit refusal counts.
"""

from __future__ import annotations

from ikestream.episode import Situation
from ikestream.events import IkeEvent, Kind, Selector
from ikestream.finding import ActionOn, Cause, Confidence, FailedStep, Finding, Hypothesis
from ikestream.negotiation import EVERYTHING, Initiator, Negotiation
from ikestream.rules.offered import Selectors, change_after, collect_selectors
from ikestream.rules.signature import (
    SELECTOR_CODE,
    SELECTOR_NOTIFIES,
    SWITCH_ON_IKE_LOG,
    disconnected_with,
    prove,
    refuses_selectors,
    rekeys,
    timed_out,
)
from ikestream.timeline import TIMED_OUT

INVALID_PAYLOAD = 13843
NEGOTIATION_FAILED = "SA_NEGOTIATION_FAILED"
TS_KINDS = frozenset({Kind.TS_PROPOSED, Kind.TS_REQUESTED, Kind.TS_FINAL})
PROOF = (
    Kind.NOTIFY_SENT,
    Kind.NOTIFY_RECEIVED,
    Kind.ERROR,
    Kind.CLOSED,
    Kind.CLEANUP_QM,
    Kind.TS_PROPOSED,
    Kind.TS_REQUESTED,
    Kind.TS_FINAL,
    Kind.AUTH_RECEIVED,
    Kind.AUTH_SENT,
)


def judge(situation: Situation) -> Finding | None:
    """Return the finding if the newest failures are about selectors."""
    mark = disconnected_with(situation, frozenset({SELECTOR_CODE}))
    if mark is not None:
        return _by_reason(mark)
    refused = [n for n in situation.newest if refuses_selectors(n)]
    at = max((situation.conclusions[n].at for n in refused or situation.newest), default=situation.until)
    selectors = collect_selectors(situation, at)
    ended = refused or [n for n in situation.newest if _ends_after_selectors(n) and _can_fail(n, selectors)]
    if not ended and selectors.disjoint:
        ended = [n for n in situation.newest if n.kinds & TS_KINDS and timed_out(n)]
    if not ended:
        return None
    said = any(SELECTOR_CODE in n.codes or _UNACCEPTABLE & (n.sent_notifies | n.received_notifies) for n in refused)
    stale = change_after(situation, selectors.sessions) if selectors.known else None
    certain = said or (selectors.disjoint and stale is None)
    return Finding(
        cause=Cause.TRAFFIC_SELECTOR_MISMATCH,
        confidence=Confidence.HIGH if certain else Confidence.MEDIUM,
        explanation=_explain(ended, selectors, said=bool(refused), stale=stale),
        action_on=ActionOn.PEER if _wants_everything(selectors) else ActionOn.BOTH,
        failed_step=FailedStep.REKEY if all(rekeys(situation, n) for n in ended) else FailedStep.CHILD_SA,
        mismatch=selectors.mismatch(),
        hypotheses=() if certain else _HYPOTHESES,
        missing_evidence="" if selectors.known else _missing(selectors),
        code=next(
            (c for n in ended for c in n.codes if c in (SELECTOR_CODE, INVALID_PAYLOAD, *TIMED_OUT)),
            SELECTOR_CODE if said else None,
        ),
        evidence=prove(dict.fromkeys([*ended, *selectors.sessions]), PROOF),
    )


_UNACCEPTABLE = frozenset({"TS_UNACCEPTABLE", "SINGLE_PAIR_REQUIRED"})

_HYPOTHESES = (
    Hypothesis(
        "The peer dropped the message for another reason, or it was lost on the way (UDP 4500, fragments)",
        Confidence.LOW,
        "Read the peer's log at the time and SPI of this attempt: 'TS unacceptable' or 'proxy ID mismatch' settles it.",
    ),
)


def _ends_after_selectors(n: Negotiation) -> bool:
    if not n.kinds & TS_KINDS or n.refusal is not None:
        return False
    failed = any(e.name == NEGOTIATION_FAILED for e in n.events)
    if failed and TIMED_OUT & set(n.codes):
        return True
    return n.initiator is Initiator.AZURE and Kind.TS_PROPOSED in n.kinds and INVALID_PAYLOAD in n.codes


def _can_fail(n: Negotiation, selectors: Selectors) -> bool:
    return n.initiator is Initiator.AZURE or not _wants_everything(selectors)


def _wants_everything(selectors: Selectors) -> bool:
    ends = (selectors.azure_local, selectors.azure_remote)
    return all(any(_is_any(s) for s in end) for end in ends)


def _is_any(selector: Selector) -> bool:
    return (selector.start, selector.end) in EVERYTHING


def _explain(ended: list[Negotiation], selectors: Selectors, *, said: bool, stale: IkeEvent | None) -> str:
    by_azure = any(SELECTOR_NOTIFIES & n.sent_notifies for n in ended)
    by_peer = any(SELECTOR_NOTIFIES & n.received_notifies for n in ended)
    if said:
        who = "were refused" if by_azure is by_peer else f"were refused by {'Azure' if by_azure else 'the peer'}"
        told = f"Phase 1 and the authentication went well, then the traffic selectors {who}."
    else:  # they travel with IKE_AUTH: that it was accepted is not known
        told = "Phase 1 was agreed, then the negotiation ended right after the traffic selectors"
        told += (
            "; those of the two sides have nothing in common."
            if selectors.disjoint
            else ", as it does when the peer takes only its own."
        )
    if (selectors.known or selectors.configured) and (found := selectors.differences()):
        told += (
            f" Compared with what Azure {'is configured to propose' if selectors.configured else 'proposes'}: {found}."
        )
        if stale is not None:
            told += " The configuration was written after one of them was logged, so it may be out of date."
    elif selectors.known:
        told += " The ranges logged on both sides are the same; ports or protocols, or a later change, may differ."
    return told


def _missing(selectors: Selectors) -> str:
    if selectors.azure_local:
        return (
            "The peer's selectors. Make the peer initiate once (restart only this tunnel there): its traffic selectors then"
            " appear in the log and this verdict compares them."
        )
    return (
        "Azure's selectors: they are logged when Azure initiates. Reset this connection in Azure once, or read the prefixes of"
        " the virtual network and of the local network gateway."
    )


def _by_reason(mark: IkeEvent) -> Finding:
    return Finding(
        cause=Cause.TRAFFIC_SELECTOR_MISMATCH,
        confidence=Confidence.MEDIUM,
        explanation=f"Azure disconnected the tunnel and gave as reason '{mark.text}'.",
        action_on=ActionOn.BOTH,
        failed_step=FailedStep.CHILD_SA,
        missing_evidence=SWITCH_ON_IKE_LOG,
        code=mark.code,
        evidence=(mark,),
    )
