"""FeedSilent and UnknownPeer: what is said of a gateway and none of its tunnels, as a running monitor says it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations
from random import Random
from typing import Any

import pytest

from ikestream.events import Category, Record
from ikestream.grammar import read
from ikestream.lab import post
from ikestream.times import DAY, HOUR, MINUTE, SECOND
from ikestream.tunnel import Gateway
from tests.streams import GATEWAY, START, as_delivered, in_order, last
from tests.streams import told as rows_told

PEER = "203.0.113.7"
MIDNIGHT = START - START % DAY + DAY


def connected(at: int, *, up: bool = True) -> Record:
    word = "Connected" if up else "Disconnected"
    return Record(at, GATEWAY, Category.TUNNEL, f"Tunnel{word}", "GatewayTenantWorker_IN_0", "", "", PEER, word, "")


def saved(at: int) -> Record:
    return Record(at, GATEWAY, Category.GATEWAY, "SetGatewayConfiguration", "GatewayTenantWorker_IN_0", "written")


def line(at: int, remote: str, body: str, session: int) -> Record:
    text = f"SESSION_ID :{{00000000-0000-4000-8000-{session:012d}}} Remote {remote}:500: Local 192.0.2.4:500: {body}"
    return Record(at, GATEWAY, Category.IKE, "IKELogEvent", "GatewayTenantWorker_IN_0", text)


def told(records: Sequence[Record], cause: str) -> list[dict[str, Any]]:
    rows = [row for row in last(in_order(records)).values() if row["Cause"] == cause]
    return sorted(rows, key=lambda row: str(row["FirstSeen"]))


def hours(row: dict[str, Any], column: str) -> float:
    from datetime import datetime

    return (datetime.fromisoformat(row[column]).timestamp() * 1000 - START) / HOUR


# --- FeedSilent ---------------------------------------------------------------------------------------------------


def silences(records: Sequence[Record]) -> list[tuple[float, float]]:
    """Those that are over: the clock runs on after the last record, and then the feed is silent for good."""
    rows = [row for row in told(records, "FeedSilent") if row["ResolvedAt"]]
    return [(hours(row, "FirstSeen"), hours(row, "ResolvedAt")) for row in rows]


def every_hour(count: int) -> list[Record]:
    return [connected(START), *(saved(START + n * HOUR) for n in range(1, count))]


def test_a_gateway_silent_for_nine_hours_is_told_and_over_with_its_next_record() -> None:
    row, _ = told([*every_hour(24), saved(START + 40 * HOUR)], "FeedSilent")
    assert (row["State"], row["Resolution"], row["Scope"], row["RemoteIP"]) == ("Resolved", "Recovered", "Gateway", "")
    assert (row["Severity"], row["Confidence"], row["Impact"]) == ("Warning", "Low", "None")
    assert (hours(row, "FirstSeen"), hours(row, "ResolvedAt")) == (23, 40)


def test_it_is_told_after_nine_hours_and_not_before() -> None:
    rows = [row for row in in_order(every_hour(24)) if row["Cause"] == "FeedSilent"]
    assert rows[0]["State"] == "Open"
    assert hours(rows[0], "TimeGenerated") == pytest.approx(23 + 9, abs=0.1)
    assert {row["State"] for row in rows} == {"Open"}  # silence does not end by itself


def test_a_silence_of_eight_hours_is_none() -> None:
    assert silences([*every_hour(24), *(saved(START + (23 + 8 * n) * HOUR) for n in range(1, 20))]) == []


def test_a_gateway_that_was_silent_for_long_before_gets_twice_that_time() -> None:
    """Twelve hours once, then nothing for twenty: less than twice twelve."""
    before = [*every_hour(24), saved(START + 35 * HOUR)]
    after = [saved(START + 55 * HOUR), *(saved(START + (55 + 8 * n) * HOUR) for n in range(1, 20))]
    assert silences([*before, *after]) == [(23, 35)]


def test_silence_of_a_gateway_without_a_tunnel_up_is_none() -> None:
    records = [connected(START), connected(START + HOUR, up=False), *(saved(START + n * HOUR) for n in range(2, 20))]
    assert told(records, "FeedSilent") == []


def calls(minutes: int, every: int = 20 * SECOND, start: int = START) -> list[Record]:
    """Azure calls a peer that does not answer, for so long."""
    text = "[SEND][SA_INIT] Sending IKE SA_INIT packet with tunnelId 0x3, iCookie 0x{:X} and rCookie 0x0"
    return [line(at, PEER, text.format(at), at) for at in range(start, start + minutes * MINUTE, every)]


def test_a_gateway_that_falls_silent_while_it_calls_is_told_after_twenty_minutes() -> None:
    rows = [row for row in in_order(calls(30)) if row["Cause"] == "FeedSilent"]
    assert rows[0]["State"] == "Open"
    assert hours(rows[0], "FirstSeen") == pytest.approx(0.5, abs=0.01)
    assert hours(rows[0], "TimeGenerated") == pytest.approx(0.5 + 1 / 3, abs=0.02)
    assert "Azure called a peer again and again" in rows[0]["Explanation"]


def test_it_is_over_with_the_next_record_of_whatever_category() -> None:
    assert silences([*calls(30), saved(START + 2 * HOUR)]) == [(pytest.approx(0.5, abs=0.01), 2)]


@pytest.mark.parametrize(
    "records",
    [
        [*calls(30), connected(START + 30 * MINUTE)],
        [*calls(30), saved(START + 30 * MINUTE)],
        calls(30, every=4 * MINUTE),
        calls(10),
        [*calls(30), saved(START + 48 * MINUTE), *calls(30, start=START + 66 * MINUTE), connected(START + 96 * MINUTE)],
    ],
    ids=["it came up", "a change in Azure", "now and then", "for ten minutes", "silent for less"],
)
def test_a_call_that_ends_for_a_reason_or_was_none_says_nothing_of_the_feed(records: list[Record]) -> None:
    until = max(r.at or 0 for r in records)
    rows = [r for r in in_order(records) if r["Cause"] == "FeedSilent"]
    assert [r for r in rows if hours(r, "TimeGenerated") < (until - START) / HOUR + 9] == []


@pytest.mark.parametrize("seed", range(5))
def test_a_feed_that_breaks_off_is_told_the_same_in_any_order(seed: int) -> None:
    records = [*calls(30), *calls(30, start=START + 3 * HOUR), connected(START + 210 * MINUTE)]
    random = Random(seed)
    assert rows_told(as_delivered(post(records, random), random)) == rows_told(in_order(records))
    assert len(silences(records)) == 1


# --- UnknownPeer --------------------------------------------------------------------------------------------------


def knock(at: int, remote: str, session: int) -> list[Record]:
    return [
        line(at, remote, "[RECEIVED][SA_INIT] Received SA INIT iCookie 0xA235B36A563A2816 rCookie 0x0", session),
        line(at + 10, remote, "[SEND][NOTIFY] Sending Notify Message - Policy Mismatch", session),
    ]


def test_strangers_are_one_row_a_day_whatever_their_number() -> None:
    flood = [r for n in range(300) for r in knock(MIDNIGHT + n * MINUTE, f"198.51.{n // 200}.{n % 200 + 1}", n)]
    rows = told([*flood, *knock(MIDNIGHT + DAY + HOUR, "198.51.100.9", 999)], "UnknownPeer")
    assert [row["State"] for row in rows] == ["Resolved", "Resolved"]
    assert "at least 64 addresses" in rows[0]["Explanation"]
    assert "1 address without" in rows[1]["Summary"]
    assert all(row["Severity"] == "Informational" for row in rows)


def test_no_command_holds_a_strangers_address() -> None:
    (row,) = told(knock(MIDNIGHT, "198.51.100.9", 1), "UnknownPeer")
    assert "198.51.100.9" in row["Explanation"]
    assert row["FixCommands"]
    assert "198.51.100.9" not in repr(row["FixCommands"])
    assert "198.51.100.9" not in row["Fix"]


def test_a_stranger_that_becomes_known_was_none() -> None:
    early = knock(MIDNIGHT, PEER, 1)
    call = "[SEND][SA_INIT] Sending IKE SA_INIT packet with tunnelId 0x3, iCookie 0x01 and rCookie 0x0"
    assert told(early, "UnknownPeer")
    for after in (5 * MINUTE, 2 * HOUR):  # the second time what was told is taken back
        assert told([*early, line(MIDNIGHT + after, PEER, call, 2)], "UnknownPeer") == []


def test_a_record_a_second_later_is_the_same_row() -> None:
    one = told(knock(MIDNIGHT, "198.51.100.9", 1), "UnknownPeer")
    two = told([*knock(MIDNIGHT, "198.51.100.9", 1), *knock(MIDNIGHT + SECOND, "198.51.100.9", 2)], "UnknownPeer")
    assert len(one) == len(two) == 1


def test_a_line_without_addresses_changes_no_count_whenever_it_comes() -> None:
    """Whose it is is known by its session, from a line that may come before or after it."""
    named = knock(MIDNIGHT, "198.51.100.9", 1)
    text = named[1].message.partition("} ")
    bare = replace(
        named[1],
        at=MIDNIGHT + 30 * SECOND,
        message=f"{text[0]}}} {text[2].partition('500: ')[2].partition('500: ')[2]}",
    )
    spans = set()
    for order in permutations([*named, bare]):
        gateway = Gateway("g")
        for record in order:
            gateway.learn(read(record))
        spans.add(repr(gateway.knocks))
    assert len(spans) == 1
