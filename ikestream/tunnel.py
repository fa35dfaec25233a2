"""IkeEvent -> Gateway, Tunnel, Negotiation: what is known. Facts only grow, and in whatever order they arrive.

Learning is commutative and idempotent: a fact's identity is (event time, instance, message), and every
choice between two facts is made by that order, never by arrival. Nothing here concludes anything from
silence; that is the business of `status`.

A tunnel is one gateway and one remote address. A session is one SESSION_ID; a negotiation is the part of a
session whose records lie closer together than `times.NEGOTIATION_GAP`. What a negotiation shows is a set:
presence counts, order does not, because rows of one session carry equal or swapped times.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from heapq import nlargest
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from ikestream import codes
from ikestream.codes import Role
from ikestream.events import Category, Direction, IkeEvent, Kind, Proposal, Selector
from ikestream.times import FOLD_HORIZON, HOUR, MINUTE, NEGOTIATION_GAP

if TYPE_CHECKING:
    from ikestream.status import Change

EventKey: TypeAlias = tuple[int, str, str]
"""(event time ms, instance, message): one record, however often and in whatever format it arrives."""

MAX_EVENTS_PER_SESSION = 1024
MAX_ATTEMPTS = 256
MAX_NEWEST = 10
MAX_SESSIONS = 1024
"""Per tunnel, not folded yet: three times what a peer retrying every five seconds makes in the fold's reach."""
MAX_STRANGER_SESSIONS = 32
MAX_STRANGERS = 64
MAX_WAITING = 256
MAX_MARKS = 256
MAX_ENDS = 256
"""Per tunnel: more than a flapping tunnel writes in a day, after which nobody asks for them."""
WAITING_AGE = HOUR
WAITING_REACH = 10 * MINUTE
"""A record this near a waiting line may belong to a negotiation that owns it."""
ORPHAN_REACH = 5_000
"""A line without session and endpoint belongs to a negotiation in progress within this many ms of it."""

SAME_MOMENT = 1_000
"""Lines of one session closer than this (ms) have no order."""

SESSIONLESS = "local:"
"""Lines without SESSION_ID (Network Watcher's IkeLogs.txt) share one session per local address, under this prefix."""

EVERYTHING = (("0.0.0.0", "255.255.255.255"), ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"))  # noqa: S104 - a selector, no socket
IKE_PORTS = frozenset({500, 4500})


class Initiator(StrEnum):
    """Who began a negotiation."""

    AZURE = "Azure"
    PEER = "Peer"
    UNKNOWN = "Unknown"


def identify(event: IkeEvent) -> EventKey:
    """Return the identity of the record behind `event`."""
    if event.category is Category.IKE:
        return (event.at or 0, event.instance, event.message)
    # The other categories say with fields what IKE lines say with words; their message may be empty.
    return (event.at or 0, event.instance, f"{event.message}|{event.kind}|{event.remote}|{event.text}")


_REFUSAL_NOTIFIES = frozenset(
    {
        "NO_PROPOSAL_CHOSEN",
        "AUTHENTICATION_FAILED",
        "TS_UNACCEPTABLE",
        "INVALID_MAJOR_VERSION",
        "SINGLE_PAIR_REQUIRED",
        "INVALID_ID_INFORMATION",
        "FAILED_CP_REQUIRED",
        "INTERNAL_ADDRESS_FAILURE",
    }
)
_SOFT_NOTIFIES = frozenset({"INVALID_SYNTAX", "INVALID_KE_PAYLOAD", "UNSUPPORTED_CRITICAL_PAYLOAD"})
SA_ENDS = frozenset({13886, 13885, 13877, 13849, 13891})
"""Codes that end an established SA (facts 1.3, 3.3): its peer vanished; the others end it on purpose or by age."""
ENDS = SA_ENDS | {13807}
"""The same, and the delete that may also stop a negotiation half-way."""
AUTH_CODES = frozenset({13801, 13826, 13870, 13889, 13834, 13869})
"""Codes with which authentication ends, whatever the reason (facts 1.3)."""

CERTIFICATE_CODES = frozenset({13806, 13817, 13818, 13819, 13820, 13828, 13847, 13848, 13875, 13881, 13887})
"""Codes of a certificate that is missing, unfit or not trusted (facts 1.3)."""
POLICY_CODES = frozenset({13868, 13802, 13871, 13872, 13873, 13874})
"""Policy match error, and the IKEv1 attributes of a phase 1 proposal (facts 1.3)."""

Signature: TypeAlias = tuple[bool, tuple[int, ...], tuple[str, ...], tuple[str, ...]]
"""(phase 1 succeeded, other codes, notifies sent or meant, other notifies received)"""

_FROM_PEER = frozenset(
    {
        Kind.SA_INIT_ANSWERED,
        Kind.SA_INIT_RECEIVED,
        Kind.RESPONDER_SPI,
        Kind.IKE_RECEIVED,
        Kind.MM_PACKET,
        Kind.AUTH_RECEIVED,
        Kind.TS_REQUESTED,
        Kind.ESP_RECEIVED,
        Kind.NOTIFY_RECEIVED,
    }
)

_RANK = {kind: rank for rank, kind in enumerate(Kind)}


class Negotiation:
    """One attempt, as the set of its records. Built once from its events; everything else is read off them.

    `events` are sorted by (time, order of the exchange, text), so that equal sets give equal objects.
    """

    def __init__(self, session: str, events: Iterable[IkeEvent]) -> None:
        self.session = session
        self.events: tuple[IkeEvent, ...] = tuple(
            sorted(events, key=lambda e: (e.at or 0, _RANK[e.kind], e.message, e.instance))
        )
        self.start: int = self.events[0].at or 0
        self.end: int = self.events[-1].at or 0

    @cached_property
    def kinds(self) -> frozenset[Kind]:
        """Every kind of line that is present."""
        return frozenset(event.kind for event in self.events)

    @cached_property
    def initiator(self) -> Initiator:
        """Who sent the first SA_INIT; read from any line that only one of the roles can write."""
        azure = self.kinds & {Kind.SA_INIT_SENT, Kind.SA_INIT_ANSWERED}
        peer = self.kinds & {Kind.SA_INIT_RECEIVED, Kind.RESPONDER_SPI}
        if azure and peer:
            return Initiator.UNKNOWN
        if azure:
            return Initiator.AZURE
        if peer:
            return Initiator.PEER
        # The SA_INIT line may be lost. "Sending Ike payload" lists offers, which only an initiator makes;
        # selectors are "requested" by a peer that initiates.
        if self.kinds & {Kind.IKE_SENT, Kind.TS_PROPOSED}:
            return Initiator.AZURE
        if Kind.TS_REQUESTED in self.kinds or (Kind.IKE_RECEIVED in self.kinds and Kind.NOTIFY_SENT in self.kinds):
            return Initiator.PEER
        return Initiator.UNKNOWN

    @cached_property
    def local(self) -> str:
        """Azure's address, '' if no line carries it."""
        return next((e.local for e in self.events if e.local), "")

    @cached_property
    def remote(self) -> str:
        """The peer's address, '' if no line carries it."""
        return next((e.remote for e in self.events if e.remote), "")

    @cached_property
    def instance(self) -> str:
        """The gateway instance that wrote the newest line."""
        return next((e.instance for e in reversed(self.events) if e.instance), "")

    @cached_property
    def spis(self) -> tuple[str, str]:
        """(initiator SPI, responder SPI), '' where not printed."""
        initiator = next((e.initiator_spi for e in self.events if e.initiator_spi), "")
        responder = next((e.responder_spi for e in self.events if e.responder_spi), "")
        return initiator, responder

    @cached_property
    def identity(self) -> str:
        """What makes it one attempt: the initiator's SPI (a retransmission and a corrected KE repeat it), else the session."""
        return self.spis[0] or f"{self.session}@{self.start}"

    def _proposals(self, kind: Kind) -> tuple[Proposal, ...]:
        # The longest list wins: a line that was cut lists less, never more.
        lists = [e.proposals for e in self.events if e.kind is kind and e.proposals]
        return max(lists, key=lambda found: (len(found), found), default=())

    @cached_property
    def azure_ike(self) -> tuple[Proposal, ...]:
        """Azure's phase 1 offers, in order; () unless Azure is the initiator."""
        return self._proposals(Kind.IKE_SENT) if self.initiator is Initiator.AZURE else ()

    @cached_property
    def azure_ike_cut(self) -> bool:
        """Whether the only lines with Azure's phase 1 offers end in the middle."""
        lines = [e for e in self.events if e.kind is Kind.IKE_SENT]
        return bool(lines) and all(e.cut for e in lines)

    @cached_property
    def peer_ike(self) -> tuple[Proposal, ...]:
        """The peer's phase 1 offers; () unless the peer is the initiator (else the same line is what it chose)."""
        return self._proposals(Kind.IKE_RECEIVED) if self.initiator is Initiator.PEER else ()

    @cached_property
    def chosen_ike(self) -> tuple[Proposal, ...]:
        """What the peer chose in phase 1 when Azure initiated."""
        return self._proposals(Kind.IKE_RECEIVED) if self.initiator is Initiator.AZURE else ()

    @cached_property
    def azure_esp(self) -> tuple[Proposal, ...]:
        """Azure's phase 2 offers; () unless Azure is the initiator."""
        return self._proposals(Kind.ESP_SENT) if self.initiator is Initiator.AZURE else ()

    @cached_property
    def chosen_esp(self) -> tuple[Proposal, ...]:
        """What the peer chose in phase 2 when Azure initiated."""
        return self._proposals(Kind.ESP_RECEIVED) if self.initiator is Initiator.AZURE else ()

    @cached_property
    def peer_esp(self) -> tuple[Proposal, ...]:
        """The peer's phase 2 offers; () unless the peer is the initiator."""
        return self._proposals(Kind.ESP_RECEIVED) if self.initiator is Initiator.PEER else ()

    @cached_property
    def auth_method(self) -> str:
        """Azure's authentication method as logged (R2): 'psk', 'certificate' or ''."""
        for event in self.events:
            squeezed = event.auth.replace(" ", "").replace("-", "").lower()
            if squeezed:
                return "psk" if "preshared" in squeezed or "psk" in squeezed else "certificate"
        return ""

    @cached_property
    def sent_notifies(self) -> frozenset[str]:
        """RFC 7296 names of the notifies Azure sent."""
        return frozenset(e.name for e in self.events if e.kind is Kind.NOTIFY_SENT and e.name)

    @cached_property
    def received_notifies(self) -> frozenset[str]:
        """RFC 7296 names of the notifies the peer sent."""
        return frozenset(e.name for e in self.events if e.kind is Kind.NOTIFY_RECEIVED and e.name)

    @cached_property
    def codes(self) -> tuple[int, ...]:
        """Every Windows code in it, in event order, once each."""
        return tuple(dict.fromkeys(e.code for e in self.events if e.code))

    @cached_property
    def reached_auth(self) -> bool:
        """Whether IKE_SA_INIT succeeded: an AUTH line or a selector line proves it."""
        return bool(
            self.kinds
            & {Kind.AUTH_SENT, Kind.AUTH_RECEIVED, Kind.TS_PROPOSED, Kind.TS_REQUESTED, Kind.TS_FINAL, Kind.ESP_SENT}
        )

    @cached_property
    def child_agreed_at(self) -> int | None:
        """When the newest line says that selectors or an ESP proposal were agreed; None if none does.

        Agreed selectors prove it alone: they come after AUTH both ways, whose lines may be lost. A received
        ESP payload proves it only where Azure initiated and saw AUTH answered, for then it is the peer's choice.
        """
        agreed = [e.at or 0 for e in self.events if e.kind is Kind.TS_FINAL]
        if self.initiator is Initiator.AZURE and Kind.AUTH_RECEIVED in self.kinds:
            agreed += [e.at or 0 for e in self.events if e.kind is Kind.ESP_RECEIVED]
        return max(agreed, default=None)

    @cached_property
    def depth(self) -> int:
        """How far it came, 0 to 5: SA_INIT only, refused by notify, answered, AUTH requested, AUTH answered, child agreed."""
        if self.child_agreed_at is not None:
            return 5
        if self.initiator is Initiator.PEER:
            if self.kinds & {Kind.TS_REQUESTED, Kind.ESP_RECEIVED}:
                return 4
            if Kind.AUTH_RECEIVED in self.kinds:
                return 4 if Kind.AUTH_SENT in self.kinds else 3
        elif Kind.AUTH_RECEIVED in self.kinds:
            return 4
        elif self.reached_auth:
            return 3
        if self.refused_by_notify:
            return 1
        return 2 if self.kinds & {Kind.SA_INIT_ANSWERED, Kind.RESPONDER_SPI, Kind.MM_PACKET} else 0

    @cached_property
    def refused_by_notify(self) -> bool:
        """Whether either side said no in a notify."""
        return bool((self.sent_notifies | self.received_notifies) & _REFUSAL_NOTIFIES)

    @cached_property
    def refusal(self) -> IkeEvent | None:
        """The earliest line that refuses for good (role F, or a notify that says no); None if there is none."""
        return next((e for e in self.events if _refuses(e)), None)

    @cached_property
    def soft_failure(self) -> IkeEvent | None:
        """The earliest line that fails the attempt unless the leg succeeds nearby (roles S and f); None if there is none."""
        return next((e for e in self.events if _fails_softly(e) and self._ends(e)), None)

    @cached_property
    def ended_at(self) -> int | None:
        """When the first line ended or disturbed it, benign or not; None while none did.

        Where a child was agreed, only what stands after it counts, or beside it: times within one session are not
        in causal order to the millisecond. A corrected group or a cookie before it is the normal course.
        """
        earliest = (self.child_agreed_at or 0) - SAME_MOMENT if self.child_agreed_at is not None else 0
        return next((e.at or 0 for e in self.events if (e.at or 0) >= earliest and self._ends(e)), None)

    def _ends(self, event: IkeEvent) -> bool:
        if event.name == "INVALID_KE_PAYLOAD" and self.reached_auth:
            return False
        ending = event.kind in (Kind.CLOSED, Kind.CLEANUP_MM, Kind.CLEANUP_QM, Kind.ERROR)
        return ending or _refuses(event) or _fails_softly(event)

    @cached_property
    def heard_at(self) -> int | None:
        """When the first line came from the peer; None if none did."""
        return next((e.at or 0 for e in self.events if e.direction is Direction.RECEIVED or e.kind in _FROM_PEER), None)

    @cached_property
    def sa_ends(self) -> tuple[IkeEvent, ...]:
        """The lines with which an established SA ended."""
        return tuple(e for e in self.events if e.kind is Kind.CLOSED and e.code in SA_ENDS)

    @cached_property
    def refused_authentication(self) -> bool:
        """Whether authentication was what failed."""
        return "AUTHENTICATION_FAILED" in self.sent_notifies | self.received_notifies or bool(
            (AUTH_CODES | CERTIFICATE_CODES) & set(self.codes)
        )

    @cached_property
    def refused_policy(self) -> bool:
        """Whether a proposal was refused, in whichever phase."""
        return "NO_PROPOSAL_CHOSEN" in self.sent_notifies | self.received_notifies or bool(
            POLICY_CODES & set(self.codes)
        )

    @cached_property
    def signature(self) -> Signature:
        """What it failed with: equal signatures are the same fault seen again.

        Several codes and a notify may say one thing (13801, 13826, Authentication failed), and a lost line must not
        make two faults of one.
        """
        rest = set(self.codes)
        sent, received = set(self.sent_notifies), set(self.received_notifies)
        for refused, name, said in (
            (self.refused_authentication, "AUTHENTICATION_FAILED", {13801, 13826}),
            (self.refused_policy, "NO_PROPOSAL_CHOSEN", POLICY_CODES),
        ):
            if refused:
                rest -= said
                sent, received = sent | {name}, received - {name}
        return (self.reached_auth, tuple(sorted(rest)), tuple(sorted(sent)), tuple(sorted(received)))

    @cached_property
    def accepted(self) -> bool:
        """Whether its IKE_AUTH was accepted by somebody who is no point-to-site client."""
        if self.depth < 4 or self.refused_authentication or self._client:
            return False
        return bool(self.kinds & {Kind.TS_REQUESTED, Kind.TS_FINAL, Kind.ESP_RECEIVED})

    @property
    def _client(self) -> bool:
        # A point-to-site client fails with a code only clients can meet, or comes from a port behind NAT and asks for
        # one inner address or for everything towards single prefixes (the one published record does). The port alone
        # decides nothing: a site behind PAT has an odd one too (R13).
        if self.initiator is Initiator.AZURE:
            return False
        if any(code is not None and code.role is Role.CLIENT for code in map(codes.CODES.get, self.codes)):
            return True
        if not any(e.remote_port and e.remote_port not in IKE_PORTS for e in self.events):
            return False
        agreed = [e for e in self.events if e.kind is Kind.TS_FINAL and e.initiator_selectors]
        asked = agreed or [e for e in self.events if e.initiator_selectors]
        inner = [s for e in asked for s in e.initiator_selectors]
        outer = [s for e in asked for s in e.responder_selectors]
        hosts = bool(inner) and all(s.start == s.end for s in inner)
        everything = bool(inner) and all(_is_any(s) for s in inner)
        return hosts or (everything and bool(outer) and not any(_is_any(s) for s in outer))


def _is_any(selector: Selector) -> bool:
    return (selector.start, selector.end) in EVERYTHING


def _refuses(event: IkeEvent) -> bool:
    if event.kind in (Kind.NOTIFY_SENT, Kind.NOTIFY_RECEIVED) and event.name in _REFUSAL_NOTIFIES:
        return True
    code = codes.CODES.get(event.code) if event.code else None
    return code is not None and code.role is Role.FAILS


def _fails_softly(event: IkeEvent) -> bool:
    if event.kind in (Kind.NOTIFY_SENT, Kind.NOTIFY_RECEIVED) and event.name in _SOFT_NOTIFIES:
        return True
    code = codes.CODES.get(event.code) if event.code else None
    return code is not None and code.role in (Role.SYMPTOM, Role.FAILS_ALONE)


@dataclass(slots=True)
class Session:
    """The records of one SESSION_ID, by identity, and the negotiations they form."""

    events: dict[EventKey, IkeEvent] = field(default_factory=dict)
    crowded: bool = False
    _view: tuple[Negotiation, ...] | None = None

    def add(self, event: IkeEvent) -> bool:
        """Learn one record; return whether it was new."""
        key = identify(event)
        if key in self.events:
            return False
        self.events[key] = event
        if len(self.events) > MAX_EVENTS_PER_SESSION:
            self.crowded = True
            self.events = _thin_out(self.events)
            if len(self.events) > MAX_EVENTS_PER_SESSION:  # more facts a minute than any exchange has: its ends stay
                ordered, half = sorted(self.events), MAX_EVENTS_PER_SESSION // 4
                self.events = {key: self.events[key] for key in ordered[:half] + ordered[-half:]}
        self._view = None
        return True

    def drop(self, keys: Iterable[EventKey]) -> None:
        """Forget records, because what they prove was folded."""
        for key in keys:
            self.events.pop(key, None)
        self._view = None

    def negotiations(self, session: str) -> tuple[Negotiation, ...]:
        """Return the negotiations in order of start."""
        if self._view is None:
            split = _split_by_gap if not session.startswith(SESSIONLESS) else _split_by_spi
            if self.crowded:
                self.events = _thin_out(self.events)
            ordered = sorted(self.events.values(), key=lambda e: (e.at or 0, _RANK[e.kind], e.message))
            self._view = tuple(Negotiation(session, group) for group in split(ordered))
        return self._view


def _thin_out(events: dict[EventKey, IkeEvent]) -> dict[EventKey, IkeEvent]:
    """Keep of each fact its first and last record per minute.

    What the facts prove, their span and the gaps between negotiations survive a flood of repeats; and because
    first and last of a union are first and last of the parts, the result does not depend on when it is done.
    """
    facts: dict[tuple[object, ...], tuple[EventKey, EventKey]] = {}
    for key, e in events.items():
        fact = (key[0] // MINUTE, e.kind, e.name, e.code, e.proposals, e.initiator_spi, e.initiator_selectors)
        first, last = facts.get(fact, (key, key))
        facts[fact] = (min(first, key), max(last, key))
    return {key: events[key] for pair in facts.values() for key in pair}


def _split_by_gap(ordered: list[IkeEvent]) -> list[list[IkeEvent]]:
    groups: list[list[IkeEvent]] = []
    last = 0
    for event in ordered:
        if not groups or (event.at or 0) - last > NEGOTIATION_GAP:
            groups.append([])
        groups[-1].append(event)
        last = event.at or 0
    return groups


def _split_by_spi(ordered: list[IkeEvent]) -> list[list[IkeEvent]]:
    # Lines without SESSION_ID: the initiator's SPI tells attempts apart, and a line without one belongs to the
    # attempt that spoke last.
    groups: list[list[IkeEvent]] = []
    by_spi: dict[str, list[IkeEvent]] = {}
    current: list[IkeEvent] = []
    for event in ordered:
        if event.initiator_spi:
            known = by_spi.get(event.initiator_spi)
            # Lines of the attempt that come before its first SPI: only a fresh group without one may take it.
            if known is None and (not current or any(e.initiator_spi for e in current)):
                groups.append([])
                known = groups[-1]
            current = by_spi[event.initiator_spi] = current if known is None else known
        elif not current or (event.at or 0) - (current[-1].at or 0) > NEGOTIATION_GAP:
            current = []
            groups.append(current)
        current.append(event)
    return groups


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
    identities: set[str] = set()
    newest: set[Attempt] = set()
    for part in parts:
        if len(identities) < MAX_ATTEMPTS:
            identities |= part.identities
        newest.update(part.newest)
    return Attempts(frozenset(identities), tuple(nlargest(MAX_NEWEST, newest)))


@dataclass(slots=True)
class Span:
    """Equal negotiations of one leg while its state did not change, folded: the first and the last whole.

    The `_at` are when they were concluded (ms).
    """

    key: object
    outcome: str
    first: Negotiation
    last: Negotiation
    first_at: int
    last_at: int
    attempts: Attempts
    offers: bool  # whether it shows what either side offered


@dataclass(slots=True)
class Tunnel:
    """What is known of one remote address at one gateway."""

    remote: str
    sessions: dict[str, Session] = field(default_factory=dict)
    marks: dict[EventKey, IkeEvent] = field(default_factory=dict)  # TunnelConnected, TunnelDisconnected
    ends: dict[EventKey, IkeEvent] = field(default_factory=dict)  # lines that close an established SA
    homes: dict[str, tuple[int, str]] = field(default_factory=dict)  # instance -> (last seen, local address)
    last_seen: int = 0
    spans: list[Span] = field(default_factory=list)  # folded negotiations
    folded_changes: tuple[Change, ...] = ()  # the legs' changes of state up to `folded_to`
    folded_to: int = 0
    forgotten_to: int = 0  # single records up to here are not kept any more
    late: int = 0  # records that came after that
    proven: bool = False  # known by a line that no later line can take back
    thinned: int = 0  # sessions dropped at the bound

    def add(self, event: IkeEvent) -> bool:
        """Learn one record of this tunnel; return whether it was new."""
        self.last_seen = max(self.last_seen, event.at or 0)
        if event.instance and event.local:
            self.homes[event.instance] = max(self.homes.get(event.instance, (0, "")), (event.at or 0, event.local))
        self.proven = self.proven or event.kind in _PROOFS
        if event.kind in (Kind.TUNNEL_UP, Kind.TUNNEL_DOWN):
            key = identify(event)
            if key in self.marks:
                return False
            self.marks[key] = event
            return True
        if (event.at or 0) <= self.forgotten_to:
            # Of a folded negotiation, delivered again, or later than any feed should be: learned, it would count twice.
            session = self.sessions.get(event.session or _sessionless(event))
            if session is None or identify(event) not in session.events:
                self.late += 1
            return False
        if event.kind is Kind.CLOSED and event.code in ENDS:
            self.ends[identify(event)] = event
            if len(self.ends) > MAX_ENDS:
                self.ends.pop(min(self.ends))
        new = self.sessions.setdefault(event.session or _sessionless(event), Session()).add(event)
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
        found.sort(key=lambda n: (n.start, n.end, n.session))
        return found

    def known(self) -> bool:
        """Whether this is a peer and no stranger: only a configured peer is connected, initiated to or authenticated."""
        if self.proven or self.spans:  # only what is known is ever folded
            return True
        return any(n.initiator is Initiator.AZURE or n.accepted for n in self.recent())


_PROOFS = frozenset({Kind.TUNNEL_UP, Kind.TUNNEL_DOWN, Kind.SA_INIT_SENT})
"""Azure connects, disconnects and calls configured peers only."""


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
    marks: dict[EventKey, IkeEvent] = field(default_factory=dict)  # configuration, maintenance, failover, BGP
    writes_tunnel_log: bool = False
    evicted: int = 0  # strangers, waiting lines and marks dropped at a bound

    def learn(self, event: IkeEvent) -> set[str]:
        """Learn one record; return the remote addresses of the tunnels it may have changed, '' for all of them."""
        written = (event.at or 0, event.gateway)
        self.name = written if self.name is None else min(self.name, written)
        everybody: set[str] = set()
        if event.category is Category.TUNNEL and not self.writes_tunnel_log:
            self.writes_tunnel_log = True
            everybody = {""}  # how long an agreed child waits for its TunnelConnected changes for all
        if event.kind in _GATEWAY_MARKS:
            return self._mark(event)
        if event.category is not Category.IKE and event.kind not in (Kind.TUNNEL_UP, Kind.TUNNEL_DOWN):
            return set()
        remote = event.remote or self.owners.get(event.session, (0, ""))[1]
        if not remote:
            self.waiting[identify(event)] = event
            self._bound_waiting()
            return {""}
        if any(abs((e.at or 0) - (event.at or 0)) <= WAITING_REACH for e in self.waiting.values() if not e.session):
            everybody = {""}  # a negotiation more or less may decide whose line that is
        return self._learn_into(remote, event) | everybody

    def _learn_into(self, remote: str, event: IkeEvent) -> set[str]:
        tunnel = self.tunnels.get(remote)
        if tunnel is None:
            tunnel = self.tunnels[remote] = Tunnel(remote, proven=remote in self.peers)
        touched = {remote} if tunnel.add(event) else set()
        if event.session:
            owner = (event.at or 0, remote)
            known = self.owners.get(event.session)
            self.owners[event.session] = owner if known is None else min(known, owner)
        if event.session and self.waiting:
            for key in [k for k, e in self.waiting.items() if e.session == event.session]:
                tunnel.add(self.waiting.pop(key))
        if tunnel.proven:
            self.strangers.discard(remote)
        else:
            self.strangers.add(remote)
            if len(self.strangers) > MAX_STRANGERS:
                self._bound_strangers(spare=remote)
        return touched

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
                self.owners.pop(session, None)
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

    def settle(self, watermark: int) -> None:
        """Move waiting lines for good once all facts about them are in, and drop those nobody owns after an hour."""
        if not self.waiting:
            return
        for remote, session, event in list(self.orphans()):
            if (event.at or 0) <= watermark - FOLD_HORIZON:
                del self.waiting[identify(event)]
                self.tunnels[remote].sessions[session].add(event)
        for key in [key for key in self.waiting if key[0] <= watermark - WAITING_AGE - FOLD_HORIZON]:
            del self.waiting[key]
            self.evicted += 1


_GATEWAY_MARKS = frozenset({Kind.CONFIGURATION, Kind.MAINTENANCE, Kind.PRIMARY_CHANGED, Kind.BGP_UP, Kind.BGP_DOWN})
