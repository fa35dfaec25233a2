"""seed -> a healthy fleet: gateways with many tunnels over many days, and what is told about them: no outage, and no advisory of
a drop or a renewal but what its kind of tunnel deserves. With an inventory, read anew an hour after each change, the same,
and what is said of the configuration is true.

    python -m tests.fleet --tunnels 200 --days 7 [--inventory]

Everything that healthy tunnels and their neighbours do, again and again and all at once: rekeys, collisions, standby
refusals, corrected groups, cookies, takeovers of whole instances, NAT, on-demand and ResponderOnly peers, clients that
fail, IKEv1 gaps, removed and moved peers, peers with one leg of two, lost close lines, scanners.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from ikestream.events import Record
from ikestream.finding import Risk
from ikestream.incident import Row
from ikestream.inventory import Connection, Inventory, Mode, VpnGateway, renew
from ikestream.inventory.connections import Listing
from ikestream.lab import Lab
from ikestream.lab.ends import Azure, Peer, Side
from ikestream.lab.exchange import Exchange
from ikestream.lab.policy import default_policy, matching_policy
from ikestream.lab.site import Site
from ikestream.lab.strangers import connect_client, scan
from ikestream.replay import NO_INVENTORY, Tally, replay
from ikestream.times import DAY, HOUR, MINUTE, SECOND

PER_GATEWAY = 10
Deed = Callable[[Lab, Site], None]


def _hours(lab: Lab, least: int, most: int) -> int:
    """Return some hours and minutes: what happens on the hour only would look like a timer."""
    return lab.random.randint(least * 60, most * 60) * MINUTE


def plain(lab: Lab, site: Site) -> None:
    site.run(_hours(lab, 2, 9))


def collide(lab: Lab, site: Site) -> None:
    life = site.lives[0]
    if life.up:
        Exchange(site.azure, site.peer, site.page(life, site.now)).rekey(Side.AZURE)
        page = site.page(life, site.now + lab.random.randint(0, 40))
        page.write(lab.log.wording.closed(page.tunnel, lab.random.choice((13821, 13807, 13808))), after=0)
    site.run(_hours(lab, 1, 6))


def standby(lab: Lab, site: Site) -> None:
    for _ in range(lab.random.randint(1, 5)):
        other = site.lives[0].leg.instance[:-1] + ("1" if site.lives[0].leg.instance.endswith("0") else "0")
        page = site.page(site.lives[0], site.now, instance=other)
        page.write(lab.log.wording.init_received(lab.log.spi()), after=0)
        page.write(lab.log.wording.closed(page.tunnel, 4320))
        site.run(lab.random.randint(1, 10) * MINUTE)
    site.run(_hours(lab, 1, 6))


def gap(lab: Lab, site: Site) -> None:
    """IKEv1: the tunnel is gone for some seconds at each main mode rekey."""
    site.drop(13885)
    for life in site.lives:
        life.next_try = dict.fromkeys(Side, site.now + lab.random.randint(1, 5) * SECOND)
    site.run(_hours(lab, 3, 8))


def dial(lab: Lab, site: Site) -> None:
    """On demand: the peer ends the tunnel when idle and dials again."""
    site.run(lab.random.randint(20, 60) * MINUTE)
    site.drop(13885, reason="RemotelyTriggered")
    for life in site.lives:
        life.next_try[Side.PEER] = site.now + lab.random.randint(10, 90) * MINUTE
    site.run(2 * HOUR)


def behind_nat(lab: Lab, site: Site) -> None:
    site.drop(13885)
    for life in site.lives:
        life.next_try = {Side.AZURE: site.now + 3 * SECOND, Side.PEER: site.now + lab.random.randint(8, 25) * SECOND}
    site.run(_hours(lab, 1, 6))


DEEDS: tuple[tuple[str, Deed], ...] = (
    ("plain", plain),
    ("collision", collide),
    ("standby", standby),
    ("IKEv1", gap),
    ("on demand", dial),
    ("NAT", behind_nat),
    ("group corrected", plain),
    ("cookie", plain),
    ("ResponderOnly", plain),
    ("short lifetimes", plain),
    ("one leg of two", plain),
    ("removed", plain),
    ("moved", plain),
)


DESERVED = {"IKEv1": {"PeriodicDrop"}, "collision": {"RekeyCollision"}}
"""Gaps of main mode may come at equal distances, and who collides several times a day is told so."""
ALWAYS = frozenset({"WeakCryptography", "UnknownPeer", "RedundancyLost", "SelectorsNarrowed"})
"""Advisories that are told of such a fleet without an inventory, too, and have tests of their own."""
THREE_MINUTES = 165
"""Seconds of a takeover: with the peer's next call, ten seconds later at most, it stays within what Azure takes for one."""
JUDGED = frozenset({"Flapping", "PeriodicDrop", "RekeyFailed", "RekeyCollision", "ChildSaFailing"})


def build(lab: Lab, kind: str) -> Site:
    azure = Azure(lab.policy())
    active_active = None
    if kind == "NAT":
        active_active = False
        peer = Peer(lab.address(), matching_policy(lab.random, azure.policy), nat=True, answers=False)
    else:
        peer = Peer(lab.address(), matching_policy(lab.random, azure.policy))
    if kind in ("on demand", "collision", "standby", "removed", "moved"):
        active_active = False
    site = lab.site(azure=azure, peer=peer, active_active=kind == "one leg of two" or active_active)
    if kind in ("on demand", "ResponderOnly", "group corrected"):
        site.set(azure={"initiates": False})
    if kind == "group corrected":
        group = site.azure.policy.ike[0].group
        site.set(peer={"guesses_group": "DhGroup5" if group != "DhGroup5" else "DHGroup14"})
    if kind == "cookie":
        site.set(peer={"wants_cookie": True, "initiates": False})
    if kind == "short lifetimes":
        site.set(azure={"lifetime": 7_200, "child_lifetime": 3_600})
    if kind == "one leg of two":
        site.lives[1].next_try = dict.fromkeys(Side, 1 << 60)
    return site


def remove(lab: Lab, site: Site) -> None:
    """The connection is deleted in Azure; nothing of it is heard again."""
    lab.log.operation(site.now - 2 * SECOND, "SetConnectionConfiguration")
    site.drop(13877, reason="TunnelRemoved")


@dataclass(slots=True)
class Configured:
    """What is configured on one gateway as time goes by, and what is a risk by it."""

    gateway: VpnGateway
    changes: list[tuple[int, str, Connection | None]] = field(default_factory=list)  # (ms, name, None: gone)
    risks: dict[str, set[Risk]] = field(default_factory=dict)  # by address

    def enter(self, lab: Lab, site: Site, kind: str, at: int, name: str = "") -> str:
        """Write a connection down as configured at `at`, under the name of one that it was before; return its name."""
        policy, address = site.azure.policy, site.peer.address
        custom = policy != default_policy(lab.log.gateway_id)
        name = name or f"cn-{address}"
        connection = Connection(
            id=f"/connections/{name}",
            name=name,
            resource_group="rg",
            remote=address,
            protocol="IKEv1" if kind == "IKEv1" else "IKEv2",
            mode=Mode.DEFAULT if site.azure.initiates else Mode.RESPONDER_ONLY,
            ike=policy.ike[0] if custom else None,
            ipsec=policy.esp_accepted[0] if custom else None,
            prefixes=(f"10.{len(self.risks)}.0.0/24",),
            on_demand=kind == "on demand",
        )
        self.changes.append((at, name, connection))
        self.risks[address] = {Risk.IKEV1} if kind == "IKEv1" else set()
        # A list of many offers does not show what was agreed; where the log does, that is told and not this.
        self.risks[address] |= set() if custom else {Risk.DEFAULT_POLICY}
        used = [life for life in site.lives if min(life.next_try.values()) < 1 << 60]
        self.risks[address] |= {Risk.ONE_ADDRESS} if len(used) == 1 and self.gateway.active_active else set()
        return name

    def read(self, start: int) -> Inventory:
        """Return what an app knows in the end that read it at `start`, and again within an hour of every change."""
        found, standing = Inventory(), dict[str, Connection]()
        for at, name, connection in sorted(self.changes, key=lambda c: c[:2]):
            if connection is None:
                del standing[name]
            else:
                standing[name] = connection
            seen = at if at == start else at + HOUR // 2
            found = renew(found, [Listing(self.gateway, tuple(standing.values()))], seen)
        return found


def gateway(number: int, kinds: list[str], days: int) -> tuple[list[Record], dict[str, str], Configured]:
    """Return the log of one gateway with a tunnel of each kind, over so many days, the kind of each address, and what is
    configured on it."""
    lab = Lab(1_000 + number, tunnel_log=number % 3 != 2)
    end = lab.start + days * DAY
    deeds = dict(DEEDS)
    takeovers = [lab.start + d * DAY + lab.random.randint(6, 20) * HOUR for d in range(days) if (d + number) % 3 == 1]
    for at in takeovers:
        event = lab.random.choice(("HostMaintenanceEvent", "GatewayTenantPrimaryChanged"))
        lab.log.operation(at - lab.random.randint(-30, 120) * SECOND, event, "", "HostMaintenance. State: Starting")
    kind_of: dict[str, str] = {}
    configured = Configured(
        VpnGateway(lab.log.gateway_id, "vng", "rg", addresses=(), active_active=number % 2 == 0, p2s=True)
    )
    for kind in kinds:
        site = build(lab, kind)
        kind_of[site.peer.address] = kind
        name = configured.enter(lab, site, kind, lab.start)
        # Without the Tunnel log a removed connection looks like one that was reset and does not come back.
        if kind in ("removed", "moved") and lab.tunnel_log:
            site.run(lab.random.randint(5, 18) * HOUR)
            remove(lab, site)
            if kind == "removed":
                configured.changes.append((site.now, name, None))
                continue
            moved = build(lab, "plain")
            moved.now = site.now
            configured.enter(lab, moved, "plain", site.now, name)
            for life in moved.lives:
                life.next_try = dict.fromkeys(Side, site.now + 40 * SECOND)
            site = moved
        site.run(HOUR)
        pending = [at for at in takeovers if at > site.now]
        while site.now < end:
            deeds[kind](lab, site)
            if kind not in ("on demand", "NAT") and pending and site.now >= pending[0] - 9 * HOUR:
                at = pending.pop(0)
                if at > site.now:
                    site.run(at - site.now)
                    site.take_over(
                        lab.random.randint(2, THREE_MINUTES) * SECOND, reason=lab.random.choice(("", "StandbyChanged"))
                    )
                    site.run(HOUR)
    leg = "192.0.2.250"
    for _ in range(days * 6):
        at = lab.random.randint(lab.start, end)
        scan(lab.log, at, "GatewayTenantWorker_IN_0", leg, lab.taken)
        outcomes = "".join(lab.random.choice("sspcgdm") for _ in range(3))
        connect_client(lab.log, at, "GatewayTenantWorker_IN_0", leg, lab.taken, outcomes=outcomes)
        lab.taken = {a for a in lab.taken if lab.random.random() < 0.9} if len(lab.taken) > 600 else lab.taken
    lost = (r for r in lab.log.records if "Tunnel closed" in r.message and lab.random.random() < 0.05)
    gone = {id(r) for r in lost}
    kept = sorted((r for r in lab.log.records if id(r) not in gone and (r.at or 0) < end), key=lambda r: r.at or 0)
    return kept, kind_of, configured


@dataclass(slots=True)
class Result:
    """What a run held and how long it took (s of CPU)."""

    tunnels: int = 0
    records: int = 0
    seconds: float = 0.0
    outages: list[Row] = field(default_factory=list)
    advisories: list[Row] = field(default_factory=list)  # those of `JUDGED` that nobody deserved, taken back ones too
    kinds: Counter[str] = field(default_factory=Counter)
    risks: Counter[str] = field(default_factory=Counter)  # told of the configuration


def run(tunnels: int, days: int, *, inventory: bool = False) -> Result:
    """Judge such a fleet and return every outage that stands."""
    result = Result()
    for number, kinds in enumerate(_gateways(tunnels)):
        records, kind_of, configured = gateway(number, kinds, days)
        known = configured.read(Lab(1_000 + number).start) if inventory else NO_INVENTORY
        began = time.process_time()
        rows = list(replay(records, Tally(), inventory=known))
        newest = {row["IncidentId"]: row for row in rows}
        result.seconds += time.process_time() - began
        result.tunnels += len(kinds)
        result.records += len(records)
        result.kinds.update(kinds)
        # What was ever open rang somebody's telephone, whatever became of it. That a peer dials on demand is known only once
        # it has done so twice, or by a tag.
        learnt = set[str]() if inventory else {address for address, kind in kind_of.items() if kind == "on demand"}
        opened = {r["IncidentId"] for r in rows if r["State"] == "Open" and r["RemoteIP"] not in learnt}
        standing = {i for i, r in newest.items() if r["Resolution"] not in ("Withdrawn", "Merged", "Removed", "Moved")}
        result.outages += [r for i, r in newest.items() if r["Kind"] == "Outage" and i in opened | standing]
        result.advisories += [
            row
            for row in newest.values()
            if row["Cause"] in JUDGED and row["Cause"] not in DESERVED.get(kind_of.get(row["RemoteIP"], ""), ())
            if row["Kind"] == "Advisory"
        ]
        if inventory:
            advised = [
                row for row in newest.values() if row["Kind"] == "Advisory" and row["Cause"] not in JUDGED | ALWAYS
            ]
            result.advisories += [row for row in advised if not _is_true(row, configured)]
            result.risks.update(risk for row in advised for risk in Risk if _SAID[risk] in row["Summary"])
    return result


_SAID = {
    Risk.OVERLAP: "is also behind",
    Risk.NEVER_OFFERED: "does not offer the custom policy",
    Risk.ONE_ADDRESS: "the peer only uses",
    Risk.IKEV1: "it uses IKEv1",
    Risk.DEFAULT_POLICY: "it has the default policy",
}


def _is_true(row: Row, configured: Configured) -> bool:
    told = {risk for risk in Risk if _SAID[risk] in row["Summary"]}
    return row["Cause"] == "ConfigurationRisk" and bool(told) and told <= configured.risks[row["RemoteIP"]]


def _gateways(tunnels: int) -> Iterator[list[str]]:
    names = [kind for kind, _ in DEEDS]
    for first in range(0, tunnels, PER_GATEWAY):
        yield [names[n % len(names)] for n in range(first, min(first + PER_GATEWAY, tunnels))]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fleet", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--tunnels", type=int, default=200)
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--inventory", action="store_true", help="judge with what is configured")
    options = parser.parse_args()
    result = run(options.tunnels, options.days, inventory=options.inventory)
    for row in (*result.outages, *result.advisories):
        what = (
            row["GatewayName"],
            row["RemoteIP"],
            row["Cause"],
            row["State"],
            row["FirstSeen"],
            row["DurationSeconds"],
        )
        sys.stdout.write(" ".join(map(str, what)) + "\n")
    sys.stdout.write(
        f"{result.tunnels} tunnels, {options.days} days, {result.records} records,"
        f" {len(result.outages)} outages, {len(result.advisories)} advisories that nobody deserved, {result.seconds:.1f} s of CPU to judge\n"
    )
    return int(bool(result.outages or result.advisories))


if __name__ == "__main__":
    sys.exit(main())
