"""Ticked, what stands in memory, Report -> rows of IkeStreamHealth_CL; store -> the answer of the health endpoint.

The tick says every minute how far behind it is and what waits, from the store's own facts; a batch worker says what it
read, at once if something had to be put aside or a line of a new shape came, else once a minute. Its rows are best
effort: whatever an instance still holds when the platform takes it away is not told.

Nothing here holds a line of a log: of lines that nothing reads only the shape is told, which is the line masked and cut
(`grammar.mask`), the same that `diagnose` prints.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson

from ikestream import __version__, codec, columns
from ikestream.settings import Settings
from ikestream.stores import Put, Store, Unavailable
from ikestream.times import LEASE, MINUTE, SECOND, TICK
from ikestream.timestamps import iso

if TYPE_CHECKING:
    from ikestream.batch import Report
    from ikestream.estate import Estate, Scope
    from ikestream.incident import Row
    from ikestream.keeping import Pending
    from ikestream.monitor import Ticked

TABLE = columns.TABLE.with_name("IkeStreamHealth.json")
STREAM = "Custom-IkeStreamHealth_CL"
SCHEMA_VERSION = 1

EVERY = MINUTE
SLACK = TICK // 2
"""The timer is never exact: a row that is due within half a tick is written now."""

MOST_SHAPES = 10
"""Shapes in one row; a batch can have as many as it has lines."""
MOST_KNOWN_SHAPES = 1_000
MOST_GATEWAYS = 200
"""Gateways in one row, the longest silent: a value of a row has 64 KB."""
MOST_TROUBLE = 1_000
"""Characters of what went wrong."""
MOST_LOGGED = 30_000
"""Characters of a log record: Application Insights cuts at 32,768."""

HEALTH, LATEST = "health", "latest"
"""Where the last row of the tick is kept, for the endpoint: instances share nothing but the store."""
SILENT_AFTER = 5 * MINUTE
LATE_AFTER = 15 * MINUTE
"""As the alert rules have it (`infra/queries/alerts/lagging.kql`)."""
PATIENCE = 10.0
"""Seconds for the store to answer in: a probe waits no longer."""

_LOG = logging.getLogger("ikestream.health")


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes: one worker of one app in one region."""

    instance: str
    app: str = ""
    region: str = ""


def writer(settings: Settings, instance: str) -> Writer:
    """Return the worker `instance` of the app that the settings are of."""
    return Writer(instance, settings.app_name, settings.region)


def required() -> tuple[str, ...]:
    """Return the columns that a row keeps if the table does not take it whole: all but the lists."""
    return tuple(name for name, kind in columns.types(TABLE).items() if kind != "dynamic")


# --- the tick -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Standing:
    """What the tick knows, in numbers. Times in ms; `dropped` and `late` count from when a gateway was first known."""

    reached: Mapping[str, int] = field(default_factory=dict)  # partition -> up to when all of it has been read
    read: Mapping[str, int] = field(default_factory=dict)  # partition -> last sequence number read
    outbox: int = 0
    oldest: str | None = None  # when the oldest row of the outbox was told
    heard: Mapping[str, int] = field(default_factory=dict)  # gateway -> its last event
    tunnels: int = 0
    incidents: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)  # gateway -> facts dropped at a bound
    late: Mapping[str, int] = field(default_factory=dict)  # gateway -> records that came too late


def stand(estate: Estate, outbox: Mapping[Scope, Sequence[Pending]]) -> Standing:
    """Return what stands after a tick. Looks at every tunnel: for once a minute, not for every tick."""
    heard: dict[str, int] = {}
    dropped: dict[str, int] = {}
    late: dict[str, int] = {}
    tunnels = 0
    for key, gateway in estate.gateways.items():
        times = [tunnel.last_seen for tunnel in gateway.tunnels.values()]
        times += [event.at or 0 for event in gateway.marks.values()]
        heard[key] = max(times, default=0)
        dropped[key] = gateway.evicted + sum(tunnel.thinned for tunnel in gateway.tunnels.values())
        late[key] = sum(tunnel.late for tunnel in gateway.tunnels.values())
        tunnels += sum(remote not in gateway.strangers for remote in gateway.tunnels)
    told = [told for scope in estate.scopes() for told in estate.ledger(scope).told]
    waiting = [pending.posting.row["TimeGenerated"] for rows in outbox.values() for pending in rows]
    return Standing(
        reached=dict(estate.reached),
        read={partition: seen.sequence_number for partition, seen in estate.partitions.items()},
        outbox=len(waiting),
        oldest=min(waiting, default=None),  # all of them written by `iso`: their order is that of time
        heard=heard,
        tunnels=tunnels,
        incidents=sum(not one.closed for one in told),
        dropped=dropped,
        late=late,
    )


@dataclass(slots=True)
class Span:
    """What the ticks since the last row saw."""

    ticks: int = 0
    events: int = 0
    told: int = 0
    delivered: int = 0
    refused: int = 0
    lost_races: int = 0
    longest: float = 0.0  # s
    left: int = 0
    heads: Mapping[str, int] = field(default_factory=dict)
    unseen: int = 0
    parked: Mapping[str, int] = field(default_factory=dict)
    inventory_at: int | None = None
    trouble: dict[str, None] = field(default_factory=dict)

    def add(self, ticked: Ticked, seconds: float) -> None:
        """Count one tick."""
        self.ticks += 1
        self.events += ticked.events
        self.told += ticked.told
        self.delivered += ticked.delivered
        self.refused += ticked.refused
        self.lost_races += ticked.lost_races
        self.longest = max(self.longest, seconds)
        self.trouble |= dict.fromkeys(ticked.trouble)


class Minutes:
    """The rows of one worker's ticks: hand every tick to `note`, write the row it returns once a minute.

    A worker whose turn it is not writes none, but for what went wrong: that nobody can tick must not be silence. What
    stood when it last knew is then told as it was, and how far behind that is by now.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._written = 0  # ms
        self._span = Span()
        self._standing: Standing | None = None
        self._before: Standing | None = None  # as the last row had it

    def note(
        self, ticked: Ticked, estate: Estate, outbox: Mapping[Scope, Sequence[Pending]], now: int, seconds: float
    ) -> Row | None:
        """Return the row to write, None if it is not time. `now` is after the tick (ms), which took `seconds`."""
        if not (ticked.held or ticked.trouble or ticked.lost_races):
            self._span, self._standing, self._before = Span(), None, None
            return None
        span = self._span
        span.add(ticked, seconds)
        # A tick that lost the lease or the store has forgotten everything: what it knew before still stands.
        knows = ticked.held and bool(estate.reached or estate.gateways)
        if knows:
            span.left, span.parked, span.inventory_at = ticked.left, ticked.parked, ticked.inventory_at
            if ticked.heads:
                span.heads, span.unseen = ticked.heads, len(ticked.unseen)
        if now < self._written + EVERY - SLACK:
            return None
        if knows:
            self._standing = stand(estate, outbox)
        row = tick_row(span, self._standing, self._before, self._writer, now)
        self._written, self._before = now, self._standing
        self._span = Span(
            left=span.left,
            heads=span.heads,
            unseen=span.unseen,
            parked=span.parked,
            inventory_at=span.inventory_at,
        )
        return row


def tick_row(span: Span, standing: Standing | None, before: Standing | None, writer: Writer, now: int) -> Row:
    """Return the row of the ticks in `span`. `standing` is None if nothing was ever known, `before` is the last row's."""
    row = _row("Tick", writer, now) | {
        "Inbox": span.left,
        "Waiting": span.unseen,
        "Parked": [{"Gateway": key, "Since": iso(since)} for key, since in sorted(span.parked.items())],
        "Records": span.events,
        "DeadLetters": span.refused,
        "LostRaces": span.lost_races,
        "Told": span.told,
        "Delivered": span.delivered,
        "InventoryAt": iso(span.inventory_at) if span.inventory_at is not None else None,
        "TickSeconds": round(span.longest, 3),
        "Trouble": _trouble(span.trouble),
    }
    if standing is None:
        return row
    reached = min(standing.reached.values(), default=None)
    silent = sorted(standing.heard.items(), key=lambda item: (item[1], item[0]))[:MOST_GATEWAYS]
    return row | {
        "WatermarkAt": iso(reached) if reached is not None else None,
        "LagSeconds": _seconds(now, reached) if reached is not None else None,
        "Partitions": [
            {
                "Partition": partition,
                "LagSeconds": _seconds(now, at),
                "Unread": max(span.heads[partition] - standing.read.get(partition, -1), 0)
                if partition in span.heads
                else None,
            }
            for partition, at in sorted(standing.reached.items())
        ],
        "Outbox": standing.outbox,
        "OldestUndelivered": standing.oldest,
        "Gateways": [{"Gateway": key, "LastEvent": iso(at)} for key, at in silent],
        "BoundsReached": _grown(standing.dropped, before.dropped) if before else 0,
        "TooLate": _grown(standing.late, before.late) if before else 0,
        "TrackedTunnels": standing.tunnels,
        "OpenIncidents": standing.incidents,
    }


def _seconds(now: int, at: int) -> float:
    return max(now - at, 0) / SECOND


def _grown(counts: Mapping[str, int], before: Mapping[str, int]) -> int:
    return sum(max(count - before.get(key, 0), 0) for key, count in counts.items())


def _trouble(lines: Mapping[str, None]) -> str | None:
    return "; ".join(lines)[:MOST_TROUBLE] or None


def _row(kind: str, writer: Writer, now: int) -> Row:
    return dict.fromkeys(columns.types(TABLE)) | {
        "TimeGenerated": iso(now),
        "Kind": kind,
        "AppName": writer.app,
        "Region": writer.region,
        "Instance": writer.instance,
        "Version": __version__,
        "SchemaVersion": SCHEMA_VERSION,
    }


# --- batches ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Tally:
    """What the batches since the last row held."""

    bodies: int = 0
    records: int = 0
    dead: int = 0
    cut: int = 0  # of the dead letters, those that did not fit whole
    skipped: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)

    def add(self, report: Report, bodies: int, cut: int) -> None:
        """Count one batch."""
        self.bodies += bodies
        self.records += report.records
        self.dead += len(report.dead)
        self.cut += cut
        self.skipped += report.skipped
        self.unread += report.unread


class Batches:
    """The rows of one worker's batches: hand every batch to `note`, write the row it returns."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._written = 0  # ms
        self._tally = Tally()
        self._shapes: set[str] = set()

    def note(self, report: Report, bodies: int, now: int, cut: int = 0) -> Row | None:
        """Return the row to write, None if it is not time.

        It is time once a minute, and at once when something was put aside or a line of a new shape came: after the last
        batch of a burst nobody calls any more, and that must not wait for the next.
        """
        self._tally.add(report, bodies, cut)
        new = report.unread.keys() - self._shapes
        self._shapes |= set(sorted(new)[: MOST_KNOWN_SHAPES - len(self._shapes)])
        novel = bool(new & self._shapes)
        if not (report.dead or novel) and now < self._written + EVERY:
            return None
        row = batch_row(self._tally, self._writer, now)
        self._written, self._tally = now, Tally()
        return row


def batch_row(tally: Tally, writer: Writer, now: int) -> Row:
    """Return the row of the batches in `tally`."""
    shapes = sorted(tally.unread.items(), key=lambda item: (-item[1], item[0]))[:MOST_SHAPES]
    return _row("Batch", writer, now) | {
        "Events": tally.bodies,
        "Records": tally.records,
        "Skipped": dict(sorted(tally.skipped.items())),
        "Unread": tally.unread.total(),
        "UnreadShapes": [{"Shape": shape, "Lines": lines} for shape, lines in shapes],
        "DeadLetters": tally.dead,
        "Trouble": f"{tally.cut} of the dead letters did not fit whole and were cut" if tally.cut else None,
    }


# --- the log ------------------------------------------------------------------------------------------------------


def log(rows: Sequence[Row]) -> None:
    """Write each row as one record of the log, `health {...}`, a warning if something is wrong.

    The worker forwards a record's message, level and logger and nothing else: what `extra` holds never reaches
    Application Insights. So the row is in the message, as JSON, where `parse_json(substring(message, 7))` finds it.
    orjson escapes control characters: no text can forge a line.
    """
    for row in rows:
        said = {name: value for name, value in row.items() if value not in (None, [], {})}
        text = orjson.dumps(said).decode()
        if len(text) > MOST_LOGGED:
            text = orjson.dumps({name: v for name, v in said.items() if not isinstance(v, (list, dict))}).decode()
        wrong = any(row[name] for name in ("Trouble", "Parked", "DeadLetters", "Unread"))
        _LOG.log(logging.WARNING if wrong else logging.INFO, "health %s", text)


# --- the endpoint -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Latest:
    """The last row of the tick, as far as the endpoint shows it."""

    lag_from: int | None = None  # ms up to which everything had been read
    oldest: str | None = None
    outbox: int = 0
    parked: int = 0
    incidents: int = 0


async def keep(store: Store, row: Row) -> None:
    """Keep the last row of the tick for the endpoint. Raises `Unavailable`."""
    if row["Outbox"] is None:  # nothing is known: what was kept before still stands
        return
    latest = Latest(
        _instant(row["WatermarkAt"]), row["OldestUndelivered"], row["Outbox"], len(row["Parked"]), row["OpenIncidents"]
    )  # fmt: skip
    await store.write(HEALTH, [Put(LATEST, codec.pack(latest, Latest))])


async def check(store: Store, now: int) -> tuple[int, dict[str, Any]]:
    """Return the status and the body of the health endpoint at `now` (ms): 200, or 503 with the reasons.

    Anybody may ask, so that it holds numbers and times only, no name, no address and no text of an error.
    """
    from ikestream.monitor import TICK as ROW
    from ikestream.monitor import TickState

    body: dict[str, Any] = {"status": "unhealthy", "version": __version__, "reasons": []}
    reasons: list[str] = body["reasons"]
    try:
        async with asyncio.timeout(PATIENCE):
            state = await _read(store, ROW, TickState)
            latest = await _read(store, HEALTH, Latest) or Latest()
    except (Unavailable, TimeoutError):
        reasons.append("the store cannot be read")
        return 503, body
    except codec.BadState:
        reasons.append("the store holds what this version cannot read")
        return 503, body
    if state is None:
        reasons.append("nothing has ticked yet")
        return 503, body
    ticked = state.until - LEASE
    body |= {
        "lastTick": iso(ticked),
        "lagSeconds": _seconds(now, latest.lag_from) if latest.lag_from is not None else None,
        "undelivered": latest.outbox,
        "oldestUndelivered": latest.oldest,
        "parkedGateways": latest.parked,
        "openIncidents": latest.incidents,
    }
    oldest = _instant(latest.oldest)
    if now - ticked > SILENT_AFTER:
        reasons.append(f"no tick for {(now - ticked) // MINUTE} minutes")
    if latest.lag_from is None:
        reasons.append("nothing has been judged yet: the event hub was never read, or cannot be asked how far it is")
    elif now - latest.lag_from > LATE_AFTER:
        reasons.append(f"what is judged is {(now - latest.lag_from) // MINUTE} minutes old")
    if oldest is not None and now - oldest > LATE_AFTER:
        reasons.append(f"rows have waited for {(now - oldest) // MINUTE} minutes to be delivered")
    if reasons:
        return 503, body
    return 200, body | {"status": "healthy"}


async def _read(store: Store, partition: str, hint: type[Any]) -> Any:
    async for document in store.read(partition, 1):
        return codec.unpack(document.body, hint)
    return None


def _instant(text: str | None) -> int | None:
    return None if text is None else round(datetime.fromisoformat(text).timestamp() * 1000)
