"""What was read -> Problems: one plain sentence for whatever a file did not give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from ikestream.envelope import Skip

FIRST_LINES = 5
"""Line numbers named in a problem; the rest is a count."""

NAMES = 50
"""Different foreign categories remembered per file."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing a person must know about an input.

    `path` is the path as given (or found in a given directory), `where` a place in it (`line 12`) or '', `what` one
    sentence. `fatal` means that nothing could be had from something that was asked for: the command line exits with 2.
    """

    path: str
    where: str
    what: str
    fatal: bool = False

    def __str__(self) -> str:
        return f"{self.path}{', ' if self.where else ''}{self.where}: {self.what}"


Report = Callable[[Problem], None]


@dataclass(slots=True)
class Tally:
    """What one file has given so far; bounded, whatever the file holds."""

    records: int = 0
    broken: int = 0
    last_broken: int = 0
    broken_lines: list[int] = field(default_factory=list)
    skipped: Counter[Skip] = field(default_factory=Counter)
    foreign: Counter[str] = field(default_factory=Counter)
    unlike: int = 0  # lines of text none of which looks like an IKE log
    notes: list[tuple[str, str]] = field(default_factory=list)

    def break_line(self, line: int) -> None:
        """Count a line that is no JSON (or CSV), by its number from 1."""
        if line == self.last_broken:
            return  # one line may hold many broken elements
        self.broken, self.last_broken = self.broken + 1, line
        if len(self.broken_lines) < FIRST_LINES:
            self.broken_lines.append(line)

    def skip(self, reason: Skip, element: object) -> None:
        """Count a readable element that is no record of a VPN gateway, with the name of what it is instead."""
        self.skipped[reason] += 1
        if reason in (Skip.OTHER_SERVICE, Skip.OTHER_CATEGORY) and isinstance(element, Mapping):
            name = _name(element)
            if name in self.foreign or len(self.foreign) < NAMES:
                self.foreign[name] += 1

    def problems(self, path: str, whole: bool) -> Iterator[Problem]:
        """Yield what the file did not give. `whole`: the file was named itself, so one without records is fatal."""
        for where, what in self.notes:
            yield Problem(path, where, what)
        if self.records:
            if self.broken:
                lines = "line is" if self.broken == 1 else "lines are"
                yield Problem(path, self._where(), f"{self.broken} {lines} broken and left out; the rest was read.")
            if self.skipped:
                yield Problem(path, "", f"Left out: {self._kinds()}.")
        elif self.skipped:
            yield Problem(path, "", f"Holds no records of a VPN gateway, only {self._kinds()}.", whole)
        elif self.unlike:
            yield Problem(path, "", "Holds text, but no line of it looks like an IKE log.", whole)
        elif self.broken:
            yield Problem(path, self._where(), "Holds no JSON that can be read; it may be cut off or damaged.", whole)
        else:
            yield Problem(path, "", "Holds no records: the query or export it comes from returned nothing.")

    def _where(self) -> str:
        listed = ", ".join(str(line) for line in self.broken_lines)
        more = ", ..." if self.broken > len(self.broken_lines) else ""
        return f"line{'' if self.broken == 1 else 's'} {listed}{more}"

    def _kinds(self) -> str:
        parts = [f"{count} {reason}" for reason, count in sorted(self.skipped.items())]
        names = ", ".join(f"{name}: {count}" for name, count in self.foreign.most_common(3))
        return " and ".join(part for part in (", ".join(parts),) if part) + (f" ({names})" if names else "")


def _name(element: Mapping[str, object]) -> str:
    for field_name, value in element.items():
        if isinstance(field_name, str) and field_name.lower() == "category" and isinstance(value, str):
            # Somebody else's text on its way to a terminal: short, and printable only.
            return "".join(char for char in value[:40] if char.isprintable()) or "no category"
    return "no category"
