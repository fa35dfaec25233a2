"""What cannot be used goes to a hub of its own, whole, or the caller fails: with the real SDK against a local hub."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import orjson
import pytest
from proton import Message

from ikestream import batch, inbox, settings
from ikestream import dead_letters as module
from ikestream.batch import Delivery, bodies
from ikestream.dead_letters import DeadLetterHub
from ikestream.envelope import decode
from ikestream.events import Category, IkeEvent, Record
from ikestream.grammar import MAX_LINE, read
from ikestream.lab import FAULTS, HEALTHY, PROMPT, Lab, post, wrap
from ikestream.monitor import Monitor, Refused, Ticked
from ikestream.sinks import Posting, Receipt
from ikestream.stores import Unavailable
from ikestream.stores.memory import Memory
from ikestream.times import TICK
from tests.emulators.hub import KEY, LocalHub

LIMIT = 1024 * 1024
"""Bytes of one event, of which the local hub says nothing: the SDK's own."""
ENQUEUED = 1_772_445_600_123  # 2026-03-02T10:00:00.123Z
GATEWAY = "/SUBSCRIPTIONS/0/RESOURCEGROUPS/RG/PROVIDERS/MICROSOFT.NETWORK/VIRTUALNETWORKGATEWAYS/VNG"


@pytest.fixture
def local() -> Iterator[LocalHub]:
    with LocalHub({"vpn": 2, "dead": 1}) as local:
        yield local


def configured(local: LocalHub, hub: str = "dead", more: str = "") -> settings.Settings:
    return settings.load(
        {
            settings.CONNECTION: local.connection_string() + more,
            settings.HUB_NAME: "vpn",
            settings.CONSUMER_GROUP: "ikestream",
            settings.DEAD_LETTER_HUB: hub,
        }
    )


@dataclass(frozen=True)
class Found:
    body: bytes
    properties: dict[str, Any]


def found(local: LocalHub, hub: str = "dead") -> list[Found]:
    """What stands in a hub, read with Proton: not by the code under test."""
    letters = []
    for partition in local.hubs[hub]:
        for event in partition.events:
            message = Message()
            message.decode(event)
            letters.append(Found(bytes(message.body), dict(message.properties or {})))
    return letters


def undecodable(body: bytes, number: int = 7) -> batch.DeadLetter:
    (dead,) = batch.sort([Delivery("3", "3584", number, ENQUEUED, body)])[1].dead
    return dead


# --- bodies -----------------------------------------------------------------------------------------------------------


def test_a_body_goes_whole_and_says_where_it_stood_and_why(local: LocalHub) -> None:
    bad = b'{"records": 7, "\xff\x00'
    asyncio.run(DeadLetterHub(configured(local)).put_aside([undecodable(bad), undecodable(b"", number=2**40)]))
    first, second = found(local)
    assert first.body == bad
    reason = first.properties.pop("reason")
    assert "JSON" in reason or "character" in reason or "utf-8" in reason.lower()
    assert first.properties == {
        "kind": "body",
        "sourceHub": "vpn",
        "partition": "3",
        "offset": "3584",
        "sequenceNumber": "7",
        "enqueuedTime": "2026-03-02T10:00:00.123Z",
    }
    assert (second.body, second.properties["reason"], second.properties["sequenceNumber"]) == (b"", "empty", str(2**40))


def test_no_reason_makes_a_letter_that_cannot_be_sent(local: LocalHub) -> None:
    bad = batch.DeadLetter(Delivery("0", "1", 0, ENQUEUED, b"x"), "\ud800 lone\r\n" + "x" * 100_000)
    asyncio.run(DeadLetterHub(configured(local)).put_aside([bad]))
    (letter,) = found(local)
    assert (letter.body, len(letter.properties["reason"])) == (b"x", module.MAX_REASON)
    assert letter.properties["reason"].startswith("? lone x")


def test_the_hub_is_the_one_of_the_setting_whatever_the_connection_string_says(local: LocalHub) -> None:
    asyncio.run(DeadLetterHub(configured(local, more=";EntityPath=vpn")).put_aside([undecodable(b"x")]))
    assert (len(found(local)), len(found(local, "vpn"))) == (1, 0)


def test_nothing_to_put_aside_opens_no_connection(local: LocalHub) -> None:
    asyncio.run(DeadLetterHub(configured(local)).put_aside([]))
    assert local.broker.opened == 0


def test_more_than_one_event_can_hold_goes_in_several(local: LocalHub) -> None:
    noise = [Random(n).randbytes(400_000) for n in range(4)]
    asyncio.run(DeadLetterHub(configured(local)).put_aside([undecodable(body) for body in noise]))
    assert [letter.body for letter in found(local)] == noise


def test_a_body_too_large_with_its_properties_is_packed(local: LocalHub) -> None:
    large = b"not JSON " * (LIMIT // 9)
    small = undecodable(b"x")
    hub = DeadLetterHub(configured(local))
    assert asyncio.run(hub.put_aside([small, undecodable(large), small])) == 0
    assert [letter.properties.get("encoding") for letter in found(local)] == [None, "gzip", None]
    packed = found(local)[1]
    assert gzip.decompress(packed.body) == large
    assert packed.properties["bytes"] == len(large)


def test_a_body_that_cannot_be_packed_either_is_cut_says_so_and_counts(local: LocalHub) -> None:
    noise = Random(1).randbytes(LIMIT)
    hub = DeadLetterHub(configured(local))
    assert asyncio.run(hub.put_aside([undecodable(noise)])) == 1
    (letter,) = found(local)
    assert noise.startswith(letter.body)
    assert len(letter.body) > 0.98 * LIMIT
    assert (letter.properties["cut"], letter.properties["bytes"]) == ("true", LIMIT)


# --- failures ---------------------------------------------------------------------------------------------------------


def test_a_hub_that_is_not_there_fails_the_caller_on_one_line_without_the_key(local: LocalHub) -> None:
    with pytest.raises(Unavailable, match=r"^event hub nowhere: ") as said:
        asyncio.run(DeadLetterHub(configured(local, hub="nowhere")).put_aside([undecodable(b"x")]))
    assert "404" in str(said.value)
    assert "\n" not in str(said.value)
    assert KEY not in str(said.value)


def test_a_hub_that_does_not_answer_fails_the_caller(local: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = DeadLetterHub(configured(local))
    with monkeypatch.context() as impatient:
        impatient.setattr(module, "PATIENCE", 0.5)
        impatient.setattr(local.broker, "on_link_opening", lambda _: None)  # never attached
        with pytest.raises(Unavailable, match=r"^event hub dead: no answer within 0\.5 s$"):
            asyncio.run(hub.put_aside([undecodable(b"x")]))
    asyncio.run(hub.put_aside([undecodable(b"x")]))
    assert len(found(local)) == 1


def test_a_host_that_is_not_there_fails_the_caller() -> None:
    away = settings.load(
        {settings.NAMESPACE: "127.0.0.1", settings.HUB_NAME: "vpn", settings.CONSUMER_GROUP: "g"}
        | {settings.DEAD_LETTER_HUB: "dead", settings.CREDENTIAL: "managedidentity"}
    )
    with pytest.raises(Unavailable, match=r"^event hub dead: \w+: "):
        asyncio.run(DeadLetterHub(away).put_aside([undecodable(b"x")]))


# --- what the tick refuses --------------------------------------------------------------------------------------------


def test_a_refused_row_goes_as_json(local: LocalHub) -> None:
    row = {"IncidentId": "0123", "Revision": 3, "Cause": "PfsMismatch", "Legs": [{"Instance": "0"}], "Drill": None}
    refused = Refused("row", orjson.dumps(row), "log_analytics: 400\nInvalidRecord")
    asyncio.run(DeadLetterHub(configured(local))([refused]))
    (letter,) = found(local)
    assert orjson.loads(letter.body) == row
    assert (letter.properties["kind"], letter.properties["reason"]) == ("row", "log_analytics: 400 InvalidRecord")


def events(body: bytes) -> list[IkeEvent]:
    return [read(record) for record in decode(body).records]


@pytest.mark.parametrize("story", [*FAULTS, *HEALTHY], ids=lambda story: story.__name__)
def test_the_records_of_a_parked_gateway_can_be_read_again_as_they_were(story: Any) -> None:
    said = events(wrap(story(Lab(5)).records))
    assert said
    assert [event for body in bodies(said) for event in events(body)] == said


@pytest.mark.parametrize(
    "record",
    [
        Record(ENQUEUED, GATEWAY, Category.TUNNEL, "TunnelDisconnected", "0", "", "", "203.0.113.7:4500", "Disconnected", "DPD timed out"),
        Record(ENQUEUED, GATEWAY, Category.TUNNEL, "TunnelConnected", "0", "", "", "[2001:db8::7]:500", "Connected", ""),
        Record(ENQUEUED, GATEWAY, Category.TUNNEL, "StateChange", "1", "", "", "203.0.113.7", "Disconnected", "GlobalStandby"),
        Record(ENQUEUED, GATEWAY, Category.GATEWAY, "SetGatewayConfiguration", "0", "written"),
        Record(ENQUEUED, GATEWAY, Category.GATEWAY, "HostMaintenanceEvent", "1", ""),
        Record(ENQUEUED, GATEWAY, Category.ROUTE, "BgpDisconnectedEvent", "0", "BGP peer 10.1.255.30 is down"),
        Record(ENQUEUED, GATEWAY, Category.P2S, "P2SLogEvent", "0", "a client"),
        Record(ENQUEUED, GATEWAY, Category.IKE, "IKELogEvent", "", "[SEND] Frobnicated \u202e\x07"),
    ],
    ids=lambda record: record.operation,
)  # fmt: skip
def test_a_record_of_each_category_says_again_what_it_said(record: Record) -> None:
    said = events(wrap([record]))
    assert len(said) == 1
    assert [event for body in bodies(said) for event in events(body)] == said


def test_a_parcel_goes_as_bodies_that_fit(local: LocalHub) -> None:
    lines = wrap(next(iter(FAULTS))(Lab(5)).records)
    said = tuple(events(lines) * 20)
    with pytest.MonkeyPatch.context() as small:
        small.setattr(batch, "MAX_PARCEL", 20_000)
        refused = [Refused("records", body, "the gateway is parked") for body in bodies(said)]
    asyncio.run(DeadLetterHub(configured(local))(refused))
    letters = found(local)
    assert len(letters) > 2
    assert all(len(letter.body) < 30_000 for letter in letters)
    assert [event for letter in letters for event in events(letter.body)] == list(said)
    assert {letter.properties["kind"] for letter in letters} == {"records"}


def test_a_line_of_control_characters_grows_and_still_fits(local: LocalHub) -> None:
    """JSON writes six bytes for one: the largest line there can be is 400 kB of it."""
    (event,) = events(wrap(next(iter(FAULTS))(Lab(5)).records))[:1]
    hostile = IkeEvent(event.at, event.gateway, event.kind, "\x01" * MAX_LINE)
    hub = DeadLetterHub(configured(local))
    asyncio.run(hub([Refused("records", body, "r") for body in bodies([hostile] * 3)]))
    read_again = [e.message for letter in found(local) for e in events(letter.body)]
    assert read_again == [hostile.message] * 3


class Refuses:
    """A table that takes no row, ever."""

    name, messages = "log_analytics", False

    async def send(self, postings: Sequence[Posting]) -> Receipt:
        return Receipt(refused={posting.key: "400 InvalidRecord" for posting in postings})

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("hub", ["dead", "nowhere"])
def test_a_row_leaves_the_outbox_once_it_is_put_aside_and_not_before(local: LocalHub, hub: str) -> None:
    deliveries = post(sorted(next(iter(FAULTS))(Lab(3)).records, key=lambda r: r.at or 0), Random(0), PROMPT)
    store, clock = Memory(), [deliveries[-1].enqueued]
    running = Monitor(
        store, [Refuses()], lambda: clock[0], "w1", dead_letters=DeadLetterHub(configured(local, hub=hub))
    )

    async def story() -> Ticked:
        await inbox.post(store, batch.sort(deliveries)[0])
        for _ in range(40):
            ticked = await running.tick()
            if ticked.told:
                return ticked
            clock[0] += TICK
        raise AssertionError("nothing was told")

    ticked = asyncio.run(story())
    left = [pending.posting.row for rows in running.outbox.values() for pending in rows]
    if hub == "dead":
        rows = [orjson.loads(letter.body) for letter in found(local)]
        assert len(rows) == ticked.told == ticked.refused > 0
        assert {row["IncidentId"] for row in rows}
        assert {letter.properties["reason"] for letter in found(local)} == {"log_analytics: 400 InvalidRecord"}
        assert left == []
    else:
        assert len(left) == ticked.told > 0
        assert ticked.refused == 0
        assert any(line.startswith("dead letters: event hub nowhere: ") for line in ticked.trouble)
