"""Sign-in -> event hubs, for commands that people run: `redrive`, `drill`. The app's own way to its hub is `hub`."""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ikestream import dead_letters

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.eventhub.aio import EventHubConsumerClient, EventHubProducerClient

RETRIES = 1
"""Somebody waits for the answer: a name that is wrong should be said within seconds."""


class Failed(Exception):  # noqa: N818 - reads as what it is
    """What cannot be done; the message is one line and holds no secret."""


def add_sign_in(parser: Any, *, required: bool) -> None:
    """Add the options that say where the hub is and who asks: never a key on the command line."""
    how = parser.add_mutually_exclusive_group(required=required)
    how.add_argument(
        "--namespace", default="", metavar="HOST", help="<name>.servicebus.windows.net; whoever is signed in"
    )
    how.add_argument(
        "--connection-string-file",
        metavar="FILE",
        help="a file that holds a connection string of the namespace, or - for standard input",
    )
    how.add_argument(
        "--connection-string-env",
        metavar="VARIABLE",
        help="the environment variable that holds one, such as IkeStreamHub",
    )


def read_connection_string(options: argparse.Namespace) -> str:
    """Return what the file or the variable holds, '' without one. Raises `Failed`, which never says what it holds."""
    file, variable = options.connection_string_file, options.connection_string_env
    if file is None and variable is None:
        return ""
    if file is None:
        text, where = os.environ.get(variable, ""), f"the variable {variable}"
    else:
        where = "the file"
        try:
            text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as failed:
            raise Failed(f"the connection string cannot be read: {type(failed).__name__}") from None
    text = text.strip()
    if not text.lower().startswith("endpoint=sb://") or "sharedaccesskey=" not in text.lower() or "\n" in text:
        raise Failed(f"{where} must hold one Event Hubs connection string: it begins with Endpoint=sb://")
    return text


_TO_DO = (
    # Words of what went wrong, in lower case, and what whoever typed the command can do about it.
    (("could not be found", "not-found"), "there is no such event hub or consumer group: compare the names with the portal"),
    (("name or service", "getaddrinfo", "name resolution"), "there is no such host: --namespace is <name>.servicebus.windows.net"),
    (("unauthorized", "claim(s)", "status code: 401"), "whoever is signed in lacks the role: Azure Event Hubs Data Sender to send, Data Receiver to read"),
    (("credential", "failed to retrieve a token"), "nobody is signed in: az login"),
    (("connect call failed", "timed out", "no route", "network is unreachable"), "nothing answers there: is port 5671 (AMQP) open from here?"),
)  # fmt: skip


def reason(failed: Exception) -> str:
    """Return a failure on one line, with what to do where that is known. The SDK's messages hold host names and the
    service's answers, never keys."""
    if isinstance(failed, ValueError):  # of the SDK, about what it was given
        return "the Event Hubs SDK does not take this connection string, host or name"
    if isinstance(failed, TimeoutError):
        return "no answer in time: is port 5671 (AMQP) open from here?"
    said = " ".join(str(failed).split())
    to_do = next((advice for words, advice in _TO_DO if any(word in said.lower() for word in words)), "")
    once = re.split(r" Error(?: condition)?: ", said)[0].rstrip(".")  # the SDK says it a second time behind that
    return f"{type(failed).__name__}: {once}"[:400] + (f"; {to_do}" if to_do else "")


class Hubs:
    """The event hubs of one namespace; each client is opened when first needed, and closed with `opened`."""

    def __init__(self, namespace: str, connection_string: str) -> None:
        self._namespace, self._connection_string = namespace, connection_string
        self._senders: dict[str, EventHubProducerClient] = {}
        self._signed_in: AsyncTokenCredential | None = None
        # What the SDK has to say comes back as an exception, too, and is said on one line: not also on many.
        logging.getLogger("azure").addHandler(logging.NullHandler())

    async def reader(self, opened: AsyncExitStack, hub: str, consumer_group: str) -> EventHubConsumerClient:
        """Return a client that reads `hub`, and owns none of its partitions."""
        from azure.eventhub.aio import EventHubConsumerClient

        if self._connection_string:
            client = EventHubConsumerClient.from_connection_string(
                self._connection_string, consumer_group, eventhub_name=hub, retry_total=RETRIES
            )
        else:
            client = EventHubConsumerClient(
                self._namespace, hub, consumer_group, await self.identity(opened), retry_total=RETRIES
            )
        return await opened.enter_async_context(client)

    async def send(self, opened: AsyncExitStack, hub: str, bodies: Sequence[bytes]) -> None:
        """Send bodies, in batches as large as the hub takes. Raises `Failed`."""
        try:
            from azure.core.exceptions import AzureError
            from azure.eventhub import EventData
            from azure.eventhub.exceptions import EventHubError
        except ModuleNotFoundError:
            raise Failed("the Event Hubs SDK is not installed: pip install -r requirements.txt") from None
        try:
            client = await self._sender(opened, hub)
            batch = await client.create_batch()
            for body in bodies:
                event = EventData(body)
                if not dead_letters.fits(batch, event):
                    await client.send_batch(batch)
                    batch = await client.create_batch()
                    batch.add(event)
            await client.send_batch(batch)
        except (AzureError, EventHubError, OSError, TimeoutError, ValueError) as failed:
            raise Failed(reason(failed)) from None

    async def _sender(self, opened: AsyncExitStack, hub: str) -> EventHubProducerClient:
        from azure.eventhub.aio import EventHubProducerClient

        if hub not in self._senders:
            if self._connection_string:
                client = EventHubProducerClient.from_connection_string(
                    self._connection_string, eventhub_name=hub, retry_total=RETRIES
                )
            else:
                client = EventHubProducerClient(self._namespace, hub, await self.identity(opened), retry_total=RETRIES)
            self._senders[hub] = await opened.enter_async_context(client)
        return self._senders[hub]

    async def identity(self, opened: AsyncExitStack) -> AsyncTokenCredential:
        """Return whoever is signed in: a user, or the identity of the machine."""
        if self._signed_in is None:
            try:
                from azure.identity.aio import DefaultAzureCredential
            except ModuleNotFoundError:
                raise Failed("the Azure SDK is not installed: pip install -r requirements.txt") from None
            signed_in: AsyncTokenCredential = DefaultAzureCredential()
            self._signed_in = await opened.enter_async_context(signed_in)
        return self._signed_in
