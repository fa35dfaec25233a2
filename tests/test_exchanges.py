"""The decision tables of the causes that an exchange shows (facts 2.1 to 2.10): what is sufficient, and what forbids it.

A row whose story is told whole in `cases/` is not told again here.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from ikestream.events import Proposal
from ikestream.inventory import Connection, Inventory, VpnGateway, renew
from ikestream.inventory.connections import Listing
from tests.by_hand import AZURE, AZURE_2, EVERYTHING, IN_1, PEER, UP_BY_AZURE, UP_BY_PEER, ByHand, hypotheses, verdict
from tests.streams import GATEWAY

AGAIN = (0, 70, 140, 210, 280, 350)
LATER = tuple(at + 30 for at in AGAIN)
ASKED = "A_INIT; A_INIT_ANS"
CALLED = "P_INIT; P_INIT_ANS"
ANY = f"{EVERYTHING} > {EVERYTHING}"
KEY_IN = "N_IN Authentication failed; CLOSE 13801"
KEY_OUT = "N_OUT Authentication failed; CLOSE 13801"
POLICY_IN = "N_IN Policy Mismatch; CLOSE 13868"
STRONG_IKE, STRONG_ESP = "AES256/SHA256/DHGroup14", "GCMAES256"


def configured(**settings: object) -> Inventory:
    """What Azure holds about the one connection of the log."""
    connection = Connection(id="/connections/cn", name="cn", resource_group="rg", remote=PEER)
    gateway = VpnGateway(GATEWAY, "VNG-LAB", "RG")
    return renew(Inventory(), [Listing(gateway, (replace(connection, **settings),))], 0)  # type: ignore[arg-type]


# --- 2.1 PreSharedKeyMismatch -------------------------------------------------------------------------------------


def test_key_each_side_refuses_the_other() -> None:
    log = ByHand()
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; {KEY_IN}")
    log.attempts(LATER, f"{CALLED}; AUTH_IN; {KEY_OUT}")
    row = log.outage()
    assert verdict(row) == ("PreSharedKeyMismatch", "High")
    assert "each side refused the other" in row["Explanation"]
    assert "cannot show which one is wrong" in row["Explanation"]


def test_key_13826_where_azure_initiated_is_the_usual_reading_only() -> None:
    log = ByHand()
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; AUTH_IN; CLOSE 13826")
    assert verdict(log.outage()) == ("PreSharedKeyMismatch", "Medium")


def test_key_worked_before_the_same_way_round() -> None:
    log = ByHand()
    log.attempt(-3600, UP_BY_AZURE)
    log.attempt(-1, "CLOSE 13885")
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; {KEY_IN}")
    assert verdict(log.outage()) == ("PreSharedKeyMismatch", "High")


def test_key_worked_before_only_the_other_way_round() -> None:
    log = ByHand()
    log.attempt(-3600, UP_BY_PEER)
    log.attempt(-1, "CLOSE 13885")
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; {KEY_IN}")
    assert verdict(log.outage()) == ("PreSharedKeyMismatch", "Medium")


def test_key_worked_before_only_on_the_other_leg() -> None:
    log = ByHand()
    log.attempt(-3600, UP_BY_AZURE, local=AZURE_2, instance=IN_1)
    log.attempt(-1, "CLOSE 13885", local=AZURE_2, instance=IN_1)
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; {KEY_IN}")
    assert verdict(log.outage()) == ("PreSharedKeyMismatch", "Medium")


def test_key_changed_by_azures_own_word() -> None:
    """The Tunnel log alone knows that it was up; its reason says that the key was changed."""
    log = ByHand()
    log.tunnel(-3600, up=True)
    log.tunnel(-5, up=False, reason="Pre-shared Key Changed")
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; {KEY_IN}")
    row = log.outage()
    assert verdict(row) == ("PreSharedKeyMismatch", "High")
    assert "the key of this connection was changed" in row["Explanation"]


@pytest.mark.parametrize("code", [13889, 13834, 13869])
def test_key_is_not_the_reason_where_a_code_says_identity_or_method(code: int) -> None:
    log = ByHand()
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; N_IN Authentication failed; CLOSE {code}")
    assert log.outage()["Cause"] == "Unclassified"


def test_key_is_not_the_reason_where_the_other_address_authenticates() -> None:
    log = ByHand()
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; {KEY_IN}")
    log.attempts(LATER, f"{ASKED}; AUTH_OUT; AUTH_IN; SEND_ESP GCMAES256; {POLICY_IN}", local=AZURE_2, instance=IN_1)
    assert log.outage()["Cause"] == "IpsecPolicyMismatch"


def test_key_of_both_legs() -> None:
    log = ByHand()
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; {KEY_IN}")
    log.attempts(LATER, f"{ASKED}; AUTH_OUT; {KEY_IN}", local=AZURE_2, instance=IN_1)
    row = log.outage()
    assert verdict(row) == ("PreSharedKeyMismatch", "Medium")
    assert row["Attempts"] == 12


def test_key_of_one_leg_while_the_other_is_up_is_the_peers_address_list() -> None:
    log = ByHand()
    log.attempt(-3600, UP_BY_AZURE, local=AZURE_2, instance=IN_1)
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; {KEY_IN}")
    assert log.outages() == []
    (row,) = (r for r in log.rows() if r["Cause"] == "RedundancyLost")
    assert row["ActionOn"] == "Peer"
    assert "only one of Azure's two addresses" in hypotheses(row)


def test_key_hypotheses_and_what_is_never_said() -> None:
    log = ByHand()
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; {KEY_IN}")
    row = log.outage()
    assert [h["Cause"].split(" ")[0] for h in row["Hypotheses"]] == ["The", "Keys"]
    assert "identity (remote ID)" in row["Hypotheses"][0]["Cause"]
    assert "swapped between two connections, cut" in row["Hypotheses"][1]["Cause"]
    assert "by telephone, never by log" in row["Hypotheses"][1]["Check"]
    assert row["ActionOn"] == "Both"
    assert "SPI" in row["MissingEvidence"]
    assert "Most likely the pre-shared keys" in row["Explanation"]
    log = ByHand()
    log.call()
    log.attempts(AGAIN, f"{CALLED}; AUTH_IN; {KEY_OUT}")
    assert "Most likely" not in log.outage()["Explanation"]


# --- 2.2 CertificateAuthenticationFailed --------------------------------------------------------------------------


def test_certificate_by_configuration() -> None:
    """No line carries the method: the connection does."""
    log = ByHand()
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; {KEY_IN}")
    assert verdict(log.outage(configured(method="Certificate"))) == ("CertificateAuthenticationFailed", "Medium")
    assert verdict(log.outage(configured(method="PSK"))) == ("PreSharedKeyMismatch", "Medium")


def test_certificate_what_azure_logs_goes_before_what_is_configured() -> None:
    log = ByHand()
    log.attempts(AGAIN, f"A_INIT; SEND_IKE {STRONG_IKE}; A_INIT_ANS; AUTH_OUT; {KEY_IN}")
    assert log.outage(configured(method="Certificate"))["Cause"] == "PreSharedKeyMismatch"


def test_certificate_hypotheses() -> None:
    log = ByHand(method="Certificate")
    log.attempts(AGAIN, f"A_INIT; SEND_IKE {STRONG_IKE}; A_INIT_ANS; AUTH_OUT; {KEY_IN}")
    row = log.outage()
    for named in ("expired", "chain", "too long", "revocation"):
        assert named in hypotheses(row)
    assert "validity dates of both" in row["MissingEvidence"]


# --- 2.3 IkePolicyMismatch ----------------------------------------------------------------------------------------


def test_phase_1_a_group_that_the_peer_asked_for_and_got_is_no_mismatch() -> None:
    log = ByHand()
    log.attempts(AGAIN, "A_INIT; N_IN Invalid KE Payload; A_INIT; A_INIT_ANS; AUTH_OUT; CLOSE 13805")
    assert verdict(log.outage()) == ("NegotiationStalled", "Low")


def test_phase_1_a_group_that_the_peer_asked_for_and_got_and_then_udp_4500() -> None:
    log = ByHand()
    log.attempts(AGAIN, "A_INIT; N_IN Invalid KE Payload; A_INIT; A_INIT_ANS; AUTH_OUT; CLOSE 13805", auth_port=4500)
    assert verdict(log.outage()) == ("NatTraversalBlocked", "Medium")


@pytest.mark.parametrize("facts", ["A_INIT; N_IN Invalid KE Payload", "P_INIT; N_OUT Invalid KE Payload"])
def test_phase_1_a_group_that_is_asked_for_again_and_again(facts: str) -> None:
    log = ByHand()
    log.call()
    log.attempts(AGAIN, facts)
    row = log.outage()
    assert verdict(row) == ("IkePolicyMismatch", "Medium")
    assert "ended at the Diffie-Hellman group" in row["Explanation"]
    assert ("because the peer has not initiated" in row["Explanation"]) is facts.startswith("A_INIT")
    assert row["ErrorCode"] is None  # no line has one
    assert row["Hypotheses"] == []


@pytest.mark.parametrize("code", [13822, 13864, 13865])
def test_phase_1_a_group_that_cannot_be_computed(code: int) -> None:
    log = ByHand()
    log.attempts(AGAIN, f"{ASKED}; CLOSE {code}")
    assert verdict(log.outage()) == ("IkePolicyMismatch", "Medium")


def test_phase_1_one_direction_only_is_a_connection_that_the_peer_does_not_have() -> None:
    """In the same minutes the peer's own attempts get beyond phase 1: the proposals fit (R11)."""
    log = ByHand()
    log.attempts(AGAIN, f"A_INIT; {POLICY_IN}")
    log.attempts(LATER, f"{CALLED}; AUTH_IN; AUTH_OUT")
    row = log.outage()
    assert verdict(row) == ("IkePolicyMismatch", "Low")
    assert row["Mismatch"] == []
    assert "no connection for this Azure address" in row["Hypotheses"][0]["Cause"]
    assert row["ActionOn"] == "Peer"
    assert "see that a connection exists for" in row["Fix"]
    assert "All of it is weak" not in row["Fix"]


@pytest.mark.parametrize(("hours", "local"), [(1, AZURE), (0, AZURE_2)])
def test_phase_1_one_direction_counts_on_the_same_leg_in_the_same_minutes(hours: int, local: str) -> None:
    log = ByHand()
    log.attempts([at - 3600 * hours for at in LATER], f"{CALLED}; AUTH_IN; AUTH_OUT", local=local)
    log.attempts(AGAIN, f"A_INIT; {POLICY_IN}")
    assert verdict(log.outage()) == ("IkePolicyMismatch", "Medium")


def test_phase_1_common_proposals_and_the_order_of_what_else_it_may_be() -> None:
    log = ByHand()
    log.attempts(AGAIN, f"A_INIT; SEND_IKE {STRONG_IKE}; {POLICY_IN}")
    log.attempts(LATER, f"P_INIT; RECV_IKE {STRONG_IKE}")
    row = log.outage()
    assert verdict(row) == ("IkePolicyMismatch", "Low")
    assert row["Mismatch"] == []
    found = [h["Cause"] for h in row["Hypotheses"]]
    assert ["no connection" in found[0], "PRF" in found[1], "changed between" in found[2]] == [True] * 3


def test_phase_1_both_sides_offers_are_known() -> None:
    log = ByHand()
    log.attempts(AGAIN, f"A_INIT; SEND_IKE {STRONG_IKE}; {POLICY_IN}")
    log.attempts(LATER, "P_INIT; RECV_IKE AES256/SHA384/DHGroup14")
    row = log.outage()
    assert verdict(row) == ("IkePolicyMismatch", "High")
    assert row["Mismatch"] == [{"Parameter": "IkeIntegrity", "Azure": ["SHA256"], "Peer": ["SHA384"]}]


# --- 2.4 IpsecPolicyMismatch --------------------------------------------------------------------------------------


def test_phase_2_both_sides_offers_are_known() -> None:
    log = ByHand()
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; SEND_ESP {STRONG_ESP}; AUTH_IN; {POLICY_IN}")
    log.attempts(LATER, f"{CALLED}; AUTH_IN; RECV_ESP AES256/SHA256; N_OUT Policy Mismatch")
    row = log.outage()
    assert verdict(row) == ("IpsecPolicyMismatch", "High")
    assert [m["Parameter"] for m in row["Mismatch"]] == ["IpsecEncryption", "IpsecIntegrity"]


@pytest.mark.parametrize("ends", [POLICY_IN, "CLEAN_QM 13868"])
def test_phase_2_the_selectors_are_named_in_the_same_session(ends: str) -> None:
    log = ByHand()
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; TS_PROP {ANY}; AUTH_IN; N_IN Traffic Selectors Unacceptable; {ends}")
    assert log.outage()["Cause"] == "TrafficSelectorMismatch"


# --- 2.5 PfsMismatch ----------------------------------------------------------------------------------------------


def renewals(log: ByHand, refused: str, *extra: str) -> None:
    log.attempt(0, UP_BY_AZURE.replace("AUTH_IN;", f"SEND_ESP {STRONG_ESP}; AUTH_IN; RECV_ESP {STRONG_ESP};"))
    log.attempts((3000, 3030, 3060), refused)
    for facts in extra:
        log.attempt(3061, facts)
    log.attempt(3120, "CLOSE 13885")


@pytest.mark.parametrize("beside", ["CLOSE 13821", "N_IN TEMPORARY_FAILURE"])
def test_pfs_not_where_both_renewed_at_once(beside: str) -> None:
    log = ByHand()
    renewals(log, f"SEND_ESP {STRONG_ESP}; N_IN Policy Mismatch", beside)
    assert log.outage()["Cause"] != "PfsMismatch"


def test_pfs_not_where_azure_and_the_peer_have_none() -> None:
    log = ByHand()
    renewals(
        log, "SAY [RECEIVED]Received IPSec payload: Policy1:Cipher=AES-GCM-256 PfsGroup=None; N_OUT Policy Mismatch"
    )
    policy = {"ike": Proposal("AES256", "SHA256", "DHGroup14"), "ipsec": Proposal("GCMAES256", "GCMAES256", "None")}
    assert log.outage(configured(**policy))["Cause"] == "IpsecPolicyMismatch"
    assert (
        log.outage(configured(**policy | {"ipsec": Proposal("GCMAES256", "GCMAES256", "PFS2048")}))["Cause"]
        == "PfsMismatch"
    )


def test_pfs_known_on_azures_side() -> None:
    log = ByHand()
    renewals(log, f"SEND_ESP {STRONG_ESP}; N_IN Policy Mismatch")
    row = log.outage(
        configured(ike=Proposal("AES256", "SHA256", "DHGroup14"), ipsec=Proposal("GCMAES256", "GCMAES256", "PFS2048"))
    )
    assert verdict(row) == ("PfsMismatch", "High")
    assert "PFS2048" in row["Explanation"]


# --- 2.6 TrafficSelectorMismatch ----------------------------------------------------------------------------------

REFUSED_TS = "N_IN Traffic Selectors Unacceptable"


def test_selectors_by_role() -> None:
    """R4: TSi is Azure's side when Azure begins and the peer's side when the peer begins."""
    log = ByHand()
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; TS_PROP 10.1.0.0/16 > 10.2.0.0/16; AUTH_IN; {REFUSED_TS}")
    log.attempts(LATER, f"{CALLED}; AUTH_IN; TS_REQ 10.9.0.0/16 > 10.1.0.0/16; N_OUT Traffic Selectors Unacceptable")
    row = log.outage()
    assert verdict(row) == ("TrafficSelectorMismatch", "High")
    assert row["Mismatch"] == [{"Parameter": "RemoteSelectors", "Azure": ["10.2.0.0/16"], "Peer": ["10.9.0.0/16"]}]


def test_selectors_of_an_unknown_role_are_compared_with_nothing() -> None:
    log = ByHand()
    log.attempts(AGAIN, f"A_INIT; P_INIT; AUTH_OUT; TS_PROP 10.1.0.0/16 > 10.2.0.0/16; {REFUSED_TS}")
    log.attempts(LATER, f"{CALLED}; AUTH_IN; TS_REQ 10.9.0.0/16 > 10.1.0.0/16; N_OUT Traffic Selectors Unacceptable")
    row = log.outage()
    assert verdict(row) == ("TrafficSelectorMismatch", "High")
    assert row["Mismatch"] == []
    assert "Azure's selectors" in row["MissingEvidence"]


def test_selectors_are_unions_and_the_first_packet_adds_nothing() -> None:
    """R5."""
    log = ByHand()
    log.attempts(
        AGAIN,
        f"{ASKED}; AUTH_OUT; TS_PROP 10.1.0.4:6:443, 10.1.0.0/17, 10.1.128.0/17 > 10.2.0.8:6:443, 10.2.0.0/16; AUTH_IN; {REFUSED_TS}",
    )
    log.attempts(LATER, f"{CALLED}; AUTH_IN; TS_REQ 10.2.0.0/16 > 10.1.0.0/16; N_OUT Traffic Selectors Unacceptable")
    row = log.outage()
    assert row["Mismatch"] == []
    assert "the same" in row["Explanation"]


def test_selectors_missing_and_too_wide_on_each_side() -> None:
    log = ByHand()
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; TS_PROP 10.1.0.0/16 > 10.2.0.0/16; AUTH_IN; {REFUSED_TS}")
    log.attempts(LATER, f"{CALLED}; AUTH_IN; TS_REQ 10.2.0.0/15 > 10.1.0.0/17; N_OUT Traffic Selectors Unacceptable")
    row = log.outage()
    assert "the peer lacks 10.1.128.0/17 behind Azure" in row["Explanation"]
    assert "10.3.0.0/16 behind the peer, which Azure does not have" in row["Explanation"]


@pytest.mark.parametrize(("ends", "known"), [(REFUSED_TS, True), ("EVENT SA_NEGOTIATION_FAILED; CLOSE 13805", False)])
def test_selectors_travel_with_auth_so_a_timeout_does_not_prove_it(ends: str, known: bool) -> None:
    log = ByHand()
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; TS_PROP {ANY}; {ends}")
    row = log.outage()
    assert row["Cause"] == "TrafficSelectorMismatch"
    assert ("authentication went well" in row["Explanation"]) is known
    assert ("UDP 4500" in hypotheses(row)) is not known


@pytest.mark.parametrize("asks", ["10.9.0.0/16 > 10.1.0.0/16", "10.2.0.0/16 > 10.7.0.0/16"])
def test_selectors_that_are_seen_to_be_apart_need_no_other_word(asks: str) -> None:
    log = ByHand()
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; TS_PROP 10.1.0.0/16 > 10.2.0.0/16; AUTH_IN; CLOSE 13805")
    log.attempts(LATER, f"{CALLED}; AUTH_IN; TS_REQ {asks}")
    row = log.outage()
    assert verdict(row) == ("TrafficSelectorMismatch", "High")
    assert "nothing in common" in row["Explanation"]


def test_selectors_that_overlap_need_another_word() -> None:
    log = ByHand()
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; TS_PROP 10.1.0.0/16 > 10.2.0.0/16; AUTH_IN; CLOSE 13805")
    log.attempts(LATER, f"{CALLED}; AUTH_IN; TS_REQ 10.2.0.0/24 > 10.1.0.0/16")
    assert log.outage()["Cause"] != "TrafficSelectorMismatch"


@pytest.mark.parametrize("sent", [True, False])
def test_selectors_refused_by_either_side_are_sure(sent: bool) -> None:
    log = ByHand()
    log.call()
    log.attempts(AGAIN, f"{CALLED}; AUTH_IN; {'N_OUT' if sent else 'N_IN'} Traffic Selectors Unacceptable")
    assert verdict(log.outage()) == ("TrafficSelectorMismatch", "High")


def test_selectors_that_are_narrowed_are_a_success() -> None:
    log = ByHand()
    log.attempt(0, f"{ASKED}; AUTH_OUT; TS_PROP {ANY}; AUTH_IN; TS_FINAL 10.1.0.0/16 > 10.2.0.0/16")
    assert log.outages() == []


def test_selectors_that_azure_takes_anyway_are_not_the_reason() -> None:
    log = ByHand()
    log.attempt(-7000, f"{ASKED}; AUTH_OUT; TS_PROP {ANY}; AUTH_IN; TS_FINAL {ANY}")
    log.attempt(-10, "CLOSE 13885")
    log.attempts(
        AGAIN, f"{CALLED}; AUTH_IN; TS_REQ 10.2.0.0/16 > 10.1.0.0/16; EVENT SA_NEGOTIATION_FAILED; CLOSE 13805"
    )
    assert log.outage()["Cause"] != "TrafficSelectorMismatch"


def test_selectors_the_least_intrusive_fix_comes_first() -> None:
    log = ByHand()
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; TS_PROP {ANY}; AUTH_IN; {REFUSED_TS}")
    log.attempts(LATER, f"{CALLED}; AUTH_IN; TS_REQ 10.2.0.0/16 > 10.1.0.0/16; N_OUT Traffic Selectors Unacceptable")
    row = log.outage()
    said = " ".join(c["Command"] for c in row["FixCommands"] if c["Tool"] == "az")
    order = [said.index("ResponderOnly"), said.index("--use-policy-based-traffic-selectors true")]
    assert order == sorted(order)
    assert row["Fix"].index("ResponderOnly") < row["Fix"].index("olicy-based traffic selectors are")


# --- 2.7 PeerNotResponding ----------------------------------------------------------------------------------------


def test_silence_is_broken_by_any_line_of_the_peer() -> None:
    log = ByHand()
    log.attempts(AGAIN, "A_INIT; CLOSE 13805")
    log.attempt(352, "SAY [RECEIVED][NOTIFY] Received Notify Message - NAT_DETECTION_SOURCE_IP")
    assert [row["Cause"] for row in log.outages()] in ([], ["Unclassified"])


def test_silence_after_one_call_that_is_sent_again_for_a_minute() -> None:
    log = ByHand()
    for at in (0, 15, 30, 45, 65):
        log.attempt(at, "A_INIT", session="11111111-0000-4000-8000-000000000001", cookie=9)
    row = log.outage()
    assert verdict(row) == ("PeerNotResponding", "High")
    assert row["Attempts"] == 1
    assert "called this address once" in row["Explanation"]


def test_silence_after_one_call_that_is_sent_again_for_less_than_a_minute_is_none() -> None:
    log = ByHand()
    for at in (0, 15, 30, 45):
        log.attempt(at, "A_INIT", session="11111111-0000-4000-8000-000000000001", cookie=9)
    assert log.outages() == []


def test_silence_for_less_than_five_minutes_is_none() -> None:
    log = ByHand()
    log.attempts((0, 60, 120), "A_INIT; CLOSE 13805")
    log.attempt(200, UP_BY_AZURE)
    assert log.outages() == []


def test_silence_after_a_drop_without_an_attempt_says_what_is_missing() -> None:
    log = ByHand()
    log.tunnel(-3600, up=True)
    log.tunnel(0, up=False)
    row = log.outage()
    assert verdict(row) == ("Unclassified", "Low")
    assert "Switch on IKEDiagnosticLog" in row["MissingEvidence"]


# --- 2.8 PeerStoppedResponding ------------------------------------------------------------------------------------


def test_dead_peer_detection_needs_a_tunnel_that_was_up() -> None:
    log = ByHand()
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; CLOSE 13886")
    assert log.outage()["Cause"] != "PeerStoppedResponding"


def test_dead_peer_detection_with_a_successor_is_a_blip() -> None:
    log = ByHand()
    log.attempt(-3600, UP_BY_AZURE)
    log.attempt(0, "CLOSE 13886")
    log.attempt(55, UP_BY_PEER)
    assert log.outages() == []


# --- 2.9 NatTraversalBlocked --------------------------------------------------------------------------------------

LOST = f"{ASKED}; AUTH_OUT; CLOSE 13805"


def test_udp_4500_from_the_first_packet_is_no_nat_and_no_block() -> None:
    """R14: what was received on 4500 got through."""
    log = ByHand()
    log.attempts(AGAIN, LOST, port=4500, local_port=4500)
    assert verdict(log.outage()) == ("NegotiationStalled", "Low")


def test_udp_4500_once_is_not_enough() -> None:
    log = ByHand()
    log.attempt(0, LOST, auth_port=4500)
    assert log.outage()["Cause"] == "NegotiationStalled"


def test_udp_4500_is_open_where_something_came_back_on_it() -> None:
    log = ByHand()
    log.attempts(AGAIN, LOST, auth_port=4500)
    log.attempts(LATER, f"{CALLED}; AUTH_IN", auth_port=4500)
    assert log.outage()["Cause"] != "NatTraversalBlocked"


def test_udp_4500_was_open_when_it_was_last_up_and_is_not_now() -> None:
    log = ByHand()
    log.attempt(-3600, UP_BY_AZURE, auth_port=4500)
    log.attempt(-10, "CLOSE 13885")
    log.attempts(AGAIN, LOST, auth_port=4500)
    assert verdict(log.outage()) == ("NatTraversalBlocked", "Medium")


def test_a_notify_that_is_no_error_changes_nothing() -> None:
    log = ByHand()
    log.attempts(
        AGAIN, f"{ASKED}; N_IN NAT_DETECTION_SOURCE_IP; N_OUT INITIAL_CONTACT; AUTH_OUT; CLOSE 13805", auth_port=4500
    )
    assert verdict(log.outage()) == ("NatTraversalBlocked", "Medium")


def test_udp_4500_hypotheses() -> None:
    log = ByHand()
    log.attempts(AGAIN, LOST, auth_port=4500)
    row = log.outage()
    found = [h["Cause"] for h in row["Hypotheses"]]
    assert ["4500" in found[0], "without a word" in found[1], "fragment" in found[2]] == [True] * 3
    assert "capture UDP 4500" in row["MissingEvidence"]


# --- 2.10 NegotiationStalled --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "step", "turn", "side"),
    [
        (f"{ASKED}; CLOSE 13805", "SA_INIT was answered", "Azure, with IKE_AUTH", "Azure"),
        (f"{ASKED}; AUTH_OUT; CLOSE 13805", "IKE_AUTH was requested", "the peer", "Peer"),
        (CALLED, "SA_INIT was answered", "the peer, with IKE_AUTH", "Peer"),
        (f"{CALLED}; AUTH_IN", "IKE_AUTH was requested", "Azure", "Azure"),
    ],
)
def test_stalled_after_which_step_and_whose_turn_it_is(facts: str, step: str, turn: str, side: str) -> None:
    log = ByHand()
    log.call()
    log.attempts(AGAIN, facts)
    row = log.outage()
    assert verdict(row) == ("NegotiationStalled", "Low")
    assert f"{step}; next to speak: {turn}" in row["Explanation"]
    assert row["ActionOn"] == side
