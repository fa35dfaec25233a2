"""`python -m ikestream redrive`: dead letters -> the hub they came from, for a version that can read them.

Reads the dead-letter hub once, from its beginning (or behind `--after`) to what was its end when the command began, so
that what comes back while it runs is not sent again. It keeps nothing: it prints how far it read, and `--after` goes on
there. Learning is idempotent; what is sent twice changes nothing.

Never sent are rows (no gateway wrote them), bodies that were cut, and those that do not say where they came from.
"""

from __future__ import annotations

import argparse
import asyncio
import zlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from ikestream import dead_letters
from ikestream.arguments import Help, instant
from ikestream.hubs import Failed, Hubs, add_sign_in, read_connection_string, reason
from ikestream.terminal import Screen, plain
from ikestream.timestamps import iso

if TYPE_CHECKING:
    from azure.eventhub import EventData
    from azure.eventhub.aio import EventHubConsumerClient, PartitionContext

OK, UNREADABLE = 0, 2

PATIENCE = 60.0
"""Seconds without a single event before the hub counts as gone."""

AHEAD = 4
"""Batches read ahead of what is sent."""

MOST_UNPACKED = 1_048_576
"""Bytes of a body that was packed: it came from an event, and no event is larger."""

MAX_LINE = 1_000
"""Characters of a line that lists a letter."""

EXAMPLES = """\
examples:
  python -m ikestream redrive --namespace contoso.servicebus.windows.net --dry-run
  python -m ikestream redrive --namespace contoso.servicebus.windows.net --reason gzip --since 2026-11-23
  python -m ikestream redrive --connection-string-file hub.txt --to vpn-logs --after 0:1041
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of the hub is to be read, and which of that is to be sent. Times in ms; `after` by partition."""

    namespace: str
    connection_string: str
    source: str
    consumer_group: str
    to: str = ""
    reason: str = ""
    since: int | None = None
    until: int | None = None
    after: dict[str, int] = field(default_factory=dict)
    dry_run: bool = False

    def fits(self, letter: Letter) -> bool:
        """Whether the filters let it through."""
        return (
            self.reason.lower() in letter.reason.lower()
            and (self.since is None or letter.at >= self.since)
            and (self.until is None or letter.at < self.until)
        )


@dataclass(frozen=True, slots=True)
class Letter:
    """One dead letter: where it stands, when it was put aside (ms), and what is known of it."""

    partition: str
    offset: str
    sequence_number: int
    at: int
    body: bytes
    kind: str = ""
    reason: str = ""
    source: str = ""  # the hub that it came from
    place: str = ""  # partition and sequence number there
    packed: bool = False
    cut: bool = False


@dataclass(slots=True)
class Span:
    """How far a partition was read: the first and the last letter, and how many were read, sent, and left where they are."""

    first: Letter
    last: Letter
    counts: Counter[str] = field(default_factory=Counter)


def add_command(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "redrive",
        help="send what was put aside back to the event hub",
        description="Sends the bodies in the dead-letter hub back to the event hub they came from.",
        epilog=EXAMPLES,
        formatter_class=Help,
    )
    add_sign_in(parser, required=True)
    parser.add_argument("--from", dest="source", default="dead-letters", metavar="HUB", help="(default: dead-letters)")
    parser.add_argument("--to", default="", metavar="HUB", help="the hub to send to (default: each body's own)")
    parser.add_argument("--consumer-group", default="$Default", metavar="NAME", help="(default: $Default)")
    parser.add_argument("--reason", default="", metavar="TEXT", help="only letters whose reason holds this text")
    parser.add_argument("--since", type=instant, metavar="TIME", help="only letters put aside from this time on, UTC")
    parser.add_argument("--until", type=instant, metavar="TIME", help="only letters put aside before this time")
    parser.add_argument(
        "--after",
        type=_place,
        action="append",
        default=[],
        metavar="PARTITION:NUMBER",
        help="only what stands behind this sequence number, as an earlier run printed it; may be repeated",
    )
    parser.add_argument("--dry-run", action="store_true", help="list the letters, send nothing")
    parser.set_defaults(run=run)


def _place(text: str) -> tuple[str, int]:
    partition, _, number = text.strip().rpartition(":")
    if not partition.isdecimal() or not number.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a partition and a sequence number such as 0:1041")
    return partition, int(number)


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit status: 0, or 2 with one line if a hub cannot be read or sent to."""
    errors, out = Screen(stderr=True), Screen()
    try:
        connection_string = read_connection_string(options)
        wanted = Wanted(
            options.namespace, connection_string, options.source, options.consumer_group, options.to, options.reason,
            options.since, options.until, dict(options.after), options.dry_run,
        )  # fmt: skip
        asyncio.run(redrive(wanted, out))
    except Failed as failed:
        errors.print(plain(f"redrive: {failed}"), markup=False, soft_wrap=True)
        return UNREADABLE
    return OK


async def redrive(wanted: Wanted, out: Screen) -> dict[str, Span]:
    """Read, list and send; print how far that went, whatever ends it. Raises `Failed`."""
    if wanted.to.lower() == wanted.source.lower():
        raise Failed("--to must be another event hub than --from")
    try:
        from azure.core.exceptions import AzureError
        from azure.eventhub.exceptions import EventHubError
    except ModuleNotFoundError:
        raise Failed("the Event Hubs SDK is not installed: pip install -r requirements.txt") from None

    spans: dict[str, Span] = {}
    try:
        async with AsyncExitStack() as opened:
            hubs = Hubs(wanted.namespace, wanted.connection_string)
            reader = await hubs.reader(opened, wanted.source, wanted.consumer_group)
            async for batch in _batches(wanted, reader):
                await _handle(batch, wanted, hubs, opened, spans, out)
    except BrokenPipeError:  # whoever reads our output has gone: no hub is to blame
        raise
    except (AzureError, EventHubError, OSError, TimeoutError, ValueError) as failed:
        raise Failed(_reason(failed)) from None
    finally:
        _summary(spans, out)
    if not spans:
        out.print(plain(f"Nothing to read in {wanted.source}."), markup=False, soft_wrap=True)
    return spans


async def _handle(
    batch: list[Letter], wanted: Wanted, hubs: Hubs, opened: AsyncExitStack, spans: dict[str, Span], out: Screen
) -> None:
    """Send what of a batch of one partition is to be sent; only then does it count as read."""
    sending: dict[str, list[bytes]] = {}
    counts: Counter[str] = Counter(read=len(batch))
    for letter in batch:
        if not wanted.fits(letter):
            counts["not asked for"] += 1
            continue
        body, left = _unpacked(letter)
        left = left or _unsendable(letter, wanted)
        if left or wanted.dry_run:
            _list(letter, left, out)
        if left:
            counts[left] += 1
        else:
            counts["would be sent" if wanted.dry_run else "sent"] += 1
            sending.setdefault(wanted.to or letter.source, []).append(body)
    if not wanted.dry_run:
        for hub, found in sending.items():
            await hubs.send(opened, hub, found)
    span = spans.setdefault(batch[0].partition, Span(batch[0], batch[-1]))
    span.last = batch[-1]
    span.counts += counts


def _unpacked(letter: Letter) -> tuple[bytes, str]:
    if not letter.packed:
        return letter.body, ""
    unpacking = zlib.decompressobj(wbits=31)
    try:
        body = unpacking.decompress(letter.body, MOST_UNPACKED)
    except zlib.error:
        return b"", "damaged"
    return (body, "") if unpacking.eof else (b"", "damaged")


def _unsendable(letter: Letter, wanted: Wanted) -> str:
    """Why a letter is not sent back, '' if it is."""
    if letter.kind == dead_letters.ROW:
        return "a row"
    if letter.kind == dead_letters.PARCEL:
        return "a document of the store"
    if letter.kind not in (dead_letters.BODY, dead_letters.RECORDS):
        return "not put aside by ikestream"
    if letter.cut:
        return "cut"
    if not (wanted.to or letter.source):
        return "of an unknown hub"
    if not wanted.to and letter.source.lower() == wanted.source.lower():
        return "of this hub itself"
    return ""


# --- letters ---------------------------------------------------------------------------------------------------------


async def _batches(wanted: Wanted, client: EventHubConsumerClient) -> AsyncIterator[list[Letter]]:
    """Yield the letters of each partition, from where it is to be read to what is its end now."""
    ends: dict[str, int] = {}
    for partition in sorted(await client.get_partition_ids()):
        properties = await client.get_partition_properties(partition)
        ends[partition] = -1 if properties["is_empty"] else int(properties["last_enqueued_sequence_number"])
    for partition, end in ends.items():
        after = wanted.after.get(partition, -1)
        if end > after:
            async for batch in _read(client, partition, after, end):
                yield batch


async def _read(client: EventHubConsumerClient, partition: str, after: int, end: int) -> AsyncIterator[list[Letter]]:
    """Yield the letters of a partition behind `after` up to `end`, both sequence numbers."""
    # What the SDK's callback raises it swallows, and reads again: it only hands over.
    found: asyncio.Queue[list[EventData] | Exception] = asyncio.Queue(AHEAD)

    async def take(_context: PartitionContext, events: list[EventData]) -> None:
        await found.put(events)

    async def give_up(_context: PartitionContext | None, failed: Exception) -> None:
        await found.put(failed)

    reading = asyncio.create_task(
        client.receive_batch(
            take,
            partition_id=partition,
            starting_position=after if after >= 0 else "-1",
            on_error=give_up,
            max_wait_time=None,
        )
    )
    try:
        while True:
            async with asyncio.timeout(PATIENCE):
                events = await found.get()
            if isinstance(events, Exception):
                raise events
            batch = [letter for event in events if (letter := _letter(partition, event)).sequence_number <= end]
            if batch:
                yield batch
            if events and int(events[-1].sequence_number or 0) >= end:
                return
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


def _letter(partition: str, event: EventData) -> Letter:
    said = {_text(name): value for name, value in (event.properties or {}).items()}
    body = event.body if isinstance(event.body, bytes) else b"".join(event.body)  # type: ignore[arg-type]
    return Letter(
        partition=partition,
        offset=str(event.offset),
        sequence_number=int(event.sequence_number or 0),
        at=int(event.enqueued_time.timestamp() * 1000) if event.enqueued_time else 0,
        body=body,
        kind=_text(said.get("kind", "")),
        reason=_text(said.get("reason", "")),
        source=_text(said.get("sourceHub", "")),
        place=f"{_text(said.get('partition', ''))}:{_text(said.get('sequenceNumber', ''))}",
        packed=_text(said.get("encoding", "")) == "gzip",
        cut=bool(said.get("cut")),
    )


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


# --- what is printed ----------------------------------------------------------------------------------------------


def _list(letter: Letter, left: str, out: Screen) -> None:
    """Print one letter: where it stands, when it was put aside, what it is and why, and why it stays if it does."""
    of = f" from {letter.source} {letter.place}" if letter.source and letter.place != ":0" else ""
    line = (
        f"{letter.partition}:{letter.sequence_number} offset {letter.offset}  {iso(letter.at)}  "
        f"{letter.kind or 'unknown'}{of}, {len(letter.body):,} bytes: {letter.reason}"
    )
    if letter.kind == dead_letters.ROW:
        line += f" ({_incident(letter.body)})"
    if left:
        line += f" - not sent: {left}"
    out.print(plain(line[:MAX_LINE]), markup=False, soft_wrap=True)


def _incident(body: bytes) -> str:
    try:
        row = orjson.loads(body)
        return f"incident {str(row['IncidentId'])[:40]} revision {int(row['Revision'])}"
    except (ValueError, TypeError, KeyError):
        return "no row that this version knows"


def _summary(spans: dict[str, Span], out: Screen) -> None:
    """Print how far each partition was read, and the option that goes on there."""
    for partition, span in sorted(spans.items()):
        first, last = span.first, span.last
        counts = ", ".join(f"{count} {what}" for what, count in span.counts.items())
        out.print(
            plain(
                f"partition {partition}: offsets {first.offset} to {last.offset}, sequence numbers "
                f"{first.sequence_number} to {last.sequence_number}: {counts}. "
                f"To go on behind them: --after {partition}:{last.sequence_number}"
            ),
            markup=False,
            soft_wrap=True,
        )


def _reason(failed: Exception) -> str:
    return f"nothing came from the hub for {PATIENCE:g} s" if isinstance(failed, TimeoutError) else reason(failed)
