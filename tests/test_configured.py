"""Stories of the lab told with an inventory: what the configuration makes certain, and what only it can know."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from ikestream import formats
from ikestream.batch import learn
from ikestream.estate import Estate
from ikestream.events import Proposal, Record, Selector
from ikestream.incident import Row
from ikestream.inventory import Connection, Inventory, Mode, VpnGateway, renew
from ikestream.inventory.connections import Listing, Pair
from ikestream.lab import PROMPT, Lab, post
from ikestream.lab.ends import Azure, Peer, Side
from ikestream.lab.exchange import Exchange
from ikestream.lab.policy import Policy, default_policy, one_of_each
from ikestream.lab.site import Site
from ikestream.lab.strangers import scan
from ikestream.replay import Tally, replay
from ikestream.times import DAY, HOUR, MINUTE, SECOND
from ikestream.timestamps import iso
from tests.configured import OTHER, STRONG, connection, inventory, lab, outage, rows
from tests.expectations import CASES
from tests.streams import as_delivered, last, run_on, run_until, told

# --- names and offers ---------------------------------------------------------------------------------------------


def peer_alone_begins(bench: Lab, policy: Policy) -> Site:
    site = bench.site(
        azure=Azure(policy, initiates=False), peer=Peer(bench.address(), OTHER, answers=False), active_active=False
    )
    # Azure once called it, so that a log alone knows the peer; its offers stand in no line.
    page = site.page(site.lives[0], site.now)
    page.write(bench.log.wording.init_sent(page.tunnel, bench.log.spi()), after=0)
    site.run(6 * MINUTE)
    return site


def test_a_custom_policy_that_was_never_offered_is_compared_as_configured() -> None:
    bench = lab()
    site = peer_alone_begins(bench, STRONG)

    guessed, known = outage(rows(bench)), outage(rows(bench, inventory(bench, (0, [connection(bench, site)]))))

    assert (guessed["OffersSource"], guessed["ConnectionName"], guessed["ResourceGroup"]) == (
        "AssumedDefault",
        None,
        None,
    )
    assert (known["Cause"], known["Confidence"], known["OffersSource"]) == ("IkePolicyMismatch", "High", "Configured")
    assert known["AzureOffers"] == [{"Encryption": "AES256", "Integrity": "SHA256", "Group": "DHGroup14"}]
    assert known["Mismatch"] == [
        {"Parameter": "IkeIntegrity", "Azure": ["SHA256"], "Peer": ["SHA384"]},
        {"Parameter": "DhGroup", "Azure": ["DHGroup14"], "Peer": ["ECP384"]},
    ]
    assert (known["ConnectionName"], known["ResourceGroup"]) == (f"cn-{site.peer.address}", "rg-connections")
    assert known["Summary"].startswith(f"Connection cn-{site.peer.address} to {site.peer.address} is down")


def test_the_command_is_complete_where_a_policy_exists() -> None:
    bench = lab()
    site = peer_alone_begins(bench, STRONG)

    row = outage(rows(bench, inventory(bench, (0, [connection(bench, site)]))))

    (replaces,) = [c for c in row["FixCommands"] if "-IpsecPolicies $p" in c["Command"]]
    assert "<" not in replaces["Command"] + replaces["Undo"]
    assert (
        "-DhGroup ECP384 -IpsecEncryption GCMAES256 -IpsecIntegrity GCMAES256 -PfsGroup PFS2048" in replaces["Command"]
    )
    assert "-DhGroup DHGroup14" in replaces["Undo"]


def test_that_a_connection_has_the_default_is_no_assumption_any_more() -> None:
    bench = lab()
    site = peer_alone_begins(bench, default_policy(bench.log.gateway_id))

    row = outage(rows(bench, inventory(bench, (0, [connection(bench, site)]))))

    assert (row["OffersSource"], row["Confidence"]) == ("Configured", "High")
    assert "assumed" not in row["Explanation"]


def test_what_to_check_at_the_peer_names_the_version_and_the_connection() -> None:
    bench = lab()
    site = bench.site(azure=Azure(STRONG), peer=Peer(bench.address(), OTHER, initiates=False), active_active=False)
    site.run(6 * MINUTE)
    known = inventory(bench, (0, [connection(bench, site, protocol="IKEv1")]))

    (check,) = [h["Check"] for h in outage(rows(bench, known))["Hypotheses"] if "no connection for this" in h["Cause"]]
    assert check.endswith(f"with IKEv1, as connection cn-{site.peer.address} in Azure has it.")


def test_what_azure_was_seen_to_offer_goes_before_what_is_configured() -> None:
    bench = lab()
    site = bench.site(azure=Azure(STRONG), peer=Peer(bench.address(), OTHER), active_active=False)
    site.run(6 * MINUTE)
    stale = connection(bench, site, ike=Proposal("AES128", "SHA1", "DHGroup2"))

    row = outage(rows(bench, inventory(bench, (0, [stale]))))

    assert row["OffersSource"] == "Logged"
    assert row["AzureOffers"] == [{"Encryption": "AES256", "Integrity": "SHA256", "Group": "DHGroup14"}]
    assert "What is configured was read as another policy" in row["Explanation"]
    right = outage(rows(bench, inventory(bench, (0, [connection(bench, site)]))))
    assert "What is configured was read" not in right["Explanation"]


def test_a_policy_that_only_the_log_shows_is_replaced_and_none_is_added_beside_it() -> None:
    bench = lab()
    weak = one_of_each(Proposal("AES256", "SHA256", "DHGroup2"), STRONG.esp_accepted[0])
    site = bench.site(azure=Azure(weak), peer=Peer(bench.address(), STRONG), active_active=False)
    site.run(6 * MINUTE)

    def changes(known: Inventory) -> list[str]:
        return [
            c["Command"]
            for c in outage(rows(bench, known))["FixCommands"]
            if "olic" in c["Command"] and "show" not in c["Command"]
        ]

    read = connection(bench, site)
    for known in (read, replace(read, ike=None, ipsec=None)):
        found = changes(inventory(bench, (0, [known])))
        assert len(found) == 1
        assert "-IpsecPolicies $p" in found[0]
    none = outage(rows(bench, inventory(bench, (0, [replace(read, ike=None, ipsec=None)]))))
    assert "What is configured was read as no policy of its own" in none["Explanation"]


def test_unless_the_connection_was_configured_anew_after_that() -> None:
    bench = lab()
    site = bench.site(azure=Azure(STRONG), peer=Peer(bench.address(), OTHER), active_active=False)
    site.run(6 * MINUTE)
    old, new = connection(bench, site), connection(bench, site, ike=Proposal("AES128", "SHA256", "ECP384"))
    at = site.now
    site.set(azure={"initiates": False})
    site.run(6 * MINUTE)

    row = outage(rows(bench, inventory(bench, (bench.start, [old]), (at, [new]))))

    assert row["OffersSource"] == "Configured"
    assert row["AzureOffers"] == [{"Encryption": "AES128", "Integrity": "SHA256", "Group": "ECP384"}]


def test_without_a_word_in_the_inventory_everything_is_as_before() -> None:
    bench = lab()
    peer_alone_begins(bench, STRONG)
    elsewhere = renew(Inventory(), [Listing(VpnGateway("/another", "another", "rg"), ())], 5)

    assert rows(bench, elsewhere) == rows(bench)


# --- causes that become certain -----------------------------------------------------------------------------------


def said(found: list[Row]) -> list[Row]:
    """What is more than for the record."""
    return [row for row in found if row["Severity"] != "Informational"]


def test_initiator_only_and_a_peer_that_nobody_answers() -> None:
    bench = lab()
    site = bench.site(active_active=False)
    site.set(azure={"initiates": False}, peer={"initiates": False})
    for _ in range(8):
        page = site.page(site.lives[0], site.now)
        page.write(bench.log.wording.init_received(bench.log.spi()), after=0)
        site.run(40 * SECOND)
    known = inventory(bench, (0, [connection(bench, site, mode=Mode.INITIATOR_ONLY)]))

    assert said(rows(bench)) == []  # to the log alone a stranger
    row = outage(rows(bench, known))
    assert (row["Cause"], row["Confidence"], row["ErrorCode"]) == ("ConnectionModeRefused", "High", None)
    assert any("connectionMode=Default" in c["Command"] for c in row["FixCommands"])
    assert rows(bench, inventory(bench, (0, [connection(bench, site)]))) == []


def test_ikev2_from_the_peer_on_a_connection_that_is_ikev1() -> None:
    bench = lab()
    site = bench.site(active_active=False)
    site.set(azure={"initiates": False}, peer={"initiates": False})
    for _ in range(8):
        page = site.page(site.lives[0], site.now)
        page.write(bench.log.wording.init_received(bench.log.spi()), after=0)
        page.write(bench.log.wording.notify_error(13825))
        page.write(bench.log.wording.closed(page.tunnel, 13825))
        site.run(40 * SECOND)

    row = outage(rows(bench, inventory(bench, (0, [connection(bench, site, protocol="IKEv1")]))))
    assert (row["Cause"], row["Confidence"], row["ActionOn"]) == ("IkeVersionMismatch", "High", "Peer")
    other = outage(rows(bench, inventory(bench, (0, [connection(bench, site)]))))
    assert (other["Cause"], other["Confidence"]) == ("Unclassified", "Low")
    assert other["Hypotheses"][0]["Cause"].endswith("another IKE version than the connection in Azure has, IKEv2")


@pytest.mark.parametrize("story", ["azure-renews-and-the-tunnel-is-lost", "child-refused-at-its-renewal"])
def test_pfs_that_the_configuration_shows(story: str) -> None:
    with formats.read([CASES / "PfsMismatch" / f"{story}.log"]) as saved:
        records = list(saved.timed())

    def judged(known: Inventory) -> Row:
        (row,) = (r for r in last(replay(iter(records), Tally(), inventory=known)).values() if r["Kind"] == "Outage")
        return row

    before = judged(Inventory())
    default = Connection("/c/one", "cn-one", "rg", before["RemoteIP"])
    key = before["GatewayId"]
    after = judged(renew(Inventory(), [Listing(VpnGateway(key, "one", "rg"), (default,))], 0))

    assert (before["Cause"], before["Confidence"]) == ("PfsMismatch", "Medium")
    assert (after["Cause"], after["Confidence"], after["OffersSource"]) == ("PfsMismatch", "High", "Configured")
    assert "By its configuration Azure takes PFS None, so the peer wants another" in after["Explanation"]


def test_custom_selectors_that_the_configuration_shows() -> None:
    bench = lab()
    policy = bench.policy(custom=False)
    azure = Azure(
        policy,
        selectors=(Selector("10.1.0.0", "10.1.255.255"),),
        remote_selectors=(Selector("10.9.0.0", "10.9.0.255"),),
        narrow=True,
        initiates=False,
    )
    peer = Peer(
        bench.address(),
        one_of_each(policy.ike[0], policy.esp_accepted[0]),
        selectors=(Selector("10.8.0.0", "10.8.0.255"),),
        remote_selectors=(Selector("10.2.0.0", "10.2.255.255"),),
        narrow=True,
    )
    site = bench.site(azure=azure, peer=peer, active_active=False)
    site.run(6 * MINUTE)
    configured = connection(bench, site, policy_based=True, selectors=(Pair(("10.1.0.0/16",), ("10.9.0.0/24",)),))

    row = outage(rows(bench, inventory(bench, (0, [configured]))))
    assert (row["Cause"], row["Confidence"]) == ("TrafficSelectorMismatch", "High")
    assert row["Mismatch"] == [
        {"Parameter": "LocalSelectors", "Azure": ["10.1.0.0/16"], "Peer": ["10.2.0.0/16"]},
        {"Parameter": "RemoteSelectors", "Azure": ["10.9.0.0/24"], "Peer": ["10.8.0.0/24"]},
    ]
    by_prefixes = connection(bench, site, policy_based=True, prefixes=("10.9.0.0/24",))
    assert outage(rows(bench, inventory(bench, (0, [by_prefixes]))))["Mismatch"] == row["Mismatch"][1:]


# --- the peer's address -------------------------------------------------------------------------------------------


def site_that_moves(
    bench: Lab,
    policy: Policy,
    *,
    caller: str = "",
    spared: int = 0,
    calls: int = 20,
    every: int = 60,
    port: int = 500,
    code: int = 13825,
    heard: int = 0,
) -> tuple[Site, Site]:
    """A tunnel that worked; its device gets another public address, and calls from there.

    `every` and `heard` are seconds; after `heard` one more line of the old address comes.
    """
    site = bench.site(azure=Azure(policy), peer=Peer(bench.address(), policy), active_active=False)
    site.set(azure={"initiates": False})
    site.run(10 * MINUTE)
    site.set(azure={"initiates": True}, peer={"answers": False, "heard": False})
    site.drop(13886, reason="DPD timed out")
    moved = Site(
        bench.log, Azure(policy, initiates=False), Peer(caller or bench.address(), policy), site.legs, site.now + spared
    )
    if heard:
        late = site.page(site.lives[0], site.now + heard * SECOND)
        late.write(bench.log.wording.init_received(bench.log.spi()), after=0)
    for _ in range(calls):
        page = moved.page(moved.lives[0], moved.now)
        page.remote_port = port
        say, spi = bench.log.wording, bench.log.spi()
        page.write(say.init_received(spi), after=0)
        page.write(say.ike_received(policy.ike))
        page.write(say.notify_error(code))
        page.write(say.closed(page.tunnel, code))
        moved.now += every * SECOND
    site.run(25 * MINUTE)
    return site, moved


def test_a_site_that_calls_from_another_address_with_its_own_offers() -> None:
    bench = lab()
    site, moved = site_that_moves(bench, STRONG)
    known = inventory(bench, (0, [connection(bench, site)]))

    assert outage(rows(bench))["Cause"] == "PeerStoppedResponding"
    row = outage(rows(bench, known))
    assert (row["Cause"], row["Confidence"], row["RemoteIP"]) == (
        "PeerAddressMismatch",
        "Medium",
        site.peer.address,
    )
    assert moved.peer.address in row["Explanation"]
    written = repr([row["FixCommands"], row["Fix"]])
    assert moved.peer.address not in written
    assert any("--gateway-ip-address <confirmed-peer-ip>" in c["Command"] for c in row["FixCommands"])


def test_offers_that_everybody_has_prove_nothing() -> None:
    bench = lab()
    default = default_policy(bench.log.gateway_id)
    site, _ = site_that_moves(bench, one_of_each(default.ike[0], default.esp_accepted[0]))

    assert outage(rows(bench, inventory(bench, (0, [connection(bench, site)]))))["Cause"] == "PeerStoppedResponding"


def test_two_that_fit_are_nobody() -> None:
    bench = lab()
    site, moved = site_that_moves(bench, STRONG)
    again = bench.address()
    for record in list(bench.log.records):
        if moved.peer.address in record.message:
            said = record.message.replace(moved.peer.address, again).replace("SESSION_ID :{", "SESSION_ID :{f")
            bench.log.records.append(replace(record, message=said.replace("{f", "{")))
    assert outage(rows(bench, inventory(bench, (0, [connection(bench, site)]))))["Cause"] == "PeerStoppedResponding"


def test_a_caller_from_before_the_silence_is_not_the_peer() -> None:
    bench = lab()
    site, _ = site_that_moves(bench, STRONG, spared=-30 * MINUTE)
    assert outage(rows(bench, inventory(bench, (0, [connection(bench, site)]))))["Cause"] == "PeerStoppedResponding"


@pytest.mark.parametrize(
    ("caller", "p2s", "found"),
    [
        ({}, True, True),
        ({"calls": 5, "every": 151}, False, True),
        ({"calls": 4, "every": 201}, False, False),  # fewer than five
        ({"calls": 5, "every": 149}, False, False),  # for less than ten minutes
        ({"spared": 14 * MINUTE}, False, True),
        ({"spared": 16 * MINUTE}, False, False),  # begins a quarter of an hour after the silence
        ({"port": 4500}, False, True),
        ({"port": 31_337}, False, False),  # no port of a device
        ({"code": 13905}, True, False),  # only a client is told that
        ({"code": 13905}, False, True),  # and here there are none
        ({"heard": 200}, False, False),  # the configured address is not silent
    ],
)
def test_who_may_be_the_missing_peer(caller: dict[str, int], p2s: bool, found: bool) -> None:
    bench = lab()
    site, _ = site_that_moves(bench, STRONG, **caller)
    row = outage(rows(bench, inventory(bench, (0, [connection(bench, site)]), p2s=p2s)))
    assert row["Cause"] == ("PeerAddressMismatch" if found else "PeerStoppedResponding")
    assert row["Confidence"] != "High" or not found


def test_a_tag_says_that_the_address_is_the_sites() -> None:
    bench = lab()
    default = default_policy(bench.log.gateway_id)
    site, moved = site_that_moves(bench, one_of_each(default.ike[0], default.esp_accepted[0]))
    tagged = connection(bench, site, also=(moved.peer.address,))

    row = outage(rows(bench, inventory(bench, (0, [tagged]))))
    assert (row["Cause"], row["Confidence"]) == ("PeerAddressMismatch", "Medium")
    assert "a tag in Azure says" in row["Explanation"]


def test_a_mistyped_address_is_a_lead_where_the_stranger_offers_the_custom_policy() -> None:
    bench = lab()
    site = bench.site(azure=Azure(STRONG), peer=Peer(bench.address(), STRONG), active_active=False)
    site.set(peer={"answers": False, "heard": False})
    stranger = bench.address()
    for _ in range(20):
        page = replace_remote(site, stranger)
        say = bench.log.wording
        page.write(say.init_received(bench.log.spi()), after=0)
        page.write(say.ike_received(STRONG.ike))
        page.write(say.notify_error(13825))
        page.write(say.closed(page.tunnel, 13825))
        site.run(60 * SECOND)
    scan(bench.log, bench.start + MINUTE, site.legs[0].instance, site.legs[0].local, bench.taken)

    row = outage(rows(bench, inventory(bench, (0, [connection(bench, site)]))))
    assert row["Cause"] == "PeerNotResponding"
    assert "mistyped" in row["Hypotheses"][0]["Cause"]
    assert stranger in row["Hypotheses"][0]["Cause"]
    assert stranger not in repr(row["FixCommands"])


def replace_remote(site: Site, remote: str) -> Any:
    page = site.page(site.lives[0], site.now)
    page.remote = remote
    return page


# --- removed, moved, silent ---------------------------------------------------------------------------------------


def silent_peer(bench: Lab) -> Site:
    site = bench.site(active_active=False)
    site.run(10 * MINUTE)
    site.set(peer={"answers": False, "heard": False})
    site.drop(13886, reason="DPD timed out")
    site.run(20 * MINUTE)
    return site


def test_a_removed_connection_ends_its_outage() -> None:
    bench = lab()
    site = silent_peer(bench)
    other = connection(bench, site, id="/other", name="cn-other", remote="198.51.100.250")
    at = site.now + 30 * SECOND
    known = inventory(bench, (bench.start, [connection(bench, site), other]), (at, [other]))
    bench.log.operation(site.now + 20 * MINUTE, "SetGatewayConfiguration", "GatewayTenantWorker_IN_0", "x")

    row = outage(rows(bench, known))
    assert (row["State"], row["Resolution"], row["ResolvedAt"]) == ("Resolved", "Removed", iso(at))
    assert row["ConnectionName"] == f"cn-{site.peer.address}"


def test_a_moved_connection_ends_the_outage_of_its_old_address() -> None:
    bench = lab()
    site = silent_peer(bench)
    moved = connection(bench, site, remote="198.51.100.250")
    at = site.now + 30 * SECOND
    known = inventory(bench, (bench.start, [connection(bench, site)]), (at, [moved]))
    bench.log.operation(site.now + 20 * MINUTE, "SetGatewayConfiguration", "GatewayTenantWorker_IN_0", "x")

    row = outage(rows(bench, known))
    assert (row["State"], row["Resolution"], row["ResolvedAt"]) == ("Resolved", "Moved", iso(at))
    assert "goes to 198.51.100.250 now" in row["Summary"]


def test_it_does_although_azure_looks_another_one_up_by_name() -> None:
    bench = lab()
    site = silent_peer(bench)
    named = connection(bench, site, id="/named", name="cn-named", remote="", fqdn="branch.example.com")
    at = site.now + 30 * SECOND
    known = inventory(bench, (bench.start, [connection(bench, site), named]), (at, [named]))
    bench.log.operation(site.now + 20 * MINUTE, "SetGatewayConfiguration", "GatewayTenantWorker_IN_0", "x")

    assert outage(rows(bench, known))["Resolution"] == "Removed"
    # Never seen with a connection of its own: it may be the one that is looked up.
    assert outage(rows(bench, inventory(bench, (at, [named]))))["Resolution"] is None


def test_a_connection_that_azure_goes_on_calling_is_there_whatever_a_list_says() -> None:
    bench = lab()
    site = silent_peer(bench)
    at = bench.start + 12 * MINUTE
    other = connection(bench, site, id="/other", name="cn-other", remote="198.51.100.250")
    known = inventory(bench, (bench.start, [connection(bench, site), other]), (at, [other]))

    row = outage(rows(bench, known))
    assert (row["State"], row["Resolution"]) == ("Open", None)


def test_a_connection_without_a_line_is_silent_after_nine_hours_and_late_after_a_day() -> None:
    bench = lab()
    site = bench.site(active_active=False)
    site.set(peer={"initiates": False})
    site.run(20 * HOUR)
    quiet = connection(bench, site, id="/quiet", name="cn-quiet", remote="198.51.100.250")
    known = inventory(bench, (0, [connection(bench, site), quiet]))

    assert [r for r in rows(bench) if r["Cause"] == "ConnectionSilent"] == []
    (row,) = [r for r in rows(bench, known) if r["Cause"] == "ConnectionSilent"]
    assert (row["State"], row["Severity"], row["RemoteIP"], row["ConnectionName"]) == (
        "Open",
        "Informational",
        "198.51.100.250",
        "cn-quiet",
    )
    site.run(12 * HOUR)
    (row,) = [r for r in rows(bench, known) if r["Cause"] == "ConnectionSilent"]
    assert row["Severity"] == "Warning"


def test_a_silent_connection_that_speaks_is_silent_no_more() -> None:
    bench = lab()
    site = bench.site(active_active=False)
    site.run(10 * HOUR)
    late = Site(bench.log, site.azure, Peer(bench.address(), site.peer.policy), site.legs, site.now)
    late.run(HOUR)
    site.run(2 * HOUR)
    known = inventory(bench, (0, [connection(bench, site), connection(bench, late)]))

    (row,) = [r for r in rows(bench, known) if r["Cause"] == "ConnectionSilent"]
    assert (row["State"], row["Resolution"], row["RemoteIP"]) == ("Resolved", "Recovered", late.peer.address)
    first = min(r.at or 0 for r in bench.log.records if late.peer.address in r.message + r.remote_ip)
    assert row["ResolvedAt"] == iso(first)


def by_name(bench: Lab, site: Site, number: int = 1) -> Connection:
    fqdn = f"branch-{number}.example.com"
    return connection(bench, site, id=f"/named-{number}", name=f"cn-branch-{number}", remote="", fqdn=fqdn)


def test_a_connection_that_azure_looks_up_by_name_can_be_silent_too() -> None:
    bench = lab()
    site = bench.site(active_active=False)
    site.run(32 * HOUR)
    named = [by_name(bench, site, n) for n in (1, 2)]
    # A scanner is nobody's peer.
    scan(bench.log, bench.start + 10 * HOUR, site.legs[0].instance, site.legs[0].local, bench.taken)

    (row,) = [
        r
        for r in rows(bench, inventory(bench, (0, [connection(bench, site), named[0]])))
        if r["Kind"] == "Advisory" and r["Cause"] == "ConnectionSilent"
    ]
    assert (
        row["Summary"]
        == "Connection cn-branch-1 to branch-1.example.com has been silent for as long as it has been watched."
    )
    assert (row["ConnectionName"], row["RemoteIP"], row["Scope"], row["Severity"]) == (
        "cn-branch-1",
        "",
        "Gateway",
        "Warning",
    )
    assert any("-n cn-branch-1" in c["Command"] for c in row["FixCommands"])
    both = rows(bench, inventory(bench, (0, [connection(bench, site), *named])))
    assert [r["ConnectionName"] for r in both if r["Cause"] == "ConnectionSilent"] == ["cn-branch-1", "cn-branch-2"]
    # A peer that no connection names is the one, or one of the two.
    for known in (named[:1], named):
        assert [r for r in rows(bench, inventory(bench, (0, known))) if r["Cause"] == "ConnectionSilent"] == []


def test_and_it_is_no_more_when_azure_calls_an_address_that_no_connection_names() -> None:
    bench = lab()
    site = bench.site(active_active=False)
    site.run(12 * HOUR)
    bench.log.operation(site.now + MINUTE, "HostMaintenanceEvent", "", "x")  # the hour has lines already
    late = Site(bench.log, site.azure, Peer(bench.address(), site.peer.policy), site.legs, site.now + 20 * MINUTE)
    for branch in (late, site):
        branch.run(2 * HOUR)
    known = inventory(bench, (0, [connection(bench, site), by_name(bench, site)]))

    (row,) = [r for r in rows(bench, known) if r["Cause"] == "ConnectionSilent"]
    first = min(r.at or 0 for r in bench.log.records if late.peer.address in r.message + r.remote_ip)
    assert (row["State"], row["Resolution"], row["ResolvedAt"]) == ("Resolved", "Recovered", iso(first))
    # Of two it may be either.
    two = inventory(bench, (0, [connection(bench, site), by_name(bench, site, 1), by_name(bench, site, 2)]))
    assert [r for r in rows(bench, two) if r["Cause"] == "ConnectionSilent"] == []

    store = Estate(inventory=known)
    records = sorted(bench.log.records, key=lambda r: r.at or 0)
    for part in ([r for r in records if (r.at or 0) < first], [r for r in records if (r.at or 0) == first]):
        learn(store, post(part, Random(0), PROMPT))
        now = max(r.at or 0 for r in part) + MINUTE
        told_now = run_until(store, 0, now)
    assert [r["State"] for r in told_now if r["Cause"] == "ConnectionSilent"][-1] == "Resolved"


def test_a_short_log_proves_no_silence() -> None:
    bench = lab()
    site = bench.site(active_active=False)
    site.run(8 * HOUR)
    quiet = connection(bench, site, id="/quiet", name="cn-quiet", remote="198.51.100.250")
    assert [r["Cause"] for r in rows(bench, inventory(bench, (0, [connection(bench, site), quiet])))].count(
        "ConnectionSilent"
    ) == 0


# --- what changed, legs, BGP, on demand ---------------------------------------------------------------------------


def test_changed_since_compares_configurations() -> None:
    bench = lab()
    site = bench.site(azure=Azure(STRONG), peer=Peer(bench.address(), STRONG), active_active=False)
    old = connection(bench, site)
    site.run(30 * MINUTE)
    at = site.now + MINUTE
    site.set(azure={"policy": OTHER})
    site.drop(13849)
    site.run(10 * MINUTE)
    new = connection(bench, site, dpd=20)

    row = outage(rows(bench, inventory(bench, (bench.start, [old]), (at, [new]))))
    changed = {c["What"]: (c["Before"], c["Now"], c["Side"], c["At"]) for c in row["ChangedSince"]}
    assert changed["custom policy"] == (
        "AES256/SHA256/DHGroup14; GCMAES256/GCMAES256/PFS2048",
        "AES256/SHA384/ECP384; GCMAES256/GCMAES256/PFS2048",
        "Azure",
        iso(at),
    )
    assert changed["DPD timeout"] == ("45 s", "20 s", "Azure", iso(at))
    assert "prefixes of the site" not in changed


def test_a_leg_of_an_active_active_gateway_is_expected_though_it_never_was_up() -> None:
    bench = lab()
    site = bench.site(active_active=True)
    site.set(peer={"initiates": False})
    refused = site.lives[1]
    refused.next_try = dict.fromkeys(Side, 1 << 60)
    strange = one_of_each(Proposal("CAST128", "SHA512", "DhGroup18"), site.peer.policy.esp_offered[0])
    for _ in range(10):
        page = site.page(refused, site.now)
        site.run(60 * SECOND)
        Exchange(site.azure, Peer(site.peer.address, strange), page).run(Side.AZURE)
    locals_ = tuple(leg.local for leg in site.legs)
    own = connection(bench, site)
    known = inventory(bench, (0, [own]), addresses=locals_, active_active=True)

    def severity(found: list[Row]) -> list[str]:
        return [row["Severity"] for row in found if row["Cause"] == "RedundancyLost"]

    assert severity(rows(bench)) == ["Informational"]
    assert severity(rows(bench, known)) == ["Warning"]
    # A listing may lack the addresses.
    assert severity(rows(bench, inventory(bench, (0, [own]), active_active=True))) == ["Warning"]
    assert severity(rows(bench, inventory(bench, (0, [own]), addresses=locals_))) == ["Informational"]


def test_a_bgp_session_finds_its_tunnel_by_the_inner_address() -> None:
    bench = lab()
    one, two = bench.site(active_active=False), bench.site(active_active=False)
    for site in (one, two):
        site.run(10 * MINUTE)
    bench.log.operation(two.now, "BgpDisconnectedEvent", two.legs[0].instance, "BGP peer 10.99.0.1 disconnected")
    for site in (one, two):
        site.run(HOUR)
    inner = connection(bench, two, bgp=True, bgp_addresses=("10.99.0.1",))
    known = inventory(bench, (0, [connection(bench, one), inner]))

    (unknown,) = [row for row in rows(bench) if row["Cause"] == "BgpPeerDown"]
    (row,) = [row for row in rows(bench, known) if row["Cause"] == "BgpPeerDown"]
    assert (unknown["Scope"], unknown["RemoteIP"]) == ("Gateway", "")
    assert (row["Scope"], row["RemoteIP"], row["ConnectionName"]) == ("Tunnel", two.peer.address, inner.name)


def test_a_tag_says_that_a_peer_dials_on_demand() -> None:
    bench = lab()
    site = bench.site(active_active=False)
    site.set(azure={"initiates": False})
    site.run(25 * MINUTE)
    site.set(peer={"initiates": False})
    site.drop(13885, reason="RemotelyTriggered")
    site.run(HOUR)

    assert outage(rows(bench))["Cause"] == "PeerDisconnected"
    assert said(rows(bench, inventory(bench, (0, [connection(bench, site, on_demand=True)])))) == []


def test_responder_only_is_told_and_no_hypothesis_any_more() -> None:
    bench = lab()
    site = bench.site(active_active=False)
    site.set(azure={"initiates": False})
    site.run(25 * MINUTE)
    site.set(peer={"initiates": False})
    site.drop(13885, reason="RemotelyTriggered")
    site.run(HOUR)

    row = outage(rows(bench, inventory(bench, (0, [connection(bench, site, mode=Mode.RESPONDER_ONLY)]))))
    assert "Azure waits for the peer" in row["Explanation"]
    assert not any("ResponderOnly" in h["Cause"] for h in row["Hypotheses"])


def test_a_dead_peer_that_azure_waits_for_and_a_short_dpd_timeout_are_told() -> None:
    bench = lab()
    site = bench.site(active_active=False)
    site.set(azure={"initiates": False})
    site.run(25 * MINUTE)
    site.set(peer={"initiates": False})
    site.drop(13886, reason="DPD timed out")
    site.run(HOUR)

    def told_of(**settings: Any) -> Row:
        row = outage(rows(bench, inventory(bench, (0, [connection(bench, site, **settings)]))))
        assert row["Cause"] == "PeerStoppedResponding"
        return row

    assert "Azure waits for the peer" in told_of(mode=Mode.RESPONDER_ONLY)["Explanation"]
    assert "Azure waits for the peer" not in told_of()["Explanation"]
    assert told_of(dpd=10)["Hypotheses"][0]["Cause"].startswith("The DPD timeout of the connection is 10 s")
    assert any("dpdTimeoutSeconds=45" in c["Command"] for c in told_of(dpd=10)["FixCommands"])
    for dpd in (0, 30, 45):
        assert not any("DPD" in h["Cause"] for h in told_of(dpd=dpd)["Hypotheses"])


# --- a site with several tunnels ----------------------------------------------------------------------------------


def site_of_two_links(bench: Lab, *, both: bool) -> tuple[Site, Site, Inventory]:
    """Both tunnels of a site work; the peer at the one, or at both, falls silent."""
    one, two = bench.site(active_active=False), bench.site(active_active=False)
    for site in (one, two):
        site.run(30 * MINUTE)
    for site in (one, two) if both else (one,):
        site.set(peer={"answers": False, "heard": False})
        site.drop(13886, reason="DPD timed out")
    for site in (one, two):
        site.run(30 * MINUTE)
    links = [
        connection(bench, site, id="/cn-plant", name="cn-plant", link=link)
        for site, link in ((one, "lc-fibre"), (two, "lc-lte"))
    ]
    return one, two, inventory(bench, (0, links))


def test_a_site_with_two_links_is_one_connection_with_two_tunnels() -> None:
    bench = lab()
    one, two, known = site_of_two_links(bench, both=False)

    row = outage(rows(bench, known))
    assert row["Summary"].startswith(f"Connection cn-plant, link lc-fibre, to {one.peer.address} is down")
    assert (
        f"The site has another tunnel: link lc-lte to {two.peer.address}. No outage of it is known, so traffic may"
        " still flow." in row["Explanation"]
    )
    assert row["RelatedIncidents"] == []


def test_and_when_both_are_down_each_row_says_so_and_points_to_the_other() -> None:
    bench = lab()
    one, two, known = site_of_two_links(bench, both=True)

    first, second = (row for row in rows(bench, known) if row["Kind"] == "Outage")
    assert {first["RemoteIP"], second["RemoteIP"]} == {one.peer.address, two.peer.address}
    assert all("It is down, too." in row["Explanation"] for row in (first, second))
    assert (first["RelatedIncidents"], second["RelatedIncidents"]) == ([second["IncidentId"]], [first["IncidentId"]])


def test_a_tag_says_that_two_connections_are_of_one_site() -> None:
    bench = lab()
    one, two = bench.site(active_active=False), bench.site(active_active=False)
    for site in (one, two):
        site.run(30 * MINUTE)
    one.set(peer={"answers": False, "heard": False})
    one.drop(13886, reason="DPD timed out")
    for site in (one, two):
        site.run(30 * MINUTE)
    apart = inventory(bench, (0, [connection(bench, one), connection(bench, two)]))
    assert "The site has" not in outage(rows(bench, apart))["Explanation"]
    for tagged in (
        [connection(bench, one), connection(bench, two, also=(one.peer.address,))],
        [connection(bench, one, also=(two.peer.address,)), connection(bench, two)],
    ):
        row = outage(rows(bench, inventory(bench, (0, tagged))))
        assert f"another tunnel: connection cn-{two.peer.address} to {two.peer.address}." in row["Explanation"]


@pytest.mark.parametrize("both", [False, True])
def test_no_order_changes_what_is_said_of_the_other_tunnels(both: bool) -> None:
    bench = lab(3)
    _, _, known = site_of_two_links(bench, both=both)
    records = sorted(bench.log.records, key=lambda r: r.at or 0)

    expected = told(as_delivered(post(records, Random(0), PROMPT), Random(0), known))
    for shuffle in range(1, 4):
        random = Random(shuffle)
        assert told(as_delivered(post(records, random, PROMPT), random, known)) == expected


# --- a value beside facts and time --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_with_an_inventory_no_order_changes_what_is_told_at_last(seed: int) -> None:
    bench = lab(seed)
    site, _ = site_that_moves(bench, STRONG)
    quiet = connection(bench, site, id="/quiet", name="cn-quiet", remote="198.51.100.250")
    known = inventory(bench, (bench.start, [connection(bench, site), quiet]))
    records: list[Record] = bench.log.records

    def run(shuffle: int) -> list[dict[str, Any]]:
        random = Random(shuffle)
        return told(as_delivered(post(records, random, PROMPT), random, known))

    expected = told(as_delivered(post(sorted(records, key=lambda r: r.at or 0), Random(0), PROMPT), Random(0), known))
    assert {row["Cause"] for row in expected} >= {"PeerAddressMismatch", "ConnectionSilent"}
    for shuffle in range(1, 4):
        assert run(shuffle) == expected


def test_an_inventory_that_comes_later_makes_the_stranger_a_peer_and_tells_the_name() -> None:
    bench = lab()
    site = peer_alone_begins(bench, STRONG)
    store = Estate(changed=set())
    deliveries = post(sorted(bench.log.records, key=lambda r: r.at or 0), Random(0), PROMPT)
    learn(store, deliveries)
    now = max(d.enqueued for d in deliveries)
    first = last(run_until(store, now, now + HOUR))
    store.equip(inventory(bench, (now, [connection(bench, site)])), now + HOUR)
    later = run_on(store, now + HOUR)

    assert {row["ConnectionName"] for row in first.values()} == {None}
    (row,) = [r for r in later if r["Kind"] == "Outage"][:1]
    assert row["ConnectionName"] == f"cn-{site.peer.address}"
    assert row["IncidentId"] in first


def test_a_gateway_that_never_wrote_a_line_has_silent_connections_too() -> None:
    bench = lab()
    site = bench.site(active_active=False)
    store = Estate()
    store.equip(inventory(bench, (bench.start, [connection(bench, site)])), bench.start)

    found = last(run_until(store, bench.start, bench.start + 2 * DAY))
    (row,) = found.values()
    assert (row["Cause"], row["GatewayId"], row["Severity"]) == (
        "ConnectionSilent",
        bench.log.gateway_id,
        "Warning",
    )
