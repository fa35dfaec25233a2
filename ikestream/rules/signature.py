"""Negotiation -> what it shows: the questions several rules ask of one attempt."""

from __future__ import annotations

from collections.abc import Iterable

from ikestream.events import IkeEvent, Kind
from ikestream.rules.finding import ActionOn, FailedStep
from ikestream.tunnel import Initiator, Negotiation

DH_CODES = frozenset({13822, 13833, 13864, 13865})


def in_phase_one(negotiation: Negotiation) -> bool:
    """Whether a policy refusal concerns phase 1 (facts 1.4): nothing shows that IKE_SA_INIT succeeded."""
    return not negotiation.reached_auth and Kind.CLEANUP_QM not in negotiation.kinds and negotiation.depth <= 2


def reached(negotiation: Negotiation) -> FailedStep:
    """Return the exchange that failed."""
    if Kind.CLEANUP_QM in negotiation.kinds or negotiation.depth >= 4:
        return FailedStep.CHILD_SA
    return FailedStep.AUTH if negotiation.reached_auth else FailedStep.SA_INIT


_NEXT_STEP = {
    0: ("SA_INIT was sent and not answered", "the responder"),
    1: ("SA_INIT was refused", "the side that was refused"),
    2: ("SA_INIT was answered", "the initiator, with IKE_AUTH"),
    3: ("IKE_AUTH was requested", "the responder"),
    4: ("IKE_AUTH was answered", "either side: the child SA was not agreed"),
    5: ("the child SA was agreed", "nobody: it was closed afterwards"),
}


def stopped_after(negotiation: Negotiation) -> str:
    """Say how far the attempt came and who should speak next; the reason is not known from that."""
    step, turn = _NEXT_STEP[negotiation.depth]
    who = {
        Initiator.AZURE: "Azure initiated",
        Initiator.PEER: "the peer initiated",
        Initiator.UNKNOWN: "initiator unknown",
    }
    return f"{who[negotiation.initiator]}; {step}; next to speak: {turn}"


def next_to_act(negotiation: Negotiation) -> ActionOn:
    """Return the side that should have spoken next, where the lines show it."""
    if negotiation.initiator is Initiator.UNKNOWN:
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
    """Return at most `limit` lines of these attempts, what proves most first kept, in event order."""
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
