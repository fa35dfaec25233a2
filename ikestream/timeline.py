"""What is concluded of one tunnel by an instant, as types: how negotiations ended, and when each leg was up and down.

How one negotiation ended depends on nothing but itself and the instant, and is told here; everything else by `status`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from ikestream.events import IkeEvent, Kind
from ikestream.negotiation import SA_ENDS, Initiator, Negotiation, Signature
from ikestream.times import Times
from ikestream.tunnel import Attempts


class State(StrEnum):
    """What is known of a leg."""

    UNKNOWN = "Unknown"
    UP = "Up"
    DOWN = "Down"


class Outcome(StrEnum):
    """How one negotiation ended, as far as can be told at an instant."""

    SUCCEEDED = "succeeded"
    REFUSED = "refused"  # a definite no
    FAILED = "failed"  # ended without success, by a code that may also occur in health
    UNANSWERED = "unanswered"  # nothing concluded it and nothing more came
    HARMLESS = "harmless"  # collisions, re-initialisation, duplicates
    PENDING = "pending"


FAILED = frozenset({Outcome.REFUSED, Outcome.FAILED, Outcome.UNANSWERED})


@dataclass(frozen=True, slots=True)
class Conclusion:
    """The outcome of a negotiation, and when it was reached."""

    outcome: Outcome
    at: int


@dataclass(frozen=True, slots=True)
class Change:
    """One leg going up or down, and what shows it."""

    at: int
    leg: str
    state: State
    mark: IkeEvent | None = None
    negotiation: Negotiation | None = None
    childless: bool = False  # down although TunnelConnected stands: IKE is up, no IPsec SA


@dataclass(frozen=True, slots=True)
class LegStatus:
    """The newest state of one leg. `instance` is where it was last seen; `since` is None while unknown."""

    leg: str
    instance: str
    state: State
    since: int | None
    ever_up: bool


@dataclass(frozen=True, slots=True)
class Interval:
    """A time in which the tunnel was down: all expected legs, none up. `end` is None while it lasts.

    `removed` says that it ended because the connection was removed from Azure, not because the tunnel came back;
    `moved` that the connection goes to another address since.
    """

    start: int
    end: int | None
    removed: bool = False
    moved: bool = False


Marks: TypeAlias = Mapping[str, Sequence[IkeEvent]]
"""Leg -> what the Tunnel log says of it, in order."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """Everything `episode` and the rules need to know of one tunnel at `now`."""

    negotiations: tuple[Negotiation, ...]
    conclusions: dict[Negotiation, Conclusion]
    attempts: dict[Negotiation, Attempts]  # what each negotiation stands for: folded ones for many
    changes: tuple[Change, ...]
    downs: tuple[Interval, ...]
    legs: tuple[LegStatus, ...]
    deadlines: frozenset[int]  # instants after `now` at which time alone may change any of this
    pending: bool  # a negotiation that began is not concluded yet
    marks: Marks
    removals: tuple[int, ...] = ()  # when the connection went from Azure, in order


TIMED_OUT = frozenset({13805, 13813, 13814, 13815, 258})
"""Negotiation timed out, no response, took too long, the wait operation timed out (facts 1.3)."""
REMOVED = "tunnelremoved"
"""In the folded reason of a TunnelDisconnected: an internal name, used if seen (facts 1.4)."""


def way(n: Negotiation) -> Signature:
    """Return how an attempt ended; that nobody answered is not always followed by a line that says so."""
    accepted, said, sent, received = n.signature
    return accepted, tuple(c for c in said if c not in TIMED_OUT), sent, received


def conclude(negotiation: Negotiation, now: int, times: Times) -> Conclusion:
    """Return how `negotiation` ended by `now`. Absence (no answer, no close) is concluded by time alone."""
    n = negotiation
    agreed = n.child_agreed_at
    # A child that an error follows at once was not agreed: Network Watcher's sample shows Final, then 13868.
    if agreed is not None and (n.ended_at is None or n.ended_at > agreed + times.confirm):
        return Conclusion(Outcome.SUCCEEDED if agreed + times.confirm <= now else Outcome.PENDING, agreed)
    if not n.kinds & EXCHANGE and n.refusal is None and set(n.codes) <= SA_ENDS:
        return Conclusion(Outcome.HARMLESS, n.end)  # the end of an SA is no attempt, the refusal of a child is one
    if n.refusal is not None:
        return Conclusion(Outcome.REFUSED, n.refusal.at or 0)
    if n.soft_failure is not None:
        # A call that timed out without an answer is silence, and silence needs its own time.
        silent = n.depth == 0 and set(n.codes) <= TIMED_OUT and n.soft_failure.code is not None
        return Conclusion(Outcome.UNANSWERED if silent else Outcome.FAILED, n.soft_failure.at or 0)
    if n.ended_at is not None:
        return Conclusion(Outcome.HARMLESS, n.ended_at)
    if not n.kinds & EXCHANGE or n.initiator is Initiator.UNKNOWN:
        return Conclusion(Outcome.HARMLESS, n.end)  # part of something larger; nothing in it failed
    return Conclusion(Outcome.UNANSWERED if n.end + times.stall <= now else Outcome.PENDING, n.end)


EXCHANGE = frozenset(
    {
        Kind.SA_INIT_SENT,
        Kind.SA_INIT_ANSWERED,
        Kind.SA_INIT_RECEIVED,
        Kind.RESPONDER_SPI,
        Kind.AUTH_SENT,
        Kind.AUTH_RECEIVED,
    }
)
"""Lines of IKE_SA_INIT and IKE_AUTH, with which an IKE SA begins; IKEv1 has neither."""
