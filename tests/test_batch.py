"""A batch: what is learned, what is counted, and that neither a bad body nor a second delivery changes anything else."""

from __future__ import annotations

import gzip
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikestream import batch, formats
from ikestream.batch import Delivery, learn
from ikestream.estate import Estate, Partition
from ikestream.tick import tell
from ikestream.times import DAY, FUTURE_TOLERANCE, MINUTE

SAMPLES = sorted((Path(batch.__file__).parent / "data" / "samples").iterdir())
BODIES = [line for sample in SAMPLES for line in sample.read_bytes().splitlines()]
with formats.read(SAMPLES) as saved:
    LAST = max(record.at or 0 for record in saved.timed())
RECORDS = sum(len(orjson.loads(body)["records"]) for body in BODIES)


def delivery(body: bytes, place: int = 0, partition: str = "0", enqueued: int = LAST) -> Delivery:
    return Delivery(partition, str(place * 100), place, enqueued, body)


def deliveries(bodies: list[bytes]) -> list[Delivery]:
    return [delivery(body, place) for place, body in enumerate(bodies)]


def told(store: Estate, now: int = LAST + 10 * MINUTE) -> list[dict[str, object]]:
    return sorted(tell(store, now), key=lambda row: str(row["GatewayId"]))


def reference() -> list[dict[str, object]]:
    store = Estate()
    learn(store, deliveries(BODIES))
    return told(store)


def test_the_samples_are_learned() -> None:
    store = Estate()
    report = learn(store, deliveries(BODIES))
    assert (report.records, report.dead, report.unread, report.skipped) == (RECORDS, [], {}, {})
    assert [row["Cause"] for row in told(store)] == ["PreSharedKeyMismatch", "IkePolicyMismatch"]


def test_nothing_is_told_by_learning() -> None:
    store = Estate()
    assert not hasattr(learn(store, deliveries(BODIES)), "rows")
    assert all(store.ledger(scope).count == 0 for scope in store.scopes())


@pytest.mark.parametrize(
    "bad", [b"", b"no json", b"\xff\xfe", b"5", b'{"records": 5}', gzip.compress(b"{}", mtime=0)[:-9]]
)
def test_a_dead_letter_is_alone_and_says_where_it_stood_and_why(bad: bytes) -> None:
    store = Estate()
    bodies = deliveries([BODIES[0], bad, *BODIES[1:]])
    report = learn(store, bodies)
    (dead,) = report.dead
    assert dead.delivery == bodies[1]
    assert dead.reason
    assert "\n" not in dead.reason
    assert report.records == RECORDS
    assert told(store) == reference()


def test_a_dead_letter_counts_as_read() -> None:
    store = Estate()
    learn(store, [delivery(b"no json", 7, "3", LAST)])
    assert store.partitions == {"3": Partition(7, LAST)}


def test_what_is_left_out_is_counted_by_reason() -> None:
    record = orjson.loads(BODIES[0])["records"][0]
    odd = [record | {"category": "AppServiceHTTPLogs"}, {"category": "IKEDiagnosticLog"}, 5]
    store = Estate()
    report = learn(store, [delivery(orjson.dumps({"records": [record, *odd]}))])
    assert report.records == 1
    assert sum(report.skipped.values()) == 3
    assert report.skipped["not a JSON object"] == 1
    assert report.skipped["of another category"] == 1


def test_a_line_that_is_not_understood_is_counted_by_shape() -> None:
    record = orjson.loads(BODIES[0])["records"][0]
    messages = ["Lorem ipsum 10.1.2.3 dolor 5", "Lorem ipsum 10.4.5.6 dolor 7"]
    records = [record | {"properties": {"instance": "x", "message": message}} for message in messages]
    report = learn(Estate(), [delivery(orjson.dumps({"records": records}))])
    assert report.records == 2
    assert list(report.unread.values()) == [2]
    assert "10." not in next(iter(report.unread))


@given(st.permutations(range(len(BODIES))), st.lists(st.integers(0, len(BODIES) - 1), max_size=6))
def test_order_batches_and_redelivery_change_nothing(order: list[int], again: list[int]) -> None:
    store = Estate()
    for place in [*order, *again]:
        learn(store, [delivery(BODIES[place], place)])
    assert told(store) == reference()
    learn(store, deliveries([BODIES[place] for place in again]))
    assert told(store) == []


def at(time: str, enqueued: int) -> int | None:
    """Learn one record of `time`, return the time it was learned with."""
    store = Estate()
    record = orjson.loads(BODIES[0])["records"][0] | {"time": time}
    learn(store, [delivery(orjson.dumps({"records": [record]}), enqueued=enqueued)])
    return store.next_due()


def test_a_time_from_the_future_counts_as_the_enqueued_time() -> None:
    assert at("2099-01-01T00:00:00Z", LAST) == LAST
    assert at("2020-09-18T15:50:00Z", 1600444200000 - FUTURE_TOLERANCE) == 1600444200000
    assert at("2020-09-18T15:50:00.001Z", 1600444200000 - FUTURE_TOLERANCE) == 1600444200000 - FUTURE_TOLERANCE


def test_a_late_record_keeps_its_own_time() -> None:
    assert at("2020-09-18T15:50:00Z", 1600444200000 + DAY) == 1600444200000
