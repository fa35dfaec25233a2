"""Records -> lines: the seed's own query as a command. What it narrows down by, and the order it sorts in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from ikestream.events import Category, IkeEvent, Record
from ikestream.formats import in_order
from ikestream.grammar import body, read
from ikestream.timestamps import iso

Line: TypeAlias = dict[str, str | None]
"""Time (null where the log has none), Instance, SessionId, RemoteIP, LocalIP, Direction, Message."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What to keep. Times are ms, `since` included, `until` excluded; texts that are empty keep everything.

    `instance` matches the whole name or the digit at its end, as the seed's GWIN does, `session` the beginning of the id. A line without a time
    is kept only where no time range is asked for.
    """

    since: int | None = None
    until: int | None = None
    remote: str = ""
    instance: str = ""
    session: str = ""
    siblings: bool = False  # the Tunnel, Gateway, Route and P2S logs too

    def keep(self, event: IkeEvent) -> bool:
        """Whether `event` is wanted."""
        if event.category is not Category.IKE and not self.siblings:
            return False
        if self.since is not None and (event.at is None or event.at < self.since):
            return False
        if self.until is not None and (event.at is None or event.at >= self.until):
            return False
        if self.remote and event.remote != self.remote:
            return False
        if self.session and not event.session.startswith(self.session):
            return False
        return not self.instance or self.instance in (event.instance, event.instance[-1:])


def select(
    records: Iterable[Record], wanted: Filter, count: Callable[[IkeEvent], None], *, newest_first: bool
) -> Iterator[Line]:
    """Yield the wanted lines, sorted by time, in bounded memory; lines without a time follow in the order given."""

    def kept() -> Iterator[Record]:
        for record in records:
            event = read(record)
            count(event)
            if wanted.keep(event):
                # The sort is ascending: turned around, time runs backwards.
                at = record.at
                yield record if at is None or not newest_first else replace(record, at=-at)

    with in_order(kept()) as saved:
        for record in saved.timed():
            yield _line(read(replace(record, at=-(record.at or 0)) if newest_first else record))
        for record in saved.clockless():
            yield _line(read(record))


def _line(event: IkeEvent) -> Line:
    return {
        "Time": None if event.at is None else iso(event.at),
        "Instance": event.instance or None,
        "SessionId": event.session or None,
        "RemoteIP": event.remote or None,
        "LocalIP": event.local or None,
        "Direction": event.direction.value or None,
        "Message": _message(event),
    }


def _message(event: IkeEvent) -> str:
    if event.category is Category.IKE:
        return body(event.message)
    # The other logs say most with their operation and fields.
    return " ".join(part for part in (event.name or event.kind.value, event.text, event.message) if part)
