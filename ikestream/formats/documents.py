"""JSON text -> elements: reads one document per line, or one document of any size, in bounded memory.

Three rules. A line that is a document by itself is one: that is the fast way, and the only one most files need. What
is not (a document printed over many lines, or a list of a gigabyte on one line) is taken apart at its brackets, so that
no more than one record has to be in memory. And what is broken costs itself: reading goes on at the next line, or at
the next `,{`, and the line is reported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from enum import Enum

import orjson

from ikestream.envelope import expand, load

WHOLE = 4 * 1024 * 1024
"""Bytes of a document that is parsed in one piece. Larger ones are taken apart, larger records given up."""

PATIENCE = 4
"""How often the text may be scanned in vain for the end of a value, on average: keeps damaged files linear."""

# A string ends at a quote, never at a line's end: raw line ends in strings are no JSON, and a string that was cut off
# must not swallow the good lines after it. Nor must a record that was cut off between two strings: `torn` is a bracket
# that opens a line where JSON allows none, `next` one that JSON allows in lists only.
_TOKEN = re.compile(
    rb'(?:"(?:[^"\\\n]++|\\[^\n])*+(?P<closed>"?)|[\]}]|\w(?=[ \t\r]*+\n))(?:[ \t\r]*+\n\s*+(?=[\[{])(?P<torn>))?'
    rb"|\{(?:\s*+(?=[\[{])(?P<torn_open>))?|\[|(?P<next>,\s*+[\[{])"
)
_QUOTE, _OBJECT = b'"{'
_STRING = re.compile(rb'"(?:[^"\\\n]++|\\[^\n])*+"')
_SCALAR = re.compile(rb'[^\s,:"{}\[\]]+')
_BETWEEN = re.compile(rb"(?:[\s,\]}]|\xef\xbb\xbf)*+")  # files put together keep their byte order marks
_SPACE = re.compile(rb"\s*+")
_BLANK = re.compile(rb"[ \t]*+")
_NEXT = re.compile(rb"\n|,\s*(?=\{)")
_AFTER_OBJECT = re.compile(rb"\}\s*,\s*\{")
_AFTER_LIST = re.compile(rb"\]\s*,\s*\[")

_STREAMED = frozenset({"records", "tables", "rows", "value"})
"""Keys whose lists may be as long as a disk: hub bodies, query results, and the paged answers of Azure's REST API."""

_DEPTH = 8

_MISSES = 100
"""Wrong guesses at an element's end, beyond the right ones, after which a file is scanned: each looks far ahead."""

_FIELDS = 1000
"""Fields remembered of an object that does not fit in memory."""

Broken = Callable[[int], None]


class _Lost(Enum):
    CUT = "the text ends inside a value"
    LONG = "the value is larger than may be in memory"
    WRONG = "a string ends with its line"


class _Text:
    """The part of the stream that is not used up yet. `at` is where reading stands in `data`."""

    __slots__ = ("at", "counted", "data", "dropped", "ended", "line", "misses", "pieces", "vain")

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.pieces = pieces
        self.data = b""
        self.at = 0
        self.line = 1  # of data[counted]
        self.counted = 0
        self.misses = 0  # wrong guesses, see _MISSES
        self.vain = 0  # bytes scanned in vain, see PATIENCE
        self.dropped = 0  # bytes before data[0]
        self.ended = False

    def more(self) -> bool:
        """Append the next piece and let go of what is used up; False at the end of the stream."""
        if self.ended:
            return False
        piece = next(self.pieces, b"")
        while not piece:  # a decoder may have nothing to say yet
            try:
                piece = next(self.pieces)
            except StopIteration:
                self.ended = True
                return False
        self.here()
        self.dropped += self.at
        self.data = self.data[self.at :] + piece
        self.at = self.counted = 0
        return True

    def here(self, before: int = 0) -> int:
        """Return the number of this line, or of the one `before` bytes back."""
        place = self.at - before
        if place >= self.counted:  # from where was counted last: a line may be asked for at each of its records
            self.line += self.data.count(b"\n", self.counted, place)
            self.counted = place
            return self.line
        return self.line - self.data.count(b"\n", place, self.counted)

    def next_document(self) -> tuple[bool, bool]:
        """Move past what stands between documents; tell whether there is one, and whether a line begins before it."""
        line = self.at == 0 and self.line == 1
        while True:
            found = _BETWEEN.match(self.data, self.at)
            if found is not None:
                line = line or b"\n" in found[0]
                self.at = found.end()
            if self.at < len(self.data):
                return True, line
            if not self.more():
                return False, line

    def skip(self, what: re.Pattern[bytes]) -> bytes:
        """Move past what matches and return the byte that stands there, b'' at the end."""
        while True:
            found = what.match(self.data, self.at)
            if found is not None:
                self.at = found.end()
            if self.at < len(self.data):
                return self.data[self.at : self.at + 1]
            if not self.more():
                return b""

    def take(self, what: re.Pattern[bytes]) -> bytes | None:
        """Return what matches here and move past it; None where nothing does."""
        while True:
            found = what.match(self.data, self.at)
            # A match that touches the end may go on in the next piece, and so may a failure.
            if found is not None and found.end() < len(self.data):
                self.at = found.end()
                return found[0]
            if len(self.data) - self.at > WHOLE or not self.more():
                if found is not None:
                    self.at = found.end()
                    return found[0]
                return None

    def line_end(self) -> int:
        """Return where the line ends that begins here, -1 if it is too long to be one document."""
        start = self.at
        while True:
            end = self.data.find(b"\n", start)
            if end >= 0:
                return end
            if len(self.data) - self.at > WHOLE:
                return -1
            start = len(self.data) - self.at
            if not self.more():
                return len(self.data)

    def opens_line(self) -> bool:
        return not self.data[self.data.rfind(b"\n", 0, self.at) + 1 : self.at].strip()

    def indented(self) -> bool:
        return self.opens_line() and self.data[self.at - 1 : self.at] in (b" ", b"\t")

    def find_way(self, by_comma: bool) -> None:
        """Move to where the next record may begin: a new line, or an object behind a comma."""
        while True:
            found = _NEXT.search(self.data, self.at)
            while found is not None and not by_comma and found[0] != b"\n":
                found = _NEXT.search(self.data, found.end())
            if found is not None:
                self.at = found.end()
                return
            self.at = max(self.at, len(self.data) - 1)  # a comma at the end may have its bracket in the next piece
            if not self.more():
                self.at = len(self.data)
                return

    def patient(self) -> bool:
        """Tell whether another scan in vain would be in proportion to what was read so far."""
        return self.vain < PATIENCE * (WHOLE + self.dropped + self.at)

    def value_end(self) -> int | _Lost:
        """Return where the object or list ends that begins here."""
        if not self.patient():
            return _Lost.LONG
        end, ahead = self._scan()
        if isinstance(end, _Lost):
            self.vain += ahead
        return end

    def _scan(self) -> tuple[int | _Lost, int]:
        open_ones = bytearray()
        ahead = 0  # how far from `at` everything is scanned; `at` moves when more is read
        while True:
            data = self.data
            for token in _TOKEN.finditer(data, self.at + ahead):
                first, kind = data[token.start()], token.lastgroup
                if first == _QUOTE and not token["closed"]:
                    ahead = token.start() - self.at
                    if token.end() + 1 < len(data) or self.ended:
                        return (_Lost.WRONG if token.end() < len(data) else _Lost.CUT), ahead
                    break
                if first in b"[{":
                    open_ones.append(first)
                elif first in b"]}":
                    if (
                        not open_ones or open_ones.pop() + 2 != first
                    ):  # in ASCII `]` and `}` stand two after `[` and `{`
                        return _Lost.WRONG, token.end() - self.at
                    if not open_ones:
                        return token.start() + 1, 0
                elif kind == "next":
                    if open_ones[-1] == _OBJECT:
                        return _Lost.WRONG, token.end() - self.at
                    open_ones.append(data[token.end() - 1])
                if kind in ("torn", "torn_open"):
                    return _Lost.WRONG, token.end() - self.at
            else:
                ahead = len(data) - self.at
            if len(data) - self.at > WHOLE:
                return _Lost.LONG, ahead
            if not self.more():
                return _Lost.CUT, ahead


def elements(pieces: Iterator[bytes], broken: Broken) -> Iterator[object]:
    """Yield every element that should be a record, from JSON in UTF-8 of any layout and size.

    Lines of bodies or records, documents printed over many lines, lists, `{"records": [...]}` and the answer of a log
    query, `{"tables": [{"columns": [...], "rows": [...]}]}`, whose rows become objects. `broken` gets the number of
    each line (from 1) at which something had to be left out.
    """
    text = _Text(pieces)
    lost_once = False
    while True:
        more, begins = text.next_document()
        if not more:
            return
        # Only once per line: documents behind each other on one line would be scanned to its end again and again.
        end = text.line_end() if begins else -1
        if end >= 0:
            line = text.data[text.at : end].rstrip(b"\r ,")
            try:
                document: object = orjson.loads(line)
            except orjson.JSONDecodeError:
                pass
            else:
                text.at = end
                yield from _opened(document)
                continue
        here = text.here()
        if text.data[text.at] in b"{[":
            lost = yield from _value(text, 0, broken)
            if lost is None:
                continue
            broken(here)
            lost_once = True
            there = text.here()
            # What opens a line of its own is not part of the damage before it.
            if there == here or text.data[text.at : text.at + 1] not in (b"{", b"[") or not text.opens_line():
                text.find_way(text.patient())
        else:
            # The rest of a printed document that broke is indented; it was reported with its beginning.
            if not (lost_once and text.indented()):
                broken(here)
            text.find_way(False)


Step = Generator[object, None, _Lost | None]
"""Yields elements and returns None, or why the way was lost; then `at` stands where it was."""


def _value(text: _Text, depth: int, broken: Broken) -> Step:
    """Read the object or list that begins here: in one piece if it is small, else element by element."""
    if text.data[text.at : text.at + 1] == b"[":
        return (yield from _list(text, depth, None, broken))
    end = text.value_end()
    if isinstance(end, _Lost):
        return (yield from _object(text, depth, broken))
    piece = text.data[text.at : end]
    text.at = end
    try:
        document = load(piece)
    except ValueError:
        broken(text.here(len(piece)))
    else:
        yield from _opened(document)
    return None


def _list(text: _Text, depth: int, columns: list[str] | None, broken: Broken) -> Step:
    """Read a list element by element. With `columns` the elements are rows of a table."""
    if depth > _DEPTH:
        return _Lost.WRONG
    text.at += 1
    boundary = _AFTER_OBJECT if columns is None else _AFTER_LIST
    first = True
    while True:
        char = text.skip(_SPACE)
        if char == b"]":
            text.at += 1
            return None
        if not first:
            if char != b",":
                return _Lost.CUT
            text.at += 1
            if (char := text.skip(_SPACE)) == b"]":  # a comma too many, as hand-made lists have
                continue
        first = False
        if char not in (b"{", b"["):
            if (text.take(_STRING) if char == b'"' else text.take(_SCALAR)) is None:
                return _Lost.WRONG
            yield None  # no object: counted by the reader
            continue
        # The boundary is only a guess, but a piece that parses cannot be anything else than the element.
        guess = boundary.search(text.data, text.at) if text.misses < _MISSES else None
        text.misses += 1
        if guess is not None:
            try:
                element = orjson.loads(text.data[text.at : guess.start() + 1])
            except orjson.JSONDecodeError:
                pass
            else:
                text.at = guess.start() + 1
                text.misses = max(0, text.misses - 2)
                yield from _opened(element) if columns is None else _rows(columns, [element])
                continue
        if columns is None:
            lost = yield from _value(text, depth + 1, broken)
        else:
            lost = yield from _row(text, columns, broken)
        if lost is not None:
            return lost


def _row(text: _Text, columns: list[str], broken: Broken) -> Step:
    end = text.value_end()
    if isinstance(end, _Lost):
        return end
    piece = text.data[text.at : end]
    text.at = end
    try:
        row = load(piece)
    except ValueError:
        broken(text.here(len(piece)))
    else:
        yield from _rows(columns, [row])
    return None


def _object(text: _Text, depth: int, broken: Broken) -> Step:
    """Read an object that is too large for one piece, or cut off: its long lists are read element by element."""
    if depth > _DEPTH:
        return _Lost.WRONG
    text.at += 1
    fields: dict[str, object] = {}
    streamed = False
    while True:
        char = text.skip(_SPACE)
        if char == b",":
            text.at += 1
            continue
        if char == b"}":
            text.at += 1
            break
        name = text.take(_STRING) if char == b'"' else None
        if name is None or text.skip(_SPACE) != b":":
            return _Lost.WRONG
        text.at += 1
        char = text.skip(_BLANK)  # nobody breaks a line here: what follows on the next one is the next record
        key = name[1:-1].decode("utf-8", "replace").lower()
        if char == b"[" and key in _STREAMED:
            streamed = True
            lost = yield from _list(text, depth + 1, _columns(fields) if key == "rows" else None, broken)
            if lost is not None:
                return lost
            continue
        piece: bytes | None
        if char in (b"{", b"["):
            end = text.value_end()
            if isinstance(end, _Lost):
                return end
            piece = text.data[text.at : end]
            text.at = end
        else:
            piece = text.take(_STRING) if char == b'"' else text.take(_SCALAR)
        if piece is None:
            return _Lost.WRONG
        try:
            value = load(piece)
        except ValueError:
            return _Lost.WRONG
        if len(fields) < _FIELDS:
            fields[key] = value
    if not streamed:
        yield fields
    return None


def _opened(document: object) -> Iterator[object]:
    for element in expand(document):
        tables = _field(element, "tables")
        if tables is None and _field(element, "columns") is not None:  # a table by itself, of a document taken apart
            tables = [element]
        if isinstance(tables, list):
            for table in tables:
                rows = _field(table, "rows")
                if isinstance(rows, list):
                    yield from _rows(_columns(table), rows)
        elif isinstance(element, dict) and isinstance(element.get("value"), list) and "time" not in element:
            yield from element["value"]
        else:
            yield element


def _field(element: object, name: str) -> object:
    if isinstance(element, dict):
        for spelling in (name, name.capitalize()):
            if spelling in element:
                return element[spelling]
    return None


def _columns(table: object) -> list[str]:
    listed = _field(table, "columns")
    names: list[str] = []
    for column in listed if isinstance(listed, list) else []:
        lowered = {name.lower(): value for name, value in column.items()} if isinstance(column, dict) else {}
        names.append(str(lowered.get("name", lowered.get("columnname", ""))))
    return names


def _rows(columns: list[str], rows: list[object]) -> Iterator[object]:
    for row in rows:
        yield dict(zip(columns, row, strict=False)) if isinstance(row, list) else row
