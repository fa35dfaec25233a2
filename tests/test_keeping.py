"""What a store keeps must be all there is: a process that starts over from the documents tells the same as one that went on."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from random import Random

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ikestream import codec, keeping
from ikestream.batch import Delivery, learn
from ikestream.estate import Estate
from ikestream.events import Category, Direction, IkeEvent, Kind, Proposal, Record, Selector
from ikestream.grammar import MAX_LINE, ROWS, read
from ikestream.incident import Row
from ikestream.lab import FAULTS, HEALTHY, Feed, Lab, Story, post
from ikestream.tick import tell
from ikestream.times import MINUTE, SECOND
from tests.by_hand import ByHand
from tests.streams import GATEWAY, START, run_on, streams, told

SETTINGS = settings(deadline=None, derandomize=True, max_examples=40, suppress_health_check=list(HealthCheck))


def start_over(estate: Estate) -> Estate:
    """A new process that knows what the documents say, and how far the hub was read."""
    again = Estate(estate.peers, estate.grid)
    for key, gateway in estate.gateways.items():
        documents = keeping.pack(estate, {}, key, [keeping.ITSELF, *gateway.tunnels])
        present = {row: body for row, body in documents.items() if body is not None}
        assert keeping.unpack(again, {}, key, present) == {}
        assert keeping.pack(again, {}, key, [keeping.ITSELF, *gateway.tunnels]) == documents
    again.partitions, again.reached = dict(estate.partitions), dict(estate.reached)
    return again


def run(deliveries: list[Delivery], random: Random | None) -> list[Row]:
    """Batches and ticks in the order of the hub; with `random`, by processes that start over again and again."""
    estate, rows, clock = Estate(), list[Row](), 0
    for i, delivery in enumerate(deliveries):
        if i and delivery.enqueued > clock + 15 * SECOND:
            rows += tell(estate, delivery.enqueued - 1)
            clock = delivery.enqueued
        learn(estate, [delivery])
        if random is not None and random.random() < 0.2:
            estate = start_over(estate)
    for _ in range(4):
        clock += 20 * MINUTE
        rows += tell(estate, clock)
        estate = start_over(estate) if random is not None else estate
    return rows + run_on(estate, clock)


@SETTINGS
@given(streams(), st.randoms(use_true_random=False))
def test_starting_over_changes_nothing(records: list[Record], random: Random) -> None:
    deliveries = post(records, random, Feed())

    assert told(run(deliveries, random)) == told(run(deliveries, None))


@pytest.mark.parametrize("story", [*FAULTS, *HEALTHY], ids=lambda story: story.__name__)
def test_starting_over_changes_nothing_in_a_story(story: Callable[[Lab], Story]) -> None:
    random = Random(story.__name__)
    deliveries = post(story(Lab(3)).records, random, Feed())

    assert told(run(deliveries, random)) == told(run(deliveries, None))


def test_events_that_the_first_format_wrote_by_name_still_read() -> None:
    event = IkeEvent(
        1_772_445_600_000,
        "/SUBSCRIPTIONS/S",
        Kind.IKE_RECEIVED,
        "a line",
        session="8c0d11aa-0000-4000-8000-000000000000",
        direction=Direction.RECEIVED,
        proposals=(Proposal("AES256", "SHA256", "DHGroup14"),),
        responder_selectors=(Selector("10.0.0.0", "10.0.0.255", protocol=6),),
        cut=True,
    )
    by_name = {
        "at": 1_772_445_600_000,
        "gateway": "/SUBSCRIPTIONS/S",
        "kind": "IKE proposals received",
        "message": "a line",
        "session": "8c0d11aa-0000-4000-8000-000000000000",
        "direction": "RECEIVED",
        "proposals": [{"encryption": "AES256", "integrity": "SHA256", "group": "DHGroup14"}],
        "responder_selectors": [{"start": "10.0.0.0", "end": "10.0.0.255", "protocol": 6}],
        "cut": True,
    }
    assert codec.unpack(zlib.compress(orjson.dumps({"n": [], "v": [by_name]})), list[IkeEvent]) == [event]


def test_since_when_there_is_a_tunnel_log_is_read_off_what_the_second_format_kept() -> None:
    """It kept only that there is one: taken for none, the next tick would wait for no TunnelConnected any more."""
    log = ByHand()
    log.tunnel(60, up=True)
    log.tunnel(600, up=False, reason="DPD timed out")
    estate = Estate()
    for record in log.records:
        estate.learn(read(record), 0)
    [(key, gateway)] = estate.gateways.items()
    documents = keeping.pack(estate, {}, key, [keeping.ITSELF, *gateway.tunnels])
    kept = {row: body for row, body in documents.items() if body is not None}
    old = orjson.loads(zlib.decompress(kept[keeping.ITSELF]))
    del old["v"]["gateway"]["tunnel_log_since"]
    old["v"]["gateway"]["writes_tunnel_log"] = True
    again = Estate()
    assert keeping.unpack(again, {}, key, kept | {keeping.ITSELF: zlib.compress(orjson.dumps(old))}) == {}
    assert again.gateways[key].tunnel_log_since == START + 60 * SECOND
    again = Estate()
    assert keeping.unpack(again, {}, key, kept) == {}
    assert again.gateways[key].tunnel_log_since == START + 60 * SECOND


def test_events_are_kept_as_they_are() -> None:
    start = "SESSION_ID :{8C0D11AA-4c80-434b-8702-0123456789ab} Remote 203.0.113.9:500: Local 198.51.100.4:500: "
    lines = [start + row.sample for row in ROWS] + ["no row knows this", "", "x" * (MAX_LINE + 1)]
    records = [Record(n, GATEWAY, Category.IKE, "IKELogEvent", "IN_0", line) for n, line in enumerate(lines)]
    records += [replace(records[0], gateway=GATEWAY.lower()), replace(records[0], instance="")]
    records += [
        Record(7, GATEWAY, Category.TUNNEL, "TunnelDisconnected", "IN_1", "", "", "203.0.113.9", "", "DPD timed out"),
        Record(8, GATEWAY, Category.GATEWAY, "SetGatewayConfiguration", "", "somebody saved it"),
    ]
    events = [replace(event, message=event.message[:MAX_LINE]) for event in map(read, records)]  # as a batch cuts them
    kept = codec.unpack(codec.pack(events, list[IkeEvent]), list[IkeEvent])
    assert kept == events
