"""Records in any order -> Records in event-time order: an external merge sort in bounded memory.

Exports come newest first, blobs are appended by time received, and a month of IKE logs is larger than memory. Runs of
bounded size are sorted, spilled to anonymous temporary files and merged lazily; more than `FAN` runs are merged into
one first, so that the number of open files stays small whatever the input.

The order is total over all fields, so the result does not depend on the order of the input. Records that are the same
come next to each other and become one: same time, instance and message (the contract of the command line), category and
gateway. A gateway that is only a file's name gives way to the resource id the same record has in another file.
"""

from __future__ import annotations

import heapq
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import orjson

from ikestream.events import Category, Record

RUN = 100_000
"""Records of one run: about 100 MB as Python objects."""

RUN_TEXT = 64 * 1024 * 1024
"""Characters of messages of one run, for logs whose messages are long."""

FAN = 64
"""Runs merged at once: each costs an open file and one block in memory."""

_BLOCK = 500

Key = tuple[int, str, str, str, str, str, str, str, str, str, str]
"""Time, instance, message, category, operation, remote IP, status, reason, gateway in lower case, level, gateway."""


class Ordered:
    """Records put in order; a context manager that owns the temporary files.

    `timed()` yields the records with a time, in event-time order and without duplicates; `clockless()` those without,
    in the order given: they have no clock to sort by, and two equal lines are two events. Each may be called once, but
    after `timed(again=True)`, run to its end, `timed` may be called once more.
    `given` is the number of records with a time, `duplicates` how many of them were dropped, final when the last `timed()` is exhausted.
    """

    def __init__(
        self, records: Iterable[Record], *, run: int = RUN, fan: int = FAN, folder: Path | None = None
    ) -> None:
        self.given = self.duplicates = 0
        self._run, self._fan, self._folder = run, fan, folder
        self._levels: list[list[IO[bytes]]] = []
        self._last: list[Key] = []
        self._clockless: list[Key] = []
        self._clockless_file: IO[bytes] | None = None
        try:
            self._fill(records)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __iter__(self) -> Iterator[Record]:
        """Yield everything: what has a time first, then what has none."""
        yield from self.timed()
        yield from self.clockless()

    def close(self) -> None:
        """Give the temporary files back."""
        self._close_runs()
        if self._clockless_file is not None:
            self._clockless_file.close()
        self._clockless, self._clockless_file = [], None

    def _close_runs(self) -> None:
        for file in (file for level in self._levels for file in level):
            file.close()
        self._levels, self._last = [], []

    def timed(self, *, again: bool = False) -> Iterator[Record]:
        """Yield the records with a time, oldest first; with `again` they stay, to be asked for once more."""
        before = self.duplicates
        runs: list[Iterable[Key]] = [_read(file) for level in self._levels for file in level]
        for key in self._distinct(heapq.merge(*runs, self._last)):
            yield _record(key, key[0])
        if again:
            self.duplicates = before
        else:
            self._close_runs()

    def clockless(self) -> Iterator[Record]:
        """Yield the records without a time, in the order given."""
        if self._clockless_file is not None:
            for key in _read(self._clockless_file):
                yield _record(key, None)
            self._clockless_file.close()
        for key in self._clockless:
            yield _record(key, None)

    def _fill(self, records: Iterable[Record]) -> None:
        text = clockless_text = 0
        for record in records:
            if record.at is None:
                self._clockless.append(_key(record))
                clockless_text += len(record.message)
                if len(self._clockless) >= self._run or clockless_text >= RUN_TEXT:
                    if self._clockless_file is None:
                        self._clockless_file = self._file()
                    _write(self._clockless_file, self._clockless)
                    self._clockless, clockless_text = [], 0
                continue
            self._last.append(_key(record))
            text += len(record.message)
            if len(self._last) >= self._run or text >= RUN_TEXT:
                self._spill()
                text = 0
        self.given += len(self._last)
        self._last.sort()

    def _spill(self) -> None:
        self.given += len(self._last)
        self._last.sort()
        keys: Iterable[Key] = self._last
        self._last = []
        # A level that is full becomes one run of the next level: open files stay below FAN per level, and levels
        # grow with the logarithm of the input.
        level = 0
        while True:
            file = self._file()
            _write(file, keys)
            if level == len(self._levels):
                self._levels.append([])
            self._levels[level].append(file)
            if len(self._levels[level]) < self._fan:
                return
            full, self._levels[level] = self._levels[level], []
            keys = self._merged(full)
            level += 1

    def _merged(self, files: list[IO[bytes]]) -> Iterator[Key]:
        try:
            yield from self._distinct(heapq.merge(*(_read(file) for file in files)))
        finally:
            for file in files:
                file.close()

    def _file(self) -> IO[bytes]:
        # Anonymous on POSIX, delete-on-close on Windows: gone with the process even if it is killed.
        return tempfile.TemporaryFile(dir=self._folder, prefix="ikestream-")

    def _distinct(self, keys: Iterable[Key]) -> Iterator[Key]:
        """Drop what is there twice. Of equal records the last in order stays: the one that says most."""
        group: dict[str, Key] = {}  # the same record, by gateway
        last: Key | None = None
        for key in keys:
            if last is not None and not _same(last, key):
                yield from self._settled(group)
                group = {}
            self.duplicates += key[8] in group
            group[key[8]] = last = key
        yield from self._settled(group)

    def _settled(self, group: dict[str, Key]) -> Iterable[Key]:
        if len(group) < 2:
            return group.values()
        identified = [key for gateway, key in group.items() if "/" in gateway]
        if identified:
            self.duplicates += len(group) - len(identified)
        # In order again: the result of a merge may be merged once more.
        return sorted(identified or group.values())


def in_order(records: Iterable[Record], *, run: int = RUN, fan: int = FAN, folder: Path | None = None) -> Ordered:
    """Read all records and return them ready to be iterated in event-time order; use it as a context manager.

    `run` is how many records are sorted in memory at once, `folder` where the temporary files go (default: the
    system's). Raises OSError when they cannot be written.
    """
    return Ordered(records, run=run, fan=fan, folder=folder)


def _key(record: Record) -> Key:
    return (
        record.at or 0,
        record.instance,
        record.message,
        record.category.value,
        record.operation,
        record.remote_ip,
        record.status,
        record.reason,
        record.gateway.lower(),
        record.level,
        record.gateway,
    )


def _same(one: Key, other: Key) -> bool:
    # An IKE line is its message; a tunnel's record may have none, and says in its fields what it is.
    return one[:4] == other[:4] and (one[3] == "IKEDiagnosticLog" or one[4:8] == other[4:8])


def _record(key: Key, at: int | None) -> Record:
    _, instance, message, category, operation, remote_ip, status, reason, _, level, gateway = key
    return Record(at, gateway, _CATEGORIES[category], operation, instance, message, level, remote_ip, status, reason)


_CATEGORIES = {category.value: category for category in Category}


def _write(file: IO[bytes], keys: Iterable[Key]) -> None:
    block: list[Key] = []
    for key in keys:
        block.append(key)
        if len(block) == _BLOCK:
            _write_block(file, block)
            block = []
    if block:
        _write_block(file, block)


def _write_block(file: IO[bytes], block: list[Key]) -> None:
    # IKE lines repeat themselves: level 1 makes a tenth of them at little cost, and /tmp may be memory.
    packed = zlib.compress(orjson.dumps(block), 1)
    file.write(len(packed).to_bytes(4, "big"))
    file.write(packed)


def _read(file: IO[bytes]) -> Iterator[Key]:
    file.seek(0)
    while size := file.read(4):
        for key in orjson.loads(zlib.decompress(file.read(int.from_bytes(size, "big")))):
            yield tuple(key)
