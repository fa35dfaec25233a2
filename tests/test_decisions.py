"""facts 2.11 to 2.22, row by row: what the cases in `cases/` do not show already, and on which side of each limit a verdict lies.

Expected is what the table says; where a rule differs, its docstring says why.
"""

from __future__ import annotations

import pytest

from ikestream.incident import Row
from ikestream.times import HOUR, SECOND
from ikestream.timestamps import moment
from tests.by_hand import (
    AZURE_2,
    EVERYTHING,
    IN_0,
    IN_1,
    OTHER_PEER,
    UP_BY_AZURE,
    UP_BY_PEER,
    ByHand,
    hypotheses,
    verdict,
)
from tests.streams import START

THIRD_PEER = "198.51.100.9"
AN_HOUR = HOUR // SECOND
ANY = f"{EVERYTHING} > {EVERYTHING}"


def advisories(log: ByHand, cause: str) -> list[Row]:
    return [row for row in log.rows() if row["Kind"] == "Advisory" and row["Cause"] == cause]


def standing(*peers: str, instance: str = IN_0) -> ByHand:
    """The Tunnel log alone: these peers are connected."""
    log = ByHand(instance=instance)
    for n, peer in enumerate(peers or (log.peer,)):
        log.tunnel(-AN_HOUR + n, up=True, peer=peer)
    return log


# --- 2.11 IkeVersionMismatch ---------------------------------------------------------------------------------------


def test_a_version_that_is_refused_after_the_key_was_is_no_longer_ruled_out_by_how_far_the_key_came() -> None:
    log = ByHand()
    log.attempts(range(0, 1200, 60), "A_INIT; A_INIT_ANS; AUTH_OUT; N_IN Authentication failed; CLOSE 13801")
    log.attempts(range(1230, 3000, 60), "A_INIT; N_IN Invalid Major Version")
    row = log.outage()
    assert verdict(row) == ("IkeVersionMismatch", "High")
    assert "the pre-shared keys differ" in row["Explanation"]  # until then, with its span


def test_an_attempt_that_is_answered_on_the_other_leg_rules_the_version_out() -> None:
    log = ByHand()
    log.call()
    for at in range(0, 600, 60):
        log.attempt(at, "A_INIT; N_IN Invalid Major Version")
        log.attempt(at + 20, "A_INIT; A_INIT_ANS; CLOSE 13805", local=AZURE_2, instance=IN_1)
    assert log.outage()["Cause"] != "IkeVersionMismatch"


def test_no_policy_for_a_peer_whose_lines_do_not_say_who_began_may_be_ikev1() -> None:
    log = ByHand()
    log.call()
    log.attempts((0, 60, 120), "RECV_IKE AES256/SHA1/DHGroup2; CLOSE 13825")
    row = log.outage()
    assert verdict(row) == ("Unclassified", "Low")
    assert "another IKE version" in hypotheses(row)


# --- 2.12 ConnectionModeRefused ------------------------------------------------------------------------------------


def test_the_operator_has_refused_the_request_is_another_text_and_no_connection_mode() -> None:
    log = standing()
    log.tunnel(0, up=False)
    log.attempts((10, 40, 70, 100), "P_INIT; CLOSE 4320")
    assert verdict(log.outage()) == ("Unclassified", "Low")


# --- 2.15 PeerDisconnected -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("back", [False, True], ids=["open", "back"])
def test_reauthentication_is_thought_of_where_the_peer_came_back(back: bool) -> None:
    log = standing()
    log.tunnel(0, up=False, reason="RemotelyTriggered")
    if back:
        log.tunnel(150, up=True)
    row = log.outage()
    assert (*verdict(row), row["Severity"]) == ("PeerDisconnected", "Medium", "Warning")
    assert ("reauthentication" in hypotheses(row)) is back
    assert "idle" in hypotheses(row)
    assert "Somebody cleared" in hypotheses(row)


# --- 2.16 RekeyFailed ----------------------------------------------------------------------------------------------


def test_when_it_will_drop_is_counted_from_the_newest_child_that_the_log_shows() -> None:
    log = ByHand()
    log.attempt(0, UP_BY_AZURE)
    log.attempt(6 * AN_HOUR, f"TS_PROP {ANY}; CLEAN_QM 13805")
    log.attempt(7 * AN_HOUR, "A_INIT", peer=OTHER_PEER)  # the log goes on
    (row,) = advisories(log, "RekeyFailed")
    assert (row["Severity"], row["Resolution"]) == ("Warning", "NotObserved")  # it did not drop after all
    assert f"by {moment(START + 27_000 * SECOND)} UTC at the latest" in row["Explanation"]


@pytest.mark.parametrize("before", [True, False])
def test_or_from_the_failure_where_the_log_shows_none_that_can_still_live(before: bool) -> None:
    log = standing()
    if before:
        log.attempt(-9 * AN_HOUR, UP_BY_AZURE)
    log.attempt(0, f"TS_PROP {ANY}; CLEAN_QM 13805")
    log.attempt(AN_HOUR, "A_INIT", peer=OTHER_PEER)
    (row,) = advisories(log, "RekeyFailed")
    assert f"by {moment(START + 27_000 * SECOND)} UTC at the latest" in row["Explanation"]


# --- 2.17 GatewayMaintenance ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "cause"),
    [(-300, "GatewayMaintenance"), (-301, "Unclassified"), (600, "GatewayMaintenance"), (601, "Unclassified")],
)
def test_maintenance_counts_from_five_minutes_before_the_drop_to_ten_after(event: int, cause: str) -> None:
    log = standing()
    log.tunnel(0, up=False)
    log.operation(event, "HostMaintenanceEvent", instance=IN_0)
    log.tunnel(240, up=True)
    assert log.outage()["Cause"] == cause


@pytest.mark.parametrize(
    ("apart", "cause", "confidence"),
    [(120, "GatewayMaintenance", "High"), (121, "Unclassified", "Low")],
)
def test_two_legs_of_the_instance_within_two_minutes_are_the_instance(apart: int, cause: str, confidence: str) -> None:
    log = standing(ByHand().peer, OTHER_PEER, THIRD_PEER)
    log.operation(0, "HostMaintenanceEvent", instance=IN_0)
    log.tunnel(0, up=False)
    log.tunnel(apart, up=False, peer=OTHER_PEER)
    found = {row["RemoteIP"]: verdict(row) for row in log.outages()}
    assert found == {log.peer: (cause, confidence), OTHER_PEER: (cause, confidence)}


@pytest.mark.parametrize("reason", ["StandbyChanged", "GlobalStandbyChanged"])
def test_a_reason_that_says_so_is_enough(reason: str) -> None:
    log = standing(ByHand().peer, OTHER_PEER, THIRD_PEER)
    log.tunnel(0, up=False, reason=reason)
    assert verdict(log.outage()) == ("GatewayMaintenance", "High")


def test_the_only_leg_of_the_instance_is_all_of_them() -> None:
    log = standing()
    for peer in (OTHER_PEER, THIRD_PEER):
        log.tunnel(-AN_HOUR, up=True, peer=peer, instance=IN_1)
    log.operation(0, "HostMaintenanceEvent", instance=IN_0)
    log.tunnel(5, up=False)
    assert verdict(log.outage()) == ("GatewayMaintenance", "High")


@pytest.mark.parametrize("reason", ["", "DPD timed out", "RemotelyTriggered"])
def test_where_the_other_tunnels_of_the_instance_stood_maintenance_stays_a_hypothesis(reason: str) -> None:
    log = standing(ByHand().peer, OTHER_PEER, THIRD_PEER)
    log.operation(-30, "HostMaintenanceEvent", instance=IN_0)
    log.tunnel(0, up=False, reason=reason)
    row = log.outage()
    assert row["Cause"] in ("Unclassified", "PeerStoppedResponding", "PeerDisconnected")
    assert "Azure's maintenance" in hypotheses(row)


def test_of_a_tunnel_that_never_was_up_maintenance_is_no_hypothesis() -> None:
    log = standing(OTHER_PEER, THIRD_PEER)
    log.operation(-30, "HostMaintenanceEvent", instance=IN_0)
    log.attempts((0, 60, 120), "A_INIT; CLOSE 1225")
    row = log.outage()
    assert row["Cause"] == "Unclassified"
    assert "maintenance" not in hypotheses(row)


def test_maintenance_of_another_instance_is_no_hypothesis() -> None:
    log = standing(ByHand().peer, OTHER_PEER, THIRD_PEER)
    log.operation(-30, "HostMaintenanceEvent", instance=IN_1)
    log.tunnel(0, up=False, reason="DPD timed out")
    assert "maintenance" not in hypotheses(log.outage())


# --- 2.18 GatewayFailover ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gap", "expected"), [(180, ("GatewayFailover", "High")), (181, ("Unclassified", "Low"))])
def test_up_on_the_other_instance_within_three_minutes_is_a_takeover(gap: int, expected: tuple[str, str]) -> None:
    log = standing()
    log.tunnel(0, up=False)
    log.tunnel(gap, up=True, instance=IN_1)
    assert verdict(log.outage()) == expected


def test_two_peers_that_come_back_on_the_other_instance_minutes_later_were_taken_over() -> None:
    log = standing(ByHand().peer, OTHER_PEER)
    for n, peer in enumerate((log.peer, OTHER_PEER)):
        log.tunnel(n, up=False, peer=peer)
        log.tunnel(330 + 40 * n, up=True, peer=peer, instance=IN_1)
    assert [verdict(row) for row in log.outages()] == [("GatewayFailover", "Medium")] * 2


@pytest.mark.parametrize("how", ["the other came back where it was", "the other had been up on both", "too late"])
def test_one_that_moved_alone_was_not(how: str) -> None:
    log = standing(ByHand().peer, OTHER_PEER)
    if how == "the other had been up on both":
        log.tunnel(-AN_HOUR + 5, up=True, peer=OTHER_PEER, instance=IN_1)
    for n, peer in enumerate((log.peer, OTHER_PEER)):
        log.tunnel(n, up=False, peer=peer)
    log.tunnel(330, up=True, instance=IN_1)
    there = IN_0 if how == "the other came back where it was" else IN_1
    log.tunnel(700 if how == "too late" else 340, up=True, peer=OTHER_PEER, instance=there)
    (row,) = [row for row in log.outages() if row["RemoteIP"] == log.peer]
    assert verdict(row) == ("Unclassified", "Low")


# --- 2.19 ConfigurationChanged -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "back", "cause"),
    [
        (-900, 300, "ConfigurationChanged"),
        (-901, 300, "Unclassified"),
        (300, 200, "ConfigurationChanged"),  # written after it was back
        (301, 200, "Unclassified"),
        (-60, 301, "Unclassified"),
    ],
)
def test_a_change_counts_from_a_quarter_of_an_hour_before_to_five_minutes_after(
    event: int, back: int, cause: str
) -> None:
    log = standing()
    log.operation(event, "SetGatewayConfiguration")
    log.tunnel(0, up=False)
    log.tunnel(back, up=True)
    row = log.outage()
    assert verdict(row) == (cause, "Medium" if cause == "ConfigurationChanged" else "Low")
    if cause == "ConfigurationChanged":
        assert "another connection" in hypotheses(row)


def test_a_refusal_after_the_change_is_the_cause_and_the_change_stands_beside_it() -> None:
    log = ByHand()
    log.attempt(-AN_HOUR, UP_BY_AZURE)
    log.operation(-10, "SetConnectionConfiguration")
    log.attempt(0, "CLOSE 13849")
    log.attempts(range(30, 300, 30), "P_INIT; P_INIT_ANS; AUTH_IN; N_OUT Authentication failed; CLOSE 13801")
    row = log.outage()
    assert verdict(row) == ("PreSharedKeyMismatch", "High")
    assert any(change["What"] == "SetConnectionConfiguration" for change in row["ChangedSince"])


def test_a_connection_that_was_removed_while_it_was_up_is_told_for_the_record() -> None:
    log = standing()
    log.tunnel(0, up=False, reason="TunnelRemoved")
    row = log.outage()
    assert (*verdict(row), row["Severity"], row["Resolution"]) == (
        "ConfigurationChanged", "High", "Informational", "Removed",
    )  # fmt: skip


# --- 2.20 BgpPeerDown ----------------------------------------------------------------------------------------------


def bgp_rows(log: ByHand) -> list[Row]:
    return [row for row in log.outages() if row["Cause"] == "BgpPeerDown"]


@pytest.mark.parametrize("before", [True, False])
def test_a_tunnel_that_drops_within_two_hundred_seconds_is_the_reason(before: bool) -> None:
    for gap, expected in ((199, 0), (201, 1)):
        log = standing()
        log.bgp(0, up=False)
        drop = -gap if before else gap
        log.tunnel(drop, up=False)
        log.tunnel(drop + 10, up=True)
        assert len(bgp_rows(log)) == expected, gap


def test_a_session_that_is_back_within_its_hold_is_none() -> None:
    for back, expected in ((199, 0), (201, 1)):
        log = standing()
        log.bgp(0, up=False)
        log.bgp(back, up=True)
        assert len(bgp_rows(log)) == expected, back


def test_a_session_on_the_instance_whose_leg_is_long_down_is_the_legs() -> None:
    log = standing()
    log.tunnel(-AN_HOUR, up=True, instance=IN_1)
    log.tunnel(-1200, up=False, instance=IN_1, reason="DPD timed out")
    log.bgp(0, up=False, instance=IN_1)
    assert bgp_rows(log) == []
    log.bgp(0, up=False, instance=IN_0)
    assert len(bgp_rows(log)) == 1


def test_every_session_of_one_instance_at_once_speaks_for_maintenance() -> None:
    log = standing(ByHand().peer, OTHER_PEER)
    for n in range(4):
        log.bgp(-AN_HOUR, up=True, address=f"10.99.0.{n + 1}", instance=(IN_0, IN_1)[n // 2])
    for n in range(2):
        log.bgp(n, up=False, address=f"10.99.0.{n + 1}")
    found = bgp_rows(log)
    assert [(row["Confidence"], row["ActionOn"]) for row in found] == [("Medium", "Unknown")] * 2
    assert all(row["Hypotheses"][0]["Cause"].startswith("Azure did maintenance") for row in found)

    log.bgp(-AN_HOUR, up=True, address="10.99.0.9")  # and one of that instance stands
    assert {row["Confidence"] for row in bgp_rows(log)} == {"High"}


def test_it_is_an_error_where_the_tunnel_has_no_session_left_and_a_warning_where_it_has() -> None:
    log = standing()
    log.bgp(-AN_HOUR, up=True, address="10.99.0.1")
    log.bgp(0, up=False, address="10.99.0.1")
    (alone,) = bgp_rows(log)
    log.bgp(AN_HOUR, up=True, address="10.99.0.3")  # nobody knows whether it was up before
    assert [row["Severity"] for row in bgp_rows(log)] == ["Error"]
    log.bgp(-AN_HOUR, up=True, address="10.99.0.2")
    (row,) = bgp_rows(log)
    assert (alone["Severity"], row["Severity"]) == ("Error", "Warning")

    log.bgp(AN_HOUR - 60, up=False, address="10.99.0.2")  # now it has none
    assert {row["Severity"] for row in bgp_rows(log)} == {"Error"}


# --- 2.21 Unclassified ---------------------------------------------------------------------------------------------


def test_what_either_side_offered_is_carried() -> None:
    log = ByHand()
    log.attempts((0, 60, 120), "A_INIT; SEND_IKE AES256/SHA1/DHGroup2; CLOSE 1225")
    log.attempts((30, 90, 150), "P_INIT; RECV_IKE AES256/SHA256/DHGroup14; CLOSE 13825")
    row = log.outage()
    assert verdict(row) == ("Unclassified", "Low")
    assert row["AzureOffers"] == [{"Encryption": "AES256", "Integrity": "SHA1", "Group": "DHGroup2"}]
    assert row["PeerOffers"] == [{"Encryption": "AES256", "Integrity": "SHA256", "Group": "DHGroup14"}]
    assert row["OffersSource"] == "Logged"


@pytest.mark.parametrize("code", [13895, 13821, 13878, 13902, 13844, 13845, 13803, 4320, 13890, 13879])
def test_a_close_that_is_benign_makes_nothing_of_a_tunnel_that_is_up(code: int) -> None:
    log = ByHand()
    log.attempt(-AN_HOUR, UP_BY_AZURE)
    log.attempts((0, 60, 120), f"CLOSE {code}")
    assert log.outages() == []


# --- 2.22 advisories -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("away", "count"), [(299, 0), (301, 1)])
def test_a_leg_is_missed_after_five_minutes(away: int, count: int) -> None:
    log = standing()
    log.tunnel(-AN_HOUR, up=True, instance=IN_1)
    log.tunnel(0, up=False, instance=IN_1)
    log.tunnel(away, up=True, instance=IN_1)
    assert [row["Severity"] for row in advisories(log, "RedundancyLost")] == ["Warning"] * count
    assert log.outages() == []


@pytest.mark.parametrize(
    ("facts", "confidence", "only", "severity"),
    [
        (f"TS_PROP {ANY}; N_IN Policy Mismatch", "Medium", False, "Warning"),
        (f"TS_PROP {ANY}; N_IN Traffic Selectors Unacceptable", "Medium", False, "Warning"),
        (f"TS_PROP {ANY}; CLEAN_QM 13805", "Low", False, "Warning"),
        (f"TS_PROP {ANY}; CLEAN_QM 13805", "Low", True, "Error"),
    ],
    ids=["refused", "selectors", "unanswered", "unanswered and the only one"],
)
def test_a_child_that_fails_twice_in_ten_minutes(facts: str, confidence: str, only: bool, severity: str) -> None:
    for apart, count in ((600, 1), (601, 0)):
        log = ByHand()
        if not only:
            log.attempt(-600, UP_BY_AZURE)
        log.tunnel(-300, up=True)
        log.attempts((0, apart), facts)
        found = advisories(log, "ChildSaFailing")
        assert [(row["Confidence"], row["Severity"]) for row in found] == [(confidence, severity)] * count, apart
        assert log.outages() == []


@pytest.mark.parametrize(("apart", "count"), [(12 * AN_HOUR, 1), (12 * AN_HOUR + 1, 0)])
@pytest.mark.parametrize("facts", ["N_IN TEMPORARY_FAILURE", "N_OUT CHILD_SA_NOT_FOUND", "CLOSE 13821"])
def test_three_collisions_within_a_day(facts: str, apart: int, count: int) -> None:
    log = ByHand()
    log.attempt(-60, UP_BY_AZURE)
    log.attempts((0, apart, 2 * apart), facts)
    assert [row["Severity"] for row in advisories(log, "RekeyCollision")] == ["Informational"] * count


@pytest.mark.parametrize(
    ("ike", "esp", "weak"),
    [
        ("AES256/SHA256/DHGroup14", "GCMAES256", ""),
        ("AES256/SHA384/ECP384", "AES256/SHA256/PFS2048", ""),
        ("DES/SHA256/DHGroup14", "GCMAES256", "DES"),
        ("DES3/SHA256/DHGroup14", "GCMAES256", "DES3"),
        ("AES256/MD5/DHGroup14", "GCMAES256", "MD5"),
        ("AES256/SHA1/DHGroup14", "GCMAES256", "SHA1"),
        *((f"AES256/SHA256/DHGroup{n}", "GCMAES256", f"DHGroup{n}") for n in (1, 2, 5, 22, 23, 24)),
        *((f"AES256/SHA256/DHGroup{n}", "GCMAES256", "") for n in (14, 15, 16, 19, 20, 21)),
        ("AES256/SHA256/DHGroup14", "None/SHA256", "no encryption"),
        ("AES256/SHA256/DHGroup14", "AES256/MD5", "MD5"),
    ],
)
def test_what_is_weak_when_it_is_chosen(ike: str, esp: str, weak: str) -> None:
    log = ByHand()
    offered = "DES/MD5/DHGroup1, " + ike  # what is offered does not count
    log.attempt(
        0,
        f"A_INIT; SEND_IKE {offered}; A_INIT_ANS; RECV_IKE {ike}; AUTH_OUT; AUTH_IN; RECV_ESP {esp}; TS_FINAL {ANY}",
    )
    found = advisories(log, "WeakCryptography")
    assert [row["Severity"] for row in found] == ["Informational"] * bool(weak)
    assert all(f" {weak} (phase".lower() in row["Explanation"].lower() for row in found)


def test_strangers_are_one_row_a_day_with_ten_addresses_at_most() -> None:
    log = ByHand()
    for n in range(12):
        log.attempt(n * 60, "P_INIT; N_OUT Policy Mismatch", peer=f"192.0.2.{n + 100}")
    (row,) = advisories(log, "UnknownPeer")
    assert "12 addresses" in row["Summary"]
    assert sum(f"192.0.2.{n + 100} " in row["Explanation"] for n in range(12)) == 10
    assert (row["Severity"], row["Impact"]) == ("Informational", "None")


@pytest.mark.parametrize(("drops", "severity"), [(3, "Warning"), (5, "Warning"), (6, "Error")])
def test_flapping_is_an_error_from_six_an_hour(drops: int, severity: str) -> None:
    log = standing()
    for n in range(drops):
        log.tunnel(n * 600, up=False)
        log.tunnel(n * 600 + 20, up=True)
    assert [row["Severity"] for row in advisories(log, "Flapping")] == [severity]


@pytest.mark.parametrize(("up", "away", "told"), [(28_800, 30, True), (28_800, 70, False), (20_000, 30, False)])
def test_a_peer_that_renews_with_a_gap_when_the_lifetime_is_over_does_not_dial_on_demand(
    up: int, away: int, told: bool
) -> None:
    log = ByHand()
    for n in range(4):
        log.attempt(n * (up + away), UP_BY_PEER)
        log.tunnel(n * (up + away) + 0.5, up=True)
        log.attempt(n * (up + away) + up - 1, "CLOSE 13885")
        log.tunnel(n * (up + away) + up, up=False)
    log.attempt(4 * (up + away), UP_BY_PEER)
    log.tunnel(4 * (up + away) + 0.5, up=True)
    found = advisories(log, "PeriodicDrop")
    assert [(row["Severity"], "28,800" in row["Explanation"]) for row in found] == [("Warning", True)] * told
    assert log.outages() == []


@pytest.mark.parametrize(
    ("distance", "jitter", "away", "told"),
    [
        (28_800, 0, 8, ("Informational", "28,800")),
        (27_000, 500, 8, ("Informational", "27,000")),
        (3_600, 100, 30, ("Warning", "3,600")),
        (86_400, 0, 12, ("Warning", "86,400")),
        (3_600, 400, 30, None),  # not within 5 %
        (10_000, 0, 30, None),  # no lifetime, and only three
    ],
)
def test_three_drops_at_equal_distances(distance: int, jitter: int, away: int, told: tuple[str, str] | None) -> None:
    log = standing()
    for n in range(3):
        at = n * distance + (jitter if n == 2 else 0)
        log.tunnel(at, up=False)
        log.tunnel(at + away, up=True)
    found = advisories(log, "PeriodicDrop")
    assert [row["Severity"] for row in found] == ([told[0]] if told else [])
    assert all(told is not None and told[1] in row["Explanation"] for row in found)
