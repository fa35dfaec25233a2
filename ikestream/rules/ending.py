"""Episode -> endings: what ended the security associations that were up when it began.

Two logs tell it, each in its own words: TunnelDisconnected with a reason in free text, and the line that closes the
IKE SA with a Windows status. How the reasons are spelled in exported records is not published (facts 00, 6): they are
read by their folded words and used if seen, never required.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from ikestream import codes
from ikestream.episode import Situation
from ikestream.events import IkeEvent, Kind
from ikestream.negotiation import CHILD_EXPIRED, ENDS, Negotiation
from ikestream.session import identify
from ikestream.timeline import EXCHANGE, REMOVED, Change, Marks, Outcome, State
from ikestream.times import SECOND
from ikestream.tunnel import DEAD_PEER, Tunnel

AZURE_IKE_LIFETIME = 28_800 * SECOND
"""Azure's main mode lifetime (POL)."""
SAME_AGE = 0.05
"""Ages that differ by no more than this share are one lifetime (facts 1.4)."""
SEEN_BEFORE = 3
"""An age seen this often is a lifetime, whoever set it (facts 1.4)."""
AT_ONCE = 5 * SECOND
"""A 13807 further from the drop ended another negotiation, not this security association."""


class How(StrEnum):
    """What an ending says."""

    VANISHED = "the peer stopped responding"
    CRASHED = "the peer crashed"  # known by the reason's name alone
    DELETED = "the peer ended the tunnel"
    ENDED = "the peer sent a delete"  # 13885 says 'lifetime or delete': by its age a delete
    EXPIRED = "the lifetime ended"
    STANDBY = "the other instance took over"
    SHUT_DOWN = "the gateway instance shut down"
    RECONFIGURED = "the configuration changed"
    REMOVED = "the connection was removed"
    MANAGED = "a management operation deleted it"
    UNSAID = "no reason that is known"


@dataclass(frozen=True, slots=True)
class Ending:
    """One line that says how a leg's security association ended."""

    how: How
    event: IkeEvent


LIFETIME_OR_DELETE = 13885
DELETED_EARLY = 13807
_BY_CODE = {
    13886: How.VANISHED,
    13849: How.RECONFIGURED,
    13891: How.SHUT_DOWN,
    13877: How.MANAGED,
    CHILD_EXPIRED: How.EXPIRED,
    LIFETIME_OR_DELETE: How.ENDED,
    DELETED_EARLY: How.DELETED,
}
_BY_REASON: tuple[tuple[tuple[str, ...], How], ...] = (
    (("standbychanged",), How.STANDBY),
    ((REMOVED,), How.REMOVED),
    (DEAD_PEER, How.VANISHED),
    (("remotecrash",), How.CRASHED),
    (("remotelytriggered", "remotetriggered", "remotedelete", "remotedisconnect", "receivedmmdelete"), How.DELETED),
)
"""(words in the folded reason, what it says); the first that holds. `... changed` comes last of all."""


def endings(situation: Situation) -> tuple[Ending, ...]:
    """Return how the legs ended that went down when the episode began, in event order."""
    found: dict[tuple[int, str, str], Ending] = {}
    for change in situation.downs:
        if _never_stood(change):
            continue
        for event in written_about(situation.tunnel, situation.marks, change, situation.times.grace):
            if (event.at or 0) > situation.until:
                continue
            found[event.at or 0, event.message, event.text] = Ending(_how(situation, change, event), event)
    return tuple(found[key] for key in sorted(found))


def read(event: IkeEvent) -> How:
    """Say what one line gives as the reason; 'lifetime or delete' is read as a delete until the age says otherwise."""
    said = codes.fold(event.text) if event.kind is Kind.TUNNEL_DOWN else ""
    by_reason = next((how for words, how in _BY_REASON if any(word in said for word in words)), None)
    if by_reason is not None:
        return by_reason
    if event.code in _BY_CODE:
        return _BY_CODE[event.code]
    return How.RECONFIGURED if said.endswith("changed") else How.UNSAID


def those(found: Iterable[Ending], *how: How) -> list[Ending]:
    """Return the endings that say one of `how`."""
    return [e for e in found if e.how in how]


def evidence(found: Iterable[Ending]) -> list[IkeEvent]:
    """Return the lines themselves."""
    return [e.event for e in found]


def code(found: Iterable[Ending]) -> int | None:
    """Return the Windows code of the first line that carries one."""
    return next((e.event.code for e in found if e.event.code), None)


def reason(found: Iterable[Ending]) -> str:
    """Quote the first reason that the Tunnel log gives, '' if it gives none."""
    said = next((e.event.text for e in found if e.event.kind is Kind.TUNNEL_DOWN and e.event.text), "")
    return f" Azure's reason: '{said}'." if said else ""


def attempts_after(situation: Situation) -> list[Negotiation]:
    """Return the attempts that failed after the drop, oldest first: closing lines of what was up are none."""
    start = situation.episode.start
    return [n for n in situation.failed if situation.conclusions[n].at >= start and n.kinds & EXCHANGE]


def written_about(tunnel: Tunnel, marks: Marks, down: Change, grace: int) -> list[IkeEvent]:
    """Return the lines about a leg's end. The other log's line stands seconds away: they are not written at one instant.

    `marks` is what the Tunnel log says of each leg, which it knows by its instance only (facts R15): the other leg's drop of
    the same minute is none of this one's.
    """
    said = marks.get(down.leg, ()) if down.leg else tunnel.marks.values()
    closed = (e for e in tunnel.ends.values() if not e.local or not down.leg or down.leg in (e.local, e.instance))
    near = [
        e
        for e in (*closed, *(m for m in said if m.kind is Kind.TUNNEL_DOWN))
        if abs((e.at or 0) - down.at) <= (AT_ONCE if e.code == DELETED_EARLY else grace)
    ]
    near.sort(key=identify)  # not as they came
    return near if down.mark is None else [down.mark, *near]


def _never_stood(change: Change) -> bool:
    """Whether the leg counts as down by an attempt that such a code stopped half-way: then no security association ended."""
    n = change.negotiation
    if n is None or change.mark is not None:
        return False
    begins = n.kinds & (EXCHANGE | {Kind.IKE_SENT, Kind.IKE_RECEIVED, Kind.MM_PACKET})
    return bool(begins) and n.depth < 4 and not ENDS.isdisjoint(n.codes)


def _how(situation: Situation, change: Change, event: IkeEvent) -> How:
    how = read(event)
    return How.EXPIRED if how is How.ENDED and _is_lifetime(situation, change) else how


def _is_lifetime(situation: Situation, change: Change) -> bool:
    age = _age(situation, change)
    if age is None:
        return False
    if abs(age - AZURE_IKE_LIFETIME) <= SAME_AGE * AZURE_IKE_LIFETIME:
        return True
    earlier = (
        _age(situation, c)
        for c in situation.changes
        if c.leg == change.leg
        and c.state is State.DOWN
        and c.at < change.at
        and c.mark is not None
        and c.mark.code == LIFETIME_OR_DELETE
    )
    return sum(other is not None and abs(other - age) <= SAME_AGE * age for other in earlier) >= SEEN_BEFORE


def _age(situation: Situation, down: Change) -> int | None:
    """Return how old the leg's newest IKE SA was when it went down; without an IKE log, how long the leg was up."""
    born = [
        conclusion.at
        for n in situation.negotiations
        if (conclusion := situation.conclusions[n]).outcome is Outcome.SUCCEEDED
        and n.kinds & EXCHANGE
        and conclusion.at < down.at
        and (not n.local or not down.leg or n.local == down.leg)
    ]
    if not born:
        born = [c.at for c in situation.changes if c.leg == down.leg and c.state is State.UP and c.at < down.at]
    return down.at - max(born) if born else None
