"""Gateway -> Together: legs of one gateway that went down at once, which is one incident and not one for each tunnel.

Each tunnel's judgement leaves behind what its legs did (`Tunnel.spells`); the gateway's own judgement compares those,
so no tunnel ever looks at all others. Half of the legs that were up, at least three, within two minutes: facts 3.7.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from ikestream.episode import Episode
from ikestream.inventory import Version
from ikestream.rules.ending import How, read, written_about
from ikestream.rules.gateway import TOGETHER
from ikestream.rules.on_demand import is_on_demand
from ikestream.timeline import Change, State, Timeline
from ikestream.times import Times
from ikestream.tunnel import Gateway, Spell, Tunnel

LEAST = 3
"""Fewer legs than these are never a matter of the gateway (facts 3.7)."""
MAX_SPELLS = 64
"""Per tunnel, newest: more than two a hour for a day."""


@dataclass(frozen=True, slots=True)
class Together:
    """Legs that went down within two minutes. `end` is when fewer than half of them were still down, None until then."""

    fell: tuple[Spell, ...]
    start: int
    end: int | None
    stood: int  # legs that were up before, on `instance`
    instance: str  # the one instance that lost its legs, '' if it is the whole gateway
    down: frozenset[str]  # remote addresses that had no leg left
    whole: bool  # nothing of the gateway stayed up

    def holds(self, remote: str, start: int) -> bool:
        """Whether the outage of a tunnel that began at `start` is part of it."""
        return self.start <= start <= self.start + TOGETHER and remote in self.down


def spells(
    tunnel: Tunnel, timeline: Timeline, found: Iterable[Episode], times: Times, version: Version | None = None
) -> tuple[Spell, ...]:
    """Return when the tunnel's legs were up and down, oldest first, at most `MAX_SPELLS`.

    Down counts only after up; ended on demand or with its connection is nobody's fault. Up for a moment is not up.
    """
    harmless = {e.start for e in found if is_on_demand(tunnel, timeline, e, times, version)}
    all_spells: list[Spell] = []
    for leg in sorted({change.leg for change in timeline.changes}):
        own = [change for change in timeline.changes if change.leg == leg]
        kept: list[tuple[Change, int | None]] = []
        for change, following in zip(own, [*own[1:], None], strict=True):
            until = following.at if following is not None else None
            back = change.state is State.UP and len(kept) > 1 and kept[-1][0].state is State.DOWN
            if back and until is not None and until - change.at < times.stability:
                kept[-1] = (kept[-1][0], None)
            elif kept and kept[-1][0].state is change.state:
                kept[-1] = (kept[-1][0], until)
            else:
                kept.append((change, until))
        before = State.UNKNOWN
        for change, until in kept:
            if change.state is State.UP:
                all_spells.append(Spell(tunnel.remote, leg, _instance(change), up=True, start=change.at, end=until))
            elif before is State.UP and change.at not in harmless:
                lines = tuple(dict.fromkeys(written_about(tunnel, timeline.marks, change, times.grace)))
                if not any(read(e) is How.REMOVED for e in lines):
                    all_spells.append(
                        Spell(tunnel.remote, leg, _instance(change), up=False, start=change.at, end=until, lines=lines)
                    )
            before = change.state
    return tuple(sorted(all_spells, key=lambda s: (s.start, s.leg))[-MAX_SPELLS:])


def _instance(change: Change) -> str:
    if change.mark is not None and change.mark.instance:
        return change.mark.instance
    return change.negotiation.instance if change.negotiation is not None else ""


def together(gateway: Gateway, now: int, times: Times) -> tuple[tuple[Together, ...], frozenset[int]]:
    """Return what went down together and stayed down past the hold, oldest first; and when time may change that."""
    hold = times.hold_near_gateway_event
    everything = [s for t in gateway.tunnels.values() for s in t.spells]
    downs = [s for s in everything if not s.up and (s.end is None or s.end - s.start >= hold - TOGETHER)]
    downs.sort(key=lambda s: (s.start, s.remote, s.leg))
    if len(downs) < LEAST:
        return (), frozenset()
    deadlines: set[int] = set()
    starts = [s.start for s in downs]
    windows: list[tuple[int, list[Spell]]] = []
    for i, first in enumerate(downs):
        if i and starts[i - 1] == first.start:
            continue
        due = first.start + hold
        crowd = downs[i : bisect_right(starts, first.start + TOGETHER)]
        if len(crowd) < LEAST:
            continue
        deadlines.add(due)
        if now >= due:
            windows.append((first.start, [s for s in crowd if s.end is None or s.end >= due]))
    taken: set[Spell] = set()
    found: list[Together] = []
    for start, crowd in sorted(windows, key=lambda w: (-len(w[1]), w[0])):
        left = [s for s in crowd if s not in taken]
        up = {
            (s.remote, s.leg): s for s in everything if s.up and s.start < start and (s.end is None or s.end >= start)
        }
        for fell, stood, instance in _groups(left, up):
            taken.update(fell)
            found.append(_describe(fell, stood, instance, up, now, times, deadlines))
    return tuple(sorted(found, key=lambda t: (t.start, t.instance))), frozenset(d for d in deadlines if d > now)


Up = dict[tuple[str, str], Spell]


def _groups(fell: list[Spell], up: Up) -> list[tuple[list[Spell], int, str]]:
    where = {(s.remote, s.leg): s.instance for s in fell}
    legs = up.keys() | where.keys()
    home = {leg: where.get(leg) or (up[leg].instance if leg in up else "") for leg in legs}
    by_instance = sorted({instance for instance in home.values() if instance})
    hit = sorted({home[s.remote, s.leg] for s in fell})
    if _is_crowd(len(where), len(legs)):
        alone = len(hit) == 1 and len(by_instance) > 1
        return [(fell, sum(i == hit[0] for i in home.values()) if alone else len(legs), hit[0] if alone else "")]
    groups = []
    for instance in by_instance:
        own = [s for s in fell if home[s.remote, s.leg] == instance]
        stood = sum(i == instance for i in home.values())
        if _is_crowd(len({(s.remote, s.leg) for s in own}), stood):
            groups.append((own, stood, instance))
    return groups


def _is_crowd(fell: int, stood: int) -> bool:
    return fell >= LEAST and 2 * fell >= stood


def _describe(
    fell: list[Spell], stood: int, instance: str, up: Up, now: int, times: Times, deadlines: set[int]
) -> Together:
    start = min(s.start for s in fell)
    legs = {(s.remote, s.leg) for s in fell}
    still = {remote for remote, leg in up if (remote, leg) not in legs}
    deadlines.update(s.end + times.stability for s in fell if s.end is not None)
    ends = sorted(s.end for s in fell if s.end is not None and s.end + times.stability <= now)
    enough = len(fell) // 2  # this many are back, and one more: fewer than half are down
    return Together(
        fell=tuple(fell),
        start=start,
        end=ends[enough] if len(ends) > enough else None,
        stood=stood,
        instance=instance,
        down=frozenset(remote for remote, _ in legs if remote not in still),
        whole=not still,
    )
