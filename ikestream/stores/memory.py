"""A store in memory: for a developer's machine, and for tests. Nothing survives the process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from ikestream.stores import MAX_BODY, Conflict, Delete, Document, Put, TooLarge


class Memory:
    """Documents in a dict. A write is atomic however large."""

    def __init__(self) -> None:
        self._documents: dict[str, dict[str, Document]] = {}
        self._writes = 0

    async def read(self, partition: str, limit: int | None = None) -> AsyncIterator[Document]:
        """Yield the documents of a partition in order of row."""
        for _, document in sorted(self._documents.get(partition, {}).items())[:limit]:
            yield document

    async def write(self, partition: str, changes: Sequence[Put | Delete]) -> list[str]:
        """Write all of `changes`, or none and raise `Conflict` or `TooLarge`."""
        held = self._documents.setdefault(partition, {})
        for change in changes:
            if isinstance(change, Delete):
                continue
            if len(change.body) > MAX_BODY:
                raise TooLarge(f"a document of {len(change.body)} bytes, {MAX_BODY} at most")
            present = held.get(change.row)
            if change.etag is not None and change.etag != (present.etag if present is not None else ""):
                raise Conflict
        etags: list[str] = []
        for change in changes:
            self._writes += 1
            if isinstance(change, Delete):
                held.pop(change.row, None)
                etags.append("")
            else:
                etag = str(self._writes)
                held[change.row] = Document(partition, change.row, change.body, etag)
                etags.append(etag)
        return etags

    async def close(self) -> None:
        """Nothing to let go of."""
