"""ConfigurationRisk: each thing that is at risk, what looks like it and is none, and how it ends."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from random import Random
from typing import Any
from unittest.mock import patch

import pytest

from ikestream import fold
from ikestream.batch import learn
from ikestream.estate import Estate
from ikestream.incident import Row
from ikestream.inventory import Connection, Inventory, Mode
from ikestream.inventory.connections import Pair, Same
from ikestream.lab import PROMPT, Lab, post
from ikestream.lab.ends import Azure, Peer, Side
from ikestream.lab.exchange import Exchange
from ikestream.lab.policy import Policy, default_policy, one_of_each
from ikestream.lab.site import Site
from ikestream.rules.configuration_risk import _neighbours
from ikestream.times import DAY, HOUR, MINUTE
from ikestream.timestamps import iso
from tests.configured import OTHER, STRONG, connection, inventory, lab, rows
from tests.streams import as_delivered, run_on, run_until, told


def risks(bench: Lab, known: Inventory) -> list[Row]:
    return [row for row in rows(bench, known) if row["Cause"] == "ConfigurationRisk"]


def working(bench: Lab, policy: Policy = STRONG, *, active_active: bool = False) -> Site:
    return bench.site(azure=Azure(policy), peer=Peer(bench.address(), policy), active_active=active_active)


def test_a_tunnel_that_is_configured_as_it_should_be_has_none() -> None:
    bench = lab()
    site = working(bench)
    site.run(10 * HOUR)
    assert risks(bench, inventory(bench, (0, [connection(bench, site)]))) == []


# --- IKEv1 --------------------------------------------------------------------------------------------------------


def test_ikev1_where_ikev2_would_do() -> None:
    bench = lab()
    site = working(bench)
    site.run(HOUR)
    known = inventory(bench, (0, [connection(bench, site, protocol="IKEv1")]))

    (row,) = risks(bench, known)
    assert (row["Kind"], row["State"], row["Severity"], row["Confidence"], row["Impact"]) == (
        "Advisory",
        "Open",
        "Informational",
        "High",
        "None",
    )
    assert (row["ConnectionName"], row["RemoteIP"]) == (f"cn-{site.peer.address}", site.peer.address)
    assert "IKEv1 on a gateway that has IKEv2" in row["Summary"]
    assert "deleted and created again with IKEv2" in row["Fix"]
    up = min(r.at or 0 for r in bench.log.records if "Final Negotiated" in r.message)
    assert row["FirstSeen"] == iso(up)


def test_a_policy_based_gateway_knows_nothing_else() -> None:
    bench = lab()
    site = working(bench)
    site.run(HOUR)
    known = inventory(bench, (0, [connection(bench, site, protocol="IKEv1")]), policy_based=True)
    assert risks(bench, known) == []


def test_a_tunnel_that_never_was_up_is_at_no_risk() -> None:
    bench = lab()
    site = bench.site(azure=Azure(STRONG), peer=Peer(bench.address(), OTHER), active_active=False)
    site.run(HOUR)
    assert risks(bench, inventory(bench, (0, [connection(bench, site, protocol="IKEv1")]))) == []


# --- the default policy -------------------------------------------------------------------------------------------


def without_ike_log(bench: Lab) -> None:
    bench.log.records[:] = [r for r in bench.log.records if r.category != "IKEDiagnosticLog"]


def test_the_default_policy_on_a_live_tunnel_whose_agreement_is_in_no_log() -> None:
    bench = lab()
    site = working(bench, default_policy(bench.log.gateway_id))
    site.run(HOUR)
    without_ike_log(bench)

    (row,) = risks(bench, inventory(bench, (0, [connection(bench, site)])))
    assert "the default policy, which agrees on nothing but DHGroup2" in row["Summary"]
    assert any("ipsec-policy add" in c["Command"] for c in row["FixCommands"])
    assert "DHGroup" in row["Fix"]
    assert (
        risks(bench, inventory(bench, (0, [connection(bench, site, ike=STRONG.ike[0], ipsec=STRONG.esp_accepted[0])])))
        == []
    )


def test_what_the_log_shows_to_be_weak_is_told_once() -> None:
    bench = lab()
    default = default_policy(bench.log.gateway_id)
    site = working(bench, one_of_each(default.ike[0], default.esp_accepted[0]))
    site.run(HOUR)
    known = inventory(bench, (0, [connection(bench, site, ike=None, ipsec=None)]))

    found = [row["Cause"] for row in rows(bench, known)]
    assert found.count("WeakCryptography") == 1
    assert "ConfigurationRisk" not in found


# --- overlapping prefixes -----------------------------------------------------------------------------------------


def neighbour(bench: Lab, site: Site, **settings: Any) -> Connection:
    other = replace(connection(bench, site), id="/other", name="cn-other", remote="198.51.100.250", site="lng-other")
    return replace(other, **settings)


@pytest.mark.parametrize(
    ("own", "other", "shared"),
    [
        ({"prefixes": ("10.9.0.0/16",)}, {"prefixes": ("10.9.8.0/24", "10.10.0.0/16")}, "10.9.8.0/24"),
        ({"prefixes": ("10.9.0.0/16",)}, {"prefixes": ("10.10.0.0/16",)}, ""),
        ({"prefixes": ("10.9.0.0/16",)}, {"prefixes": ("0.0.0.0/0",)}, ""),  # the way for everything else
        ({"prefixes": ("10.9.0.0/16",), "bgp": True}, {"prefixes": ("10.9.0.0/16",), "bgp": True}, ""),
        ({"prefixes": ("10.9.0.0/16",), "bgp": True}, {"prefixes": ("10.9.0.0/16",)}, "10.9.0.0/16"),
        (
            {"selectors": (Pair(("10.1.0.0/16",), ("10.9.0.0/24",)),)},
            {"prefixes": ("10.9.0.0/16",)},
            "10.9.0.0/24",
        ),
    ],
)
def test_overlapping_prefixes(own: dict[str, Any], other: dict[str, Any], shared: str) -> None:
    bench = lab()
    site = working(bench)
    site.run(HOUR)
    known = inventory(bench, (0, [connection(bench, site, **own), neighbour(bench, site, **other)]))

    found = risks(bench, known)
    assert len(found) == bool(shared)
    for row in found:
        assert f"{shared} is also behind connection cn-other" in row["Summary"]
        assert row["ActionOn"] == "Azure"
        shown = "\n".join(c["Command"] for c in row["FixCommands"])
        assert "-g rg-sites -n lng-other" in shown
        assert f"-g rg-sites -n lng-{site.peer.address}" in shown


@pytest.mark.parametrize("seed", range(20))
def test_whose_prefixes_overlap_is_found_in_one_pass_as_if_each_pair_were_compared(seed: int) -> None:
    random = Random(seed)
    bench = lab()
    site = working(bench)

    def prefix() -> str:
        length = random.choice((0, 8, 16, 20, 24, 32))
        if length == 32:
            return "10.2.255.255/32"  # the last of whatever holds it
        return str(ip_network(f"10.{random.randint(0, 3)}.{random.randint(0, 255)}.0/{length}", strict=False))

    connections = [
        neighbour(bench, site, id=f"/cn-{n}", prefixes=tuple(prefix() for _ in range(random.randint(0, 3))))
        for n in range(8)
    ]
    (known,) = inventory(bench, (0, connections)).gateways.values()

    pairs = {(key, v.connection.id) for key, found in _neighbours(Same(known)).items() for v in found}
    networks = {c.id: [n for n in map(ip_network, c.prefixes) if n.prefixlen] for c in connections}
    assert pairs == {
        (one, two)
        for one in networks
        for two in networks
        if one != two and any(a.overlaps(b) for a in networks[one] for b in networks[two])
    }


def test_a_hundred_that_share_a_prefix_are_each_told_and_name_a_few() -> None:
    bench = lab()
    site = working(bench)
    site.run(HOUR)
    others = [neighbour(bench, site, id=f"/cn-{n}", name=f"cn-{n}", prefixes=("10.9.0.0/16",)) for n in range(100)]
    known = inventory(bench, (0, [connection(bench, site, prefixes=("10.9.0.0/16",)), *others]))

    (row,) = risks(bench, known)
    assert row["Summary"].count("is also behind connection") == 4


def test_a_prefix_on_both_sides_of_one_connection() -> None:
    bench = lab()
    site = working(bench)
    site.run(HOUR)
    own = connection(bench, site, prefixes=("10.1.4.0/24",), selectors=(Pair(("10.1.0.0/16",), ("10.9.0.0/24",)),))

    (row,) = risks(bench, inventory(bench, (0, [own])))
    assert "10.1.4.0/24 is on both of its sides" in row["Summary"]


def test_links_of_one_connection_share_their_site() -> None:
    bench = lab()
    site = working(bench)
    site.run(HOUR)
    one = connection(bench, site, link="lc-one", prefixes=("10.9.0.0/16",))
    two = replace(one, link="lc-two", remote="198.51.100.250")
    assert risks(bench, inventory(bench, (0, [one, two]))) == []


# --- one of two addresses -----------------------------------------------------------------------------------------


def test_a_peer_that_uses_one_of_two_addresses() -> None:
    bench = lab()
    site = working(bench)
    site.run(20 * HOUR)
    (leg,) = site.legs
    known = inventory(bench, (0, [connection(bench, site)]), addresses=(leg.local, "192.0.2.250"), active_active=True)

    (row,) = risks(bench, known)
    assert f"the peer only uses Azure's {leg.local}" in row["Summary"]
    assert (row["ActionOn"], row["Confidence"]) == ("Peer", "Medium")
    assert [r["Cause"] for r in rows(bench, known)].count("RedundancyLost") == 0
    assert risks(bench, inventory(bench, (0, [connection(bench, site)]))) == []  # active-standby


def test_nine_hours_are_needed_to_say_so() -> None:
    bench = lab()
    site = working(bench)
    site.run(8 * HOUR)
    known = inventory(bench, (0, [connection(bench, site)]), active_active=True)
    assert risks(bench, known) == []
    # Days of silence after that are no sign that the peer has not got a second tunnel.
    found = as_delivered(post(bench.log.records, Random(0), PROMPT), Random(0), known)
    assert [r for r in found if r["Cause"] == "ConfigurationRisk"] == []


def test_and_it_is_not_said_before_all_is_read_up_to_then() -> None:
    bench = lab()
    site = working(bench)
    site.run(20 * HOUR)
    known = inventory(bench, (0, [connection(bench, site, protocol="IKEv1")]), active_active=True)
    store = Estate(inventory=known)
    learn(store, post(sorted(bench.log.records, key=lambda r: r.at or 0), Random(0), PROMPT))

    early = run_until(store, bench.start, bench.start + 2 * HOUR)
    assert {r["Cause"] for r in early} >= {"ConfigurationRisk"}
    assert not any("only uses" in r["Summary"] for r in early)
    (later,) = [
        r for r in run_until(store, bench.start + 2 * HOUR, bench.start + 10 * HOUR) if "only uses" in r["Summary"]
    ]
    assert iso(bench.start + 9 * HOUR) < later["TimeGenerated"] < iso(bench.start + 9 * HOUR + 2 * MINUTE)


def test_a_peer_that_uses_both_addresses_is_at_no_risk_whatever_renews_first() -> None:
    for seed in range(4):
        bench = lab(seed, tunnel_log=bool(seed % 2))
        site = working(bench, active_active=True)
        site.run(20 * HOUR)
        assert risks(bench, inventory(bench, (0, [connection(bench, site)]), active_active=True)) == []


def test_the_second_address_comes_into_use_and_the_risk_is_over() -> None:
    bench = lab()
    site = working(bench, active_active=True)
    second = site.lives[1]
    second.next_try = dict.fromkeys(Side, bench.start + 30 * HOUR)
    site.run(40 * HOUR)
    known = inventory(bench, (0, [connection(bench, site)]), active_active=True)

    (row,) = risks(bench, known)
    first = min(r.at or 0 for r in bench.log.records if f"Local {second.leg.local}" in r.message)
    assert (row["State"], row["Resolution"], row["ResolvedAt"]) == ("Resolved", "Recovered", iso(first))
    assert row["Summary"].startswith(
        f"Connection cn-{site.peer.address} to {site.peer.address} was configured with a risk"
    )


# --- a custom policy that the peer never offers -------------------------------------------------------------------


def peer_that_offers(bench: Lab, *offers: Policy) -> Site:
    """Azure begins and the peer takes its custom policy; the peer begins, too, with what it offers itself."""
    site = working(bench)
    site.set(peer={"initiates": False})
    site.run(30 * MINUTE)
    for policy in offers:
        page = site.page(site.lives[0], site.now)
        Exchange(site.azure, Peer(site.peer.address, policy), page).run(Side.PEER)
        site.run(HOUR)
    return site


def test_a_custom_policy_that_the_peer_has_never_offered() -> None:
    bench = lab()
    site = peer_that_offers(bench, OTHER, OTHER)

    (row,) = risks(bench, inventory(bench, (0, [connection(bench, site)])))
    assert "when the peer begins it does not offer the custom policy (AES256/SHA256/DHGroup14)" in row["Summary"]
    assert row["ActionOn"] == "Peer"
    assert any("DhGroup20" in e["Message"] for e in row["Evidence"])
    assert any(c["Tool"] == "FortiOS" and "set proposal aes256-sha256" in c["Command"] for c in row["FixCommands"])
    assert [r for r in rows(bench) if r["Kind"] == "Outage"] == []


def test_it_is_over_when_the_peer_offers_it() -> None:
    bench = lab()
    site = peer_that_offers(bench, OTHER, STRONG)

    (row,) = risks(bench, inventory(bench, (0, [connection(bench, site)])))
    assert (row["State"], row["Resolution"]) == ("Resolved", "Recovered")
    assert row["ResolvedAt"] > iso(bench.start + 80 * MINUTE)


def test_a_peer_that_once_offered_it_has_it() -> None:
    bench = lab()
    site = peer_that_offers(bench, STRONG, OTHER)
    assert risks(bench, inventory(bench, (0, [connection(bench, site)]))) == []


def test_a_peer_that_never_begins_shows_nothing() -> None:
    bench = lab()
    site = peer_that_offers(bench)
    assert risks(bench, inventory(bench, (0, [connection(bench, site)]))) == []


# --- one row, once per change -------------------------------------------------------------------------------------


def test_several_risks_are_one_row_and_each_change_is_told_once() -> None:
    bench = lab()
    site = working(bench)
    site.run(6 * HOUR)
    first, one, two = (bench.start + h * HOUR for h in (0, 2, 4))
    both = connection(bench, site, protocol="IKEv1", prefixes=("10.9.0.0/16",))
    other = neighbour(bench, site, prefixes=("10.9.8.0/24",))
    apart = replace(other, prefixes=("10.10.0.0/16",))
    readings = ((first, [both, other]), (one, [both, apart]), (two, [replace(both, protocol="IKEv2"), apart]))

    store, now, found = Estate(), first, list[Row]()
    learn(store, post(sorted(bench.log.records, key=lambda r: r.at or 0), Random(0), PROMPT))
    for read in range(3):
        at = readings[read][0]
        found += run_until(store, now, at)
        store.equip(inventory(bench, *readings[: read + 1]), at)
        now = at
    found = [r for r in found + run_on(store, two) if r["Cause"] == "ConfigurationRisk"]

    assert len({row["IncidentId"] for row in found}) == 1
    changes = [(r["State"], "IKEv1" in r["Summary"], "cn-other" in r["Summary"]) for r in found]
    assert list(dict.fromkeys(changes)) == [("Open", True, True), ("Open", True, False), ("Resolved", True, False)]
    assert (found[-1]["Resolution"], found[-1]["ResolvedAt"]) == ("Recovered", iso(two))
    told_at = next(r["TimeGenerated"] for r in found if "cn-other" not in r["Summary"])
    assert iso(one) <= told_at < iso(one + MINUTE)


def test_a_connection_that_is_gone_is_at_no_risk() -> None:
    bench = lab()
    site = working(bench)
    site.run(6 * HOUR)
    risky = connection(bench, site, protocol="IKEv1")
    known = inventory(bench, (bench.start, [risky]), (bench.start + 3 * HOUR, []))

    (row,) = risks(bench, known)
    assert (row["State"], row["Resolution"], row["ResolvedAt"]) == ("Resolved", "Removed", iso(bench.start + 3 * HOUR))


@pytest.mark.parametrize("seed", range(3))
def test_no_order_changes_what_is_told_at_last(seed: int) -> None:
    bench = lab(seed, tunnel_log=bool(seed % 2))
    site = peer_that_offers(bench, OTHER, OTHER, STRONG)
    site.run(20 * HOUR)
    own = connection(bench, site, protocol="IKEv1", mode=Mode.DEFAULT)
    known = inventory(
        bench, (bench.start, [own]), (bench.start + 15 * HOUR, [replace(own, dpd=20)]), active_active=True
    )
    records = sorted(bench.log.records, key=lambda r: r.at or 0)

    expected = told(as_delivered(post(records, Random(0), PROMPT), Random(0), known))
    assert {row["Cause"] for row in expected} >= {"ConfigurationRisk"}
    for shuffle in range(1, 4):
        random = Random(shuffle)
        assert told(as_delivered(post(records, random, PROMPT), random, known)) == expected
        with patch.object(fold, "MIN_FOLDED", 1):
            assert told(as_delivered(post(records, random, PROMPT), random, known)) == expected


def test_it_is_told_once_in_days() -> None:
    bench = lab()
    site = working(bench)
    site.run(3 * DAY)
    known = inventory(bench, (0, [connection(bench, site, protocol="IKEv1")]))
    found = as_delivered(post(bench.log.records, Random(0), PROMPT), Random(0), known)
    changes = [r for r in found if r["Cause"] == "ConfigurationRisk"]
    assert len({r["IncidentId"] for r in changes}) == 1
    assert len({repr((r["State"], r["Summary"], r["FixCommands"])) for r in changes}) == 1
