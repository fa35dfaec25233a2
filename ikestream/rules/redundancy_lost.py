"""RedundancyLost: one of the tunnel's legs works, another one is down (facts 2.22, 3.2).

On an active-active gateway a tunnel has two legs, one for each of Azure's addresses. Traffic still flows over the one
that is up, and nobody notices until it goes, too. A leg is expected if it was up before; a leg that only ever failed
was never set up at the peer, which is for the record,
unless an inventory shows that the gateway is active-active and the leg is expected. With no leg up it is an outage, and the outage is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ikestream import codes
from ikestream.advice import Advice, Impact, Outlook
from ikestream.events import IkeEvent
from ikestream.finding import ActionOn, Advisory, Confidence, Finding, Hypothesis, Severity
from ikestream.negotiation import Negotiation
from ikestream.rules.ending import How, read, written_about
from ikestream.rules.on_demand import ends_on_demand
from ikestream.rules.signature import prove, reached
from ikestream.timeline import FAILED, Change, State
from ikestream.times import EXPECTED_LEG_AGE, MINUTE

AUTHENTICATION, POLICY = 13801, 13868
HOLD = 5 * MINUTE
"""A leg that is away for less is being renegotiated, or taken over (facts 2.22)."""


@dataclass(slots=True)
class _Lame:
    """A time in which one leg was up and others were not."""

    start: int
    end: int | None
    missing: dict[str, Change]
    back: bool = False  # it ended because a leg came back, not because the other one went, too


def advise(outlook: Outlook) -> Iterator[Advice]:
    """Yield one advice for each time in which a leg was missing, and for legs that never were."""
    if len(outlook.timeline.legs) < 2:
        return
    for lame in _lame(outlook, expected=True):
        yield _advice(outlook, lame, expected=True)
    for lame in _lame(outlook, expected=False):
        yield _advice(outlook, lame, expected=False)


def _lame(outlook: Outlook, *, expected: bool) -> Iterator[_Lame]:
    """Yield such times of at least `HOLD`, of legs that were up before (`expected`) or that never were."""
    states: dict[str, State] = {}
    missing: dict[str, Change] = {}
    gateway = outlook.connections.gateway
    # Up before, or in the inventory (facts 3.2): each address of an active-active gateway is there to be used.
    been_up = {leg.leg for leg in outlook.timeline.legs} if gateway is not None and gateway.active_active else set()
    found: list[_Lame] = []
    for change in outlook.timeline.changes:
        states[change.leg] = change.state
        if change.state is State.UP:
            been_up.add(change.leg)
            missing.pop(change.leg, None)
        elif (change.leg in been_up) is expected and not _is_put_down(outlook, change):
            missing[change.leg] = change
        works = State.UP in states.values()
        current = found[-1] if found and found[-1].end is None else None
        if works and missing and current is None:
            again = found and change.at - (found[-1].end or 0) < outlook.times.stability and found[-1].back
            if again and missing.keys() <= found[-1].missing.keys():  # another leg is another story
                found[-1].end = None
            else:
                found.append(_Lame(change.at, None, dict(missing)))
        elif current is not None and not (works and missing):
            current.end, current.back = change.at, works
        elif current is not None:
            current.missing |= missing
    for lame in found:
        if lame.end is None or lame.end - lame.start >= HOLD:
            yield lame


def _is_put_down(outlook: Outlook, down: Change) -> bool:
    about = written_about(outlook.tunnel, outlook.timeline.marks, down, outlook.times.grace)
    if any(read(e) is How.REMOVED for e in about):
        return True
    return ends_on_demand(outlook.tunnel, outlook.timeline, down.at, outlook.times, outlook.configured)


def _advice(outlook: Outlook, lame: _Lame, *, expected: bool) -> Advice:
    legs = sorted(lame.missing)
    names = ", ".join(leg or "unknown" for leg in legs)
    attempts = _attempts(outlook, legs, lame)
    ends = [
        e
        for d in lame.missing.values()
        for e in written_about(outlook.tunnel, outlook.timeline.marks, d, outlook.times.grace)
    ]
    newest = attempts[-1] if attempts else None
    what = "legs" if len(legs) > 1 else "leg"
    remote = outlook.tunnel.remote
    if expected:
        told = f"The {what} at Azure's {names} went down while another one stayed up, so traffic still flows."
    else:
        told = f"The {what} at Azure's {names} never came up, while another one works: the peer may not have a tunnel to that address."
    told += _why(ends, newest)
    last = max([outlook.timeline.conclusions[n].at for n in attempts], default=lame.start)
    if lame.end is not None and not lame.back:
        told += " Then the last leg went down, too: see the outage."
    over = lame.end is not None
    end = lame.end if lame.end is not None else lame.start + EXPECTED_LEG_AGE
    finding = Finding(
        cause=Advisory.REDUNDANCY_LOST,
        confidence=Confidence.HIGH if expected else Confidence.MEDIUM,
        explanation=told,
        action_on=_turn(ends, newest, expected=expected),
        failed_step=reached(newest) if newest is not None else None,
        hypotheses=_HYPOTHESES,
        missing_evidence="The peer's log about Azure's address " + names + ".",
        severity=Severity.WARNING if expected else Severity.INFORMATIONAL,
        code=_code(ends, newest),
        evidence=(*_sorted(ends)[:6], *(prove([newest], limit=6) if newest is not None else ())),
    )
    if expected:
        summary = f"The tunnel to {remote} runs on fewer legs than usual: {names} is down."
        past = f"The tunnel to {remote} ran on fewer legs than usual: {names} was down."
    else:
        summary = f"The tunnel to {remote} has a {what} that never came up: {names}."
        past = f"The tunnel to {remote} had a {what} that had never come up: {names}."
    return Advice(
        finding=finding,
        summary=summary,
        past=past,
        start=lame.start,
        held=lame.start + HOLD,
        last=last,
        impact=Impact.DEGRADED if expected else Impact.NONE,
        end=end,
        settled=end + (outlook.times.stability if lame.back else 0),
        by_absence=not over,
        resolution="Recovered" if over else "NotObserved",
        attempts=len(frozenset().union(*(outlook.timeline.attempts[n].identities for n in attempts))),
        negotiations=tuple(attempts),
        legs=True,
    )


def _turn(ends: list[IkeEvent], newest: Negotiation | None, *, expected: bool) -> ActionOn:
    if newest is None and any(read(e) in (How.STANDBY, How.SHUT_DOWN, How.RECONFIGURED) for e in ends):
        return ActionOn.AZURE
    return ActionOn.PEER if newest is None or newest.depth == 0 or not expected else ActionOn.UNKNOWN


def _attempts(outlook: Outlook, legs: list[str], lame: _Lame) -> list[Negotiation]:
    """Return the attempts that failed on these legs meanwhile, oldest first."""
    conclusions = outlook.timeline.conclusions
    found = [
        n
        for n in outlook.timeline.negotiations
        if n.local in legs
        and conclusions[n].outcome in FAILED
        and lame.start <= conclusions[n].at
        and (lame.end is None or conclusions[n].at <= lame.end)
    ]
    return sorted(found, key=lambda n: (conclusions[n].at, n.start, n.session))


def _why(ends: list[IkeEvent], newest: Negotiation | None) -> str:
    said = sorted({how.value for e in ends if (how := read(e)) is not How.UNSAID})
    told = f" The log says: {', '.join(said)}." if said else ""
    if newest is not None:
        # By what it says and not by its lines: a refusal is a code, a notify or both, as many lines as have come.
        _, numbers, sent, received = newest.signature
        words = [c.message.rstrip(".") for code in numbers if (c := codes.CODES.get(code)) is not None]
        words += sorted({*sent, *received})
        told += f" Attempts since have failed{': ' + ', '.join(words) if words else ''}."
    return told


def _code(ends: list[IkeEvent], newest: Negotiation | None) -> int | None:
    if newest is not None and newest.refused_authentication:
        return AUTHENTICATION
    if newest is not None and newest.refused_policy:
        return POLICY
    if newest is not None and newest.codes:
        return newest.codes[0]
    return next((e.code for e in _sorted(ends) if e.code), None)


def _sorted(lines: list[IkeEvent]) -> list[IkeEvent]:
    return sorted(set(lines), key=lambda e: (e.at or 0, e.instance, e.message, e.text))


_HYPOTHESES = (
    Hypothesis(
        "The peer, or a firewall before it, knows only one of Azure's two addresses",
        Confidence.MEDIUM,
        "See that the device has a tunnel to each public IP address of the gateway.",
    ),
    Hypothesis(
        "One of the gateway's instances is being maintained",
        Confidence.LOW,
        "Look in the portal at the state of the gateway and at Service Health for this minute.",
    ),
)
