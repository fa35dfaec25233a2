"""One fault, four views (facts 1.2): what the log of either role, and of IKEv1, gives as verdict. Every cell of the table."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.by_hand import EVERYTHING, UP_BY_AZURE, UP_BY_PEER, ByHand, hypotheses, verdict

AGAIN = (0, 70, 140, 210, 280, 350)
DEFAULT_IKE = (
    "AES256/SHA1/DHGroup2, AES256/SHA256/DHGroup2, AES128/SHA1/DHGroup2, AES128/SHA256/DHGroup2, DES3/SHA1/DHGroup2, "
    "DES3/SHA256/DHGroup2"
)
ASKED = "A_INIT; A_INIT_ANS"
CALLED = "P_INIT; P_INIT_ANS"
V1 = f"SEND_IKE {DEFAULT_IKE}"
V1_EXCHANGED = f"{V1}; RECV_IKE AES256/SHA1/DHGroup2; MM"
V1_QUICK = f"{V1_EXCHANGED}; SEND_ESP AES256/SHA256"
ANY = f"{EVERYTHING} > {EVERYTHING}"

CELLS: tuple[tuple[str, str, str, str, str], ...] = (
    # (fault and view, facts of each attempt, cause, confidence, what a hypothesis must name)
    ("keys differ, Azure initiates", f"{ASKED}; AUTH_OUT; N_IN Authentication failed; CLOSE 13801",
     "PreSharedKeyMismatch", "Medium", "another identity"),
    ("keys differ, peer initiates", f"{CALLED}; AUTH_IN; N_OUT Authentication failed; CLOSE 13801",
     "PreSharedKeyMismatch", "High", ""),
    ("keys differ, peer initiates, 13826", f"{CALLED}; AUTH_IN; CLOSE 13826", "PreSharedKeyMismatch", "High", ""),
    ("keys differ, IKEv1, 13843", f"{V1_EXCHANGED}; CLOSE 13843", "PreSharedKeyMismatch", "Low", "4500"),
    ("keys differ, IKEv1, 13824", f"{V1_EXCHANGED}; CLOSE 13824", "PreSharedKeyMismatch", "Low", "4500"),
    ("keys differ, IKEv1, silence", f"{V1_EXCHANGED}; CLOSE 13805", "PreSharedKeyMismatch", "Low", "4500"),
    ("Azure's identity is not expected, IKEv1", f"{V1_EXCHANGED}; N_IN INVALID_ID_INFORMATION",
     "Unclassified", "Low", "identity"),
    ("peer's identity is not accepted, 13869", f"{CALLED}; AUTH_IN; CLOSE 13869", "Unclassified", "Low", "identity"),
    ("peer's identity is not accepted, 13834", f"{CALLED}; AUTH_IN; CLOSE 13834", "Unclassified", "Low", "identity"),
    ("authentication method differs, Azure initiates", f"{ASKED}; AUTH_OUT; N_IN Authentication failed",
     "PreSharedKeyMismatch", "Medium", ""),
    ("authentication method differs, peer initiates", f"{CALLED}; AUTH_IN; CLOSE 13889",
     "Unclassified", "Low", "certificate"),
    ("authentication method differs, IKEv1", f"{V1}; CLEAN_MM 13868", "IkePolicyMismatch", "Medium", "authentication method"),
    ("no IKE proposal, Azure initiates", f"A_INIT; SEND_IKE {DEFAULT_IKE}; N_IN Policy Mismatch; CLOSE 13868",
     "IkePolicyMismatch", "Medium", "no connection for this Azure address"),
    ("no IKE proposal, peer initiates", f"{CALLED}; RECV_IKE AES256/SHA256/DHGroup14; N_OUT Policy Mismatch",
     "IkePolicyMismatch", "High", ""),
    ("no IKE proposal, IKEv1, 13868", f"{V1}; CLEAN_MM 13868", "IkePolicyMismatch", "Medium", ""),
    ("no IKE proposal, IKEv1, 13802", f"{V1}; CLOSE 13802", "IkePolicyMismatch", "Medium", ""),
    ("peer knows no connection, silence", "A_INIT; CLOSE 13805", "PeerNotResponding", "High", "address"),
    ("peer knows no connection, IKEv1", f"{V1}; CLOSE 13805", "PeerNotResponding", "High", ""),
    ("Azure knows no connection, 13825", "P_INIT; CLOSE 13825", "Unclassified", "Low", "another IKE version"),
    ("Azure knows no connection, 13850", "P_INIT; CLOSE 13850", "Unclassified", "Low", "another IKE version"),
    ("Azure knows no connection, in words",
     "P_INIT; SAY The incoming IKE connection was ignored because no matching tunnel was found for the connection.",
     "Unclassified", "Low", "another IKE version"),
    ("no ESP proposal, Azure initiates", f"{ASKED}; AUTH_OUT; SEND_ESP GCMAES256, AES256/SHA1; AUTH_IN; N_IN Policy Mismatch",
     "IpsecPolicyMismatch", "Medium", ""),
    ("no ESP proposal, peer initiates", f"{CALLED}; AUTH_IN; RECV_ESP AES256/SHA512; N_OUT Policy Mismatch",
     "IpsecPolicyMismatch", "High", ""),
    ("no ESP proposal, IKEv1", f"{V1_QUICK}; CLEAN_QM 13868", "IpsecPolicyMismatch", "Medium", ""),
    ("selectors, Azure initiates, 13999", f"{ASKED}; AUTH_OUT; AUTH_IN; TS_PROP {ANY}; CLOSE 13999",
     "TrafficSelectorMismatch", "High", ""),
    ("selectors, Azure initiates, notify",
     f"{ASKED}; AUTH_OUT; TS_PROP {ANY}; AUTH_IN; N_IN Traffic Selectors Unacceptable",
     "TrafficSelectorMismatch", "High", ""),
    ("selectors, Azure initiates, timeout",
     f"{ASKED}; AUTH_OUT; TS_PROP {ANY}; EVENT SA_NEGOTIATION_FAILED; CLOSE 13805",
     "TrafficSelectorMismatch", "Medium", ""),
    ("selectors, Azure initiates, 13843", f"{ASKED}; AUTH_OUT; TS_PROP {ANY}; CLOSE 13843",
     "TrafficSelectorMismatch", "Medium", ""),
    ("selectors, IKEv1", f"{V1_QUICK}; TS_PROP {ANY}; N_IN INVALID_ID_INFORMATION; CLEAN_QM 13999",
     "TrafficSelectorMismatch", "High", ""),
    ("selectors, IKEv1, the notify alone", f"{V1_QUICK}; TS_PROP {ANY}; N_IN INVALID_ID_INFORMATION",
     "TrafficSelectorMismatch", "Medium", ""),
    ("versions differ, the peer says so", "A_INIT; N_IN Invalid Major Version", "IkeVersionMismatch", "High", ""),
    ("versions differ, the peer refuses", "A_INIT; N_IN Policy Mismatch", "IkePolicyMismatch", "Medium", "IKE version"),
    ("versions differ, Azure says so", "P_INIT; CLOSE 13880", "IkeVersionMismatch", "High", ""),
    ("UDP 4500 blocked, peer initiates", CALLED, "NegotiationStalled", "Low", "4500"),
    ("UDP 4500 blocked, IKEv1", f"{V1_EXCHANGED}; CLOSE 13805", "PreSharedKeyMismatch", "Low", "4500"),
    ("large AUTH lost, peer initiates", CALLED, "NegotiationStalled", "Low", ""),
)  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "cause", "confidence", "hypothesis"), [c[1:] for c in CELLS], ids=[c[0] for c in CELLS]
)
def test_a_fault_in_this_view(facts: str, cause: str, confidence: str, hypothesis: str) -> None:
    log = ByHand()
    if "P_INIT" in facts:
        log.call()
    log.attempts(AGAIN, facts)
    row = log.outage()
    assert verdict(row) == (cause, confidence)
    assert hypothesis in hypotheses(row)


def test_udp_4500_blocked_azure_initiates() -> None:
    log = ByHand()
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; CLOSE 13805", auth_port=4500)
    assert verdict(log.outage()) == ("NatTraversalBlocked", "Medium")


@pytest.mark.parametrize("port", [500, 4500])
def test_a_large_auth_with_certificates_is_lost_on_either_port(port: int) -> None:
    log = ByHand(method="Certificate")
    log.attempts(AGAIN, f"A_INIT; SEND_IKE {DEFAULT_IKE}; A_INIT_ANS; AUTH_OUT; CLOSE 13805", auth_port=port)
    row = log.outage()
    assert verdict(row) == ("NegotiationStalled", "Low")
    assert hypotheses(row).startswith("IKE_AUTH is too large")


def test_the_return_path_is_blocked() -> None:
    log = ByHand()
    for number, at in enumerate(AGAIN):
        log.attempt(at + 30, "A_INIT; CLOSE 13805")
        for again in range(3):  # the peer sends the same message again: it did not get the answer
            log.attempt(at + 5 * again, CALLED, session=f"11111111-0000-4000-8000-{number:012d}", cookie=900 + number)
    row = log.outage()
    assert verdict(row) == ("NegotiationStalled", "Low")
    assert "what Azure sends does not reach the peer" in row["Explanation"]
    assert row["Attempts"] == 2 * len(AGAIN)


def pfs(log: ByHand, refused: str) -> None:
    """Up; renewals are refused; then the last child ends and the tunnel with it."""
    log.attempt(0, UP_BY_AZURE.replace("AUTH_IN;", "SEND_ESP GCMAES256; AUTH_IN; RECV_ESP GCMAES256;"))
    log.attempts((3000, 3030, 3060), refused)
    log.attempt(3120, "CLOSE 13885")


@pytest.mark.parametrize(
    "refused",
    [
        "SEND_ESP GCMAES256; N_IN Policy Mismatch",
        "SEND_ESP GCMAES256; N_IN Invalid KE Payload; CLEAN_QM 13805",
        "RECV_ESP GCMAES256; N_OUT Policy Mismatch",
        "RECV_ESP GCMAES256; N_OUT Invalid KE Payload; CLEAN_QM 13805",
    ],
)
def test_pfs_shows_only_when_the_child_is_renewed(refused: str) -> None:
    log = ByHand()
    pfs(log, refused)
    assert verdict(log.outage()) == ("PfsMismatch", "Medium")


@pytest.mark.parametrize("up", [UP_BY_AZURE, UP_BY_PEER])
def test_pfs_is_invisible_in_ike_auth(up: str) -> None:
    log = ByHand()
    log.attempt(0, up)
    log.attempt(200, "SEND_ESP GCMAES256; TS_FINAL 0.0.0.0/0 > 0.0.0.0/0")
    assert log.outages() == []


def healthy_group(log: ByHand) -> None:
    log.attempt(0, f"A_INIT; N_IN Invalid KE Payload; A_INIT; A_INIT_ANS; AUTH_OUT; AUTH_IN; TS_FINAL {ANY}")


def healthy_group_of_the_peer(log: ByHand) -> None:
    log.call()
    log.attempt(0, f"P_INIT; N_OUT Invalid KE Payload; P_INIT; P_INIT_ANS; AUTH_IN; AUTH_OUT; TS_FINAL {ANY}")


def narrowed(log: ByHand) -> None:
    log.attempt(0, f"{ASKED}; AUTH_OUT; TS_PROP {ANY}; AUTH_IN; TS_FINAL 10.1.0.0/16 > 10.2.0.0/16")


def narrowed_by_azure(log: ByHand) -> None:
    log.call()
    log.attempt(0, f"{CALLED}; AUTH_IN; TS_REQ {ANY}; AUTH_OUT; TS_FINAL 10.2.0.0/16 > 10.1.0.0/16")


def azure_takes_what_the_peer_proposes(log: ByHand) -> None:
    log.call()
    log.attempt(0, f"{CALLED}; AUTH_IN; TS_REQ 10.2.0.0/16 > 10.1.0.0/16; AUTH_OUT; TS_FINAL 10.2.0.0/16 > 10.1.0.0/16")


def both_initiate(code: int) -> Callable[[ByHand], None]:
    def write(log: ByHand) -> None:
        log.attempt(0, f"A_INIT; A_INIT_ANS; CLOSE {code}")
        log.attempt(1, UP_BY_PEER)

    return write


def peer_restarts(code: int) -> Callable[[ByHand], None]:
    """Its new negotiation is up before Azure gives the old SA up."""

    def write(log: ByHand) -> None:
        old = log.attempt(0, UP_BY_AZURE)
        log.attempt(3600, UP_BY_PEER)
        log.attempt(3645, f"CLOSE {code}", session=old)

    return write


def a_stale_sa_after_a_takeover(log: ByHand) -> None:
    log.attempt(0, UP_BY_AZURE)
    log.operation(3590, "GatewayTenantPrimaryChanged")
    log.tunnel(3600, up=False, reason="StandbyChanged")
    log.attempts(range(3610, 3680, 10), "CLEAN_MM 13846", instance="GatewayTenantWorker_IN_1")
    log.attempt(3700, UP_BY_PEER, instance="GatewayTenantWorker_IN_1")
    log.tunnel(3701, up=True, instance="GatewayTenantWorker_IN_1")


HEALTHY: dict[str, Callable[[ByHand], None]] = {
    "another group is asked for, Azure initiates": healthy_group,
    "another group is asked for, peer initiates": healthy_group_of_the_peer,
    "selectors narrowed by the peer": narrowed,
    "selectors narrowed by Azure": narrowed_by_azure,
    "Azure takes the peer's selectors": azure_takes_what_the_peer_proposes,
    **{f"both initiate, {code}": both_initiate(code) for code in (13807, 13808, 13821, 13878)},
    "the peer restarts, its old SA is deleted": peer_restarts(13885),
    "the peer restarts, its old SA is given up": peer_restarts(13886),
    "the peer holds on to its old SA for a minute": a_stale_sa_after_a_takeover,
}  # fmt: skip


@pytest.mark.parametrize("write", HEALTHY.values(), ids=HEALTHY.keys())
def test_what_is_normal_is_no_outage(write: Callable[[ByHand], None]) -> None:
    log = ByHand()
    write(log)
    assert [verdict(row) for row in log.outages()] == []


@pytest.mark.parametrize(("code", "cause", "confidence"), [
    (13885, "PeerDisconnected", "Medium"),
    (13807, "PeerDisconnected", "Medium"),
    (13886, "PeerStoppedResponding", "High"),
])  # fmt: skip
@pytest.mark.parametrize("up", [UP_BY_AZURE, UP_BY_PEER])
def test_a_tunnel_that_ends(code: int, cause: str, confidence: str, up: str) -> None:
    log = ByHand()
    log.call()
    session = log.attempt(0, up)
    log.attempt(3600, f"CLOSE {code}", session=session)
    if code == 13807:  # it is no end of an SA by itself: the other log says that it went down
        log.tunnel(1, up=True)
        log.tunnel(3601, up=False, reason="RemotelyTriggered")
    assert verdict(log.outage()) == (cause, confidence)


def test_a_delete_alone_is_no_renewal_that_failed() -> None:
    """13807 may end one that was up: nothing of a renewal is spoken of, and the leg is not seen to go."""
    log = ByHand()
    session = log.attempt(0, UP_BY_AZURE)
    log.attempt(3600, "CLOSE 13807", session=session)
    assert [row["Cause"] for row in log.rows() if row["Cause"] in ("RekeyFailed", "ChildSaFailing")] == []


def test_an_address_without_a_connection_is_no_tunnel() -> None:
    log = ByHand()
    log.attempts(AGAIN, "P_INIT; CLOSE 13825")
    assert log.outages() == []
