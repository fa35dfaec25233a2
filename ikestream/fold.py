"""Tunnel -> Tunnel, smaller: negotiations far enough behind the watermark become spans.

Only the tick folds, never a batch, and only what lies `FOLD_HORIZON` behind the watermark: earlier, the result
would depend on the order of arrival. The legs' changes of state up to there are kept as they were seen; of equal
negotiations within one state of their leg the first and the last stay whole. Ten thousand equal retries are one
span, and the peer's single offer among them is a span of its own that they cannot push out.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ikestream.events import IkeEvent
from ikestream.history import prune, recall
from ikestream.legs import Legs
from ikestream.negotiation import Negotiation
from ikestream.session import EventKey, identify
from ikestream.thin import bound_marks, thin
from ikestream.timeline import FAILED, Outcome, Timeline
from ikestream.times import FLOOR, FOLD_CONTEXT, FOLD_HORIZON, LIVE
from ikestream.tunnel import Gateway, Span, Tunnel, gather

MIN_FOLDED = 32
"""Folding costs about as much as judging once; it waits until this many negotiations can go, or as many as stay."""
FEW_FOLDED = 8
"""But for no fewer: a tunnel that is well makes so many in a day, and a fleet of them would fill the memory."""
MAX_SPANS = 256
MAX_RUNS = 32
"""Of each side and leg, that are told apart."""
MAX_CHANGES = 512


def fold(
    gateway: Gateway,
    tunnel: Tunnel,
    timeline: Timeline,
    watermark: int,
    oldest: int,
    readings: Iterable[int] = (),
) -> None:
    """Fold what lies far enough behind `watermark` into spans and bound everything else.

    `oldest` is where the earliest outage begins that may still be told, `readings` are when the connection was seen to be
    configured anew (ms).
    """
    bound_marks(tunnel, watermark)
    if len(timeline.conclusions) < min(FEW_FOLDED, MIN_FOLDED):
        return
    recent = tunnel.recent()
    cut = watermark - FOLD_HORIZON
    old = [n for n in recent if n.end <= cut - FOLD_CONTEXT and timeline.conclusions.get(n) is not None]
    if len(old) < min(MIN_FOLDED, max(FEW_FOLDED, len(recent) - len(old))):
        return
    folded_history = prune(recall(tunnel, timeline, cut), watermark)
    named = _name_legs(tunnel, timeline, cut - FOLD_CONTEXT)
    tunnel.folded_changes = tuple(
        c if c.mark is None else replace(c, mark=named.get(identify(c.mark), c.mark))
        for c in timeline.changes
        if c.at <= cut
    )[-MAX_CHANGES:]
    tunnel.folded_history = folded_history
    tunnel.folded_to = cut
    tunnel.forgotten_to = cut - FOLD_CONTEXT
    readings = sorted(readings)
    changed = [c.at for c in timeline.changes]
    for n in sorted(old, key=lambda n: (n.end, n.order)):  # as they were concluded, whenever that is done
        _absorb(tunnel, n, timeline, changed, readings)
        session = tunnel.sessions[n.session]
        session.drop(identify(e) for e in n.events)
        if not session.events:
            del tunnel.sessions[n.session]
    thin(tunnel, timeline, watermark, oldest, readings)
    tunnel.proven = True  # only what is known is judged, and what made it known may have been folded
    gateway.forget_owners(watermark - FLOOR)


def _name_legs(tunnel: Tunnel, timeline: Timeline, until: int) -> dict[EventKey, IkeEvent]:
    """Write down which leg the lines of the Tunnel log up to `until` speak of: it is read off what is folded now."""
    legs = Legs(tunnel, timeline.negotiations)
    named = {
        key: replace(mark, local=local)
        for key, mark in tunnel.marks.items()
        if key[0] <= until and not mark.local and (local := legs.whose(mark))
    }
    tunnel.marks |= named
    return named


def _absorb(
    tunnel: Tunnel, n: Negotiation, timeline: Timeline, changed: Sequence[int], readings: Iterable[int]
) -> None:
    conclusion = timeline.conclusions[n]
    # Between which changes it was concluded, and ended: equal attempts before and after an up are two spans. Of any leg,
    # for the other one's going up or down begins and ends outages too.
    stood = tuple(bisect_right(changed, end) for end in (conclusion.at, n.end))
    stood = tuple(changed[place - 1] if place else 0 for place in stood)
    offers = (n.azure_ike, n.peer_ike, n.chosen_ike, n.azure_esp, n.peer_esp)
    # The first attempt after a connection went begins another outage, one that was under way when it went belongs to none,
    # and one after it was configured anew is judged by what it is now: none may go under in those before.
    gone = tuple(max((at for at in timeline.removals if at < end), default=0) for end in (n.start, conclusion.at + 1))
    since = tuple(at for at in readings if at <= n.start)[-1:]
    after = ((gone, since),) if any(gone) or since else ()
    key = _digest((n.local, n.initiator, n.depth, conclusion.outcome, n.signature, offers, stood, *after))
    if conclusion.outcome in FAILED:
        key = _run(tunnel, n, key)
    for span in tunnel.spans:
        if span.key == key:
            if conclusion.outcome in FAILED:  # of others nobody asks how many
                span.attempts = gather((span.attempts, timeline.attempts[n]))
            if (conclusion.at, n.session) < (span.first_at, span.first.session):
                span.first, span.first_at = n, conclusion.at
            if (conclusion.at, n.session) > (span.last_at, span.last.session):
                span.last, span.last_at = n, conclusion.at
            return
    tunnel.spans.append(
        Span(key, conclusion.outcome, n, n, conclusion.at, conclusion.at, timeline.attempts[n], any(offers))
    )
    if len(tunnel.spans) > MAX_SPANS:
        # What carries offers, or ended well, is what a later verdict will want.
        poor = [s for s in tunnel.spans if not s.offers and s.outcome != Outcome.SUCCEEDED]
        tunnel.thinned += 1
        tunnel.spans.remove(min(poor or tunnel.spans, key=lambda s: (s.last_at, s.last.session)))


def _run(tunnel: Tunnel, n: Negotiation, key: str) -> str:
    """Return the key of the span that an attempt belongs to: the same again after something else, or after a long while, is
    another run.

    When the first run ended would be lost with it ("the policy did not match until 10:30"), and what was tried just before
    something else. A side that goes on changing its mind has no such times worth keeping.
    """
    own = [
        s for s in tunnel.spans if s.outcome in FAILED and s.last.local == n.local and s.last.initiator is n.initiator
    ]
    if not own:
        return key
    newest = max(own, key=lambda s: (s.last_at, s.last.session))
    if newest.key.partition(".")[0] == key and n.start - newest.last_at <= LIVE.attempts_window:
        return newest.key
    same = [s.key for s in own if s.key.partition(".")[0] == key]
    if same and len(own) >= MAX_RUNS:
        tunnel.thinned += 1
    if not same or len(own) >= MAX_RUNS:
        return max(same, key=lambda k: int(k.partition(".")[2] or 0), default=key)
    return f"{key}.{len(same)}"


def _digest(key: tuple[object, ...]) -> str:
    # As text it can be kept in a store; the values are strings, numbers and tuples of them, whose `repr` is fixed.
    return hashlib.sha256(repr(key).encode()).hexdigest()[:24]
