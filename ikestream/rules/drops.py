"""Outlook -> drops: each time a leg that was up went down and came back. What `Flapping` and `PeriodicDrop` count.

Without TunnelDiagnosticLog a drop of less than a minute leaves no trace that a rekey would not: the old SA is closed and a
new one stands beside it. Then only longer ones count.
"""

from __future__ import annotations

from dataclasses import dataclass

from ikestream.advice import Outlook
from ikestream.events import IkeEvent
from ikestream.rules.on_demand import ended_on_demand
from ikestream.times import MINUTE
from ikestream.tunnel import Spell

FEWEST = 3
"""Nobody asks for fewer, and telling them from those on demand is dear."""
SETTLED = 2 * MINUTE
"""So long after the newest one it is known who brought the tunnel up, and so whether it is dialled on demand."""
AT_ONCE = MINUTE
"""Two legs of one tunnel that go down this close together are one drop."""
AGREES = 0.05
"""Times that differ by less are equal (facts 2.22)."""
LIFETIMES = (
    (28_800, "the IKE (phase 1) lifetime of Azure's gateways"),
    (27_000, "the IPsec (phase 2) lifetime of Azure's default policy"),
    (3_600, "an hour, a common phase 2 lifetime of devices"),
    (86_400, "a day: the phase 1 lifetime of many devices, and the reconnect that some access lines force"),
)
"""Seconds, and whose that usually is (facts 2.22)."""


@dataclass(frozen=True, slots=True)
class Drop:
    """One drop. `end` is when the last of its legs was back (ms)."""

    start: int
    end: int
    legs: frozenset[str]
    lines: tuple[IkeEvent, ...]  # what was written about it

    @property
    def seconds(self) -> int:
        """How long it lasted, whole seconds."""
        return (self.end - self.start) // 1000


def drops(outlook: Outlook) -> tuple[Drop, ...]:
    """Return the drops that are over, oldest first.

    A connection that was removed, or closed for want of traffic, has not dropped; one whose keys ran out has, however it is
    dialled again; and of two legs the one that is away for long is `RedundancyLost`'s: what counts here is that it comes
    back, again and again.
    """
    over = [spell for spell in outlook.spells if not spell.up and spell.end is not None]
    if len(over) < FEWEST:
        return ()
    idle = ended_on_demand(outlook.tunnel, outlook.timeline, outlook.times, outlook.configured)
    found: list[Drop] = []
    for spell in over:
        if spell.end is None or ((spell.leg, spell.start) in idle and not _is_renewed(outlook, spell)):
            continue
        if found and spell.start - found[-1].start <= AT_ONCE and spell.leg not in found[-1].legs:
            last = found[-1]
            found[-1] = Drop(last.start, max(last.end, spell.end), last.legs | {spell.leg}, (*last.lines, *spell.lines))
        else:
            found.append(Drop(spell.start, spell.end, frozenset({spell.leg}), spell.lines))
    return tuple(found)


def _is_renewed(outlook: Outlook, down: Spell) -> bool:
    """Whether a leg that looks as if it was idle had been up for a usual lifetime: its keys ran out."""
    ups = (s for s in outlook.spells if s.up and s.leg == down.leg and s.end == down.start)
    ages = [(down.start - s.start) / 1000 for s in ups]
    return any(abs(age - lifetime) <= AGREES * lifetime for age in ages for lifetime, _ in LIFETIMES)
