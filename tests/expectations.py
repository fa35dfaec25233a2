"""Case -> what the tool says about it, and whether that is what the case expects.

A case is two files: `cases/<Cause>/<story>.log`, a saved log in any format the tool reads, and `<story>.json`:

    {"story": ["2 to 4 lines a network engineer understands, and where the log's lines come from"],
     "expect": [{"Cause": "IkePolicyMismatch", ...}],    one object per incident, its last revision, oldest first
     "strangers": ["198.51.100.9"],                      addresses the tool does not judge; left out: none
     "arguments": ["--peer", "198.51.100.7"]}            of the command line; left out: none. The path after
                                                         `--inventory` begins in `tests/`

An object names only the columns that matter to the story. Three kinds of column hold sentences, which are not
repeated here: in `Summary`, `Explanation`, `MissingEvidence` and `Fix` each listed phrase must occur, of
`Hypotheses` each cause must hold its phrase, in order and none left over, and in `Evidence` each listed phrase
must occur in some line.

Outages are compared whole. Of advisories only those whose `Cause` is that of the case's folder or is listed with
`"Kind": "Advisory"`; in `healthy/` all but `USUAL`, which a gateway that nobody configured with care always has.

    python -m tests.expectations           write the values of today into the columns the cases name, and say which
    python -m tests.expectations --check   only say which; exit status 1 if there are any
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ikestream import formats
from ikestream.finding import Advisory
from ikestream.incident import Row
from ikestream.inventory import files
from ikestream.replay import Tally, replay, replay_clockless

CASES = Path(__file__).parent / "cases"
PHRASES = frozenset({"Summary", "Explanation", "MissingEvidence", "Fix"})
USUAL = frozenset({Advisory.WEAK_CRYPTOGRAPHY, Advisory.UNKNOWN_PEER})
RETRACTED = ("Withdrawn", "Merged")


@dataclass(frozen=True)
class Case:
    """One case as written."""

    log: Path
    story: tuple[str, ...]
    expect: tuple[dict[str, Any], ...]
    strangers: tuple[str, ...]
    arguments: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.log.parent.name}/{self.log.stem}"


@dataclass(frozen=True)
class Verdict:
    """What the tool says: the last revision of every incident that stands, oldest first."""

    rows: tuple[Row, ...]
    strangers: tuple[str, ...]
    unread: dict[str, int]
    problems: tuple[str, ...]


def load(log: Path) -> Case:
    written = json.loads(log.with_suffix(".json").read_text("utf-8"))
    unknown = set(written) - {"story", "expect", "strangers", "arguments"}
    if unknown:
        raise ValueError(f"{log.with_suffix('.json')}: unknown {', '.join(sorted(unknown))}")
    return Case(
        log,
        tuple(written["story"]),
        tuple(written["expect"]),
        tuple(written.get("strangers", ())),
        tuple(written.get("arguments", ())),
    )


def cases(folder: Path = CASES) -> list[Case]:
    return [load(log) for log in sorted(folder.glob("*/*.log"))]


def diagnose(log: Path, arguments: Iterable[str] = ()) -> Verdict:
    """Read and judge one saved log as `ikestream diagnose` does."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--peer", action="append", default=[])
    parser.add_argument("--gateway", default="")
    parser.add_argument("--inventory", action="append", default=[])
    options = parser.parse_args(list(arguments))
    tally = Tally()
    known, missing = files.load(CASES.parent / path for path in options.inventory)
    last: dict[str, Row] = {}
    with formats.read([log], gateway=options.gateway) as saved:
        for run, records in ((replay, saved.timed()), (replay_clockless, saved.clockless())):
            for row in run(records, tally, frozenset(options.peer), known):
                last[row["IncidentId"]] = row
    rows = [row for row in last.values() if row["Resolution"] not in RETRACTED]
    rows.sort(key=lambda row: (row["FirstSeen"] or "", row["GatewayName"], row["RemoteIP"]))
    # Ids are minted at telling: a case names a related incident by its remote address, '' for the gateway's own.
    named = {row["IncidentId"]: row["RemoteIP"] for row in rows}
    rows = [row | {"RelatedIncidents": sorted(named[i] for i in row["RelatedIncidents"] or ())} for row in rows]
    return Verdict(
        tuple(rows), tuple(sorted(tally.strangers)), dict(tally.unread), (*map(str, saved.problems), *missing)
    )


def compare(case: Case, verdict: Verdict) -> list[str]:
    """Return one line for everything in which the verdict is not what the case expects."""
    wrong = [f"line not read: {shape}" for shape in verdict.unread] + list(verdict.problems)
    if verdict.strangers != tuple(sorted(case.strangers)):
        wrong.append(f"strangers: expected {list(case.strangers)}, got {list(verdict.strangers)}")
    rows = concerned(case, verdict.rows)
    if len(rows) != len(case.expect):
        told = [f"{row['Cause']} {row['State']} {row['RemoteIP']} {row['FirstSeen']}" for row in rows]
        return [*wrong, f"incidents: expected {len(case.expect)}, got {len(rows)}: {told}"]
    for number, (expected, row) in enumerate(zip(case.expect, rows, strict=True), start=1):
        for column, value in expected.items():
            if column not in row:
                wrong.append(f"incident {number}: there is no column {column}")
            elif not holds(column, value, row[column]):
                wrong.append(f"incident {number}, {column}: expected {value!r}, got {shown(column, row[column])!r}")
    return wrong


def concerned(case: Case, rows: Iterable[Row]) -> list[Row]:
    """The incidents that the case is about."""
    folder = case.log.parent.name
    listed = {expected["Cause"] for expected in case.expect if expected.get("Kind") == "Advisory"}
    if folder in set(Advisory):  # `RekeyFailed` is a cause, too
        listed.add(folder)
    if folder == "healthy":
        listed = set(Advisory) - USUAL
    return [row for row in rows if row["Kind"] == "Outage" or row["Cause"] in listed]


def holds(column: str, expected: Any, actual: Any) -> bool:
    """Whether a column is as expected; see the head of this file for columns of sentences."""
    told = shown(column, actual)
    if column in PHRASES and isinstance(expected, list):
        return all(phrase in (told or "") for phrase in expected)
    if column == "Hypotheses":
        return len(expected) == len(told) and all(p in cause for p, cause in zip(expected, told, strict=True))
    if column == "Evidence":
        return all(any(phrase in line for line in told) for phrase in expected)
    return bool(expected == told)


def shown(column: str, actual: Any) -> Any:
    """The part of a column that a case writes down."""
    if column == "Hypotheses":
        return [h["Cause"] for h in actual or ()]
    if column == "Evidence":
        return [line["Message"] for line in actual or ()]
    return actual


def renew(column: str, expected: Any, actual: Any) -> Any:
    """The value to write where `expected` no longer holds: a phrase that is gone gives way to the whole text."""
    told = shown(column, actual)
    if column in PHRASES and isinstance(expected, list):
        return [phrase if phrase in (told or "") else told for phrase in expected]
    return told


def rewrite(log: Path, *, write: bool = True) -> Iterator[str]:
    """Bring one case's listed columns up to date, keep everything else as it stands, and yield what changed."""
    case, verdict = load(log), diagnose(log, load(log).arguments)
    changed = compare(case, verdict)
    if not changed:
        return
    yield from (f"{case.name}: {what}" for what in changed)
    if not write:
        return
    path = log.with_suffix(".json")
    written = json.loads(path.read_text("utf-8"))
    expect = []
    for number, row in enumerate(concerned(case, verdict.rows)):
        # An incident more than before: it gets the columns of the one before it, to be thinned out by hand.
        old = case.expect[min(number, len(case.expect) - 1)] if case.expect else dict.fromkeys(("Cause", "State"))
        same = number < len(case.expect)
        expect.append(
            {
                column: value if same and holds(column, value, row[column]) else renew(column, value, row[column])
                for column, value in old.items()
                if column in row
            }
        )
    written["expect"] = expect
    if verdict.strangers or "strangers" in written:
        written["strangers"] = list(verdict.strangers)
    path.write_text(dump(written), "utf-8")


def dump(written: dict[str, Any]) -> str:
    return json.dumps(written, indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.expectations")
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if a case would change")
    parser.add_argument("folder", nargs="?", type=Path, default=CASES)
    options = parser.parse_args(arguments)
    changed = [line for case in cases(options.folder) for line in rewrite(case.log, write=not options.check)]
    for line in changed:
        sys.stdout.write(line + "\n")
    return int(bool(changed) and options.check)


if __name__ == "__main__":
    sys.exit(main())
