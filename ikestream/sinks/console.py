"""Postings -> JSON lines on a stream: the sink of an app without Azure settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import orjson

from ikestream.sinks import Posting, Receipt

RETRY_AFTER = 0.0
"""Seconds: the next tick tries again."""


class Console:
    """Takes every revision, one JSON object per line. orjson escapes control characters: log text cannot forge lines."""

    name = "console"
    messages = False

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    async def send(self, postings: Sequence[Posting]) -> Receipt:
        """Write them; if that fails none counts as written."""
        try:
            for posting in postings:
                self._stream.write(orjson.dumps(posting.row) + b"\n")
            self._stream.flush()
        except OSError as failed:
            return Receipt(retry_after=RETRY_AFTER, trouble=f"{type(failed).__name__}: {failed.strerror}")
        return Receipt(accepted={posting.key for posting in postings})

    async def close(self) -> None:
        """Leave the stream open: it is not this sink's."""
