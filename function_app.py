"""The Azure Functions app: triggers only. Batches learn, the tick tells; everything else is in the package."""

import json
import logging
import os
import time

# The whole app fails to index if the annotation is `list[...]`: azure-functions looks for `typing.List`.
from typing import List  # noqa: UP035

import azure.functions as func

from ikestream import batch, settings
from ikestream.app import App

# At INFO, the worker's level, the SDK writes a dozen lines for every connection: five connections every 15 s.
for name in ("azure.core", "azure.eventhub", "azure.identity"):
    logging.getLogger(name).setLevel(logging.WARNING)

running = App(settings.load(os.environ))
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
    await running.learn([_delivery(partition, event) for event in events])


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
    """Learn what was posted and tell what is due."""
    await running.tell()


# Only if there is something to read: a function that is called every minute costs something, even if it does nothing.
if running.has_inventory:

    @app.function_name("inventory")
    @app.timer_trigger(arg_name="timer", schedule="30 * * * * *", use_monitor=False)
    async def inventory(timer: func.TimerRequest) -> None:
        """Read what is configured on the gateways, every quarter of an hour and after a change."""
        await running.refresh()


@app.function_name("health")
@app.route(trigger_arg_name="request", route="health", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def health(request: func.HttpRequest) -> func.HttpResponse:
    """Say whether everything is read, judged and delivered; anybody may ask, so it names nobody."""
    status, body = await running.health()
    return func.HttpResponse(json.dumps(body), status_code=status, mimetype="application/json")
