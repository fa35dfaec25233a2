"""The pages say what the program does: sample output, causes, settings, commands and links are checked against the code.

`python -m tests.test_docs` rewrites the sample output and the page about columns, for review with `git diff`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ikestream import cli, columns, health, settings
from ikestream.finding import Advisory, Cause

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
SETTINGS = ROOT / "infra/settings.md"
COLUMNS = ROOT / "infra/tables/README.md"
SAMPLE = "ikestream/data/samples/2-policy.json"


def block(name: str, text: str) -> str:
    found = re.search(rf"<!-- {re.escape(name)} -->\n(.*?)<!-- end -->", text, re.DOTALL)
    assert found, f"there is no block {name!r}"
    return found[1]


def sample_output() -> str:
    environment = {**os.environ, "COLUMNS": "80", "PYTHONIOENCODING": "utf-8", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "ikestream", "diagnose", SAMPLE]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, check=True)  # noqa: S603
    assert run.stderr == b""
    return f"```\n{run.stdout.decode().rstrip()}\n```\n"


def column_tables() -> str:
    """The page about the two tables, as their files describe them."""
    parts = [
        "# Columns\n\n`python -m tests.test_docs` writes this page from the files beside it. A revision is told when a column marked * changes.\n"
    ]
    for file in sorted((ROOT / "infra/tables").glob("*.json")):
        table = json.loads(file.read_text(encoding="utf-8"))
        rows = [
            f"| `{c['name']}`{' *' if c.get('material') else ''} | {c['type']} | {c['description'].replace('|', chr(92) + '|')} |"
            for c in table["columns"]
        ]
        head = f"## {table['name']}\n\n{table['description']}\n\n| column | type | what it is |\n|---|---|---|"
        parts.append("\n".join([head, *rows]) + "\n")
    return "\n".join(parts)


def test_the_page_about_columns_is_what_the_files_say() -> None:
    assert COLUMNS.read_text(encoding="utf-8") == column_tables()


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
    explained = first_column(block("settings", SETTINGS.read_text(encoding="utf-8")))
    assert sorted(explained) == sorted(settings.NAMES)


def test_every_column_that_the_page_about_trouble_names_is_one() -> None:
    table = (ROOT / "infra/trouble.md").read_text(encoding="utf-8").partition("\n## ")[0]
    named = set(re.findall(r"`([A-Z][A-Za-z]+)`", table))
    assert len(named) > 10
    assert named <= set(columns.types(health.TABLE))


PAGES = sorted(p for p in ROOT.rglob("*.md") if not any(part.startswith(".") for part in p.relative_to(ROOT).parts))
COMMAND = re.compile(r"(?:\.venv/bin/)?python -m ikestream ([a-z][^`\n|>]*(?:<[^`\n>]*>[^`\n|>]*)*)")


def prose(page: Path) -> str:
    """A page without its blocks of code, in which brackets are no links."""
    return re.sub(r"^( *)```.*?^\1```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to the headings of a page."""
    heads = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_there_are_pages() -> None:
    assert {README, SETTINGS} <= set(PAGES)


def test_the_entrance_stays_short() -> None:
    assert len(README.read_bytes()) < 24_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_is_named_is_there(page: Path) -> None:
    named = re.findall(r"`([a-z_]+(?:/[a-z_0-9.-]+)*(?:/|\.(?:py|json|md|bicep|bicepparam)))`", prose(page))
    for name in named:
        if name in ("local.settings.json", "export.json"):  # those of whoever reads
            continue
        places = (page.parent, ROOT, ROOT / "ikestream")
        assert any((place / name).exists() for place in places), name


def is_taken(words: str) -> bool:
    """Whether the command line takes a command as a page shows it, dots for `and so on` left out."""
    try:
        cli.parser().parse_args(shlex.split(words.replace("...", "").rstrip(" .,;:()")))
    except SystemExit as end:
        return end.code == 0
    return True


def test_every_command_that_is_shown_is_one_the_program_takes() -> None:
    shown = [(page.name, words) for page in PAGES for words in COMMAND.findall(page.read_text(encoding="utf-8"))]
    assert len(shown) > 5
    assert [words for words in shown if not is_taken(words[1])] == []
    assert not is_taken("diagnose PATH --no-such-option")


def test_every_make_target_that_is_named_is_there() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        named = set(re.findall(r"`make ([a-z]+)`", page.read_text(encoding="utf-8")))
        assert named <= targets, page


def main() -> None:
    text = README.read_text(encoding="utf-8")
    new = text.replace(block("make run", text), sample_output())
    for page, before, after in ((README, text, new), (COLUMNS, COLUMNS.read_text(encoding="utf-8"), column_tables())):
        page.write_text(after, encoding="utf-8")
        sys.stdout.write(f"{page.relative_to(ROOT)} {'rewritten' if after != before else 'unchanged'}\n")


if __name__ == "__main__":
    main()
