"""What the trigger loads when it starts cold, which it does most often: no more than a batch needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SAMPLE = ROOT / "ikestream" / "data" / "samples" / "2-policy.json"
BATCH = f"""
import asyncio, sys
import function_app
from ikestream.batch import Delivery
body = open({str(SAMPLE)!r}, "rb").read()
loaded = set(sys.modules)
asyncio.run(function_app.running.learn([Delivery("0", "0", 0, 1_772_445_600_000, body)]))
print(*sorted(loaded), ";", *sorted(sys.modules))
"""


@pytest.fixture(scope="module")
def loaded() -> tuple[set[str], set[str]]:
    """The modules after the import, and after the first batch, which goes into a store in memory."""
    run = subprocess.run([sys.executable, "-c", BATCH], cwd=ROOT, env={}, capture_output=True, text=True, check=True)  # noqa: S603
    before, after = run.stdout.split(";")
    return set(before.split()), set(after.split())


def test_what_judges_and_tells_is_not_loaded_by_a_batch(loaded: tuple[set[str], set[str]]) -> None:
    assert "ikestream.grammar" in loaded[0]
    for judges in ("tunnel", "estate", "status", "tick", "monitor", "rules", "remedy", "verdict", "incident"):
        assert f"ikestream.{judges}" not in loaded[1]


def test_no_client_of_azure_is_loaded_before_it_is_asked_for(loaded: tuple[set[str], set[str]]) -> None:
    for client in ("azure.data", "azure.eventhub", "azure.identity", "azure.monitor", "azure.core", "aiohttp", "rich"):
        assert client not in loaded[0]
