"""The Azure Functions app: triggers only. Batches learn, the tick tells; everything else is in the package.

Without a store and a sink in Azure it keeps its facts in memory and prints its rows.
"""

import logging
import os
import sys
import time

# The whole app fails to index if the annotation is `list[...]`: azure-functions looks for `typing.List`.
from typing import List  # noqa: UP035

import azure.functions as func

from ikestream import batch, hub, settings, tick
from ikestream.sinks import console
from ikestream.stores.memory import MemoryStore

log = logging.getLogger("ikestream")
configured = settings.load(os.environ)
store = MemoryStore()
# One event loop runs both functions here; learning and telling hold no await, so neither sees the other half-done.
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
    """Learn a batch of event hub bodies."""
    partition = str((events[0].metadata.get("PartitionContext") or {}).get("PartitionId", "")) if events else ""
    report = batch.learn(store, [_delivery(partition, event) for event in events])
    for dead in report.dead:
        log.error(
            "dead letter partition=%s offset=%s sequence=%d bytes=%d reason=%s",
            dead.delivery.partition, dead.delivery.offset, dead.delivery.sequence_number, len(dead.delivery.body), dead.reason,
        )  # fmt: skip
    for shape, count in report.unread.items():
        log.warning("unread lines count=%d shape=%r", count, shape)
    log.info("learned records=%d bodies=%d skipped=%d", report.records, len(events), sum(report.skipped.values()))


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
    """Tell what is due, but conclude nothing over events that have not been read."""
    now = int(time.time() * 1000)
    heads = (
        await hub.heads(configured)
        if configured.has_hub
        else {p: s.sequence_number for p, s in store.partitions.items()}
    )
    watermark = store.watermark(heads, now)
    if watermark is None:
        return
    console.deliver(tick.tell(store, watermark), sys.stdout.buffer)
