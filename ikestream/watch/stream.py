"""An event hub -> batches, as they come, from now or from a point in time, and how far the hub is written.

Nothing is left behind at the hub: no checkpoint store, no owner level. So the app's readers go on undisturbed. In their own
consumer group the service keeps readers without an owner level out; any other group takes up to five a partition.

Each partition is read by itself and goes on behind what was taken last. When anything fails everything is closed,
and opened again after a while.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from ikestream.batch import Delivery
from ikestream.hubs import Failed, Hubs, reason

if TYPE_CHECKING:
    from azure.eventhub import EventData
    from azure.eventhub.aio import EventHubConsumerClient, PartitionContext

PATIENCE = 10.0
"""Seconds to ask all partitions in."""
PARTING = 2.0
"""Seconds for each step of closing: whoever pressed Ctrl-C waits."""
AHEAD = 4
"""Batches read ahead of what is taken."""
BATCH = 300
"""Events in a batch at most: what the SDK prefetches."""
PAUSES = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before the next attempt to connect; the last one counts for all that follow."""

EVERY, SOON = 10.0, 1.0
"""Seconds between two questions to the hub how far it is written, when all was read and when not. Each question is a
connection for each partition: the SDK keeps none."""

OWNED = "amqp:link:stolen"
"""What the service says to a reader without an owner level where there is one with it."""

Take: TypeAlias = Callable[[Sequence[Delivery]], None]
"""Is given the events of one partition, in order."""
Ask: TypeAlias = Callable[[dict[str, int], int], bool]
"""Is told partition -> sequence number of its last event, and when that was asked (ms); returns whether all of it was read."""


class Stream:
    """One event hub. Belongs to one event loop."""

    def __init__(self, hubs: Hubs, hub: str, consumer_group: str, since: int | None) -> None:
        """`since` in ms; None is now."""
        self._hubs, self._hub, self._group, self._since = hubs, hub, consumer_group, since
        self._known: set[str] = set()
        self._taken: dict[str, int] = {}  # partition -> sequence number of the last event that was taken
        self.begun: dict[str, tuple[int, int]] = {}
        """Partition -> sequence number and time (ms) up to which nothing has to be read: it was there before."""
        self.trouble = ""
        """Why nothing comes at the moment, on one line; '' while it does."""

    async def run(self, take: Take, connected: Callable[[], None], ask: Ask) -> None:
        """Read for ever. Raises `Failed` if the hub cannot be read the first time.

        `connected` is called each time the hub is there, `ask` every few seconds.
        """
        try:
            from azure.core.exceptions import AzureError
            from azure.eventhub.exceptions import EventHubError
        except ModuleNotFoundError:
            raise Failed("the Event Hubs SDK is not installed: pip install -r requirements.txt") from None
        failures, first = 0, True

        def well() -> None:
            nonlocal failures, first
            failures, first = 0, False
            self.trouble = ""
            connected()

        while True:
            try:
                async with AsyncExitStack() as opened:
                    client = await self._hubs.reader(opened, self._hub, self._group)
                    await self._follow(client, take, well, ask)
            except (AzureError, EventHubError, OSError, TimeoutError, ValueError) as failed:
                if OWNED in str(failed):
                    raise Failed(
                        f"the consumer group {self._group} belongs to a reader that owns its partitions, as the app does:"
                        " name another one with --consumer-group"
                    ) from None
                if first:
                    raise Failed(reason(failed)) from None
                self.trouble = reason(failed)
            pause = PAUSES[min(failures, len(PAUSES) - 1)]
            failures += 1
            await asyncio.sleep(pause)

    async def _follow(
        self,
        client: EventHubConsumerClient,
        take: Take,
        connected: Callable[[], None],
        ask: Ask,
    ) -> None:
        """Read all partitions until something fails, or there are more of them. Raises what failed."""
        async with asyncio.timeout(PATIENCE):
            partitions = await client.get_partition_ids()
            if self._known:  # whatever is in one that was not there before is new
                self._taken |= {partition: -1 for partition in partitions if partition not in self._known}
            self._known.update(partitions)
            await asyncio.gather(*(self._begin(client, partition) for partition in partitions))
        connected()
        # What the SDK's callbacks raise it swallows, and reads again: they only hand over.
        found: asyncio.Queue[tuple[str, list[EventData]] | Exception] = asyncio.Queue(AHEAD)
        reading = [asyncio.create_task(self._read(client, partition, found)) for partition in partitions]
        handing = asyncio.create_task(self._hand_over(found, take))
        over = asyncio.Event()
        asking = asyncio.create_task(self._ask(client, partitions, ask, over))
        try:
            done, _ = await asyncio.wait([*reading, handing, asking], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            # Cancelled, the SDK would leave connections open: a question is waited for, and the client ends its readers.
            over.set()
            await _stop([handing])
            emptying = asyncio.create_task(_empty(found))
            await asyncio.wait([asking], timeout=PARTING)
            await client.close()
            await asyncio.wait(reading, timeout=PARTING)
            await _stop([asking, *reading, emptying])

    async def _begin(self, client: EventHubConsumerClient, partition: str) -> None:
        """Note where a partition begins, once: behind its end, or nowhere if there is something to read since then."""
        if partition in self._taken or partition in self.begun:
            return
        now = int(time.time() * 1000)
        said = await client.get_partition_properties(partition)
        last, at = int(said["last_enqueued_sequence_number"]), said["last_enqueued_time_utc"]
        if (
            self._since is None
            or said["is_empty"]
            or at.replace(tzinfo=at.tzinfo or UTC).timestamp() * 1000 < self._since
        ):
            self.begun[partition] = last, now
            self._taken[partition] = last

    async def _read(
        self,
        client: EventHubConsumerClient,
        partition: str,
        found: asyncio.Queue[tuple[str, list[EventData]] | Exception],
    ) -> None:
        async def take(_context: PartitionContext, events: list[EventData]) -> None:
            await found.put((partition, events))

        async def give_up(_context: PartitionContext | None, failed: Exception) -> None:
            await found.put(failed)

        taken = self._taken.get(partition)
        start: int | str | datetime
        if taken is not None:
            start = taken if taken >= 0 else "-1"
        else:
            start = datetime.fromtimestamp((self._since or 0) / 1000, UTC)
        await client.receive_batch(
            take,
            partition_id=partition,
            starting_position=start,
            starting_position_inclusive=taken is None,
            on_error=give_up,
            max_batch_size=BATCH,
            max_wait_time=None,
        )

    async def _hand_over(self, found: asyncio.Queue[tuple[str, list[EventData]] | Exception], take: Take) -> None:
        while True:
            item = await found.get()
            if isinstance(item, Exception):
                raise item
            partition, events = item
            deliveries = [_delivery(partition, event) for event in events]
            # Once only: a reader that was opened again may begin a little earlier than it was told.
            fresh = [d for d in deliveries if d.sequence_number > self._taken.get(partition, -1)]
            if fresh:
                take(fresh)
                self._taken[partition] = fresh[-1].sequence_number
            await asyncio.sleep(0)  # let the screen be drawn while a backlog is read

    async def _ask(
        self, client: EventHubConsumerClient, partitions: Sequence[str], ask: Ask, over: asyncio.Event
    ) -> None:
        while not over.is_set():
            now = int(time.time() * 1000)  # before the hub is asked: what is enqueued while it answers is later
            async with asyncio.timeout(PATIENCE):
                there = await client.get_partition_ids()
                answers = await asyncio.gather(*(client.get_partition_properties(partition) for partition in there))
            heads = {
                p: -1 if a["is_empty"] else int(a["last_enqueued_sequence_number"])
                for p, a in zip(there, answers, strict=True)
            }
            if set(there) != set(partitions):
                return  # a premium hub was given more: open them, too
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), EVERY if ask(heads, now) else SOON)


async def _stop(tasks: Sequence[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _empty(found: asyncio.Queue[Any]) -> None:
    """Let go whoever still waits to hand over."""
    while True:
        await found.get()


def _delivery(partition: str, event: EventData) -> Delivery:
    body = event.body if isinstance(event.body, bytes) else b"".join(event.body)  # type: ignore[arg-type]
    at = int(event.enqueued_time.timestamp() * 1000) if event.enqueued_time else int(time.time() * 1000)
    return Delivery(partition, str(event.offset), int(event.sequence_number or 0), at, body)
