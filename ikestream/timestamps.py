"""Event time in ms <-> the text of rows. The one place where instants become words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@lru_cache(4096)  # a row is made anew with every judgement, with the same times in it
def iso(at: int) -> str:
    """Return `at` (ms since 1970 UTC) as ISO 8601 with milliseconds and Z, clamped to the years datetime knows."""
    at = min(max(at, -62_135_596_800_000), 253_402_300_799_999)
    return (_EPOCH + timedelta(milliseconds=at)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def moment(at: int) -> str:
    """Return day and time to the minute, for what is hours away: `2026-03-02 10:31`."""
    return iso(at)[:16].replace("T", " ")


def clock(at: int) -> str:
    """Return the time of day as people say it: `10:31:07`."""
    return iso(at)[11:19]
