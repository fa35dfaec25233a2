"""The laws with an inventory that changes in the middle of each story: no order counts, nothing is told twice, and a
configuration that fits opens no outage of a tunnel that works."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any
from unittest.mock import patch

import pytest

from ikestream import fold
from ikestream.incident import Row
from ikestream.inventory import Connection, Inventory, Mode, VpnGateway, renew
from ikestream.inventory.connections import Listing
from ikestream.lab import ADVISED, FAULTS, HEALTHY, PROMPT, Feed, Lab, Scenario, Story, post
from tests.configured import OTHER, STRONG, of_story
from tests.streams import as_delivered, last, told

SCENARIOS = [pytest.param(s, id=s.__name__) for s in (*HEALTHY, *FAULTS, *ADVISED)]


def readings(story: Story, random: Random) -> Inventory:
    """An inventory of the story's connections, read at its start and twice later, each time changed by chance."""
    first, last_ = min(r.at or 0 for r in story.records), max(r.at or 0 for r in story.records)
    (base,) = of_story(story).gateways.values()
    assert base.gateway is not None
    gateway = replace(base.gateway, active_active=random.random() < 0.5, p2s=random.random() < 0.5)
    standing = [v.connection for v in base.current]
    quiet = replace(standing[0], id="/quiet", name="cn-quiet", remote="203.0.113.254", prefixes=("10.100.4.0/24",))
    if random.random() < 0.3:
        quiet = replace(quiet, remote="", fqdn="quiet.example.com")
    found = renew(Inventory(), [Listing(gateway, (*standing, quiet))], first)
    for at in sorted(random.randint(first, last_) for _ in range(2)):
        standing = [changed for c in standing if (changed := change(c, random)) is not None]
        found = renew(found, [Listing(gateway, (*standing, quiet))], at)
    return found


def change(c: Connection, random: Random) -> Connection | None:
    policy = random.choice((STRONG, OTHER))
    other: dict[str, Any] = random.choice(
        (
            {},
            {"dpd": 20},
            {"mode": random.choice(list(Mode))},
            {"protocol": random.choice(("IKEv1", "IKEv2"))},
            {"ike": policy.ike[0], "ipsec": policy.esp_accepted[0]},
            {"prefixes": ("10.100.0.0/16",)},
            {"on_demand": True},
            {"remote": "203.0.113.253"},
            {"also": ("203.0.113.252",)},
            {"remote": "", "fqdn": "branch.example.com"},
        )
    )
    return None if random.random() < 0.15 else replace(c, **other)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_no_order_changes_what_is_told_at_last(scenario: Scenario) -> None:
    for seed in range(4):
        random = Random(seed)
        story = scenario(Lab(seed))
        known = readings(story, random)
        records = sorted(story.records, key=lambda r: r.at or 0)
        expected = told(as_delivered(post(records, Random(0), PROMPT), Random(0), known))
        feed = Feed(partitions=random.choice((1, 4)), most_records=random.choice((1, 30)))
        assert told(as_delivered(post(records, random, feed), random, known)) == expected, seed
        with patch.object(fold, "MIN_FOLDED", 1):
            assert told(as_delivered(post(records, random, feed), random, known)) == expected, ("folded", seed)


def truthful(story: Story) -> Inventory:
    gateway = VpnGateway(story.gateway_id, story.gateway_id.rpartition("/")[2], "RG-LAB")
    connections = [Connection(f"/cn-{t.remote}", f"cn-{t.remote}", "rg", t.remote) for t in story.truths]
    return renew(Inventory(), [Listing(gateway, tuple(connections))], 0)


@pytest.mark.parametrize("scenario", [pytest.param(s, id=s.__name__) for s in HEALTHY])
def test_health_opens_no_outage(scenario: Scenario) -> None:
    for seed in range(4):
        story = scenario(Lab(seed))
        rows: list[Row] = as_delivered(post(story.records, Random(seed), PROMPT), Random(seed), truthful(story))
        assert [row["Cause"] for row in last(rows).values() if row["Kind"] == "Outage"] == [], seed
