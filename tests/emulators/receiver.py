"""A receiver of webhooks: keeps what it was sent, in order, and checks of each format what its documentation demands."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from tests.emulators.https import SECRET, Authority, Scripted

PATH = "/hooks/a-secret-path"
QUERY = "sp=%2Ftriggers%2Fmanual%2Frun&sig=a-secret-signature"


@dataclass(frozen=True)
class Received:
    """One message that was taken."""

    content_type: str
    body: dict[str, Any]
    at: float  # when it came (s since 1970)


class Receiver(Scripted):
    """Takes messages at one address. `refuses` says of a message with which status it is not taken, 0 if it is."""

    def __init__(self, authority: Authority) -> None:
        super().__init__(authority)
        self.received: list[Received] = []
        self.elsewhere = 0
        self.refuses: Callable[[dict[str, Any]], int] = lambda _: 0

    @property
    def url(self) -> str:
        return f"{self.origin}{PATH}?{QUERY}"

    @property
    def bodies(self) -> list[dict[str, Any]]:
        return [message.body for message in self.received]

    async def take(self, request: web.Request, body: bytes) -> Callable[[], web.Response]:
        # The address comes as it was given: whoever signed it signed its spelling.
        if request.raw_path != f"{PATH}?{QUERY}":
            self.elsewhere += 1
            return lambda: web.Response(status=404, text=SECRET)
        try:
            message = orjson.loads(body)
        except ValueError:
            return lambda: web.Response(status=400, text=SECRET)
        if request.method != "POST" or not isinstance(message, dict):
            return lambda: web.Response(status=400, text=SECRET)
        if status := self.refuses(message):
            return lambda: web.Response(status=status, text=SECRET)

        def accepted() -> web.Response:
            self.received.append(Received(request.headers.get("Content-Type", ""), message, time.time()))
            return web.Response(status=202, text=SECRET)

        return accepted
