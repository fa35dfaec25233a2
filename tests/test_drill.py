"""`drill`: the scripted tunnel says what it is meant to, is known as a drill, and goes into a hub with the real SDK."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from ikestream import drill
from ikestream.estate import Estate
from ikestream.events import Category, Record
from ikestream.grammar import read
from ikestream.tick import tell
from ikestream.verdict import DRILLS
from tests.emulators.hub import LocalHub
from tests.streams import GATEWAY, START, in_order
from tests.test_command_line import ROOT, diagnose, run

NOW = 1_795_000_000_000


@pytest.mark.parametrize("cause", drill.scenarios())
@pytest.mark.parametrize("number", [1, 2, 77])
def test_a_scenario_is_an_outage_of_its_cause_that_ends_and_a_drill(cause: str, number: int, tmp_path: Path) -> None:
    failing, mending = drill.script(drill.scenarios()[cause], cause, number, now=NOW, back=180)
    log = tmp_path / "drill.jsonl"
    log.write_bytes(b"".join(body + b"\n" for body in (*failing, *mending)))
    (verdict,) = diagnose(log, "--output", "json").outages[-1:]
    assert (verdict["Cause"], verdict["State"], verdict["Drill"]) == (cause, "Resolved", True)
    assert verdict["GatewayName"] == f"DRILL-{cause}-{number}".upper()


def test_the_last_line_of_the_failing_part_is_of_now() -> None:
    failing, mending = drill.script(
        drill.scenarios()["PreSharedKeyMismatch"], "PreSharedKeyMismatch", 5, now=NOW, back=60
    )
    times = [record["time"] for body in failing for record in orjson.loads(body)["records"]]
    assert max(times).startswith("2026-11-18T11:06:40.000")
    assert {r["time"][:19] for body in mending for r in orjson.loads(body)["records"]} == {"2026-11-18T11:07:40"}


def test_no_line_of_a_peer_makes_its_outage_a_drill() -> None:
    text = f"[RECEIVED][NOTIFY] Received Notify Message - {DRILLS} Drill: true ikestream-drill"
    lines = [
        Record(
            START, GATEWAY, Category.TUNNEL, "TunnelConnected", DRILLS, text, "", "203.0.113.7", "Connected", DRILLS
        ),
        Record(
            START + 60_000, GATEWAY, Category.TUNNEL, "TunnelDisconnected", DRILLS, text, "", "203.0.113.7", "", DRILLS
        ),
    ]
    rows = in_order(lines)
    assert rows
    assert {row["Drill"] for row in rows} == {False}
    played = Estate()
    for line in lines:
        record = Record(
            line.at, f"{DRILLS}providers/x".upper(), line.category, line.operation, "i", "", "", line.remote_ip
        )
        played.learn(read(record), record.at or 0)
    assert {row["Drill"] for row in tell(played, START + 600_000)} == {True}


def test_the_list_names_each_scenario_in_one_line() -> None:
    ran = run("drill", "--list")
    assert ran.status == 0
    assert [line.partition(":")[0] for line in ran.out.decode().splitlines()] == list(drill.scenarios())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--scenario", "Nonsense", "--output", "x"), "drill: there is no scenario Nonsense; --list names them"),
        ((), "drill: say where to: "),
        (("--output", "no/such/folder/x"), "drill: no/such/folder/x cannot be written: "),
        (("--connection-string-file", "no-such-file"), "drill: the connection string cannot be read: "),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments: tuple[str, ...], said: str) -> None:
    ran = run("drill", *arguments)
    assert (ran.status, ran.out) == (2, b"")
    (line,) = ran.notes
    assert line.startswith(said)


def test_it_goes_into_the_hub_and_comes_back(tmp_path: Path) -> None:
    with LocalHub({"vpn-logs": 2}) as hub:
        secret = tmp_path / "hub.txt"
        secret.write_text(hub.connection_string())
        done = subprocess.run(  # noqa: S603 - our own command
            [sys.executable, "-m", "ikestream", "drill", "--connection-string-file", str(secret), "--duration", "1"],
            capture_output=True, cwd=ROOT, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"It is back" in done.stdout
        assert b"where Drill and GatewayName" in done.stdout
        heads = sum(part.head + 1 for part in hub.hubs["vpn-logs"])
    failing, mending = drill.script(
        drill.scenarios()["PreSharedKeyMismatch"], "PreSharedKeyMismatch", 5, now=NOW, back=1
    )
    assert heads >= len(mending) + 1
    assert failing


def test_a_hub_that_is_not_there_is_one_line_without_the_key(tmp_path: Path) -> None:
    with LocalHub({"vpn-logs": 1}) as hub:
        secret = tmp_path / "hub.txt"
        secret.write_text(hub.connection_string())
        ran = run("drill", "--connection-string-file", secret, "--hub", "nowhere")
        key = hub.connection_string().partition("SharedAccessKey=")[2].partition(";")[0]
    assert ran.status == 2
    assert len(ran.notes) == 1
    assert key.encode() not in ran.err + ran.out
