"""Postings -> a table in Log Analytics, by Microsoft's own client of the Logs Ingestion API.

The client is handed one finished, compressed chunk at a time and never tries again by itself: its own chunks exceed
what the service takes (separators are not counted), it does not repeat what may be repeated (408, 413, 502, 429 without
Retry-After), and it cannot say which chunks of several are in. What is not in stays in the outbox.

What an answer means
    204            the chunk is in; so it stays, whatever becomes of the next one.
    400, 413       of a chunk of several rows: one half at a time, until the row that is to blame is alone. Of a row alone:
                   once more with its required columns only, and if that is refused too, it is refused for good.
    401, 403, 404, redirects
                   a setting or a role is wrong: everything waits, nothing is refused.
    408, 429, 5xx, no answer
                   it is sent again, not before Retry-After.
"""

from __future__ import annotations

import asyncio
import gzip
import io
import re
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

import orjson

from ikestream.incident import Row
from ikestream.sinks import Posting, Receipt
from ikestream.sinks.answers import LATER, SOON, reason, retry_after

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.core.exceptions import AzureError
    from azure.monitor.ingestion.aio import LogsIngestionClient

CHUNK = 900_000
"""Bytes of one chunk before compression, brackets and separators included; the service takes 1 MB, either way."""

FIELD = 64_000
"""Bytes of one value: the service cuts what exceeds 64 KB without a word, and half a JSON document is none."""

ITEM_TEXT = 1_000
"""Bytes of each text within one item of a dynamic column that is too large by itself."""

CUT_TEXT = 1_000
"""Bytes of a text in a row of required columns only: all of them together are a few kilobytes."""

CONNECT, READ = 3.0, 8.0
"""Seconds to connect, and until the answer to a chunk is there."""

PATIENCE = 20.0
"""Seconds for one call of `send`: it must have ended before another worker may send (`times.LEASE_LEFT`)."""

ROLE = "Monitoring Metrics Publisher"

REQUIRED = (
    "TimeGenerated", "IncidentId", "Revision", "Kind", "Scope", "State", "Resolution", "MergedInto", "Severity",
    "Cause", "OpenedAs", "Confidence", "GatewayId", "GatewayName", "RemoteIP", "ConnectionName", "ResourceGroup",
    "FirstSeen", "LastSeen", "ResolvedAt", "DurationSeconds", "Attempts", "Summary", "Explanation", "ActionOn",
    "Impact", "ErrorCode", "ErrorName", "Drill", "SchemaVersion",
)  # fmt: skip
"""Which incident, what is known of its state, cause and turn, and one sentence: what alerts, lists and joins are built
on. All of them are numbers or short texts; evidence, offers, commands and the rest are left out."""

EXPLANATION = "Explanation"

ELLIPSIS = "…"
_CODE = re.compile(r"[A-Za-z0-9]{1,60}")

Key: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True)
class _Entry:
    """One row as it is sent. `status` is what the service said to the whole of it, 0 as long as it is whole."""

    key: Key
    row: Row
    body: bytes
    status: int = 0


class _Fate(Enum):
    ACCEPTED = auto()
    REFUSED = auto()  # something in this chunk is not taken
    FAILED = auto()  # this chunk, this time
    CLOSED = auto()  # the service takes nothing now: the other chunks need not try


@dataclass(frozen=True, slots=True)
class _Answer:
    fate: _Fate
    status: int = 0
    said: str = ""
    wait: float = SOON


class LogAnalytics:
    """One table, every revision. Belongs to one event loop, as the worker has; a sink that was closed opens again."""

    messages = False

    def __init__(
        self,
        endpoint: str,
        rule: str,
        stream: str,
        credential: AsyncTokenCredential,
        columns: Iterable[str],
        *,
        name: str = "log_analytics",
        required: Collection[str] = REQUIRED,
        clock: Callable[[], float] = time.time,
        trust: str | None = None,
        answer: float = READ,
    ) -> None:
        """Raises ValueError for an endpoint that is no https address.

        `endpoint` is the ingestion endpoint of the rule or of a data collection endpoint, `rule` the rule's immutable
        id, `columns` the names in the table's file in `infra/tables` (`columns.types` reads one), `trust` a file with the certificates to
        trust instead of the system's. Closing `credential`, whose identity needs the role Monitoring Metrics Publisher
        on the rule, is the caller's.
        """
        host = urlsplit(endpoint).hostname
        if not endpoint.lower().startswith("https://") or not host:
            raise ValueError("the endpoint must look like https://contoso.westeurope-1.ingest.monitor.azure.com")
        self.name = name
        self._endpoint, self._rule, self._stream, self._credential = endpoint.rstrip("/"), rule, stream, credential
        self._columns, self._required = tuple(columns), frozenset(required)
        self._clock, self._trust, self._patience = clock, trust, answer
        cloud = next((cloud for cloud in ("azure.us", "azure.cn") if host.endswith(f".{cloud}")), "azure.com")
        self._scope = f"https://monitor.{cloud}/.default"
        self._where = f"{stream} at {host}"
        self._client: LogsIngestionClient | None = None

    async def send(self, postings: Sequence[Posting]) -> Receipt:
        """Send them. Never raises for what the service, the identity or the network does."""
        return await self._send((posting.key, posting.row) for posting in postings)

    async def write(self, rows: Sequence[Row]) -> Receipt:
        """Send rows that are no revisions, such as those about the app's health. The key of each is ('', its place)."""
        return await self._send((("", place), row) for place, row in enumerate(rows))

    async def close(self) -> None:
        """Let go of connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    # --- chunks ---------------------------------------------------------------------------------------------------

    async def _send(self, rows: Iterable[tuple[Key, Row]]) -> Receipt:
        receipt = Receipt()
        left = deque(chunks(list(self._entries(rows, receipt))))
        self._connected()  # what the first import takes is not taken from the time to answer
        until = asyncio.get_running_loop().time() + PATIENCE
        while left:
            if asyncio.get_running_loop().time() >= until:
                _note(receipt, _Answer(_Fate.CLOSED, said=f"{self._where}: out of time, {len(left)} chunks left"))
                break
            chunk = left.popleft()
            answer = await self._upload(chunk, until)
            if answer.fate is _Fate.ACCEPTED:
                receipt.accepted.update(entry.key for entry in chunk)
            elif answer.fate is _Fate.REFUSED and len(chunk) > 1:
                middle = len(chunk) // 2
                left.extendleft((chunk[middle:], chunk[:middle]))
            elif answer.fate is _Fate.REFUSED and not chunk[0].status:
                left.appendleft([self._slim(chunk[0], answer.status)])
            elif answer.fate is _Fate.REFUSED:
                receipt.refused[chunk[0].key] = f"{answer.said}, nor with the required columns only"
            else:
                _note(receipt, answer)
                if answer.fate is _Fate.CLOSED:
                    break
        return receipt

    def _entries(self, rows: Iterable[tuple[Key, Row]], receipt: Receipt) -> Iterator[_Entry]:
        for key, row in rows:
            fitted = {name: fit(row.get(name)) for name in self._columns}
            try:
                entry = _Entry(key, fitted, orjson.dumps(fitted))
            except (TypeError, ValueError) as odd:  # not chained: the text of it holds what is in the row
                receipt.refused[key] = f"{self._where}: no JSON can hold this row ({type(odd).__name__})"
                continue
            # More than a chunk can hold: the service would say 413 to it.
            yield entry if len(entry.body) + 2 <= CHUNK else self._slim(entry, 413)

    def _slim(self, entry: _Entry, status: int) -> _Entry:
        """Return a row with its required columns only, which says that it was cut and what the service had said."""
        row = {
            name: shorten(value, CUT_TEXT) if isinstance(value, str) else value
            for name, value in entry.row.items()
            if name in self._required and not isinstance(value, list | dict)
        }
        if EXPLANATION in row:
            note = f"This row was cut: the table did not take it whole ({status}). Evidence, offers and commands are left out."
            row[EXPLANATION] = shorten(f"{note} {row[EXPLANATION] or ''}".rstrip(), CUT_TEXT)
        row = dict.fromkeys(self._columns) | row
        return replace(entry, row=row, body=orjson.dumps(row), status=status)

    # --- one chunk ------------------------------------------------------------------------------------------------

    async def _upload(self, chunk: Sequence[_Entry], until: float) -> _Answer:
        from aiohttp import ClientError
        from azure.core.exceptions import AzureError

        # The same rows are the same bytes (no time in the header); level 6 packs rows tenfold, 9 takes twice as long.
        body = io.BytesIO(gzip.compress(b"[" + b",".join(e.body for e in chunk) + b"]", compresslevel=6, mtime=0))
        try:
            async with asyncio.timeout_at(min(until, asyncio.get_running_loop().time() + self._patience)):
                await self._connected().upload(self._rule, self._stream, body)
        except TimeoutError:
            return _Answer(_Fate.FAILED, said=f"{self._where}: no answer in time")
        except AzureError as failed:
            return self._understand(failed)
        except (ClientError, OSError) as failed:
            return _Answer(_Fate.CLOSED, said=f"{self._where}: {reason(failed)}")
        return _Answer(_Fate.ACCEPTED)

    def _understand(self, failed: AzureError) -> _Answer:
        """Name what the service, the identity or the network did: status and code, never the text that came with it."""
        from azure.core.exceptions import ClientAuthenticationError

        status = getattr(failed, "status_code", None)
        if status is None:
            # The identity's own failures are long texts about every way it has tried.
            mend = "; no token for the app's identity" if isinstance(failed, ClientAuthenticationError) else ""
            return _Answer(_Fate.CLOSED, said=f"{self._where}: {reason(failed)}{mend}", wait=LATER if mend else SOON)
        code = getattr(getattr(failed, "error", None), "code", None)
        said = f"{self._where}: {status}"
        if isinstance(code, str) and _CODE.fullmatch(code):
            said += f" {code}"
        if status in (400, 413):
            return _Answer(_Fate.REFUSED, status, f"{said}, the table does not take this row")
        if status in (408, 429) or status >= 500:
            response = getattr(failed, "response", None)
            asked = retry_after(getattr(response, "headers", None) or {}, self._clock())
            closed = status == 429 or asked is not None
            return _Answer(_Fate.CLOSED if closed else _Fate.FAILED, status, said, SOON if asked is None else asked)
        if status in (401, 403):
            said += f", not allowed: the app's identity needs the role {ROLE} on the data collection rule"
        elif status == 404:
            said += ": check the endpoint, the rule's immutable id and the stream"
        return _Answer(_Fate.CLOSED, status, said, LATER)

    def _connected(self) -> LogsIngestionClient:
        # Imported here: the trigger starts cold often, and only the timer tells.
        from azure.monitor.ingestion.aio import LogsIngestionClient

        if self._client is None:
            options: dict[str, Any] = {"connection_verify": self._trust} if self._trust else {}
            self._client = LogsIngestionClient(
                self._endpoint,
                self._credential,
                retry_total=0,
                credential_scopes=[self._scope],
                permit_redirects=False,  # they would carry the rows, and a token, to somebody else
                connection_timeout=CONNECT,
                read_timeout=self._patience,
                **options,
            )
        return self._client


def chunks(entries: Sequence[_Entry]) -> Iterator[list[_Entry]]:
    """Divide entries into runs that are at most `CHUNK` bytes as a JSON array. An entry that is larger is alone."""
    chunk: list[_Entry] = []
    size = 2  # the brackets
    for entry in entries:
        more = len(entry.body) + (1 if chunk else 0)  # the separator
        if chunk and size + more > CHUNK:
            yield chunk
            chunk, size, more = [], 2, len(entry.body)
        chunk.append(entry)
        size += more
    if chunk:
        yield chunk


def fit(value: object) -> object:
    """Return a value of at most `FIELD` bytes: a text cut at a character, a list without its last items."""
    if isinstance(value, str):
        return shorten(value, FIELD)
    if not isinstance(value, list | dict) or _size(value) <= FIELD:
        return value
    if isinstance(value, dict):
        cut = _shortened(value)
        return cut if _size(cut) <= FIELD else None
    kept: list[object] = []
    room = FIELD - 2
    for item in value:
        # One item that is too large by itself loses length; only if there is no text in it, or too many, does it go.
        whole = item if _size(item) <= FIELD - 2 else _shortened(item)
        room -= _size(whole) + (1 if kept else 0)
        if room < 0:
            break
        kept.append(whole)
    return kept


def shorten(text: str, limit: int) -> str:
    """Return `text` in at most `limit` bytes of UTF-8, cut between characters, with an ellipsis if it was cut."""
    if len(text) * 4 <= limit:  # the common case: no character takes more than four bytes
        return text
    written = text.encode(errors="replace")
    if len(written) <= limit:
        return text
    return written[: limit - len(ELLIPSIS.encode())].decode(errors="ignore") + ELLIPSIS


def _shortened(item: object) -> object:
    """Return a JSON value with every text in it at most `ITEM_TEXT` bytes."""
    if isinstance(item, str):
        return shorten(item, ITEM_TEXT)
    if isinstance(item, list):
        return [_shortened(inner) for inner in item]
    if isinstance(item, dict):
        return {name: _shortened(inner) for name, inner in item.items()}
    return item


def _size(value: object) -> int:
    try:
        return len(orjson.dumps(value))
    except (TypeError, ValueError):
        return 0  # found out where the whole row is written, which then is refused by itself


def _note(receipt: Receipt, answer: _Answer) -> None:
    """Keep the first trouble, and the longest wait that was asked for."""
    receipt.trouble = receipt.trouble or answer.said
    receipt.retry_after = max(receipt.retry_after or 0.0, answer.wait)
