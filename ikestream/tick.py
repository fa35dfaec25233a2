"""The tick: facts x told -> rows. The one place where anything is concluded or told.

`judge` is pure but for the ledgers it brings up to date; the clock is an argument: `now` is the instant up to
which everything has been read, never simply the time on the wall.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ikestream import far_end
from ikestream.advice import Outlook
from ikestream.counsel import counsel, counsel_gateway, decide
from ikestream.episode import Situation, episodes, in_flux, lose_sight, situate, whole_at
from ikestream.estate import Estate, Scope
from ikestream.events import Kind
from ikestream.far_end import FarEnd
from ikestream.fold import fold
from ikestream.history import recall
from ikestream.incident import Ledger, Pace, Relate, Row, Telling, Wanted, complete, revise
from ikestream.inventory import Connections, Mode
from ikestream.inventory.connections import NOTHING
from ikestream.negotiation import Initiator, Negotiation
from ikestream.related import counterparts, relate
from ikestream.rules import connection_silent, peer_address_mismatch
from ikestream.rules.bgp_peer_down import SETTLED, fallen
from ikestream.rules.on_demand import ends_on_demand
from ikestream.status import observe
from ikestream.timeline import way
from ikestream.times import CLOCKLESS, FLOOR, LIVE, WORST_DELAY, Times
from ikestream.together import spells, together
from ikestream.tunnel import Gateway, Tunnel
from ikestream.verdict import want, want_advice, want_bgp, want_together


@dataclass(frozen=True, slots=True)
class Judgement:
    """The revisions to tell, in order, and `due`, the next instant at which anything may change without a new record."""

    tellings: list[Telling]
    due: int | None


@dataclass(frozen=True, slots=True)
class View:
    """What the facts of one tunnel show by an instant: its incidents, and when that may change by time alone."""

    wanted: list[Wanted]
    since: int  # before this nothing is judged any more
    deadlines: set[int]


def look(
    gateway: Gateway,
    tunnel: Tunnel,
    now: int,
    times: Times = LIVE,
    pace: Pace = Pace.LIVE,
    read_to: int | None = None,
    connections: Connections = NOTHING,
    far: FarEnd | None = None,
    ledger: Ledger | None = None,
) -> View:
    """Judge the facts of one tunnel as of `now`; leave behind in it what its legs did, for its gateway's judgement.

    What will be told of it, beside what `ledger` says was told, is worked out before anything is folded. `read_to` is where
    a saved log ends; `now` may be later, and then absence proves nothing. `connections` is what is configured on the
    gateway, `far` what the peer's own log shows.
    """
    clockless = times is CLOCKLESS
    scope = f"{gateway.key}|{tunnel.remote}"
    wanted: list[Wanted] = []
    deadlines: set[int] = set()
    since = now - FLOOR
    if tunnel.known():
        extra = [(session, event) for remote, session, event in gateway.orphans() if remote == tunnel.remote]
        configured = connections.of(tunnel.remote, called=True)
        deaf = configured is not None and configured.connection.mode is Mode.INITIATOR_ONLY
        timeline = observe(gateway, tunnel, extra, now, times, connections.ended(tunnel.remote), deaf=deaf)
        idle = partial(ends_on_demand, tunnel, timeline, times=times, version=configured)
        found, since, more = episodes(timeline, gateway, tunnel, now, times, idle)
        deadlines.update(timeline.deadlines, more)
        # What the gateway and its other tunnels did then may be written later, and is nobody's deadline.
        deadlines.update(episode.start + times.gateway_event_window + WORST_DELAY for episode in found)
        if pace is Pace.LIVE:
            found, unheard = lose_sight(found, tunnel, since, now)
            deadlines |= unheard
        for episode in found:
            deadlines.update(whole_at(n, times) for n in timeline.negotiations if in_flux(n, gateway, now, times))
            situation = settle(situate(gateway, tunnel, timeline, episode, now, times, connections, far))
            if connections.gateway is not None and episode.up is None:
                deadlines.update(
                    at for when in peer_address_mismatch.due(situation) for at in (when, when + WORST_DELAY)
                )
            incident = want(situation, timeline, scope, clockless=clockless)
            if incident is not None:
                wanted.append(incident)
        if not clockless:
            standing = configured if configured is not None and configured.until is None else None
            tunnel.spells = spells(tunnel, timeline, found, times, standing)
            outlook = Outlook(
                gateway, tunnel, timeline, recall(tunnel, timeline), found, tunnel.spells, times, now, connections
            )
            heard = now if read_to is None else min(now, read_to)
            advised, when = counsel(outlook, scope, since, now, heard, live=pace is Pace.LIVE)
            wanted += advised
            deadlines |= when
            complete(wanted, ledger or Ledger(), now, since, pace)
            oldest = min((episode.start for episode in found), default=now)
            fold(gateway, tunnel, timeline, now, oldest, connections.readings(tunnel.remote))
    return View(wanted, since, deadlines)


def judge(view: View, ledger: Ledger, now: int, pace: Pace, related: Relate) -> Judgement:
    """Tell what `view` shows and differs from what `ledger` says was told."""
    tellings, due = revise(view.wanted, ledger, now, view.since, pace, related)
    deadlines = view.deadlines | ({due} if due is not None else set())
    return Judgement(tellings, min((d for d in deadlines if d > now), default=None))


def judge_gateway(
    gateway: Gateway,
    ledger: Ledger,
    now: int,
    times: Times,
    pace: Pace,
    related: Relate,
    connections: Connections = NOTHING,
    read_to: int | None = None,
) -> Judgement:
    """Judge what concerns the gateway and no tunnel's state: its BGP sessions, and legs that went down together."""
    since = now - FLOOR
    sessions = [f for f in fallen(gateway, now, connections) if f.up is None or f.up > since]
    wanted = [want_bgp(gateway, f, f"{gateway.key}|{f.address}", connections) for f in sessions]
    deadlines: set[int] = set()
    if times is not CLOCKLESS:
        gateway.crowds, more = together(gateway, now, times)
        wanted += [want_together(gateway, c, gateway.key) for c in gateway.crowds if c.end is None or c.end > since]
        deadlines |= more
        advised, more_due = counsel_gateway(gateway, since, now, live=pace is Pace.LIVE)
        wanted += advised
        deadlines |= more_due
        heard = now if read_to is None else min(now, read_to)
        for version, advice in connection_silent.advise(gateway, connections, heard):
            over, when = decide(advice, now, heard)
            deadlines.update(d for d in (when, advice.start + connection_silent.LATE) if d is not None)
            if heard < advice.held or (over and (advice.end or 0) <= since):
                continue
            connection = version.connection
            scope = f"{gateway.key}|{connection.remote or connection.id.lower()}|silent"
            wanted.append(
                want_advice(
                    gateway,
                    connection.remote,
                    advice,
                    scope,
                    [],
                    (),
                    over=over,
                    connections=connections,
                    version=version,
                )
            )
    tellings, due = revise(wanted, ledger, now, since, pace, related)
    if due is not None:
        deadlines.add(due)
    for event in gateway.marks.values():
        if event.kind in (Kind.BGP_UP, Kind.BGP_DOWN):
            # What the tunnels did around it may be written later.
            settled = (event.at or 0) + SETTLED
            deadlines |= {settled, settled + WORST_DELAY}
    return Judgement(tellings, min((d for d in deadlines if d > now), default=None))


def settle(situation: Situation) -> Situation:
    """Drop from the newest attempts one that is out of date: after it, the other side's attempts began to end differently.

    "Policy mended, then the key is wrong": the peer's last refused proposal, from before the change, says
    nothing about the tunnel as it is now. An attempt that shows the new fault itself is no older than the change.
    """
    if len(situation.newest) < 2:
        return situation
    # An attempt of which no line says who began is no measure for the others.
    newest = next((n for n in situation.newest if n.initiator is not Initiator.UNKNOWN), situation.newest[0])
    kept = [n for n in situation.newest if n is newest or not _is_outdated(n, newest, situation)]
    return situation.narrow(tuple(kept), situation.until)


def _is_outdated(other: Negotiation, newest: Negotiation, situation: Situation) -> bool:
    at = situation.conclusions[other].at
    before = [n for n in situation.failed if n is not other and situation.conclusions[n].at <= at]
    same_side = [n for n in before if _tried(n) == _tried(newest)]
    if not same_side or way(same_side[-1]) == way(newest):
        return False
    if _fault(other) == _fault(newest):
        return False
    own = [n for n in before if _tried(n) == _tried(other)]
    return not own or way(own[-1]) == way(other)


def _tried(n: Negotiation) -> tuple[str, str]:
    return n.initiator, n.local


def _fault(n: Negotiation) -> tuple[bool, bool, bool]:
    return (n.reached_auth, n.refused_authentication, n.refused_policy)


def tell(store: Estate, now: int, times: Times = LIVE, pace: Pace = Pace.LIVE, read_to: int | None = None) -> list[Row]:
    """Judge everything that is due by `now`; return the rows in the order told."""
    return [telling.row for _, telling in conclude(store, now, times, pace, read_to)]


def conclude(
    store: Estate, now: int, times: Times = LIVE, pace: Pace = Pace.LIVE, read_to: int | None = None
) -> list[tuple[Scope, Telling]]:
    """Judge everything that is due by `now`, oldest due first; return what is told, of whom, in order.

    `read_to` is where a saved log ends (see `look`).

    A gateway is told between the look at its tunnels and what is told of them: so it compares what they all did, and
    their rows can point to its incident from the first.
    """
    told: list[tuple[Scope, Telling]] = []
    while due := list(store.due(now)):
        gateways = {scope.gateway: None for scope in due if not scope.remote}
        views: list[tuple[Scope, View]] = []
        for scope in due:
            gateway, connections = store.gateways[scope.gateway], store.inventory.of(scope.gateway)
            if times is not CLOCKLESS:
                store.settle(scope.gateway, now)
            tunnel = gateway.tunnels.get(scope.remote)
            if tunnel is None:  # the gateway itself, or a stranger that was evicted at the bound
                continue
            before = tunnel.spells
            far = far_end.find(store, scope)
            ledger = store.ledger(scope)
            views.append((scope, look(gateway, tunnel, now, times, pace, read_to, connections, far, ledger)))
            if tunnel.spells != before:
                gateways[scope.gateway] = None
        for key in gateways:
            gateway, scope = store.gateways[key], Scope(key, "")
            ledger = store.ledger(scope)
            before_told, crowds = _standing(ledger), gateway.crowds
            store.note_change(scope)
            connections = store.inventory.of(key)
            related = partial(relate, store, scope)
            judgement = judge_gateway(gateway, ledger, now, times, pace, related, connections, read_to)
            store.keep(scope, ledger)
            told += ((scope, telling) for telling in judgement.tellings)
            if judgement.due is not None:
                store.schedule(scope, judgement.due)
            if _standing(ledger) != before_told:
                for remote in {spell.remote for crowd in (*crowds, *gateway.crowds) for spell in crowd.fell}:
                    store.schedule(Scope(key, remote), now)
        for scope, view in views:
            ledger = store.ledger(scope)
            before_told = _standing(ledger)
            judgement = judge(view, ledger, now, pace, partial(relate, store, scope))
            store.keep(scope, ledger)
            told += ((scope, telling) for telling in judgement.tellings)
            if judgement.due is not None:
                store.schedule(scope, judgement.due)
            if _standing(ledger) != before_told:
                for other in counterparts(store, scope):
                    store.schedule(other, now)
                if any(scope.remote in crowd.down for crowd in store.gateways[scope.gateway].crowds):
                    store.schedule(Scope(scope.gateway, ""), now)
    return told


def _standing(ledger: Ledger) -> list[tuple[str, int, int | None]]:
    return [(t.incident_id, t.start, t.end) for t in ledger.told if t.kind == "Outage" and not t.retracted]
