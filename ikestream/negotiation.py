"""IkeEvents of one attempt -> Negotiation: what the attempt shows, as a set.

Presence counts, order does not, because rows of one session carry equal or swapped times. Nothing here concludes
anything from silence; that is the business of `status`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, Generic, TypeAlias, TypeVar

from ikestream import codes
from ikestream.codes import Role
from ikestream.events import Direction, IkeEvent, Kind, Proposal, Selector

T = TypeVar("T")

SAME_MOMENT = 1_000
"""Lines of one session closer than this (ms) have no order."""

EVERYTHING = (("0.0.0.0", "255.255.255.255"), ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"))  # noqa: S104 - a selector, no socket
IKE_PORTS = frozenset({500, 4500})


class once(Generic[T]):  # noqa: N801 - a decorator
    """A property that is read once, as `functools.cached_property` is from Python 3.12 on: before, a lock is half its cost."""

    def __init__(self, read: Callable[[Any], T]) -> None:
        self._read, self.__doc__ = read, read.__doc__

    def __set_name__(self, _owner: type, name: str) -> None:
        self._name = name

    def __get__(self, owner: object, _kind: type | None = None) -> T:
        found = owner.__dict__[self._name] = self._read(owner)
        return found


class Initiator(StrEnum):
    """Who began a negotiation."""

    AZURE = "Azure"
    PEER = "Peer"
    UNKNOWN = "Unknown"


REFUSALS = frozenset(
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
PEER_VANISHED = 13886
"""Dead peer detection."""
UNABLE = frozenset(
    {
        808,
        1168,
        13804,
        *range(13809, 13813),
        13816,
        13827,
        *range(13851, 13861),
        13862,
        13863,
        13866,
        13867,
        13876,
        13893,
    }
)
"""Codes with which this gateway could not go on: its platform's (facts 1.3), and of those that the table does not list the ones
whose words leave nothing but a failed attempt. They fail an attempt as a symptom does: where the leg does not come up."""
CHILD_EXPIRED = 13895
"""The lifetime of a child SA is over."""
SA_ENDS = frozenset({PEER_VANISHED, 13885, 13877, 13849, 13891})
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

_AFTER_SA_INIT = frozenset(
    {
        Kind.AUTH_SENT,
        Kind.AUTH_RECEIVED,
        Kind.TS_PROPOSED,
        Kind.TS_REQUESTED,
        Kind.TS_FINAL,
        Kind.ESP_SENT,
        Kind.ESP_RECEIVED,
    }
)

RANK = {kind: rank for rank, kind in enumerate(Kind)}


class Negotiation:
    """One attempt, as the set of its records. Built once from its events; everything else is read off them.

    `events` are sorted by (time, order of the exchange, text), so that equal sets give equal objects.
    """

    def __init__(self, session: str, events: Iterable[IkeEvent]) -> None:
        self.session = session
        self.events: tuple[IkeEvent, ...] = tuple(
            sorted(events, key=lambda e: (e.at or 0, RANK[e.kind], e.message, e.instance))
        )
        self.start: int = self.events[0].at or 0
        self.end: int = self.events[-1].at or 0
        self.order = (self.start, self.end, session)  # by which negotiations are put in order
        self.final: dict[int, Any] = {}  # what `status` concluded for good, by the times it used
        self.written: bytes | None = None  # as `codec` wrote it
        self.seen: dict[object, Any] = {}  # what `remembered` functions read off it

    @once
    def kinds(self) -> frozenset[Kind]:
        """Every kind of line that is present."""
        return frozenset([event.kind for event in self.events])

    @once
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
        # Azure refuses what was offered to it; what the peer chose it offered itself.
        if Kind.ESP_RECEIVED in self.kinds and not self.kinds & {Kind.AUTH_SENT, Kind.ESP_SENT}:
            refused = self.sent_notifies & {"NO_PROPOSAL_CHOSEN", "INVALID_KE_PAYLOAD"}
            return Initiator.PEER if refused else Initiator.UNKNOWN
        return Initiator.UNKNOWN

    @once
    def local(self) -> str:
        """Azure's address, '' if no line carries it."""
        return next((e.local for e in self.events if e.local), "")

    @once
    def remote(self) -> str:
        """The peer's address, '' if no line carries it."""
        return next((e.remote for e in self.events if e.remote), "")

    @once
    def instance(self) -> str:
        """The gateway instance that wrote the newest line."""
        return next((e.instance for e in reversed(self.events) if e.instance), "")

    @once
    def place(self) -> tuple[str, str]:
        """(Azure's address, gateway instance), '' where no line carries it."""
        return self.local, self.instance

    @once
    def spis(self) -> tuple[str, str]:
        """(initiator SPI, responder SPI), '' where not printed."""
        initiator = next((e.initiator_spi for e in self.events if e.initiator_spi), "")
        responder = next((e.responder_spi for e in self.events if e.responder_spi), "")
        return initiator, responder

    @once
    def identity(self) -> str:
        """What makes it one attempt: the initiator's SPI (a retransmission and a corrected KE repeat it), else the session."""
        return self.spis[0] or f"{self.session}@{self.start}"

    def _proposals(self, kind: Kind) -> tuple[Proposal, ...]:
        # The longest list wins: a line that was cut lists less, never more.
        lists = [e.proposals for e in self.events if e.kind is kind and e.proposals]
        return max(lists, key=lambda found: (len(found), found), default=())

    @once
    def azure_ike(self) -> tuple[Proposal, ...]:
        """Azure's phase 1 offers, in order; () unless Azure is the initiator."""
        return self._proposals(Kind.IKE_SENT) if self.initiator is Initiator.AZURE else ()

    @once
    def azure_ike_cut(self) -> bool:
        """Whether the only lines with Azure's phase 1 offers end in the middle."""
        lines = [e for e in self.events if e.kind is Kind.IKE_SENT]
        return bool(lines) and all(e.cut for e in lines)

    @once
    def peer_ike(self) -> tuple[Proposal, ...]:
        """The peer's phase 1 offers; () unless the peer is the initiator (else the same line is what it chose)."""
        return self._proposals(Kind.IKE_RECEIVED) if self.initiator is Initiator.PEER else ()

    @once
    def chosen_ike(self) -> tuple[Proposal, ...]:
        """What the peer chose in phase 1 when Azure initiated."""
        return self._proposals(Kind.IKE_RECEIVED) if self.initiator is Initiator.AZURE else ()

    @once
    def azure_esp(self) -> tuple[Proposal, ...]:
        """Azure's phase 2 offers; () unless Azure is the initiator."""
        return self._proposals(Kind.ESP_SENT) if self.initiator is Initiator.AZURE else ()

    @once
    def chosen_esp(self) -> tuple[Proposal, ...]:
        """What the peer chose in phase 2 when Azure initiated."""
        return self._proposals(Kind.ESP_RECEIVED) if self.initiator is Initiator.AZURE else ()

    @once
    def peer_esp(self) -> tuple[Proposal, ...]:
        """The peer's phase 2 offers; () unless the peer is the initiator."""
        return self._proposals(Kind.ESP_RECEIVED) if self.initiator is Initiator.PEER else ()

    @once
    def auth_method(self) -> str:
        """Azure's authentication method as logged (R2): 'psk', 'certificate' or ''."""
        for event in self.events:
            squeezed = event.auth.replace(" ", "").replace("-", "").lower()
            if squeezed:
                return "psk" if "preshared" in squeezed or "psk" in squeezed else "certificate"
        return ""

    @once
    def sent_notifies(self) -> frozenset[str]:
        """RFC 7296 names of the notifies Azure sent."""
        return frozenset(e.name for e in self.events if e.kind is Kind.NOTIFY_SENT and e.name)

    @once
    def received_notifies(self) -> frozenset[str]:
        """RFC 7296 names of the notifies the peer sent."""
        return frozenset(e.name for e in self.events if e.kind is Kind.NOTIFY_RECEIVED and e.name)

    @once
    def codes(self) -> tuple[int, ...]:
        """Every Windows code in it, in event order, once each."""
        return tuple(dict.fromkeys(e.code for e in self.events if e.code))

    @once
    def reached_auth(self) -> bool:
        """Whether IKE_SA_INIT succeeded: an AUTH line proves it, and selectors or ESP proposals, which travel with it."""
        return bool(self.kinds & _AFTER_SA_INIT)

    @once
    def child_agreed_at(self) -> int | None:
        """When the newest line says that selectors or an ESP proposal were agreed; None if none does.

        Agreed selectors prove it alone: they come after AUTH both ways, whose lines may be lost. A received
        ESP payload proves it only where Azure initiated and saw AUTH answered, for then it is the peer's choice.
        """
        agreed = [e.at or 0 for e in self.events if e.kind is Kind.TS_FINAL]
        if self.initiator is Initiator.AZURE and Kind.AUTH_RECEIVED in self.kinds:
            agreed += [e.at or 0 for e in self.events if e.kind is Kind.ESP_RECEIVED]
        return max(agreed, default=None)

    @once
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

    @once
    def refused_by_notify(self) -> bool:
        """Whether either side said no in a notify."""
        return bool((self.sent_notifies | self.received_notifies) & REFUSALS)

    @once
    def refusal(self) -> IkeEvent | None:
        """The earliest line that refuses for good (role F, or a notify that says no); None if there is none."""
        return next((e for e in self.events if _refuses(e)), None)

    @once
    def soft_failure(self) -> IkeEvent | None:
        """The earliest line that fails the attempt unless the leg succeeds nearby (roles S and f); None if there is none."""
        return next((e for e in self.events if _fails_softly(e) and self._ends(e)), None)

    @once
    def whole(self) -> bool:
        """Whether both its first message and what failed it are there."""
        begins = bool(self.kinds & {Kind.SA_INIT_SENT, Kind.SA_INIT_RECEIVED})
        return begins and (self.refusal is not None or self.soft_failure is not None)

    @once
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

    @once
    def heard_at(self) -> int | None:
        """When the first line came from the peer; None if none did."""
        return next((e.at or 0 for e in self.events if e.direction is Direction.RECEIVED or e.kind in _FROM_PEER), None)

    @once
    def child_expiries(self) -> tuple[int, ...]:
        """When lines say that a child SA reached the end of its lifetime."""
        return tuple(e.at or 0 for e in self.events if e.code == CHILD_EXPIRED)

    @once
    def sa_ends(self) -> tuple[IkeEvent, ...]:
        """The lines with which an established SA ended."""
        return tuple(e for e in self.events if e.kind is Kind.CLOSED and e.code in SA_ENDS)

    @once
    def only_ends(self) -> bool:
        """Whether nothing stands in it but the end of an SA, the peer's delete included: no exchange is spoken of."""
        return self.kinds <= {Kind.CLOSED} and ENDS.issuperset(self.codes)

    @once
    def refused_authentication(self) -> bool:
        """Whether authentication was what failed."""
        return "AUTHENTICATION_FAILED" in self.sent_notifies | self.received_notifies or bool(
            (AUTH_CODES | CERTIFICATE_CODES) & set(self.codes)
        )

    @once
    def refused_policy(self) -> bool:
        """Whether a proposal was refused, in whichever phase."""
        return "NO_PROPOSAL_CHOSEN" in self.sent_notifies | self.received_notifies or bool(
            POLICY_CODES & set(self.codes)
        )

    @once
    def refused_child(self) -> bool:
        """Whether what was refused is the IPsec SA: the IKE SA stood, or stands still (facts 3.3)."""
        child = self.reached_auth or Kind.CLEANUP_QM in self.kinds
        return child and not self.refused_authentication and self.child_agreed_at is None

    @once
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

    @once
    def accepted(self) -> bool:
        """Whether its IKE_AUTH was accepted by somebody who is no point-to-site client."""
        if self.depth < 4 or self.refused_authentication or self.is_client:
            return False
        if self.initiator is not Initiator.PEER or Kind.TS_FINAL in self.kinds:
            return bool(self.kinds & {Kind.TS_REQUESTED, Kind.TS_FINAL, Kind.ESP_RECEIVED})
        # A peer's selectors and offers stand in its request, before anything was accepted; that the child was refused
        # and not the peer comes after.
        return self.refusal is not None and bool(self.kinds & {Kind.TS_REQUESTED, Kind.ESP_RECEIVED})

    @property
    def is_client(self) -> bool:
        """Whether it looks like a point-to-site client's."""
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


def remembered(read: Callable[[Negotiation], T]) -> Callable[[Negotiation], T]:
    """Let a function that reads something off one negotiation do so once: a negotiation never changes.

    A tunnel that is tried again and again has hundreds of them, and each is looked at with every judgement.
    """

    def ask(negotiation: Negotiation) -> T:
        try:
            found: T = negotiation.seen[read]
        except KeyError:
            found = negotiation.seen[read] = read(negotiation)
        return found

    return ask


def _is_any(selector: Selector) -> bool:
    return (selector.start, selector.end) in EVERYTHING


def _refuses(event: IkeEvent) -> bool:
    if event.kind in (Kind.NOTIFY_SENT, Kind.NOTIFY_RECEIVED) and event.name in REFUSALS:
        return True
    code = codes.CODES.get(event.code) if event.code else None
    return code is not None and code.role is Role.FAILS


def _fails_softly(event: IkeEvent) -> bool:
    if event.kind in (Kind.NOTIFY_SENT, Kind.NOTIFY_RECEIVED) and event.name in _SOFT_NOTIFIES:
        return True
    code = codes.CODES.get(event.code) if event.code else None
    return code is not None and (code.role in (Role.SYMPTOM, Role.FAILS_ALONE) or code.number in UNABLE)
