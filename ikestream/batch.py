"""One batch of hub bodies -> what is learned. Nothing is concluded or told here: that is the tick's.

A body that cannot be decoded is a dead letter, alone; the others of its batch are learned.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from ikestream.envelope import BadEnvelope, decode
from ikestream.estate import Estate
from ikestream.events import Kind
from ikestream.grammar import read
from ikestream.times import FUTURE_TOLERANCE


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


def learn(store: Estate, deliveries: Iterable[Delivery]) -> Report:
    """Learn everything in `deliveries`, in any order and however often they come."""
    report = Report()
    for delivery in deliveries:
        try:
            body = decode(delivery.body)
        except BadEnvelope as bad:
            report.dead.append(DeadLetter(delivery, bad.reason))
            store.read(delivery.partition, delivery.sequence_number, delivery.enqueued)
            continue
        for reason, count in body.skipped.items():
            report.skipped[str(reason)] += count
        for record in body.records:
            event = read(record)
            if event.kind is Kind.UNREAD:
                report.unread[event.shape] += 1
            # Clocks differ: a time from the future counts as the time the hub took it, else one record could
            # hold back every conclusion.
            at = event.at
            if at is None or at > delivery.enqueued + FUTURE_TOLERANCE:
                event = replace(event, at=delivery.enqueued)
            report.records += 1
            store.learn(event, due=event.at or 0)
        store.read(delivery.partition, delivery.sequence_number, delivery.enqueued)
    return report
