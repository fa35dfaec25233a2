"""A story of the lab and what is configured in Azure -> what is told: for tests of everything that an inventory decides."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from ikestream.events import Proposal
from ikestream.incident import Row
from ikestream.inventory import Connection, Inventory, VpnGateway, renew
from ikestream.inventory.connections import Listing
from ikestream.lab import Lab, Story
from ikestream.lab.policy import default_policy, one_of_each
from ikestream.lab.site import Site
from ikestream.replay import Tally, replay
from tests.streams import last

STRONG = one_of_each(Proposal("AES256", "SHA256", "DHGroup14"), Proposal("GCMAES256", "GCMAES256", "PFS2048"))
OTHER = one_of_each(Proposal("AES256", "SHA384", "ECP384"), Proposal("GCMAES256", "GCMAES256", "PFS2048"))


def lab(seed: int = 1, *, tunnel_log: bool = True) -> Lab:
    return Lab(seed, tunnel_log=tunnel_log, virtual_wan=False)


def connection(bench: Lab, site: Site, **settings: Any) -> Connection:
    policy = site.azure.policy
    custom = policy != default_policy(bench.log.gateway_id)
    group = bench.log.gateway_id.rpartition("/PROVIDERS")[0]
    found = Connection(
        id=f"{group}/providers/Microsoft.Network/connections/cn-{site.peer.address}",
        name=f"cn-{site.peer.address}",
        resource_group="rg-connections",
        remote=site.peer.address,
        protocol="IKEv2",
        ike=policy.ike[0] if custom else None,
        ipsec=policy.esp_accepted[0] if custom else None,
        site=f"lng-{site.peer.address}",
        site_group="rg-sites",
    )
    return replace(found, **settings)


def inventory(bench: Lab, *readings: tuple[int, Iterable[Connection]], **settings: Any) -> Inventory:
    gateway = VpnGateway(bench.log.gateway_id, bench.log.gateway_id.rpartition("/")[2], "rg-lab", **settings)
    found = Inventory()
    for at, connections in readings:
        found = renew(found, [Listing(gateway, tuple(connections))], at)
    return found


def of_story(story: Story, *, custom: bool = False, **settings: Any) -> Inventory:
    """Everything there is to know of a story's gateway and its connections; in Virtual WAN each is a link."""
    wan = "/VPNGATEWAYS/" in story.gateway_id
    said = " ".join(r.message for r in story.records)
    addresses = tuple(sorted(set(re.findall(r"Local ([0-9.]+):", said))))
    gateway = VpnGateway(
        story.gateway_id,
        story.gateway_id.rpartition("/")[2],
        "RG-LAB",
        addresses,
        network="vnet-hub",
        network_group="rg",
    )
    connections = [
        Connection(
            id=f"/connections/cn-{n}",
            name=f"cn-{n}",
            resource_group="rg-connections",
            remote=truth.remote,
            link=f"lc-{n}" if wan else "",
            ike=STRONG.ike[0] if custom else None,
            ipsec=STRONG.esp_accepted[0] if custom else None,
            site=f"site-{n}",
            site_group="rg-sites",
            prefixes=(f"10.{100 + n}.0.0/16",),
        )
        for n, truth in enumerate(story.truths)
    ]
    return renew(Inventory(), [Listing(gateway, tuple(replace(c, **settings) for c in connections))], 0)


def rows(bench: Lab, known: Inventory = Inventory()) -> list[Row]:  # noqa: B008 - a value
    records = sorted(bench.log.records, key=lambda r: r.at or 0)
    return sorted(
        last(replay(records, Tally(), inventory=known)).values(), key=lambda row: (row["FirstSeen"], row["Kind"])
    )


def outage(found: list[Row]) -> Row:
    (row,) = [row for row in found if row["Kind"] == "Outage"]
    return row
