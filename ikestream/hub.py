"""Settings -> heads: the event hub, asked how far it is written. Before it knows, the tick concludes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from ikestream.settings import Settings

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.eventhub.aio import EventHubConsumerClient

PATIENCE = 10.0
"""Seconds to ask all partitions in; shorter than the tick's 15, so that no tick waits for the one before."""

RETRIES = 0
"""The next tick asks again anyway."""


class Unreachable(Exception):  # noqa: N818 - reads as what it is
    """The hub could not be asked, so nothing may be concluded. The message is one line and holds no secret."""


class Hub:
    """One event hub. Belongs to one event loop, as the worker has.

    The client is kept from tick to tick: its credential holds the token, which would else be fetched every 15 s. It
    keeps no connection: the SDK opens one for each question and closes it again. Any failure closes and forgets it.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: EventHubConsumerClient | None = None
        self._opened = AsyncExitStack()

    async def heads(self) -> dict[str, int]:
        """Return partition id -> sequence number of its last event, -1 where nothing is left to be read.

        The partitions are asked for each time, because premium hubs can be given more. Raises `Unreachable`.
        """
        # Imported here: the trigger, which starts cold most often, does not need them.
        from azure.core.exceptions import AzureError
        from azure.eventhub.exceptions import EventHubError

        answered = False
        try:
            async with asyncio.timeout(PATIENCE):
                client = await self._open()
                partitions = await client.get_partition_ids()
                answers = await asyncio.gather(
                    *(client.get_partition_properties(partition) for partition in partitions), return_exceptions=True
                )
            found = {partition: _head(answer) for partition, answer in zip(partitions, answers, strict=True)}
            answered = True
        except TimeoutError:
            raise Unreachable(f"no answer within {PATIENCE:g} s") from None
        except (AzureError, EventHubError, OSError) as failed:
            raise Unreachable(_reason(failed)) from None
        finally:
            if not answered:
                await self.close()
        return found

    async def close(self) -> None:
        """Forget the client and its credential; the next question opens new ones."""
        opened, self._opened, self._client = self._opened, AsyncExitStack(), None
        await opened.aclose()

    async def _open(self) -> EventHubConsumerClient:
        if self._client is not None:
            return self._client
        from azure.eventhub.aio import EventHubConsumerClient

        settings = self._settings
        if settings.connection_string:
            client = EventHubConsumerClient.from_connection_string(
                settings.connection_string,
                settings.consumer_group,
                eventhub_name=settings.hub_name,
                retry_total=RETRIES,
            )
        else:
            credential = await self._opened.enter_async_context(identity(settings))
            client = EventHubConsumerClient(
                settings.namespace, settings.hub_name, settings.consumer_group, credential, retry_total=RETRIES
            )
        self._client = await self._opened.enter_async_context(client)
        return self._client


def identity(settings: Settings) -> AsyncTokenCredential:
    """Return the identity that the host itself uses for the trigger, by the same settings."""
    if settings.managed_identity:
        from azure.identity.aio import ManagedIdentityCredential

        return ManagedIdentityCredential(client_id=settings.client_id or None)
    from azure.identity.aio import DefaultAzureCredential

    return DefaultAzureCredential(managed_identity_client_id=settings.client_id or None)


def _head(answer: Mapping[str, Any] | BaseException) -> int:
    if isinstance(answer, BaseException):
        raise answer
    # Of a partition whose events have all expired the hub still knows the last number; nothing is left to be read.
    return -1 if answer["is_empty"] else int(answer["last_enqueued_sequence_number"])


def _reason(failed: Exception) -> str:
    """Return a failure on one line. The SDK's messages hold host names and the service's answers, never keys."""
    return f"{type(failed).__name__}: {' '.join(str(failed).split())}"[:500]
