"""Event time in ms <-> text, of rows and of logs. The one place where instants become words, and words instants."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

LATEST = 253_370_764_800_000
"""9999-01-01 in ms. Later times are no times: adding a hold to them would leave what `datetime` can say."""
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


_ZONE = r"(?P<zone>Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?"
_ISO_TIME = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)(?:T|\s+)(?P<minute>\d\d:\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?\s*"
    + _ZONE,
    re.ASCII | re.IGNORECASE,
)
# What browsers print for a locale: the space before AM may be U+202F (CLDR 42), dots mean that the day comes first, and a
# year that comes first (Japan, China, Canada) is followed by the month.
_LOCAL_TIME = re.compile(
    r"(?:(?P<one>\d{1,2})(?P<mark>[/.-])(?P<two>\d{1,2})(?P=mark)(?P<year>\d{4})"
    r"|(?P<first>\d{4})(?P<sign>[/.-])(?P<month>\d{1,2})(?P=sign)(?P<day>\d{1,2})),?\s+"
    r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?[\s\u202f\u00a0]*(?P<half>[AP]\.?M\.?)?\s*"
    + _ZONE,
    re.ASCII | re.IGNORECASE,
)
_JSON_DATE = re.compile(r"/Date\((?P<ms>\d{1,15})(?:[+-]\d{4})?\)/", re.ASCII)  # ConvertTo-Json of Windows PowerShell
_NUMBER = re.compile(r"\d{10}(?:\.\d{1,9}|\d{3}|\d{6}|\d{9})?", re.ASCII)


def milliseconds(value: object, *, day_first: bool = False) -> int | None:
    """Return an event time in whole ms since 1970-01-01 UTC, rounded down, or None where there is none.

    Reads ISO 8601 with up to nine fraction digits, a blank instead of T, any offset or none (then it is UTC); what
    browsers and PowerShell print (`9/18/2020, 3:43:12.123 PM`; `day_first` turns day and month round;
    `2020/09/18 15:43:12`; `/Date(1600443792123)/`); and epoch numbers in s, ms, us or ns. Times before 1970 and from
    9999 on (`LATEST`) are no times.
    """
    if isinstance(value, str):
        text = value.strip()
        # The form Azure writes, and the second it shares with its neighbours: three times as fast as the patterns.
        start = _second(text[:19]) if text[19:20] == "." and text[-1:] == "Z" else None
        fraction = text[20:-1]
        if start is not None and fraction.isdecimal() and fraction.isascii() and len(fraction) < 10:
            at: int | None = start + int((fraction + "00")[:3])
        else:
            at = _written(text, day_first)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        at = _epoch(value)
    else:
        return None
    return at if at is not None and 0 <= at < LATEST else None


def _written(text: str, day_first: bool) -> int | None:
    found = _ISO_TIME.fullmatch(text)
    if found is not None:
        day, clock, second, fraction, zone = found.groups()
        start = _minute(day, clock)
    else:
        found = _LOCAL_TIME.fullmatch(text)
        if found is None:
            if (date := _JSON_DATE.fullmatch(text)) is not None:
                return int(date["ms"])
            if not _NUMBER.fullmatch(text):
                return None
            return _epoch(float(text) if "." in text else int(text))
        second, fraction, zone = found["second"], found["fraction"], found["zone"]
        start = _local_minute(found, day_first)
    if start is None:
        return None
    seconds = int(second or 0)
    if seconds > 60:  # 60 is a leap second
        return None
    return start + seconds * 1000 + int(((fraction or "") + "000")[:3]) - _offset(zone)


@lru_cache(maxsize=1024)
def _second(text: str) -> int | None:
    return _written(text, False) if len(text) == 19 and text[10] == "T" else None


@lru_cache(maxsize=1024)
def _minute(day: str, clock: str) -> int | None:
    try:
        return int(datetime.fromisoformat(f"{day}T{clock}+00:00").timestamp()) * 1000
    except ValueError:
        return None


def _local_minute(found: re.Match[str], day_first: bool) -> int | None:
    hour = int(found["hour"])
    if found["first"]:
        year, month, day = found["first"], int(found["month"]), int(found["day"])
    else:
        year, one, two = found["year"], int(found["one"]), int(found["two"])
        month, day = (two, one) if day_first or found["mark"] == "." else (one, two)
        if month > 12:
            month, day = day, month
    half = (found["half"] or "").lower()
    if half:
        if not 1 <= hour <= 12:
            return None
        hour = hour % 12 + (12 if half.startswith("p") else 0)
    return _minute(f"{year}-{month:02}-{day:02}", f"{hour:02}:{found['minute']}")


def _offset(zone: str | None) -> int:
    if not zone or zone[0] not in "+-":
        return 0
    minutes = int(zone[1:3]) * 60 + int(zone[3:].lstrip(":") or 0)
    return minutes * (-60_000 if zone[0] == "-" else 60_000)


def _epoch(number: float) -> int | None:
    if isinstance(number, float) and not math.isfinite(number):
        return None
    # The size tells the unit: 1e11 s is the year 5138, 1e11 ms is 1973.
    if abs(number) < 1e11:
        return math.floor(number * 1000) if isinstance(number, float) else number * 1000
    for limit, divisor in ((1e14, 1), (1e17, 1_000), (1e20, 1_000_000)):
        if abs(number) < limit:
            return math.floor(number // divisor)
    return None
