"""Outlook, Advice: what an advisory looks at, and what it says.

An advisory is a fact about a tunnel that works, or about a gateway, for somebody to read by day. It holds over an
interval, like an outage; when it begins and ends is read off the facts, never off when somebody looked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from ikestream.episode import Episode
from ikestream.events import Proposal
from ikestream.finding import Finding
from ikestream.history import History
from ikestream.inventory import Connections, Version
from ikestream.inventory.connections import NOTHING
from ikestream.negotiation import Negotiation
from ikestream.timeline import Timeline
from ikestream.times import Times
from ikestream.tunnel import Gateway, Spell, Tunnel

if TYPE_CHECKING:
    from ikestream.changes import Changed


class Impact(StrEnum):
    """What it costs while it lasts."""

    NONE = "None"
    DEGRADED = "Degraded"
    PART_OF_PREFIXES = "PartOfPrefixes"


@dataclass(frozen=True, slots=True)
class Outlook:
    """One known tunnel: its timeline, its outages, and what happened while it was up."""

    gateway: Gateway
    tunnel: Tunnel
    timeline: Timeline
    history: History
    episodes: tuple[Episode, ...]
    spells: tuple[Spell, ...]  # when its legs were up and down
    times: Times
    now: int  # up to which everything has been read (ms)
    connections: Connections = NOTHING  # what is configured on the gateway

    @property
    def configured(self) -> Version | None:
        """The connection as it is configured now, None if nobody knows."""
        found = self.connections.of(self.tunnel.remote, called=True)
        return found if found is not None and found.until is None else None


@dataclass(frozen=True, slots=True)
class Advice:
    """What an advisory says. It is told from `held` on, if it still holds then or held until then.

    Its end is told from `settled` on. `by_absence` says that it ends because something does not happen any more: that
    a saved log ends is no proof of it.
    """

    finding: Finding
    summary: str  # one sentence
    start: int
    held: int
    last: int
    impact: Impact
    past: str = ""  # the same once it is over, '' if it reads so already
    end: int | None = None
    settled: int = 0
    due: int | None = None  # when time alone changes what it says, before its end
    by_absence: bool = False
    resolution: str = "Recovered"
    attempts: int = 0
    negotiations: tuple[Negotiation, ...] = ()  # those it rests on
    legs: bool = False  # whether the state of each leg belongs to it
    changed: tuple[Changed, ...] = ()
    esp: Proposal | None = None  # what is agreed in phase 2, for a policy that is to be complete


Advise: TypeAlias = Callable[[Outlook], Iterable[Advice]]
AdviseGateway: TypeAlias = Callable[[Gateway], Iterable[Advice]]
