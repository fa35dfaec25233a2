"""`redrive`: what was put aside goes back to the hub it came from; with the real SDK against a local hub."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

import orjson
import pytest
from proton import Message

from ikestream import batch, redrive
from ikestream.batch import Delivery
from ikestream.cli import main
from ikestream.dead_letters import DeadLetterHub
from ikestream.hubs import Hubs
from ikestream.monitor import Refused
from tests.emulators.hub import KEY, LocalHub
from tests.test_dead_letters import ENQUEUED, LIMIT, configured, found

ROW = {"IncidentId": "0123456789", "Revision": 3, "Summary": "a secret of the peer"}
Run: TypeAlias = Callable[..., tuple[int, str, str]]


@pytest.fixture
def local() -> Iterator[LocalHub]:
    with LocalHub({"vpn": 2, "dead": 1, "other": 1, "many": 3}) as local:
        yield local


@pytest.fixture
def run(local: LocalHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    file = tmp_path / "hub.txt"
    file.write_text(local.connection_string() + "\n", encoding="utf-8")

    def ran(*options: str, source: str = "dead") -> tuple[int, str, str]:
        status = main(["redrive", "--connection-string-file", str(file), "--from", source, *options])
        printed = capsys.readouterr()
        assert KEY not in printed.out + printed.err
        return status, printed.out, printed.err

    return ran


def aside(local: LocalHub, *bodies: bytes) -> None:
    """Put bodies aside as the app does."""
    dead = batch.sort([Delivery("1", str(n * 9), n, ENQUEUED, body) for n, body in enumerate(bodies)])[1].dead
    assert len(dead) == len(bodies)
    asyncio.run(DeadLetterHub(configured(local)).put_aside(dead))


def aside_row(local: LocalHub) -> None:
    refused = Refused("row", orjson.dumps(ROW), "log_analytics: 400")
    asyncio.run(DeadLetterHub(configured(local))([refused]))


def back(local: LocalHub, hub: str = "vpn") -> list[bytes]:
    return sorted(letter.body for letter in found(local, hub))


def test_one_command_sends_back_what_was_put_aside_to_the_hub_it_came_from(local: LocalHub, run: Run) -> None:
    aside(local, b"first", b"second")
    status, out, err = run()
    assert (status, err) == (0, "")
    assert back(local) == [b"first", b"second"]
    assert re.fullmatch(
        r"partition 0: offsets 0 to 1, sequence numbers 0 to 1: 2 read, 2 sent\. To go on behind them: --after 0:1\n",
        out,
    )
    assert len(found(local)) == 2  # nothing can be taken out of a hub


def test_a_dry_run_lists_and_sends_nothing(local: LocalHub, run: Run) -> None:
    aside(local, b"first", b"\x00")
    status, out, _ = run("--dry-run")
    assert status == 0
    assert back(local) == []
    first, second, summary = out.splitlines()
    assert re.match(r"0:0 offset 0  20\S+Z  body from vpn 1:0, 5 bytes: ", first)
    assert re.match(r"0:1 offset 1  20\S+Z  body from vpn 1:1, 1 bytes: ", second)
    assert "2 would be sent" in summary


def test_rows_are_listed_and_never_sent(local: LocalHub, run: Run) -> None:
    aside_row(local)
    aside(local, b"first")
    status, out, _ = run()
    assert status == 0
    assert back(local) == [b"first"]
    row, summary = out.splitlines()
    assert row.endswith("log_analytics: 400 (incident 0123456789 revision 3) - not sent: a row")
    assert "secret" not in out
    assert "2 read, 1 a row, 1 sent" in summary


def test_a_body_that_was_packed_comes_back_as_it_was_and_one_that_was_cut_stays(local: LocalHub, run: Run) -> None:
    large = b"not JSON " * (LIMIT // 9)
    aside(local, large[: LIMIT - 100], Random(1).randbytes(LIMIT))
    status, out, _ = run()
    assert status == 0
    assert back(local) == [large[: LIMIT - 100]]
    assert "not sent: cut" in out


def test_only_what_is_asked_for(local: LocalHub, run: Run) -> None:
    aside(local, b"", b"first", b"", b"")
    _, out, _ = run("--reason", "EMPTY", "--since", "2000-01-01", "--until", "2999-01-01", "--after", "0:0")
    assert back(local) == [b"", b""]
    assert "sequence numbers 1 to 3: 3 read, 1 not asked for, 2 sent" in out


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        ({}, True),
        ({"reason": "GZIP"}, True),
        ({"reason": "JSON"}, False),
        ({"since": 1_000, "until": 1_001}, True),
        ({"since": 1_001}, False),
        ({"until": 1_000}, False),
    ],
)
def test_filters_are_of_the_reason_and_the_time_it_was_put_aside(asked: dict[str, Any], fits: bool) -> None:
    letter = redrive.Letter("0", "0", 0, 1_000, b"", reason="damaged gzip")
    assert redrive.Wanted("", "", "dead", "$Default", **asked).fits(letter) is fits


def test_there_is_nothing_behind_the_end(local: LocalHub, run: Run) -> None:
    assert run()[:2] == (0, "Nothing to read in dead.\n")
    aside(local, b"first")
    assert run("--after", "0:0")[:2] == (0, "Nothing to read in dead.\n")


def test_another_hub_can_be_named_but_not_the_same(local: LocalHub, run: Run) -> None:
    aside(local, b"first")
    status, _, err = run("--to", "DEAD")
    assert (status, err) == (2, "redrive: --to must be another event hub than --from\n")
    assert run("--to", "other")[0] == 0
    assert (back(local), back(local, "other")) == ([], [b"first"])


def test_what_somebody_else_put_there_is_listed_and_stays(local: LocalHub, run: Run) -> None:
    local.put("dead", "0", b"who knows")
    hostile = Message(body=b"x", inferred=True)
    hostile.properties = {"kind": "body", "sourceHub": "dead", "reason": "\x1b[31mred\nforged: 1 sent"}
    local.hubs["dead"][0].append(hostile.encode())
    status, out, _ = run()
    assert status == 0
    assert back(local) == []
    unknown, itself, summary = out.splitlines()
    assert unknown.endswith("not sent: not put aside by ikestream")
    assert r"\x1b[31mred\x0aforged: 1 sent" in itself
    assert itself.endswith("not sent: of this hub itself")
    assert "2 read" in summary
    assert " sent." not in summary


def test_every_partition_is_read_once_up_to_its_end_at_the_start(local: LocalHub, run: Run) -> None:
    """What comes back while it runs is not sent again: else a body nobody can read goes round for ever."""
    letters = [Message(body=str(n).encode(), inferred=True) for n in range(1_500)]
    for number, letter in enumerate(letters):
        letter.properties = {"kind": "body", "sourceHub": "vpn", "sequenceNumber": str(number)}
        local.hubs["many"][number % 2].append(letter.encode())
    send = Hubs.send
    bounced = 0

    async def bounce(self: Hubs, opened: AsyncExitStack, hub: str, bodies: list[bytes]) -> None:
        nonlocal bounced
        await send(self, opened, hub, bodies)
        bounced += 1
        local.hubs["many"][1].append(letters[0].encode())

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Hubs, "send", bounce)
        status, out, _ = run(source="many")
    assert status == 0
    assert bounced > 2
    assert sorted(int(body) for body in back(local)) == list(range(1_500))
    assert "partition 0: offsets 0 to 749, sequence numbers 0 to 749: 750 read, 750 sent" in out
    assert "partition 1: offsets 0 to 749, sequence numbers 0 to 749: 750 read, 750 sent" in out


@pytest.mark.parametrize("hub", ["nowhere", "dead"])
def test_a_hub_that_is_not_there_is_one_line(local: LocalHub, run: Run, hub: str) -> None:
    aside(local, b"first")
    status, out, err = run(*([] if hub == "nowhere" else ["--to", "nowhere"]), source=hub)
    assert status == 2
    assert re.fullmatch(r"redrive: \w+: [^\n]*404[^\n]*\n", err)
    assert out == ""
    assert back(local) == []


def test_whatever_ends_it_it_says_how_far_it_came(local: LocalHub, run: Run) -> None:
    letter = Message(body=b"x", inferred=True)
    letter.properties = {"kind": "body", "sourceHub": "vpn"}
    local.hubs["many"][0].append(letter.encode())
    letter.properties["sourceHub"] = "nowhere"
    local.hubs["many"][1].append(letter.encode())
    status, out, err = run(source="many")
    assert status == 2
    assert "nowhere" in err
    assert out.startswith("partition 0: offsets 0 to 0, ")
    assert out.endswith("--after 0:0\n")
    assert back(local) == [b"x"]


@pytest.mark.parametrize(
    ("content", "says"),
    [("", "begins with Endpoint=sb://"), ("SECRET", "begins with Endpoint=sb://"), (None, "FileNotFoundError")],
)
def test_a_file_without_a_connection_string_is_said_without_its_content(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, says: str
) -> None:
    file = tmp_path / "hub.txt"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    assert main(["redrive", "--connection-string-file", str(file)]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert "SECRET" not in err
    assert err.count("\n") == 1


def test_there_must_be_one_way_to_sign_in(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["redrive", "--dry-run"])
    assert refused.value.code == 2
    assert "--namespace" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["7", "a:1", "0:", "0:-1", ":3"])
def test_a_place_that_is_none_is_refused(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["redrive", "--namespace", "contoso.servicebus.windows.net", "--after", place])
    assert "0:1041" in capsys.readouterr().err
