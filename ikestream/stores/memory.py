"""Documents -> a dict: the store of the command line's tests and of an app without Azure. Lost with the process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from itertools import count

from ikestream.stores import MAX_BODY, Conflict, Delete, Document, Put, TooLarge


class Memory:
    """A store in this process. Belongs to one event loop, as the worker has.

    Nothing awaits between the first check and the last change of a write, and a reader is given what stood when it
    began: nobody sees a write half-done. A write that raises has changed nothing, however many documents it has.
    """

    def __init__(self) -> None:
        self._partitions: dict[str, dict[str, Document]] = {}
        self._etags = count(1)

    async def read(self, partition: str, limit: int | None = None) -> AsyncIterator[Document]:
        """Yield the documents of a partition in order of row, as they stood at the first of them."""
        found = self._partitions.get(partition, {})
        for document in [found[row] for row in sorted(found)][:limit]:
            yield document

    async def write(self, partition: str, changes: Sequence[Put | Delete]) -> list[str]:
        """Write all of `changes` or none; return the new etag of each, '' of a deletion."""
        for change in changes:
            if isinstance(change, Put) and len(change.body) > MAX_BODY:
                raise TooLarge(f"the document {change.row!r} has {len(change.body)} bytes, more than {MAX_BODY}")
        documents = dict(self._partitions.get(partition, {}))
        etags = []
        for change in changes:
            there = documents.pop(change.row, None)
            if isinstance(change, Delete):
                etags.append("")
                continue
            if change.etag is not None and change.etag != (there.etag if there else ""):
                raise Conflict(f"the document {change.row!r} is not what was read")
            etags.append(str(next(self._etags)))
            documents[change.row] = Document(partition, change.row, change.body, etags[-1])
        self._partitions[partition] = documents
        return etags

    async def close(self) -> None:
        """Keep everything: there is no connection to let go of."""
