"""The traps of reading (facts 1.1, R1 to R15), each by the verdict that falling into it would spoil.

How a single line is read stands in `test_grammar.py`; R9 and R10 in the cases of IkePolicyMismatch, R12 in `test_remedy.py`.
"""

from __future__ import annotations

import pytest

from ikestream.offers import Phase, Role, default_offers, is_default
from tests.by_hand import (
    AZURE,
    AZURE_2,
    EVERYTHING,
    IN_0,
    IN_1,
    PEER,
    UP_BY_AZURE,
    UP_BY_PEER,
    ByHand,
    proposals,
    verdict,
)
from tests.streams import GATEWAY

AGAIN = (0, 70, 140, 210, 280, 350)
ASKED = "A_INIT; A_INIT_ANS"
CALLED = "P_INIT; P_INIT_ANS"
VIRTUAL_WAN = GATEWAY.replace("VIRTUALNETWORKGATEWAYS", "VPNGATEWAYS")


def test_r1_main_mode_in_a_line_is_no_ikev1() -> None:
    """With IKEv1 rubbish after the key exchange is a wrong key first; these lines are of IKEv2."""
    log = ByHand()
    log.attempts(AGAIN, f"{ASKED}; MM; CLOSE 13843")
    assert verdict(log.outage()) == ("MalformedIke", "Medium")


def test_r2_the_method_stands_in_azures_own_payload_of_any_session_of_the_leg() -> None:
    log = ByHand(method="Certificate")
    log.attempt(-300, "A_INIT; SEND_IKE AES256/SHA256/DHGroup14; A_INIT_ANS")
    log.attempts(AGAIN, f"{CALLED}; AUTH_IN; CLOSE 13826")
    assert verdict(log.outage()) == ("CertificateAuthenticationFailed", "Medium")


@pytest.mark.parametrize(("gateway", "count"), [(GATEWAY, 6), (VIRTUAL_WAN, 4)])
@pytest.mark.parametrize("custom", [False, True])
def test_r3_how_many_offers_azure_makes_tells_default_from_custom(gateway: str, count: int, custom: bool) -> None:
    offered = default_offers(gateway, Phase.IKE, Role.INITIATOR)
    assert len(offered) == count
    said = [(p.encryption, p.integrity, p.group) for p in offered][: 1 if custom else None]
    log = ByHand(gateway=gateway)
    log.attempts(AGAIN, f"A_INIT; SEND_IKE {', '.join('/'.join(one) for one in said)}; N_IN Policy Mismatch")
    log.attempts([at + 30 for at in AGAIN], f"{CALLED}; RECV_IKE AES256/SHA384/ECP384; N_OUT Policy Mismatch")
    row = log.outage()
    assert (len(row["AzureOffers"]), row["OffersSource"]) == (1 if custom else count, "Logged")
    assert (
        is_default(proposals(", ".join("/".join(one) for one in said)), gateway, Phase.IKE, Role.INITIATOR)
        is not custom
    )
    if gateway is GATEWAY:  # a custom policy is replaced, the default gets its first one
        added = [c for c in row["FixCommands"] if "ipsec-policy add" in c["Command"]]
        assert bool(added) is not custom


def test_r6_any_to_any_of_azure_is_no_list_of_prefixes() -> None:
    """The site's prefixes are routes then: nothing is to be added to the local network gateway."""
    log = ByHand()
    everything = f"{EVERYTHING} > {EVERYTHING}"
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; TS_PROP {everything}; AUTH_IN; N_IN Traffic Selectors Unacceptable")
    log.attempts([at + 30 for at in AGAIN], f"{CALLED}; AUTH_IN; TS_REQ 10.2.0.0/16 > 10.1.0.0/16; CLOSE 13999")
    row = log.outage()
    assert row["Cause"] == "TrafficSelectorMismatch"
    assert not [c for c in row["FixCommands"] if "--local-address-prefixes" in c["Command"]]


def test_r7_the_same_cookie_is_one_attempt_in_whichever_session() -> None:
    log = ByHand()
    for at in AGAIN:
        log.attempt(at, f"{ASKED}; AUTH_OUT; N_IN Authentication failed", cookie=77)
    assert log.outage()["Attempts"] == 1
    log = ByHand()
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; N_IN Authentication failed")
    assert log.outage()["Attempts"] == len(AGAIN)


@pytest.mark.parametrize("reason", ["N_IN Invalid KE Payload", "N_IN COOKIE", "A_INIT"])
def test_r8_a_second_message_after_the_first_is_innocent(reason: str) -> None:
    log = ByHand()
    log.attempt(0, f"A_INIT; {reason}; A_INIT; A_INIT_ANS; AUTH_OUT; AUTH_IN; TS_FINAL {EVERYTHING} > {EVERYTHING}")
    assert log.outages() == []


def test_r8_azure_asks_for_a_cookie_under_load() -> None:
    log = ByHand()
    log.call()
    log.attempt(0, f"P_INIT; CLOSE 13890; {UP_BY_PEER}")
    assert log.outages() == []


def test_r11_no_proposal_chosen_may_mean_that_the_peer_has_no_connection() -> None:
    log = ByHand()
    log.attempts(AGAIN, "A_INIT; N_IN Policy Mismatch")
    row = log.outage()
    assert [h["Cause"] for h in row["Hypotheses"]] == [
        "The peer has no connection for this Azure address, or one for the other IKE version"
    ]


@pytest.mark.parametrize(("port", "local_port"), [(59780, 4500), (1024, 500)])
def test_r13_a_site_behind_pat_is_no_client(port: int, local_port: int) -> None:
    log = ByHand()
    log.call()
    log.attempts(AGAIN, f"{CALLED}; AUTH_IN; N_OUT Authentication failed", port=port, local_port=local_port)
    assert verdict(log.outage()) == ("PreSharedKeyMismatch", "High")


def test_r13_a_client_behind_pat_is_no_site() -> None:
    """It asks for everything towards single prefixes, as the one published record of a client does."""
    log = ByHand()
    log.attempts(
        AGAIN,
        f"{CALLED}; AUTH_IN; TS_REQ {EVERYTHING} > 10.1.0.0/16; N_OUT Authentication failed",
        port=59780,
        local_port=4500,
    )
    assert log.outages() == []


@pytest.mark.parametrize("first", ["Tunnel", "IKE"])
def test_r15_the_tunnel_log_has_no_local_address_and_is_joined_by_the_instance(first: str) -> None:
    log = ByHand()
    log.attempt(0, UP_BY_AZURE, local=AZURE, instance=IN_0)
    log.attempt(5, UP_BY_AZURE, local=AZURE_2, instance=IN_1)
    before = -1 if first == "Tunnel" else 10
    log.tunnel(before, up=True, instance=IN_0)
    log.tunnel(before + 1, up=True, instance=IN_1)
    log.tunnel(3600, up=False, instance=IN_1, reason="DPD timed out")
    assert log.outages() == []
    (row,) = (r for r in log.rows() if r["Cause"] == "RedundancyLost")
    assert {leg["LocalIP"]: leg["State"] for leg in row["Legs"]} == {AZURE: "Up", AZURE_2: "Down"}


def test_r15_the_other_legs_drop_of_the_same_minute_is_none_of_this_ones() -> None:
    log = ByHand()
    log.attempt(0, UP_BY_AZURE, local=AZURE, instance=IN_0)
    log.attempt(5, UP_BY_AZURE, local=AZURE_2, instance=IN_1)
    for instance in (IN_0, IN_1):
        log.tunnel(10, up=True, instance=instance)
    log.tunnel(3600, up=False, instance=IN_0, reason="Pre-shared Key Changed")
    log.attempt(3605, UP_BY_AZURE, local=AZURE, instance=IN_0)
    log.tunnel(3606, up=True, instance=IN_0)
    log.tunnel(3620, up=False, instance=IN_1, reason="DPD timed out")
    log.attempts(range(3700, 4600, 60), "A_INIT; CLOSE 13805", local=AZURE_2, instance=IN_1)
    (row,) = (r for r in log.rows() if r["Cause"] == "RedundancyLost")
    assert "The log says: the peer stopped responding." in row["Explanation"]
    assert not [e for e in row["Evidence"] if "Pre-shared Key Changed" in e["Message"]]


def test_r15_an_instance_that_never_spoke_of_an_address_is_a_leg_by_its_name() -> None:
    log = ByHand()
    log.tunnel(0, up=True, instance=IN_0)
    log.tunnel(1, up=True, instance=IN_1)
    log.tunnel(3600, up=False, instance=IN_0, reason="DPD timed out")
    log.tunnel(3601, up=False, instance=IN_1, reason="DPD timed out")
    row = log.outage()
    assert row["RemoteIP"] == PEER
    assert {leg["Instance"]: leg["State"] for leg in row["Legs"]} == {IN_0: "Down", IN_1: "Down"}
