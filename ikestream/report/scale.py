"""Instants -> places on the time line: percent of its width, and the ticks of its axis."""

from __future__ import annotations

from dataclasses import dataclass

from ikestream.times import DAY, HOUR, MINUTE, SECOND
from ikestream.timestamps import iso

_STEPS = (
    SECOND, 2 * SECOND, 5 * SECOND, 10 * SECOND, 30 * SECOND, MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE,
    30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 14 * DAY, 28 * DAY,
)  # fmt: skip
_TICKS = 7
_LEAST = 20 * SECOND


@dataclass(frozen=True, slots=True)
class Scale:
    """A stretch of time; both ends in ms, `end` is after `start`."""

    start: int
    end: int

    def place(self, at: int) -> str:
        """Return where `at` lies in percent, never outside; four decimals are seconds of a month."""
        share = (min(max(at, self.start), self.end) - self.start) / (self.end - self.start)
        return _percent(share)

    def width(self, start: int, end: int) -> str:
        """Return how wide the time from `start` to `end` is, in percent."""
        return _percent(float(self.place(end)) / 100 - float(self.place(start)) / 100)

    def ticks(self) -> list[tuple[int, str]]:
        """Return (instant, text) for each tick: the time of day, or the day where it begins."""
        span = self.end - self.start
        step = next((s for s in _STEPS if span / s <= _TICKS), -(-span // _TICKS // DAY) * DAY)
        first = -(-self.start // step) * step
        return [(at, label(at, step)) for at in range(first, self.end + 1, step)]


def _percent(share: float) -> str:
    return f"{share * 100:.4f}".rstrip("0").rstrip(".")


def label(at: int, step: int) -> str:
    """Return what stands at a tick."""
    text = iso(at)
    if at % DAY == 0:
        return text[5:10] if step <= _STEPS[-1] else text[:7]
    return text[11:19] if step < MINUTE else text[11:16]


def scale(start: int, end: int) -> Scale:
    """Return the scale of a log from `start` to `end`, a little wider, so that nothing begins at the edge."""
    margin = max((end - start) // 50, (_LEAST - (end - start)) // 2, SECOND)
    return Scale(start - margin, end + margin)
