"""Message lines -> Records: reads bare IKE logs such as Network Watcher's IkeLogs.txt, with or without times."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ikestream.events import Category, Record
from ikestream.formats.clock import DateOrder
from ikestream.formats.problem import Tally
from ikestream.formats.text import lines
from ikestream.timestamps import milliseconds

LINE_LIMIT = 1024 * 1024

PATIENCE = 10_000
"""Lines kept back until the first one that looks like an IKE log shows that the file is one."""

_LEAD = re.compile(
    r"\s*\[?\s*(?P<time>(?:\d{4}-\d\d-\d\d(?:T|,?\s{1,3})|\d{4}/\d{1,2}/\d{1,2},?\s{1,3}|\d{1,2}[/.-]\d{1,2}[/.-]\d{4},?\s{1,3})\d{1,2}:[\d:.,]*"
    r"(?:[\s\u202f\u00a0]?[AP]\.?M\b\.?)?(?:\s?(?:Z|UTC|GMT|[+-]\d\d:?\d\d)\b)?)(?:\s*\]\s*[-,;|:]?\s*|\s*[-,;|:]?(?:\s+|(?=\[)|$))",
    re.ASCII | re.IGNORECASE,
)

# Words of Azure's own lines (facts: prefix, tags, body vocabulary); prose about VPNs has none of them at its start.
_LIKE = re.compile(
    r"\s*\"?(?:SESSION_ID\s*:|Remote\s+\S+:\d+:"
    r"|\[(?:SEND|RECEIVED?|RECV|LOCAL(?:_MSG)?|SA_INIT|SA_AUTH|NOTIFY|MSG|ErrorCode|ErrorMessage|IkeEvent)\b"
    r"|Ike[A-Z]\w+\s|IKE Tunnel |(?:Sending|Received|Receiving) (?:IKE|SA|MM|IPSec|Notify|Traffic Selector)\b"
    r"|Proposed ?(?:\(send\) ?)?Traffic Selector|Error: .{0,200}(?:device|shared key|crypto|IKE|IPSec)"
    r"|.{0,200}\b(?:Windows error 1\d{3,4}|ERROR_IPSEC_))",
    re.IGNORECASE,
)

# What stands inside a list of proposals or selectors, and never at the start of a message.
_INSIDE = re.compile(
    r"\s*(?:Policy\s?\d+\s*:|(?:Cipher|Integrity|DhGroup)\s*=|StartAddress\s|Number of TS[IR]s\s)", re.IGNORECASE
)


def looks_alike(line: str) -> bool:
    """Tell whether a line, with or without a time before it, is one of an IKE log."""
    lead = _LEAD.match(line)
    return _LIKE.match(line, lead.end() if lead else 0) is not None


def comment(line: str) -> bool:
    """Tell whether a line says nothing: blank, or a `//` or `#` comment."""
    text = line.lstrip()
    return not text or text.startswith(("//", "#"))


def messages(pieces: Iterator[bytes], gateway: str, dates: DateOrder, tally: Tally) -> Iterator[Record]:
    """Yield one IKE Record per message; `at` is None where no time stands before it.

    A message is a line, and those after it that can only go on with its list of proposals or selectors.

    A text of which no line looks like an IKE log yields nothing, and the tally says so.
    """
    waiting: list[Record] = []
    alike = False
    for number, line in _whole(pieces):
        found = _message(line, gateway, dates, number, tally)
        if not alike:
            waiting.append(found)
            alike = _LIKE.match(found.message) is not None
            if alike:
                yield from waiting
                waiting = []
            elif len(waiting) > PATIENCE:
                break
        else:
            yield found
    tally.unlike = len(waiting)


def _whole(pieces: Iterator[bytes]) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line that says something, with the lines that go on with it."""
    first, size = 0, 0
    parts: list[str] = []
    for number, raw in enumerate(lines(pieces, LINE_LIMIT), start=1):
        line = raw.decode("utf-8", "replace").lstrip("\ufeff")  # files put together keep their byte order marks
        if comment(line):
            continue
        if parts and size + len(line) <= LINE_LIMIT and _INSIDE.match(line):
            parts.append(line)
            size += len(line)
            continue
        if parts:
            yield first, "\n".join(parts)
        first, parts, size = number, [line], len(line)
    if parts:
        yield first, "\n".join(parts)


def _message(line: str, gateway: str, dates: DateOrder, number: int, tally: Tally) -> Record:
    lead = _LEAD.match(line)
    at = None
    if lead is not None:
        time = lead["time"].rstrip(",.:;")
        if not dates.see(time):
            tally.notes.append((f"line {number}", DateOrder.DOUBT))
        at = milliseconds(time, day_first=dates.day_first)
    message = (line if at is None or lead is None else line[lead.end() :]).strip()
    if len(message) > 1 and message[0] == message[-1] == '"':  # one cell of a sheet, or a CSV without its header
        message = message[1:-1].replace('""', '"').strip()
    return Record(at, gateway, Category.IKE, "", "", message)
