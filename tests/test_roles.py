"""What each Windows code does to a verdict (facts 1.3): every code with a role, in the attempts in which it can stand."""

from __future__ import annotations

import pytest

from ikestream.codes import CODES, Role
from ikestream.negotiation import CERTIFICATE_CODES
from tests.by_hand import UP_BY_AZURE, UP_BY_PEER, ByHand, hypotheses, verdict

AGAIN = (0, 70, 140, 210, 280, 350)
ASKED = "A_INIT; A_INIT_ANS"
CALLED = "P_INIT; P_INIT_ANS"
OFFERED = "A_INIT; SEND_IKE AES256/SHA256/DHGroup14; A_INIT_ANS"
V1 = "SEND_IKE AES256/SHA256/DHGroup14"
V1_EXCHANGED = f"{V1}; RECV_IKE AES256/SHA256/DHGroup14; MM"


def of_role(role: Role) -> list[int]:
    return sorted(code.number for code in CODES.values() if code.role is role)


FAILS: dict[int, tuple[str, str, str]] = {
    # code: (the attempt it closes, cause, confidence)
    13801: (f"{ASKED}; AUTH_OUT", "PreSharedKeyMismatch", "Medium"),
    13826: (f"{CALLED}; AUTH_IN", "PreSharedKeyMismatch", "High"),
    13870: (V1_EXCHANGED, "PreSharedKeyMismatch", "Medium"),
    13889: (f"{CALLED}; AUTH_IN", "Unclassified", "Low"),
    13834: (f"{CALLED}; AUTH_IN", "Unclassified", "Low"),
    13869: (f"{CALLED}; AUTH_IN", "Unclassified", "Low"),
    **dict.fromkeys(CERTIFICATE_CODES, (f"{ASKED}; AUTH_OUT; AUTH_IN", "CertificateAuthenticationFailed", "High")),
    13868: ("A_INIT", "IkePolicyMismatch", "Medium"),
    **dict.fromkeys((13802, 13871, 13872, 13873, 13874), (V1, "IkePolicyMismatch", "Medium")),
    **dict.fromkeys((13825, 13850, 13883), ("P_INIT", "Unclassified", "Low")),
    13861: ("A_INIT", "Unclassified", "Low"),
    **dict.fromkeys((13822, 13833, 13864, 13865), (ASKED, "IkePolicyMismatch", "Medium")),
    13999: (f"{ASKED}; AUTH_OUT; AUTH_IN", "TrafficSelectorMismatch", "High"),
    13894: (f"{ASKED}; AUTH_OUT; AUTH_IN", "Unclassified", "Low"),
    13880: ("P_INIT", "IkeVersionMismatch", "High"),
    1225: ("P_INIT", "ConnectionModeRefused", "High"),
}


def test_every_code_that_fails_is_tried() -> None:
    assert sorted(FAILS) == of_role(Role.FAILS)


@pytest.mark.parametrize("code", FAILS)
def test_a_code_that_fails_a_negotiation_names_its_cause(code: int) -> None:
    facts, cause, confidence = FAILS[code]
    log = ByHand()
    if "P_INIT" in facts:
        log.call()
    log.attempts(AGAIN, f"{facts}; CLOSE {code}")
    row = log.outage()
    assert verdict(row) == (cause, confidence)
    assert row["ErrorCode"] == code


@pytest.mark.parametrize("code", FAILS)
def test_on_a_leg_that_is_up_it_is_no_outage(code: int) -> None:
    log = ByHand()
    log.call()
    log.attempt(-70, UP_BY_PEER)
    log.tunnel(-60, up=True)
    log.attempts(AGAIN[:3], f"{FAILS[code][0]}; CLOSE {code}")
    assert log.outages() == []


@pytest.mark.parametrize("code", [13801, 13826])
def test_the_method_that_azure_logs_tells_key_from_certificate(code: int) -> None:
    """R2: `Auth:` in Azure's own payload."""
    key, certificate = ByHand(), ByHand(method="Certificate")
    for log in (key, certificate):
        log.attempts(AGAIN, f"{OFFERED}; AUTH_OUT; AUTH_IN; CLOSE {code}")
    assert verdict(key.outage()) == ("PreSharedKeyMismatch", "Medium")
    assert verdict(certificate.outage()) == ("CertificateAuthenticationFailed", "Medium")


@pytest.mark.parametrize("code", sorted(CERTIFICATE_CODES))
def test_a_certificate_code_beside_a_pre_shared_key_is_not_believed(code: int) -> None:
    log = ByHand()
    log.attempts(AGAIN, f"{OFFERED}; AUTH_OUT; AUTH_IN; CLOSE {code}")
    assert log.outage()["Cause"] != "CertificateAuthenticationFailed"


@pytest.mark.parametrize("code", [13822, 13833, 13864, 13865])
def test_a_group_that_fails_at_a_renewal_is_pfs(code: int) -> None:
    log = ByHand()
    log.attempt(0, UP_BY_AZURE)
    log.attempts((3000, 3030, 3060), f"SEND_ESP GCMAES256; CLEAN_QM {code}")
    log.attempt(3120, "CLOSE 13885")
    assert verdict(log.outage()) == ("PfsMismatch", "Medium")


def test_a_code_of_azures_own_configuration_is_azures_to_mend() -> None:
    log = ByHand()
    log.attempts(AGAIN, "A_INIT; CLOSE 13861")
    row = log.outage()
    assert row["ActionOn"] == "Azure"
    assert "configuration of this connection" in hypotheses(row)


@pytest.mark.parametrize(
    ("code", "azure", "peer"),
    [
        (13869, "nothing to change", "set its local ID"),
        (13834, "nothing to change", "set its local ID"),
        (13889, "authentication type", "same authentication method"),
        (13861, "save it again", "nothing to change"),
        (13809, "Resource health", "nothing to change"),
    ],
)
def test_a_code_that_names_the_fault_names_what_to_do(code: int, azure: str, peer: str) -> None:
    log = ByHand()
    log.call()
    log.attempts(AGAIN, f"{CALLED}; AUTH_IN; CLOSE {code}")
    fix = {line.partition(" ")[0]: line for line in log.outage()["Fix"].splitlines()}
    assert azure in fix["Azure:"]
    assert peer in fix["Peer:"]


def test_nobody_is_asked_to_speak_next_where_something_was_refused() -> None:
    log = ByHand()
    log.call()
    log.attempts(AGAIN, f"{CALLED}; AUTH_IN; CLOSE 13869")
    row = log.outage()
    assert "IKE_AUTH was requested, then it was refused" in row["Explanation"]
    assert row["ActionOn"] == "Unknown"
    assert "who is silent" not in row["MissingEvidence"]


def test_a_gateway_that_cannot_go_on_is_azures_to_look_at() -> None:
    log = ByHand()
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; CLOSE 13809")
    row = log.outage()
    assert row["ActionOn"] == "Azure"
    assert "overloaded, starting" in hypotheses(row)


@pytest.mark.parametrize("code", of_role(Role.FAILS_ALONE))
@pytest.mark.parametrize("apart", [1, 59])
def test_a_code_that_fails_alone_does_not_beside_a_success(code: int, apart: int) -> None:
    log = ByHand()
    log.attempt(0, f"{ASKED}; AUTH_OUT; CLOSE {code}")
    log.attempt(apart, UP_BY_PEER)
    assert log.outages() == []


@pytest.mark.parametrize("code", of_role(Role.FAILS_ALONE))
def test_a_code_that_fails_alone_does_so_where_nothing_succeeds(code: int) -> None:
    log = ByHand()
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; CLOSE {code}")
    assert verdict(log.outage()) == ("Unclassified", "Low")


@pytest.mark.parametrize("code", of_role(Role.BENIGN))
def test_a_benign_code_is_never_a_cause(code: int) -> None:
    never_up, up, ended = ByHand(), ByHand(), ByHand()
    never_up.attempts(AGAIN, f"{ASKED}; AUTH_OUT; CLOSE {code}")
    up.attempt(-600, UP_BY_AZURE)
    up.attempts(AGAIN, f"{ASKED}; AUTH_OUT; CLOSE {code}")
    session = ended.attempt(-600, UP_BY_AZURE)
    ended.attempts(AGAIN, f"CLOSE {code}", session=session)
    assert [verdict(row) for log in (never_up, up, ended) for row in log.outages()] == []


@pytest.mark.parametrize("code", of_role(Role.CLIENT))
def test_a_clients_code_is_no_tunnels(code: int) -> None:
    stranger, peer = ByHand(), ByHand()
    stranger.attempts(AGAIN, f"{CALLED}; AUTH_IN; CLOSE {code}", port=59780, local_port=4500)
    peer.call()
    peer.attempts(AGAIN, f"{CALLED}; AUTH_IN; CLOSE {code}", port=59780, local_port=4500)
    assert stranger.outages() == peer.outages() == []


SYMPTOMS = of_role(Role.SYMPTOM)


@pytest.mark.parametrize("code", SYMPTOMS)
def test_a_symptom_gives_way_to_what_the_same_session_says(code: int) -> None:
    log = ByHand()
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; N_IN Authentication failed; CLOSE {code}")
    assert log.outage()["Cause"] == "PreSharedKeyMismatch"


@pytest.mark.parametrize("code", SYMPTOMS)
def test_a_symptom_alone_is_judged_by_how_far_it_came(code: int) -> None:
    waits = code in (258, 13805, 13813, 13814, 13815)
    stale = code in (13846, 13910, 13911)
    silent, half = ByHand(), ByHand()
    silent.attempts(AGAIN, f"A_INIT; CLOSE {code}")
    half.attempts(AGAIN, f"{ASKED}; AUTH_OUT; CLOSE {code}")
    expected = (
        ("PeerNotResponding", "NegotiationStalled")
        if waits
        else ("Unclassified",) * 2
        if stale
        else ("MalformedIke",) * 2
    )
    assert (silent.outage()["Cause"], half.outage()["Cause"]) == expected


UNABLE = (808, 1168, 13809, 13810, 13811, 13812, 13804, 13816, 13859, 13867)
"""The gateway could not go on: its platform's codes, and some of those without a role that can only be a failure."""


@pytest.mark.parametrize("code", UNABLE)
def test_a_gateway_that_cannot_go_on_is_told_with_its_code(code: int) -> None:
    log = ByHand()
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; CLOSE {code}")
    row = log.outage()
    assert verdict(row) == ("Unclassified", "Low")
    # Of equal messages the first code is meant.
    assert CODES[row["ErrorCode"]].message == CODES[code].message
    assert CODES[code].message.rstrip(".") in row["Explanation"]


@pytest.mark.parametrize("code", [*UNABLE, 13882, 13903])
def test_a_code_of_the_gateway_while_the_leg_is_up_is_no_outage(code: int) -> None:
    log = ByHand()
    log.tunnel(-60, up=True)
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; CLOSE {code}")
    assert log.outages() == []


@pytest.mark.parametrize("code", [13882, 13903])
def test_a_limit_that_the_peer_ran_into_is_none(code: int) -> None:
    """Too many SAs stand, or too many calls come: neither says that the tunnel is down."""
    log = ByHand()
    log.call()
    log.attempts(AGAIN, f"{CALLED}; CLOSE {code}")
    assert log.outages() == []


def test_an_instance_that_shuts_down_ends_the_leg() -> None:
    log = ByHand()
    session = log.attempt(0, UP_BY_AZURE)
    log.operation(3590, "HostMaintenanceEvent", instance=log.instance)
    log.attempt(3600, "CLOSE 13891", session=session)
    assert log.outage()["Cause"] == "GatewayMaintenance"


def test_a_differing_lifetime_is_no_reason_not_to_connect() -> None:
    """Lifetimes are not negotiated in IKEv2, and a notify about one changes nothing."""
    log = ByHand()
    log.attempt(0, UP_BY_AZURE.replace("AUTH_IN;", "AUTH_IN; SAY Processing LIFETIME change QM Notify;"))
    log.attempt(60, "CLOSE 13879")
    assert log.outages() == []
