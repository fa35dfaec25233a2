"""facts 3.1 to 3.8, row by row: what the other tests do not show already, and on which side of each limit a state lies."""

from __future__ import annotations

from random import Random
from unittest.mock import patch

import pytest

from ikestream import fold
from ikestream.incident import Row
from ikestream.lab import Lab, post
from ikestream.lab.ends import Side
from ikestream.lab.site import Life, Site
from ikestream.times import HOUR, MINUTE, SECOND
from ikestream.timestamps import iso
from tests.by_hand import AZURE_2, IN_0, IN_1, OTHER_PEER, UP_BY_AZURE, UP_BY_PEER, ByHand, verdict
from tests.streams import START, as_delivered, in_order, last, told

AN_HOUR = HOUR // SECOND
REFUSED = "P_INIT; P_INIT_ANS; AUTH_IN; N_OUT Authentication failed; CLOSE 13801"


def connected(*peers: str) -> ByHand:
    log = ByHand()
    for n, peer in enumerate(peers or (log.peer,)):
        log.tunnel(-AN_HOUR + n, up=True, peer=peer)
    return log


def causes(log: ByHand) -> list[str]:
    return [row["Cause"] for row in log.outages()]


# --- 3.1 known peers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "known"),
    [
        ("", False),
        ("P_INIT; P_INIT_ANS; N_OUT Policy Mismatch; CLOSE 13868", False),
        (REFUSED, False),
        ("A_INIT", True),
        (UP_BY_PEER, True),
    ],
)
@pytest.mark.parametrize("connected", [None, True, False])
def test_a_peer_is_known_by_what_only_peers_bring_about(facts: str, known: bool, connected: bool | None) -> None:
    log = ByHand()
    if connected:
        log.tunnel(-AN_HOUR, up=True)
    if connected is not None:
        log.tunnel(-5, up=False)
    log.attempt(-2 * AN_HOUR, facts)
    log.attempts((0, 40, 80, 120), REFUSED)
    outages = [row for row in log.outages() if row["Cause"] == "PreSharedKeyMismatch"]
    assert bool(outages) is (known or connected is not None)


# --- 3.2 legs ------------------------------------------------------------------------------------------------------


def move(site: Site, life: Life, instance: str) -> None:
    """Azure moves one leg to another instance: half a minute later it is up there."""
    site.log.tunnel(site.now, life.leg.instance, site.peer.address, up=False)
    life.up, life.leg.instance = False, instance
    life.next_try = dict.fromkeys(Side, site.now + 40 * SECOND)


def both_on_one(seed: int) -> Lab:
    """An instance is maintained for half an hour, in which the other one holds both addresses and renews its own leg."""
    lab = Lab(seed, tunnel_log=True)
    site = lab.site(active_active=True)
    site.run(HOUR)
    moved, other = site.lives
    home = moved.leg.instance
    move(site, moved, other.leg.instance)
    site.run(10 * MINUTE)
    other.child_at = site.now + MINUTE
    site.run(20 * MINUTE)
    move(site, moved, home)
    site.run(9 * HOUR)
    return lab


@pytest.mark.parametrize("seed", range(3))
def test_an_instance_that_holds_both_addresses_after_a_takeover_is_two_legs(seed: int) -> None:
    lab = both_on_one(seed)
    rows = [row for row in in_order(lab.log.records) if row["Cause"] not in ("WeakCryptography", "FeedSilent")]
    assert [(row["Cause"], row["FirstSeen"], row["Explanation"]) for row in rows] == []


@pytest.mark.parametrize("away", [True, False], ids=["while it holds both", "after that"])
def test_and_the_one_that_is_lost_is_the_one_that_is_named(away: bool) -> None:
    lab = both_on_one(7)
    site_end = max(r.at or 0 for r in lab.log.records)
    site = lab.site(active_active=True)
    site.now = site_end
    moved, other = site.lives
    for life in site.lives:
        life.next_try = dict.fromkeys(Side, site.now + SECOND)
    site.run(HOUR)
    home = moved.leg.instance
    move(site, moved, other.leg.instance)
    site.run(20 * MINUTE)
    if not away:
        move(site, moved, home)
        site.run(20 * MINUTE)
    site.set(azure={"initiates": False}, peer={"initiates": False})
    site.log.tunnel(site.now, other.leg.instance, site.peer.address, up=False, reason="DPD timed out")
    page = site.page(other, site.now, other.session)
    page.write(lab.log.wording.closed(page.tunnel, 13886), after=0)
    other.up = False
    site.run(HOUR)
    found = [
        row
        for row in last(in_order(lab.log.records)).values()
        if row["RemoteIP"] == site.peer.address and row["Cause"] == "RedundancyLost"
    ]
    assert [f"{other.leg.local} is down" in row["Summary"] for row in found] == [True]


def test_which_leg_a_line_is_of_depends_neither_on_order_nor_on_folding() -> None:
    for seed in range(3):
        records = both_on_one(seed).log.records
        expected = told(in_order(records))
        random = Random(seed)
        assert told(as_delivered(post(records, random), random)) == expected
        with patch.object(fold, "MIN_FOLDED", 1):
            assert told(as_delivered(post(records, random), random)) == expected


def both_up(first: str, second: str) -> ByHand:
    """A tunnel with two legs, on these instances; the second one was heard of last."""
    log = ByHand()
    for at, local, instance in ((-AN_HOUR, log.local, first), (-AN_HOUR + 100, AZURE_2, second)):
        log.attempt(at, UP_BY_AZURE, local=local, instance=instance)
        log.tunnel(at + 1, up=True, instance=instance)
    return log


def missing(log: ByHand) -> list[str]:
    return [row["Summary"].rsplit(": ")[-1] for row in log.rows() if row["Cause"] == "RedundancyLost"]


def test_a_leg_that_was_heard_of_last_is_not_the_one_of_another_instance() -> None:
    log = both_up(IN_0, IN_1)
    log.tunnel(0, up=False, instance=IN_0, reason="DPD timed out")
    assert missing(log) == [f"{log.local} is down."]


def test_and_what_is_folded_proves_it_once() -> None:
    log = both_up(IN_0, IN_1)
    log.tunnel(0, up=False, instance=IN_0, reason="DPD timed out")
    log.attempts(range(5, 7200, 10), "A_INIT; N_IN Policy Mismatch")
    (row,) = [row for row in log.rows() if row["Cause"] == "RedundancyLost"]
    assert sum("DPD timed out" in line["Message"] for line in row["Evidence"]) == 1


def test_whose_a_line_is_stays_decided_when_the_attempts_around_it_are_folded() -> None:
    log = both_up(IN_1, IN_1)
    log.attempt(0, "CLOSE 13886", instance=IN_1)
    log.attempts(range(5, 7200, 10), "A_INIT; N_IN Policy Mismatch", instance=IN_1)
    log.attempt(26, UP_BY_AZURE, local=AZURE_2, instance=IN_1)
    log.tunnel(30, up=False, instance=IN_1, reason="DPD timed out")
    assert missing(log) == [f"{log.local} is down."]
    assert log.outages() == []


# --- 3.3 evidence of up and down -----------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [13886, 13885, 13849, 13891])
def test_an_established_association_that_ends_without_a_successor_takes_the_leg_down(code: int) -> None:
    for successor in (None, 59, 61):
        log = ByHand()
        log.attempt(-AN_HOUR, UP_BY_AZURE)
        log.attempt(0, f"CLOSE {code}")
        log.attempts((300, 340, 380), "A_INIT; A_INIT_ANS; AUTH_OUT; N_IN Authentication failed; CLOSE 13801")
        if successor is not None:
            log.attempt(successor, UP_BY_AZURE)
            log.attempt(AN_HOUR, UP_BY_AZURE)
        found = [row["FirstSeen"] for row in log.outages()]
        gone = [at for at in found if at.startswith("2026-03-02T10:00:00")]
        assert bool(gone) is (successor != 59), (code, successor, found)


def test_a_management_call_that_ends_it_counts_with_the_first_attempt_that_fails() -> None:
    """Alone it is the reset of a connection, which is no fault (role B): it would not make an outage."""
    for failing in (True, False):
        log = ByHand()
        log.attempt(-AN_HOUR, UP_BY_AZURE)
        log.attempt(0, "CLOSE 13877")
        if failing:
            log.attempts((30, 70), REFUSED)
        log.attempt(200, UP_BY_AZURE)
        log.attempt(AN_HOUR, UP_BY_AZURE)
        assert [row["FirstSeen"][:19] for row in log.outages()] == ["2026-03-02T10:00:00"] * failing


@pytest.mark.parametrize(("count", "apart", "down"), [(3, 60, True), (3, 59, False), (2, 200, False)])
def test_a_leg_that_is_up_is_down_when_three_attempts_fail_in_two_minutes(count: int, apart: int, down: bool) -> None:
    """And no Tunnel log is there to be asked."""
    for tunnel_log in (False, True):
        log = ByHand()
        log.attempt(-AN_HOUR, UP_BY_AZURE)
        if tunnel_log:
            log.tunnel(-AN_HOUR + 1, up=True)
        log.attempts([n * apart for n in range(count)], REFUSED)
        assert bool(log.outages()) is (down and not tunnel_log)


@pytest.mark.parametrize("code", [13885, 13849, 13891, 13877])
def test_an_association_that_ended_and_attempts_that_fail_since_are_down_although_nobody_wrote_disconnected(
    code: int,
) -> None:
    """Logs are not lossless: TunnelDisconnected may be missing."""
    for facts, down in (
        (((0, f"CLOSE {code}"),), True),
        (((0, "CLOSE 13821"),), False),
        (((0, f"CLOSE {code}"), (20, UP_BY_AZURE)), False),
        (((0, f"CLOSE {code}"), (70, UP_BY_AZURE)), False),
    ):
        log = ByHand()
        log.attempt(-AN_HOUR, UP_BY_AZURE)
        log.tunnel(-AN_HOUR + 1, up=True)
        for at, fact in facts:
            log.attempt(at, fact)
        log.attempts((100, 140, 180, 230), REFUSED)
        found = [(row["Cause"], row["FirstSeen"][11:19]) for row in log.outages()]
        assert found == [("PreSharedKeyMismatch", "10:00:00")] * down, facts


def test_nor_is_one_that_ended_ten_minutes_before() -> None:
    for newest, down in ((598, True), (601, False)):
        log = ByHand()
        log.attempt(-AN_HOUR, UP_BY_AZURE)
        log.tunnel(-AN_HOUR + 1, up=True)
        log.attempt(0, "CLOSE 13885")
        log.attempts((newest - 150, newest - 60, newest), REFUSED)
        assert bool(log.outages()) is down


@pytest.mark.parametrize("code", [13886, 13885, 13877, 13849, 13891])
@pytest.mark.parametrize("tunnel_log", [True, False])
def test_the_end_of_an_association_that_was_replaced_is_nobodys_end(code: int, tunnel_log: bool) -> None:
    for which, down in (("old", False), ("new", True)):
        log = ByHand()
        sessions = {"old": log.attempt(-AN_HOUR, UP_BY_PEER), "new": log.attempt(0, UP_BY_PEER)}
        if tunnel_log:
            log.tunnel(-AN_HOUR + 1, up=True)
        log.attempt(300, f"CLOSE {code}", session=sessions[which])
        # Alone a reset is no fault, and for all but dead peer detection Connected stands.
        named = code != 13877 and (code == 13886 or not tunnel_log)
        assert bool(log.outages()) is (down and named), which


def test_one_that_ended_alone_is_no_word_against_connected() -> None:
    log = ByHand()
    log.attempt(-AN_HOUR, UP_BY_AZURE)
    log.tunnel(-AN_HOUR + 1, up=True)
    log.attempt(0, "CLOSE 13885")
    log.attempts((100, 140), REFUSED)
    assert log.outages() == []


def test_an_answered_first_message_or_a_benign_close_is_no_sign_of_up() -> None:
    log = ByHand()
    log.attempts((0, 40), REFUSED)
    log.call()
    log.attempts((80, 200, 300), "A_INIT; A_INIT_ANS")
    log.attempts((90, 210), "CLOSE 13895")
    assert [row["State"] for row in log.outages()] == ["Open"]


@pytest.mark.parametrize(
    ("after", "resolved"),
    [
        ([], "10:15:00"),  # five minutes later
        ([REFUSED], ""),
        (["CLOSE 13807"], "10:15:00"),  # the other one of two at once
        (["TS_PROP 0.0.0.0/0 > 0.0.0.0/0; N_IN Policy Mismatch"], "10:15:00"),  # one more child
        (["connected", REFUSED], "10:11:00"),
        (["connected late", REFUSED], "10:14:00"),
        (["later", REFUSED], "10:15:00"),
    ],
)
def test_where_the_tunnel_log_is_written_an_agreed_child_waits_for_its_word_unless_nothing_contradicts(
    after: list[str], resolved: str
) -> None:
    log = connected(OTHER_PEER)
    log.call()
    log.attempts((0, 60, 120, 180), REFUSED)
    log.attempt(600, UP_BY_PEER)
    for n, fact in enumerate(after):
        if fact.startswith("connected"):
            log.tunnel(780 if "late" in fact else 600.5, up=True)
        elif fact != "later":
            log.attempt((950 if "later" in after else 700) + n, fact)
    rows = [row for row in in_order(log.records) if row["Kind"] == "Outage"]
    assert rows[-1]["ResolvedAt"] == ("2026-03-02T10:10:00.080Z" if resolved else None)
    assert [row["TimeGenerated"][11:19] for row in rows if row["State"] == "Resolved"][:1] == (
        [resolved] if resolved else []
    )


def test_a_child_that_was_agreed_and_came_to_nothing_does_not_hide_what_began_before_it() -> None:
    log = connected()
    log.tunnel(0, up=False)
    log.attempt(30, UP_BY_PEER)
    log.attempts(range(60, 1200, 40), REFUSED)
    row = log.outage()
    assert (verdict(row), row["FirstSeen"][11:19], row["State"]) == (
        ("PreSharedKeyMismatch", "High"), "10:00:00", "Open",
    )  # fmt: skip


# --- 3.4 outage, hold, stability -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gap", "event", "count"),
    [
        (59, "", 0),
        (60, "", 1),
        (179, "HostMaintenanceEvent", 0),
        (180, "HostMaintenanceEvent", 1),
        (179, "GatewayTenantPrimaryChanged", 0),
        (179, "SetGatewayConfiguration", 0),
    ],
)
def test_the_hold(gap: int, event: str, count: int) -> None:
    for offset, near in ((-600, True), (-601, False), (600, True), (601, False)):
        log = connected()
        log.tunnel(0, up=False)
        log.tunnel(gap, up=True)
        if event:
            log.operation(offset, event)
        expected = count if near or not event else 1
        assert len(log.outages()) == expected, offset


@pytest.mark.parametrize(("apart", "count"), [(60, 0), (61, 2)])
def test_dead_peer_detection_of_two_legs_at_once_is_waited_for(apart: int, count: int) -> None:
    log = connected(ByHand().peer, OTHER_PEER)
    for peer, at in ((log.peer, 0), (OTHER_PEER, apart)):
        log.tunnel(at, up=False, peer=peer, reason="DPD timed out")
        log.tunnel(at + 150, up=True, peer=peer)
    assert len(log.outages()) == count


def test_down_again_within_the_stability_is_the_same_outage_and_its_length_is_the_sum() -> None:
    for up, count in ((59, 1), (61, 2)):
        log = connected()
        log.tunnel(0, up=False)
        log.tunnel(100, up=True)
        log.tunnel(100 + up, up=False)
        log.tunnel(300, up=True)
        found = log.outages()
        assert len(found) == count
        if count == 1:
            assert found[0]["DurationSeconds"] == 300 - up


def test_after_three_episodes_in_an_hour_a_quarter_of_an_hour_is_asked_for() -> None:
    log = connected()
    for n in range(3):  # down for two minutes, up for half a one: one outage
        log.tunnel(n * 150, up=False)
        log.tunnel(n * 150 + 120, up=True)
    log.tunnel(420 + 890, up=False)
    log.tunnel(420 + 1000, up=True)
    (row,) = log.outages()
    assert row["DurationSeconds"] == 3 * 120 + 110


def test_so_a_tunnel_that_flaps_all_day_is_three_outages_and_no_more() -> None:
    log = connected()
    for n in range(40):
        log.tunnel(n * 600, up=False)
        log.tunnel(n * 600 + 120, up=True)
    found = log.outages()
    assert [row["DurationSeconds"] for row in found] == [120, 120, 38 * 120]
    rows = [row for row in in_order(log.records) if row["Kind"] == "Advisory" and row["Cause"] == "Flapping"]
    assert len(rows) < 6  # not a row for each of them


def test_while_it_is_watched_the_row_says_that_it_is_up_again() -> None:
    log = connected()
    for n in range(3):
        log.tunnel(n * 600, up=False)
        log.tunnel(n * 600 + 120, up=True)
    rows = [row for row in in_order(log.records) if row["Kind"] == "Outage"][-3:]
    assert [(row["State"], row["Impact"]) for row in rows] == [("Open", "Down"), ("Open", "None"), ("Resolved", "None")]
    said = ("is down", "is up again since 10:22:00 UTC, not yet for long enough", "was down and is up again:")
    assert all(words in row["Summary"] for words, row in zip(said, rows, strict=True))
    assert rows[-1]["TimeGenerated"] == "2026-03-02T10:37:00.000Z"


def test_but_three_in_more_than_an_hour_are_three() -> None:
    log = connected()
    for at in (0, 1900, 3800, 4500):
        log.tunnel(at, up=False)
        log.tunnel(at + 120, up=True)
    assert len(log.outages()) == 4


@pytest.mark.parametrize("quarters", [3, 6])
def test_a_leg_that_is_dialled_on_demand_all_the_time_and_dies_is_an_outage_of_its_own(quarters: int) -> None:
    log = ByHand()
    for n in range(quarters):
        log.attempt(n * 900, UP_BY_PEER)
        log.tunnel(n * 900 + 0.5, up=True)
        log.tunnel(n * 900 + 600, up=False, reason="RemotelyTriggered")
    log.attempt(quarters * 900, UP_BY_PEER)
    log.tunnel(quarters * 900 + 0.5, up=True)
    log.tunnel(quarters * 900 + 600, up=False, reason="DPD timed out")
    row = log.outage()
    assert verdict(row) == ("PeerStoppedResponding", "High")


# --- 3.5 silence ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "code", "on_demand"),
    [("RemotelyTriggered", 0, True), ("", 13895, True), ("DPD timed out", 0, False), ("", 0, False)],
)
def test_a_leg_that_ends_clean_and_is_dialled_again_by_the_peer_is_on_demand(
    reason: str, code: int, on_demand: bool
) -> None:
    log = ByHand()
    for n in range(4):
        log.attempt(n * AN_HOUR, UP_BY_PEER)
        log.tunnel(n * AN_HOUR + 0.5, up=True)
        log.tunnel(n * AN_HOUR + 1800, up=False, reason=reason, code=code)
    assert len(log.outages()) == (0 if on_demand else 4)


def test_one_that_azure_has_to_dial_or_that_fails_in_between_is_not() -> None:
    for facts, failing in ((UP_BY_AZURE, False), (UP_BY_PEER, True)):
        log = ByHand()
        for n in range(4):
            log.attempt(n * AN_HOUR, facts)
            log.tunnel(n * AN_HOUR + 0.5, up=True)
            log.tunnel(n * AN_HOUR + 1800, up=False, reason="RemotelyTriggered")
            if failing:
                log.attempt(n * AN_HOUR + 2400, REFUSED)
        assert len(log.outages()) == 4


# --- 3.8 severity --------------------------------------------------------------------------------------------------


def severities(rows: list[Row]) -> set[tuple[str, str]]:
    return {(row["Cause"], row["Severity"]) for row in rows}


def test_a_tunnel_that_is_down_is_critical_and_one_that_the_peer_ended_a_warning() -> None:
    log = connected()
    log.tunnel(0, up=False, reason="RemotelyTriggered")
    assert severities(log.outages()) == {("PeerDisconnected", "Warning")}
    log.attempts((600, 640, 680), REFUSED)
    assert severities(log.outages()) == {("PreSharedKeyMismatch", "Critical")}


def test_dead_on_both_legs_is_critical() -> None:
    log = connected()
    log.tunnel(-AN_HOUR, up=True, instance=IN_1)
    for instance in (IN_0, IN_1):
        log.tunnel(0, up=False, reason="DPD timed out", instance=instance)
    row = log.outage()
    assert verdict(row) == ("PeerStoppedResponding", "High")
    assert (row["Severity"], row["Impact"], {leg["State"] for leg in row["Legs"]}) == ("Critical", "Down", {"Down"})


# --- when a change of the cause is told ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "within"),
    [
        ("P_INIT; RECV_IKE AES256/SHA512/DHGroup18; P_INIT_ANS; N_OUT Policy Mismatch", 90),
        ("RECV_IKE AES256/SHA512/DHGroup18; N_OUT Policy Mismatch", 16 * 60),
    ],
    ids=["whole", "half"],
)
def test_an_attempt_that_is_all_there_is_judged_at_once_and_one_that_may_not_be_when_its_time_is_over(
    facts: str, within: int
) -> None:
    log = ByHand()
    log.call()
    log.attempts((0, 70, 140), REFUSED)
    log.attempt(300, facts)  # and not another line of this gateway
    rows = [row for row in in_order(log.records) if row["Cause"] == "IkePolicyMismatch"]
    assert iso(START + 300 * SECOND) < rows[0]["TimeGenerated"] <= iso(START + (300 + within) * SECOND)
    assert (within < 900) is (rows[0]["TimeGenerated"] < iso(START + 900 * SECOND))


@pytest.mark.parametrize("legs", [1, 2])
def test_a_whole_gateway_down_is_critical_and_one_instance_of_two_a_warning(legs: int) -> None:
    peers = [f"198.51.100.{n}" for n in (7, 8, 9)]
    log = connected(*peers)
    if legs == 2:
        for peer in peers:
            log.tunnel(-AN_HOUR + 5, up=True, peer=peer, instance=IN_1)
    for n, peer in enumerate(peers):
        log.tunnel(n, up=False, peer=peer)
    (whole,) = [row for row in log.outages() if row["Scope"] == "Gateway"]
    assert (whole["Severity"], whole["Impact"]) == (("Critical", "Down") if legs == 1 else ("Warning", "Degraded"))
    assert (IN_0 in whole["Summary"]) is (legs == 2)


@pytest.mark.parametrize(
    ("moved", "expected"), [(3, ("GatewayFailover", "Medium")), (2, ("GatewayFailover", "Medium")), (1, None)]
)
@pytest.mark.parametrize("reason", ["", "DPD timed out"])
def test_most_of_a_gateways_tunnels_back_on_the_other_instance_were_taken_over(
    moved: int, expected: tuple[str, str] | None, reason: str
) -> None:
    peers = [f"198.51.100.{n}" for n in (7, 8, 9)]
    log = connected(*peers)
    for n, peer in enumerate(peers):
        log.tunnel(n, up=False, peer=peer, reason=reason)
        log.tunnel(400 + n, up=True, peer=peer, instance=IN_1 if n < moved else IN_0)
    (whole,) = [row for row in log.outages() if row["Scope"] == "Gateway"]
    assert (verdict(whole) == ("GatewayFailover", "Medium")) is (expected is not None)
    assert (whole["ActionOn"] == "Azure") is (expected is not None)


def test_a_phase_two_that_is_refused_for_good_while_connected_is_critical() -> None:
    log = ByHand()
    log.attempt(-600, UP_BY_AZURE)
    log.tunnel(-599, up=True)
    log.attempt(0, "CLOSE 13895")
    log.attempts((10, 80, 150), "TS_PROP 0.0.0.0/0 > 0.0.0.0/0; N_IN Policy Mismatch; CLEAN_QM 13868")
    row = log.outage()
    assert (row["Severity"], row["Impact"], row["Confidence"]) == ("Critical", "Down", "Medium")
    assert "IKE is up, no IPsec SA" in row["Explanation"]
