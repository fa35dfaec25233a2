"""ConfigurationRisk: a tunnel works, and the way its connection is configured is a risk.

Five things that only the configuration shows, or that it makes certain. All of them are of a tunnel that has been up: one
that never was has a verdict, or is silent. One incident a connection; what is at risk is named, and each change is told
once. What the log itself shows is told elsewhere: a weak group that was seen to be agreed by `WeakCryptography`, a second
leg that was tried and failed by `RedundancyLost`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from ipaddress import ip_network

from ikestream.advice import Advice, Impact, Outlook
from ikestream.events import Kind, Proposal, Selector
from ikestream.finding import ActionOn, Advisory, Confidence, Finding, Risk, Severity
from ikestream.inventory import Connection, Version
from ikestream.inventory.connections import MOST_INDEXED, Same
from ikestream.negotiation import Initiator, Negotiation
from ikestream.offers import Phase, compare
from ikestream.rules.connection_silent import SILENT
from ikestream.rules.signature import prove
from ikestream.selectors import compare_selectors
from ikestream.timeline import State

MAX_NAMED = 4
"""Other connections, and prefixes of each, that are named."""
FOREVER = 1 << 62


@dataclass(frozen=True, slots=True)
class _Danger:
    """One risk and the time in which it was one. `other` is the connection that it is about beside this one."""

    risk: Risk
    told: str
    start: int
    end: int | None
    other: Connection | None = None
    proof: tuple[Negotiation, ...] = ()


def advise(outlook: Outlook) -> Iterator[Advice]:
    """Yield one advice for each time in which something was at risk; it names what is at `outlook.now`."""
    version = outlook.connections.of(outlook.tunnel.remote, called=True)
    up = next((c.at for c in outlook.timeline.changes if c.state is State.UP), None)
    if version is None or up is None:
        return
    own = [
        v
        for v in outlook.connections.same(version.connection)
        if v.connection.identity == version.connection.identity and v.connection.remote == version.connection.remote
    ]
    found: list[_Danger] = []
    for look in (_default_policy, _old_version, _overlaps, _one_address, _never_offered):
        found += look(outlook, own, up)
    for together in _joined(found):
        yield _advice(outlook, version, together)


def _default_policy(outlook: Outlook, own: list[Version], up: int) -> Iterator[_Danger]:
    """No custom policy: every offer of Azure's default, of either kind of gateway, is of group 2 (facts 01)."""
    for start, end, told in _times(own, up, lambda c: "" if c.custom else _DEFAULT):
        # Where the log shows what was agreed, that counts, and is told if it is weak.
        if not any(a.ike is not None and a.at < (end or FOREVER) for a in outlook.history.agreements):
            yield _Danger(Risk.DEFAULT_POLICY, told, start, end)


_DEFAULT = "it has the default policy, which agrees on nothing but DHGroup2 (1024 bit) in phase 1"
_IKEV1 = "it uses IKEv1 on a gateway that has IKEv2: Azure drops an IKEv1 tunnel for some seconds at every renewal of phase 1"


def _old_version(outlook: Outlook, own: list[Version], up: int) -> Iterator[_Danger]:
    gateway = outlook.connections.gateway
    if gateway is None or not gateway.policy_based:  # which knows no other
        for start, end, told in _times(own, up, lambda c: _IKEV1 if c.protocol == "IKEv1" else ""):
            yield _Danger(Risk.IKEV1, told, start, end)


def _overlaps(outlook: Outlook, own: list[Version], up: int) -> Iterator[_Danger]:
    """Two connections lead to the same prefixes: which of them carries the traffic is nobody's decision.

    With BGP on both it is that of the routes, and two connections to one site are how it is meant.
    """
    for other in _neighbours(Same(outlook.connections)).get(own[0].connection.id.lower(), ()):
        during = [v for v in (_clip(v, other) for v in own) if v is not None]
        for start, end, told in _times(during, up, partial(_shared, other.connection)):
            yield _Danger(Risk.OVERLAP, told, start, end, other.connection)
    for start, end, told in _times(own, up, _both_sides):
        yield _Danger(Risk.OVERLAP, told, start, end)


MOST_NEIGHBOURS = 16
"""Connections that are compared with one: where more have its prefixes, these say it."""


@lru_cache(MOST_INDEXED)
def _neighbours(same: Same) -> dict[str, tuple[Version, ...]]:
    """Return by resource id which versions of others have a prefix in common with it, at whatever time: one pass over all
    prefixes in order, because there may be thousands and each look at a tunnel asks."""
    ranges = [
        (n.version, int(n.network_address), int(n.broadcast_address), i)
        for i, v in enumerate(same.it.versions)
        for n in map(ip_network, _behind(v.connection))
        if n.prefixlen
    ]
    versions = same.it.versions
    ids = [v.connection.id.lower() for v in versions]
    found: dict[str, dict[int, None]] = {}
    open_: list[tuple[int, int, int]] = []  # (family, last address, whose) of the ranges that began and go on
    for family, first, last, i in sorted(ranges):
        open_ = [o for o in open_ if o[0] == family and o[1] >= first]
        for _, _, other in open_[:MOST_NEIGHBOURS]:
            if ids[other] != ids[i]:
                for one, two in ((i, other), (other, i)):
                    near = found.setdefault(ids[one], {})
                    if len(near) < MOST_NEIGHBOURS:
                        near[two] = None
        open_.append((family, last, i))
    return {key: tuple(versions[i] for i in sorted(near)) for key, near in found.items()}


def _clip(version: Version, other: Version) -> Version | None:
    start = max(version.since, other.since)
    end = min(version.until or FOREVER, other.until or FOREVER)
    return Version(version.connection, start, None if end == FOREVER else end) if start < end else None


def _shared(other: Connection, own: Connection) -> str:
    if own.bgp and other.bgp:
        return ""
    shared = _common(_behind(own), _behind(other))
    return f"{_list(shared)} is also behind connection {other.name}" if shared else ""


def _both_sides(c: Connection) -> str:
    shared = _common(_behind(c), tuple(dict.fromkeys(p for pair in c.selectors for p in pair.local)))
    return f"{_list(shared)} is on both of its sides" if shared else ""


def _behind(c: Connection) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*c.prefixes, *(p for pair in c.selectors for p in pair.remote))))


@lru_cache(4096)  # asked anew at every look, and the same few lists
def _common(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return compare_selectors(_ranges(one), _ranges(other)).common


def _ranges(prefixes: tuple[str, ...]) -> tuple[Selector, ...]:
    networks = [ip_network(prefix) for prefix in prefixes]
    # A route for everything gives way to every other: as much is meant by it.
    return tuple(Selector(str(n.network_address), str(n.broadcast_address)) for n in networks if n.prefixlen)


def _one_address(outlook: Outlook, own: list[Version], up: int) -> Iterator[_Danger]:
    """The gateway has two addresses, and in nine hours this peer was seen at one of them only.

    A leg that was tried is told as one that is down. Nine hours: a tunnel that is up has renewed every leg by then.
    """
    gateway = outlook.connections.gateway
    if gateway is None or not gateway.active_active or outlook.tunnel.last_seen < up + SILENT:
        return
    seen = [(n.start, n.local) for n in outlook.timeline.negotiations if n.local]
    # Without the IKE log the address does not show, and the instance has to stand in for it.
    seen = seen or [(e.at or 0, e.instance) for e in outlook.tunnel.marks.values()]
    if not seen:
        return
    first = min(seen)[1]
    second = min((at for at, leg in seen if leg != first), default=FOREVER)
    where = f"Azure's {first}" if first in outlook.gateway.locals else "one of Azure's addresses"
    told = f"the gateway is active-active and the peer only uses {where}, so that there is no second tunnel to fall back on"
    for start, end, _ in _times(own, up + SILENT, lambda _: told):
        if start < second:
            yield _Danger(
                Risk.ONE_ADDRESS, told, start, min(end or FOREVER, second) if end or second < FOREVER else None
            )


def _never_offered(outlook: Outlook, own: list[Version], up: int) -> Iterator[_Danger]:
    """The custom policy is agreed when Azure begins, and when the peer begins it offers everything but that."""
    calls = [
        n
        for n in outlook.timeline.negotiations
        if n.initiator is Initiator.PEER
        and n.peer_ike
        and any(not e.cut for e in n.events if e.kind is Kind.IKE_RECEIVED)
    ]
    if not calls:
        return
    for policy in dict.fromkeys(v.connection.ike for v in own if v.connection.ike is not None):
        for start, end, told in _times(own, 0, partial(_not_by, policy)):
            during = [n for n in calls if start <= n.start < (end or FOREVER)]
            good = min((n.start for n in during if _holds(n, policy)), default=FOREVER)
            bad = [n for n in during if n.start < good]
            began, over = max(up, bad[0].start) if bad else FOREVER, min(end or FOREVER, good)
            if began < over:
                proof = (bad[0], bad[-1])
                yield _Danger(Risk.NEVER_OFFERED, told, began, None if over == FOREVER else over, proof=proof)


def _not_by(policy: Proposal, c: Connection) -> str:
    shown = "/".join((policy.encryption, policy.integrity, policy.group))
    told = f"when the peer begins it does not offer the custom policy ({shown}), so the tunnel comes up only when Azure begins"
    return told if c.ike == policy else ""


def _holds(n: Negotiation, policy: Proposal) -> bool:
    compared = compare((policy,), n.peer_ike, Phase.IKE)
    return bool(compared.common) or compared.cut


def _times(
    own: Iterable[Version], up: int, at_risk: Callable[[Connection], str]
) -> Iterator[tuple[int, int | None, str]]:
    """Yield (from, until, what) for every time, after `up`, in which the settings say the same."""
    found: list[tuple[int, int | None, str]] = []
    for v in sorted(own, key=lambda v: v.since):
        what = at_risk(v.connection)
        if what and found and found[-1][1:] == (v.since, what):
            found[-1] = (found[-1][0], v.until, what)
        elif what:
            found.append((v.since, v.until, what))
    for start, end, told in ((max(start, up), end, told) for start, end, told in found):
        if end is None or start < end:
            yield start, end, told


def _joined(found: list[_Danger]) -> Iterator[list[_Danger]]:
    """Group what overlaps: it is one incident for as long as anything is at risk."""
    group: list[_Danger] = []
    until = -1
    for danger in sorted(found, key=lambda d: (d.start, d.risk, d.told)):
        if group and danger.start > until:
            yield group
            group, until = [], -1
        group.append(danger)
        until = max(until, danger.end or FOREVER)
    if group:
        yield group


def _advice(outlook: Outlook, version: Version, dangers: list[_Danger]) -> Advice:
    end = max(d.end or FOREVER for d in dangers)
    over = None if end == FOREVER else end
    start = min(d.start for d in dangers)
    # What stands at the moment, or did at the last.
    until = max(start, min(outlook.now, end - 1))
    standing = [d for d in dangers if d.start <= until < (d.end or FOREVER)]
    kinds = tuple(risk for risk in Risk if any(d.risk is risk for d in standing))
    told = [d.told for risk in kinds for d in [d for d in standing if d.risk is risk][:MAX_NAMED]]
    whose = {_TURN[risk] for risk in kinds}
    listed = "; ".join(told)
    called = f"Connection {version.connection.name} to {outlook.tunnel.remote}"
    finding = Finding(
        cause=Advisory.CONFIGURATION_RISK,
        confidence=Confidence.MEDIUM if kinds == (Risk.ONE_ADDRESS,) else Confidence.HIGH,
        explanation=f"The tunnel works. What is at risk by its configuration: {listed}.",
        action_on=whose.pop() if len(whose) == 1 else ActionOn.BOTH,
        severity=Severity.INFORMATIONAL,
        evidence=prove([n for d in standing for n in d.proof], (Kind.IKE_RECEIVED, Kind.SA_INIT_RECEIVED), limit=4),
        risks=kinds,
        beside=tuple(dict.fromkeys(d.other for d in standing if d.other is not None))[:MAX_NAMED],
    )
    return Advice(
        finding=finding,
        summary=f"{called} works, and its configuration is a risk: {listed}.",
        past=f"{called} was configured with a risk: {listed}.",
        start=start,
        held=start,
        last=start,
        impact=Impact.NONE,
        end=over,
        settled=over or 0,
        due=min((d.start for d in dangers if d.start > outlook.now), default=None),
        resolution="Removed" if over is not None and version.until == over else "Recovered",
    )


_TURN = {
    Risk.DEFAULT_POLICY: ActionOn.BOTH,
    Risk.IKEV1: ActionOn.BOTH,
    Risk.OVERLAP: ActionOn.AZURE,
    Risk.ONE_ADDRESS: ActionOn.PEER,
    Risk.NEVER_OFFERED: ActionOn.PEER,
}


def _list(texts: tuple[str, ...]) -> str:
    more = f" and {len(texts) - MAX_NAMED} more" if len(texts) > MAX_NAMED else ""
    return ", ".join(texts[:MAX_NAMED]) + more
