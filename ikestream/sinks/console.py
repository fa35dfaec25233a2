"""Rows -> JSON lines on a stream: the sink of an app without Azure settings."""

from __future__ import annotations

from typing import BinaryIO

import orjson

from ikestream.incident import Row


def deliver(rows: list[Row], stream: BinaryIO) -> None:
    """Write one JSON object per line and take the rows away once they are out; if that fails, all of them stay.

    orjson escapes control characters, so log text cannot forge lines.
    """
    for row in rows:
        stream.write(orjson.dumps(row) + b"\n")
    stream.flush()
    rows.clear()
