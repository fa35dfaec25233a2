"""Stores: documents by partition and row, with versions. What is in them is the business of `keeping`.

A store is dumb on purpose: the same contract, and one set of tests (`tests/test_stores.py`), holds for memory and for
Azure Table storage.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

MAX_BODY = 900_000
"""Bytes of one document: what fits into one entity of Azure Table storage (1 MiB) beside its keys."""

MAX_NAME = 200


def partition(kind: str, key: str) -> str:
    """Return a gateway's partition for documents of a kind: its key, cut to what a store takes and still its own."""
    if len(key) <= MAX_NAME:
        return f"{kind}|{key}"
    return f"{kind}|{key[:MAX_NAME]}|{hashlib.sha256(key.encode()).hexdigest()[:16]}"


@dataclass(frozen=True, slots=True)
class Document:
    """One document as it stands in the store. `etag` changes with every write."""

    partition: str
    row: str
    body: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class Put:
    """A document to write. `etag` is the version it replaces, '' if there must be none yet, None for whatever is there."""

    row: str
    body: bytes
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """A document to delete, whatever its version; that it is gone already is no error."""

    row: str


class Conflict(Exception):  # noqa: N818 - reads as what it is
    """Somebody else wrote one of the documents; nothing is known about the others of the same call."""


class Unavailable(Exception):  # noqa: N818 - reads as what it is
    """The store did not answer, or not with yes; whether the write happened is not known. One line, no secret."""


class TooLarge(Exception):  # noqa: N818 - reads as what it is
    """A document can never be written: it exceeds `MAX_BODY`, or the service refuses it for good. One line, no secret."""


class Store(Protocol):
    """Keys are any text without control characters, at most 512 bytes; a store encodes what its service does not take."""

    def read(self, partition: str, limit: int | None = None) -> AsyncIterator[Document]:
        """Yield the documents of a partition in order of row (by code point), at most `limit`. Raises `Unavailable`."""
        ...

    async def write(self, partition: str, changes: Sequence[Put | Delete]) -> list[str]:
        """Write all of `changes`; return the new etag of each, '' of a deletion.

        They are atomic where they fit into one transaction (90 documents, 2.9 MB), and written in order else; what
        a caller needs to be atomic must fit. Raises `Conflict`, `TooLarge` or `Unavailable`; then earlier parts may
        have been written.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
