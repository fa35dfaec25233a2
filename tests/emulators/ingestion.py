"""The Logs Ingestion API as far as it is documented: gzip, a JSON array, 1 MB, a token, and columns of their types.

It is stricter than the service, which takes a row that does not fit, says 204, and drops it or cuts it in silence.
"""

from __future__ import annotations

import gzip
import time
import zlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import orjson
from aiohttp import web

from tests.emulators.https import SECRET, Authority, Scripted

RULE = "dcr-00000000000000000000000000000000"
TOKEN = "a-token"  # noqa: S105
MOST = 1_000_000
FIELD = 64 * 1024


class Ingestion(Scripted):
    """A rule with its streams. `refuses` says of a row with which status it is not taken, 0 if it is.

    `calls` and `rows` are what came by the stream it was made with, `others` the rows of those added later.
    """

    def __init__(self, authority: Authority, stream: str, columns: Mapping[str, str]) -> None:
        super().__init__(authority)
        self.stream, self.streams = stream, {stream: dict(columns)}
        self.calls: list[list[dict[str, Any]]] = []
        self.arrived: list[tuple[float, dict[str, Any]]] = []  # each row with when it came (s since 1970)
        self.others: dict[str, list[dict[str, Any]]] = {}
        self.sizes: list[int] = []
        self.refuses: Callable[[dict[str, Any]], int] = lambda _: 0

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for call in self.calls for row in call]

    def add(self, stream: str, columns: Mapping[str, str]) -> None:
        """Give the rule another stream."""
        self.streams[stream], self.others[stream] = dict(columns), []

    async def take(self, request: web.Request, body: bytes) -> Callable[[], web.Response]:
        headers, wrong = request.headers, None
        stream = request.path.removeprefix(f"/dataCollectionRules/{RULE}/streams/")
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            wrong = refusal(401, "Unauthorized")
        elif stream not in self.streams:
            wrong = refusal(404, "NotFound")
        elif request.method != "POST" or request.query.get("api-version") != "2023-01-01":
            wrong = refusal(400, "InvalidApiVersion")
        elif headers.get("Content-Encoding") != "gzip" or headers.get("Content-Type") != "application/json":
            wrong = refusal(400, "ContentTypeNotSupported")
        if wrong is not None:
            return lambda: wrong
        try:
            plain = gzip.decompress(body)
        except (OSError, EOFError, zlib.error):
            return lambda: refusal(400, "InvalidGzip")
        if max(len(body), len(plain)) > MOST:
            return lambda: refusal(413, "ContentLengthLimitExceeded")
        try:
            rows = orjson.loads(plain)
        except ValueError:
            return lambda: refusal(400, "InvalidJson")
        if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
            return lambda: refusal(400, "InvalidPayload")
        status = max(
            (self.refuses(row) or (0 if self.fits(row, self.streams[stream]) else 400) for row in rows), default=0
        )
        if status:
            return lambda: refusal(status, "InvalidRecord")

        def accepted() -> web.Response:
            if stream == self.stream:
                self.calls.append(rows)
                self.arrived += [(time.time(), row) for row in rows]
                self.sizes.append(len(plain))
            else:
                self.others[stream] += rows
            return web.Response(status=204)

        return accepted

    @staticmethod
    def fits(row: dict[str, Any], columns: Mapping[str, str]) -> bool:
        """Whether a row has the columns of the table, all of them, of their types, and none that would be cut."""
        return tuple(row) == tuple(columns) and all(
            value is None or (typed(value, columns[name]) and size(value) <= FIELD) for name, value in row.items()
        )


def refusal(status: int, code: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": SECRET}}, status=status)


def size(value: object) -> int:
    return len(value.encode() if isinstance(value, str) else orjson.dumps(value))


def typed(value: object, kind: str) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "int":
            return isinstance(value, int) and not isinstance(value, bool) and -(2**31) <= value < 2**31
        case "long":
            return isinstance(value, int) and not isinstance(value, bool)
        case "real":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "datetime":
            return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
        case "dynamic":
            return isinstance(value, list | dict)
    raise AssertionError(f"no stream knows the type {kind}")
