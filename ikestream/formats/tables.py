"""CSV text -> rows: reads what the portal and PowerShell export from a log query."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass

from ikestream.envelope import Skip, row
from ikestream.events import Record
from ikestream.formats.clock import DateOrder
from ikestream.formats.problem import Tally

FIELD_LIMIT = 1024 * 1024
"""Characters of one field. A message has at most 64 KB; a quote that is never closed must not swallow the file."""

_KNOWN = frozenset(
    (
        "timegenerated",
        "time",
        "category",
        "operationname",
        "level",
        "message",
        "resource",
        "resourceid",
        "_resourceid",
        "resourcegroup",
        "resourcetype",
        "subscriptionid",
        "instance_s",
        "remoteip_s",
        "status_s",
        "statechangereason_s",
        "gwin",
        "sessionid",
        "remoteip",
        "localip",
        "ikemessage",
        "event",
    )
)
_ALONE = frozenset({"message", "ikemessage"})
_ZONE = re.compile(r"\s*\[(?P<zone>[^\]]*)\]\s*$")


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a CSV file. `zone` is what the portal says about its times (`UTC`), '' if nothing."""

    delimiter: str
    names: tuple[str, ...]
    zone: str


def header(line: str) -> Header | None:
    """Return the columns a line names, or None if it is no header of a log query's result."""
    best: Header | None = None
    score = 0
    for delimiter in ",;\t":
        try:
            fields = next(csv.reader([line], delimiter=delimiter), [])
        except csv.Error:
            continue
        zones = [found["zone"] for name in fields if (found := _ZONE.search(name))]
        names = tuple(_ZONE.sub("", name).strip().lower() for name in fields)
        known = len(_KNOWN.intersection(names))
        if known > score and (known > 1 or (len(names) == 1 and names[0] in _ALONE)):
            best, score = Header(delimiter, names, zones[0].strip() if zones else ""), known
    return best


def rows(pieces: Iterator[bytes], head: Header, skip_lines: int, dates: DateOrder, tally: Tally) -> Iterator[Record]:
    """Yield the Records of a CSV file whose header stands behind `skip_lines` lines. What is broken is tallied."""
    if head.zone and head.zone.upper() not in ("UTC", "GMT", "UTC+00:00", "COORDINATED UNIVERSAL TIME"):
        name = "".join(char for char in head.zone[:40] if char.isprintable())
        tally.notes.append(("", f"Its times are exported as [{name}]; they were read as UTC. Set the portal to UTC."))
    timeless = not {"timegenerated", "time"}.intersection(head.names)
    clock = head.names.index("timegenerated" if "timegenerated" in head.names else "time") if not timeless else -1
    csv.field_size_limit(FIELD_LIMIT)  # of the process: Python's own 128 KiB is too near to a long message
    reader = csv.reader(_lines(pieces, skip_lines), delimiter=head.delimiter)
    while True:
        start = reader.line_num + skip_lines + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error:
            tally.break_line(start)
            continue
        if not any(fields) or start == skip_lines + 1 or _repeats(head, fields):
            continue
        if len(fields) > len(head.names):
            tally.break_line(start)  # a quote is missing or one too many: which column is which is not known
            continue
        if not timeless and len(fields) > clock and not dates.see(fields[clock]):
            tally.notes.append((f"line {start}", DateOrder.DOUBT))
        # An empty cell is an absent field, as null is in JSON.
        columns: dict[str, object] = {name: value for name, value in zip(head.names, fields, strict=False) if value}
        found = row(columns, day_first=dates.day_first, timeless=timeless)
        if isinstance(found, Skip):
            tally.skip(found, columns)
        else:
            yield found


def _repeats(head: Header, fields: list[str]) -> bool:
    """Whether this is the header again: files were put together."""
    if head.names[0] not in fields[0].lower():  # what is true of nearly every row, first
        return False
    return tuple(_ZONE.sub("", name.lstrip("\ufeff")).strip().lower() for name in fields) == head.names


def _lines(pieces: Iterator[bytes], skip_lines: int) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rest = ""
    for piece in pieces:
        found = (rest + decoder.decode(piece)).split("\n")
        rest = found.pop()
        for line in found:
            if skip_lines:
                skip_lines -= 1
            else:
                yield line + "\n"
        if len(rest) > FIELD_LIMIT:
            yield rest
            rest = ""
    if rest and not skip_lines:
        yield rest
