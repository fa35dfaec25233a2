"""Documents -> Azure Table storage, by Microsoft's own client: what the app knows outlives the app.

A document is an entity: its keys (see `keys`), `Format`, `Length` (bytes of the body), and the body in pieces `b0`, `b1`
and so on.

A write whose answer was lost
    Whether it happened is not known: that is `Unavailable`. But the client asks again by itself where it may (PUT and
    DELETE after a lost connection, everything after 500, 503 and 504), and then the second try meets the first: an
    insert finds its own row, an update finds its own new version, and the caller is told `Conflict` although the one
    who wrote was he himself, all of it. That is right for a caller who takes `Conflict` as "read again and decide
    again" and whose decision comes out the same over what is there now: facts that join, rows told or not yet told,
    a claim that carries the name of its holder. It is wrong for one who takes it as "somebody else has it" (a claim
    must be read again: it may be one's own) or who adds something that cannot be recognised (a bare counter counts
    twice). A `Put` with etag None and a `Delete` are repeated without a word, and win over what another writer wrote
    between the two tries: use them where the last word does not matter.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar
from urllib.parse import urlsplit

from ikestream.stores import MAX_BODY, Conflict, Delete, Document, Put, TooLarge, Unavailable
from ikestream.stores.keys import MAX_KEY, decode, encode

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.core.exceptions import AzureError
    from azure.data.tables.aio import TableClient

TABLE = "ikestream"

FORMAT = 1
"""Of an entity, not of what is in the body. Another number is not read: it may mean anything."""

PIECE = 60 * 1024
"""Bytes of one binary property; the service takes 64 KiB. `MAX_BODY` makes fifteen or sixteen of them."""

OPERATIONS = 90
"""Changes in one transaction; the service takes 100."""

REQUEST = 4 * 1024 * 1024 - 64 * 1024
"""Bytes of one transaction as it is sent. The service takes less than 4 MiB, and binary is sent as base64: about
2.9 MB of bodies."""

ENVELOPE = 1500
"""Bytes sent around one change of a transaction: its headers, names and types. 800 were seen at most."""

PAGE = 100
"""Documents asked for at once, of up to 1 MiB each: one page is in memory at a time."""

CONNECT, READ = 3, 10
"""Seconds to connect, and to wait for the next bytes of an answer. The client's own 300 are longer than a function
lives; a healthy table answers in 10 ms, and a busy one says 503 rather than nothing."""

RETRIES, BACKOFF = 2, 0.4
"""The client tries again at once and then after 0.8 s; for more, the next tick or the host's own retry comes."""

PATIENCE = 25.0
"""Seconds for one request with all its retries, whatever wait the service asks for: two of them fit into the 60 s of
a delivery claim."""

ROLE = "Storage Table Data Contributor"

_TABLE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{2,62}")
_CONFLICTS = {
    "EntityAlreadyExists",
    "EntityNotFound",
    "ResourceNotFound",
    "UpdateConditionNotSatisfied",
    "ConditionNotMet",
}
_TOO_LARGE = {"EntityTooLarge", "PropertyValueTooLarge", "RequestBodyTooLarge"}

Operation: TypeAlias = tuple[str, dict[str, Any], dict[str, Any]]  # what is done, the entity, options
T = TypeVar("T")


def with_identity(endpoint: str, credential: AsyncTokenCredential, table: str = TABLE) -> Tables:
    """Return the store in `table` at `endpoint` (https://<account>.table.core.windows.net).

    The identity needs the role Storage Table Data Contributor; closing `credential` is the caller's. Raises ValueError.
    """
    host = urlsplit(endpoint).hostname
    if not endpoint.lower().startswith("https://") or not host:
        raise ValueError("the endpoint must look like https://contoso.table.core.windows.net")

    def connect() -> TableClient:
        # Imported here and below: the trigger starts cold often, and the client takes longer to import than all else.
        from azure.data.tables.aio import TableClient

        return TableClient(endpoint, table, credential=credential, **_patience())

    return Tables(connect, host, _checked(table))


def with_connection_string(connection_string: str, table: str = TABLE) -> Tables:
    """Return the store in `table` of the account of a connection string, which is a secret. Raises ValueError."""
    parts = dict(part.partition("=")[::2] for part in connection_string.split(";") if part)
    given = {name.strip().lower(): content.strip() for name, content in parts.items()}
    account = given.get("accountname", "")
    keyed = account and given.get("accountkey")
    if not keyed and not (given.get("tableendpoint") and given.get("sharedaccesssignature")):
        raise ValueError("the connection string must hold AccountName and AccountKey, or TableEndpoint and a SAS")
    host = urlsplit(given.get("tableendpoint", "")).hostname or f"{account}.table"

    def connect() -> TableClient:
        from azure.data.tables.aio import TableClient

        return TableClient.from_connection_string(connection_string, table, **_patience())

    return Tables(connect, host, _checked(table))


class Tables:
    """A store in one table, which is created where it is missing. Belongs to one event loop, as the worker has.

    A partition is read page by page: what others write meanwhile may be seen or not, each document whole. The client
    and its connections are made at the first question and kept until `close`; a store that was closed opens again.
    """

    def __init__(self, connect: Callable[[], TableClient], host: str, table: str) -> None:
        self._connect = connect
        self._where = f"table {table} at {host}"
        self._client: TableClient | None = None

    async def read(self, partition: str, limit: int | None = None) -> AsyncIterator[Document]:
        """Yield the documents of a partition in order of row (by code point), at most `limit`. Raises `Unavailable`."""
        key = encode(partition)
        if len(key) > MAX_KEY or (limit is not None and limit <= 0):
            return  # nothing can be there, or nothing is wanted
        query = f"PartitionKey eq '{key}'"  # an encoded key holds no quote
        count = 0
        async for entity in self._query(query, results_per_page=min(limit or PAGE, PAGE)):
            yield self._document(entity)
            count += 1
            if count == limit:
                return

    async def write(self, partition: str, changes: Sequence[Put | Delete]) -> list[str]:
        """Write all of `changes`; return the new etag of each, '' of a deletion.

        Atomic are up to 90 changes of different rows whose bodies have 2.9 MB together; more are written in
        order, in several transactions. Raises `Conflict`, `TooLarge` (then nothing was sent, unless the service itself
        refused a part) or `Unavailable`; for what each means after a lost answer see the module.
        """
        key = self._key(partition)
        operations = [self._operation(key, change) for change in changes]
        etags: list[str] = []
        for part in _parts(operations):
            try:
                etags += await (self._single(part[0]) if len(part) == 1 else self._transaction(part))
            except _Refused as refused:
                raise refused.reason from None
        return etags

    async def close(self) -> None:
        """Let go of connections. The next question opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    # --- questions ------------------------------------------------------------------------------------------------

    async def _query(self, query: str, **options: Any) -> AsyncIterator[Mapping[str, Any]]:
        pages: Any = None

        async def turn(client: TableClient) -> list[Mapping[str, Any]] | None:
            nonlocal pages
            if pages is None:
                pages = client.query_entities(query, **options).by_page()
            try:
                page = await anext(pages, None)
            except BaseException:
                pages = None  # an iterator that raised is at its end; only the first page is ever asked for twice
                raise
            return None if page is None else [entity async for entity in page]

        while True:
            try:
                entities = await self._ask(turn)
            except _Refused as refused:
                # Nobody contends with a reader.
                raise Unavailable(str(refused.reason)) from None
            if entities is None:
                return
            for entity in entities:
                yield entity

    async def _single(self, operation: Operation) -> list[str]:
        kind, entity, options = operation

        async def send(client: TableClient) -> Mapping[str, Any] | None:
            methods: dict[str, Callable[..., Awaitable[Any]]] = {
                "create": client.create_entity,
                "update": client.update_entity,
                "upsert": client.upsert_entity,
                "delete": client.delete_entity,  # of what is gone: no error, says the client
            }
            done: Mapping[str, Any] | None = await methods[kind](entity, **options)
            return done

        return [_etag(await self._ask(send))]

    async def _transaction(self, operations: list[Operation]) -> list[str]:
        """Send one transaction; a deletion of what is gone is left out, at the price of one more round trip each."""
        left = list(enumerate(operations))
        etags = [""] * len(operations)
        while left:

            async def send(client: TableClient, left: list[tuple[int, Operation]] = left) -> Any:
                return await client.submit_transaction([operation for _, operation in left])

            try:
                done = await self._ask(send)
            except _Refused as refused:
                place = refused.index
                # The service refuses the whole for one row that is not there, and says which.
                if refused.code == "ResourceNotFound" and place < len(left) and left[place][1][0] == "delete":
                    left = left[:place] + left[place + 1 :]
                    continue
                raise
            for (place, _), result in zip(left, done, strict=True):
                etags[place] = _etag(result)
            break
        return etags

    async def _ask(self, question: Callable[[TableClient], Awaitable[T]]) -> T:
        """Return the answer. Raises `Unavailable`, or `_Refused` for what the caller may understand."""
        from azure.core.exceptions import AzureError

        if self._client is None:
            self._client = self._connect()
        client = self._client
        try:
            async with asyncio.timeout(PATIENCE):
                try:
                    return await question(client)
                except AzureError as failed:
                    if _code(failed) != "TableNotFound":
                        raise
                await self._create(client)
                return await question(client)
        except TimeoutError:
            raise Unavailable(f"{self._where}: no answer within {PATIENCE:g} s") from None
        # Not chained: the service's own text can hold a signature, and the next log would print it.
        except AzureError as failed:
            raise self._refusal(failed) from None

    async def _create(self, client: TableClient) -> None:
        from azure.core.exceptions import ResourceExistsError

        try:
            await client.create_table()
        except ResourceExistsError as failed:
            # Another worker was faster; a table that is just being deleted answers with 409 as well.
            if _code(failed) != "TableAlreadyExists":
                raise

    def _refusal(self, failed: AzureError) -> Unavailable | _Refused:
        """Name what the service or the network did, in words of its own: status and code, never the service's text."""
        status = getattr(failed, "status_code", None)
        code = _code(failed)
        said = f"{self._where}: {status} {code}".strip()
        if status is None:
            inner = failed.inner_exception
            system = getattr(inner, "os_error", inner)  # aiohttp keeps what the system said in there
            reason = getattr(system, "strerror", None) or type(inner or failed).__name__
            return Unavailable(f"{self._where}: {type(failed).__name__}, {reason}")
        if status in (401, 403):
            return Unavailable(
                f"{self._where}: not allowed ({status} {code}); the app's identity needs the role {ROLE} on the "
                "storage account, and the account's network rules must let it in"
            )
        if status == 413 or code in _TOO_LARGE:
            return _Refused(TooLarge(f"{said}: the service never takes this"), code)
        if status == 412 or code in _CONFLICTS:
            return _Refused(Conflict(f"{said}: a document is not what was read"), code, getattr(failed, "index", 0))
        return Unavailable(said)

    # --- documents <-> entities -----------------------------------------------------------------------------------

    def _key(self, key: str) -> str:
        written = encode(key)
        if len(written) > MAX_KEY:
            raise TooLarge(f"{self._where}: a key of {len(key)} characters takes {len(written)}, more than {MAX_KEY}")
        return written

    def _operation(self, partition: str, change: Put | Delete) -> Operation:
        entity: dict[str, Any] = {"PartitionKey": partition, "RowKey": self._key(change.row)}
        if isinstance(change, Delete):
            return "delete", entity, {}
        # With the keys and names this bound also holds the 1 MiB of an entity.
        if len(change.body) > MAX_BODY:
            raise TooLarge(f"the document {change.row!r} has {len(change.body)} bytes, more than {MAX_BODY}")
        from azure.core import MatchConditions
        from azure.data.tables import UpdateMode

        entity |= {"Format": FORMAT, "Length": len(change.body)}
        body = change.body
        entity |= {f"b{place}": body[at : at + PIECE] for place, at in enumerate(range(0, len(body), PIECE))}
        if change.etag is None:
            return "upsert", entity, {"mode": UpdateMode.REPLACE}
        if not change.etag:
            return "create", entity, {"response_preference": "return-no-content"}  # else the body comes back
        condition = {"etag": change.etag, "match_condition": MatchConditions.IfNotModified}
        return "update", entity, {"mode": UpdateMode.REPLACE, **condition}

    def _keys(self, entity: Mapping[str, Any]) -> tuple[str, str]:
        try:
            return decode(entity["PartitionKey"]), decode(entity["RowKey"])
        except ValueError:
            raise Unavailable(f"{self._where}: the row {entity['RowKey']!r} was written by something else") from None

    def _document(self, entity: Mapping[str, Any]) -> Document:
        partition, row = self._keys(entity)
        if entity.get("Format") != FORMAT:
            raise Unavailable(f"{self._where}: the row {row!r} has format {entity.get('Format')}, not {FORMAT}")
        return Document(partition, row, self._body(entity, row), entity.metadata["etag"])  # type: ignore[attr-defined]

    def _body(self, entity: Mapping[str, Any], row: str) -> bytes:
        pieces: list[bytes] = []
        while isinstance(piece := entity.get(f"b{len(pieces)}"), bytes):
            pieces.append(piece)
        body = b"".join(pieces)
        if len(body) != entity.get("Length"):
            raise Unavailable(f"{self._where}: the row {row!r} is damaged")
        return body


class _Refused(Exception):  # noqa: N818 - reads as what it is
    """The service understood and said no: what to raise, its code, and which operation of a transaction it was."""

    def __init__(self, reason: Conflict | TooLarge, code: str, index: int = 0) -> None:
        super().__init__(str(reason))
        self.reason, self.code, self.index = reason, code, index


def _parts(operations: Sequence[Operation]) -> Iterator[list[Operation]]:
    """Cut `operations` into transactions: bounded, and no row twice in one, which the service refuses."""
    part: list[Operation] = []
    rows: set[str] = set()
    size = 0
    for operation in operations:
        more = _sent(operation)
        row = operation[1]["RowKey"]
        if part and (len(part) == OPERATIONS or size + more > REQUEST or row in rows):
            yield part
            part, rows, size = [], set(), 0
        part.append(operation)
        rows.add(row)
        size += more
    if part:
        yield part


def _sent(operation: Operation) -> int:
    """Return about how many bytes a change has as it is sent, rather too many."""
    entity = operation[1]
    keys = len(entity["PartitionKey"]) + len(entity["RowKey"])
    pieces = sum(len(value) for value in entity.values() if isinstance(value, bytes))
    # The keys stand in the address, where each character may take three, and in the body.
    return ENVELOPE + 4 * keys + pieces * 4 // 3


def _code(failed: AzureError) -> str:
    """Return the service's name for what went wrong, '' if it gave none."""
    code = getattr(failed, "error_code", None)
    if code is None and (answer := getattr(failed, "response", None)) is not None:
        code = answer.headers.get("x-ms-error-code")  # an insert's error comes as it was before the client reads it
    name = str(getattr(code, "value", code) or "")
    return name if re.fullmatch(r"[A-Za-z0-9]{1,80}", name) else ""


def _etag(done: Mapping[str, Any] | None) -> str:
    return str((done or {}).get("etag") or "")


def _checked(table: str) -> str:
    if not _TABLE_NAME.fullmatch(table):
        raise ValueError("a table's name has 3 to 63 letters and digits and begins with a letter")
    return table


def _patience() -> dict[str, Any]:
    return {
        "connection_timeout": CONNECT,
        "read_timeout": READ,
        "retry_total": RETRIES,
        "retry_backoff_factor": BACKOFF,
    }
