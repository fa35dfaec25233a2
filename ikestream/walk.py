"""What happened to one leg, in order -> its changes of state.

Up is positive evidence only; silence is neither up nor down. A close is no failure by itself.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import islice

from ikestream.events import IkeEvent, Kind
from ikestream.legs import Legs
from ikestream.negotiation import PEER_VANISHED, Initiator, Negotiation
from ikestream.timeline import EXCHANGE, Change, Conclusion, Outcome, State
from ikestream.times import Times
from ikestream.tunnel import Gateway, Tunnel


class _Unanswered:
    """The attempts that nobody answered, or nobody went on with, as a leg's walk meets them.

    A peer that retries every second makes hundreds of them within the window: each is put in and taken out once.
    """

    def __init__(self) -> None:
        self._silent: dict[int, Negotiation] = {}  # not answered at all: a later word from the peer takes them back
        self._half: dict[int, Negotiation] = {}
        self._ends: list[tuple[int, int]] = []  # a heap
        self._counts: dict[Initiator, Counter[str]] = {who: Counter() for who in Initiator}
        self._met = self._since = 0
        self._newest: Negotiation | None = None

    @property
    def first(self) -> Negotiation:
        """The one that was met first."""
        return min((place, n) for kept in (self._silent, self._half) for place, n in islice(kept.items(), 1))[1]

    def attempts(self, initiator: Initiator) -> int:
        """Return how many different attempts of `initiator` there are."""
        return len(self._counts[initiator])

    def add(self, n: Negotiation) -> None:
        self._met += 1
        (self._half if n.depth > 0 else self._silent)[self._met] = self._newest = n
        heappush(self._ends, (n.end, self._met))
        self._counts[n.initiator][n.identity] += 1

    def forget(self, before: int, since: int) -> None:
        """Drop those that ended before `before`, and of those nobody answered the ones begun by `since`, when the peer spoke."""
        while self._ends and self._ends[0][0] < before:
            self._drop(heappop(self._ends)[1])
        # What was kept the last time was begun after the peer's word of then; only the newest was not asked.
        if since > self._since or (self._newest is not None and self._newest.start <= since):
            for place in [place for place, n in self._silent.items() if n.start <= since]:
                self._drop(place)
        self._since, self._newest = since, None

    def _drop(self, place: int) -> None:
        n = self._silent.pop(place, None) or self._half.pop(place, None)
        if n is not None:
            counts = self._counts[n.initiator]
            counts[n.identity] -= 1
            if not counts[n.identity]:
                del counts[n.identity]


class _Walk:
    """Walks through what happened to one leg, in order, and notes its changes of state after the folded ones."""

    def __init__(
        self,
        leg: str,
        folded: list[Change],
        folded_to: int,
        ups: list[int],
        received: list[int],
        tunnel_log: Callable[[int], bool],
        agreed: list[int],
        expired: list[int],
        now: int,
        times: Times,
    ) -> None:
        self.changes: list[Change] = []
        self.deadlines: set[int] = set()
        self._leg, self._ups, self._now, self._times = leg, ups, now, times
        self._tunnel_log = tunnel_log
        self._received = received  # in order
        self._state = folded[-1].state if folded else State.UNKNOWN
        # The Tunnel log says Connected: only it, or a dead peer, says otherwise.
        self._marked_up = self._state is State.UP and folded[-1].mark is not None
        self._ended: tuple[int, IkeEvent] | None = None  # its SA, although the Tunnel log says Connected
        self._failures: list[tuple[int, Negotiation]] = []  # since the leg last succeeded
        self._unanswered: _Unanswered | None = None  # since the leg last succeeded
        self._refused: list[tuple[int, Negotiation]] = []  # children, since one was agreed
        self._connected = max((c.at for c in folded if c.state is State.UP and c.mark is not None), default=None)
        self._agreed, self._expired = agreed, expired
        self._folded_to, self._newest = folded_to, folded[-1].at if folded else 0

    def _go(
        self,
        at: int,
        to: State,
        mark: IkeEvent | None = None,
        negotiation: Negotiation | None = None,
        *,
        childless: bool = False,
    ) -> None:
        # What is older than the fold has had its effect; a mark that came late still counts if nothing newer did.
        late = mark is not None and mark.kind in (Kind.TUNNEL_UP, Kind.TUNNEL_DOWN)
        if self._folded_to and at <= (self._newest if late else self._folded_to):
            return
        if self._state is not to:
            self._state = to
            self.changes.append(Change(at, self._leg, to, mark, negotiation, childless))

    def connect(self, at: int, mark: IkeEvent | None, negotiation: Negotiation | None) -> None:
        """The leg is up."""
        self._go(at, State.UP, mark, negotiation)
        self._marked_up = self._marked_up or mark is not None
        if mark is not None:
            self._connected = at
        self._failures, self._unanswered, self._refused, self._ended = [], None, [], None

    def stay(self, at: int, mark: IkeEvent | None, negotiation: Negotiation | None) -> None:
        """It was agreed, and refused again before the Tunnel log said Connected: up only if it was up before."""
        if self._state is State.UP:
            self.connect(at, mark, negotiation)

    def await_connect(self, visible: int) -> None:
        """It will count as up then, if nothing says otherwise; which changes nothing if it is up and all is well."""
        if self._state is not State.UP or self._failures or self._unanswered is not None or self._refused:
            self.deadlines.add(visible)

    def disconnect(self, at: int, mark: IkeEvent) -> None:
        """The Tunnel log says so."""
        self._go(at, State.DOWN, mark)
        self._marked_up = False

    def end(self, at: int, event: IkeEvent, negotiation: Negotiation) -> None:
        """An established SA ended: down if the leg had one and no successor is near."""
        if self._state is not State.UP or not self._stays_down(at):
            return
        if event.code == PEER_VANISHED or not self._marked_up:
            self._go(at, State.DOWN, event, negotiation)
        else:
            self._ended = at, event

    def refuse(self, at: int, negotiation: Negotiation) -> None:
        """An attempt was refused for good."""
        if self._state is State.UP:
            if self._marked_up and negotiation.refused_child:
                self._refuse_child(at, negotiation)
            self._fail_while_up(at, negotiation)
        else:
            self._go(at, State.DOWN, None, negotiation)

    def _refuse_child(self, at: int, negotiation: Negotiation) -> None:
        # TunnelConnected speaks of the IKE SA. Without a child nothing flows, if the last one has ended or there was none.
        times = self._times
        self._refused = [r for r in self._refused if r[0] >= at - times.attempts_window] + [(at, negotiation)]
        first, attempt = self._refused[0]
        if len(self._refused) < 2 or at - first < times.sustained_failures:
            return
        last = max((a for a in self._agreed if a <= at), default=None)
        if last is not None and last > first:
            return
        if last is None:  # what was agreed before the log began is not known: only from TunnelConnected on
            childless = self._connected is not None and abs(first - self._connected) <= times.attempts_window
        else:
            ended = any(last < e <= at and e >= first - times.attempts_window for e in self._expired)
            childless = ended or at - last > times.child_lifetime
        if childless:
            self._go(first, State.DOWN, None, attempt, childless=True)

    def fail(self, at: int, negotiation: Negotiation) -> None:
        """An attempt ended with a code that may also occur in health."""
        if self._state is State.UP:
            self._fail_while_up(at, negotiation)
        elif self._state is not State.DOWN and self._stays_down(at):
            self._go(at, State.DOWN, None, negotiation)

    def stall(self, negotiation: Negotiation) -> None:
        """Nobody answered, or nobody went on."""
        if self._state is State.DOWN:
            return
        up = self._state is State.UP
        if up and (self._tunnel_log(negotiation.start) or negotiation.initiator is not Initiator.AZURE):
            return
        # One unanswered attempt proves little; the second of Azure, or a whole minute of it, does. A peer whose
        # attempts stop half-way is less certain: the answer may only have gone another way.
        n, times = negotiation, self._times
        heard = bisect_right(self._received, n.start)
        unanswered = self._unanswered = self._unanswered or _Unanswered()
        unanswered.forget(n.start - times.attempts_window, self._received[heard - 1] if heard else 0)
        unanswered.add(n)
        first, attempts = unanswered.first, unanswered.attempts(n.initiator)
        if up:
            # Azure calls anew where it has no SA left. A line that would say how it ended may be lost, or worded as nobody
            # has seen it; without a Tunnel log only these calls tell, if they go on and none of them is answered to the end.
            if attempts >= 3 and n.end - first.start >= times.silence and not self._hears(first):
                self._go(first.start, State.DOWN, None, first)
            return
        enough = attempts > (2 if n.initiator is Initiator.PEER else 1)
        lasting = n.initiator is Initiator.AZURE and n.end - first.start >= times.stall
        if (enough or lasting) and not self._hears(first):
            self._go(first.start, State.DOWN, None, first)

    def _hears(self, first: Negotiation) -> bool:
        # A peer behind NAT may leave Azure's calls unanswered and come by itself.
        if first.depth > 0:
            return False
        end = first.start + self._times.silence
        self.deadlines.add(end)
        heard = bisect_right(self._received, first.start)
        return end > self._now or (heard < len(self._received) and self._received[heard] <= end)

    def _fail_while_up(self, at: int, negotiation: Negotiation) -> None:
        # A duplicate, the standby instance, the other direction: no evidence of down, unless it goes on and on and
        # there is no Tunnel log to ask; or the leg's SA had ended, and the line that says Disconnected was lost.
        self._failures = [f for f in self._failures if f[0] >= at - self._times.attempts_window] + [(at, negotiation)]
        first, attempt = self._failures[0]
        ended = self._ended if self._ended is not None and self._ended[0] >= at - self._times.attempts_window else None
        if self._tunnel_log(at) and ended is None:
            return
        if len(self._failures) < 3 or at - first < self._times.sustained_failures:
            return
        if ended is not None and ended[0] <= first:
            self._go(ended[0], State.DOWN, ended[1], attempt)
        else:
            self._go(first, State.DOWN, None, attempt)

    def _stays_down(self, at: int) -> bool:
        self.deadlines.add(at + self._times.grace)
        return at + self._times.grace <= self._now and not _near(self._ups, at, self._times.grace)


def walk(
    gateway: Gateway,
    leg: str,
    legs: Legs,
    tunnel: Tunnel,
    own: list[Negotiation],
    received: list[int],
    conclusions: dict[Negotiation, Conclusion],
    now: int,
    times: Times,
    deadlines: set[int],
    folded: list[Change],
) -> list[Change]:
    """Return the changes of state of one leg, whose negotiations are `own`, after the folded ones."""
    marks = legs.marks.get(leg, [])
    succeeded = [c.at for n in own if (c := conclusions[n]).outcome is Outcome.SUCCEEDED]
    connected = [e.at or 0 for e in marks if e.kind is Kind.TUNNEL_UP]
    # Down by the fold, and nothing since that could bring it up: whatever else fails, it stays down.
    down = bool(folded) and folded[-1].state is State.DOWN
    if down and max(succeeded, default=0) <= tunnel.folded_to and max(connected, default=0) <= folded[-1].at:
        return []
    ups = sorted(succeeded + connected)
    agreed = succeeded + [
        at
        for span in tunnel.spans
        if span.outcome == Outcome.SUCCEEDED and legs.name(span.last.local, span.last.instance) == leg
        for at in (span.first_at, span.last_at)
    ]
    expired = [at for n in own for at in n.child_expiries]
    born: list[tuple[int, int, str]] = []
    if any(n.sa_ends for n in own):
        folded_last = (s.last for s in tunnel.spans if legs.name(s.last.local, s.last.instance) == leg)
        born = sorted(
            (conclusions[n].at, n.start, n.session)
            for n in (*own, *folded_last)
            if conclusions[n].outcome is Outcome.SUCCEEDED and n.kinds & EXCHANGE
        )
    refused: list[int] = []  # of attempts from the first message on
    if succeeded and gateway.tunnel_log_since is not None:
        refused = sorted(c.at for n in own if (c := conclusions[n]).outcome is Outcome.REFUSED and n.kinds & EXCHANGE)
    walk = _Walk(leg, folded, tunnel.folded_to, ups, received, gateway.writes_tunnel_log, agreed, expired, now, times)
    # At one instant a disconnect comes before an attempt, and an attempt before the connect that heals it.
    steps: list[tuple[int, int, str, int, Callable[..., None], tuple[object, ...]]] = []
    for event in marks:
        at = event.at or 0
        if event.kind is Kind.TUNNEL_UP:
            steps.append((at, 2, event.message, len(steps), walk.connect, (at, event, None)))
        else:
            steps.append((at, 0, event.message, len(steps), walk.disconnect, (at, event)))
    for n in own:
        concluded = conclusions[n]
        outcome, at = concluded.outcome, concluded.at
        if outcome is Outcome.SUCCEEDED:
            # Where the gateway writes the Tunnel log, its TunnelConnected may yet come; without it this counts later.
            visible = at + times.tunnel_log_lateness if gateway.writes_tunnel_log(at) else at
            act = walk.connect if visible <= now else walk.await_connect
            if _between(refused, at + 1, visible) and not _between(connected, at - times.grace, visible):
                act = walk.stay if visible <= now else walk.await_connect
            steps.append((at, 2, n.session, len(steps), act, (at, None, n) if visible <= now else (visible,)))
        elif outcome is Outcome.REFUSED:
            steps.append((at, 1, n.session, len(steps), walk.refuse, (at, n)))
        elif outcome is Outcome.FAILED:
            steps.append((at, 1, n.session, len(steps), walk.fail, (at, n)))
        elif outcome is Outcome.UNANSWERED:
            steps.append((at, 1, n.session, len(steps), walk.stall, (n,)))
        for event in n.sa_ends:
            at = event.at or 0
            if not _is_replaced(event, born, gateway.owners.get(event.session)):
                steps.append((at, 1, event.message, len(steps), walk.end, (at, event, n)))
    steps.sort()  # never by more than their number, which is another for each
    for *_, act, arguments in steps:
        act(*arguments)
    deadlines.update(walk.deadlines)
    return walk.changes


def _is_replaced(end: IkeEvent, born: list[tuple[int, int, str]], owner: tuple[int, str] | None) -> bool:
    """Whether what ended is an older IKE SA than the leg's newest: the peer restarted, say, and came back with another.

    `born` are (agreed at, begun at, SESSION_ID) of the leg's IKE SAs, in order; `owner` says when the session of the line was
    first seen. Of a session that only the line itself knows nothing is sure.
    """
    place = bisect_right(born, (end.at or 0, 1 << 62, ""))
    if not place or owner is None:
        return False
    _, begun, session = born[place - 1]
    return session != end.session and owner[0] < begun


def _between(instants: list[int], first: int, last: int) -> bool:
    """Whether one of `instants`, in order, lies from `first` to `last`."""
    return bisect_left(instants, first) < bisect_right(instants, last)


def _near(instants: list[int], at: int, reach: int) -> bool:
    return any(abs(instant - at) <= reach for instant in instants)
