"""Text that a peer chose, on its way to a terminal: it cannot move the cursor, colour, link, or forge a line.

Everything is asserted on the bytes written; `FORCE_COLOR` makes it write as to a terminal.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikestream.cli import main
from ikestream.terminal import plain

ROOT = Path(__file__).parent.parent
GATEWAY = "/SUBSCRIPTIONS/00000000-0000-0000-0000-000000000000/RESOURCEGROUPS/RG-NET/PROVIDERS/MICROSOFT.NETWORK/VIRTUALNETWORKGATEWAYS/"
COLOUR = re.compile(rb"\x1b\[[0-9;]*m")
"""All that our own output may hold besides text: select graphic rendition. No cursor, no title, no link."""

HOSTILE = {
    "colour": "\x1b[32mAll tunnels are up\x1b[0m",
    "clear screen and cursor": "\x1b[2J\x1b[1;1H\x1b[10A",
    "8-bit control": "\x9b31mred\x9b0m",
    "window title": "\x1b]0;owned\x07",
    "link": "\x1b]8;;https://evil.example/\x1b\\click\x1b]8;;\x1b\\",
    "carriage return": "\rNo outage found in 9 records.",
    "line feed": "x\n  DOWN since 2026-03-02 10:00:00 UTC\n  PreSharedKeyMismatch, high confidence. Whose turn: Azure.",
    "other line ends": "a\x0bb\x0cc\x85d\u2028e\u2029f",
    "backspaces": "refused" + "\x08" * 7 + "granted",
    "markup": "[red]red[/red] [bold]bold[/] [link=https://evil.example]here[/link] [/nonsense] [@click=app.quit]q[/]",
    "emoji code": ":warning: :smiley:",
    "bidi override": "\u202egnp.exe\u202c \u2066isolated\u2069 \u200fright",
    "zero width": "pass\u200bword\ufeff\u00ad",
    "surrogate": "\ud83d alone",
    "bell and null": "\x07\x00\x7f",
}
LONG = "A" * 50_000 + "\x1b[31m"


def log(text: str, folder: Path, gateway: str = "VNG-HUB") -> Path:
    """A refused key in which `text` stands wherever somebody else's words can."""
    prefix = "SESSION_ID :{3baa1cd0-77ec-40e6-b0d6-7ef40b2372a5} Remote 198.51.100.7:500: Local 203.0.113.4:500: "
    bodies = [
        "[SEND][SA_INIT] Sending IKE SA_INIT packet with tunnelId 0x3, iCookie 0xCBF235637168FA00 and rCookie 0x0",
        f"[SEND][SA_AUTH] Sending SA AUTH message for tunnelId 0x3 and tsId 0x37 {text}",
        f"[RECEIVED][NOTIFY] Received Notify Message - Authentication failed {text}",
        f"[LOCAL_MSG] IKE Tunnel closed for tunnelId 0x3 with status IKE authentication credentials are unacceptable {text}",
        f"[RECEIVED]Received Ike payload: Policy1:Cipher={text} Integrity={text} DhGroup=DhGroup{text}",
        f"{text} words nobody knows",
    ]

    def record(second: int, category: str, operation: str, properties: dict[str, str]) -> dict[str, object]:
        return {
            "time": f"2026-03-02T10:00:{second:02}.0000000Z",
            "resourceId": GATEWAY + gateway,
            "category": category,
            "operationName": operation,
            "properties": properties,
        }

    records = [
        record(n, "IKEDiagnosticLog", "IKELogEvent", {"instance": "GatewayTenantWorker_IN_0", "message": prefix + body})
        for n, body in enumerate(bodies)
    ]
    # Another tunnel, in which the text stands for algorithms: they come back in summary, table and fix.
    other = prefix.replace("198.51.100.7", "198.51.100.9").replace("3baa1cd0", "4baa1cd0")
    value = "".join(text[:200].split(" "))
    offers = [
        "[SEND][SA_INIT] Sending IKE SA_INIT packet with tunnelId 0x4, iCookie 0xDBF235637168FA00 and rCookie 0x0",
        "[RECEIVED][NOTIFY] Received Notify Message - Policy Mismatch",
    ]
    caller = other.replace("4baa1cd0", "5baa1cd0")
    asked = [
        "[RECEIVED][SA_INIT] Received SA INIT iCookie 0xEBF235637168FA00 rCookie 0x0",
        f"[RECEIVED]Received Ike payload: Policy1:Cipher={value} Integrity=x{value} DhGroup=DhGroup{value}",
        "[SEND][NOTIFY] Sending Notify Message - Policy Mismatch",
    ]
    records += [
        record(n, "IKEDiagnosticLog", "IKELogEvent", {"message": line})
        for n, line in enumerate([other + body for body in offers] + [caller + body for body in asked], start=10)
    ]
    records.append(
        record(
            30,
            "TunnelDiagnosticLog",
            "TunnelDisconnected",
            {
                "instance": text,
                "remoteIP": "198.51.100.8",
                "status": "Disconnected",
                "stateChangeReason": text,
                "message": text,
            },
        )
    )
    records.append({"time": text, "resourceId": text, "category": text, "properties": {}})
    path = folder / "hostile.json"
    path.write_text("".join(json.dumps({"records": [r]}) + "\n" for r in records), "ascii")
    return path


Shown = Callable[..., tuple[bytes, bytes]]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> Shown:
    """Run the command line and return the bytes of its standard output and error."""

    def run(*arguments: str | Path, columns: int = 100, colour: bool) -> tuple[bytes, bytes]:
        for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("TERM", "xterm-256color")
        if colour:
            monkeypatch.setenv("FORCE_COLOR", "1")
        assert main([str(a) for a in arguments]) == 0
        out, err = capfdbinary.readouterr()
        return out, without_bar(err)

    return run


def without_bar(err: bytes) -> bytes:
    # The progress bar is drawn before anything is told, hides the cursor once and shows it once; it holds no text of a log.
    bar, shown_again, notes = err.partition(b"\x1b[?25h\r\x1b[1A\x1b[2K")
    if not shown_again:
        return err
    assert bar.startswith(b"\x1b[?25l")
    return notes


def assert_tame(out: bytes) -> None:
    text = COLOUR.sub(b"", out).decode("utf-8")
    bad = {f"U+{ord(c):04X}" for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert bad == set()


@pytest.mark.parametrize("command", ["diagnose", "events"])
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_control_character_of_a_log_reaches_the_terminal(
    shown: Shown, text: str, command: str, tmp_path: Path
) -> None:
    for stream in shown(command, log(text, tmp_path), colour=True):
        assert_tame(stream)


def test_the_text_stands_where_it_can_do_harm(shown: Shown, tmp_path: Path) -> None:
    # Else the tests here would prove nothing: in evidence, as reason and as algorithm.
    out, _ = shown("diagnose", log("\x1b[32mup", tmp_path), "--output", "json", colour=False)
    rows = {row["RemoteIP"]: row for row in map(json.loads, out.splitlines())}
    assert "\x1b[32mup" in json.loads(json.dumps(rows["198.51.100.8"]["Explanation"]))
    assert any("\x1b[32mup" in line["Message"] for line in rows["198.51.100.7"]["Evidence"])
    assert ["\x1b[32mup"] in [mismatch["Peer"] for mismatch in rows["198.51.100.9"]["Mismatch"]]
    assert "\x1b[32mup" in rows["198.51.100.9"]["Summary"]


def test_what_a_control_character_was_can_still_be_read(shown: Shown, tmp_path: Path) -> None:
    out, _ = shown("diagnose", log(HOSTILE["colour"], tmp_path), colour=False)
    assert b"\\x1b[32mAll tunnels are up\\x1b[0m" in b" ".join(out.split())


def test_markup_is_text(shown: Shown, tmp_path: Path) -> None:
    out, _ = shown("diagnose", log(HOSTILE["markup"], tmp_path), columns=400, colour=False)
    assert HOSTILE["markup"].encode() in out
    coloured, _ = shown("diagnose", log(HOSTILE["markup"], tmp_path), columns=400, colour=True)
    assert COLOUR.sub(b"", coloured) == out  # colour adds nothing but colour
    assert b"\x1b[31mred" not in coloured


def test_an_emoji_code_is_text(shown: Shown, tmp_path: Path) -> None:
    out, _ = shown("diagnose", log(HOSTILE["emoji code"], tmp_path), columns=400, colour=False)
    assert b":warning: :smiley:" in out


@pytest.mark.parametrize("which", ["line feed", "carriage return", "other line ends"])
def test_a_line_cannot_be_forged(shown: Shown, which: str, tmp_path: Path) -> None:
    # As many verdicts as the log without the text, and no line that begins as the forged ones do.
    harmless, _ = shown("diagnose", log("harmless", tmp_path), columns=400, colour=False)
    out, _ = shown("diagnose", log(HOSTILE[which], tmp_path), columns=400, colour=False)
    for start in (b"DOWN", b"PreSharedKeyMismatch", b"No outage", b"was down"):
        assert starting(out, start) == starting(harmless, start)


def starting(out: bytes, start: bytes) -> int:
    return sum(line.strip().startswith(start) for line in re.split(rb"[\r\n\x0b\x0c\x85]", out))


def test_the_gateway_name_is_somebody_elses_text_too(shown: Shown, tmp_path: Path) -> None:
    for text in (HOSTILE["colour"], HOSTILE["markup"], HOSTILE["bidi override"], HOSTILE["line feed"]):
        for stream in shown("diagnose", log("x", tmp_path, gateway=text), "--commands", "all", colour=True):
            assert_tame(stream)


def test_the_name_of_a_file_is_somebody_elses_text_too(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31m\n[red]\u202e.json"
    path.write_bytes(b"")
    done = subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-m", "ikestream", "diagnose", path], capture_output=True, cwd=ROOT, timeout=60, check=False
    )
    assert done.returncode == 2
    assert_tame(done.stderr)
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["diagnose", "events"])
def test_a_very_long_text_is_cut_or_broken_and_stays_tame(shown: Shown, command: str, tmp_path: Path) -> None:
    out, err = shown(command, log(LONG, tmp_path), columns=80, colour=True)
    assert_tame(out)
    assert_tame(err)
    if command == "diagnose":  # two lines of it prove as much as a thousand
        assert len(out) < 30_000
        assert max(len(line) for line in COLOUR.sub(b"", out).decode().splitlines()) < 400


def test_json_keeps_the_words_and_is_one_line_a_row(shown: Shown, tmp_path: Path) -> None:
    for name, text in HOSTILE.items():
        out, _ = shown("diagnose", log(text, tmp_path), "--output", "json", colour=True)
        rows = [json.loads(line) for line in out.decode("utf-8").split("\n")[:-1]]
        assert rows, name
        # JSON escapes the C0 controls itself; nothing may colour a terminal it is printed on.
        assert not re.search(rb"[\x00-\x09\x0b-\x1f]", out), name
    markup = [
        json.loads(line)
        for line in shown("diagnose", log(HOSTILE["markup"], tmp_path), "--output", "json", colour=True)[0].splitlines()
    ]
    assert any(HOSTILE["markup"] in line["Message"] for row in markup for line in row["Evidence"])


@given(st.text())
def test_plain_text_has_nothing_hidden_and_loses_nothing_visible(text: str) -> None:
    told = plain(text)
    assert_tame(told.encode("utf-8"))
    assert "\n" not in told
    visible = [c for c in text if c.isalnum() or c in " -_.:[]"]
    rest = iter(told)
    assert all(c in rest for c in visible)  # in order
