"""What a receiver or the network does -> when to ask again, and one line about it that holds no secret."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST_WAIT = 3600.0
"""Seconds. A receiver that asks for more is asked again after an hour all the same: the header is no order to be mute."""

SOON = 15.0
"""Seconds until what failed is tried again where nobody said how long to wait: the next tick."""

LATER = 300.0
"""Seconds until a wrong setting or a missing role is tried again: somebody has to mend it first."""


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds a Retry-After header asks for (RFC 9110 10.2.3: seconds or a date), None without a usable one.

    `now` is the time in seconds since 1970. `headers` must not mind case, as those of both clients do not.
    """
    asked = (headers.get("Retry-After") or "").strip()
    if asked.isascii() and asked.isdigit():
        # Digits without end are a number that no float holds, and Python refuses to read more than 4,300 of them.
        return min(float(asked[:12]), LONGEST_WAIT)
    try:
        until = parsedate_to_datetime(asked)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)  # "-0000"; HTTP knows no other zone than GMT
    try:
        return min(max(until.timestamp() - now, 0.0), LONGEST_WAIT)
    except (OverflowError, ValueError):
        return None


def reason(failed: BaseException) -> str:
    """Name a failure by its type and the system's own words, never by its text: that may hold an address or a body."""
    inner = getattr(failed, "inner_exception", None) or failed  # azure.core wraps what aiohttp raised
    system = getattr(inner, "os_error", inner)  # aiohttp keeps what the system said in there
    said = getattr(system, "strerror", None)
    return f"{type(inner).__name__}, {said}" if isinstance(said, str) and said else type(inner).__name__
