"""Law 2 over whole attempts by chance: legs, reasons and gaps that no story of the lab has, however delivered and however early folded."""

from __future__ import annotations

from random import Random
from unittest.mock import patch

import pytest

from ikestream import fold
from ikestream.lab import Feed, post
from tests.by_hand import AZURE, AZURE_2, EVERYTHING, IN_0, IN_1, UP_BY_AZURE, UP_BY_PEER, ByHand
from tests.streams import as_delivered, in_order, told

ASKED = "A_INIT; A_INIT_ANS"
CALLED = "P_INIT; P_INIT_ANS"
STRONG = "AES256/SHA256/DHGroup14"
ATTEMPTS = (
    UP_BY_AZURE,
    UP_BY_PEER,
    f"SEND_IKE {STRONG}; RECV_IKE {STRONG}; {UP_BY_AZURE}",
    UP_BY_AZURE.replace("AUTH_IN;", "SEND_ESP GCMAES256; AUTH_IN; RECV_ESP GCMAES256;"),
    f"{ASKED}; AUTH_OUT; N_IN Authentication failed; CLOSE 13801",
    f"{CALLED}; AUTH_IN; N_OUT Authentication failed; CLOSE 13826",
    "A_INIT; N_IN Policy Mismatch; CLOSE 13868",
    f"A_INIT; SEND_IKE {STRONG}; N_IN Policy Mismatch",
    f"{CALLED}; RECV_IKE AES256/SHA384/ECP384; N_OUT Policy Mismatch",
    f"{CALLED}; AUTH_IN; AUTH_OUT",
    f"{CALLED}; AUTH_IN",
    CALLED,
    "A_INIT; N_IN Invalid KE Payload",
    "N_IN Policy Mismatch",
    "A_INIT; CLOSE 13805",
    "A_INIT",
    f"{ASKED}; AUTH_OUT; CLOSE 13805",
    f"{ASKED}; AUTH_OUT; CLOSE 13886",
    f"{ASKED}; AUTH_OUT; CLOSE 13809",
    f"{ASKED}; CLOSE 13822",
    f"{ASKED}; AUTH_OUT; SEND_ESP GCMAES256; AUTH_IN; N_IN Policy Mismatch",
    f"{CALLED}; AUTH_IN; RECV_ESP AES256/SHA512; N_OUT Policy Mismatch",
    f"{ASKED}; AUTH_OUT; TS_PROP 10.1.0.0/16 > 10.2.0.0/16; AUTH_IN; CLOSE 13805",
    f"{CALLED}; AUTH_IN; TS_REQ 10.9.0.0/16 > 10.1.0.0/16",
    f"{ASKED}; AUTH_OUT; TS_PROP {EVERYTHING} > {EVERYTHING}; EVENT SA_NEGOTIATION_FAILED; CLOSE 13805",
    "SEND_ESP GCMAES256; N_IN Policy Mismatch",
    "SEND_ESP GCMAES256; CLEAN_QM 13805",
    "RECV_ESP GCMAES256; N_OUT Invalid KE Payload",
    *(f"CLOSE {code}" for code in (13868, 13821, 13885, 13886, 13807, 13895, 13849, 13877)),
    f"SEND_IKE {STRONG}; RECV_IKE {STRONG}; MM; CLOSE 13843",
    f"SEND_IKE {STRONG}; MM; N_IN INVALID_ID_INFORMATION",
    f"{CALLED}; AUTH_IN; CLOSE 13869",
    "A_INIT; CLOSE 13861",
    "P_INIT; CLOSE 13825",
    "P_INIT; CLOSE 13880",
)
REASONS = ("", "DPD timed out", "RemotelyTriggered", "Pre-shared Key Changed")
# 14, 35, 58: a leg that fails goes on failing when the other one ends the outage. 24, 119: one reason twice, another between.
# 36: the other leg's line of the Tunnel log. 113: after an hour the same again. 126, 129, 192: the Tunnel log begins late.
# 123, 199: closing lines in the order in which they came.
FOUND = (14, 24, 35, 36, 58, 113, 119, 123, 126, 129, 192, 199)


def story(seed: int) -> ByHand:
    """A few kinds of attempt, on one leg or two, minutes or hours apart, with the Tunnel log or without."""
    chance = Random(seed)
    log = ByHand()
    kinds = chance.sample(ATTEMPTS, chance.choice((2, 3, 5, 8))) + [UP_BY_AZURE] * chance.choice((0, 1))
    at, tunnel_log, legs = 0.0, chance.random() < 0.4, chance.choice((1, 2))
    for _ in range(chance.choice((5, 15, 40, 80))):
        often = chance.random() < 0.5
        at += chance.choice((0, 0.02, 1, 10, 30, 65, 120, 400, 1500, 4000) if often else (5, 30, 60))
        leg = chance.randrange(legs)
        local, instance = ((AZURE, IN_0), (AZURE_2, IN_1))[leg]
        log.attempt(at, chance.choice(kinds), local=local, instance=instance, auth_port=chance.choice((0, 0, 4500)))
        if tunnel_log and chance.random() < 0.15:
            moment, up, reason = at + 3 * chance.random(), chance.random() < 0.5, chance.choice(REASONS)
            log.tunnel(moment, up=up, reason=reason, instance=instance)
        if chance.random() < 0.03:
            log.operation(at, chance.choice(("SetConnectionConfiguration", "HostMaintenanceEvent")), instance=IN_0)
    return log


@pytest.mark.parametrize("seed", [*range(200, 220), *FOUND])
def test_it_ends_the_same_however_it_is_delivered(seed: int) -> None:
    records = sorted(story(seed).records, key=lambda r: r.at or 0)
    expected = told(in_order(records))
    chance = Random(seed)
    feed = Feed(partitions=chance.choice((1, 4)), most_records=chance.choice((1, 30)))
    assert told(as_delivered(post(records, chance, feed), chance)) == expected
    with patch.object(fold, "MIN_FOLDED", 1):
        assert told(as_delivered(post(records, chance, feed), chance)) == expected, "folded"


@pytest.mark.parametrize("fewest", [1, 1 << 30])
def test_how_long_a_reason_was_shown_is_read_off_the_side_that_showed_it(fewest: int) -> None:
    """Azure's calls go on as before; of so many folding keeps the first and the last, and neither says when the peer's changed."""
    log = ByHand()
    log.attempts(range(0, 8000, 60), f"{ASKED}; AUTH_OUT; CLOSE 13805")
    log.attempts(range(20, 640, 60), f"{CALLED}; RECV_IKE AES256/SHA384/ECP384; N_OUT Policy Mismatch")
    log.attempts(range(7220, 8000, 60), f"{CALLED}; AUTH_IN; N_OUT Authentication failed")
    with patch.object(fold, "MIN_FOLDED", fewest), patch.object(fold, "FEW_FOLDED", fewest):
        row = log.outage()
    assert row["Cause"] == "PreSharedKeyMismatch"
    assert "to 2026-03-02 10:10:20 UTC: the phase 1 (IKE) policies do not match." in row["Explanation"]
