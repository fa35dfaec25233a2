"""Event Hub body -> Records: frees diagnostic records of the envelope Azure wraps them in.

Two shapes carry the same record. Azure Monitor's resource log (`time`, `resourceId`, `category`, `properties`:
event hubs and storage blobs) and a row of the Log Analytics table AzureDiagnostics (`TimeGenerated`, `ResourceId`,
`Category`, `instance_s`: queries, portal exports, data export rules). Both end in equal `Record`s, because users hold
them against each other.

Nothing here raises but `BadEnvelope`, and that only for a body of which nothing can be read. What is left out of a
body that can be read is counted by `Skip`, so that nothing is dropped in silence (law 1).
"""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import orjson

from ikestream.events import Category, Record
from ikestream.timestamps import milliseconds

BODY_LIMIT = 4 * 1024 * 1024
"""Bytes of one body, unpacked. An event of Event Hubs has 1 MiB at most; four leave room for gzip and stop a bomb."""


class BadEnvelope(Exception):  # noqa: N818 - the name of the contract
    """A body of which nothing can be decoded. `reason` is one plain phrase for the dead letter."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Skip(StrEnum):
    """Why an element of a readable body is no Record. The value is the phrase people read."""

    NOT_AN_OBJECT = "not a JSON object"
    OTHER_SERVICE = "of another Azure service"
    OTHER_CATEGORY = "of another category"
    NO_CATEGORY = "without a category"
    NO_TIME = "without a usable time"
    BROKEN = "broken JSON"


@dataclass(frozen=True, slots=True)
class Body:
    """What one event hub body held: its Records as ordered there, and how many elements were left out, by reason."""

    records: tuple[Record, ...]
    skipped: Mapping[Skip, int]


# --- bodies -------------------------------------------------------------------------------------------------------


def decode(body: bytes) -> Body:
    """Decode one event hub body.

    Accepts `{"records": [...]}`, a list of records or of such bodies, one record, several JSON documents on lines of
    their own, a UTF-8 byte order mark and gzip. Raises `BadEnvelope` when nothing can be decoded, and nothing else.
    """
    skipped: Counter[Skip] = Counter()
    records: list[Record] = []
    for element in _elements(_unpacked(body), skipped):
        found = record(element) if isinstance(element, dict) else Skip.NOT_AN_OBJECT
        if isinstance(found, Record):
            records.append(found)
        else:
            skipped[found] += 1
    return Body(tuple(records), skipped)


def _unpacked(body: bytes) -> bytes:
    if body[:2] == b"\x1f\x8b":
        body = _gunzipped(body)
    if len(body) > BODY_LIMIT:
        raise BadEnvelope(f"larger than {BODY_LIMIT // 1024 // 1024} MiB")
    body = body.removeprefix(b"\xef\xbb\xbf").strip()
    if not body:
        raise BadEnvelope("empty")
    return body


def _gunzipped(packed: bytes) -> bytes:
    parts: list[bytes] = []
    room = BODY_LIMIT + 1
    while packed[:2] == b"\x1f\x8b" and room > 0:  # gzip members may follow each other (RFC 1952 2.2)
        member = zlib.decompressobj(wbits=31)
        try:
            parts.append(member.decompress(packed, room))
        except zlib.error as error:
            raise BadEnvelope("damaged gzip") from error
        room -= len(parts[-1])
        if room > 0 and not member.eof:
            raise BadEnvelope("gzip that was cut off")
        packed = member.unused_data
    return b"".join(parts)


def _elements(body: bytes, skipped: Counter[Skip]) -> Iterator[object]:
    """Yield what should be records. Raises BadEnvelope before it yields anything, or not at all."""
    try:
        documents = [load(body)]
    except ValueError as error:
        documents = []
        for line in body.splitlines():
            if not line.strip():
                continue
            try:
                documents.append(load(line))
            except ValueError:
                skipped[Skip.BROKEN] += 1
        if not any(isinstance(document, (dict, list)) for document in documents):
            raise BadEnvelope(str(error)) from error
    if len(documents) == 1:
        if not isinstance(documents[0], (dict, list)):
            raise BadEnvelope("neither a JSON object nor a list")
        inner = records_of(documents[0])
        if inner is not None and not isinstance(inner, (dict, list)):
            raise BadEnvelope('"records" is no list')
    for document in documents:
        yield from expand(document)


def expand(document: object, depth: int = 3) -> Iterator[object]:
    """Yield the records of a JSON document: the document itself, its elements, or those of its `records`.

    Lists of bodies (somebody saved a batch) are opened too; `depth` bounds how far.
    """
    inner: object = document if isinstance(document, list) else records_of(document)
    if depth == 0 or inner is None:
        yield document
    elif isinstance(inner, list):
        for element in inner:
            if isinstance(element, dict) and "records" not in element and "Records" not in element:
                yield element
            elif isinstance(element, list) or records_of(element) is not None:
                yield from expand(element, depth - 1)
            else:
                yield element
    else:
        yield inner


def records_of(document: object) -> object:
    """Return the value of a document's `records` field, or None where there is none."""
    if not isinstance(document, dict):
        return None
    if "records" in document:
        return document["records"]
    return document.get("Records")


def load(text: bytes) -> object:
    """Parse one JSON document, leniently. Raises ValueError with a reason fit for people; nothing else.

    orjson is strict. A second reader takes what a strict one refuses although its meaning is plain: NaN, lone
    surrogates, raw control characters in strings, bytes that are no UTF-8. One such message must not cost the
    hundred records around it.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(text.decode("utf-8", "replace"), strict=False, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at character {error.pos}") from error
    except RecursionError as error:
        raise ValueError("JSON nested too deep") from error


def _integer(digits: str) -> int | float:
    # Python refuses integers of more than 4300 digits; no field of a record needs more than a float then.
    return int(digits) if len(digits) < 20 else float(digits)


# --- records ------------------------------------------------------------------------------------------------------


def record(element: Mapping[str, object]) -> Record | Skip:
    """Turn one resource log record, or one AzureDiagnostics row, into a Record, or say why it is none.

    Field names match in any case. `properties` may be an object, the same as JSON text, or single-quoted text as Python
    prints it; anything else becomes the message. A record of a known category without a message keeps an empty one.
    A record without a resource id keeps an empty gateway.
    """
    usual = _usual(element)
    if usual is not None:
        return usual
    fields = _lowered(element)
    if "time" not in fields and "timegenerated" in fields:
        return _row(fields, False, False)
    category = _text(fields.get("category"))
    gateway = _gateway(_text(fields.get("resourceid")))
    if gateway is None:
        return Skip.OTHER_SERVICE
    known = _CATEGORIES.get(category.lower())
    if known is None:
        return Skip.OTHER_CATEGORY if category else Skip.NO_CATEGORY
    at = milliseconds(fields.get("time"))
    if at is None:
        return Skip.NO_TIME
    properties, rest = _properties(fields.get("properties"))
    message = properties.get("message", fields.get("message"))
    return Record(
        at=at,
        gateway=gateway,
        category=known,
        operation=_text(fields.get("operationname")),
        instance=_text(properties.get("instance", fields.get("instance"))),
        message=rest if message is None else _text(message),
        level=_text(fields.get("level")),
        remote_ip=_text(properties.get("remoteip", fields.get("remoteip"))),
        status=_text(properties.get("status", fields.get("status"))),
        reason=_text(properties.get("statechangereason", fields.get("statechangereason"))),
    )


def _usual(element: Mapping[str, object]) -> Record | None:
    """The record that nearly all are, an IKE line as Azure Monitor writes it, without a search for names; None for others.

    It is read as `record` reads it, in half the time.
    """
    names = _spelled(element, _FIELDS)
    properties = element.get(names[0]) if names is not None else None
    if names is None or type(properties) is not dict or (inner := _spelled(properties, _PROPERTIES)) is None:
        return None
    texts = *[element.get(name) for name in names[1:]], *[properties.get(name) for name in inner]
    for text in texts:
        if type(text) is not str or not text.isascii():
            return None
    time, whole, category, operation, level, instance, message = map(str.strip, texts)  # type: ignore[arg-type]
    gateway, at = _gateway(whole), milliseconds(time)
    if category != "IKEDiagnosticLog" or gateway is None or at is None:
        return None
    return Record(at, gateway, Category.IKE, operation, instance, message, level)


_Names = tuple[str, ...]
_FIELDS: tuple[_Names, dict[_Names, _Names | None]] = (
    ("properties", "time", "resourceid", "category", "operationname", "level"),
    {},
)
_PROPERTIES: tuple[_Names, dict[_Names, _Names | None]] = (("instance", "message"), {})
"""Names in lower case, and how layouts that were met spell them."""
_ELSEWHERE = frozenset({"timegenerated", "instance", "message", "remoteip", "status", "statechangereason"})
MAX_LAYOUTS = 256
MAX_NAMES = 512
"""Characters of the names in a layout that is remembered."""


def _spelled(fields: Mapping[str, object], wanted: tuple[_Names, dict[_Names, _Names | None]]) -> _Names | None:
    """Return how `fields` spell what is wanted, None unless each is there once and nothing beside it says the same."""
    names, layouts = wanted
    layout = tuple(fields)
    if layout in layouts:
        return layouts[layout]
    lowered = [name.lower() for name in layout[: MAX_NAMES // 8]]
    found = None
    if all(lowered.count(name) == 1 for name in names) and _ELSEWHERE.difference(names).isdisjoint(lowered):
        found = tuple(layout[lowered.index(name)] for name in names)
    if len(layout) > len(lowered):
        return None
    if len(layouts) < MAX_LAYOUTS and sum(map(len, layout)) <= MAX_NAMES:
        layouts[layout] = found
    return found


def row(columns: Mapping[str, object], *, day_first: bool = False, timeless: bool = False) -> Record | Skip:
    """Turn one row of a Log Analytics query over AzureDiagnostics into a Record, or say why it is none.

    Column names match in any case. Besides the table's own columns it reads the results of the two queries people
    copy: the one of dmauser's article (TimeGenerated, GWIN, SessionID, RemoteIP, LocalIP, IKEMessage) and the one of
    Azure's "troubleshoot with diagnostics" page (TimeGenerated, RemoteIP, LocalIP, Event). Both cut the message's
    prefix off, so it is put back. The ports are lost and become 0, which reads as "not in the line": with 500 in their
    place a NAT between the two ends would be denied without evidence.
    A projection without Category is told apart by OperationName and by the columns it has.

    `day_first` reads 05/09/2020 as the fifth of September. `timeless` accepts a row without a time column.
    """
    return _row(_lowered(columns), day_first, timeless)


def _row(fields: Mapping[str, object], day_first: bool, timeless: bool) -> Record | Skip:
    gateway = _gateway(_row_resource(fields))
    if gateway is None:
        return Skip.OTHER_SERVICE
    operation = _text(fields.get("operationname"))
    known = _row_category(fields, operation)
    if isinstance(known, Skip):
        return known
    clock = fields.get("timegenerated", fields.get("time"))
    at = milliseconds(clock, day_first=day_first)
    if at is None and not (timeless and clock is None):
        return Skip.NO_TIME
    instance = fields.get("instance_s", fields.get("instance"))
    tunnel = (
        known is not Category.IKE
    )  # a RemoteIP column of an IKE query is a piece of the message, no field of the log
    return Record(
        at=at,
        gateway=gateway,
        category=known,
        operation=operation,
        instance=_numbered(_text(fields.get("gwin"))) if instance is None else _text(instance),
        message=_row_message(fields),
        level=_text(fields.get("level")),
        remote_ip=_text(fields.get("remoteip_s", fields.get("remoteip") if tunnel else None)),
        status=_text(fields.get("status_s", fields.get("status") if tunnel else None)),
        reason=_text(fields.get("statechangereason_s", fields.get("statechangereason") if tunnel else None)),
    )


def _row_resource(fields: Mapping[str, object]) -> str:
    whole = _text(fields.get("resourceid")) or _text(fields.get("_resourceid"))
    name = _text(fields.get("resource"))
    if whole or not name:
        return whole
    kind = _text(fields.get("resourcetype"))
    group = _text(fields.get("resourcegroup"))
    subscription = _text(fields.get("subscriptionid"))
    if kind and kind.lower() not in _TYPES:
        return f"/PROVIDERS/{kind}/{name}"
    if not (kind and group and subscription):
        return name  # the type decides between two kinds of gateway: without it an id would be made up
    # AzureDiagnostics writes ids in upper case, so a rebuilt one equals the ResourceId of the same row.
    return f"/SUBSCRIPTIONS/{subscription}/RESOURCEGROUPS/{group}/PROVIDERS/MICROSOFT.NETWORK/{kind}/{name}".upper()


def _row_category(fields: Mapping[str, object], operation: str) -> Category | Skip:
    written = _text(fields.get("category"))
    if written:
        return _CATEGORIES.get(written.lower(), Skip.OTHER_CATEGORY)
    by_operation = _OPERATIONS.get(operation.lower())
    if by_operation is not None:
        return by_operation
    if "status_s" in fields or "statechangereason_s" in fields:
        return Category.TUNNEL
    if "message" in fields or "ikemessage" in fields or _endpoints(fields):
        return Category.IKE
    return Skip.NO_CATEGORY


def _row_message(fields: Mapping[str, object]) -> str:
    message = fields.get("message")
    if message is not None:
        return _text(message)
    body = _text(fields.get("ikemessage", fields.get("event") if _endpoints(fields) else None))
    session = _text(fields.get("sessionid"))
    remote, local = _text(fields.get("remoteip")), _text(fields.get("localip"))
    prefix = f"SESSION_ID :{{{session}}} " if session else ""
    if remote and local:
        prefix += f"Remote {remote}:0: Local {local}:0: "
    return (prefix + body).strip()


def _endpoints(fields: Mapping[str, object]) -> bool:
    return "remoteip" in fields and "localip" in fields


def _numbered(instance: str) -> str:
    # The article's query keeps the first digit of `GatewayTenantWorker_IN_0` (the two names Azure documents).
    return f"GatewayTenantWorker_IN_{instance}" if len(instance) == 1 and instance.isdecimal() else instance


_CATEGORIES = {category.lower(): category for category in Category}

_OPERATIONS = {
    "ikelogevent": Category.IKE,
    "tunnelconnected": Category.TUNNEL,
    "tunneldisconnected": Category.TUNNEL,
    "setgatewayconfiguration": Category.GATEWAY,
    "setconnectionconfiguration": Category.GATEWAY,
    "hostmaintenanceevent": Category.GATEWAY,
    "gatewaytenantprimarychanged": Category.GATEWAY,
    "migratecustomersubscription": Category.GATEWAY,
    "gatewayresourcemove": Category.GATEWAY,
    "validategatewayconfiguration": Category.GATEWAY,
    "staticrouteupdate": Category.ROUTE,
    "bgprouteupdate": Category.ROUTE,
    "bgpconnectedevent": Category.ROUTE,
    "bgpdisconnectedevent": Category.ROUTE,
    "p2slogevent": Category.P2S,
}
"""Operations as Azure documents them per category (troubleshoot-vpn-with-azure-diagnostics)."""

_TYPES = frozenset({"virtualnetworkgateways", "vpngateways", "p2svpngateways"})

_PROVIDER = re.compile(r"/providers/(?P<provider>[^/]*)(?:/(?P<type>[^/]*))?", re.IGNORECASE)


@lru_cache(maxsize=4096)
def _gateway(resource_id: str) -> str | None:
    """Return the id as written, or None where it names a resource of another service. '' and bare names stay."""
    found = _PROVIDER.search(resource_id)
    if found is None:
        return resource_id
    ours = found["provider"].lower() == "microsoft.network" and (found["type"] or "").lower() in _TYPES
    return resource_id if ours else None


def _lowered(fields: Mapping[str, object]) -> dict[str, object]:
    # A field that is null counts as absent, so that it never hides another spelling of the same name.
    return {name.lower(): value for name, value in fields.items() if value is not None}


def _properties(value: object) -> tuple[Mapping[str, object], str]:
    """Return the properties by lower-case name, and the text to use as message where they have none."""
    if isinstance(value, dict):
        return _lowered(value), ""
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("{"):
            inner = _object(text)
            if inner is not None:
                return _lowered(inner), ""
        return {}, _text(text)
    return {}, _text(value)


def _object(text: str) -> dict[str, object] | None:
    for candidate in (text, _json_of(text)):
        try:
            value = load(candidate.encode("utf-8", "replace"))
        except ValueError:
            continue
        if isinstance(value, dict):
            return value
    return None


# An unterminated string runs to the end (`\Z`), so that a hostile text cannot make the scan start over at each quote.
_PYTHON_TOKEN = re.compile(
    r"""'(?P<single>[^'\\]*+(?:\\.[^'\\]*+)*+)(?:'|\\?\Z)|"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|\b(?P<word>True|False|None)\b""",
    re.DOTALL,
)
_PYTHON_ESCAPE = re.compile(r"""\\(?:x(?P<hex>[0-9A-Fa-f]{2})|(?P<char>.))|(?P<quote>")""", re.DOTALL)
_WORDS = {"True": "true", "False": "false", "None": "null"}


def _json_of(text: str) -> str:
    """Rewrite Python's print of a dictionary as JSON, in linear time and without evaluating it."""
    return _PYTHON_TOKEN.sub(_json_token, text)


def _json_token(token: re.Match[str]) -> str:
    if token["word"]:
        return _WORDS[token["word"]]
    if token["single"] is None:
        return token[0]
    return '"' + _PYTHON_ESCAPE.sub(_json_escape, token["single"]) + '"'


def _json_escape(escape: re.Match[str]) -> str:
    if escape["quote"]:
        return '\\"'
    if escape["hex"]:
        return f"\\u00{escape['hex']}"
    char = escape["char"]
    if char == "'":
        return "'"
    return escape[0] if char in '"\\/bfnrtu' else "\\\\" + char


_SURROGATE = re.compile("[\ud800-\udfff]")


def _text(value: object) -> str:
    """Return a field as text without outer white space, which not every export keeps.

    Objects and lists become JSON. Half a surrogate pair becomes U+FFFD: no sink could write it.
    """
    if isinstance(value, str):
        return (value if value.isascii() else _SURROGATE.sub("\ufffd", value)).strip()
    if value is None:
        return ""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except (TypeError, RecursionError):  # JSONEncodeError is a TypeError: half surrogates, nesting beyond 254
        pass
    try:
        return _SURROGATE.sub("\ufffd", json.dumps(value, sort_keys=True, default=repr))
    except (TypeError, ValueError, RecursionError):
        return f"<{type(value).__name__}>"
