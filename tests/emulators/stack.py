"""Everything that surrounds the app, on this machine: hub, storage account, identity, table and a receiver of messages.

The app runs as deployed, in processes as on Flex Consumption, one for the trigger and one for each timer, under
Microsoft's worker library. `Host` does what the .NET host does, as far as it is documented: it listens to every
partition, hands over batches, calls again with the same batch until it succeeds, and only then moves the checkpoint.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, Self

import orjson
from azure.eventhub import EventData, EventHubConsumerClient, EventHubProducerClient, PartitionContext

from ikestream import columns, health
from ikestream.app import STREAM
from ikestream.batch import Delivery
from ikestream.lab import FAULTS, HEALTHY, Feed, Lab, post
from tests.emulators.azurite import Azurite
from tests.emulators.host import HubEvent, Worker, deploy, messages
from tests.emulators.https import Authority
from tests.emulators.hub import LocalHub
from tests.emulators.identity import Identity
from tests.emulators.ingestion import RULE, Ingestion
from tests.emulators.receiver import Receiver
from tests.emulators.resource_manager import ResourceManager, site_to_site

HUB, DEAD_LETTERS, GROUP = "vpn", "dead", "ikestream"
MOST_IN_A_BATCH = 100


class Host:
    """The Functions host for this app. `failed` counts invocations that did not succeed."""

    def __init__(
        self, hub: LocalHub, learner: Worker, teller: Worker, every: float, reader: Worker | None = None
    ) -> None:
        self._hub, self._learner, self._teller, self._every, self._reader = hub, learner, teller, every, reader
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._listen), threading.Thread(target=self._tick)]
        self._threads += [threading.Thread(target=self._refresh)] if reader is not None else []
        self._client: EventHubConsumerClient | None = None
        self.checkpoints: dict[str, int] = {}
        self.learned: list[
            float
        ] = []  # of each body, the seconds from its arrival in the hub until its batch was taken
        self.failed: dict[str, int] = {"learn": 0, "tell": 0, "inventory": 0}

    def _listen(self) -> None:
        client = self._client = EventHubConsumerClient.from_connection_string(
            self._hub.connection_string(HUB), GROUP, retry_total=0
        )
        with client:
            client.receive_batch(
                self._hand_over, max_batch_size=MOST_IN_A_BATCH, max_wait_time=None, starting_position="-1"
            )

    def _hand_over(self, context: PartitionContext, batch: list[EventData]) -> None:
        events = [
            HubEvent(b"".join(e.body), int(e.sequence_number or 0), int(e.enqueued_time.timestamp() * 1000))  # type: ignore[arg-type, union-attr]
            for e in batch
        ]
        while events and not self._over.is_set():
            status = self._learner.learn(events, partition=context.partition_id)
            if status.status == status.Success:
                self.checkpoints[context.partition_id] = events[-1].sequence_number
                self.learned += [time.time() - event.enqueued / 1000 for event in events]
                return
            self.failed["learn"] += 1
            self._over.wait(0.3)

    def _tick(self) -> None:
        while not self._over.is_set():
            begun = time.monotonic()
            status = self._teller.tell()
            self.failed["tell"] += status.status != status.Success
            self._over.wait(max(self._every - (time.monotonic() - begun), 0))

    def _refresh(self) -> None:
        while self._reader is not None and not self._over.is_set():
            status = self._reader.refresh()
            self.failed["inventory"] += status.status != status.Success
            self._over.wait(4 * self._every)  # every minute, as the other timer is every quarter of one

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._client is not None:
            self._client.close()
        for thread in self._threads:
            thread.join(60)


class Stack:
    """The app and everything around it, while the block runs. `every` is the timer's period in seconds.

    `resources` are what Resource Manager has; with any, the app reads the groups that they are in.
    """

    def __init__(
        self,
        folder: Path,
        every: float = 2.0,
        more: Mapping[str, str] = {},
        resources: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._folder, self._every, self._more, self._resources = folder, every, dict(more), resources
        self._running = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            self.authority = Authority(self._folder)
            self.hub = starting.enter_context(LocalHub({HUB: 4, DEAD_LETTERS: 1}))
            self.azurite = starting.enter_context(Azurite(self._folder / "azurite"))
            self.table = starting.enter_context(Ingestion(self.authority, STREAM, columns.types()))
            self.table.add(health.STREAM, columns.types(health.TABLE))
            self.pager = starting.enter_context(Receiver(self.authority))
            self.azure = starting.enter_context(ResourceManager(self.authority, self._resources))
            groups = sorted({str(r["id"]).lower().partition("/providers/")[0] for r in self._resources})
            identity = starting.enter_context(Identity())
            self.settings = {
                "IkeStreamHub": self.hub.connection_string(),
                "IkeStreamHub__credential": "managedidentity",
                "IKESTREAM_HUB_NAME": HUB,
                "IKESTREAM_CONSUMER_GROUP": GROUP,
                "IKESTREAM_DEAD_LETTER_HUB": DEAD_LETTERS,
                "IkeStreamStore": self.azurite.connection_string,
                "IKESTREAM_INGESTION_ENDPOINT": self.table.origin,
                "IKESTREAM_DCR_ID": RULE,
                "IKESTREAM_WEBHOOKS": orjson.dumps([{"name": "on-call", "url": self.pager.url}]).decode(),
                "IKESTREAM_INVENTORY": ",".join(groups),
                "IKESTREAM_RESOURCE_MANAGER": self.azure.origin,
                "SSL_CERT_FILE": str(self.authority.ca),
                **identity.settings,
                **self._more,
            }
            app, protos = deploy(self._folder / "app"), messages(self._folder / "protos")
            self.learner, self.teller, *readers = workers = [
                starting.enter_context(Worker(app, protos, self._folder, self.settings))
                for _ in range(3 if groups else 2)
            ]
            for worker in workers:
                status = worker.start()
                assert status.status == status.Success, status.exception.message
            self.host = starting.enter_context(Host(self.hub, self.learner, self.teller, self._every, *readers))
            self._running = starting.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    def send(self, deliveries: Iterable[Delivery]) -> None:
        """Send bodies to the hub, each to its partition, with the SDK."""
        deliveries = list(deliveries)
        with EventHubProducerClient.from_connection_string(self.hub.connection_string(HUB)) as producer:
            for partition in sorted({d.partition for d in deliveries}):
                producer.send_batch(
                    [EventData(d.body) for d in deliveries if d.partition == partition], partition_id=partition
                )

    def heads(self, hub: str) -> dict[str, int]:
        """Return partition -> sequence number of its last event."""
        return {str(number): part.head for number, part in enumerate(self.hub.hubs[hub])}

    def bodies(self, hub: str) -> list[bytes]:
        """Receive everything in a hub, with the SDK."""
        found: list[bytes] = []
        client = EventHubConsumerClient.from_connection_string(self.hub.connection_string(hub), GROUP)
        count = sum(part.head + 1 for part in self.hub.hubs[hub])

        def keep(_: object, events: list[EventData]) -> None:
            found.extend(b"".join(event.body) for event in events)  # type: ignore[arg-type]
            if len(found) >= count:
                client.close()

        with client:
            client.receive_batch(keep, max_wait_time=1, starting_position="-1")
        return found

    @property
    def causes(self) -> set[tuple[str, str]]:
        """What the table says in the end: (story, cause) of every incident."""
        newest = {row["IncidentId"]: row for row in sorted(self.table.rows, key=lambda row: int(row["Revision"]))}
        return {(row["GatewayName"].rpartition("-")[2].lower(), row["Cause"]) for row in newest.values()}


def configured(name: str, seed: int) -> list[dict[str, Any]]:
    """Return what Resource Manager has of a story's gateway: a connection to each of its peers."""
    (story,) = (story for story in (*FAULTS, *HEALTHY) if story.__name__ == name)
    told = story(Lab(seed))
    return site_to_site(f"{told.gateway_id}-{name}", *sorted(truth.remote for truth in told.truths))


def story_of(name: str, seed: int, ended: int) -> list[Delivery]:
    """Return a story's log as a hub gets it, as old as if its last record were of `ended`; the gateway is named after it."""
    (story,) = (story for story in (*FAULTS, *HEALTHY) if story.__name__ == name)
    records = story(Lab(seed)).records
    shift = ended - max(r.at or 0 for r in records)
    moved = [replace(r, at=(r.at or 0) + shift, gateway=f"{r.gateway}-{name}") for r in records]
    return post(moved, Random(seed), Feed(worst_delay=0, duplicates=0.2))
