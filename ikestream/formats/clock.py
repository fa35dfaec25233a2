"""Local dates -> day or month first: what 05/09/2020 means, decided once per file and said when it was a guess."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

_SLASHED = re.compile(r"\b(\d{1,2})/(\d{1,2})/\d{4}\b", re.ASCII)


@dataclass(slots=True)
class DateOrder:
    """Whether a file writes the day before the month. Browsers print dates as their user's country does.

    Month first is the assumption, because that is what the portal prints for US English and what PowerShell prints
    for everybody. One date with a first number above 12 settles it.
    """

    DOUBT: ClassVar[str] = "Dates before this line were read with the month first, but here the day comes first."

    day_first: bool = False
    settled: bool = False
    guessed: int = 0  # dates read by assumption alone

    def look(self, sample: str) -> None:
        """Settle the order from the beginning of a file, if it shows it."""
        for one, two in _SLASHED.findall(sample):
            if int(one) > 12 or int(two) > 12:
                self.day_first, self.settled = int(one) > 12, True
                return

    def see(self, time: str) -> bool:
        """Take note of a time that is about to be read; False when it disproves how earlier ones were read."""
        found = _SLASHED.search(time)
        if found is None:
            return True
        if int(found[1]) <= 12 and int(found[2]) <= 12:
            self.guessed += not self.settled
            return True
        day_first, before = int(found[1]) > 12, self.day_first
        doubtful = day_first != before and self.guessed > 0 and not self.settled
        if not self.settled:
            self.day_first, self.settled = day_first, True
        return not doubtful
