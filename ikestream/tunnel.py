"""IkeEvent -> Gateway, Tunnel: what is known. Facts only grow, and in whatever order they arrive.

Learning is commutative and idempotent: a fact's identity is (event time, instance, message), and every
choice between two facts is made by that order, never by arrival. Nothing here concludes anything from
silence; that is the business of `status`. A tunnel is one gateway and one remote address.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from heapq import nlargest
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from ikestream import codes
from ikestream.events import Category, IkeEvent, Kind
from ikestream.negotiation import ENDS, PEER_VANISHED, Initiator, Negotiation
from ikestream.session import SESSIONLESS, EventKey, Session, identify
from ikestream.times import DAY, FOLD_HORIZON, HOUR, MINUTE, NEGOTIATION_GAP

if TYPE_CHECKING:
    from ikestream.history import History
    from ikestream.timeline import Change
    from ikestream.together import Together

MAX_ATTEMPTS = 256
MAX_NEWEST = 10
MAX_SESSIONS = 1024
"""Per tunnel, not folded yet: three times what a peer retrying every five seconds makes in the fold's reach."""
MAX_STRANGER_SESSIONS = 32
MAX_STRANGERS = 64
MAX_WAITING = 256
MAX_OWNERS = 4096
MAX_OWNERS_EVER = 32_768
"""Per gateway, whatever comes: two tunnels that retry every ten seconds make half of it in a day."""
OWNERS_STEP = 4096
"""So many sessions more are learned beyond that bound before it is looked again whose are not kept any more."""
MAX_MARKS = 256
MAX_ENDS = 256
MAX_HOURS = 240
"""Hours with records that a gateway remembers: ten days in a row, or longer with silences in between."""
SLOT = 5 * MINUTE
MAX_SLOTS = 312
"""Of five minutes each: 26 hours, longer than anybody is told about what is over."""
MAX_KNOCKS = 64
MAX_DAYS = 4
"""Per tunnel: more than a flapping tunnel writes in a day, after which nobody asks for them."""
MAX_LOCALS = 16
"""Addresses of a gateway's own: two or three are usual."""
MAX_VANISHED = 2048
"""Per gateway: dead peers of a bad day, by which the hold of each is decided for as long as it may be told."""
DEAD_PEER = ("dpd", "deadpeer", "peerstoppedresponding")
"""In the folded reason of a TunnelDisconnected (facts 1.4)."""
WAITING_AGE = HOUR
WAITING_REACH = 10 * MINUTE
"""A record this near a waiting line may belong to a negotiation that owns it."""
ORPHAN_REACH = 5_000
"""A line without session and endpoint belongs to a negotiation in progress within this many ms of it."""


class Attempt(NamedTuple):
    """What stays of an attempt for the other side's log: when it was concluded, its session and its SPIs."""

    at: int
    session: str
    spis: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Attempts:
    """The attempts behind one negotiation: itself, or all that were folded with it.

    `identities` stop at `MAX_ATTEMPTS`, `newest` holds the newest `MAX_NEWEST`, newest first.
    """

    identities: frozenset[str]
    newest: tuple[Attempt, ...]


def gather(parts: Iterable[Attempts]) -> Attempts:
    """Return all of them together, within the bounds."""
    identities: frozenset[str] | set[str] = frozenset()
    newest: set[Attempt] = set()
    for part in parts:
        newest.update(part.newest)
        if not identities:
            identities = part.identities  # of a span that stands for hundreds, nothing is copied
        elif len(identities) < MAX_ATTEMPTS and not part.identities <= identities:
            identities = {*identities, *part.identities} if isinstance(identities, frozenset) else identities
            identities |= part.identities
    return Attempts(frozenset(identities), tuple(nlargest(MAX_NEWEST, newest)))


@dataclass(slots=True)
class Span:
    """Equal negotiations of one leg while its state did not change, folded: the first and the last whole.

    The `_at` are when they were concluded (ms).
    """

    key: str  # equal for equal ones
    outcome: str
    first: Negotiation
    last: Negotiation
    first_at: int
    last_at: int
    attempts: Attempts
    offers: bool  # whether it shows what either side offered


@dataclass(frozen=True, slots=True)
class Spell:
    """One leg being up, or down after it was up; `end` is None while it lasts. `lines` say why it went down."""

    remote: str
    leg: str
    instance: str
    up: bool
    start: int
    end: int | None
    lines: tuple[IkeEvent, ...] = ()


@dataclass(slots=True)
class Tunnel:
    """What is known of one remote address at one gateway."""

    remote: str
    sessions: dict[str, Session] = field(default_factory=dict)
    marks: dict[EventKey, IkeEvent] = field(default_factory=dict)  # TunnelConnected, TunnelDisconnected
    ends: dict[EventKey, IkeEvent] = field(default_factory=dict)  # lines that close an established SA
    homes: dict[str, tuple[int, str]] = field(default_factory=dict)  # instance -> (last seen, local address)
    last_seen: int = 0
    first_seen: int = 0
    spans: list[Span] = field(default_factory=list)  # folded negotiations
    folded_changes: tuple[Change, ...] = ()  # the legs' changes of state up to `folded_to`
    folded_history: History | None = None  # what advisories look back on, up to `folded_to`
    folded_to: int = 0
    forgotten_to: int = 0  # single records up to here are not kept any more
    late: int = 0  # records that came after that
    proven: bool = False  # known by a line that no later line can take back
    thinned: int = 0  # sessions, spans and single lines dropped at a bound
    spells: tuple[Spell, ...] = ()  # of its legs, as last judged: what the gateway's own judgement compares
    # What was last advised, and on what that rests: no fact, and kept by nobody.
    advised: dict[tuple[str, int], tuple[object, Any]] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )

    def add(self, event: IkeEvent) -> bool:
        """Learn one record of this tunnel; return whether it was new."""
        at = event.at or 0
        if at > self.last_seen:
            self.last_seen = at
        if at < self.first_seen or not self.first_seen:
            self.first_seen = at
        if event.instance and event.local:
            home = (at, event.local)
            if home > self.homes.get(event.instance, (0, "")):
                self.homes[event.instance] = home
        if not self.proven:
            self.proven = event.kind in _PROOFS
        if event.kind in (Kind.TUNNEL_UP, Kind.TUNNEL_DOWN):
            key = identify(event)
            if key in self.marks:
                return False
            self.marks[key] = event
            return True
        if at <= self.forgotten_to:
            # Of a folded negotiation, delivered again, or later than any feed should be: learned, it would count twice.
            session = self.sessions.get(event.session or _sessionless(event))
            if session is None or identify(event) not in session.events:
                self.late += 1
            return False
        if event.kind is Kind.CLOSED and event.code in ENDS:
            self.ends[identify(event)] = event
            if len(self.ends) > MAX_ENDS:
                self.ends.pop(min(self.ends))
                self.thinned += 1
        name = event.session or _sessionless(event)
        session = self.sessions.get(name)
        if session is None:
            session = self.sessions[name] = Session()
        new = session.add(event)
        if len(self.sessions) > (MAX_SESSIONS if self.proven else MAX_STRANGER_SESSIONS) and not (
            self.known() and self._fits()
        ):
            self._thin()
        return new

    def _fits(self) -> bool:
        return len(self.sessions) <= MAX_SESSIONS

    def _thin(self) -> None:
        # Of sessions that failed alike the first and the last stay: a flood of retries must not push out the one
        # that shows the peer's offer.
        keep_each = MAX_ATTEMPTS // 2 if self.known() else MAX_STRANGER_SESSIONS // 4
        groups: dict[object, list[tuple[int, str]]] = {}
        for key, session in self.sessions.items():
            last = session.negotiations(key)[-1]
            shown = (
                last.initiator,
                last.codes,
                last.sent_notifies,
                last.received_notifies,
                last.peer_ike,
                last.azure_ike,
                last.depth,
            )
            groups.setdefault(shown, []).append((last.end, key))
        limit = MAX_SESSIONS if self.known() else MAX_STRANGER_SESSIONS
        while len(self.sessions) > limit - limit // 4 and groups:
            largest = max(groups.values(), key=len)
            largest.sort()
            if len(largest) <= 2 * keep_each:
                keep_each //= 2
                if keep_each == 0:
                    break
                continue
            for _, key in largest[keep_each:-keep_each]:
                del self.sessions[key]
                self.thinned += 1
            del largest[keep_each:-keep_each]
        excess = len(self.sessions) - limit
        for _, key in sorted(pair for group in groups.values() for pair in group)[: max(excess, 0)]:
            self.sessions.pop(key, None)
            self.thinned += 1

    def recent(self) -> list[Negotiation]:
        """Return every negotiation that is not folded, in order of start."""
        found = [n for key, session in self.sessions.items() for n in session.negotiations(key)]
        found.sort(key=attrgetter("order"))
        return found

    def known(self) -> bool:
        """Whether this is a peer and no stranger: only a configured peer is connected, initiated to or authenticated."""
        if self.proven or self.spans:  # only what is known is ever folded
            return True
        return any(n.initiator is Initiator.AZURE or n.accepted for n in self.recent())


_PROOFS = frozenset({Kind.TUNNEL_UP, Kind.TUNNEL_DOWN, Kind.SA_INIT_SENT})
"""Azure connects, disconnects and calls configured peers only."""


def _vanishes(event: IkeEvent) -> bool:
    if event.kind is not Kind.CLOSED and event.kind is not Kind.TUNNEL_DOWN:
        return False
    if event.kind is Kind.TUNNEL_DOWN and any(word in codes.fold(event.text) for word in DEAD_PEER):
        return True
    return event.code == PEER_VANISHED


def _sessionless(event: IkeEvent) -> str:
    return SESSIONLESS + event.local


@dataclass(slots=True)
class Gateway:
    """What is known of one gateway: its tunnels, its own events, and lines that wait for their tunnel."""

    key: str  # resource id in lower case
    name: tuple[int, str] | None = None  # (event time, resource id as written) of its earliest record
    peers: frozenset[str] = frozenset()  # addresses somebody who knows says are configured peers
    tunnels: dict[str, Tunnel] = field(default_factory=dict)
    strangers: set[str] = field(default_factory=set)  # addresses of tunnels not proven to be a configured peer
    owners: dict[str, tuple[int, str]] = field(default_factory=dict)  # SESSION_ID -> (first seen, remote address)
    waiting: dict[EventKey, IkeEvent] = field(default_factory=dict)
    settled_to: int = 0  # whose a line without session was is decided up to here (ms), once and for all
    marks: dict[EventKey, IkeEvent] = field(default_factory=dict)  # configuration, maintenance, failover, BGP
    crowds: tuple[Together, ...] = ()  # legs that went down together, as last judged
    locals: set[str] = field(default_factory=set)  # Azure's own addresses
    vanished: dict[EventKey, tuple[str, str]] = field(default_factory=dict)  # peers that did: remote address, instance
    tunnel_log_since: int | None = None  # event time of its earliest record of the Tunnel log
    heard: dict[int, tuple[int, int]] = field(default_factory=dict)  # hour since 1970 -> its first and last record (ms)
    pulse: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    """Slot of five minutes since 1970 -> its first and last record (ms), and a bit for each minute in which Azure called."""
    knocks: dict[int, dict[str, tuple[int, int]]] = field(default_factory=dict)  # day -> stranger -> first, last (ms)
    evicted: int = 0  # strangers, waiting lines and marks dropped at a bound

    def learn(self, event: IkeEvent) -> set[str]:
        """Learn one record; return the remote addresses of the tunnels it may have changed, '' for all of them."""
        at = event.at or 0
        if self.name is None or (at, event.gateway) < self.name:
            self.name = (at, event.gateway)
        self._hear(at, calls=event.kind is Kind.SA_INIT_SENT)
        everybody: set[str] = set()
        if event.category is Category.TUNNEL and (self.tunnel_log_since is None or at < self.tunnel_log_since):
            self.tunnel_log_since = at
            everybody = {""}  # how long an agreed child waits for its TunnelConnected changes for all
        if event.kind in _GATEWAY_MARKS:
            return self._mark(event)
        if event.category is not Category.IKE and event.kind not in (Kind.TUNNEL_UP, Kind.TUNNEL_DOWN):
            return set()
        remote = event.remote or self._owner(event)
        if not remote:
            # One that comes again would be decided again, by what is left of those it could have belonged to.
            if not event.session and event.at is not None and event.at <= self.settled_to:
                return set()
            self.waiting[identify(event)] = event
            self._bound_waiting()
            return {""}
        if self.waiting and any(abs((e.at or 0) - at) <= WAITING_REACH for e in self.waiting.values() if not e.session):
            everybody = {""}  # a negotiation more or less may decide whose line that is
        touched = self._learn_into(remote, event)
        return touched | everybody if everybody else touched

    def _hear(self, at: int, *, calls: bool) -> None:
        hour = at // HOUR
        first, last = self.heard.get(hour, (at, -1))
        if not first <= at <= last:
            self.heard[hour] = (min(first, at), max(last, at))
            if len(self.heard) > MAX_HOURS:
                del self.heard[min(self.heard)]
        slot, minute = at // SLOT, 1 << at % SLOT // MINUTE if calls else 0
        first, last, minutes = self.pulse.get(slot, (at, -1, 0))
        if not first <= at <= last or minute & ~minutes:
            self.pulse[slot] = (min(first, at), max(last, at), minutes | minute)
            if len(self.pulse) > MAX_SLOTS:
                del self.pulse[min(self.pulse)]

    def writes_tunnel_log(self, at: int) -> bool:
        """Whether it wrote the Tunnel log by then, so that its lines were to be waited for.

        By then and not ever: what is folded was judged without it, and a log that is switched on later says nothing of before.
        """
        return self.tunnel_log_since is not None and self.tunnel_log_since <= at + NEGOTIATION_GAP

    def last_heard(self) -> int:
        """Return the time of its newest record (ms), 0 if there is none."""
        return self.heard[max(self.heard)][1] if self.heard else 0

    def _note_knock(self, remote: str, at: int) -> None:
        """Count who may be a stranger. Who is one is decided when it is told: proof may come later.

        Bounds keep what is smallest, or newest, by its name alone, so that the result does not depend on order.
        """
        knocks = self.knocks.setdefault(at // DAY, {})
        first, last = knocks.get(remote, (at, at))
        knocks[remote] = (min(first, at), max(last, at))
        if len(knocks) > MAX_KNOCKS:
            del knocks[max(knocks)]
        if len(self.knocks) > MAX_DAYS:
            del self.knocks[min(self.knocks)]

    def recognise(self, peers: frozenset[str]) -> None:
        """Take note of who is a configured peer. Whoever was one stays known: a connection may end, its outage is told."""
        self.peers = peers
        for remote in self.strangers & peers:
            self.tunnels[remote].proven = True
        self.strangers -= peers

    def _learn_into(self, remote: str, event: IkeEvent) -> set[str]:
        tunnel = self.tunnels.get(remote)
        if tunnel is None:
            tunnel = self.tunnels[remote] = Tunnel(remote, proven=remote in self.peers)
        proven = tunnel.proven
        touched = {remote} if self._add(tunnel, event) else set()
        if event.local and event.local not in self.locals:
            self.locals = set(sorted({*self.locals, event.local})[:MAX_LOCALS])
        if event.session:
            owner = (event.at or 0, remote)
            known = self.owners.get(event.session)
            if known is None or owner < known:
                self.owners[event.session] = owner
                # Whoever retries has more sessions than that which are not folded yet: it is no use to look at each.
                if known is None and len(self.owners) >= MAX_OWNERS_EVER and not len(self.owners) % OWNERS_STEP:
                    self._bound_owners()
        if event.session and self.waiting:
            for key, waiting in list(self.waiting.items()):
                if waiting.session == event.session and self._owner(waiting):
                    self._add(tunnel, self.waiting.pop(key))
        # Whose peers vanished at once with others decides how long those are waited for; so does who is known.
        if _vanishes(event) or (
            not proven and self.vanished and any(peer == remote for peer, _ in self.vanished.values())
        ):
            touched |= self._vanished_with(remote)
        if tunnel.proven:
            self.strangers.discard(remote)
        else:
            if event.remote:  # whose a line without addresses is may be found later, or not at all
                self._note_knock(remote, event.at or 0)
            self.strangers.add(remote)
            if len(self.strangers) > MAX_STRANGERS:
                self._bound_strangers(spare=remote)
        return touched

    def _add(self, tunnel: Tunnel, event: IkeEvent) -> bool:
        proven = tunnel.proven
        new = tunnel.add(event)
        if _vanishes(event):
            self.vanished[identify(event)] = (tunnel.remote, event.instance or event.local)
            if len(self.vanished) > MAX_VANISHED:
                self.vanished.pop(min(self.vanished))
                self.evicted += 1
        return new or proven is not tunnel.proven

    def vanish(self, remote: str, at: int, reach: int) -> bool:
        """Whether dead peer detection ended several legs, one of `remote` among them, within `reach` of `at`."""
        if len(self.vanished) < 2:
            return False
        legs = {leg for key, leg in self.vanished.items() if abs(key[0] - at) <= reach}
        legs = {leg for leg in legs if (tunnel := self.tunnels.get(leg[0])) is not None and tunnel.known()}
        return len(legs) > 1 and any(leg[0] == remote for leg in legs)

    def _vanished_with(self, remote: str) -> set[str]:
        own = [key[0] for key, leg in self.vanished.items() if leg[0] == remote]
        near = (leg[0] for key, leg in self.vanished.items() if any(abs(key[0] - at) <= 2 * MINUTE for at in own))
        return {other for other in near if other in self.tunnels}

    def _owner(self, event: IkeEvent) -> str:
        """Return the remote address whose session a line is from, '' if none had spoken of the session by then.

        By then and not by now: how long a line may wait for its owner must not depend on what has been read.
        """
        first, remote = self.owners.get(event.session, (0, ""))
        return remote if first <= (event.at or 0) + NEGOTIATION_GAP else ""

    def forget_owners(self, before: int) -> None:
        """Drop whose a SESSION_ID is once its records are folded and it began before `before` (ms)."""
        if len(self.owners) > MAX_OWNERS:
            kept = {session for tunnel in self.tunnels.values() for session in tunnel.sessions}
            self.owners = {s: owner for s, owner in self.owners.items() if owner[0] >= before or s in kept}

    def _bound_owners(self) -> None:
        # First those of strangers whose session is not kept any more, then the oldest that are folded.
        kept = {session for tunnel in self.tunnels.values() for session in tunnel.sessions}
        gone = sorted(
            (remote not in self.strangers and remote in self.tunnels, at, session)
            for session, (at, remote) in self.owners.items()
            if session not in kept
        )
        for _, _, session in gone[: len(self.owners) - MAX_OWNERS_EVER // 2]:
            del self.owners[session]
            self.evicted += 1

    def _mark(self, event: IkeEvent) -> set[str]:
        self.marks[identify(event)] = event
        if len(self.marks) > MAX_MARKS:
            self.marks.pop(min(self.marks))
            self.evicted += 1
        return {""}

    def _bound_waiting(self) -> None:
        while len(self.waiting) > MAX_WAITING:
            self.waiting.pop(min(self.waiting))
            self.evicted += 1

    def _bound_strangers(self, spare: str) -> None:
        # A known peer is never evicted for a stranger, whatever its age: a healthy tunnel may log nothing for hours.
        self.strangers = {remote for remote in self.strangers if not self.tunnels[remote].known()}
        while len(self.strangers) > MAX_STRANGERS:
            oldest = min(self.strangers - {spare}, key=lambda remote: (self.tunnels[remote].last_seen, remote))
            self.strangers.remove(oldest)
            for session in self.tunnels.pop(oldest).sessions:
                if self.owners.get(session, (0, ""))[1] == oldest:  # a SESSION_ID may be second-hand
                    del self.owners[session]
            self.vanished = {key: leg for key, leg in self.vanished.items() if leg[0] != oldest}
            self.evicted += 1

    def orphans(self) -> Iterator[tuple[str, str, IkeEvent]]:
        """Yield (remote, session, event) for each waiting line without session that exactly one negotiation can own.

        Decided anew over all facts at each judgement, never by what was seen last: only one tunnel of the
        line's instance may have a negotiation in progress within `ORPHAN_REACH` of it.
        """
        for event in self.waiting.values():
            if event.session:
                continue
            owners = [
                (tunnel.remote, n.session)
                for tunnel in self.tunnels.values()
                for n in tunnel.recent()
                if n.start - ORPHAN_REACH <= (event.at or 0) <= n.end + ORPHAN_REACH
                and (not event.instance or not n.instance or event.instance == n.instance)
            ]
            if len({remote for remote, _ in owners}) == 1:
                remote, session = max(owners)
                yield remote, session, event

    def settle(self, watermark: int) -> set[str]:
        """Move waiting lines for good once all facts about them are in, and drop those that nobody owns.

        Returns the remote addresses of the tunnels that got one, '' too if any line waits no longer.

        A line without session is decided then; one with a SESSION_ID may wait an hour for a line that names its tunnel.
        """
        touched: set[str] = set()
        if not self.waiting:
            return touched
        for remote, session, event in list(self.orphans()):
            if (event.at or 0) <= watermark - FOLD_HORIZON:
                del self.waiting[identify(event)]
                self.tunnels[remote].sessions[session].add(event)
                touched |= {remote, ""}
        for key, event in list(self.waiting.items()):
            if key[0] > watermark - FOLD_HORIZON - (WAITING_AGE if event.session else 0):
                continue
            del self.waiting[key]
            self.evicted += 1
            touched.add("")
        if touched:
            self.settled_to = max(self.settled_to, watermark - FOLD_HORIZON)
        return touched


_GATEWAY_MARKS = frozenset({Kind.CONFIGURATION, Kind.MAINTENANCE, Kind.PRIMARY_CHANGED, Kind.BGP_UP, Kind.BGP_DOWN})
