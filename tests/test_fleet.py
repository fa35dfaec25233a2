"""Law 5 over a fleet: what healthy tunnels do in days, all at once, opens no outage and no advisory of drops or renewals,
whether their configuration is known or not. The whole run: `python -m tests.fleet`."""

from __future__ import annotations

import pytest

from ikestream.finding import Risk
from tests.fleet import DEEDS, run

TUNNELS, DAYS = 26, 3
"""As many as run in ten seconds; each kind twice. `python -m tests.fleet --tunnels 200 --days 7` runs the whole."""


@pytest.mark.parametrize("inventory", [False, True], ids=["logs alone", "with an inventory"])
def test_a_healthy_fleet_opens_no_outage_and_no_false_advisory(inventory: bool) -> None:
    result = run(TUNNELS, DAYS, inventory=inventory)

    assert set(result.kinds) == {kind for kind, _ in DEEDS}
    assert result.records > 1_500
    told = [(r["GatewayName"], r["RemoteIP"], r["Cause"], r["FirstSeen"], r["DurationSeconds"]) for r in result.outages]
    assert told == []
    told = [(r["GatewayName"], r["RemoteIP"], r["Cause"], r["FirstSeen"], r["Resolution"]) for r in result.advisories]
    assert told == []
    if inventory:  # every one that is true of its kind is told, once
        assert result.risks[Risk.IKEV1] == result.kinds["IKEv1"]
        assert result.risks[Risk.ONE_ADDRESS] > 1
    else:
        assert not result.risks
