"""Folding must be invisible in what is told, and must bound what is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from ikestream import fold, tick, verdict
from ikestream.estate import Estate, Scope
from ikestream.events import Category, Record
from ikestream.grammar import read
from ikestream.incident import Pace
from ikestream.tick import tell
from ikestream.times import DAY, LIVE, MINUTE, SECOND

GATEWAY = "/subscriptions/0/resourceGroups/rg/providers/Microsoft.Network/virtualNetworkGateways/vng"
PEER = "203.0.113.7"
START = 1_790_000_000_000
DEFAULT = " ".join(
    f"Policy{i}:Cipher={c} Integrity={h} DhGroup=DhGroup2"
    for i, (c, h) in enumerate(
        [(c, h) for c in ("AES-CBC-256", "AES-CBC-128", "3DES") for h in ("SHA1", "SHA256")], start=1
    )
)


def record(at: int, number: int, body: str, remote: str = PEER) -> Record:
    session = UUID(int=number)
    message = f"SESSION_ID :{{{session}}} Remote {remote}:500: Local 198.51.100.4:500: {body}"
    return Record(at, GATEWAY, Category.IKE, "IKELogEvent", "GatewayTenantWorker_IN_0", message)


def refused_call(at: int, number: int) -> list[Record]:
    """Azure calls, the peer refuses the proposals."""
    return [
        record(
            at,
            number,
            f"[SEND][SA_INIT] Sending IKE SA_INIT packet with tunnelId 0x3, iCookie 0x{number + 1:016X} and rCookie 0x0",
        ),
        record(at, number, f"[SEND]Sending Ike payload for tunnel Id 0x3: Auth:PreShared Key- {DEFAULT}"),
        record(at + 80, number, "[RECEIVED][NOTIFY] Received Notify Message - Policy Mismatch"),
        record(at + 81, number, "[LOCAL_MSG] IKE Tunnel closed for tunnelId 0x3 with status Policy match error"),
    ]


def peer_offer(at: int, number: int) -> list[Record]:
    """The peer calls once, and shows what it offers."""
    return [
        record(at, number, f"[RECEIVED][SA_INIT] Received SA INIT iCookie 0x{number + 1:016X} rCookie 0x0"),
        record(
            at, number, "[RECEIVED]Received Ike payload: Policy1:Cipher=AES-CBC-256 Integrity=SHA256 DhGroup=DhGroup14"
        ),
        record(at + 5, number, "[SEND][NOTIFY] Sending Notify Message - Policy Mismatch"),
    ]


def good_call(at: int, number: int) -> list[Record]:
    """Azure calls and a child SA is agreed."""
    everything = "StartAddress 0.0.0.0 EndAddress 255.255.255.255 PortStart 0 PortEnd 65535 Protocol 0"
    return [
        record(
            at,
            number,
            f"[SEND][SA_INIT] Sending IKE SA_INIT packet with tunnelId 0x3, iCookie 0x{number + 1:016X} and rCookie 0x0",
        ),
        record(at + 50, number, "[SEND][SA_AUTH] Sending SA AUTH message for tunnelId 0x3 and tsId 0x37"),
        record(at + 90, number, "[RECEIVED][SA_AUTH] Received IKE AUTH message"),
        record(
            at + 95,
            number,
            "[SEND] Proposed Traffic Selector payload will be (Final Negotiated) - [Tsid 0x37  ]"
            f"Number of TSIs 1: {everything} Number of TSRs 1:{everything}",
        ),
    ]


def hours_of_trouble() -> list[Record]:
    """Up, two hours of refused calls with one offer of the peer early on, up, down again until the end."""
    records = good_call(START, 0)
    at, number = START + 30 * MINUTE, 1
    records += refused_call(at, number)
    for _ in range(3):  # three failures over two minutes are what takes down a leg that was up
        at, number = at + 70 * SECOND, number + 1
        records += refused_call(at, number)
    records += peer_offer(at + 5 * SECOND, 1_000_000)
    for _ in range(240):
        at, number = at + 30 * SECOND, number + 1
        records += refused_call(at, number)
    records += good_call(at + 40 * SECOND, number + 1)
    at += 40 * MINUTE
    for _ in range(200):
        at, number = at + 30 * SECOND, number + 2
        records += refused_call(at, number)
    return records


def run(records: list[Record], every: int | None) -> tuple[bool, dict[str, dict[str, object]]]:
    """Learn `records` in order, tell every `every` ms (None: only at the end).

    Return whether anything was folded before the last judgement, and the last revisions.
    """
    store = Estate()
    last: dict[str, dict[str, object]] = {}
    clock = START

    def told(now: int, pace: Pace = Pace.REPLAY) -> None:
        for row in tell(store, now, LIVE, pace):
            last[row["IncidentId"]] = row

    for one in records:
        at = one.at or 0
        while every is not None and clock + every <= at:
            clock += every
            told(clock)
        store.learn(read(one), at)
    end = (records[-1].at or 0) + 20 * MINUTE
    store.schedule(Scope(GATEWAY.lower(), PEER), end)
    folded = bool(store.gateways[GATEWAY.lower()].tunnels[PEER].spans)
    told(end, Pace.FINAL)
    return folded, last


TELLING = {"IncidentId", "Revision", "TimeGenerated", "OpenedAs"}


def contents(last: dict[str, dict[str, object]]) -> list[dict[str, object]]:
    rows = [{k: v for k, v in row.items() if k not in TELLING} for row in last.values()]
    return sorted(
        (r for r in rows if r["Resolution"] not in ("Withdrawn", "Merged")), key=lambda r: str(r["FirstSeen"])
    )


@pytest.mark.parametrize("every", [15 * SECOND, 5 * MINUTE, 47 * MINUTE])
def test_what_is_told_does_not_depend_on_when_it_was_folded(every: int) -> None:
    records = hours_of_trouble()
    folded, often = run(records, every)
    _, once = run(records, None)  # judged once, and folded only after that
    assert folded, "nothing was folded before the last judgement: the test would prove nothing"
    assert contents(often) == contents(once)
    assert [(r["State"], r["Cause"], r["Confidence"], r["Attempts"]) for r in contents(once)] == [
        ("Resolved", "IkePolicyMismatch", "High", 245),
        ("Open", "IkePolicyMismatch", "High", 200),
    ]


def test_what_is_told_is_worked_out_before_anything_is_folded_and_nothing_else_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    happened: list[str] = []

    def noting(what: str, do: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*given: Any, **named: Any) -> Any:
            happened.append(what)
            return do(*given, **named)

        return noted

    for module, name in ((verdict, "_fill_in"), (tick, "fold"), (tick, "want"), (tick, "judge")):
        monkeypatch.setattr(module, name, noting(name, getattr(module, name)))
    _, last = run(hours_of_trouble(), 15 * SECOND)
    assert len(last) == 2
    filled = [i for i, what in enumerate(happened) if what == "_fill_in"]
    assert filled
    for at in filled:
        before = next(what for what in reversed(happened[:at]) if what in ("want", "judge", "fold"))
        assert before == "want", "of what is folded already"
    # What is over is compared whole with every look; what goes on (all of the first, half of the second part) is not.
    looked = happened.count("want")
    assert len(filled) < looked / 2, (len(filled), looked)


def test_a_tunnel_log_alone_brings_back_what_was_down_at_the_fold() -> None:
    """The lines of the attempt that went well are lost; TunnelConnected says that it did."""

    def mark(at: int, word: str) -> Record:
        operation = f"Tunnel{word}"
        return Record(
            at, GATEWAY, Category.TUNNEL, operation, "GatewayTenantWorker_IN_0", "", remote_ip=PEER, status=word
        )

    down, back = START + 30 * MINUTE, START + 150 * MINUTE
    records = [mark(START, "Connected"), mark(down, "Disconnected")]
    for number, at in enumerate(range(down + 5 * SECOND, back, 30 * SECOND)):
        records += refused_call(at, number)
    records += [mark(back, "Connected"), *refused_call(back + 40 * MINUTE, 10_000)]
    folded, often = run(records, 15 * SECOND)
    _, once = run(records, None)
    assert folded
    assert contents(often) == contents(once)
    assert [(r["State"], r["Resolution"], r["DurationSeconds"]) for r in contents(often)] == [
        ("Resolved", "Recovered", (back - down) / 1000)
    ]


def test_thousands_of_equal_retries_do_not_push_out_the_one_offer() -> None:
    # The whole flood would take minutes; what is kept must not grow from the first thousand to the next three.
    kept: list[int] = []
    records = refused_call(START, 0) + peer_offer(START + SECOND, 1)
    store = Estate()
    for one in records:
        store.learn(read(one), one.at or 0)
    at = START
    rows: dict[str, dict[str, object]] = {}
    for number in range(2, 4002):
        at += 10 * SECOND
        for one in refused_call(at, number):
            store.learn(read(one), at)
        if number % 6 == 0:
            rows |= {row["IncidentId"]: row for row in tell(store, at, LIVE, Pace.REPLAY)}
        if number % 1000 == 0:
            tunnel = store.gateways[GATEWAY.lower()].tunnels[PEER]
            kept.append(len(tunnel.sessions) + len(tunnel.spans) + len(tunnel.folded_changes))
    assert max(kept) < 400
    assert max(kept) - min(kept) < fold.MIN_FOLDED + 8
    store.schedule(Scope(GATEWAY.lower(), PEER), at + DAY // 24)
    rows |= {row["IncidentId"]: row for row in tell(store, at + DAY // 24, LIVE, Pace.FINAL)}
    (row,) = rows.values()
    assert row["Attempts"] == 256
    assert row["Mismatch"] == [{"Parameter": "DhGroup", "Azure": ["DHGroup2"], "Peer": ["DHGroup14"]}]


def test_a_tunnel_that_is_well_keeps_few_of_its_negotiations() -> None:
    """Five a day: a fleet of such tunnels must not fill the memory before each has made as many as a failing one in minutes."""
    store = Estate()
    kept: list[int] = []
    for number in range(30):
        at = START + number * 5 * 60 * MINUTE
        for one in good_call(at, number):
            store.learn(read(one), one.at or 0)
        tell(store, at + 60 * MINUTE, LIVE, Pace.REPLAY)
        tunnel = store.gateways[GATEWAY.lower()].tunnels[PEER]
        kept.append(len(tunnel.sessions) + 2 * len(tunnel.spans))
    assert max(kept) < 16


def test_a_line_that_two_tunnels_could_own_is_nobodys_also_when_it_comes_again_after_one_of_them_was_folded() -> None:
    store = Estate()
    other = "203.0.113.8"
    unclear = Record(
        START + 50, GATEWAY, Category.IKE, "IKELogEvent", "GatewayTenantWorker_IN_0",
        "IkeCleanupQMNegotiation called with error 13868 and flags a",
    )  # fmt: skip
    records = [*refused_call(START, 1), unclear, *(replace_peer(r, other) for r in refused_call(START, 2))]
    # One of them goes on until it is folded.
    for number in range(3, 60):
        records += refused_call(START + number * 20 * SECOND, number)
    for one in records:
        store.learn(read(one), one.at or 0)
    tell(store, START + 2 * 60 * MINUTE, LIVE, Pace.REPLAY)
    gateway = store.gateways[GATEWAY.lower()]
    assert gateway.tunnels[PEER].spans
    assert not gateway.tunnels[other].spans
    kept = dict(gateway.tunnels[other].sessions)

    store.learn(read(unclear), unclear.at or 0)

    assert list(gateway.orphans()) == []
    tell(store, START + 3 * 60 * MINUTE, LIVE, Pace.REPLAY)
    assert gateway.tunnels[other].sessions == kept


def replace_peer(one: Record, remote: str) -> Record:
    return replace(one, message=one.message.replace(PEER, remote))
