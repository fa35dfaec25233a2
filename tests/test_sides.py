"""Which side is to change (facts 4.1), as the row of the verdict says it: turn, fix, commands and the note to the other company."""

from __future__ import annotations

import pytest

from ikestream.incident import Row
from ikestream.remedy import note_of
from tests.by_hand import AZURE, AZURE_2, IN_1, UP_BY_AZURE, ByHand

AGAIN = (0, 70, 140, 210, 280, 350)
ASKED = "A_INIT; A_INIT_ANS"
CALLED = "P_INIT; P_INIT_ANS"
STRONG, STRONGER, OTHER, WEAK = (
    "AES256/SHA256/DHGroup14",
    "AES256/SHA384/ECP384",
    "GCMAES128/SHA256/ECP256",
    "AES128/SHA1/DHGroup2",
)
DEFAULT = (
    "AES256/SHA1/DHGroup2, AES256/SHA256/DHGroup2, AES128/SHA1/DHGroup2, AES128/SHA256/DHGroup2, DES3/SHA1/DHGroup2, "
    "DES3/SHA256/DHGroup2"
)


def phase_1(azure: str, peer: str, *, before: str = "") -> Row:
    """Azure offers and the peer offers; `before` is what the tunnel ran with an hour ago."""
    log = ByHand()
    if before:
        log.attempt(-3600, f"SEND_IKE {before}; RECV_IKE {before}; {UP_BY_AZURE}")
        log.attempt(-1, "CLOSE 13885")
    log.attempts(AGAIN, f"A_INIT; SEND_IKE {azure}; N_IN Policy Mismatch")
    log.attempts([at + 30 for at in AGAIN], f"P_INIT; P_INIT_ANS; RECV_IKE {peer}; N_OUT Policy Mismatch")
    return log.outage()


def commands(row: Row, side: str) -> str:
    return "\n".join(c["Command"] for c in row["FixCommands"] if c["Side"] == side)


@pytest.mark.parametrize(
    ("azure", "peer", "before", "side", "wanted"),
    [
        (DEFAULT, STRONG, "", "Azure", "DHGroup14"),  # stronger than the default, and Azure can hold it
        (STRONG, WEAK, "", "Peer", "DHGroup14"),  # Azure is never loosened
        (STRONG, "AES256/SHA256/DHGroup16", "", "Peer", "DHGroup14"),  # Azure has no group 16
        (STRONG, "AES256/SHA512/DHGroup14", "", "Peer", "SHA256"),  # nor SHA512
        (STRONG, OTHER, STRONG, "Peer", "DHGroup14"),  # the peer changed
        (STRONG, STRONGER, STRONG, "Peer", "DHGroup14"),  # even to something better
        (STRONG, STRONGER, STRONGER, "Azure", "ECP384"),  # Azure changed, to less
        (STRONGER, STRONG, STRONG, "Peer", "ECP384"),  # Azure changed to more: that is not taken back
        (DEFAULT, STRONG, "AES256/SHA256/DHGroup2", "Azure", "DHGroup14"),  # what was good was weak
    ],
)
def test_the_side_to_change_in_phase_1(azure: str, peer: str, before: str, side: str, wanted: str) -> None:
    row = phase_1(azure, peer, before=before)
    assert row["Cause"] == "IkePolicyMismatch"
    assert row["ActionOn"] == side
    sets = [
        line
        for line in commands(row, "Azure").splitlines()
        if "ipsec-policy add" in line or "-IpsecPolicies $p" in line
    ]
    assert bool(sets) is (side == "Azure")
    own, other = ("Azure:", "Peer:") if side == "Azure" else ("Peer:", "Azure:")
    fix = {line.partition(" ")[0]: line for line in row["Fix"].splitlines()}
    assert wanted in fix[own]
    assert "nothing to change" in fix[other]
    request = note_of(row)
    assert wanted in request
    assert ("Whose turn:          ours" in request) is (side == "Azure")
    assert ("Please set phase 1 of this tunnel to" in request) is (side == "Peer")


def test_back_to_what_it_last_ran_with_is_said_to_be_that() -> None:
    row = phase_1(STRONG, OTHER, before=STRONG)
    assert "what the tunnel last ran with" in row["Fix"]
    assert f"Until then it ran with {STRONG}, which Azure still offers and the peer does not." in row["Explanation"]
    assert row["ChangedSince"] == [] or row["ChangedSince"][0]["Side"] == "Peer"


def test_a_key_is_for_both_the_peer_first_and_azure_last() -> None:
    log = ByHand()
    log.attempts(AGAIN, f"{ASKED}; AUTH_OUT; N_IN Authentication failed")
    row = log.outage()
    assert row["ActionOn"] == "Both"
    fix = {line.partition(" ")[0]: line for line in row["Fix"].splitlines()}
    assert "enter it here last" in fix["Azure:"]
    assert "enter the new key first" in fix["Peer:"]
    assert "by telephone" in row["Fix"]


def test_the_version_is_the_peers() -> None:
    log = ByHand()
    log.call()
    log.attempts(AGAIN, "P_INIT; CLOSE 13880")
    assert log.outage()["ActionOn"] == "Peer"


def test_one_azure_address_that_is_refused_is_added_at_the_peer() -> None:
    log = ByHand()
    log.attempt(-3600, UP_BY_AZURE)
    log.attempts(AGAIN, "A_INIT; N_IN Policy Mismatch", local=AZURE_2, instance=IN_1)
    assert log.outages() == []
    (row,) = (r for r in log.rows() if r["Cause"] == "RedundancyLost")
    assert row["ActionOn"] == "Peer"
    assert AZURE_2 in row["Fix"]
    assert AZURE in repr(row["Legs"])
