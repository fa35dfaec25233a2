"""Timeline -> History: what happened in a tunnel that works, as far back as anybody looks.

Advisories look back over hours and days, and folding keeps of equal negotiations only the first and the last. So what
they ask for is counted here, walking once through everything in order, and folding keeps the count as it stood: what
comes later goes on from there, and the result is the same as if nothing had been folded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

from ikestream.events import IkeEvent, Kind, Proposal, Selector
from ikestream.negotiation import EVERYTHING, Initiator, Negotiation, remembered
from ikestream.timeline import FAILED, TIMED_OUT, Change, Conclusion, Outcome, State, Timeline
from ikestream.times import DAY, FLOOR, LIVE, MINUTE, NEGOTIATION_GAP

if TYPE_CHECKING:
    from ikestream.tunnel import Tunnel

SETTLED = 10 * MINUTE
"""After a success this long ago a new failure is another story."""
MAX_STREAKS = 64
MAX_AGREEMENTS = 64
MAX_LINES = 4
"""Lines kept of one failure: what refused it, what was offered, what was asked for."""
COLLISIONS = frozenset({"TEMPORARY_FAILURE", "CHILD_SA_NOT_FOUND"})
COLLISION_CODE = 13821
GAVE_WAY = frozenset({13807, 13808})
"""Deleted before it was complete: beside a success of the same leg the exchange that gave way (facts 1.2, 1.3)."""
_BEGINS = frozenset(
    {
        Kind.SA_INIT_SENT,
        Kind.SA_INIT_ANSWERED,
        Kind.SA_INIT_RECEIVED,
        Kind.RESPONDER_SPI,
        Kind.IKE_SENT,
        Kind.IKE_RECEIVED,
        Kind.MM_PACKET,
        Kind.CLEANUP_MM,
    }
)
_PROOF = (
    Kind.NOTIFY_SENT,
    Kind.NOTIFY_RECEIVED,
    Kind.CLEANUP_QM,
    Kind.CLOSED,
    Kind.ERROR,
    Kind.ESP_RECEIVED,
    Kind.ESP_SENT,
    Kind.TS_REQUESTED,
    Kind.TS_PROPOSED,
)


class What(StrEnum):
    """What goes wrong while a leg is up."""

    CHILD = "a child SA was refused or not answered"
    COLLISION = "both ends renewed at once"


class Reason(StrEnum):
    """What a failed exchange gives as its reason."""

    SELECTORS = "the traffic selectors were refused"
    GROUP = "the key exchange group was refused"
    POLICY = "the proposal was refused"
    UNANSWERED = "nobody answered"
    OTHER = "it failed"


NAMED = frozenset({Reason.SELECTORS, Reason.GROUP, Reason.POLICY})
"""Reasons of content: what was asked for cannot be had, however often it is asked for."""
_ENOUGH = {What.CHILD: (2, 10 * MINUTE), What.COLLISION: (3, DAY)}
"""(how often, within which time) before it is worth a word (facts 2.22)."""


@dataclass(frozen=True, slots=True)
class Streak:
    """The same thing again and again on one leg. `healed` is the first success after the newest, or the leg's end."""

    what: What
    leg: str
    first: int
    last: int
    count: int
    recent: tuple[int, ...]  # the newest instants, one fewer than are enough
    since: int | None  # the first of the earliest that were enough, None while none were
    told: int | None  # the last of those
    reasons: frozenset[Reason]
    reason: Reason  # of the newest
    code: int | None
    lines: tuple[IkeEvent, ...]
    latest: tuple[IkeEvent, ...]
    healed: int | None = None
    broken: bool = False  # the leg went down
    stood: int | None = None  # when a failure had first stood for `SETTLED` without a success


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a success agreed on, as far as its lines tell; kept where it differs from the one before of the same side."""

    at: int
    leg: str
    initiator: Initiator
    ike: Proposal | None
    esp: Proposal | None
    local: tuple[Selector, ...]
    remote: tuple[Selector, ...]
    asked: tuple[tuple[Selector, ...], tuple[Selector, ...]]  # what Azure proposed, if it was not everything
    lines: tuple[IkeEvent, ...]

    @property
    def side(self) -> tuple[str, Initiator]:
        """Whose negotiations it can be compared with: one negotiation shows the wishes of its initiator."""
        return self.leg, self.initiator


@dataclass(frozen=True, slots=True)
class History:
    """All of it, oldest first."""

    streaks: tuple[Streak, ...] = ()
    agreements: tuple[Agreement, ...] = ()


def recall(tunnel: Tunnel, timeline: Timeline, until: int | None = None) -> History:
    """Return the tunnel's history, up to `until` if it is given."""
    walk = _Walk(tunnel, timeline)
    for item in _steps(tunnel, timeline):
        if until is not None and item[0] > until:
            break
        walk.take(item)
    return walk.history()


Step = tuple[int, int, str, Change | Negotiation]


def _steps(tunnel: Tunnel, timeline: Timeline) -> list[Step]:
    # At one instant the leg goes down before anything fails on it: what fails on a leg that is down is an outage's.
    after = tunnel.folded_to
    steps: list[Step] = [(c.at, 0, c.leg, c) for c in timeline.changes if c.at > after]
    if steps or tunnel.folded_changes:
        steps += [
            (at, 1, n.session, n)
            for n, conclusion in timeline.conclusions.items()
            if (at := conclusion.at) > after and conclusion.outcome is not Outcome.PENDING
        ]
    steps.sort(key=lambda s: s[:3])
    return steps


class _Walk:
    """Counts as it goes."""

    def __init__(self, tunnel: Tunnel, timeline: Timeline) -> None:
        past = tunnel.folded_history or History()
        self._conclusions = timeline.conclusions
        self._successes = [(c.at, n.local) for n, c in timeline.conclusions.items() if c.outcome is Outcome.SUCCEEDED]
        self._states = {c.leg: c.state for c in timeline.changes if c.at <= tunnel.folded_to}
        self._closed: list[Streak] = []
        self._open: dict[tuple[What, str], Streak] = {}
        for streak in past.streaks:
            self._put(streak)
        self._agreements = list(past.agreements)
        self._newest = {a.side: a for a in past.agreements}

    def history(self) -> History:
        streaks = sorted([*self._closed, *self._open.values()], key=lambda s: (s.first, s.what, s.leg))
        return History(tuple(streaks[-MAX_STREAKS:]), tuple(self._agreements[-MAX_AGREEMENTS:]))

    def _put(self, streak: Streak) -> None:
        key = streak.what, streak.leg
        if key in self._open:
            self._closed.append(self._open[key])
        self._open[key] = streak

    def take(self, step: Step) -> None:
        at, _, _, item = step
        if isinstance(item, Change):
            self._states[item.leg] = item.state
            if item.state is State.DOWN:
                self._heal(at, item.leg, broken=True)
            return
        conclusion = self._conclusions[item]
        if conclusion.outcome is Outcome.SUCCEEDED:
            self._heal(at, item.local, broken=False)
            self._agree(at, item)
            # Asked to wait, and then it was had: of a renewal, that is a collision all the same.
            if self._is_up(item.local) and not item.kinds & _BEGINS and _collides(item):
                self._fail(at, item, What.COLLISION, Reason.OTHER)
        elif self._is_up(item.local) and (found := _failure(item, conclusion)) is not None:
            gave_way = found[0] is What.CHILD and set(item.codes) & GAVE_WAY and set(item.codes) <= GAVE_WAY
            if not (gave_way and self._succeeds(at, item.local)):
                self._fail(at, item, *found)

    def _succeeds(self, at: int, leg: str) -> bool:
        return any(abs(then - at) <= LIVE.grace and (not leg or other in ("", leg)) for then, other in self._successes)

    def _is_up(self, leg: str) -> bool:
        if leg in self._states:
            return self._states[leg] is State.UP
        return not leg and State.UP in self._states.values()

    def _heal(self, at: int, leg: str, *, broken: bool) -> None:
        for key, streak in self._open.items():
            if key[0] is What.CHILD and streak.healed is None and (not leg or key[1] in ("", leg)):
                self._open[key] = replace(streak, healed=at, broken=broken, stood=_stood(streak, at))

    def _fail(self, at: int, n: Negotiation, what: What, reason: Reason) -> None:
        enough, within = _ENOUGH[what]
        code = next(iter(n.codes), None)
        lines = _prove(n)
        old = self._open.get((what, n.local))
        if old is None or _is_over(old, at):
            self._put(
                Streak(what, n.local, at, at, 1, (at,), None, None, frozenset((reason,)), reason, code, lines, ())
            )
            return
        if what is What.COLLISION and at - old.last <= NEGOTIATION_GAP:
            # Both ends say it, each in a session of its own, and say it again until one has waited: one collision.
            self._open[what, n.local] = replace(old, last=at, latest=lines)
            return
        recent = (*old.recent, at)[-enough:]
        dense = old.told is None and len(recent) == enough and at - recent[0] <= within
        self._open[what, n.local] = replace(
            old,
            last=at,
            count=old.count + 1,
            recent=recent[-enough + 1 :],
            since=recent[0] if dense else old.since,
            told=at if dense else old.told,
            reasons=old.reasons | {reason},
            reason=reason,
            code=code or old.code,
            latest=lines,
            healed=None,
            stood=_stood(old, at),
        )

    def _agree(self, at: int, n: Negotiation) -> None:
        now = _agreement(n)
        if now.at != at:
            now = replace(now, at=at)
        old = self._newest.get(now.side)
        if old is not None:
            # A renewal of the child says nothing of phase 1; what was agreed there still stands.
            if (old.ike and not now.ike) or (old.esp and not now.esp):
                now = replace(now, ike=now.ike or old.ike, esp=now.esp or old.esp)
            if not now.local:
                now = replace(now, local=old.local, remote=old.remote, asked=old.asked)
            if _values(now) == _values(old):
                return
        elif not (now.ike or now.esp or now.local):
            return
        self._newest[now.side] = now
        self._agreements.append(now)


def prune(history: History, watermark: int) -> History:
    """Return it without the streaks that nobody can be told about any more."""
    kept = tuple(s for s in history.streaks if s.last > watermark - FLOOR - 2 * DAY)
    return History(kept, history.agreements)


def _stood(streak: Streak, at: int) -> int | None:
    """Return when a failure first had stood for long, as far as is known at `at`, when something else happens."""
    if streak.stood is None and streak.healed is None and at - streak.last > SETTLED:
        return streak.last + SETTLED
    return streak.stood


def _is_over(streak: Streak, at: int) -> bool:
    if streak.what is What.COLLISION:
        return at - streak.last > DAY
    return streak.broken or (streak.healed is not None and at - streak.healed > SETTLED)


def _failure(n: Negotiation, conclusion: Conclusion) -> tuple[What, Reason] | None:
    """Say what failed if this exchange stood on an IKE SA that was up, None if it did not or was none."""
    said = n.sent_notifies | n.received_notifies
    if _collides(n):
        return What.COLLISION, Reason.OTHER
    if conclusion.outcome not in FAILED or n.child_agreed_at is not None:
        return None
    if n.only_ends or n.refused_authentication or (n.kinds & _BEGINS and not (n.depth >= 4 and n.refused_policy)):
        return None
    return What.CHILD, _reason(n, said)


def _collides(n: Negotiation) -> bool:
    return COLLISION_CODE in n.codes or bool(COLLISIONS & (n.sent_notifies | n.received_notifies))


def _reason(n: Negotiation, said: frozenset[str]) -> Reason:
    if 13999 in n.codes or said & {"TS_UNACCEPTABLE", "SINGLE_PAIR_REQUIRED", "INVALID_ID_INFORMATION"}:
        return Reason.SELECTORS
    if "INVALID_KE_PAYLOAD" in said or {13822, 13833, 13864, 13865} & set(n.codes):
        return Reason.GROUP
    if n.refused_policy:
        return Reason.POLICY
    return Reason.UNANSWERED if set(n.codes) <= TIMED_OUT and not said else Reason.OTHER


def _prove(n: Negotiation) -> tuple[IkeEvent, ...]:
    rank = {kind: i for i, kind in enumerate(_PROOF)}
    lines = sorted((e for e in n.events if e.kind in rank), key=lambda e: (rank[e.kind], e.at or 0, e.message))
    return tuple(sorted(lines[:MAX_LINES], key=lambda e: (e.at or 0, rank[e.kind], e.message)))


@remembered
def _agreement(n: Negotiation) -> Agreement:
    """Return what a negotiation that went well agreed on."""
    local, remote = _by_role(n, Kind.TS_FINAL)
    return Agreement(
        at=n.child_agreed_at or n.end,
        leg=n.local,
        initiator=n.initiator,
        ike=_only(n.chosen_ike or n.peer_ike),
        esp=_only(n.chosen_esp or n.peer_esp),
        local=local,
        remote=remote,
        asked=_asked(n),
        lines=tuple(e for e in n.events if e.kind in _AGREED)[:MAX_LINES],
    )


_AGREED = frozenset({Kind.IKE_RECEIVED, Kind.ESP_RECEIVED, Kind.TS_FINAL})


def _only(proposals: tuple[Proposal, ...]) -> Proposal | None:
    # Of the peer's offers only one can be what Azure chose if there is only one.
    return proposals[0] if len(proposals) == 1 else None


def _values(agreement: Agreement) -> tuple[object, ...]:
    return agreement.ike, agreement.esp, agreement.local, agreement.remote, agreement.asked


def _asked(n: Negotiation) -> tuple[tuple[Selector, ...], tuple[Selector, ...]]:
    if n.initiator is not Initiator.AZURE:
        return (), ()
    local, remote = _by_role(n, Kind.TS_PROPOSED)
    if any((s.start, s.end) in EVERYTHING for s in (*local, *remote)):
        return (), ()  # any-to-any: a peer that holds less is no loss
    return local, remote


def _by_role(n: Negotiation, kind: Kind) -> tuple[tuple[Selector, ...], tuple[Selector, ...]]:
    """Return (Azure's, the peer's) selectors of such lines; TSi belongs to the initiator (facts R4)."""
    lines = [e for e in n.events if e.kind is kind]
    if not lines or n.initiator is Initiator.UNKNOWN or any(e.cut for e in lines):
        return (), ()
    own = tuple(_distinct(s for e in lines for s in e.initiator_selectors))
    other = tuple(_distinct(s for e in lines for s in e.responder_selectors))
    return (own, other) if n.initiator is Initiator.AZURE else (other, own)


def _distinct(selectors: Iterator[Selector]) -> list[Selector]:
    return sorted(set(selectors))
