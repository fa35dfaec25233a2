"""Negotiation -> what it shows: the questions several rules ask of one attempt."""

from __future__ import annotations

from collections.abc import Iterable

from ikestream import codes
from ikestream.episode import Situation
from ikestream.events import IkeEvent, Kind
from ikestream.finding import ActionOn, FailedStep
from ikestream.negotiation import POLICY_CODES, Initiator, Negotiation
from ikestream.rules.configured import authentication
from ikestream.timeline import EXCHANGE, TIMED_OUT, Outcome

_QUICK_MODE = frozenset(
    {Kind.TS_PROPOSED, Kind.TS_REQUESTED, Kind.TS_FINAL, Kind.ESP_SENT, Kind.ESP_RECEIVED, Kind.CLEANUP_QM}
)
_MAIN_MODE = frozenset({Kind.IKE_SENT, Kind.IKE_RECEIVED, Kind.MM_PACKET, Kind.CLEANUP_MM})
POLICY_MATCH = 13868
DH_CODES = frozenset({13822, 13833, 13864, 13865})


def in_phase_one(negotiation: Negotiation) -> bool:
    """Whether a policy refusal concerns phase 1 (facts 1.4): nothing shows that IKE_SA_INIT succeeded."""
    return not negotiation.reached_auth and Kind.CLEANUP_QM not in negotiation.kinds and negotiation.depth <= 2


_OF_PHASE_ONE = frozenset(
    {Kind.SA_INIT_SENT, Kind.SA_INIT_ANSWERED, Kind.SA_INIT_RECEIVED, Kind.RESPONDER_SPI, *_MAIN_MODE}
)


def shows_phase_one(negotiation: Negotiation) -> bool:
    """Whether a line says that phase 1 was under way, or a code that only phase 1 knows (facts 1.3, 1.4).

    A refusal with no other line of its session tells no phase: the rest may be lost, or stand in another session.
    """
    return bool(negotiation.kinds & _OF_PHASE_ONE) or not (POLICY_CODES - {POLICY_MATCH}).isdisjoint(negotiation.codes)


def reached(negotiation: Negotiation) -> FailedStep:
    """Return the exchange that failed."""
    if Kind.CLEANUP_QM in negotiation.kinds or negotiation.depth >= 4:
        return FailedStep.CHILD_SA
    return FailedStep.AUTH if negotiation.reached_auth else FailedStep.SA_INIT


_NEXT_STEP = {
    0: ("SA_INIT was sent and not answered", "{responder}"),
    1: ("SA_INIT was refused", "the side that was refused"),
    2: ("SA_INIT was answered", "{initiator}, with IKE_AUTH"),
    3: ("IKE_AUTH was requested", "{responder}"),
    4: ("IKE_AUTH was answered", "either side: the child SA was not agreed"),
    5: ("the child SA was agreed", "nobody: it was closed afterwards"),
}
_SIDES = {
    Initiator.AZURE: ("Azure", "the peer"),
    Initiator.PEER: ("the peer", "Azure"),
    Initiator.UNKNOWN: ("the initiator", "the responder"),
}


def stopped_after(negotiation: Negotiation) -> str:
    """Say how far the attempt came and who should speak next; the reason is not known from that."""
    step, turn = _NEXT_STEP[negotiation.depth]
    if _is_refused(negotiation) and negotiation.depth not in (1, 5):  # nobody waits for a word that was said
        step, turn = f"{step.removesuffix(' and not answered')}, then it was refused", "the side that was refused"
    who = {
        Initiator.AZURE: "Azure initiated",
        Initiator.PEER: "the peer initiated",
        Initiator.UNKNOWN: "initiator unknown",
    }
    initiator, responder = _SIDES[negotiation.initiator]
    return (
        f"{who[negotiation.initiator]}; {step}; next to speak: {turn.format(initiator=initiator, responder=responder)}"
    )


def _is_refused(negotiation: Negotiation) -> bool:
    """Whether one side answered with an error, of whatever weight."""
    soft = negotiation.soft_failure
    return negotiation.refusal is not None or (
        soft is not None and soft.kind in (Kind.NOTIFY_SENT, Kind.NOTIFY_RECEIVED)
    )


def next_to_act(negotiation: Negotiation) -> ActionOn:
    """Return the side that should have spoken next, where the lines show it: after a refusal neither."""
    if negotiation.initiator is Initiator.UNKNOWN or _is_refused(negotiation):
        return ActionOn.UNKNOWN
    azure, peer = ActionOn.AZURE, ActionOn.PEER
    initiator, responder = (azure, peer) if negotiation.initiator is Initiator.AZURE else (peer, azure)
    return {0: responder, 2: initiator, 3: responder}.get(negotiation.depth, ActionOn.UNKNOWN)


_PROOF_ORDER = (
    Kind.NOTIFY_SENT, Kind.NOTIFY_RECEIVED, Kind.CLOSED, Kind.ERROR, Kind.CLEANUP_MM, Kind.CLEANUP_QM,
    Kind.IKE_RECEIVED, Kind.IKE_SENT, Kind.ESP_RECEIVED, Kind.ESP_SENT, Kind.TS_REQUESTED, Kind.TS_PROPOSED, Kind.TS_FINAL,
    Kind.AUTH_RECEIVED, Kind.AUTH_SENT, Kind.SA_INIT_SENT, Kind.SA_INIT_RECEIVED, Kind.SA_INIT_ANSWERED,
)  # fmt: skip


def prove(
    negotiations: Iterable[Negotiation], kinds: Iterable[Kind] = _PROOF_ORDER, limit: int = 12
) -> tuple[IkeEvent, ...]:
    """Return at most `limit` lines of these attempts, what proves most first kept, in event order.

    Give it the newest and the first of a kind, and none by number: of equal attempts folding keeps no others, and what is
    told must not depend on it.
    """
    rank = {kind: i for i, kind in enumerate(kinds)}
    seen: set[tuple[str, str]] = set()
    lines: list[IkeEvent] = []
    for n in negotiations:
        for event in n.events:
            if event.kind in rank and (event.session, event.message) not in seen:
                seen.add((event.session, event.message))
                lines.append(event)
    lines.sort(key=lambda e: (rank[e.kind], e.at or 0, e.message))
    return tuple(sorted(lines[:limit], key=lambda e: (e.at or 0, rank[e.kind], e.message)))


def timed_out(negotiation: Negotiation) -> bool:
    """Whether nothing but time ended it: no refusal, no other error; a notify of status is none."""
    if negotiation.refusal is not None or not set(negotiation.codes) <= TIMED_OUT:
        return False
    said = (negotiation.sent_notifies | negotiation.received_notifies) & _ERRORS
    return not said or (said == {WRONG_GROUP} and group_was_corrected(negotiation))


_ERRORS = frozenset(n.name for n in codes.NOTIFIES if n.error)
WRONG_GROUP = "INVALID_KE_PAYLOAD"


def group_was_corrected(negotiation: Negotiation) -> bool:
    """Whether it went on after a first guess of the group that the other side did not take: the normal course (R8)."""
    return negotiation.reached_auth or any(
        e.kind is Kind.SA_INIT_ANSWERED and e.responder_spi for e in negotiation.events
    )


def refuses_group(negotiation: Negotiation) -> bool:
    """Whether it ended at the Diffie-Hellman group."""
    if DH_CODES & set(negotiation.codes):
        return True
    said = negotiation.sent_notifies | negotiation.received_notifies
    return WRONG_GROUP in said and not group_was_corrected(negotiation)


def uses_certificates(situation: Situation) -> bool:
    """Whether the tunnel authenticates with certificates: Azure's own line says so (R2), else the configuration."""
    logged = {n.auth_method for n in situation.negotiations} - {""}
    return "certificate" in logged or (not logged and authentication(situation.configured) == "certificate")


def closed_by_time(negotiation: Negotiation) -> bool:
    """Whether Azure itself wrote that time ran out, rather than that the lines just end."""
    return bool(TIMED_OUT & set(negotiation.codes))


def count(situation: Situation, negotiations: Iterable[Negotiation]) -> int:
    """Return how many attempts these stand for: folded ones for many, a retransmission for none."""
    return len(frozenset().union(*(situation.attempts[n].identities for n in negotiations)))


def ikev2_is_shown(situation: Situation) -> bool:
    """Whether a line of this tunnel exists only in IKEv2. That none does proves nothing (facts R1)."""
    return any(n.kinds & EXCHANGE for n in situation.negotiations)


def rekeys(situation: Situation, negotiation: Negotiation) -> bool:
    """Whether this is a later exchange on an established IKE SA (facts 1.1, depth 6), not the beginning of one.

    Nothing in it belongs to phase 1, and the leg, or the very session, had come up before.
    """
    n = negotiation
    if n.kinds & (EXCHANGE | {Kind.IKE_SENT, Kind.IKE_RECEIVED, Kind.MM_PACKET, Kind.CLEANUP_MM}):
        return False
    return any(
        situation.conclusions[o].outcome is Outcome.SUCCEEDED
        and situation.conclusions[o].at <= n.start
        and (o.session == n.session or not n.local or o.local in ("", n.local))
        for o in situation.negotiations
    )


def disconnected_with(situation: Situation, codes: frozenset[int]) -> IkeEvent | None:
    """Return the TunnelDisconnected whose reason is one of `codes`, where no attempt says more.

    With TunnelDiagnosticLog alone the reason is all there is: it names the fault, never the parameter.
    """
    if situation.newest:
        return None
    return next(
        (
            c.mark
            for c in situation.downs
            if c.mark is not None and c.mark.kind is Kind.TUNNEL_DOWN and c.mark.code in codes
        ),
        None,
    )


SWITCH_ON_IKE_LOG = "Switch on IKEDiagnosticLog on this gateway: TunnelDiagnosticLog gives only a reason, the attempts show the parameter."

INVALID_ID = "INVALID_ID_INFORMATION"
SELECTOR_NOTIFIES = frozenset({"TS_UNACCEPTABLE", "SINGLE_PAIR_REQUIRED", INVALID_ID})
SELECTOR_CODE = 13999


def refuses_selectors(negotiation: Negotiation) -> bool:
    """Whether either side said that the selectors are the reason.

    IKEv1's INVALID_ID_INFORMATION says it in quick mode, whose ID payloads are the selectors (RFC 2407 4.6.2). In main mode the
    same word is about who the peer is, and that is another fault.
    """
    said = negotiation.sent_notifies | negotiation.received_notifies
    if SELECTOR_CODE in negotiation.codes or (SELECTOR_NOTIFIES - {INVALID_ID}) & said:
        return True
    return INVALID_ID in said and not refuses_identity(negotiation)


def refuses_identity(negotiation: Negotiation) -> bool:
    """Whether main mode ended with INVALID_ID_INFORMATION: one end does not take the other for who it says it is."""
    said = negotiation.sent_notifies | negotiation.received_notifies
    return INVALID_ID in said and bool(negotiation.kinds & _MAIN_MODE) and not negotiation.kinds & _QUICK_MODE


def newest_or_before(situation: Situation) -> tuple[Negotiation, ...]:
    """Return the newest failures, or, where nobody has tried since the tunnel went down, what was tried just before."""
    if situation.newest:
        return situation.newest
    start = situation.episode.start
    return tuple(
        n
        for n in situation.negotiations
        if start - situation.times.attempts_window <= situation.conclusions[n].at <= start
    )


def newest_of_each(situation: Situation, negotiations: Iterable[Negotiation]) -> list[Negotiation]:
    """Return the newest of each initiator: of those before it folding keeps the first ever, not the first in a window."""
    ordered = sorted(negotiations, key=lambda n: (situation.conclusions[n].at, n.session))
    return list({n.initiator: n for n in ordered}.values())


_COLLISIONS = frozenset({"TEMPORARY_FAILURE", "CHILD_SA_NOT_FOUND"})
_COLLISION_CODE = 13821


def collides_around(situation: Situation, refused: list[Negotiation]) -> bool:
    """Whether both ends renewed at once within the grace time of these: then a refusal proves nothing (RFC 7296 2.25)."""
    reach = situation.times.grace
    return any(
        _COLLISION_CODE in n.codes or bool(_COLLISIONS & (n.sent_notifies | n.received_notifies))
        for n in situation.negotiations
        if any(o.start - reach <= n.end and n.start <= o.end + reach for o in refused)
    )


def refuses_child(situation: Situation, negotiation: Negotiation) -> bool:
    """Whether a child SA was refused as a policy mismatch: phase 2 by facts 1.4."""
    if not negotiation.refused_policy or negotiation.refused_authentication:
        return False
    return not in_phase_one(negotiation) or rekeys(situation, negotiation)


def answered(negotiation: Negotiation) -> bool:
    """Whether the first message got an answer, whoever began."""
    return bool(
        negotiation.kinds & {Kind.SA_INIT_ANSWERED, Kind.RESPONDER_SPI, Kind.MM_PACKET}
        or (negotiation.initiator is Initiator.AZURE and Kind.IKE_RECEIVED in negotiation.kinds)
    )
