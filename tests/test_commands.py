"""With an inventory nothing is left to fill in but secrets and what nobody in Azure knows: every story of the lab, both kinds
of gateway."""

from __future__ import annotations

import pytest

from ikestream.incident import Row
from ikestream.lab import ADVISED, FAULTS, Lab, Scenario
from ikestream.remedy.names import PLACEHOLDER
from ikestream.replay import Tally, replay
from tests.configured import of_story
from tests.streams import last

KNOWN = {
    "<connection-name>",
    "<resource-group>",
    "<gateway-name>",
    "<gateway-resource-id>",
    "<link-connection-name>",
    "<local-network-gateway>",
    "<vpn-site>",
    "<virtual-network>",
    "<peer-public-ip>",
    "<azure-public-ip>",
    "<existing-prefixes>",
    "<site-prefix>",
}
"""What an inventory says. The rest are a secret, what only the owner of the device knows, and what both have to agree on."""


def told(scenario: Scenario, seed: int, *, virtual_wan: bool, inventory: bool = True) -> list[Row]:
    story = scenario(Lab(seed, virtual_wan=virtual_wan))
    records = sorted(story.records, key=lambda r: r.at or 0)
    known = of_story(story, custom=bool(seed % 2)) if inventory else None
    found = replay(records, Tally(), inventory=known) if known is not None else replay(records, Tally())
    return [row for row in last(found).values() if row["Scope"] == "Tunnel"]


def holes(row: Row) -> set[str]:
    return {hole for c in row["FixCommands"] for hole in PLACEHOLDER.findall(f"{c['Command']}\n{c['Undo']}")}


@pytest.mark.parametrize("virtual_wan", [False, True], ids=["VPN gateway", "Virtual WAN"])
@pytest.mark.parametrize("scenario", [pytest.param(s, id=s.__name__) for s in (*FAULTS, *ADVISED)])
def test_nothing_that_the_inventory_knows_is_left_to_fill_in(scenario: Scenario, virtual_wan: bool) -> None:
    for seed in range(2):
        found = told(scenario, seed, virtual_wan=virtual_wan)
        for row in found:
            assert not holes(row) & KNOWN, (seed, row["Cause"])
            assert (row["ConnectionName"], row["ResourceGroup"]) == ("cn-0", "rg-connections")
            assert "in the resource group of the gateway" not in repr(row["FixCommands"])
            azure = [c for c in row["FixCommands"] if c["Side"] == "Azure"]
            assert {c["Tool"] for c in azure} <= {"az", "PowerShell"}
            assert azure or row["Cause"] in ("Flapping", "RekeyCollision"), row["Cause"]


def test_without_one_there_is() -> None:
    left = {
        hole
        for scenario in FAULTS
        for row in told(scenario, 0, virtual_wan=False, inventory=False)
        for hole in holes(row)
    }
    assert left >= {"<connection-name>", "<local-network-gateway>", "<virtual-network>", "<site-prefix>"}
