"""Every time span the verdicts rest on, in milliseconds, with its reason. Nothing else in the core holds a number of seconds."""

from __future__ import annotations

from dataclasses import dataclass, replace

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


@dataclass(frozen=True, slots=True)
class Times:
    """The spans a judgement uses. A saved log without times is judged with `CLOCKLESS`, everything else with `LIVE`."""

    hold: int = 60 * SECOND
    """All legs down for this long is an outage: DPD blips and rekeys with a gap are shorter."""
    hold_near_gateway_event: int = 180 * SECOND
    """The same near maintenance, failover or a change: an unplanned takeover takes 1 to 3 minutes (Azure HA page)."""
    gateway_event_window: int = 10 * MINUTE
    """How near a gateway event must be to lengthen the hold."""
    at_once: int = 60 * SECOND
    """Dead peer detection that ends several legs within this time lengthens the hold, too; no longer than the hold itself."""
    confirm: int = 60 * SECOND
    """An agreed child counts as up when nothing closed it for this long."""
    grace: int = 60 * SECOND
    """A soft failure counts only if the leg does not succeed within this time, before or after."""
    stall: int = 60 * SECOND
    """A negotiation without a conclusion that says nothing more for this long has stalled (IKE gives up in about 30 s)."""
    silence: int = 5 * MINUTE
    """Calls that nobody answers count when nothing at all came from the peer for this long (facts 2.7)."""
    tunnel_log_lateness: int = 5 * MINUTE
    """How long an agreed child waits for its TunnelConnected where the gateway writes TunnelDiagnosticLog."""
    stability: int = 60 * SECOND
    """Up for this long is told as resolved."""
    stability_flapping: int = 15 * MINUTE
    """The same after three episodes in an hour."""
    sustained_failures: int = 120 * SECOND
    """Three failures over this long, no success: the leg that was believed up is not."""
    child_lifetime: int = 27_000 * SECOND
    """After this long the last child has ended: Azure's quick mode lifetime (POL); a peer's may be shorter."""
    attempts_window: int = 10 * MINUTE
    """How far back failed attempts are counted together; must stay below `FOLD_CONTEXT`."""
    offers_age: int = DAY
    """Offers older than this are not compared."""
    in_flux: int = 10 * SECOND
    """The newest lines of a gateway, this near each other: of the last attempt not every line may have come yet."""
    configuration_lead: int = 15 * MINUTE
    """A configuration event this long before a failure may have caused it; Azure may also write it minutes late."""


LIVE = Times()

# Lines without a time have no clock: no hold applies and one definite refusal is enough. Their places in the file
# stand in for times, so "near" must mean anywhere in it: an error anywhere after an agreed child undoes it.
CLOCKLESS = replace(
    LIVE,
    hold=0,
    hold_near_gateway_event=0,
    confirm=DAY,
    grace=DAY,
    stall=0,
    stability=0,
    stability_flapping=0,
    attempts_window=DAY,
    offers_age=1 << 50,
)

NEGOTIATION_GAP = 2 * MINUTE
"""Records of one session closer than this are one negotiation: whether a SESSION_ID lives on into rekey is not established."""

WORST_DELAY = 15 * MINUTE
"""From event to hub, Azure's documented figure."""

FOLD_HORIZON = WORST_DELAY + NEGOTIATION_GAP
"""A negotiation this far behind the watermark is complete; folding earlier makes the result depend on order."""

FOLD_CONTEXT = 15 * MINUTE
"""What lies this far before the fold is kept whole, so that looking back from just after it sees what it always saw."""

FUTURE_TOLERANCE = 5 * MINUTE
"""An event time later than its enqueued time by more counts as its enqueued time."""

FLOOR = DAY
"""Nothing is learned into an episode that ended this long ago."""

RESTATEMENT = 6 * HOUR
"""An open incident is told again this often, so that an alert rule with a two-day look-back never loses it."""

REVISION_SPACING = MINUTE
"""A change is told at most this often; opening and resolving are told at once."""

TICK = 15 * SECOND
"""How often the app tells."""

EXPECTED_LEG_AGE = 30 * DAY
"""A leg that was up within this time is expected to be up; a tunnel unheard of for this long is no longer observed."""

LEASE = 60 * SECOND
"""Whoever ticks holds it, prolongs it with every tick, and delivers only while `LEASE_LEFT` of it is left."""

LEASE_LEFT = 25 * SECOND
"""Longer than the longest request to a sink, so that what is sent under a lease has ended before the next holder sends."""

BUDGET = 45 * SECOND
"""A tick that has read for so long stops reading, and goes on with the next one."""

PARKED = HOUR
"""So long a gateway that cannot be committed is left alone before it is tried again."""

STANDBY = 10 * MINUTE
"""So long after newer rules last ticked, older ones keep still; then they were rolled back to, and take over."""
