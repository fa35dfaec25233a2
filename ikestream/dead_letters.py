"""What cannot be used -> an event hub of its own, whole, so that nothing is lost and it can be sent again when it can be.

Four kinds end there, and `redrive` sends the first two back:
    body       a hub body that cannot be decoded, as it came.
    records    what a parked gateway's records said, as a hub body that says the same.
    row        a revision that a sink refused for good, as JSON.
    parcel     what stood in the inbox and could not be read, as it stood.

An event of Event Hubs takes 1 MB with its properties. What would not fit is packed with gzip, which the way back undoes;
what does not fit even then (a body of noise as large as an event can be) is cut, says so in its properties, and counts.

Whoever puts something aside gets `Unavailable` if that failed, and must not go on as if it had not: a batch fails and
comes again, a row stays in its outbox. So a letter may come twice.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ikestream.batch import DeadLetter
from ikestream.hub import identity
from ikestream.settings import Settings
from ikestream.stores import Unavailable
from ikestream.timestamps import iso

if TYPE_CHECKING:
    from azure.eventhub import EventData, EventDataBatch
    from azure.eventhub.aio import EventHubProducerClient

    from ikestream.monitor import Refused

BODY, RECORDS, ROW, PARCEL = "body", "records", "row", "parcel"

PATIENCE = 20.0
"""Seconds to put aside in: less than a tick keeps of its lease while it sends (`times.LEASE_LEFT`)."""

RETRIES = 0
"""The host calls again with the same batch, and the next tick with the same row."""

MAX_REASON = 500
MAX_PLACE = 200
MARGIN = 1_024
"""Bytes left free in an event that is cut: for the lengths of what stands in it."""


@dataclass(frozen=True, slots=True)
class Letter:
    """What is put aside, and what is to be known about it; places are '' and 0 where there is none."""

    kind: str
    body: bytes
    reason: str
    partition: str = ""
    offset: str = ""
    sequence_number: int = 0
    enqueued: int = 0  # ms


class DeadLetterHub:
    """The hub for what cannot be used.

    Each call opens a connection and closes it again: letters are rare, and the service closes what is idle.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._where = f"event hub {settings.dead_letter_hub}"

    async def put_aside(self, dead: Sequence[DeadLetter]) -> int:
        """Keep the bodies of a batch that cannot be decoded; return how many did not fit whole and were cut.

        Raises `Unavailable`: then the batch must fail.
        """
        return await self._send([_letter(one) for one in dead])

    async def __call__(self, refused: Sequence[Refused]) -> None:
        """Keep what the tick cannot keep or no sink takes: this is `monitor.DeadLetters`. Raises `Unavailable`."""
        await self._send([Letter(one.kind, one.body, one.reason) for one in refused])

    async def _send(self, letters: Sequence[Letter]) -> int:
        if not letters:
            return 0
        # Imported here: the trigger, which starts cold most often, rarely needs them.
        from azure.core.exceptions import AzureError
        from azure.eventhub.exceptions import EventHubError

        cut = 0
        try:
            async with asyncio.timeout(PATIENCE), AsyncExitStack() as opened:
                client = await self._open(opened)
                batch = await client.create_batch()
                for letter in letters:
                    event = self._event(letter)
                    if fits(batch, event):
                        continue
                    if len(batch):
                        await client.send_batch(batch)
                        batch = await client.create_batch()
                        if fits(batch, event):
                            continue
                    event = self._smaller(letter, batch)
                    cut += "cut" in (event.properties or {})
                    batch.add(event)
                await client.send_batch(batch)
        except TimeoutError:
            raise Unavailable(f"{self._where}: no answer within {PATIENCE:g} s") from None
        except (AzureError, EventHubError, OSError) as failed:
            raise Unavailable(_line(f"{self._where}: {type(failed).__name__}: {failed}", MAX_REASON)) from None
        return cut

    async def _open(self, opened: AsyncExitStack) -> EventHubProducerClient:
        from azure.eventhub.aio import EventHubProducerClient

        settings = self._settings
        if settings.connection_string:
            client = EventHubProducerClient.from_connection_string(
                settings.connection_string, eventhub_name=settings.dead_letter_hub, retry_total=RETRIES
            )
        else:
            credential = await opened.enter_async_context(identity(settings))
            client = EventHubProducerClient(
                settings.namespace, settings.dead_letter_hub, credential, retry_total=RETRIES
            )
        return await opened.enter_async_context(client)

    def _event(self, letter: Letter, body: bytes | None = None, **more: Any) -> EventData:
        from azure.eventhub import EventData

        event = EventData(letter.body if body is None else body)
        said: dict[str | bytes, Any] = {
            "kind": letter.kind,
            "reason": _line(letter.reason, MAX_REASON),
            "sourceHub": self._settings.hub_name,
            "partition": _line(letter.partition, MAX_PLACE),
            "offset": _line(letter.offset, MAX_PLACE),
            "sequenceNumber": str(letter.sequence_number),  # the SDK writes no whole number beyond 32 bits
            "enqueuedTime": iso(letter.enqueued) if letter.enqueued else "",
        }
        event.properties = said
        event.properties.update(more)
        return event

    def _smaller(self, letter: Letter, empty: EventDataBatch) -> EventData:
        """Return a letter that does not fit into the `empty` batch so that it does: packed, or else cut."""
        size = len(letter.body)
        room = empty.max_size_in_bytes - MARGIN - MAX_REASON * 4 - MAX_PLACE * 8
        packed = gzip.compress(letter.body, mtime=0)
        if len(packed) <= room:
            return self._event(letter, packed, encoding="gzip", bytes=size)
        return self._event(letter, letter.body[: max(room, 0)], cut="true", bytes=size)


def fits(batch: EventDataBatch, event: EventData) -> bool:
    """Whether there was room for an event in a batch; then it is in it."""
    try:
        batch.add(event)
    except ValueError:
        return False
    return True


def _letter(dead: DeadLetter) -> Letter:
    found = dead.delivery
    return Letter(
        BODY, found.body, dead.reason, found.partition, found.offset, found.sequence_number, found.enqueued
    )  # fmt: skip


def _line(text: str, most: int) -> str:
    """Return a text on one line, cut. What the SDK and the sinks say holds host names and answers, never keys."""
    return " ".join(text.split())[:most].encode(errors="replace").decode()
