"""Outlook -> Wanted: which advisories are told of a tunnel by an instant, and which of them are over."""

from __future__ import annotations

from dataclasses import replace

from ikestream.advice import Advice, Outlook
from ikestream.incident import Row, Wanted
from ikestream.rules import advise, advise_gateway
from ikestream.times import EXPECTED_LEG_AGE
from ikestream.tunnel import Gateway
from ikestream.verdict import show_legs, want_advice

MAX_ADVISED = 4
"""Rows of one tunnel's advisories that are remembered between two judgements."""


def counsel(
    outlook: Outlook, scope: str, since: int, now: int, read_to: int, *, live: bool
) -> tuple[list[Wanted], set[int]]:
    """Return what is to be told at `now`, nothing that ended before `since`; and when time alone may change it.

    What does not happen any more is known up to `read_to`: the clock that runs on after a saved log proves nothing.
    """
    wanted: list[Wanted] = []
    deadlines: set[int] = set()
    tunnel = outlook.tunnel
    unheard = tunnel.last_seen + EXPECTED_LEG_AGE
    for advice in advise(outlook):
        over, due = decide(advice, now, read_to)
        deadlines.update(d for d in (due, advice.due) if d is not None)
        if now < advice.held:
            continue
        if not over and live:
            deadlines.add(unheard)
            if now >= unheard:  # nobody expects this tunnel any more
                over, advice = True, replace(advice, end=unheard, resolution="NotObserved")
        end = advice.end if over else None
        if end is not None and end <= since:
            continue
        legs = show_legs(outlook.timeline, now if end is None else end) if advice.legs else []
        locals_ = sorted(leg.leg for leg in outlook.timeline.legs if leg.leg in outlook.gateway.locals)
        wanted.append(_want(outlook, advice, scope, legs, locals_, over=over))
    return wanted, {d for d in deadlines if d > now}


def _want(outlook: Outlook, advice: Advice, scope: str, legs: list[Row], locals_: list[str], *, over: bool) -> Wanted:
    """Return the incident; the last one of the same kind and start, if it would say the same."""
    gateway, tunnel, connections = outlook.gateway, outlook.tunnel, outlook.connections
    asked = (advice, gateway.name, legs, locals_, over, connections)
    name = advice.finding.cause, advice.start
    known = tunnel.advised.get(name)
    if known is None or known[0] != asked:
        if len(tunnel.advised) >= MAX_ADVISED:
            tunnel.advised.clear()
        wanted = want_advice(gateway, tunnel.remote, advice, scope, legs, locals_, over=over, connections=connections)
        known = tunnel.advised[name] = (asked, wanted)
    found: Wanted = known[1]
    return replace(found, content=dict(found.content))  # telling it adds to its content


def counsel_gateway(gateway: Gateway, since: int, now: int, *, live: bool) -> tuple[list[Wanted], set[int]]:
    """Return the same for a gateway."""
    wanted: list[Wanted] = []
    deadlines: set[int] = set()
    for advice in advise_gateway(gateway, live=live):
        if advice.end is None and now >= (unheard := advice.last + EXPECTED_LEG_AGE):
            advice = replace(advice, end=unheard, settled=unheard, resolution="NotObserved")
        elif advice.end is None:
            deadlines.add(unheard)
        over, due = decide(advice, now, now)
        if due is not None:
            deadlines.add(due)
        if now < advice.held or (over and (advice.end or 0) <= since):
            continue
        wanted.append(want_advice(gateway, "", advice, gateway.key, (), (), over=over))
    return wanted, {d for d in deadlines if d > now}


def decide(advice: Advice, now: int, read_to: int) -> tuple[bool, int | None]:
    """Return whether its end is told at `now`, and the next instant at which it is told or its end may be."""
    if now < advice.held:
        return False, advice.held
    if advice.end is None:
        return False, None
    return (read_to if advice.by_absence else now) >= advice.settled, advice.settled if now < advice.settled else None
