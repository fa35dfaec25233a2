"""Operations of the storage account for a fleet, counted: twenty simulated minutes, told for a month.

    python -m tests.bench.operations

Two tunnels in a hundred are down, and Azure tries each of them again twice within fifteen seconds, eight lines a time;
the others are quiet. Batches come once per tick and partition. Rows are counted singly, as Azure counts them.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import orjson

from ikestream import inbox
from ikestream.batch import Delivery, sort
from ikestream.monitor import Monitor
from ikestream.sinks import Posting, Receipt
from ikestream.stores import Delete, Document, Put
from ikestream.stores.memory import Memory
from ikestream.times import MINUTE, TICK
from tests.bench import latency, stream

TICKS = 80
A_MONTH = 30 * 24 * 60 * MINUTE / (TICKS * TICK)
PARTITIONS = 4
DOWN = 50
"""One tunnel of so many is down."""


class Counted:
    """A memory store that counts what a storage account would be asked."""

    def __init__(self) -> None:
        self.inner, self.counts = Memory(), Counter[str]()

    async def read(self, partition: str, limit: int | None = None) -> AsyncIterator[Document]:
        self.counts["queries"] += 1
        async for document in self.inner.read(partition, limit):
            self.counts["bytes"] += len(document.body)
            yield document

    async def write(self, partition: str, changes: Sequence[Put | Delete]) -> list[str]:
        self.counts["transactions"] += 1 + (len(changes) - 1) // 90
        self.counts["rows"] += len(changes)
        self.counts["bytes"] += sum(len(change.body) for change in changes if isinstance(change, Put))
        return await self.inner.write(partition, changes)

    async def close(self) -> None:
        pass


class Anything:
    """A table that takes every row."""

    name, messages = "table", False

    async def send(self, postings: Sequence[Posting]) -> Receipt:
        return Receipt(accepted={posting.key for posting in postings})

    async def close(self) -> None:
        pass


async def count(tunnels: int) -> Counter[str]:
    """Return what is asked of the store in `TICKS` ticks."""
    store, now, numbers = Counted(), int(latency.time.time() * 1000), Counter[str]()
    monitor = Monitor(store, [Anything()], lambda: now, "worker")

    async def post(partition: str, records: list[dict[str, object]]) -> None:
        bodies = [orjson.dumps({"records": records[n : n + 20]}) for n in range(0, len(records), 20)]
        batch = []
        for body in bodies:
            batch.append(Delivery(partition, str(numbers[partition]), numbers[partition], now, body))
            numbers[partition] += 1
        await inbox.post(store, sort(batch)[0])

    await post("0", [latency.connection(t, up=True) for t in range(tunnels)])
    await monitor.tick()
    store.counts.clear()
    down = range(0, tunnels, DOWN)
    for tick in range(TICKS):
        now += TICK
        for partition in range(PARTITIONS):
            again = [
                r for t in down[partition::PARTITIONS] for n in (0, 1) for r in latency.attempt(t, 2 * tick + n, now)
            ]
            if again:
                await post(str(partition), again)
        await monitor.tick()
    return store.counts


async def batch_of(records: int) -> Counter[str]:
    """Return what one batch of so many records of one gateway asks of the store, and (`tick ..`) the tick that learns it.

    The gateway is known already, and nothing is told.
    """
    store, now = Counted(), stream.START
    monitor = Monitor(store, [Anything()], lambda: now, "worker")
    bodies = list(stream.stream(2 * records, stream.PER_GATEWAY))
    counted: Counter[str] = Counter()
    for half in range(2):
        some = bodies[half * len(bodies) // 2 : (half + 1) * len(bodies) // 2]
        now += TICK
        store.counts.clear()
        deliveries = [Delivery("0", str(n), n, now, body) for n, body in enumerate(some, half * len(some))]
        await inbox.post(store, sort(deliveries)[0])
        counted = Counter(store.counts)
        store.counts.clear()
        await monitor.tick()
    return counted + Counter({f"tick {name}": number for name, number in store.counts.items()})


def main() -> int:
    for tunnels in (10, 1_000, 10_000):
        counts = {name: number * A_MONTH for name, number in asyncio.run(count(tunnels)).items()}
        print(
            f"{tunnels:>6,} tunnels, {-(-tunnels // DOWN):>3} down, a month:"
            f" {counts['rows'] / 1e6:6.1f} million rows in {counts['transactions'] / 1e6:5.1f} million transactions,"
            f" {counts['queries'] / 1e6:4.1f} million queries, {counts['bytes'] / 1e9:6.1f} GB"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
