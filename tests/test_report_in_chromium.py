"""The report in a real browser: no log line runs, nothing is asked for, everybody can read and use it.

Needs `/usr/bin/chromium` (`apt-get install chromium`), Node and the packages that `make emulators` puts into `.venv/node`; without them
these tests are skipped, and say so.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ikestream.cli import main
from tests.test_report import BARE, BREAKING, MENDED, SAMPLES
from tests.test_terminal import HOSTILE, LONG, log

ROOT = Path(__file__).parent.parent
SCRIPT = Path(__file__).parent / "chromium.mjs"
MODULES = ROOT / ".venv" / "node" / "node_modules"
CHROMIUM = Path("/usr/bin/chromium")
NODE = shutil.which("node")
MISSING = [
    what
    for what, there in (
        ("Node", NODE),
        (f"{CHROMIUM} (apt-get install chromium)", CHROMIUM.exists()),
        (
            "playwright-core and axe-core (make emulators)",
            all((MODULES / n).exists() for n in ("playwright-core", "axe-core")),
        ),
    )
    if not there
]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"without {', '.join(MISSING)}")


def browse(page: Path) -> dict[str, Any]:
    command = [str(NODE), str(SCRIPT), str(MODULES.parent), str(CHROMIUM), str(page)]
    done = subprocess.run(command, capture_output=True, timeout=240, check=False)  # noqa: S603 - our own script
    assert done.returncode == 0, done.stderr.decode()
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def hostile(folder: Path) -> list[Path]:
    """A gateway for each text, in whose log it stands wherever somebody else's words can."""
    texts = {**BREAKING, **{name: HOSTILE[name] for name in ("bidi override", "line feed", "surrogate")}, "long": LONG}
    found = []
    for place, text in enumerate(texts.values()):
        (folder / str(place)).mkdir()
        found.append(log(text, folder / str(place), f"VNG-{place}"))
    return found


@pytest.fixture(scope="module", params=["samples", "up again", "without times", "hostile"])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("report")
    logs = {"samples": [SAMPLES], "up again": [MENDED], "without times": [BARE]}
    paths = logs.get(request.param) or hostile(folder)
    page = folder / "report.html"
    assert main(["report", *map(str, paths), "-o", str(page)]) == 0
    return browse(page)


def test_nothing_of_a_log_runs_and_nothing_is_asked_for(told: dict[str, Any]) -> None:
    assert told["broken"] is False
    assert told["requests"] == []
    assert told["errors"] == []  # a breach of the content security policy is one


def test_an_accessibility_checker_finds_nothing_serious(told: dict[str, Any]) -> None:
    assert [found for found in told["axe"] if found["impact"] in ("serious", "critical")] == []


def test_the_page_fits_a_phone(told: dict[str, Any]) -> None:
    assert told["overflow"] == [0, 0, 0]


def test_the_keyboard_reaches_everything(told: dict[str, Any]) -> None:
    assert told["keyboard"]["missed"] == []
    assert told["keyboard"]["reached"] == told["keyboard"]["wanted"] > 10


def test_a_message_that_has_the_focus_shows_its_lines(told: dict[str, Any]) -> None:
    assert told["steps"]
    assert all(step["shown"] == step["title"] for step in told["steps"])
    assert [step for step in told["steps"] if step["failed"]]


def test_the_theme_can_be_chosen(told: dict[str, Any]) -> None:
    light, dark = told["themes"]
    assert light != dark


def test_a_command_is_copied_as_it_stands(told: dict[str, Any]) -> None:
    assert told["copied"] == told["command"] != ""


def test_filters_narrow_down_and_are_cleared(told: dict[str, Any]) -> None:
    filters = told["filters"]
    assert filters["nothing"] == 0
    assert filters["again"] == filters["all"] > 0
    assert 0 < filters["cause"][1] <= filters["all"]
    assert filters["tracks"][0] == 0  # no tunnel of which an outage is shown


def test_a_stretch_of_time_narrows_incidents_and_timeline(told: dict[str, Any]) -> None:
    filters = told["filters"]
    if "axis" not in filters:
        pytest.skip("a log without times has no timeline")
    assert filters["before"] == 0
    whole, narrowed, again = filters["axis"]
    assert whole == again != narrowed
    assert narrowed == "01-01" + "".join(f"00:{minute:02}" for minute in (2, 4, 6, 8, 10))  # midnight shows its day
    bars, none, back = filters["bars"]
    assert bars == back > 0
    assert none == 0


def test_without_its_script_a_verdict_can_be_read(told: dict[str, Any]) -> None:
    assert "Incidents" in told["bare"]
    assert "Whose turn" in told["bare"]
    assert "Check first" in told["bare"]
