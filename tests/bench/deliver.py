"""What telling costs on the wire: requests and bytes of the table and of each format of message, on the real HTTPS path.

The rows are those that `diagnose` tells of the generated stream. Of the table each size is one tick's delivery; a message
is one request.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from azure.core.credentials import AccessToken

from ikestream import columns
from ikestream.envelope import decode
from ikestream.incident import Row, Why
from ikestream.notify import Format, Webhook
from ikestream.replay import Tally, replay
from ikestream.sinks import Posting
from ikestream.sinks.log_analytics import LogAnalytics
from ikestream.sinks.webhooks import WebhookSink
from tests.bench import stream
from tests.emulators.https import Authority
from tests.emulators.ingestion import RULE, TOKEN, Ingestion
from tests.emulators.receiver import Receiver

STREAM = "Custom-IkeDiagnosis_CL"
SIZES = (1, 20, 500)


class Weighed(Ingestion):
    """Notes how many bytes came, compressed."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.wire: list[int] = []

    async def take(self, request: web.Request, body: bytes) -> Callable[[], web.Response]:
        self.wire.append(len(body))
        return await super().take(request, body)


class Identity:
    """Hands out one token."""

    async def get_token(self, *_: str, **__: object) -> AccessToken:
        return AccessToken(TOKEN, int(time.time()) + 3600)

    async def close(self) -> None:
        pass


def revisions(records: int, tunnels: int) -> list[Row]:
    """Return what is told of a stream."""
    read = (record for body in stream.stream(records, tunnels) for record in decode(body).records)
    return list(replay(read, Tally()))


async def table(rows: list[Row]) -> list[tuple[int, int, int, int]]:
    """Return (revisions, requests, bytes of JSON, bytes sent) for each of `SIZES`."""
    found = []
    with tempfile.TemporaryDirectory(prefix="ikestream-bench-") as folder:
        authority = Authority(Path(folder))
        with Weighed(authority, STREAM, columns.types()) as server:
            sink = LogAnalytics(
                server.origin, RULE, STREAM, Identity(), columns.types(), trust=str(authority.ca)  # type: ignore[arg-type]
            )  # fmt: skip
            for size in SIZES:
                server.wire.clear()
                server.sizes.clear()
                some = [Posting(row, Why.OPENED) for row in rows[:size]]
                receipt = await sink.send(some)
                assert len(receipt.accepted) == len(some), receipt.trouble
                found.append((len(some), len(server.wire), sum(server.sizes), sum(server.wire)))
            await sink.close()
    return found


async def messages(row: Row) -> dict[str, int]:
    """Return the bytes of one message of each format."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="ikestream-bench-") as folder:
        authority = Authority(Path(folder))
        for spoken in Format:
            with Receiver(authority) as server:
                key = "R" * 32 if spoken is Format.PAGER_DUTY else ""
                hook = Webhook("bench", server.url, spoken, routing_key=key)
                sink = WebhookSink(hook, {}, clock=time.time, trust=authority.client())
                receipt = await sink.send([Posting(row, Why.OPENED)])
                assert receipt.accepted, receipt.trouble
                found[spoken.value] = len(orjson.dumps(server.bodies[0]))
                await sink.close()
    return found


def main() -> None:
    """Print it."""
    rows = revisions(50_000, 1_000)
    for count, requests, plain, wire in asyncio.run(table(rows)):
        say(f"the table, {count} revisions in a tick: {requests} requests, {wire:,} bytes sent ({plain:,} as JSON)")
    sizes = asyncio.run(messages(next(row for row in rows if row["Kind"] == "Outage")))
    say("a message about an outage: " + ", ".join(f"{name} {size:,} bytes" for name, size in sizes.items()))


def say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
