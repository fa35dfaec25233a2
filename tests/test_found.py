"""What issue lists ask for by name, each found in a story in which it is the truth."""

from __future__ import annotations

import pytest

from ikestream.events import Proposal
from ikestream.incident import Row
from ikestream.lab import Lab
from ikestream.lab.ends import Azure, Peer
from ikestream.lab.faults import nat_traversal_blocked, policy_mended_then_wrong_key
from ikestream.lab.policy import default_policy, one_of_each
from ikestream.lab.rehearsals import one_leg_goes_down
from ikestream.times import HOUR, MINUTE, SECOND
from tests.streams import in_order, last

SEEDS = range(3)


def told(lab: Lab, kind: str = "Outage") -> list[Row]:
    return [row for row in last(in_order(lab.log.records)).values() if row["Kind"] == kind]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_policy_that_was_mended_and_then_a_wrong_key_is_one_incident_with_both_spans(seed: int) -> None:
    rows = in_order(policy_mended_then_wrong_key(Lab(seed)).records)
    (row,) = (r for r in last(rows).values() if r["Kind"] == "Outage")
    assert (row["OpenedAs"], row["Cause"]) == ("IkePolicyMismatch", "PreSharedKeyMismatch")
    before, since = row["Explanation"].split("Since 2026-", 1)
    assert "From 2026-" in before
    assert "the phase 1 (IKE) policies do not match." in before
    assert "authentication" in since


@pytest.mark.parametrize("seed", SEEDS)
def test_a_gateway_that_loses_its_tunnels_at_once_is_one_incident_to_which_theirs_point(seed: int) -> None:
    lab = Lab(seed, tunnel_log=True)
    sites = [lab.site(active_active=False) for _ in range(4)]
    for site in sites:
        site.run(HOUR)
        site.set(peer={"answers": False, "heard": False})
        site.now += lab.random.randint(0, 40) * SECOND
        site.drop(13886, reason="DPD timed out")
        site.run(10 * MINUTE)
    lab.log.records.sort(key=lambda r: r.at or 0)
    rows = told(lab)
    (whole,) = (row for row in rows if row["Scope"] == "Gateway")
    assert (whole["Impact"], whole["Severity"], len(whole["Legs"])) == ("Down", "Critical", 4)
    own = [row for row in rows if row["Scope"] == "Tunnel"]
    assert {row["RemoteIP"] for row in own} == {site.peer.address for site in sites}
    assert all(whole["IncidentId"] in row["RelatedIncidents"] for row in own)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_tunnel_that_is_connected_without_a_child_is_down(seed: int) -> None:
    lab = Lab(seed, tunnel_log=True, virtual_wan=False)
    ike = default_policy(lab.log.gateway_id).ike[0]
    peer = Peer(lab.address(), one_of_each(ike, Proposal("AES256", "SHA384", "None")), initiates=False)
    site = lab.site(azure=Azure(default_policy(lab.log.gateway_id)), peer=peer, active_active=False)
    lab.log.tunnel(site.now, site.legs[0].instance, peer.address, up=True)  # Azure calls it connected with the IKE SA
    site.run(10 * MINUTE)
    (row,) = told(lab)
    assert (row["Cause"], row["Severity"], row["FailedStep"]) == ("IpsecPolicyMismatch", "Critical", "ChildSa")
    assert "IKE is up, no IPsec SA" in row["Explanation"]


@pytest.mark.parametrize("seed", SEEDS)
def test_one_lost_leg_is_an_advisory_and_no_outage(seed: int) -> None:
    rows = list(last(in_order(one_leg_goes_down(Lab(seed)).records)).values())
    assert [row["Cause"] for row in rows if row["Kind"] == "Outage"] == []
    assert [row["Severity"] for row in rows if row["Cause"] == "RedundancyLost"] == ["Warning"]


@pytest.mark.parametrize("seed", range(200, 206))
def test_the_same_attempts_again_are_one_cause_from_the_first_on(seed: int) -> None:
    """One attempt that stops at UDP 4500 is less than several, and no other fault."""
    (row,) = (r for r in last(in_order(nat_traversal_blocked(Lab(seed)).records)).values() if r["Kind"] == "Outage")
    assert row["Cause"] == "NatTraversalBlocked"
    assert row["Explanation"].startswith("SA_INIT is answered")
