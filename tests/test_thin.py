"""What nobody asks for any more goes, and nobody sees it: what is told is the same, and what is kept stops growing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from unittest.mock import patch

import pytest

from ikestream import fold, thin
from ikestream.envelope import decode
from ikestream.estate import Estate
from ikestream.events import Proposal, Record
from ikestream.incident import Row
from ikestream.inventory import Connection, Inventory, VpnGateway, renew
from ikestream.inventory.connections import Listing
from ikestream.replay import NO_INVENTORY, Tally, replay
from ikestream.timestamps import iso
from ikestream.tunnel import Tunnel
from tests.bench import stream
from tests.by_hand import PEER, UP_BY_AZURE, UP_BY_PEER, ByHand
from tests.fleet import DEEDS, gateway
from tests.streams import GATEWAY, START

DAY = 86_400
HOUR = 3_600
REFUSED = (
    "A_INIT; SEND_IKE AES256/SHA256/DHGroup14; A_INIT_ANS; AUTH_OUT; AUTH_IN; N_IN Authentication failed; CLOSE 13801"
)


def judged(records: Iterable[Record], inventory: Inventory = NO_INVENTORY) -> tuple[list[Row], list[Tunnel]]:
    """Return every revision, and the tunnels as they were left."""
    left: list[Tunnel] = []

    def keep(store: Estate, _now: int) -> None:
        left.extend(tunnel for one in store.gateways.values() for tunnel in one.tunnels.values())

    return list(replay(records, Tally(), inventory=inventory, keep=keep)), left


def negotiations(tunnels: Iterable[Tunnel]) -> int:
    return sum(1 + (span.first is not span.last) for tunnel in tunnels for span in tunnel.spans)


def a_fleet() -> list[Record]:
    """A gateway with a tunnel of each healthy kind, for five days."""
    return gateway(1, [kind for kind, _ in DEEDS], 5)[0]


def one_that_fails() -> list[Record]:
    """Twenty tunnels for three days, of which one fails at any time, each in a way and at a time of its own."""
    return [record for body in stream.stream(25_000, 20) for record in decode(body).records]


def dialled_twice_a_week(*, then: str = "") -> list[Record]:
    """The peer calls every third day and ends it half an hour later; on the thirtieth something else happens."""
    log = ByHand()
    for day in range(0, 30, 3):
        log.attempt(day * DAY, UP_BY_PEER)
        log.tunnel(day * DAY + 0.5, up=True)
        log.tunnel(day * DAY + HOUR, up=False, reason="RemotelyTriggered")
    log.attempt(30 * DAY, UP_BY_PEER)
    log.tunnel(30 * DAY + 0.5, up=True)
    if then:
        log.tunnel(30 * DAY + HOUR, up=False, reason=then)
    return log.records


def ended_by_the_peer_and_refused() -> list[Record]:
    """The peer ends it every second day, and refuses the key until it calls by itself: no line that is dialled on demand."""
    log = ByHand()
    for day in range(0, 30, 2):
        log.attempt(day * DAY, UP_BY_PEER)
        log.tunnel(day * DAY + 0.5, up=True)
        log.tunnel(day * DAY + HOUR, up=False, reason="RemotelyTriggered")
        log.attempts([day * DAY + HOUR + n * 60 for n in range(1, 20)], REFUSED)
    return log.records


def a_lifetime_of_three_days() -> list[Record]:
    """The SA ends by its age, which nobody wrote down, and comes back minutes later; the fourth time it is known."""
    log = ByHand()
    for n in range(8):
        at = n * 3 * DAY
        log.attempt(at, UP_BY_AZURE)
        log.tunnel(at + 0.5, up=True)
        log.tunnel(at + 3 * DAY - 600, up=False, code=13885)
    return log.records


def works_differently_now() -> list[Record]:
    """A peer that tried two policies three weeks ago, other successes that print none, and then it offers something else."""
    log = ByHand()
    offer, between, other = "AES256/SHA256/DHGroup14", "AES256/SHA384/ECP384", "AES256/SHA1/DHGroup2"
    for day, printed in ((0, offer), (1, between), (2, offer)):
        log.attempt(day * DAY, UP_BY_PEER.replace("P_INIT_ANS", f"RECV_IKE {printed}; P_INIT_ANS"))
        log.tunnel(day * DAY + 1, up=True)
        log.tunnel(day * DAY + HOUR, up=False, reason="DPD timed out")
        log.tunnel(day * DAY + HOUR + 30, up=True)
    for n in range(9, 60):
        log.attempt(n * 8 * HOUR, UP_BY_AZURE if n % 2 else UP_BY_PEER)
        log.tunnel(n * 8 * HOUR + 1, up=True)
        log.tunnel(n * 8 * HOUR + HOUR, up=False, reason="DPD timed out")
        log.tunnel(n * 8 * HOUR + HOUR + 30, up=True)
    log.tunnel(20 * DAY - 60, up=False, reason="DPD timed out")
    log.attempts(
        [20 * DAY + n * 60 for n in range(10)],
        f"P_INIT; RECV_IKE {other}; P_INIT_ANS; N_OUT Policy Mismatch; CLOSE 13868",
    )
    return log.records


STORIES: tuple[Callable[[], list[Record]], ...] = (
    a_fleet,
    one_that_fails,
    dialled_twice_a_week,
    lambda: dialled_twice_a_week(then="RemotelyTriggered"),
    lambda: dialled_twice_a_week(then="DPD timed out"),
    ended_by_the_peer_and_refused,
    a_lifetime_of_three_days,
    works_differently_now,
)


@pytest.mark.parametrize("story", STORIES)
def test_what_is_told_is_the_same_whether_it_goes_or_not(story: Callable[[], list[Record]]) -> None:
    records = story()
    with patch.object(fold, "MIN_FOLDED", 4):
        rows, left = judged(records)
        with patch.object(fold, "thin", lambda *_: None):
            whole, everything = judged(records)
    assert negotiations(left) < negotiations(everything), "nothing went: the test would prove nothing"
    assert rows == whole


def test_since_when_a_risk_stands_is_remembered_however_long_ago() -> None:
    """For three weeks the peer offers what the custom policy is not, but once what it is, after ten days."""
    log = ByHand()
    custom, offers = "AES256/SHA384/DHGroup24", ("AES256/SHA256/DHGroup14", "AES128/SHA256/DHGroup14")
    for day in range(21):
        own = custom if day == 10 else offers[day % 2]
        log.attempt(day * DAY, UP_BY_PEER.replace("P_INIT_ANS", f"RECV_IKE {own}; P_INIT_ANS"))
        log.tunnel(day * DAY + 1, up=True)
        for n in range(1, 12):
            log.attempt(day * DAY + n * 2 * HOUR, UP_BY_AZURE)
        log.tunnel(day * DAY + 23 * HOUR, up=False, reason="DPD timed out")
        log.tunnel(day * DAY + 23 * HOUR + 30, up=True)
    ike, ipsec = Proposal("AES256", "SHA384", "DHGroup24"), Proposal("GCMAES256", "GCMAES256", "None")
    connection = Connection("/c/a", "cn-a", "RG", PEER, protocol="IKEv2", ike=ike, ipsec=ipsec)
    known = renew(Inventory(), [Listing(VpnGateway(GATEWAY, "vng", "RG"), (connection,))], 0)
    with patch.object(fold, "MIN_FOLDED", 4):
        rows, left = judged(log.records, known)
        with patch.object(fold, "thin", lambda *_: None):
            whole, everything = judged(log.records, known)
    assert negotiations(left) < negotiations(everything)
    assert rows == whole
    risk = [row for row in rows if row["Cause"] == "ConfigurationRisk"][-1]
    assert "custom policy" in risk["Summary"]
    assert (risk["FirstSeen"], risk["ResolvedAt"]) == (iso(START + 100), iso(START + 10 * DAY * 1_000))


def test_what_worked_last_is_remembered_however_long_ago() -> None:
    with patch.object(fold, "MIN_FOLDED", 4):
        rows, _ = judged(works_differently_now())
    [changed] = [c for c in rows[-1]["ChangedSince"] if (c["What"], c["Side"]) == ("phase 1 proposals", "Peer")]
    assert (changed["Before"], changed["Now"]) == ("AES256/SHA256/DHGroup14", "AES256/SHA1/DHGroup2")


def test_of_a_tunnel_that_is_well_the_same_is_kept_after_two_weeks_and_after_eight() -> None:
    def after(days: int) -> tuple[int, ...]:
        log = ByHand()
        for day in range(days):
            log.tunnel(day * DAY, up=True)
            for n in range(12):
                log.attempt(day * DAY + n * 2 * HOUR, UP_BY_AZURE if n % 2 else UP_BY_PEER)
            log.attempt(day * DAY + 23 * HOUR, "CLOSE 13886")
            log.tunnel(day * DAY + 23 * HOUR, up=False, reason="DPD timed out")
            log.tunnel(day * DAY + 23 * HOUR + 30, up=True)
        _, [tunnel] = judged(log.records)
        lines = sum(len(c.negotiation.events) for c in tunnel.folded_changes if c.negotiation is not None)
        attempts = sum(len(span.attempts.identities) for span in tunnel.spans)
        return negotiations([tunnel]), len(tunnel.marks), lines, attempts

    soon, late = after(14), after(56)
    assert soon[0] >= 10  # something is kept
    assert all(b <= a * 1.25 for a, b in zip(soon, late, strict=True)), (soon, late)


def test_what_failed_and_what_may_still_be_told_stays() -> None:
    log = ByHand()
    log.attempt(0, UP_BY_AZURE)
    log.tunnel(1, up=True)
    log.tunnel(HOUR - 5, up=False, reason="DPD timed out")
    log.attempts([HOUR + n * 600 for n in range(6 * 24 * 9)], REFUSED)
    rows, _ = judged(log.records)
    assert rows[-1]["Attempts"] == 256
    assert rows[-1]["FirstSeen"] == rows[0]["FirstSeen"]
    assert "It was up before" in rows[-1]["Explanation"]
    assert thin.LOOKED_BACK >= 6  # two cycles each of two legs, or a lifetime seen three times
