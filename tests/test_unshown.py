"""What one end's log can never show (facts 4.6): each verdict that touches it says so and names where it can be seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ikestream.inventory import Connection, Inventory, Mode, VpnGateway, renew
from ikestream.inventory.connections import Listing
from tests.by_hand import PEER, UP_BY_AZURE, ByHand, hypotheses
from tests.streams import GATEWAY

AGAIN = (0, 70, 140, 210, 280, 350)
ASKED = "A_INIT; A_INIT_ANS"
CALLED = "P_INIT; P_INIT_ANS"


@pytest.mark.parametrize(
    "facts",
    [
        f"{ASKED}; AUTH_OUT; N_IN Authentication failed",
        f"{CALLED}; AUTH_IN; N_OUT Authentication failed",
    ],
)
def test_which_sides_key_is_wrong(facts: str) -> None:
    log = ByHand()
    log.call()
    log.attempts(AGAIN, facts)
    row = log.outage()
    assert "cannot show which one is wrong" in row["Explanation"]
    assert row["ActionOn"] == "Both"
    assert "by telephone" in row["Fix"]


def test_why_the_peer_refused_azures_authentication() -> None:
    log = ByHand()
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; N_IN Authentication failed")
    assert log.outage()["MissingEvidence"].startswith("Why the peer refused: its own log says so")


@pytest.mark.parametrize("facts", ["A_INIT; CLOSE 13805", f"{ASKED}; AUTH_OUT; CLOSE 13805", CALLED])
def test_where_packets_are_lost(facts: str) -> None:
    log = ByHand()
    log.call()
    log.attempts(AGAIN, facts)
    assert "capture" in log.outage()["MissingEvidence"]


def test_where_packets_are_lost_on_udp_4500() -> None:
    log = ByHand()
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; CLOSE 13805", auth_port=4500)
    assert "at the peer and on the connection in Azure at the same time" in log.outage()["MissingEvidence"]


def test_what_no_line_prints_of_a_proposal() -> None:
    log = ByHand()
    log.attempts(AGAIN, "A_INIT; SEND_IKE AES256/SHA256/DHGroup14; N_IN Policy Mismatch")
    log.attempts([at + 30 for at in AGAIN], "P_INIT; RECV_IKE AES256/SHA256/DHGroup14")
    row = log.outage()
    assert "PRF, extended sequence numbers or key length" in hypotheses(row)
    assert "The peer's own log" in row["MissingEvidence"]


def test_who_changed_azure() -> None:
    log = ByHand()
    log.tunnel(-3600, up=True)
    log.tunnel(0, up=False, reason="DhGroup changed")
    row = log.outage()
    assert row["Cause"] == "ConfigurationChanged"
    assert row["MissingEvidence"] == "Who changed what: the activity log. These logs name no actor."
    assert any("activity-log" in c["Command"] for c in row["FixCommands"])


def test_that_azure_only_waits() -> None:
    """ResponderOnly is never logged: without the inventory it is a hypothesis, with it a sentence."""
    log = ByHand()
    session = log.attempt(-3600, UP_BY_AZURE)
    log.attempt(0, "CLOSE 13885", session=session)
    assert "ResponderOnly" in hypotheses(log.outage())
    connection = Connection(id="/connections/cn", name="cn", resource_group="rg", remote=PEER)
    listed = Listing(VpnGateway(GATEWAY, "VNG-LAB", "RG"), (replace(connection, mode=Mode.RESPONDER_ONLY),))
    row = log.outage(renew(Inventory(), [listed], 0))
    assert "Azure waits for the peer to call" in row["Explanation"]
    assert "ResponderOnly" not in hypotheses(row)
