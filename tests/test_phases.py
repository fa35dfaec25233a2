"""Which phase was refused, and what an unanswered message means (facts 1.4, 1.5): every row, judged from lines written by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ikestream.replay import Tally, replay_clockless
from tests.by_hand import AZURE, AZURE_2, EVERYTHING, IN_1, UP_BY_AZURE, UP_BY_PEER, ByHand, hypotheses, verdict

AGAIN = (0, 70, 140, 210, 280, 350)
ASKED = "A_INIT; A_INIT_ANS"
CALLED = "P_INIT; P_INIT_ANS"
ANY = f"{EVERYTHING} > {EVERYTHING}"
REFUSED = "N_IN Policy Mismatch; CLOSE 13868"

# --- 1.4: a policy mismatch, of which phase -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "cause", "confidence"),
    [
        (f"{ASKED}; AUTH_OUT; {REFUSED}", "IpsecPolicyMismatch", "Medium"),
        (f"{ASKED}; AUTH_IN; {REFUSED}", "IpsecPolicyMismatch", "Medium"),
        (f"{ASKED}; TS_PROP {ANY}; {REFUSED}", "IpsecPolicyMismatch", "Medium"),
        (f"{CALLED}; AUTH_IN; N_OUT Policy Mismatch", "IpsecPolicyMismatch", "Medium"),
        (f"{CALLED}; TS_REQ {ANY}; N_OUT Policy Mismatch", "IpsecPolicyMismatch", "Medium"),
        ("A_INIT; CLEAN_QM 13868", "IpsecPolicyMismatch", "Medium"),
        ("A_INIT; CLEAN_MM 13868", "IkePolicyMismatch", "Medium"),
        (f"A_INIT; {REFUSED}", "IkePolicyMismatch", "Medium"),
        (f"{ASKED}; {REFUSED}", "IkePolicyMismatch", "Medium"),
        # AUTH is believed and not the word "MM".
        (f"{ASKED}; AUTH_OUT; AUTH_IN; CLEAN_MM 13868", "IpsecPolicyMismatch", "Medium"),
    ],
)
def test_the_phase_of_a_refusal(facts: str, cause: str, confidence: str) -> None:
    log = ByHand()
    log.call()
    log.attempts(AGAIN, facts)
    assert verdict(log.outage()) == (cause, confidence)


@pytest.mark.parametrize("facts", [REFUSED, "N_IN Policy Mismatch", "CLOSE 13868"])
def test_a_refusal_without_any_other_line_tells_no_phase(facts: str) -> None:
    log = ByHand()
    log.call()
    log.attempts(AGAIN, facts)
    row = log.outage()
    assert verdict(row) == ("IkePolicyMismatch", "Medium")
    assert "Phase 1 was refused" not in row["Explanation"]
    assert "do not show which phase" in row["Explanation"]
    assert "phase 2" in hypotheses(row)
    assert row["FailedStep"] is None
    assert "phase 1 (IKE) policies" not in row["Summary"]
    assert "compare phase 2 and PFS, too" in row["Fix"]


def test_another_session_may_tell_the_phase() -> None:
    """The offers of both sides are known and have nothing in common in phase 1: then it is phase 1."""
    log = ByHand()
    log.attempts((0, 70, 140), "CLOSE 13868")
    log.attempts((30, 100, 170), f"{CALLED}; RECV_IKE AES256/SHA256/DHGroup14; N_OUT Policy Mismatch")
    log.call()
    row = log.outage()
    assert verdict(row) == ("IkePolicyMismatch", "High")
    assert [m["Parameter"] for m in row["Mismatch"]] == ["DhGroup"]


def test_a_bare_refusal_while_the_leg_is_up_is_pfs() -> None:
    """On a leg that is up it is a later exchange (depth 6), and PFS the first suspect."""
    log = ByHand()
    log.attempt(0, UP_BY_AZURE)
    log.attempts((3000, 3030, 3060), "N_IN Policy Mismatch")
    log.attempt(3120, "CLOSE 13885")
    assert verdict(log.outage()) == ("PfsMismatch", "Medium")


def test_a_child_refused_in_ike_auth_is_never_pfs() -> None:
    """Even where the same offers had been accepted before: IKE_AUTH carries no key exchange."""
    log = ByHand()
    log.attempt(0, UP_BY_AZURE.replace("AUTH_IN;", "SEND_ESP GCMAES256; AUTH_IN; RECV_ESP GCMAES256;"))
    log.attempt(3000, "CLOSE 13885")
    log.attempts((3010, 3040, 3070), f"{ASKED}; AUTH_OUT; SEND_ESP GCMAES256; AUTH_IN; N_IN Policy Mismatch")
    assert verdict(log.outage()) == ("IpsecPolicyMismatch", "Medium")


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        ("RemotelyTriggered", "PeerDisconnected"),
        ("DPD timed out", "PeerStoppedResponding"),
        ("RemoteCrashTriggered", "PeerStoppedResponding"),
        ("Main mode SA assumed to be invalid because peer stopped responding.", "PeerStoppedResponding"),
        ("GlobalStandbyChanged", "GatewayMaintenance"),
        ("StandbyChanged", "GatewayMaintenance"),
        ("Pre-shared Key Changed", "ConfigurationChanged"),
        ("DhGroup changed", "ConfigurationChanged"),
        ("TunnelRemoved", "ConfigurationChanged"),
        ("Policy match error", "IkePolicyMismatch"),
        ("IKE authentication credentials are unacceptable", "PreSharedKeyMismatch"),
        ("Locally Triggered", "Unclassified"),
        ("words nobody has seen", "Unclassified"),
        ("", "Unclassified"),
    ],
)
def test_the_reason_of_a_disconnect_is_used_if_it_tells(reason: str, cause: str) -> None:
    log = ByHand()
    log.tunnel(0, up=True)
    log.tunnel(3600, up=False, reason=reason)
    row = log.outage()
    assert row["Cause"] == cause
    assert not reason or reason in row["Explanation"]  # what is not known is kept


@pytest.mark.parametrize(
    ("age", "told"), [(27_300, True), (27_400, False), (28_800, False), (30_200, False), (30_300, True), (5_000, True)]
)
def test_lifetime_or_delete_by_the_age(age: int, told: bool) -> None:
    """13885 means both: within 5 % of Azure's 28,800 s it is the lifetime, else the peer's delete."""
    log = ByHand()
    session = log.attempt(0, UP_BY_AZURE)
    log.attempt(age, "CLOSE 13885", session=session)
    assert [row["Cause"] for row in log.outages()] == (["PeerDisconnected"] if told else [])


def test_lifetime_or_delete_with_a_successor_is_neither() -> None:
    log = ByHand()
    session = log.attempt(0, UP_BY_AZURE)
    log.attempt(5_000, "CLOSE 13885", session=session)
    log.attempt(5_055, UP_BY_PEER)
    assert log.outages() == []


# --- 1.5: nobody answered -----------------------------------------------------------------------------------------


def test_one_call_that_azure_closed_as_timed_out_is_enough_only_without_a_clock() -> None:
    """A gateway whose tunnel is down calls again within seconds: see the rule for where it differs from the table."""
    log = ByHand()
    log.attempt(0, "A_INIT; CLOSE 13805")
    assert log.outages() == []
    lines = [replace(record, at=None) for record in log.records]
    (row,) = {row["IncidentId"]: row for row in replay_clockless(lines, Tally())}.values()
    assert verdict(row) == ("PeerNotResponding", "High")
    log.attempt(30, "A_INIT; CLOSE 13805")
    assert verdict(log.outage()) == ("PeerNotResponding", "High")


def test_calls_that_nobody_answers_are_no_finding_while_the_peers_own_succeed() -> None:
    log = ByHand()
    log.attempts(AGAIN, "A_INIT; CLOSE 13805")
    log.attempt(100, UP_BY_PEER)
    assert log.outages() == []


def test_calls_that_nobody_answers_are_not_silence_while_the_peers_own_fail() -> None:
    log = ByHand()
    log.attempts(AGAIN, "A_INIT; CLOSE 13805")
    log.attempts([at + 30 for at in AGAIN], f"{CALLED}; AUTH_IN; N_OUT Authentication failed")
    assert verdict(log.outage()) == ("PreSharedKeyMismatch", "High")


def test_one_azure_address_that_is_not_answered_is_the_peers_to_add() -> None:
    log = ByHand()
    log.attempt(-3600, UP_BY_AZURE)
    log.attempt(-3590, UP_BY_AZURE, local=AZURE_2, instance=IN_1)
    log.attempt(0, "CLOSE 13886", local=AZURE_2, instance=IN_1)
    log.attempts([60 * n for n in range(1, 15)], "A_INIT; CLOSE 13805", local=AZURE_2, instance=IN_1)
    assert log.outages() == []
    (row,) = (r for r in log.rows() if r["Cause"] == "RedundancyLost")
    assert (row["Severity"], row["ActionOn"]) == ("Warning", "Peer")
    assert AZURE_2 in row["Explanation"]
    assert [leg["State"] for leg in row["Legs"] if leg["LocalIP"] == AZURE] == ["Up"]


def test_auth_on_port_500_that_nobody_answers_has_stalled() -> None:
    log = ByHand()
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; CLOSE 13805")
    row = log.outage()
    assert verdict(row) == ("NegotiationStalled", "Low")
    assert row["ActionOn"] == "Peer"


@pytest.mark.parametrize(("times", "cause"), [(3, "NegotiationStalled"), (2, None)])
def test_a_peer_that_stops_after_azures_answer(times: int, cause: str | None) -> None:
    log = ByHand()
    log.call()
    log.attempts(AGAIN[:times], CALLED)
    assert [row["Cause"] for row in log.outages()] == ([cause] if cause else [])


def test_a_stranger_that_stops_after_azures_answer_is_nothing() -> None:
    log = ByHand()
    log.attempts(AGAIN, CALLED)
    assert log.outages() == []


@pytest.mark.parametrize(
    ("asks", "confidence"), [("10.9.0.0/16 > 10.1.0.0/16", "High"), ("10.2.0.0/16 > 10.1.0.0/16", "Medium")]
)
def test_a_timeout_after_selectors_is_sure_where_the_ranges_are_apart(asks: str, confidence: str) -> None:
    log = ByHand()
    log.attempts(
        AGAIN, f"{ASKED}; AUTH_OUT; TS_PROP 10.1.0.0/16 > 10.2.0.0/16; EVENT SA_NEGOTIATION_FAILED; CLOSE 13805"
    )
    log.attempts(
        [at + 30 for at in AGAIN], f"{CALLED}; AUTH_IN; TS_REQ {asks}; EVENT SA_NEGOTIATION_FAILED; CLOSE 13805"
    )
    assert verdict(log.outage()) == ("TrafficSelectorMismatch", confidence)


def test_a_child_that_nobody_answers_while_the_leg_is_up_is_an_advisory() -> None:
    log = ByHand()
    log.tunnel(-10, up=True)
    log.attempt(-11, UP_BY_AZURE)
    log.attempts((3000, 3300), "SEND_ESP GCMAES256; CLEAN_QM 13805")
    assert log.outages() == []
    (row,) = (r for r in log.rows() if r["Cause"] == "ChildSaFailing")
    assert row["Confidence"] == "Low"
