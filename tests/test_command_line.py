"""`python -m ikestream diagnose` as people run it: a process of its own, its output, its notes and its exit status."""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest

from ikestream import cli
from ikestream.incident import Row
from tests.expectations import CASES

ROOT = Path(__file__).parent.parent
POLICY = CASES / "IkePolicyMismatch" / "seed.log"
KEY = CASES / "PreSharedKeyMismatch" / "seed.log"
BARE = CASES / "PreSharedKeyMismatch" / "seed-bare-lines.log"
MENDED = CASES / "PreSharedKeyMismatch" / "down-five-minutes-and-up-again.log"
HEALTHY = CASES / "healthy" / "established-azure-initiates.log"
SCANNER = CASES / "healthy" / "policy-match-error-to-a-stranger.log"
COLUMNS = [c["name"] for c in orjson.loads((ROOT / "infra/tables/IkeDiagnosis.json").read_bytes())["columns"]]
ESCAPE = b"\x1b"


@dataclass(frozen=True)
class Ran:
    """What a process left behind."""

    status: int
    out: bytes
    err: bytes

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.out.splitlines()]

    @property
    def outages(self) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["Kind"] == "Outage"]

    @property
    def notes(self) -> list[str]:
        return self.err.decode().splitlines()


@cache
def run(
    *arguments: str | Path, stdin: bytes = b"", columns: int = 80, before: tuple[str, ...] = (), **environment: str
) -> Ran:
    clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TERM")}
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [*before, sys.executable, "-m", "ikestream", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        cwd=ROOT,
        env=clean | {"COLUMNS": str(columns)} | environment,
        timeout=60,
        check=False,
    )
    assert b"Traceback" not in done.stderr + done.stdout
    return Ran(done.returncode, done.stdout, done.stderr)


def diagnose(*arguments: str | Path, **more: Any) -> Ran:
    return run("diagnose", *arguments, **more)


# --- The table, for people ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("log", [POLICY, KEY, BARE, MENDED], ids=lambda log: f"{log.parent.name}-{log.stem}")
def test_no_line_of_prose_is_wider_than_the_terminal(log: Path, columns: int) -> None:
    ran = diagnose(log, "--commands", "all", columns=columns)
    (*_, verdict) = diagnose(log, "--output", "json").outages
    # A command is one line however long, so that it can be copied; everything else is broken at the edge.
    commands = {line for command in verdict["FixCommands"] for line in command["Command"].split("\n")}
    wide = [line for line in ran.out.decode().splitlines() if len(line) > columns]
    assert [line for line in wide if line.strip() not in commands] == []
    assert commands
    assert {line.strip() for line in wide} <= commands


def test_the_table_says_what_when_and_why() -> None:
    ran = diagnose(POLICY, columns=120)
    text = ran.out.decode()
    assert ran.status == 0
    assert "DOWN since 2020-09-18 15:43:12 UTC, 2 failed attempts" in text
    assert "IkePolicyMismatch, high confidence. Whose turn: Azure." in text
    assert "DhGroup     DHGroup2   DHGroup14" in text
    assert "[RECEIVED]Received Ike payload: Policy1:Cipher=AES-CBC-256 Integrity=SHA256 DhGroup=DhGroup14" in text
    assert "az network vpn-connection" in text
    assert ran.notes == []


def test_what_is_not_down_is_not_said_to_be(tmp_path: Path) -> None:
    assert "  BGP DOWN since " in diagnose(CASES / "BgpPeerDown" / "the-only-tunnel.log").out.decode()
    whole = (CASES / "GatewayMaintenance" / "one-instance-of-active-active.log").read_text("utf-8")
    lines = whole.splitlines(keepends=True)
    half = tmp_path / "half.log"
    last = max(n for n, line in enumerate(lines) if "TunnelDisconnected" in line)
    half.write_text("".join(lines[: last + 1]), "utf-8")  # one instance is away, the other carries everything
    text = diagnose(half).out.decode()
    assert "  DEGRADED since " in text
    assert "  DOWN since " not in text


def test_an_outage_that_is_over_is_told_with_its_duration() -> None:
    assert "was down from 2026-03-02 10:00:00 UTC to 2026-03-02 10:05:00 UTC, 300 s" in diagnose(MENDED).out.decode()


def test_a_healthy_log_says_so_in_one_line_and_what_is_weak_in_another() -> None:
    ran = diagnose(HEALTHY, columns=200)
    assert (ran.status, ran.err) == (0, b"")
    healthy, weak = ran.out.decode().splitlines()
    assert healthy == "No outage found in 11 records."
    assert weak.startswith("For the record, WeakCryptography: The tunnel to ")
    assert weak.endswith("DHGroup2 (phase 1).")


def test_what_is_for_the_record_is_one_paragraph_a_kind(tmp_path: Path) -> None:
    other = tmp_path / "another-peer.json"
    other.write_text(HEALTHY.read_text("utf-8").replace("198.51.100.7", "198.51.100.17"), "utf-8")
    ran = diagnose(HEALTHY, other, columns=300)
    assert ran.out.count(b"WeakCryptography") == 1
    assert ran.out.endswith(b" And 1 more like it.\n")


def test_what_is_of_one_connection_alone_is_said_of_each() -> None:
    log = CASES / "ConnectionSilent" / "three-of-four-in-ten-hours.log"
    said = diagnose(log, "--inventory", CASES.parent / "inventories" / "az", columns=300).out.decode()
    (silent,) = [line for line in said.splitlines() if "ConnectionSilent" in line]
    assert ("cn-hub" in silent, "cn-seattle" in silent, "more like it" in silent) == (True, True, False)


def test_an_advisory_is_told_after_the_outages_without_a_command() -> None:
    ran = diagnose(CASES / "RedundancyLost" / "one-leg-dead.log")
    assert ran.status == 0
    assert ran.out.startswith(b"No outage found in ")
    assert ran.out.count(b"Advisory, warning: RedundancyLost") == ran.out.count(b"Advisory, ") == 1
    assert b"az network" not in ran.out


def test_open_incidents_come_first() -> None:
    text = diagnose(MENDED, POLICY).out.decode()
    assert text.index("DOWN since") < text.index("was down from")


def test_commands_are_those_asked_for() -> None:
    default, fortios = diagnose(POLICY).out.decode(), diagnose(POLICY, "--commands", "fortios").out.decode()
    assert ("Azure, az," in default, "Peer, FortiOS," in default) == (True, False)
    assert ("Azure, az," in fortios, "Peer, FortiOS," in fortios) == (False, True)


# --- The note to the other company -----------------------------------------------------------------------------------


def test_commands_of_a_device_that_the_inventory_names_are_printed_without_asking(tmp_path: Path) -> None:
    text = (CASES / "PeerAddressMismatch" / "a-tag-says-whose-address-it-is.log").read_text("utf-8")
    log = tmp_path / "seattle.log"
    log.write_text(text.replace("203.0.113.8", "203.0.113.7"), "utf-8")  # where a FortiGate stands, as a tag says
    for arguments, named in (([], False), (["--inventory", CASES.parent / "inventories" / "az"], True)):
        out = diagnose(log, *arguments).out.decode()
        assert ("diagnose vpn ike gateway list name" in out) is named
        assert ("Junos" in out) is not named


def test_the_note_is_about_the_tunnel_that_is_down() -> None:
    ran = run("note", POLICY)
    text = ran.out.decode()
    assert (ran.status, ran.err) == (0, b"")
    assert text.startswith("IPsec tunnel to our Azure VPN gateway: not working\n")
    for needed in (
        "First failure:       2020-09-18 15:43:12 UTC",
        "phase 1 Diffie-Hellman group:",
        "we accept:   DHGroup2",
        "we received: DHGroup14",
        "SPIs to search for in your log",
        "Please keep phase 1 at AES256/SHA256/DHGroup14",
    ):
        assert needed in text, needed
    assert "SUBSCRIPTIONS" not in text.upper()


def test_of_a_tunnel_that_is_up_again_the_note_is_about_its_last_outage_if_it_is_named() -> None:
    without = run("note", MENDED)
    assert (without.status, without.out) == (0, b"")
    assert without.notes[0].startswith("No tunnel that is down in ")
    named = run("note", MENDED, "--remote-ip", "198.51.100.7")
    assert b"Your public address: 198.51.100.7\n" in named.out
    other = run("note", MENDED, "--remote-ip", "198.51.100.8")
    assert (other.status, other.out) == (0, b"")


def test_the_note_of_lines_without_a_clock_admits_it() -> None:
    ran = run("note", BARE)
    assert b"First failure:       not known\n" in ran.out


def test_the_note_of_a_file_that_cannot_be_read_is_status_2() -> None:
    assert run("note", "no-such-file.json").status == 2


# --- JSON, for programs ---------------------------------------------------------------------------------------------


def test_json_is_every_revision_in_the_order_told_with_every_column(tmp_path: Path) -> None:
    log = CASES / "PreSharedKeyMismatch" / "policy-mended-then-the-key-is-wrong.log"
    other = tmp_path / "another-peer.json"  # the same gateway: its revisions come between those of the first
    other.write_text(MENDED.read_text("utf-8").replace("198.51.100.7", "198.51.100.17"), "utf-8")
    ran = diagnose(log, other, POLICY, "--output", "json")
    assert ran.status == 0
    assert ran.out.endswith(b"\n")
    assert all(list(row) == COLUMNS for row in ran.rows)
    told: dict[str, list[dict[str, Any]]] = {}
    for row in ran.outages:
        told.setdefault(row["IncidentId"], []).append(row)
    assert len(told) == 3
    for rows in told.values():
        assert [row["Revision"] for row in rows] == list(range(1, len(rows) + 1))
        assert len({row["TimeGenerated"] for row in rows}) == len(rows)
    assert [row["TimeGenerated"] for row in ran.rows] == sorted(row["TimeGenerated"] for row in ran.rows)
    assert [row["State"] for row in ran.outages if row["RemoteIP"] == "198.51.100.17"] == ["Open", "Resolved"]


def test_json_of_the_mended_policy_keeps_the_first_cause() -> None:
    log = CASES / "PreSharedKeyMismatch" / "policy-mended-then-the-key-is-wrong.log"
    rows = diagnose(log, "--output", "json").rows
    assert [rows[0]["Cause"], rows[-1]["Cause"]] == ["IkePolicyMismatch", "PreSharedKeyMismatch"]
    assert {row["OpenedAs"] for row in rows} == {"IkePolicyMismatch"}
    assert {row["IncidentId"] for row in rows} == {rows[0]["IncidentId"]}


def test_the_note_names_gcm_once_and_says_that_pfs_is_off(tmp_path: Path) -> None:
    path = tmp_path / "IkeLogs.txt"
    prefix = "Remote 203.0.113.7:500: Local 198.51.100.20:500: "
    path.write_text(
        f"{prefix}[RECEIVED]Received IPSec payload: Policy1:Cipher=DESIntegrity=Md5\n"
        f"{prefix}[SEND][NOTIFY] Sending Notify Message - Policy Mismatch\n",
        "utf-8",
    )
    for peer in ("--peer", "--remote-ip"):
        text = run("note", path, peer, "203.0.113.7").out.decode()
        assert "Please set phase 2 of this tunnel to GCMAES256, without PFS." in text


def test_json_of_lines_without_a_clock_has_every_column_and_no_times() -> None:
    rows = diagnose(BARE, "--output", "json").rows
    assert [list(row) for row in rows] == [COLUMNS]
    times = ("TimeGenerated", "FirstSeen", "LastSeen", "ResolvedAt", "DurationSeconds")
    assert [rows[0][name] for name in times] == [None] * len(times)


def test_json_of_a_healthy_log_holds_no_outage() -> None:
    ran = diagnose(HEALTHY, "--output", "json", "--fail-on", "outage")
    assert ran.status == 0
    assert [(row["Cause"], row["Severity"]) for row in ran.rows] == [("WeakCryptography", "Informational")]


# --- What PATH may be -----------------------------------------------------------------------------------------------


def verdict(ran: Ran) -> list[tuple[str, str, str]]:
    return [(row["RemoteIP"], row["Cause"], row["Confidence"]) for row in ran.rows]


def test_path_may_be_standard_input_gzip_a_directory_or_several(tmp_path: Path) -> None:
    expected = [("168.62.186.148", "IkePolicyMismatch", "High")]
    assert verdict(diagnose("-", "--output", "json", stdin=POLICY.read_bytes())) == expected
    assert verdict(diagnose("-", "--output", "json", stdin=gzip.compress(POLICY.read_bytes(), mtime=0))) == expected
    packed = tmp_path / "hour.json.gz"
    packed.write_bytes(gzip.compress(POLICY.read_bytes(), mtime=0))
    assert verdict(diagnose(packed, "--output", "json")) == expected
    folder = tmp_path / "logs"
    (folder / "y=2020" / "m=09").mkdir(parents=True)
    bodies = POLICY.read_text("utf-8").splitlines(keepends=True)
    (folder / "y=2020" / "PT1H.json").write_text("".join(bodies[:1]), "utf-8")
    (folder / "y=2020" / "m=09" / "PT1H.json").write_text("".join(bodies[1:]), "utf-8")
    assert verdict(diagnose(folder, "--output", "json")) == expected
    halves = sorted(folder.rglob("*.json"))
    assert verdict(diagnose(*halves, "--output", "json")) == expected
    assert verdict(diagnose(*halves, folder, packed, "--output", "json")) == expected


def test_the_gateway_of_bare_lines_is_the_file_or_what_is_asked_for() -> None:
    assert [row["GatewayName"] for row in diagnose(BARE, "--output", "json").rows] == ["seed-bare-lines"]
    assert [row["GatewayName"] for row in diagnose(BARE, "--output", "json", "--gateway", "vng-east").rows] == [
        "vng-east"
    ]


# --- What goes wrong with a file: one clear line each, the rest is read ---------------------------------------------


def test_a_file_that_does_not_exist_is_one_line_and_status_2() -> None:
    ran = diagnose("no-such-file.json")
    assert (ran.status, ran.out, ran.notes) == (2, b"", ["no-such-file.json: Does not exist."])


@pytest.mark.parametrize(
    "content", [b"", b"\n\n  \n", gzip.compress(b"", mtime=0)], ids=["empty", "blank", "gzip of nothing"]
)
def test_an_empty_file_is_one_line_and_status_2(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "empty.json"
    path.write_bytes(content)
    ran = diagnose(path)
    assert (ran.status, ran.out, ran.notes) == (2, b"", [f"{path}: Is empty."])


def test_empty_standard_input_is_one_line_and_status_2() -> None:
    ran = diagnose("-")
    assert (ran.status, ran.out, ran.notes) == (2, b"", ["standard input: Is empty."])


def test_a_binary_file_is_one_line_and_status_2(tmp_path: Path) -> None:
    path = tmp_path / "capture.pcap"
    path.write_bytes(b"\xd4\xc3\xb2\xa1\x02\x00\x04\x00" + bytes(range(256)) * 40)
    ran = diagnose(path)
    assert (ran.status, ran.out, len(ran.notes)) == (2, b"", 1)
    assert "Is binary, not text" in ran.notes[0]


def test_a_file_that_is_no_log_is_one_line_and_status_2(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("Call the data centre.\nBuy milk.\n", "utf-8")
    ran = diagnose(path)
    assert (ran.status, ran.out, len(ran.notes)) == (2, b"", 1)
    assert "no line of it looks like an IKE log" in ran.notes[0]


def test_a_file_that_cannot_be_opened_is_one_line_and_status_2(tmp_path: Path) -> None:
    path = tmp_path / "loop.json"
    path.symlink_to(path)
    ran = diagnose(path)
    assert (ran.status, ran.out, len(ran.notes)) == (2, b"", 1)
    assert ran.notes[0].startswith(f"{path}: Cannot be read: ")


def test_a_file_that_may_not_be_read_is_one_line_and_status_2(tmp_path: Path) -> None:
    path = tmp_path / "secret.json"
    path.write_bytes(POLICY.read_bytes())
    path.chmod(0)
    before: tuple[str, ...] = ()
    if os.access(path, os.R_OK):  # root reads everything, unless it gives that right away
        if not (setpriv := shutil.which("setpriv")):
            pytest.skip("runs as root, and there is no setpriv to give root's rights away")
        before = (setpriv, "--bounding-set", "-dac_override,-dac_read_search")
    ran = diagnose(path, before=before)
    assert (ran.status, ran.out, ran.notes) == (2, b"", [f"{path}: May not be read: no permission."])


def test_broken_json_among_good_lines_costs_only_itself(tmp_path: Path) -> None:
    bodies = POLICY.read_text("utf-8").splitlines()
    path = tmp_path / "cut.json"
    path.write_text("\n".join([bodies[0], '{"records": [{"time": "2020-', *bodies[1:], '{"reco']) + "\n", "utf-8")
    ran = diagnose(path, "--output", "json")
    whole = diagnose(POLICY, "--output", "json").rows
    assert ran.status == 0
    assert ran.rows == whole
    assert ran.notes[0] == f"{path}, lines 2, {len(bodies) + 2}: 2 lines are broken and left out; the rest was read."
    assert ran.notes[1:] == ["8 records read"]


def test_a_bad_file_does_not_hide_the_verdict_of_a_good_one(tmp_path: Path) -> None:
    empty = tmp_path / "empty.json"
    empty.write_bytes(b"")
    ran = diagnose("no-such-file.json", POLICY, empty, "--output", "json")
    assert ran.status == 2
    assert verdict(ran)[-1] == ("168.62.186.148", "IkePolicyMismatch", "High")
    assert "no-such-file.json: Does not exist." in ran.notes
    assert f"{empty}: Is empty." in ran.notes


def test_a_line_that_cannot_be_read_is_counted_by_shape(tmp_path: Path) -> None:
    path = tmp_path / "new-words.log"
    path.write_text(BARE.read_text("utf-8") + "[LOCAL_MSG] Frobnicated the tunnel 12 times\n" * 3, "utf-8")
    ran = diagnose(path, "--output", "json")
    assert [row["Cause"] for row in ran.rows] == ["PreSharedKeyMismatch"]
    assert sum("not read, 3x: " in note and "Frobnicated" in note for note in ran.notes) == 1


# --- Options and exit status ----------------------------------------------------------------------------------------


def test_fail_on_outage_gives_1_only_for_an_outage() -> None:
    assert diagnose(POLICY, "--fail-on", "outage").status == 1
    assert diagnose(MENDED, "--fail-on", "outage").status == 1
    assert diagnose(HEALTHY, "--fail-on", "outage").status == 0
    assert diagnose(POLICY).status == 0
    assert diagnose(POLICY, "no-such-file.json", "--fail-on", "outage").status == 2


def test_a_peer_that_only_calls_is_judged_when_it_is_named() -> None:
    without = diagnose(SCANNER, "--output", "json")
    assert {(row["Cause"], row["RemoteIP"], row["Scope"]) for row in without.rows} == {("UnknownPeer", "", "Gateway")}
    assert sum("198.51.100.99" in note and "add --peer" in note for note in without.notes) == 1
    named = diagnose(SCANNER, "--output", "json", "--peer", "198.51.100.99")
    assert verdict(named)[-1][:2] == ("198.51.100.99", "IkePolicyMismatch")
    assert not any("--peer" in note for note in named.notes)
    assert diagnose(SCANNER, "--output", "json", "--peer", "198.51.100.98").rows == without.rows


@pytest.mark.parametrize(
    "arguments",
    [("diagnose",), ("diagnose", POLICY, "--peer", "router-7"), ("diagnose", POLICY, "--fail-on", "x"), ("mend",), ()],
)
def test_wrong_usage_is_status_2_and_says_how(arguments: tuple[str | Path, ...]) -> None:
    ran = run(*arguments)
    assert (ran.status, ran.out) == (2, b"")
    (said,) = ran.notes
    assert said.startswith("ikestream")
    assert said.endswith(" --help")


def parser_of(command: str) -> argparse.ArgumentParser:
    subcommands = next(a for a in cli.parser()._actions if isinstance(a, argparse._SubParsersAction))
    found = subcommands.choices[command]
    assert isinstance(found, argparse.ArgumentParser)
    return found


COMMANDS = ("diagnose", "report", "events", "note", "watch", "redrive", "drill")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_examples_that_the_command_takes(command: str) -> None:
    ran = run(command, "--help")
    assert ran.status == 0
    prose, _, examples = ran.out.decode().partition("examples:\n")
    assert (
        max(map(len, prose.partition("\n\n")[2].splitlines())) <= 80
    )  # behind the usage, which argparse breaks where it can
    lines = examples.splitlines()
    shown = [line.rpartition("| ")[2].partition(" > ")[0].strip() for line in lines if "python -m ikestream" in line]
    assert len(shown) >= (1 if command == "note" else 2)
    for example in shown:
        python, dash, name, *words = shlex.split(example)
        assert (python, dash, name, words[0]) == ("python", "-m", "ikestream", command)
        parser_of(command).parse_args(words[1:])  # it exits, which fails, for an option that is not there


@pytest.mark.parametrize(
    "arguments",
    [
        ("watch",), ("drill",), ("redrive",),
        ("drill", "--wait", "--workspace", "00000000-0000-0000-0000-000000000000"),
    ],
)  # fmt: skip
def test_a_command_that_needs_azures_sdk_says_how_to_install_it(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "azure"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "azure", None)  # as if it were not there
    assert cli.main([*arguments, "--namespace", "contoso.servicebus.windows.net"]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"{arguments[0]}: the ")
    assert line.endswith("SDK is not installed: pip install -r requirements.txt")


def test_the_help_names_every_command() -> None:
    told = run("--help").out.decode()
    for command in COMMANDS:
        assert re.search(rf"^    {command} +\S", told, re.MULTILINE), command
    listed = next(a for a in cli.parser()._actions if isinstance(a, argparse._SubParsersAction)).choices
    assert set(listed) == set(COMMANDS)
    assert run("--version").out.decode().startswith("ikestream ")


# --- Terminals and pipes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}, {"TERM": "dumb"}, {"TERM": "xterm-256color"}])
def test_no_escape_codes_where_no_terminal_is(environment: dict[str, str]) -> None:
    ran = diagnose(POLICY, SCANNER, "no-such-file.json", **environment)
    assert ESCAPE not in ran.out + ran.err
    assert ran.out


def on_a_terminal(*arguments: str | Path, **environment: str) -> bytes:
    """Run with a pseudo-terminal as standard output and error; return what it shows."""
    ours, theirs = os.openpty()
    clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS")}
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "ikestream", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        cwd=ROOT,
        env=clean | {"TERM": "xterm-256color"} | environment,
    ):
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 65536):
                shown += piece
        except OSError:  # Linux's way to say that the other end is closed
            pass
    os.close(ours)
    return shown


def test_a_terminal_gets_colour_unless_no_color_is_set() -> None:
    assert b"\x1b[1;31mDOWN" in on_a_terminal("diagnose", POLICY)
    plain = on_a_terminal("diagnose", POLICY, NO_COLOR="1")
    assert b"DOWN" in plain
    assert b"\x1b[31m" not in plain
    assert b"\x1b[1;31m" not in plain
    assert b";3" not in plain


@pytest.mark.parametrize(("command", "bars"), [("diagnose", (b"reading", b"judging")), ("events", (b"reading",))])
def test_a_terminal_sees_how_far_long_work_is_and_a_pipe_does_not(command: str, bars: tuple[bytes, ...]) -> None:
    shown = on_a_terminal(command, POLICY)
    for bar in bars:
        assert bar in shown
        # It is gone when there is something to read.
        assert bar not in shown.rpartition(b"\x1b[?25h")[2]
    quiet = run(command, POLICY)
    assert not [bar for bar in bars if bar in quiet.err]


@pytest.mark.parametrize("output", ["table", "json", "events"])
def test_a_reader_that_goes_away_is_no_error(output: str, tmp_path: Path) -> None:
    # More output than a pipe holds, so that writing really meets the closed end.
    line = POLICY.read_text("utf-8")
    path = tmp_path / "many.json"
    path.write_text("".join(line.replace("168.62.186.148", f"198.51.100.{n}") for n in range(1, 40)), "utf-8")
    command = ["diagnose", "--output", output] if output != "events" else ["events"]
    with subprocess.Popen(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "ikestream", *command, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        # 1 would mean that an outage was found and asked for.
        assert process.wait(60) == 0


def test_table_and_json_agree() -> None:
    row = diagnose(POLICY, "--output", "json").rows[-1]
    text = " ".join(diagnose(POLICY, columns=120).out.decode().split())
    assert " ".join(row["Summary"].split()) in text
    for sentence in row["Fix"].split("\n"):
        assert " ".join(sentence.split()) in text
    assert json.dumps(row["Mismatch"][0]["Peer"][0]).strip('"') in text


def test_json_is_written_while_the_log_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a month there are more rows than fit in memory."""
    out = io.BytesIO()
    written: list[int] = []

    def replay(*given: Any) -> Iterator[Row]:
        for row in replay_of_cli(*given):
            yield row
            written.append(out.getvalue().count(b"\n"))

    replay_of_cli = cli.replay
    monkeypatch.setattr(cli, "replay", replay)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out))
    assert cli.main(["diagnose", str(POLICY), "--output", "json"]) == 0
    assert written == list(range(1, len(written) + 1))
    assert written
