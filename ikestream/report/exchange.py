"""Negotiation -> Ladder: the exchange of one attempt as messages between Azure and peer, for drawing.

Several lines of Azure's log speak of one IKE message: `Sending IKE SA_INIT packet` and `Sending Ike payload` are the
same packet. They become one step with all its lines. What the log does not say is not drawn: a payload that no line
names is not listed, and a message without a line is no arrow.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ikestream import codes, grammar
from ikestream.events import Direction, IkeEvent, Kind, Proposal
from ikestream.negotiation import REFUSALS, SAME_MOMENT, Initiator, Negotiation
from ikestream.selectors import ranges
from ikestream.timeline import FAILED, TIMED_OUT, Outcome, conclude
from ikestream.times import DAY, Times

MAX_STEPS = 40
MAX_LINES = 12
"""Of one step; a peer may repeat a message as often as it likes."""
MAX_LABEL = 160


class Way(StrEnum):
    """Which way a message went. The last two are what should have come, and is not in the log."""

    TO_PEER = "to the peer"
    TO_AZURE = "to Azure"
    LOCAL = "at Azure"
    PEER_SILENT = "nothing from the peer"
    AZURE_SILENT = "nothing from Azure"


class Reach(StrEnum):
    """What became of one stage of the negotiation."""

    DONE = "done"
    FAILED = "failed"
    OPEN = "not reached"


@dataclass(slots=True)
class Step:
    """One message, or something that happened at Azure. `name` is the exchange, `says` the payloads the log names."""

    way: Way
    at: int
    name: str
    says: list[str] = field(default_factory=list)
    lines: list[IkeEvent] = field(default_factory=list)
    times: int = 1  # sent so often
    failed: bool = False
    left_out: int = 0  # lines

    def add(self, event: IkeEvent, says: str) -> None:
        """Take in another line of the same message."""
        if says and says not in self.says:
            # RFC 7296 1.2: the nonce comes after the proposals.
            self.says.append(says)
            self.says.sort(key=lambda text: text == "Nonce")
        if len(self.lines) < MAX_LINES:
            self.lines.append(event)
        else:
            self.left_out += 1


@dataclass(frozen=True, slots=True)
class Ladder:
    """One attempt: its messages in order, how far it came, and in one sentence how it ended. Times are ms."""

    session: str
    local: str
    remote: str
    start: int
    initiator: Initiator
    spis: tuple[str, str]
    stages: tuple[tuple[str, Reach], ...]
    end: str
    succeeded: bool
    failed: bool
    steps: tuple[Step, ...]
    left_out: int  # steps


def draw(negotiation: Negotiation, times: Times) -> Ladder:
    """Return the ladder of one attempt, judged with `times` as if nothing more will come."""
    n = negotiation
    outcome = conclude(n, n.end + DAY, times).outcome
    failed = outcome in FAILED
    why = _why(n) if failed else None
    steps: list[Step] = []
    for event in _in_order(n):
        _place(event, n, steps)
    at_fault = next((step for step in steps if why in step.lines), None) if why is not None else None
    waited = why is not None and why.code in TIMED_OUT and any(step.way is not Way.LOCAL for step in steps)
    if failed and (outcome is Outcome.UNANSWERED or at_fault is None or waited):
        _miss(n, steps)
    elif at_fault is not None:
        at_fault.failed = True
    kept = [
        step
        for at, step in enumerate(steps)
        if at < MAX_STEPS // 2
        or at >= len(steps) - MAX_STEPS // 2
        or step.failed  # the beginning, the end, and the fault
    ]
    return Ladder(
        session=n.session,
        local=n.local,
        remote=n.remote,
        start=n.start,
        initiator=n.initiator,
        spis=n.spis,
        stages=_stages(n, failed=failed),
        end=_end(n, outcome, why),
        succeeded=outcome is Outcome.SUCCEEDED,
        failed=failed,
        steps=tuple(kept),
        left_out=len(steps) - len(kept),
    )


def _miss(n: Negotiation, steps: list[Step]) -> None:
    """Put what should have come after the last message; a close that follows is its consequence."""
    place = max((at for at, step in enumerate(steps) if step.way in (Way.TO_PEER, Way.TO_AZURE)), default=-1)
    last = steps[place] if place >= 0 else None
    if n.initiator is Initiator.PEER and Kind.RESPONDER_SPI in n.kinds and Kind.AUTH_RECEIVED not in n.kinds:
        missing = Step(Way.PEER_SILENT, n.end, "IKE_AUTH", ["never came, for all the log says"])
        place = len(steps) - 1  # Azure answered: its own SPI is the last that happened
    elif last is not None and last.way is Way.TO_AZURE and Kind.AUTH_RECEIVED in n.kinds:
        missing = Step(Way.PEER_SILENT, n.end, "Child SA", ["not agreed, for all the log says"])
    elif last is not None and last.way is Way.TO_AZURE and n.initiator is Initiator.AZURE:
        missing = Step(Way.AZURE_SILENT, n.end, "IKE_AUTH", ["nothing more of Azure in the log"])
    elif last is not None and last.way is Way.TO_AZURE:
        missing = Step(Way.AZURE_SILENT, n.end, last.name, ["no answer of Azure in the log"])
    else:
        missing = Step(Way.PEER_SILENT, n.end, last.name if last is not None else "", ["no answer in the log"])
    missing.failed = True
    steps.insert(place + 1, missing)


def _why(n: Negotiation) -> IkeEvent | None:
    """Return the line that says no: of several at one moment the notify, which the others follow from."""
    first = n.refusal or n.soft_failure
    if first is None:
        return None
    notifies = (e for e in n.events if e.kind in _NOTIFY and abs((e.at or 0) - (first.at or 0)) <= SAME_MOMENT)
    return next((e for e in notifies if e.name in REFUSALS), first)


def _in_order(n: Negotiation) -> list[IkeEvent]:
    """Lines of one moment have no order in the log, so they get that of the exchange: SA_INIT before AUTH, what is asked
    before what is answered, the end last."""
    ordered: list[IkeEvent] = []
    moment: list[tuple[int, IkeEvent]] = []
    stage = 0
    for event in n.events:
        if moment and (event.at or 0) - (moment[-1][1].at or 0) > SAME_MOMENT:
            ordered += _sorted(moment, n)
            moment = []
        if event.kind in _FIRST_PHASE | _OFFERS:
            stage = 0
        elif event.kind in _CHILD | {Kind.AUTH_SENT, Kind.AUTH_RECEIVED} or event.name == "AUTHENTICATION_FAILED":
            stage = 1
        ends = event.kind in (Kind.CLOSED, Kind.CLEANUP_MM, Kind.CLEANUP_QM, Kind.ERROR)
        moment.append((2 if ends else stage, event))
    return ordered + _sorted(moment, n)


def _sorted(moment: list[tuple[int, IkeEvent]], n: Negotiation) -> list[IkeEvent]:
    # A corrected group or a cookie makes two rounds of one moment: then only their times can tell them apart.
    rounds = sum(event.kind in (Kind.SA_INIT_SENT, Kind.SA_INIT_RECEIVED) for _, event in moment)
    asks = {Initiator.AZURE: Way.TO_PEER, Initiator.PEER: Way.TO_AZURE}.get(n.initiator)

    def turn(stage: int, event: IkeEvent) -> int:
        if asks is None or (stage == 0 and rounds > 1):
            return 0
        if event.kind in _NOTIFY or event.kind is Kind.RESPONDER_SPI:
            return 1
        return 2 if event.kind is Kind.TS_FINAL else int(_way(event) is not asks)

    return [event for _, event in sorted(moment, key=lambda pair: (pair[0], turn(*pair)))]


def _place(event: IkeEvent, n: Negotiation, steps: list[Step]) -> None:
    way, name, says = _way(event), _exchange(event, n, steps), _says(event)
    if way is not Way.LOCAL:
        for step in reversed(steps):
            if step.way is Way.LOCAL or (step.way is not way and (event.at or 0) == step.at):
                continue  # what happened at Azure meanwhile is no message, and at one instant there is no order
            if step.way is not way or step.name != name:
                break
            kinds = {line.kind for line in step.lines}
            if event.kind not in kinds and (event.at or 0) - step.at <= SAME_MOMENT:
                step.add(event, says)
                return
            if event.kind in kinds and event.kind in _BEGIN | _PAYLOAD:
                step.times += event.kind in _BEGIN
                step.add(event, says)
                return
            break
    step = Step(way, event.at or 0, name)
    step.add(event, says)
    steps.append(step)


_BEGIN = frozenset(
    {Kind.SA_INIT_SENT, Kind.SA_INIT_RECEIVED, Kind.SA_INIT_ANSWERED, Kind.AUTH_SENT, Kind.AUTH_RECEIVED}
)
_PAYLOAD = frozenset({Kind.IKE_SENT, Kind.IKE_RECEIVED, Kind.MM_PACKET, Kind.TS_PROPOSED, Kind.ESP_SENT})
_OUT = frozenset({Kind.SA_INIT_SENT, Kind.IKE_SENT, Kind.AUTH_SENT, Kind.TS_PROPOSED, Kind.ESP_SENT, Kind.NOTIFY_SENT})
_IN = frozenset(
    {
        Kind.SA_INIT_ANSWERED,
        Kind.SA_INIT_RECEIVED,
        Kind.IKE_RECEIVED,
        Kind.MM_PACKET,
        Kind.AUTH_RECEIVED,
        Kind.TS_REQUESTED,
        Kind.ESP_RECEIVED,
        Kind.NOTIFY_RECEIVED,
    }
)
_VERSION_2 = frozenset(
    {
        Kind.SA_INIT_SENT,
        Kind.SA_INIT_ANSWERED,
        Kind.SA_INIT_RECEIVED,
        Kind.RESPONDER_SPI,
        Kind.AUTH_SENT,
        Kind.AUTH_RECEIVED,
    }
)
"""Lines that only IKEv2 writes; "MM" and "QM" tell nothing (facts 06 R1)."""
_FIRST_PHASE = frozenset({Kind.SA_INIT_SENT, Kind.SA_INIT_ANSWERED, Kind.SA_INIT_RECEIVED, Kind.RESPONDER_SPI})
_OFFERS = frozenset({Kind.IKE_SENT, Kind.IKE_RECEIVED, Kind.MM_PACKET})
_NOTIFY = frozenset({Kind.NOTIFY_SENT, Kind.NOTIFY_RECEIVED})
_CHILD = frozenset({Kind.TS_PROPOSED, Kind.TS_REQUESTED, Kind.ESP_SENT, Kind.ESP_RECEIVED, Kind.TS_FINAL})


def _way(event: IkeEvent) -> Way:
    if event.kind in _OUT:
        return Way.TO_PEER
    if event.kind in _IN:
        return Way.TO_AZURE
    if event.kind is Kind.IKE_OTHER and event.direction is not Direction.LOCAL:
        return {Direction.SENT: Way.TO_PEER, Direction.RECEIVED: Way.TO_AZURE}.get(event.direction, Way.LOCAL)
    return Way.LOCAL


def _exchange(event: IkeEvent, n: Negotiation, steps: list[Step]) -> str:
    if event.kind in _FIRST_PHASE | _OFFERS:
        return "IKE_SA_INIT" if n.kinds & _VERSION_2 else "Phase 1"
    if event.kind in (Kind.AUTH_SENT, Kind.AUTH_RECEIVED):
        return "IKE_AUTH"
    if event.kind in _CHILD:
        if n.kinds & {Kind.AUTH_SENT, Kind.AUTH_RECEIVED} or n.kinds & _FIRST_PHASE:
            return "IKE_AUTH"
        return "CREATE_CHILD_SA"
    if event.kind in _NOTIFY:
        # A notify answers, or stands in, the exchange that was under way.
        return next((s.name for s in reversed(steps) if s.way is not Way.LOCAL), "Notify")
    return {
        Kind.CLOSED: "Closed",
        Kind.CLEANUP_MM: "Phase 1 ended",
        Kind.CLEANUP_QM: "Phase 2 ended",
        Kind.ERROR: "Error",
    }.get(event.kind, "Azure")


def _says(event: IkeEvent) -> str:
    kind = event.kind
    if event.proposals:
        offers = f"SA: {_proposal(event.proposals[0])}"
        return offers if len(event.proposals) == 1 else f"SA: {len(event.proposals)} proposals"
    if kind in (Kind.AUTH_SENT, Kind.AUTH_RECEIVED):
        return "AUTH"
    if kind is Kind.MM_PACKET:
        return "Nonce"
    if kind in (Kind.TS_PROPOSED, Kind.TS_REQUESTED):
        return _selectors(event) or "TSi, TSr"
    if kind is Kind.TS_FINAL:
        return _clip(f"selectors agreed: {_selectors(event)}" if _selectors(event) else "selectors agreed")
    if kind in _NOTIFY:
        return f"N({_clip(event.name or event.text)})"
    if kind is Kind.RESPONDER_SPI:
        return "made the responder's SPI"
    if kind in (Kind.CLOSED, Kind.CLEANUP_MM, Kind.CLEANUP_QM, Kind.ERROR):
        return _code(event)
    if kind in (Kind.IKE_OTHER, Kind.UNREAD):
        return _clip(grammar.body(event.message))
    return ""


def _proposal(proposal: Proposal) -> str:
    return _clip(" / ".join(v for v in (proposal.encryption, proposal.integrity, proposal.group) if v))


def _selectors(event: IkeEvent) -> str:
    ours, theirs = ranges(event.initiator_selectors), ranges(event.responder_selectors)
    parts = [f"{name} {_few(found)}" for name, found in (("TSi", ours), ("TSr", theirs)) if found]
    return ", ".join(parts)


def _few(found: tuple[str, ...]) -> str:
    return found[0] if len(found) == 1 else f"{found[0]} and {len(found) - 1} more"


def _code(event: IkeEvent) -> str:
    known = codes.CODES.get(event.code) if event.code else None
    text = event.text or event.name or (known.message if known is not None else "")
    return _clip(" ".join(filter(None, (text.rstrip(". "), f"({event.code})" if event.code else ""))))


def _clip(text: str) -> str:
    return text if len(text) <= MAX_LABEL else text[: MAX_LABEL - 1] + "…"


def _stages(n: Negotiation, *, failed: bool) -> tuple[tuple[str, Reach], ...]:
    ended = Reach.FAILED if failed else Reach.OPEN
    if not n.kinds & _VERSION_2:
        return ()
    child = n.child_agreed_at is not None
    auth = child or n.accepted or (n.depth >= 4 and not n.refused_authentication)
    init = n.depth >= 2
    reached = [init, auth, child and not failed]
    names = ("IKE_SA_INIT", "IKE_AUTH", "Child SA")
    stages: list[tuple[str, Reach]] = []
    for name, done in zip(names, reached, strict=True):
        before = all(reach is Reach.DONE for _, reach in stages)
        stages.append((name, Reach.DONE if done else ended if before else Reach.OPEN))
    return tuple(stages)


def _end(n: Negotiation, outcome: Outcome, why: IkeEvent | None) -> str:
    if outcome is Outcome.SUCCEEDED:
        return "Agreed"
    if outcome is Outcome.UNANSWERED:
        return "No answer in the log" if n.initiator is not Initiator.PEER else "The peer did not go on"
    if why is not None and why.code in TIMED_OUT:
        return f"No answer: {_code(why)}"
    if why is not None:
        who = {Kind.NOTIFY_RECEIVED: "The peer refused: ", Kind.NOTIFY_SENT: "Azure refused: "}.get(why.kind, "Ended: ")
        return who + (_clip(why.name or why.text) if why.kind in _NOTIFY else _code(why))
    return "Ended, nothing failed" if n.ended_at is not None else "Not concluded"
