"""Facts <-> bytes, by their type hints: dataclasses, tuples, sets, dicts and enums as JSON, compressed.

A field that holds its default is left out, and one that is missing takes it: a newer version may add fields, and what
an older one wrote still reads. What only a newer version could know is none of an older one's business: `monitor`
lets it touch nothing. The order of sets is fixed, so that equal facts are equal bytes.

One object that stands in several places stays one: a negotiation is written once and named by its number, because
what is known of it is looked up by identity.

Nearly all there is to write are events. Of an IKE line only the line itself is written: the grammar reads it again. Any other
event is a list of its fields in order, which orjson writes by itself (a newer version adds fields at the end only). And
a session or negotiation remembers its text: of a tunnel that is tried again and again most has not changed since it was
last written.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cache
from operator import attrgetter
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, TypeAlias, Union, cast, get_args, get_origin, get_type_hints

import orjson

from ikestream.events import Category, Direction, IkeEvent, Kind, Proposal, Record, Selector
from ikestream.grammar import MAX_LINE, read
from ikestream.negotiation import Negotiation
from ikestream.session import EventKey, Session, identify

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

LEVEL = 1
"""Of zlib: nine tenths of what the best would save, at a fifth of its time."""

Dump: TypeAlias = Callable[[Any, "_Table"], Any]
Load: TypeAlias = Callable[[Any, "_Table"], Any]


class BadState(Exception):  # noqa: N818 - reads as what it is
    """Bytes that are no facts of this program: damaged, or not its own. One line, without their content."""


class _Table:
    """The negotiations of one document, each written once."""

    def __init__(self) -> None:
        self.written: list[orjson.Fragment] = []
        self.read: list[Negotiation] = []
        self._numbers: dict[bytes, int] = {}

    def number(self, negotiation: Negotiation) -> int:
        """Return the number of a negotiation; of two that are equal, both are one from now on."""
        text = negotiation.written
        if text is None:
            text = negotiation.written = orjson.dumps([negotiation.session, _dump_events(negotiation.events)])
        known = self._numbers.get(text)
        if known is None:
            known = self._numbers[text] = len(self.written)
            self.written.append(orjson.Fragment(text))
        return known


def pack(value: object, hint: object) -> bytes:
    """Return `value`, an instance of what `hint` says, as bytes."""
    table = _Table()
    body = _coder(hint)[0](value, table)
    return zlib.compress(orjson.dumps({"n": table.written, "v": body}, option=orjson.OPT_NON_STR_KEYS), LEVEL)


def unpack(body: bytes, hint: object) -> Any:
    """Return what `pack` was given. Raises `BadState`."""
    try:
        document = orjson.loads(zlib.decompress(body))
        table = _Table()
        table.read = [Negotiation(s, _load_events(events)) for s, events in document["n"]]
        return _coder(hint)[1](document["v"], table)
    except (zlib.error, ValueError, TypeError, KeyError, IndexError, AttributeError) as bad:
        raise BadState(f"not this program's state: {type(bad).__name__}") from None


@cache
def _coder(hint: Any) -> tuple[Dump, Load]:
    """Return how values of `hint` are written and read."""
    if hint in (str, int, float, bool, NoneType, Any, object):
        return _as_is, _as_is
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        (inner,) = (a for a in arguments if a is not NoneType)
        dump, load = _coder(inner)
        return (lambda v, t: None if v is None else dump(v, t)), (lambda v, t: None if v is None else load(v, t))
    if hint is Negotiation:
        return (lambda v, t: t.number(v)), (lambda v, t: t.read[v])
    if hint is Session:
        return _dump_session, _load_session
    if hint is IkeEvent:
        return (lambda v, _: _fields_of(v)), (lambda v, _: _load_event(v))
    if origin is dict:
        return _mapping(*arguments)
    if origin in (list, set, frozenset) or (origin is tuple and arguments[1:] == (...,)):
        return _collection(origin, arguments[0])
    if origin is tuple:
        return _tuple(tuple, [_coder(a) for a in arguments])
    if isinstance(hint, type) and issubclass(hint, Enum):
        return (lambda v, _: v.value), (lambda v, _: hint(v))
    if isinstance(hint, type) and issubclass(hint, tuple):  # a NamedTuple
        return _tuple(lambda items: hint(*items), [_coder(h) for h in _hints(hint).values()])
    if is_dataclass(hint):
        return _record(cast("type[DataclassInstance]", hint))
    raise TypeError(f"nothing is known about how to keep {hint!r}")


def _as_is(value: Any, _table: _Table) -> Any:
    return value


def _collection(kind: Any, item: Any) -> tuple[Dump, Load]:
    if item is IkeEvent:
        return (lambda v, _: _dump_events(v)), (lambda v, _: kind(_load_events(v)))
    dump, load = _coder(item)
    unordered = kind in (set, frozenset)

    def write(values: Any, table: _Table) -> list[Any]:
        written = [dump(v, table) for v in values]
        return sorted(written) if unordered else written

    return write, lambda values, table: kind(load(v, table) for v in values)


def _tuple(kind: Callable[[Any], Any], coders: list[tuple[Dump, Load]]) -> tuple[Dump, Load]:
    dumps, loads = [d for d, _ in coders], [ld for _, ld in coders]
    return (
        lambda v, t: [dump(item, t) for dump, item in zip(dumps, v, strict=True)],
        lambda v, t: kind([load(item, t) for load, item in zip(loads, v, strict=True)]),
    )


def _mapping(key: Any, value: Any) -> tuple[Dump, Load]:
    dump, load = _coder(value)
    if (key, value) == (EventKey, IkeEvent):  # the key says nothing that the event does not
        return (
            lambda v, _: _dump_events([event for _, event in sorted(v.items())]),
            lambda v, _: {identify(event): event for event in _load_events(v)},
        )
    if key is str:
        return (
            lambda v, t: {k: dump(item, t) for k, item in sorted(v.items())},
            lambda v, t: {k: load(item, t) for k, item in v.items()},
        )
    dump_key, load_key = _coder(key)
    return (
        lambda v, t: [[dump_key(k, t), dump(item, t)] for k, item in sorted(v.items())],
        lambda v, t: {load_key(k, t): load(item, t) for k, item in v},
    )


def _dump_session(session: Session, _table: _Table) -> Any:
    if session.written is None:
        events = [event for _, event in sorted(session.events.items())]
        session.written = orjson.dumps([session.crowded, _dump_events(events)])
    return orjson.Fragment(session.written)


def _load_session(written: Any, _table: _Table) -> Session:
    crowded, rows = written
    return Session({identify(event): event for event in _load_events(rows)}, crowded)


def _dump_events(events: Sequence[IkeEvent]) -> list[Any]:
    """Return the gateway, as the first event spells it, and a row for each: (time, instance, line) of what the grammar reads again."""
    if not events:
        return []
    gateway = events[0].gateway
    return [
        gateway,
        *[
            (e.at, e.instance, e.message)
            if e.category is Category.IKE and e.gateway == gateway and len(e.message) < MAX_LINE
            else _fields_of(e)
            for e in events
        ],
    ]


def _load_events(rows: Sequence[Any]) -> list[IkeEvent]:
    if not rows or not isinstance(rows[0], str):  # format 1
        return [_load_event(row) for row in rows]
    gateway = rows[0]
    return [
        read(Record(row[0], gateway, Category.IKE, "", row[1], row[2])) if len(row) == 3 else _load_event(row)
        for row in rows[1:]
    ]


_fields_of: Callable[[IkeEvent], tuple[Any, ...]] = attrgetter(*(f.name for f in fields(IkeEvent)))
_KINDS = {member.value: member for member in Kind}
_CATEGORIES = {member.value: member for member in Category}
_DIRECTIONS = {member.value: member for member in Direction}


def _load_event(row: list[Any] | dict[str, Any]) -> IkeEvent:
    if isinstance(row, dict):  # format 1, by name
        return cast("IkeEvent", _record(IkeEvent)[1](row, _Table()))
    # By position and by hand: every record that arrives is written and read once. Missing are only fields of newer versions.
    row[_KIND], row[_CATEGORY], row[_DIRECTION] = (
        _KINDS[row[_KIND]],
        _CATEGORIES[row[_CATEGORY]],
        _DIRECTIONS[row[_DIRECTION]],
    )
    for place, kind in _LISTS:
        row[place] = tuple([kind(**item) for item in row[place]]) if row[place] else ()
    return IkeEvent(*row)


_PLACES = {f.name: place for place, f in enumerate(fields(IkeEvent))}
_KIND, _CATEGORY, _DIRECTION = (_PLACES[name] for name in ("kind", "category", "direction"))
_LISTS: tuple[tuple[int, type[Proposal] | type[Selector]], ...] = (
    (_PLACES["proposals"], Proposal),
    (_PLACES["initiator_selectors"], Selector),
    (_PLACES["responder_selectors"], Selector),
)


def _record(kind: type[DataclassInstance]) -> tuple[Dump, Load]:
    hints = _hints(kind)
    coders = [(f.name, *_coder(hints[f.name]), _default(f)) for f in fields(kind) if f.init]

    def write(value: Any, table: _Table) -> dict[str, Any]:
        written = {}
        for name, dump, _, default in coders:
            item = getattr(value, name)
            if default is MISSING or item != default:
                written[name] = dump(item, table)
        return written

    loads = {name: load for name, _, load, _ in coders}

    def read(written: Mapping[str, Any], table: _Table) -> Any:
        return kind(**{name: loads[name](item, table) for name, item in written.items() if name in loads})

    return write, read


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default


@cache
def _hints(kind: type) -> dict[str, Any]:
    try:
        return get_type_hints(kind)
    except NameError:
        # Some modules name, for the type checker only, what is downstream of them.
        from ikestream.history import History
        from ikestream.timeline import Change
        from ikestream.together import Together

        return get_type_hints(kind, localns={"History": History, "Change": Change, "Together": Together})
