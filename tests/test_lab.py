"""The lab: deterministic, on documentation addresses only, true to the two ends it simulates."""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import ip_address, ip_network
from itertools import chain
from random import Random

import orjson
import pytest

from ikestream.envelope import BadEnvelope, decode
from ikestream.events import Category, Kind, Record
from ikestream.grammar import read
from ikestream.lab import ADVISED, BETWEEN_GATEWAYS, FAULTS, HEALTHY, PROMPT, REHEARSED, Feed, Lab, Scenario, post, wrap
from ikestream.lab.ends import Azure, Peer, Side
from ikestream.lab.exchange import Exchange, Result
from ikestream.lab.healthy import strangers_knock
from ikestream.lab.log import Page
from ikestream.lab.policy import choose, default_policy, matching_policy, miss
from ikestream.offers import Phase, compare
from ikestream.times import WORST_DELAY

ALL = [pytest.param(s, id=s.__name__) for s in chain(HEALTHY, FAULTS, ADVISED, REHEARSED, BETWEEN_GATEWAYS)]
DOCUMENTATION = [ip_network(n) for n in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")]
PRIVATE = [ip_network(n) for n in ("10.0.0.0/8",)]
ANYWHERE = {"0.0.0.0", "255.255.255.255"}  # noqa: S104 - the selector of everything
ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")


@pytest.mark.parametrize("scenario", ALL)
def test_a_seed_always_tells_the_same_story(scenario: Scenario) -> None:
    assert scenario(Lab(3)) == scenario(Lab(3))
    assert scenario(Lab(3)).records != scenario(Lab(4)).records


@pytest.mark.parametrize("scenario", ALL)
def test_every_address_is_reserved_for_documentation(scenario: Scenario) -> None:
    for seed in range(3):
        story = scenario(Lab(seed))
        text = " ".join(f"{r.message} {r.remote_ip}" for r in story.records)
        for found in set(ADDRESS.findall(text)) - ANYWHERE:
            assert any(ip_address(found) in network for network in DOCUMENTATION + PRIVATE), found


@pytest.mark.parametrize("scenario", ALL)
def test_the_grammar_reads_every_line(scenario: Scenario) -> None:
    for seed in range(3):
        unread = [r.message for r in scenario(Lab(seed)).records if read(r).kind is Kind.UNREAD]
        assert unread == []


@pytest.mark.parametrize("scenario", ALL)
def test_every_scenario_tells_its_story_in_words(scenario: Scenario) -> None:
    assert scenario.__doc__
    assert scenario.__doc__[0].isupper()
    assert scenario(Lab(0)).name == scenario.__name__
    assert scenario(Lab(0)).truths


def test_the_tunnel_log_can_be_off() -> None:
    for scenario in (*HEALTHY, *FAULTS):
        assert not [r for r in scenario(Lab(1, tunnel_log=False)).records if r.category is Category.TUNNEL]
        assert [
            r for r in scenario(Lab(1, tunnel_log=True)).records if r.operation == "TunnelConnected"
        ] or scenario in FAULTS


def test_wording_differs_between_gateways() -> None:
    lines = {
        re.sub(r"0x[0-9A-F]+|\{.*?\}|\d+\.\d+\.\d+\.\d+:\d+", "", r.message)
        for seed in range(8)
        for r in strangers_knock(Lab(seed)).records
    }
    assert any("tunnelId" in line and "closed" in line for line in lines)
    assert any("tunnel Id" in line and "closed" in line for line in lines)


# --- the exchange follows from the two ends -------------------------------------------------------------------------


def _exchange(side: Side, azure: dict[str, object] | None = None, **peer: object) -> tuple[Result, list[Kind]]:
    lab = Lab(9, virtual_wan=False)
    own = Azure(default_policy(lab.log.gateway_id), **(azure or {}))  # type: ignore[arg-type]
    other = Peer("203.0.113.1", matching_policy(lab.random, own.policy))
    other = replace(other, **peer)  # type: ignore[arg-type]
    page = Page(lab.log, 0, "GatewayTenantWorker_IN_0", other.address, "192.0.2.4", session=lab.log.session())
    result = Exchange(own, other, page).run(side)
    return result, [read(r).kind for r in lab.log.records]


@pytest.mark.parametrize("side", list(Side))
def test_matching_ends_agree(side: Side) -> None:
    result, kinds = _exchange(side)
    assert result is Result.ESTABLISHED
    assert kinds[-1] is Kind.TS_FINAL
    assert {Kind.AUTH_SENT, Kind.AUTH_RECEIVED} <= set(kinds)


@pytest.mark.parametrize(("side", "says"), [(Side.AZURE, Kind.NOTIFY_RECEIVED), (Side.PEER, Kind.NOTIFY_SENT)])
def test_the_responder_notices_a_wrong_key_first(side: Side, says: Kind) -> None:
    result, kinds = _exchange(side, key="two")
    assert result is Result.KEY
    assert says in kinds
    assert kinds[-1] is Kind.CLOSED


def test_azures_offers_stand_only_in_sessions_azure_began() -> None:
    _, azure = _exchange(Side.AZURE, key="two")
    _, peer = _exchange(Side.PEER, key="two")
    assert Kind.IKE_SENT in azure
    assert Kind.IKE_SENT not in peer


def test_pfs_counts_at_rekey_only() -> None:
    lab = Lab(2, virtual_wan=False)
    own = default_policy(lab.log.gateway_id)
    esp = (replace(matching_policy(lab.random, own).esp_offered[0], group="ECP384"),)
    assert choose(own.esp_offered, esp, with_group=False) is not None
    assert choose(own.esp_offered, esp, with_group=True) is None


def test_udp_4500_blocked_stops_after_sa_init() -> None:
    assert _exchange(Side.AZURE, nat=True, passes_4500=False)[0] is Result.LOST_4500
    result, kinds = _exchange(Side.PEER, nat=True, passes_4500=False)
    assert result is Result.LOST_4500
    assert Kind.AUTH_RECEIVED not in kinds


@pytest.mark.parametrize("phase", list(Phase))
def test_the_injected_difference_is_the_nearest_one(phase: Phase) -> None:
    # The product's own comparison must come to the same result; it was written from the facts, not from the lab.
    for seed in range(60):
        lab = Lab(seed)
        policy = lab.policy(custom=phase is Phase.IKE and seed % 2 == 0)
        accepted = policy.ike if phase is Phase.IKE else policy.esp_accepted
        offers, difference = miss(Random(seed), accepted, phase)
        if difference.parameter in ("IpsecEncryption", "IpsecIntegrity"):  # then PFS is not compared: no line prints it
            accepted = tuple(replace(p, group="") for p in accepted)
            offers = tuple(replace(p, group="") for p in offers)
        found = compare(accepted, offers, phase)
        assert not found.common
        (mismatch,) = found.mismatch
        assert mismatch.parameter == difference.parameter
        assert [v.casefold() for v in mismatch.azure] == [v.casefold() for v in difference.azure]
        assert [v.casefold() for v in mismatch.peer] == [v.casefold() for v in difference.peer]


# --- delivery -------------------------------------------------------------------------------------------------------


def test_a_body_is_what_azure_monitor_writes() -> None:
    records = strangers_knock(Lab(1, tunnel_log=True)).records
    body = orjson.loads(wrap(records[:5]))
    first = body["records"][0]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z", first["time"])
    assert first["resourceId"] == first["resourceId"].upper()
    assert decode(wrap(records)).records == records


@pytest.mark.parametrize(
    "feed", [Feed(), Feed(partitions=1, most_records=40), PROMPT], ids=["worst", "large bodies", "prompt"]
)
def test_delivery_keeps_its_promises(feed: Feed) -> None:
    records = strangers_knock(Lab(2, tunnel_log=True)).records
    deliveries = post(records, Random(5), feed)
    got: list[Record] = []
    for delivery in deliveries:
        try:
            body = decode(delivery.body)
        except BadEnvelope:
            continue
        got += body.records
        assert all(0 <= delivery.enqueued - (r.at or 0) <= feed.worst_delay <= WORST_DELAY for r in body.records)
    assert set(got) == set(records)
    assert [d.enqueued for d in deliveries] == sorted(d.enqueued for d in deliveries)
    for partition in {d.partition for d in deliveries}:
        assert [d.sequence_number for d in deliveries if d.partition == partition] == list(
            range(sum(d.partition == partition for d in deliveries))
        )
    if feed.duplicates:
        assert len(got) > len(records)
