"""Tunnel -> its legs: what each is called, where it was last seen, and which lines of the Tunnel log speak of it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from ikestream.events import IkeEvent, Kind
from ikestream.negotiation import SAME_MOMENT, Negotiation
from ikestream.times import LIVE
from ikestream.tunnel import Tunnel


class Legs:
    """Names the legs: the local address, or, while a log without addresses is all there is, the instance."""

    def __init__(self, tunnel: Tunnel, negotiations: Sequence[Negotiation]) -> None:
        self._homes = {instance: local for instance, (_, local) in tunnel.homes.items()}
        last: dict[
            tuple[str, str], int
        ] = {}  # (local address, instance) -> its newest record: of hundreds there are few
        for n in negotiations:
            if last.get(n.place, -1) < n.end:
                last[n.place] = n.end
        self._locals = sorted({local for local, _ in last if local})
        self._seen: dict[str, list[tuple[int, str]]] = {local: [] for local in self._locals}
        if len(self._locals) > 1:
            for n in negotiations:  # in order
                if n.local and n.instance:
                    self._seen[n.local].append((n.start, n.instance))
        marks = [e for _, e in sorted(tunnel.marks.items())]
        self._merged = not self._locals and not _up_together(marks)
        self.marks: dict[str, list[IkeEvent]] = {}
        """What the Tunnel log says of each leg, in order."""
        for e in marks:
            leg = e.local or self.whose(e)
            self.marks.setdefault(leg or self.name("", e.instance), []).append(e)
            last[leg, e.instance] = max(last.get((leg, e.instance), -1), e.at or 0)
        self.instances: dict[str, tuple[int, str]] = {}
        names: set[str] = set()
        for (local, instance), at in last.items():
            leg = self.name(local, instance)
            names.add(leg)
            if instance:
                self.instances[leg] = max(self.instances.get(leg, (0, "")), (at, instance))
        self.names = sorted(names)

    def name(self, local: str, instance: str) -> str:
        """Return the leg's name: its local address where that is known or learned, else the instance, else ''."""
        if local:
            return local
        if instance in self._homes:
            return self._homes[instance]
        if len(self._locals) == 1:
            return self._locals[0]  # active-standby: both instances share the one address
        # Instances that were never up together share one leg: a takeover, not a second tunnel.
        return "" if self._merged else instance

    def whose(self, mark: IkeEvent) -> str:
        """Return the address of the leg that a line of the Tunnel log speaks of, which names only the instance; '' if none
        of several was there by then.

        After a takeover one instance holds the addresses of both (facts 3.2). Whose attempt follows that one went down,
        or came just before it was up, is the one; else the leg that was heard of last.
        """
        at, up = mark.at or 0, mark.kind is Kind.TUNNEL_UP
        found: list[tuple[int, int, str]] = []
        for leg, seen in self._seen.items():
            place = bisect_right(seen, (at + SAME_MOMENT, "~"))
            if not place or seen[place - 1][1] != mark.instance:
                continue
            near = [at - seen[place - 1][0]] if up else [start - at for start, _ in seen[place : place + 1]]
            found.append((min((d for d in near if d <= LIVE.grace), default=LIVE.grace + 1), -seen[place - 1][0], leg))
        return min(found)[2] if found else ""


def _up_together(marks: list[IkeEvent]) -> bool:
    up: set[str] = set()
    for mark in marks:
        if mark.kind is Kind.TUNNEL_UP:
            up.add(mark.instance)
            if len(up) > 1:
                return True
        else:
            up.discard(mark.instance)
    return False
