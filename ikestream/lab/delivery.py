"""Records -> hub bodies and deliveries: how Azure Monitor hands a log over, which is late, twice and out of order.

Azure sends no partition key, so the records of one negotiation spread over partitions; it groups records as it
pleases and delivers most of them within seconds and all within `times.WORST_DELAY`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random

import orjson

from ikestream.batch import Delivery
from ikestream.events import Category, Record
from ikestream.times import SECOND, WORST_DELAY


@dataclass(frozen=True, slots=True)
class Feed:
    """How bad the way to the hub is. The default is the worst that is promised; `PROMPT` is a quiet day."""

    partitions: int = 4
    most_records: int = 6  # in one body
    worst_delay: int = WORST_DELAY  # ms; a third of the records take any time up to it, the others seconds
    duplicates: float = 0.15  # share of bodies that arrive a second time, in any partition
    noise: bool = True  # records of other services and bodies nobody can read stand in between


PROMPT = Feed(partitions=1, most_records=1, worst_delay=0, duplicates=0.0, noise=False)


def wrap(records: Iterable[Record]) -> bytes:
    """Return the hub body that Azure Monitor writes for `records`: one JSON object, ids upper case, times with 7 digits."""
    return orjson.dumps({"records": [_object(record) for record in records]})


def _object(record: Record) -> dict[str, object]:
    properties: dict[str, object] = {"instance": record.instance, "message": record.message}
    if record.category is Category.TUNNEL:
        properties |= {"remoteIP": record.remote_ip, "status": record.status, "stateChangeReason": record.reason}
    return {
        "time": _time(record.at or 0),
        "resourceId": record.gateway.upper(),
        "category": record.category.value,
        "operationName": record.operation,
        "level": record.level or "Informational",
        "properties": properties,
    }


def _time(at: int) -> str:
    second, ms = divmod(at, 1_000)
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%S}.{ms:03d}0000Z"


def post(records: Sequence[Record], random: Random, feed: Feed = Feed()) -> list[Delivery]:
    """Send `records` through the hub; return its events in the order it took them, sequence numbers per partition.

    No record is enqueued before its event time nor more than `feed.worst_delay` after it.
    """
    arrivals = [(record.at or 0) + _delay(random, feed) for record in records]
    order = sorted(range(len(records)), key=lambda i: (arrivals[i], random.random()))
    bodies: list[tuple[int, bytes]] = []
    while order:
        group = [order.pop(0)]
        size = random.randint(1, feed.most_records)
        # A body is enqueued with its last record, which must not make the first one later than promised.
        while order and len(group) < size:
            limit = min(records[i].at or 0 for i in group) + feed.worst_delay
            if arrivals[order[0]] > limit:
                break
            group.append(order.pop(0))
        latest = min((records[i].at or 0) + feed.worst_delay for i in group)
        enqueued = max(arrivals[i] for i in group)
        random.shuffle(group)
        body = wrap(records[i] for i in group)
        bodies.append((enqueued, body))
        if random.random() < feed.duplicates:
            bodies.append((random.randint(enqueued, max(enqueued, latest)), body))
        if feed.noise and random.random() < 0.1:
            bodies.append((enqueued, random.choice(_NOISE)))
    bodies.sort(key=lambda b: b[0])
    counts = [0] * feed.partitions
    deliveries: list[Delivery] = []
    for enqueued, body in bodies:
        partition = random.randrange(feed.partitions)
        number = counts[partition]
        counts[partition] += 1
        deliveries.append(Delivery(str(partition), str(number * 512), number, enqueued, body))
    return deliveries


def _delay(random: Random, feed: Feed) -> int:
    if random.random() < 0.33:
        return random.randint(0, feed.worst_delay)
    return random.randint(0, min(20 * SECOND, feed.worst_delay))


_OTHER = "/SUBSCRIPTIONS/0/RESOURCEGROUPS/RG/PROVIDERS/MICROSOFT.LOGIC/WORKFLOWS/W"
_NOISE = (
    b"",
    b"not JSON",
    b'{"records": 7}',
    orjson.dumps({"records": [{"time": "2026-03-02T10:00:00Z", "resourceId": _OTHER, "category": "WorkflowRuntime"}]}),
)
