"""One batch of hub bodies -> parcels of events, by gateway; parcels -> what is known. Nothing is concluded or told here.

A body that cannot be decoded is a dead letter, alone; the others of its batch are learned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import orjson

from ikestream.envelope import BadEnvelope, decode
from ikestream.events import Category, IkeEvent, Kind
from ikestream.grammar import MAX_LINE, read
from ikestream.times import FUTURE_TOLERANCE
from ikestream.timestamps import iso

if TYPE_CHECKING:  # what is known is the tick's; the trigger, which starts cold most often, only sorts
    from ikestream.estate import Estate

MAX_PARCEL = 500_000
"""Bytes of events in one parcel: however badly it compresses, it fits into one document of a store."""
WEIGHT = 400
"""Bytes that an event takes beside its message."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event of the hub: where it stood, when the hub took it (ms), and its bytes."""

    partition: str
    offset: str
    sequence_number: int
    enqueued: int
    body: bytes


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A body that could not be decoded, whole, with where it stood and why."""

    delivery: Delivery
    reason: str


@dataclass(slots=True)
class Report:
    """What a batch held: records learned, records of other services, lines not read by shape, and dead letters."""

    records: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    dead: list[DeadLetter] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Parcel:
    """What one batch says of one gateway. A batch without events is one parcel without a gateway.

    `first` and `last` are the sequence numbers of the batch's first and last event, `enqueued` is when the hub took the
    last (ms), `number` counts the batch's parcels from 0 up to `of`. All parcels of one batch agree in the others.
    """

    partition: str
    first: int
    last: int
    enqueued: int
    number: int
    of: int
    gateway: str = ""  # key: the resource id in lower case
    events: tuple[IkeEvent, ...] = ()


def sort(deliveries: Sequence[Delivery]) -> tuple[list[Parcel], Report]:
    """Read a batch, all of one partition; return it by gateway, and what is to be said about it.

    Equal batches make equal parcels, so that keeping them twice keeps them once.
    """
    report = Report()
    by_gateway: dict[str, list[IkeEvent]] = {}
    for delivery in deliveries:
        for event in _read(delivery, report):
            by_gateway.setdefault(event.gateway.lower(), []).append(event)
    if not deliveries:
        return [], report
    newest = max(deliveries, key=lambda d: (d.sequence_number, d.enqueued))
    first = min(d.sequence_number for d in deliveries)
    piles = [(key, pile) for key, events in sorted(by_gateway.items()) for pile in _pile(events)] or [("", [])]
    return [
        Parcel(
            newest.partition,
            first,
            newest.sequence_number,
            newest.enqueued,
            number,
            len(piles),
            key,
            tuple(pile),
        )
        for number, (key, pile) in enumerate(piles)
    ], report


def _read(delivery: Delivery, report: Report) -> Iterator[IkeEvent]:
    try:
        body = decode(delivery.body)
    except BadEnvelope as bad:
        report.dead.append(DeadLetter(delivery, bad.reason))
        return
    for reason, count in body.skipped.items():
        report.skipped[str(reason)] += count
    for record in body.records:
        event = read(record)
        if event.kind is Kind.UNREAD:
            report.unread[event.shape] += 1
        # Clocks differ: a time from the future counts as the time the hub took it, else one record could
        # hold back every conclusion.
        if event.at is None or event.at > delivery.enqueued + FUTURE_TOLERANCE:
            event = replace(event, at=delivery.enqueued)
        if len(event.message) > MAX_LINE:  # what stands behind it was not read
            event = replace(event, message=event.message[:MAX_LINE])
        report.records += 1
        yield event


def _pile(events: Iterable[IkeEvent]) -> Iterator[list[IkeEvent]]:
    pile: list[IkeEvent] = []
    size = 0
    for event in events:
        weight = WEIGHT + len(event.message.encode())
        if pile and size + weight > MAX_PARCEL:
            yield pile
            pile, size = [], 0
        pile.append(event)
        size += weight
    if pile:
        yield pile


def bodies(events: Sequence[IkeEvent]) -> Iterator[bytes]:
    """Yield hub bodies whose records say what `events` say: read again, they are those events."""
    pile: list[bytes] = []
    size = 0
    for event in events:
        record = orjson.dumps(_record(event))
        if pile and size + len(record) > MAX_PARCEL:
            yield b'{"records":[%b]}' % b",".join(pile)
            pile, size = [], 0
        pile.append(record)
        size += len(record)
    if pile:
        yield b'{"records":[%b]}' % b",".join(pile)


def _record(event: IkeEvent) -> dict[str, Any]:
    """Return a record as Azure Monitor writes it. An event does not keep the operation of an IKE line: all have one."""
    properties = {"instance": event.instance, "message": event.message}
    if event.category is Category.TUNNEL:
        status = {Kind.TUNNEL_UP: "Connected", Kind.TUNNEL_DOWN: "Disconnected"}.get(event.kind, "")
        properties |= {"remoteIP": _endpoint(event), "status": status, "stateChangeReason": event.text}
    elif event.category is not Category.IKE and event.remote:
        properties |= {"remoteIP": _endpoint(event)}
    return {
        "time": iso(event.at or 0),
        "resourceId": event.gateway,
        "category": event.category.value,
        "operationName": "IKELogEvent" if event.category is Category.IKE else event.name,
        "properties": properties,
    }


def _endpoint(event: IkeEvent) -> str:
    if not event.remote_port:
        return event.remote
    address = f"[{event.remote}]" if ":" in event.remote else event.remote
    return f"{address}:{event.remote_port}"


def take(estate: Estate, parcel: Parcel) -> None:
    """Learn a parcel, in any order and however often it comes. How far the partition is read is the caller's to note."""
    for event in parcel.events:
        estate.learn_into(parcel.gateway, event, event.at or 0)


def learn(estate: Estate, deliveries: Sequence[Delivery]) -> Report:
    """Sort deliveries of any partitions and learn them at once: what a process does that keeps nothing."""
    whole = Report()
    for partition in sorted({delivery.partition for delivery in deliveries}):
        parcels, report = sort([delivery for delivery in deliveries if delivery.partition == partition])
        for parcel in parcels:
            take(estate, parcel)
            estate.read(partition, parcel.last, parcel.enqueued)
        whole.records += report.records
        whole.skipped += report.skipped
        whole.unread += report.unread
        whole.dead += report.dead
    return whole
