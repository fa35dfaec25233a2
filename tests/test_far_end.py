"""VNet-to-VNet: the other end's own log completes the verdict, at once, in any order, and no device's commands are offered."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ikestream import batch
from ikestream.batch import Delivery
from ikestream.estate import Estate
from ikestream.events import Proposal, Record, Selector
from ikestream.incident import Row
from ikestream.lab import Lab, post, wrap
from ikestream.lab.ends import Azure
from ikestream.lab.log import Log
from ikestream.lab.policy import default_policy, one_of_each
from ikestream.lab.vnet_to_vnet import Pair, vnet_to_vnet_keys, vnet_to_vnet_policies
from ikestream.times import HOUR, MINUTE
from tests.streams import GATEWAY, PEERS, START, as_delivered, in_order, last, run_until, streams, told

FAR = GATEWAY.replace(GATEWAY.rpartition("/")[2], "VNG-FAR")
HERE, THERE = "192.0.2.4", PEERS[0]


def pair(seed: int, here: Azure | None = None, there: Azure | None = None) -> Pair:
    """Two gateways that never met before; the first calls, the second waits. Nothing but the IKE log."""
    lab = Lab(seed, tunnel_log=False, virtual_wan=False)
    lab.log.gateway_id = GATEWAY
    default = Azure(default_policy(GATEWAY))
    far = Log(FAR, lab.random, tunnel_log=False)
    return Pair(lab, here or default, replace(there or default, initiates=False), HERE, THERE, far, START)


def records(two: Pair) -> list[Record]:
    return sorted([*two.lab.log.records, *two.far.records], key=lambda r: r.at or 0)


def seen_from_here(two: Pair) -> tuple[Row, Row]:
    """The last row of the first gateway: without the other one's log, and with it."""
    alone, both = (
        [r for r in last(in_order(lines)).values() if r["Kind"] == "Outage" and r["RemoteIP"] == THERE]
        for lines in (two.lab.log.records, records(two))
    )
    return alone[-1], both[-1]


def test_phase_2_is_compared_with_what_the_other_gateway_logged() -> None:
    ike = default_policy(GATEWAY).ike[0]
    two = pair(1, there=Azure(one_of_each(ike, Proposal("GCMAES128", "GCMAES128", "None"))))
    two.call_back()
    two.run(5 * MINUTE)
    alone, both = seen_from_here(two)

    assert (alone["Cause"], alone["Confidence"], alone["Mismatch"]) == ("IpsecPolicyMismatch", "Medium", [])
    assert (both["Cause"], both["Confidence"], both["OffersSource"]) == ("IpsecPolicyMismatch", "High", "Logged")
    assert {m["Parameter"]: m["Peer"] for m in both["Mismatch"]} == {
        "IpsecEncryption": ["GCMAES128"],
        "IpsecIntegrity": ["GCMAES128"],
    }
    assert "known from its own log" in both["Explanation"]


def test_what_the_other_gateway_accepts_is_not_assumed_where_its_default_would_have_fitted() -> None:
    ike = default_policy(GATEWAY).ike[0]
    two = pair(2, there=Azure(one_of_each(ike, Proposal("GCMAES128", "GCMAES128", "None"))))
    two.run(5 * MINUTE)
    _, both = seen_from_here(two)

    assert (both["Cause"], both["Confidence"], both["Mismatch"]) == ("IpsecPolicyMismatch", "Medium", [])
    assert "documented default would have fitted" in both["Explanation"]
    assert "read it there" in both["MissingEvidence"]


def test_selectors_are_compared_with_what_the_other_gateway_proposes() -> None:
    ours, theirs, strange = (Selector(f"10.{n}.0.0", f"10.{n}.255.255") for n in (1, 2, 3))
    policy = default_policy(GATEWAY)
    two = pair(
        3,
        here=Azure(policy, selectors=(ours,), remote_selectors=(theirs,), narrow=True),
        there=Azure(policy, selectors=(strange,), remote_selectors=(ours,), narrow=True),
    )
    two.call_back()
    two.run(5 * MINUTE)
    alone, both = seen_from_here(two)

    assert (alone["Cause"], alone["Mismatch"]) == ("TrafficSelectorMismatch", [])
    assert both["Cause"] == "TrafficSelectorMismatch"
    assert both["Mismatch"] == [{"Parameter": "RemoteSelectors", "Azure": ["10.2.0.0/16"], "Peer": ["10.3.0.0/16"]}]


def test_the_other_ends_word_is_told_when_it_comes_and_not_hours_later() -> None:
    two = pair(4, there=Azure(default_policy(GATEWAY), key="two"))
    two.run(5 * MINUTE)
    store = Estate()
    # That it is the other end is known from the first; what it says of the refusal comes an hour late.
    first, rest = two.far.records[:1], two.far.records[1:]
    batch.learn(store, [Delivery("0", "0", 0, two.now, wrap([*two.lab.log.records, *first]))])
    before = last(run_until(store, 0, two.now + HOUR))
    batch.learn(store, [Delivery("0", "1", 1, two.now + HOUR, wrap(rest))])
    after = run_until(store, two.now + HOUR, two.now + HOUR + 2 * MINUTE)

    assert [r["Confidence"] for r in before.values() if r["Kind"] == "Outage"] == ["Medium"]
    assert [r["Confidence"] for r in after if r["Kind"] == "Outage"] == ["High"]


def test_what_the_other_gateway_offers_later_says_nothing_about_an_outage_that_is_over() -> None:
    default = default_policy(GATEWAY)
    two = pair(5, here=Azure(one_of_each(Proposal("AES256", "SHA256", "DHGroup14"), default.esp_offered[0])))
    two.run(5 * MINUTE)
    two.here = Azure(default)
    two.run(MINUTE)
    two.now += HOUR
    two.there = Azure(one_of_each(Proposal("AES256", "SHA256", "ECP384"), default.esp_offered[0]))
    two.call_back()
    _, row = seen_from_here(two)

    assert row["State"] == "Resolved"
    assert row["Mismatch"] == [{"Parameter": "DhGroup", "Azure": ["DHGroup14"], "Peer": ["DHGroup2"]}]


@pytest.mark.parametrize("story", [vnet_to_vnet_policies, vnet_to_vnet_keys])
def test_an_azure_gateway_gets_no_commands_of_a_device(story: object) -> None:
    for row in last(in_order(story(Lab(1)).records)).values():  # type: ignore[operator]
        if row["Kind"] == "Outage":
            assert {c["Tool"] for c in row["FixCommands"]} <= {"az", "PowerShell"}
            assert "VNG-1" in row["Explanation"]


def _other_end(record: Record) -> Record:
    """The same record as the other gateway might have written it."""
    swapped = record.message.replace(f"Remote {THERE}:500: Local {HERE}", f"Remote {HERE}:500: Local {THERE}")
    remote = HERE if record.remote_ip == THERE else record.remote_ip
    return replace(record, gateway=FAR, message=swapped, remote_ip=remote)


@settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(streams(25, locals_=(HERE,)), streams(25, locals_=(HERE,)), st.integers(0, 2**32))
def test_two_ends_end_the_same_however_they_are_delivered(here: list[Record], there: list[Record], seed: int) -> None:
    random = Random(seed)
    both = [*here, *map(_other_end, there)]

    assert told(as_delivered(post(both, random), random)) == told(in_order(both))
