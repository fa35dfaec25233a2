"""name -> Scenario: what can be rehearsed, what is seen of it and when; and what cannot be, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from ikestream.events import Category, Record
from ikestream.finding import Advisory, Cause
from ikestream.lab import Lab, Scenario, Story, advisories, faults, rehearsals
from ikestream.verdict import DRILLS


class Back(StrEnum):
    """What the gateway writes when it is over."""

    TUNNEL = "TunnelConnected"
    BGP = "BgpConnectedEvent"
    NOTHING = ""  # it ends by itself, or stands for the record


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """One thing to rehearse. `after` is within how many seconds of sending the tick tells it, `old` how many seconds
    ago the log ends: some things are told only when hours have passed."""

    cause: Cause | Advisory
    story: Scenario
    after: int = 15
    back: Back = Back.TUNNEL
    old: int = 0

    @property
    def kind(self) -> str:
        """Column `Kind` of its rows."""
        return "Outage" if isinstance(self.cause, Cause) else "Advisory"

    @property
    def story_in_words(self) -> str:
        """What happens, in one line."""
        return " ".join((self.story.__doc__ or "").split())


def _all() -> Iterator[Rehearsal]:
    yield Rehearsal(Cause.PRE_SHARED_KEY_MISMATCH, faults.wrong_key_both_try)
    yield Rehearsal(Cause.CERTIFICATE_AUTHENTICATION_FAILED, rehearsals.certificate_missing)
    yield Rehearsal(Cause.IKE_POLICY_MISMATCH, faults.phase_one_both_try)
    yield Rehearsal(Cause.IPSEC_POLICY_MISMATCH, faults.phase_two)
    yield Rehearsal(Cause.PFS_MISMATCH, rehearsals.group_refused_at_renewal, after=75)
    yield Rehearsal(Cause.TRAFFIC_SELECTOR_MISMATCH, faults.selectors_apart)
    yield Rehearsal(Cause.PEER_NOT_RESPONDING, faults.peer_silent)
    yield Rehearsal(Cause.PEER_STOPPED_RESPONDING, faults.peer_vanishes)
    yield Rehearsal(Cause.NAT_TRAVERSAL_BLOCKED, faults.nat_traversal_blocked)
    yield Rehearsal(Cause.NEGOTIATION_STALLED, rehearsals.stops_after_auth)
    yield Rehearsal(Cause.IKE_VERSION_MISMATCH, rehearsals.version_refused)
    yield Rehearsal(Cause.CONNECTION_MODE_REFUSED, rehearsals.called_against_its_mode)
    yield Rehearsal(Cause.MALFORMED_IKE, rehearsals.unreadable_messages)
    yield Rehearsal(Cause.PEER_DISCONNECTED, faults.peer_deletes, after=75)
    yield Rehearsal(Cause.REKEY_FAILED, rehearsals.renewal_fails_and_it_ends, after=75)
    yield Rehearsal(Cause.GATEWAY_MAINTENANCE, rehearsals.maintenance_goes_on, after=195)
    yield Rehearsal(Cause.GATEWAY_FAILOVER, rehearsals.failover_goes_on, after=195)
    yield Rehearsal(Cause.CONFIGURATION_CHANGED, rehearsals.change_goes_on, after=195)
    yield Rehearsal(Cause.BGP_PEER_DOWN, faults.bgp_down, after=225, back=Back.BGP)
    yield Rehearsal(Cause.UNCLASSIFIED, rehearsals.ends_without_a_reason, after=75)
    yield Rehearsal(Advisory.REDUNDANCY_LOST, rehearsals.one_leg_goes_down, after=315)
    yield Rehearsal(Advisory.FLAPPING, advisories.flapping, after=135, back=Back.NOTHING)
    yield Rehearsal(Advisory.WEAK_CRYPTOGRAPHY, rehearsals.old_group_agreed, after=75, back=Back.NOTHING)
    yield Rehearsal(Advisory.CHILD_SA_FAILING, rehearsals.renewals_unanswered, after=195, back=Back.NOTHING)
    # A stranger is told of once what came late about it must have arrived.
    yield Rehearsal(Advisory.UNKNOWN_PEER, rehearsals.strangers_call, back=Back.NOTHING, old=15 * 60)
    yield Rehearsal(Advisory.REKEY_FAILED, advisories.renewal_unanswered, back=Back.NOTHING)
    yield Rehearsal(Advisory.PERIODIC_DROP, advisories.periodic_drop, back=Back.NOTHING)
    yield Rehearsal(Advisory.REKEY_COLLISION, advisories.renewals_collide, back=Back.NOTHING)
    yield Rehearsal(Advisory.SELECTORS_NARROWED, advisories.prefix_taken_out, back=Back.NOTHING)
    yield Rehearsal(Advisory.FEED_SILENT, rehearsals.nothing_more_is_heard, old=9 * 3600 + 60)


_CONFIGURATION = "only what is configured in Azure shows it, and a drill's gateway is not there"

NOT_REHEARSED: dict[Cause | Advisory, str] = {
    Cause.PEER_ADDRESS_MISMATCH: _CONFIGURATION,
    Advisory.CONNECTION_SILENT: _CONFIGURATION,
    Advisory.CONFIGURATION_RISK: _CONFIGURATION,
}
"""What cannot be rehearsed, and why."""


def _named() -> dict[str, Rehearsal]:
    found: dict[str, Rehearsal] = {}
    for rehearsal in _all():
        # One word is a cause and an advisory, too.
        taken = rehearsal.cause.value in found
        found[f"{rehearsal.cause.value}{'-advisory' if taken else ''}"] = rehearsal
    return found


REHEARSALS: dict[str, Rehearsal] = _named()
"""By the name that `--scenario` takes: the cause, or cause and `-advisory` where an outage has the same name."""


def script(name: str, number: int, *, now: int, back: int) -> tuple[list[Record], list[Record]]:
    """Return the log of what goes wrong, up to `now` (ms), and what the gateway writes `back` seconds later when it is over.

    `number` makes the drill's gateway and its story. Of the log's categories the tunnel log is on.
    """
    rehearsal = REHEARSALS[name]
    story = rehearsal.story(Lab(number % 1_000_000, tunnel_log=True))
    kind = "vpnGateways" if "/VPNGATEWAYS/" in story.gateway_id.upper() else "virtualNetworkGateways"
    gateway = f"{DRILLS}providers/microsoft.network/{kind}/{gateway_name(name, number)}".upper()
    shift = now - rehearsal.old * 1000 - max(r.at or 0 for r in story.records)
    log = [replace(r, gateway=gateway, at=(r.at or 0) + shift) for r in story.records]
    return log, list(_over(rehearsal, story, log, now + back * 1000))


def gateway_name(name: str, number: int) -> str:
    """Return column `GatewayName` of a drill's rows."""
    return f"DRILL-{name}-{number}".upper()


def _over(rehearsal: Rehearsal, story: Story, log: Sequence[Record], at: int) -> Iterator[Record]:
    gateway = log[0].gateway
    if rehearsal.back is Back.BGP:
        (down,) = [r for r in log if r.operation == "BgpDisconnectedEvent"]
        message = down.message.replace("disconnected", "connected")
        yield Record(at, gateway, down.category, rehearsal.back.value, down.instance, message, down.level)
    elif rehearsal.back is Back.TUNNEL:
        remote = story.truths[0].remote
        for instance in sorted({r.instance for r in log if remote in f"{r.message} {r.remote_ip}"}):
            yield Record(at, gateway, Category.TUNNEL, rehearsal.back.value, instance, "", "", remote, "Connected")
