"""The README says what the program does: its sample output, its causes and its settings are checked against the code.

`python -m tests.test_docs` rewrites the sample output, for review with `git diff`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from ikestream import settings
from ikestream.finding import Advisory, Cause

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
SAMPLE = "ikestream/data/samples/2-policy.json"


def block(name: str, text: str) -> str:
    found = re.search(rf"<!-- {re.escape(name)} -->\n(.*?)<!-- end -->", text, re.DOTALL)
    assert found, f"README.md has no block {name!r}"
    return found[1]


def sample_output() -> str:
    environment = {**os.environ, "COLUMNS": "80", "PYTHONIOENCODING": "utf-8", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "ikestream", "diagnose", SAMPLE]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)  # noqa: S603
    assert run.stderr == b""
    return f"```\n{run.stdout.decode().rstrip()}\n```\n"


def first_column(table: str) -> list[str]:
    return re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)


def test_the_sample_output_is_what_the_program_prints() -> None:
    assert block("make run", README.read_text(encoding="utf-8")) == sample_output()


def test_every_cause_a_rule_can_name_is_explained_and_no_other() -> None:
    explained = first_column(block("causes", README.read_text(encoding="utf-8")))
    assert sorted(explained) == sorted(cause.value for cause in Cause)
    assert len(set(explained)) == len(explained)


def test_every_advisory_is_explained_and_no_other() -> None:
    explained = first_column(block("advisories", README.read_text(encoding="utf-8")))
    assert sorted(explained) == sorted(advisory.value for advisory in Advisory)


def test_every_setting_is_explained() -> None:
    explained = first_column(block("settings", README.read_text(encoding="utf-8")))
    assert sorted(explained) == sorted(settings.NAMES)


def main() -> None:
    text = README.read_text(encoding="utf-8")
    new = text.replace(block("make run", text), sample_output())
    README.write_text(new, encoding="utf-8")
    sys.stdout.write("README.md rewritten\n" if new != text else "README.md unchanged\n")


if __name__ == "__main__":
    main()
