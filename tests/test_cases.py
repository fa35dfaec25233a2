"""Every case in `cases/`, run whole through the real reading path, in every order and packing its rows may come in."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

import ikestream.rules
from ikestream import formats
from ikestream.finding import Advisory, Cause
from tests.expectations import CASES, Case, cases, compare, diagnose, dump, main

ALL = cases()
Line = str
Packing = Callable[[list[list[Line]]], list[list[Line]]]
"""The bodies of a log, each a list of its records as JSON text; lines of text are bodies of one."""


def shuffled(bodies: list[list[Line]]) -> list[list[Line]]:
    records = [record for body in bodies for record in body]
    return [[record] for record in Random(7).sample(records, len(records))]


PACKINGS: dict[str, Packing] = {
    "as written": lambda bodies: bodies,
    "reversed": lambda bodies: [body[::-1] for body in bodies[::-1]],
    "shuffled": shuffled,
    "every row twice": lambda bodies: [[record for record in body for _ in range(2)] for body in bodies],
    "all twice": lambda bodies: bodies + bodies,
    "each row its own body": lambda bodies: [[record] for body in bodies for record in body],
    "all in one body": lambda bodies: [[record for body in bodies for record in body]],
    "gzip": lambda bodies: bodies,
}


def read(log: Path) -> tuple[list[list[Line]], Callable[[list[Line]], str]]:
    """Return a log's bodies and how one is written again."""
    lines = log.read_text("utf-8").splitlines()
    if not lines[0].startswith("{"):
        return [[line] for line in lines], "\n".join
    documents: list[Any] = [json.loads(line) for line in lines]
    if "records" in documents[0]:
        return (
            [[json.dumps(record) for record in body["records"]] for body in documents],
            lambda body: '{"records": [' + ", ".join(body) + "]}",
        )
    return [[line] for line in lines], "\n".join  # PT1H.json: a record a line


def has_clock(log: Path) -> bool:
    with formats.read([log]) as saved:
        return next(saved.clockless(), None) is None


def packed(case: Case, packing: str, folder: Path) -> Path:
    """Write the case's log in this packing, under its own name: where lines carry no gateway the name is it."""
    bodies, write = read(case.log)
    # The new line ends a record of PT1H.json; between bodies of a hub it is what the reader splits by.
    data = "".join(write(body) + "\n" for body in PACKINGS[packing](bodies)).encode()
    log = folder / (case.log.name + (".gz" if packing == "gzip" else ""))
    log.write_bytes(gzip.compress(data, mtime=0) if packing == "gzip" else data)
    return log


def runs() -> list[Any]:
    # Lines without a time have only their order in the file for a clock: shuffling would change the story itself.
    return [
        pytest.param(case, packing, id=f"{case.name}-{packing}")
        for case in ALL
        for packing in PACKINGS
        if packing != "shuffled" or has_clock(case.log)
    ]


@pytest.mark.parametrize(("case", "packing"), runs())
def test_case(case: Case, packing: str, tmp_path: Path) -> None:
    assert compare(case, diagnose(packed(case, packing, tmp_path), case.arguments)) == []


def test_every_cause_a_rule_can_name_has_a_case_of_its_own() -> None:
    # A cause without a rule is a word of the contract that nothing says yet.
    files = [path for path in Path(ikestream.rules.__file__).parent.glob("*.py") if path.name != "finding.py"]
    rules = "".join(path.read_text("utf-8") for path in files)
    named = {Cause[member].value for member in re.findall(r"\bCause\.([A-Z_]+)\b", rules)}
    named |= {Advisory[member].value for member in re.findall(r"\bAdvisory\.([A-Z_]+)\b", rules)}
    told = {case.log.parent.name for case in ALL}
    assert len(named) >= 3
    assert named <= told
    assert told <= set(Cause) | set(Advisory) | {"healthy"}


def test_a_case_lies_with_the_cause_it_expects() -> None:
    for case in ALL:
        causes, folder = [expected["Cause"] for expected in case.expect], case.log.parent.name
        if folder == "healthy" or (folder in set(Advisory) and case.name.endswith(("-none", "-just-ends"))):
            assert causes == [], case.name  # what looks like the advisory and is none lies beside it
        else:
            assert folder in causes, case.name


def test_every_log_has_its_expectation_and_every_expectation_its_log() -> None:
    files = [path for path in CASES.glob("*/*") if not path.name.startswith(".")]
    assert {path.with_suffix("") for path in files if path.suffix == ".json"} == {
        path.with_suffix("") for path in files if path.suffix == ".log"
    }
    assert {path.suffix for path in files} == {".json", ".log"}


def test_every_story_is_told_in_two_to_four_lines() -> None:
    for case in ALL:
        assert 2 <= len(case.story) <= 4, case.name


def test_rewriting_changes_nothing_now(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "cases"
    shutil.copytree(CASES, copy)
    before = {path: path.read_bytes() for path in copy.glob("*/*")}
    assert main([str(copy)]) == 0
    assert capsys.readouterr().out == ""
    assert {path: path.read_bytes() for path in copy.glob("*/*")} == before


def test_every_expectation_is_written_as_the_rewriter_writes() -> None:
    # Else its first rewriting would show lines in `git diff` that nobody changed.
    for case in ALL:
        path = case.log.with_suffix(".json")
        assert path.read_text("utf-8") == dump(json.loads(path.read_text("utf-8"))), path


def all_but_the_seed(folder: str, names: list[str]) -> set[str]:
    """For `copytree`: what is not the seed's policy mismatch."""
    wanted = {"IkePolicyMismatch"} if Path(folder) == CASES else {"seed.log", "seed.json"}
    return set(names) - wanted


def test_rewriting_notices_and_mends_wrong_values_and_keeps_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "cases"
    shutil.copytree(CASES, copy, ignore=all_but_the_seed)
    path = copy / "IkePolicyMismatch" / "seed.json"
    right = path.read_text("utf-8")
    written = json.loads(right)
    written["expect"][0] |= {"Confidence": "Low", "Attempts": 77}
    wrong = dump(written)
    path.write_text(wrong, "utf-8")

    assert main([str(copy), "--check"]) == 1
    told = capsys.readouterr().out
    assert "IkePolicyMismatch/seed: incident 1, Confidence: expected 'Low', got 'High'" in told
    assert "Attempts: expected 77, got 2" in told
    assert path.read_text("utf-8") == wrong

    assert main([str(copy)]) == 0
    assert path.read_text("utf-8") == right


def test_rewriting_notices_an_incident_too_few_and_one_too_many(tmp_path: Path) -> None:
    copy = tmp_path / "cases"
    shutil.copytree(CASES, copy, ignore=all_but_the_seed)
    path = copy / "IkePolicyMismatch" / "seed.json"
    right = json.loads(path.read_text("utf-8"))
    for wrong in ([], right["expect"] * 2):
        path.write_text(dump(right | {"expect": wrong}), "utf-8")
        assert main([str(copy), "--check"]) == 1
        assert main([str(copy)]) == 0
        renewed = json.loads(path.read_text("utf-8"))["expect"]
        assert [row["Cause"] for row in renewed] == ["IkePolicyMismatch"]
