"""Timeline -> episodes: the outages of a tunnel, with hold and stability applied, and what happened in each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ikestream.events import IkeEvent, Kind
from ikestream.far_end import FarEnd
from ikestream.inventory import Connections, Version
from ikestream.inventory.connections import NOTHING
from ikestream.negotiation import Initiator, Negotiation
from ikestream.timeline import FAILED, Change, Conclusion, Interval, Marks, Outcome, State, Timeline
from ikestream.times import EXPECTED_LEG_AGE, FLOOR, HOUR, WORST_DELAY, Times
from ikestream.tunnel import Attempts, Gateway, Tunnel

MAX_EPISODES = 8
GATEWAY_EVENTS = frozenset({Kind.CONFIGURATION, Kind.MAINTENANCE, Kind.PRIMARY_CHANGED})


@dataclass(frozen=True, slots=True)
class Episode:
    """One outage: its down intervals, in order. `up` is when it came back for good, or was removed, None until then."""

    downs: tuple[Interval, ...]
    up: int | None
    unheard: bool = False  # it ended because nothing was heard of the tunnel for so long

    @property
    def start(self) -> int:
        """When the last leg went down."""
        return self.downs[0].start

    @property
    def back(self) -> int | None:
        """Since when it is up again, whether for long enough or not; None while it is down."""
        return self.downs[-1].end

    @property
    def removed(self) -> bool:
        """Whether it ended because the connection is no more."""
        return self.up is not None and self.downs[-1].removed

    @property
    def moved(self) -> bool:
        """Whether it ended because the connection goes to another address now."""
        return self.up is not None and self.downs[-1].moved

    def down_time(self) -> int | None:
        """Return the sum of down time in ms, None while it is open."""
        return None if self.up is None else sum((d.end or self.up) - d.start for d in self.downs)


@dataclass(frozen=True, slots=True)
class Situation:
    """What the rules look at: one episode of one tunnel, and nothing that lies after its end.

    `failed` are its failed negotiations, oldest first; `newest` the newest ones (see `newest_of`), newest first.
    `before` are the concluded negotiations of the same tunnel before it.
    """

    gateway: Gateway
    tunnel: Tunnel
    episode: Episode
    until: int  # the end of what may be looked at: the episode's end, or now
    negotiations: tuple[Negotiation, ...]
    conclusions: dict[Negotiation, Conclusion]
    attempts: dict[Negotiation, Attempts]
    failed: tuple[Negotiation, ...]
    newest: tuple[Negotiation, ...]
    downs: tuple[Change, ...]  # the changes to down that began it, with what shows them
    changes: tuple[Change, ...]  # of all legs, from the first that is known
    marks: Marks  # what the Tunnel log says of each leg
    gateway_events: tuple[IkeEvent, ...]
    last_good: Negotiation | None
    times: Times
    connections: Connections = NOTHING  # what is configured on the gateway
    far: FarEnd | None = None  # the peer's own log, where the peer is a gateway of this stream

    @property
    def configured(self) -> Version | None:
        """The connection as it was configured at the end of what may be looked at, None if nobody knows."""
        return self.connections.of(self.tunnel.remote, called=True, at=self.until)

    def narrow(self, newest: tuple[Negotiation, ...], until: int) -> Situation:
        """Return the same episode as it stood when `newest` were the newest failures."""
        return Situation(
            self.gateway, self.tunnel, self.episode, until,
            tuple(n for n in self.negotiations if n.start <= until), self.conclusions, self.attempts,
            tuple(n for n in self.failed if n.start <= until), newest, self.downs,
            tuple(c for c in self.changes if c.at <= until), self.marks, self.gateway_events, self.last_good, self.times,
            self.connections, self.far,
        )  # fmt: skip


def episodes(
    timeline: Timeline, gateway: Gateway, tunnel: Tunnel, now: int, times: Times, idle: Callable[[int], bool]
) -> tuple[tuple[Episode, ...], int, frozenset[int]]:
    """Return the outages as of `now`, oldest first; the instant before which none are judged any more; and the
    instants at which time alone may change them.

    Down again before the stability time has passed continues the same outage. One definite refusal opens an
    outage when nothing else follows within the hold (facts 3.4 asks for two: of a peer that calls once and gives up nobody
    would hear); a negotiation still under way is waited for. `idle` says whether the tunnel, when it went down at an
    instant, was only idle: a leg that is dialled on demand.
    """
    deadlines: set[int] = set()
    found: list[Episode] = []
    earlier: list[int] = []  # when the tunnel went down in outages before
    chain: list[Interval] = []
    for down in (*timeline.downs, None):
        if chain and down is not None and down.start - (chain[-1].end or now) < _stability(chain, earlier, times, idle):
            chain.append(down)
            continue
        held = next(
            (i for i, d in enumerate(chain) if _held(d, gateway, tunnel, timeline, now, times, deadlines)), None
        )
        if held is not None:
            downs = tuple(chain[held:])
            end = downs[-1].end
            settled = end + _stability(chain, earlier, times, idle) if end is not None else None
            if settled is not None:
                deadlines.add(settled)
            found.append(Episode(downs, end if settled is not None and settled <= now else None))
            earlier += [d.start for d in downs]
        chain = [down] if down is not None else []
    since = now - FLOOR
    recent = [e for e in found if e.up is None or e.up > since]
    if len(recent) > MAX_EPISODES:
        recent = recent[-MAX_EPISODES:]
        since = max(since, recent[0].start)
    return tuple(recent), since, frozenset(d for d in deadlines if d > now)


def lose_sight(
    found: tuple[Episode, ...], tunnel: Tunnel, since: int, now: int
) -> tuple[tuple[Episode, ...], set[int]]:
    """Return the episodes with those ended of which nothing more was heard, and when that may come for others.

    Silence is no recovery; after `EXPECTED_LEG_AGE` it says that nobody expects this tunnel any more.
    """
    end = tunnel.last_seen + EXPECTED_LEG_AGE
    if now < end:
        return found, {end} if any(e.up is None for e in found) else set()
    ended = tuple(replace(e, up=end, unheard=True) if e.up is None else e for e in found)
    return tuple(e for e in ended if e.up is not None and e.up > since), set()


def _stability(chain: Sequence[Interval], earlier: Sequence[int], times: Times, idle: Callable[[int], bool]) -> int:
    """Return how long the tunnel must be up before the outage is over: longer if it went down three times in the last hour,
    in this outage or others."""
    end = chain[-1].end or 0
    lately = [start for start in (*earlier, *(d.start for d in chain)) if start > end - HOUR]
    if len(lately) >= 3 and sum(not idle(start) for start in lately) >= 3:
        return times.stability_flapping
    return times.stability


def _held(
    down: Interval,
    gateway: Gateway,
    tunnel: Tunnel,
    timeline: Timeline,
    now: int,
    times: Times,
    deadlines: set[int],
) -> bool:
    # Peers of several legs that vanish at once look like a takeover nobody announced (facts 3.4).
    near = gateway.vanish(tunnel.remote, down.start, times.at_once) or any(
        abs((e.at or 0) - down.start) <= times.gateway_event_window
        for e in gateway.marks.values()
        if e.kind in GATEWAY_EVENTS
    )
    due = down.start + (times.hold_near_gateway_event if near else times.hold)
    if down.end is not None:
        return down.removed or down.end >= due
    deadlines.add(due)
    if now < due:
        return False
    # A child that was agreed within the hold may need no more than its time to count as up. One agreed later mends an
    # outage that was told, and must not take it back.
    for n in timeline.negotiations:
        if n.child_agreed_at is not None and down.start <= n.child_agreed_at <= due:
            outcome = timeline.conclusions[n].outcome
            waits = times.tunnel_log_lateness if gateway.writes_tunnel_log(n.child_agreed_at) else 0
            if outcome is Outcome.PENDING or (outcome is Outcome.SUCCEEDED and now < n.child_agreed_at + waits):
                return False
    if any(c.at == down.start and c.state is State.DOWN and c.mark is not None for c in timeline.changes):
        return True  # a line says that it went down: what was told at the hold is not taken back for an attempt since
    # The first verdict waits for an attempt under way: it may be the one that succeeds.
    attempts = [
        n
        for n in timeline.negotiations
        if timeline.conclusions[n].outcome in FAILED and timeline.conclusions[n].at >= down.start
    ]
    return len(attempts) != 1 or not timeline.pending


def newest_of(
    failed: Sequence[Negotiation], conclusions: Mapping[Negotiation, Conclusion], times: Times
) -> tuple[Negotiation, ...]:
    """Return the newest of each initiator and leg, newest first; of a leg that is still tried.

    Two legs may fail for two reasons, and which of them was tried last says nothing about either.
    """
    newest: dict[tuple[str, str], Negotiation] = {}
    latest: dict[str, int] = {}
    for n in failed:
        newest[n.initiator, n.local] = n
        latest[n.initiator] = conclusions[n].at
    kept = [n for n in newest.values() if conclusions[n].at >= latest[n.initiator] - times.attempts_window]
    return tuple(sorted(kept, key=lambda n: (-conclusions[n].at, n.session)))


def whole_at(n: Negotiation, times: Times) -> int:
    """Return when no more lines of an attempt are waited for.

    What lies between its first message and its refusal was written before the refusal and is there by then, but for lines
    of the same moment. Of one that lacks either nothing is sure until the worst delay of the feed is over.
    """
    return n.end + (times.in_flux if n.whole else WORST_DELAY)


def in_flux(n: Negotiation, gateway: Gateway, now: int, times: Times) -> bool:
    """Whether more lines of an attempt may still come: nothing later of this gateway has, and their time is not over."""
    # In this order: of most attempts the time is over, and what was heard last is looked up for the few that are left.
    return now < n.end + WORST_DELAY and n.end > gateway.last_heard() - times.in_flux and now < whole_at(n, times)


def _whole(failed: tuple[Negotiation, ...], gateway: Gateway, now: int, times: Times) -> tuple[Negotiation, ...]:
    """Leave out what may be half an attempt, where there is a whole one of the same side and leg.

    A refusal whose IKE_AUTH is on its way yet reads as one of phase 1: for a moment, and minute after minute.
    """
    fresh = [n for n in failed if in_flux(n, gateway, now, times)]
    if not fresh:
        return failed
    others = [n for n in failed if n not in fresh]
    known = {(n.initiator, n.local) for n in others}
    left_out = {n for n in fresh if (n.initiator, n.local) in known or (others and n.initiator is Initiator.UNKNOWN)}
    return tuple(n for n in failed if n not in left_out)


def situate(
    gateway: Gateway,
    tunnel: Tunnel,
    timeline: Timeline,
    episode: Episode,
    now: int,
    times: Times,
    connections: Connections = NOTHING,
    far: FarEnd | None = None,
) -> Situation:
    """Return what the rules may look at for `episode`."""
    until = now if episode.up is None else episode.up
    seen = tuple(n for n in timeline.negotiations if n.start <= until)
    conclusions = timeline.conclusions
    # The attempt whose failure began it may have started before the leg counted as down.
    failed = tuple(
        sorted(
            (
                n
                for n in seen
                if conclusions[n].outcome in FAILED
                and episode.start <= max(n.end, conclusions[n].at)
                and conclusions[n].at <= until
            ),
            key=lambda n: (conclusions[n].at, n.start, n.session),
        )
    )
    failed = _whole(failed, gateway, now, times)
    good = [
        n
        for n in timeline.negotiations
        if conclusions[n].outcome is Outcome.SUCCEEDED and conclusions[n].at <= episode.start
    ]
    written = max(until, episode.start + times.gateway_event_window)  # Azure may write it minutes late
    events = [e for _, e in sorted(gateway.marks.items()) if e.kind in GATEWAY_EVENTS and (e.at or 0) <= written]
    return Situation(
        gateway=gateway,
        tunnel=tunnel,
        episode=episode,
        until=until,
        negotiations=seen,
        conclusions=conclusions,
        attempts=timeline.attempts,
        failed=failed,
        newest=newest_of(failed, conclusions, times),
        downs=tuple(c for c in timeline.changes if c.state == "Down" and abs(c.at - episode.start) <= times.hold),
        changes=tuple(c for c in timeline.changes if c.at <= until),
        gateway_events=tuple(events),
        last_good=max(good, key=lambda n: (conclusions[n].at, n.session), default=None),
        times=times,
        connections=connections,
        marks=timeline.marks,
        far=far,
    )
