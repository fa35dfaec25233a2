"""File -> Records: reads saved logs in every form Azure hands them out, and puts them in event-time order.

    with read(["logs/", "export.csv"]) as saved:
        for record in saved.timed():      # oldest first, each once
            ...
        for record in saved.clockless():  # lines without a time, as written
            ...
        for problem in saved.problems:
            ...

The format is found by looking at the content, per file. All formats give equal Records for the same content, except
that the gateway is the file's name where a format carries no resource id.
"""

from __future__ import annotations

import os
import re
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from ikestream.envelope import BadEnvelope, Skip, record, row
from ikestream.events import Record
from ikestream.formats.clock import DateOrder
from ikestream.formats.documents import elements
from ikestream.formats.lines import comment, looks_alike, messages
from ikestream.formats.order import Ordered, in_order
from ikestream.formats.problem import Problem, Report, Tally
from ikestream.formats.tables import header, rows
from ikestream.formats.text import chunks

__all__ = ["Ordered", "Problem", "Progress", "Reading", "Report", "in_order", "read", "records"]

Progress = Callable[[int, int | None], None]
"""Called with the bytes read so far and the bytes in all, None where a pipe makes that unknown."""

STDIN = "-"
STEP = 1024
"""Records between two words about how far it is."""


class Reading(Ordered):
    """Saved logs, read and put in order (see `Ordered`), with the problems met on the way.

    `judged` is called, now and then, with the records handed out in order so far and the records there are.
    """

    def __init__(self, found: Iterator[Record], problems: list[Problem], judged: Progress | None = None) -> None:
        self.problems, self._judged = problems, judged
        super().__init__(found)

    def timed(self, *, again: bool = False) -> Iterator[Record]:
        """Yield the records with a time, oldest first (see `Ordered`)."""
        records = super().timed(again=again)
        return records if self._judged is None else self._watched(records, self._judged)

    def _watched(self, records: Iterator[Record], judged: Progress) -> Iterator[Record]:
        for count, found in enumerate(records):
            if count % STEP == 0:
                judged(count, self.given)
            yield found


def read(
    paths: Sequence[str | os.PathLike[str]],
    *,
    gateway: str = "",
    progress: Progress | None = None,
    judged: Progress | None = None,
    stdin: BinaryIO | None = None,
) -> Reading:
    """Read files, directories and standard input (`-`) to the end, and return their Records in event-time order.

    See `records` for what is read and `Ordered` for the order; memory stays bounded whatever the size. Never raises
    for what a file is or holds: look at `problems`.
    """
    problems: list[Problem] = []
    found = records(paths, report=problems.append, gateway=gateway, progress=progress, stdin=stdin)
    try:
        return Reading(found, problems, judged)
    except OSError as error:  # those of the inputs are reported by `records`
        what = (
            f"Is the folder for temporary files and cannot take the records: {error.strerror}. Set TMPDIR to another."
        )
        problems.append(Problem(tempfile.gettempdir(), "", what, True))
        return Reading(iter(()), problems)


def records(
    paths: Sequence[str | os.PathLike[str]],
    *,
    report: Report,
    gateway: str = "",
    progress: Progress | None = None,
    stdin: BinaryIO | None = None,
) -> Iterator[Record]:
    """Yield the Records of files, of all files in directories and of standard input (`-`), in the order written.

    Never raises for what a file is or holds: `report` gets a `Problem` for each thing that could not be had.
    `problem.fatal` marks those that mean nothing could be read from something that was named. Hidden files in a
    directory are left out; a file named twice is read once. `gateway` stands in where a format has no resource id;
    without it the file's name does (`IkeLogs.txt.gz`: `IkeLogs`).
    """
    sources = list(_sources(paths, report))
    meter = _meter([path for path, _, _ in sources], progress)
    given: dict[str, int] = {}
    for path, root, label in sources:
        tally = Tally()
        whole = not root
        try:
            with nullcontext(stdin or sys.stdin.buffer) if path is None else path.open("rb") as stream:
                name = gateway or ("stdin" if path is None else _stem(path))
                for found in _records(stream, name, meter, tally):
                    tally.records += 1
                    yield found
        except BadEnvelope as error:
            report(Problem(label, "", error.reason, whole))
        except OSError as error:
            report(Problem(label, "", _failure(error), True))
        else:
            for problem in tally.problems(label, whole):
                report(problem)
        if root:
            given[root] = given.get(root, 0) + tally.records
    for root, count in given.items():
        if not count:
            report(Problem(root, "", "Is a directory in which no file holds records of a VPN gateway.", True))


def _sources(paths: Sequence[str | os.PathLike[str]], report: Report) -> Iterator[tuple[Path | None, str, str]]:
    """Yield path (None: standard input), the directory it was found in ('' if named itself), and its label."""
    seen: set[tuple[int, int]] = set()
    for given in (os.fspath(path) for path in paths):
        if given == STDIN:
            yield None, "", "standard input"
            continue
        path = Path(given)
        try:
            status = path.stat()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            what = _failure(error) if isinstance(error, OSError) else "Is no file name."
            report(Problem(given, "", what, True))
            continue
        found = [path]
        root = ""
        if stat.S_ISDIR(status.st_mode):
            root = given
            found = _inside(path, report)
            if not found:
                report(Problem(given, "", "Is a directory without files.", True))
        for file in found:
            try:
                status = file.stat()
            except OSError as error:
                report(Problem(str(file), "", _failure(error), True))
                continue
            if (status.st_dev, status.st_ino) not in seen or not stat.S_ISREG(status.st_mode):
                seen.add((status.st_dev, status.st_ino))
                yield file, root, str(file)


def _inside(folder: Path, report: Report) -> list[Path]:
    found: list[Path] = []

    def refuse(error: OSError) -> None:
        report(Problem(str(error.filename), "", _failure(error), True))

    for place, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        # is_file() is false for pipes and sockets, which would block.
        files = (Path(place, name) for name in sorted(names) if not name.startswith("."))
        found.extend(file for file in files if file.is_file())
    return found


def _failure(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "Does not exist."
    if isinstance(error, PermissionError):
        return "May not be read: no permission."
    return f"Cannot be read: {error.strerror or error}."


def _stem(path: Path) -> str:
    name = path.name
    if name.lower().endswith(".gz"):
        name = name[:-3]
    return Path(name).stem or path.name


def _meter(paths: list[Path | None], progress: Progress | None) -> Callable[[int], None]:
    if progress is None:
        return lambda _: None
    total: int | None = 0
    for path in paths:
        try:
            status = path.stat() if path is not None else None
        except OSError:
            continue
        if status is None or not stat.S_ISREG(status.st_mode):
            total = None
            break
        total = (total or 0) + status.st_size
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    return advance


# What opens a JSON document: `[SEND]` and `[2020-09-18 ...]` open lines of a log.
_JSON = re.compile(r"(?:\[\s*)*(?:\{\s*(?:[\"'}]|$)|\[\s*(?:\]|$))")

_SAMPLE_LINES = 200


def _records(stream: BinaryIO, name: str, seen: Callable[[int], None], tally: Tally) -> Iterator[Record]:
    def note(what: str) -> None:
        tally.notes.append(("", what))

    pieces = chunks(stream, seen, note)
    first = next(pieces, b"")
    while first.strip() == b"":  # a decoder may have nothing to say yet
        piece = next(pieces, None)
        if piece is None:
            raise BadEnvelope("Is empty." if not tally.notes else tally.notes.pop()[1])
        first += piece
    sample = first.decode("utf-8", "replace")
    pieces = chain([first], pieces)
    dates = DateOrder()
    dates.look(sample)
    start = 0
    for number, line in enumerate(sample.splitlines(keepends=True)[:_SAMPLE_LINES]):
        text = line.strip()
        if not comment(text) and not text.lower().startswith("sep="):
            if _JSON.match(sample[start : start + 4096].lstrip()):
                return _stand_in(_from_json(pieces, tally), name)
            head = header(text)
            if head is not None:
                return _stand_in(rows(pieces, head, number, dates, tally), name)
            if looks_alike(text):
                break
        start += len(line)
    return messages(pieces, name, dates, tally)


def _from_json(pieces: Iterator[bytes], tally: Tally) -> Iterator[Record]:
    for element in elements(pieces, tally.break_line):
        found = record(element) if isinstance(element, dict) else Skip.NOT_AN_OBJECT
        if isinstance(found, Skip) and isinstance(element, Mapping) and "properties" not in element:
            # A query may leave the time or the category out; a resource log never does.
            found = row(element, timeless=True)
        if isinstance(found, Skip):
            tally.skip(found, element)
        else:
            yield found


def _stand_in(records: Iterator[Record], name: str) -> Iterator[Record]:
    for found in records:
        yield found if found.gateway else replace(found, gateway=name)
