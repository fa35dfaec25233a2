"""The Azure Functions app: triggers only. Batches learn, the tick tells; everything else is in the package.

It prints its rows. Without a storage account it keeps what it knows in memory; then both functions must run in one
process, as on a developer's machine.
"""

import logging
import os
import sys
import time
import uuid
from functools import cache

# The whole app fails to index if the annotation is `list[...]`: azure-functions looks for `typing.List`.
from typing import TYPE_CHECKING, List  # noqa: UP035

import azure.functions as func

from ikestream import batch, hub, inbox, settings

if TYPE_CHECKING:
    from ikestream.monitor import Monitor
    from ikestream.stores import Store

SHAPES_LOGGED = 10
"""Unread lines are logged by shape, the most frequent first; the shapes of one batch can be as many as its lines."""

log = logging.getLogger("ikestream")
# At INFO, the worker's level, the SDK writes a dozen lines for every connection: five connections every 15 s.
for name in ("azure.core", "azure.eventhub", "azure.identity"):
    logging.getLogger(name).setLevel(logging.WARNING)

configured = settings.load(os.environ)
asked = hub.Hub(configured) if configured.has_hub else None
waiting: list[str] = []
app = func.FunctionApp()


@app.function_name("learn")
@app.event_hub_message_trigger(
    arg_name="events",
    event_hub_name=f"%{settings.HUB_NAME}%",
    connection=settings.CONNECTION,
    consumer_group=f"%{settings.CONSUMER_GROUP}%",
    cardinality=func.Cardinality.MANY,
    data_type=func.DataType.BINARY,
)
# With a retry policy the checkpoint waits for the batch, without one it moves on over an exception.
@app.retry(
    strategy="exponential_backoff", max_retry_count="-1", minimum_interval="00:00:02", maximum_interval="00:05:00"
)
async def learn(events: List[func.EventHubEvent]) -> None:  # noqa: UP006
    """Post a batch of event hub bodies into the inbox; if that fails the host calls again with the same batch."""
    partition = _partition(events)
    parcels, report = batch.sort([_delivery(partition, event) for event in events])
    for dead in report.dead:
        log.error(
            "dead letter partition=%s offset=%s sequence=%d bytes=%d reason=%s",
            dead.delivery.partition, dead.delivery.offset, dead.delivery.sequence_number, len(dead.delivery.body), dead.reason,
        )  # fmt: skip
    for shape, count in report.unread.most_common(SHAPES_LOGGED):
        log.warning("unread lines count=%d shape=%r", count, shape)
    if len(report.unread) > SHAPES_LOGGED:
        log.warning("unread lines of %d more shapes", len(report.unread) - SHAPES_LOGGED)
    await inbox.post(_store(), parcels)
    log.info("learned records=%d bodies=%d skipped=%s", report.records, len(events), dict(report.skipped))


def _partition(events: List[func.EventHubEvent]) -> str:  # noqa: UP006
    """Return the id of the partition a batch is from. Its events share one metadata; '' if the host left it out."""
    metadata = (events[0].metadata or {}) if events else {}
    context = metadata.get("PartitionContext") or metadata.get("TriggerPartitionContext") or {}
    return str(context.get("PartitionId", ""))


def _delivery(partition: str, event: func.EventHubEvent) -> batch.Delivery:
    enqueued = event.enqueued_time
    return batch.Delivery(
        partition=partition,
        offset=str(event.offset),
        sequence_number=int(event.sequence_number or 0),
        enqueued=int(enqueued.timestamp() * 1000) if enqueued else int(time.time() * 1000),
        body=event.get_body(),
    )


@app.function_name("tell")
@app.timer_trigger(arg_name="timer", schedule="*/15 * * * * *", use_monitor=False)
async def tell(timer: func.TimerRequest) -> None:
    """Learn what was posted and tell what is due, but conclude nothing over events that have not been read."""
    ticked = await _monitor().tick()
    if ticked.heads:
        _note_waiting(ticked.unseen)
    for trouble in ticked.trouble:
        log.warning("%s", trouble)


@cache
def _store() -> "Store":
    if configured.store_connection_string or configured.store_uri:
        from ikestream.stores import tables

        if configured.store_connection_string:
            return tables.with_connection_string(configured.store_connection_string, configured.table)
        return tables.with_identity(configured.store_uri, hub.identity(configured), configured.table)
    from ikestream.stores.memory import Memory

    return Memory()


@cache
def _monitor() -> "Monitor":
    # A third of what the app takes to load; the trigger, which starts cold most often, does not need it.
    from ikestream.monitor import Monitor
    from ikestream.sinks.console import Console

    return Monitor(
        _store(),
        [Console(sys.stdout.buffer)],
        lambda: int(time.time() * 1000),
        worker=uuid.uuid4().hex,
        heads=asked.heads if asked else None,
        unreachable=hub.Unreachable,
    )


def _note_waiting(partitions: list[str]) -> None:
    if partitions == waiting:
        return
    waiting[:] = partitions
    if partitions:
        log.warning("nothing concluded until something is read from partitions %s", ", ".join(partitions))
    else:
        log.info("something has been read from every partition")
