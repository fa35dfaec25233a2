"""`watch`: reads a hub with the real SDK and disturbs nobody, concludes nothing over what is unread, and draws only what is so."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.eventhub import CheckpointStore, EventData, EventHubConsumerClient, PartitionContext
from azure.eventhub.exceptions import AuthenticationError, ConnectError
from rich.console import Console

from ikestream.batch import Delivery
from ikestream.events import Category, Record
from ikestream.hubs import Failed, Hubs, reason
from ikestream.incident import Row
from ikestream.inventory import Inventory
from ikestream.lab import Lab, wrap
from ikestream.lab.faults import phase_one_both_try, wrong_key_both_try
from ikestream.lab.rehearsals import ends_without_a_reason, one_leg_goes_down
from ikestream.replay import NO_INVENTORY
from ikestream.times import SECOND
from ikestream.tunnel import MAX_STRANGERS
from ikestream.watch import board
from ikestream.watch import stream as module
from ikestream.watch.picture import Picture, Standing
from ikestream.watch.stream import Stream
from tests.configured import of_story
from tests.emulators.hub import KEY, LocalHub, Partition
from tests.streams import GATEWAY
from tests.test_command_line import ROOT, run

NOW = 1_795_000_000_000
PATIENCE = 30.0
HOSTILE = "\x1b[2J\x1b]0;owned\x07 [bold red]DOWN[/] \u202e\nforged  line\r up"


def moved(records: Sequence[Record], ended: int) -> list[Record]:
    shift = ended - max(r.at or 0 for r in records)
    return [replace(r, at=(r.at or 0) + shift) for r in records]


def pictured(records: Sequence[Record], inventory: Inventory = NO_INVENTORY) -> Picture:
    picture = Picture(inventory, NOW)
    picture.learn([Delivery("0", "0", 0, NOW, wrap(records))], NOW)
    return picture


def drawn(picture: Picture, width: int, height: int = 30, trouble: str = "", now: int = NOW) -> list[str]:
    out = StringIO()
    console = Console(file=out, width=width, height=height, force_terminal=False, highlight=False)
    console.print(board.board(picture, "ikestream: vpn-logs at here", trouble, now, width, height))
    return out.getvalue().splitlines()


# --- the picture --------------------------------------------------------------------------------------------------


def test_an_incident_is_told_once_all_is_read_and_not_before() -> None:
    story = ends_without_a_reason(Lab(1, tunnel_log=True))  # a minute after its last line it is an outage
    picture = pictured(moved(story.records, NOW))
    later = NOW + 90 * SECOND
    early = picture.conclude({"0": 5}, later)  # five more events that nobody has read
    assert {row["Kind"] for row in early} <= {"Advisory"}
    assert picture.reached == NOW
    assert picture.conclude({"0": 0, "1": 3}, later) == []
    assert picture.reached is None
    picture.begin("1", 3, NOW)  # not asked for
    (row,) = picture.conclude({"0": 0, "1": 3}, later)
    assert (row["Cause"], row["State"], picture.lag) == ("Unclassified", "Open", 0.0)
    assert list(picture.open) == [*(r["IncidentId"] for r in early), row["IncidentId"]]
    picture.learn([Delivery("0", "1", 1, NOW + 91 * SECOND, b"{broken")], NOW + 91 * SECOND)
    assert (picture.dead, picture.tally.records) == (1, len(story.records))


def test_an_incident_that_is_over_is_shown_as_resolved() -> None:
    records = moved(wrong_key_both_try(Lab(1, tunnel_log=True)).records, NOW)
    picture = pictured(records)
    picture.conclude({"0": 0}, NOW + 90 * SECOND)
    instances = sorted({r.instance for r in records})
    remote = picture.tunnels()[0].remote
    up = [
        Record(
            NOW + 100 * SECOND, records[0].gateway, Category.TUNNEL, "TunnelConnected", i, "", "", remote, "Connected"
        )
        for i in instances
    ]
    picture.learn([Delivery("0", "1", 1, NOW + 100 * SECOND, wrap(up))], NOW + 100 * SECOND)
    assert picture.tunnels()[0].standing is Standing.UP
    picture.conclude({"0": 1}, NOW + 300 * SECOND)
    assert not picture.open
    text = "\n".join(drawn(picture, 80, now=NOW + 300 * SECOND))
    assert re.search(rf"{remote} .* resolved .*PreSharedKeyMismatch", text)
    assert re.search(rf"{remote} .* up ", text)


def test_an_incident_that_is_over_is_shown_once_and_not_at_all_if_it_was_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def row(incident: str, revision: int, state: str, resolution: str | None = None) -> Row:
        return {"IncidentId": incident, "Revision": revision, "State": state, "Resolution": resolution}

    rows = [
        row("a", 1, "Open"), row("b", 1, "Open"), row("c", 1, "Open"), row("a", 2, "Resolved", "Recovered"),
        row("b", 2, "Resolved", "Withdrawn"), row("a", 3, "Resolved", "Recovered"), row("c", 2, "Resolved", "Merged"),
        *(row(f"d{n}", 1, "Resolved", "Recovered") for n in range(3)),
    ]  # fmt: skip
    monkeypatch.setattr("ikestream.watch.picture.tell", lambda *_: rows)
    picture = pictured([])
    picture.conclude({"0": 0}, NOW)
    assert picture.open == {}
    assert [(r["IncidentId"], r["Revision"]) for r in picture.over] == [("a", 3), ("d0", 1), ("d1", 1), ("d2", 1)]
    # Late evidence may open it again.
    monkeypatch.setattr("ikestream.watch.picture.tell", lambda *_: [row("a", 4, "Open")])
    picture.conclude({"0": 0}, NOW)
    assert list(picture.open) == ["a"]
    assert [r["IncidentId"] for r in picture.over] == ["d0", "d1", "d2"]


def test_strangers_that_come_and_go_leave_nothing_behind() -> None:
    line = "SESSION_ID :{{{0:032x}}} Remote 203.0.{1}.{2}:500: Local 192.0.2.4:500: [RECEIVED][SA_INIT] Received SA INIT iCookie 0x1 rCookie 0x0"
    knocks = [
        Record(NOW, GATEWAY, Category.IKE, "IKELogEvent", "GatewayTenantWorker_IN_0", line.format(n, n // 250, n % 250 + 1))
        for n in range(1_000)
    ]  # fmt: skip
    picture = pictured(knocks)
    picture.conclude({"0": 0}, NOW)
    assert len(picture._last) <= MAX_STRANGERS


def test_one_of_two_legs_is_degraded_and_the_leg_that_is_missing_counts() -> None:
    picture = pictured(moved(one_leg_goes_down(Lab(3, tunnel_log=True)).records, NOW))
    picture.conclude({"0": 0}, NOW + 10 * SECOND)
    (tunnel,) = picture.tunnels()
    assert (tunnel.standing, tunnel.legs, tunnel.since) == (Standing.DEGRADED, (1, 2), NOW)
    # What time alone changes is looked at again: nothing new has come, and the state is as it was.
    picture.conclude({"0": 0}, NOW + 400 * SECOND)
    assert [t.standing for t in picture.tunnels()] == [Standing.DEGRADED]


def test_the_inventory_gives_tunnels_and_incidents_the_names_of_their_connections() -> None:
    story = wrong_key_both_try(Lab(1))
    picture = pictured(moved(story.records, NOW), of_story(story))
    (outage,) = (r for r in picture.conclude({"0": 0}, NOW + 90 * SECOND) if r["Kind"] == "Outage")
    assert (outage["ConnectionName"], picture.tunnels()[0].connection) == ("cn-0", "cn-0")
    lines = drawn(picture, 80)
    assert [line.split()[1] for line in lines if line.startswith(outage["RemoteIP"])] == ["cn-0"] * 2


def test_strangers_are_no_tunnels() -> None:
    line = "SESSION_ID :{%s} Remote 203.0.113.99:500: Local 192.0.2.4:500: [RECEIVED][SA_INIT] Received SA INIT iCookie 0x1 rCookie 0x0"
    knock = Record(NOW, GATEWAY, Category.IKE, "IKELogEvent", "GatewayTenantWorker_IN_0", line % "a" * 1)
    picture = pictured([knock])
    assert picture.tunnels() == []


# --- the board ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_the_board_fits_the_terminal_and_names_what_is_down_first(width: int) -> None:
    stories = [story(Lab(seed)) for story in (wrong_key_both_try, phase_one_both_try) for seed in range(9)]
    picture = pictured([r for story in stories for r in moved(story.records, NOW)])
    picture.conclude({"0": 0}, NOW + 90 * SECOND)
    lines = drawn(picture, width, height=24)
    assert max(map(len, lines)) <= width
    assert len(lines) <= 24
    assert any(re.search(r"critical +\d+ min +(PreSharedKey|IkePolicy)", line) for line in lines)
    assert any("more that are open" in line for line in lines)
    assert any(re.match(r"and \d+ more: \d+ down", line) for line in lines)
    assert lines[-1].startswith("read to 0 s ago")


@pytest.mark.parametrize("width", [80, 120])
def test_no_text_of_a_log_forges_the_board_or_a_line(width: int) -> None:
    gateway = GATEWAY + HOSTILE
    records = [
        Record(NOW - 300 * SECOND, gateway, Category.TUNNEL, "TunnelConnected", HOSTILE, "", "", "203.0.113.7", "Connected"),
        Record(NOW - 200 * SECOND, gateway, Category.TUNNEL, "TunnelDisconnected", HOSTILE, "", "", "203.0.113.7", "", HOSTILE),
    ]  # fmt: skip
    picture = pictured(records)
    rows = picture.conclude({"0": 0}, NOW)
    assert rows
    text = drawn(picture, width, trouble=HOSTILE) + drawn(picture, width)
    text += [board.line(row).plain for row in rows] + [line.plain for line in board.summary(picture, NOW, NOW)]
    assert any("203.0.113.7" in line for line in text)
    for line in text:
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202e]", line)
        assert not line.startswith("forged")


def test_the_status_line_says_what_was_not_read_and_that_the_hub_is_gone() -> None:
    picture = pictured([Record(NOW, GATEWAY, Category.IKE, "IKELogEvent", "IN_0", "words that no row knows")])
    assert drawn(picture, 120)[-1].startswith("reading what is there: nothing is concluded yet")
    picture.conclude({"0": 0}, NOW + SECOND)
    assert "1 records  1 not read" in drawn(picture, 120)[-1]
    assert drawn(picture, 80, trouble="ConnectError: no route")[-1].startswith(
        "The hub is gone, trying again: ConnectError"
    )


# --- the stream ---------------------------------------------------------------------------------------------------


class Reading:
    """A stream that is read in a thread of its own while the block runs."""

    def __init__(self, hub: LocalHub, since: int | None = None, group: str = "people") -> None:
        self.taken: list[Delivery] = []
        self.connected = 0
        self.heads: dict[str, int] = {}
        self.stream = Stream(Hubs("", hub.connection_string()), "vpn-logs", group, since)
        self.failed: Exception | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    async def _run(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        reading = asyncio.create_task(self.stream.run(self.taken.extend, self._connect, self._ask))
        over = asyncio.create_task(self._over.wait())
        await asyncio.wait([reading, over], return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        reading.cancel()
        (outcome, _) = await asyncio.gather(reading, over, return_exceptions=True)
        self.failed = outcome if isinstance(outcome, Exception) else None

    def _connect(self) -> None:
        self.connected += 1

    def _ask(self, heads: dict[str, int], _now: int) -> bool:
        self.heads = heads
        return True

    def __enter__(self) -> Reading:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(20)

    @property
    def numbers(self) -> list[tuple[str, int]]:
        return [(d.partition, d.sequence_number) for d in self.taken]


def until(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def put(hub: LocalHub, partition: str, *bodies: bytes) -> None:
    """Enqueue events, as a sender would: in the hub's thread, so that readers get them at once."""

    async def enqueue() -> None:
        for body in bodies:
            hub.put("vpn-logs", partition, body)
        for link, (part, _) in list(hub.broker.readers.items()):
            if part is hub.hubs["vpn-logs"][int(partition)]:
                hub.broker.pump(link)
        for wire in list(hub.broker.connections):
            wire.flush()

    asyncio.run_coroutine_threadsafe(enqueue(), hub._loop).result(10)


@pytest.fixture
def hub() -> Iterator[LocalHub]:
    with LocalHub({"vpn-logs": 2}) as hub:
        yield hub


def test_from_now_on_it_reads_what_is_new_and_knows_what_it_left_out(hub: LocalHub) -> None:
    put(hub, "0", b"old", b"older")
    with Reading(hub) as reading:
        until(lambda: reading.heads, "the hub was not asked")
        assert {p: number for p, (number, _) in reading.stream.begun.items()} == {"0": 1, "1": -1}
        put(hub, "0", b"new")
        put(hub, "1", b"first")
        until(lambda: len(reading.taken) == 2, "what is new did not come")
    assert sorted((d.partition, d.sequence_number, d.body) for d in reading.taken) == [
        ("0", 2, b"new"),
        ("1", 0, b"first"),
    ]
    assert all(abs(d.enqueued - time.time() * 1000) < 60_000 for d in reading.taken)


def test_since_a_time_it_reads_what_the_hub_took_from_then_on(hub: LocalHub) -> None:
    put(hub, "0", b"old")
    put(hub, "1", b"old")
    time.sleep(0.05)
    since = int(time.time() * 1000)
    time.sleep(0.05)
    put(hub, "0", b"new", b"newer")
    with Reading(hub, since) as reading:
        until(lambda: len(reading.taken) == 2 and reading.heads, "what is new did not come")
    assert [(d.partition, d.body) for d in reading.taken] == [("0", b"new"), ("0", b"newer")]
    # Of the other one nothing was asked for: else nothing could ever be concluded.
    assert {p: number for p, (number, _) in reading.stream.begun.items()} == {"1": 0}


# The SDK leaves the sockets of a connection that was cut to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_it_goes_on_where_it_was_when_the_hub_is_back(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES", (0.1, 0.3))
    monkeypatch.setattr(module, "EVERY", 0.5)
    with Reading(hub) as reading:
        until(lambda: reading.heads, "the hub was not asked")
        put(hub, "0", b"1", b"2")
        until(lambda: len(reading.taken) == 2, "nothing came")
        hub.go_away()
        until(lambda: reading.stream.trouble, "nobody noticed that it is gone")
        assert KEY not in reading.stream.trouble
        assert "\n" not in reading.stream.trouble
        hub.hubs["vpn-logs"][0].append(hub.hubs["vpn-logs"][0].events[0])  # written while nobody could read
        hub.come_back()
        until(lambda: len(reading.taken) == 3, "it did not come back")
        assert reading.stream.trouble == ""
        put(hub, "1", b"4")
        until(lambda: len(reading.taken) == 4, "one of the partitions did not come back")
    assert reading.numbers == [("0", 0), ("0", 1), ("0", 2), ("1", 0)]
    assert reading.connected >= 2
    gc.collect()


def test_a_partition_that_is_added_is_read_from_its_beginning(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES", (0.1,))
    monkeypatch.setattr(module, "EVERY", 0.3)
    put(hub, "0", b"old")
    with Reading(hub) as reading:
        until(lambda: reading.heads, "the hub was not asked")
        hub.hubs["vpn-logs"].append(Partition())
        put(hub, "2", b"first", b"second")
        until(lambda: len(reading.taken) == 2, "the new partition is not read")
        assert reading.stream.trouble == ""
    assert reading.numbers == [("2", 0), ("2", 1)]
    assert "2" not in reading.stream.begun


def test_two_readers_of_one_group_get_everything(hub: LocalHub) -> None:
    with Reading(hub) as one, Reading(hub) as two:
        until(lambda: one.heads and two.heads, "the hub was not asked")
        put(hub, "0", *[b"%d" % n for n in range(50)])
        until(lambda: len(one.taken) == len(two.taken) == 50, "somebody lacks something")
    assert one.numbers == two.numbers == [("0", n) for n in range(50)]


class Checkpoints(CheckpointStore):
    """What a deployed app writes down, and who owns which partition."""

    def __init__(self) -> None:
        self.owned: dict[str, dict[str, Any]] = {}
        self.checkpoints: dict[str, dict[str, Any]] = {}

    def list_ownership(self, *_: str, **__: Any) -> list[dict[str, Any]]:
        return list(self.owned.values())

    def claim_ownership(self, ownership_list: Any, **_: Any) -> Any:
        for one in ownership_list:
            self.owned[one["partition_id"]] = one | {"etag": "1", "last_modified_time": time.time()}
        return list(self.owned.values())

    def update_checkpoint(self, checkpoint: Any, **_: Any) -> None:
        self.checkpoints[checkpoint["partition_id"]] = checkpoint

    def list_checkpoints(self, *_: str, **__: Any) -> list[dict[str, Any]]:
        return list(self.checkpoints.values())


class App(threading.Thread):
    """A reader as the deployed app has one: it owns its partitions, and writes down how far it came."""

    def __init__(self, hub: LocalHub) -> None:
        super().__init__(name="app")
        self.store, self.taken, self.errors = Checkpoints(), [], []
        self._client = EventHubConsumerClient.from_connection_string(
            hub.connection_string("vpn-logs"), "ikestream", checkpoint_store=self.store, load_balancing_interval=1
        )

    def _take(self, context: PartitionContext, events: list[EventData]) -> None:
        self.taken += [(context.partition_id, event.sequence_number) for event in events]
        if events:
            context.update_checkpoint(events[-1])

    def run(self) -> None:
        with self._client:
            self._client.receive_batch(
                self._take,
                starting_position="-1",
                max_wait_time=0.5,
                on_error=lambda *failed: self.errors.append(failed),
            )

    def __enter__(self) -> App:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self.join(20)


def test_the_apps_checkpoints_and_partitions_are_left_alone(hub: LocalHub) -> None:
    with App(hub) as app:
        until(lambda: len(app.store.owned) == 2, "the app owns nothing")
        put(hub, "0", b"1", b"2")
        until(lambda: len(app.taken) == 2, "the app reads nothing")
        before = {p: (o["owner_id"], o["etag"]) for p, o in app.store.owned.items()}
        with Reading(hub, since=0) as reading:
            until(lambda: len(reading.taken) == 2, "nothing came")
            put(hub, "0", b"3")
            put(hub, "1", b"4")
            until(lambda: len(reading.taken) == len(app.taken) == 4, "one of them lacks something")
        assert {p: (o["owner_id"], o["etag"]) for p, o in app.store.owned.items()} == before
        assert {p: c["sequence_number"] for p, c in app.store.checkpoints.items()} == {"0": 2, "1": 0}
        assert app.errors == []
        assert reading.failed is None


def test_in_the_apps_own_group_it_is_kept_out_and_says_so(hub: LocalHub) -> None:
    with App(hub) as app:
        until(lambda: len(hub.broker.owners) == 2, "the app reads nothing")
        with Reading(hub, group="ikestream") as reading:
            until(lambda: not reading._thread.is_alive(), "it goes on trying")
        put(hub, "0", b"1")
        until(lambda: app.taken, "the app was thrown out")
        assert app.errors == []
    assert isinstance(reading.failed, Failed)
    assert "--consumer-group" in str(reading.failed)


# --- the command --------------------------------------------------------------------------------------------------


def watching(hub: LocalHub, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-u", "-m", "ikestream", "watch", "--connection-string-env", "HUB", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True,
        env={**os.environ, "HUB": hub.connection_string(), "COLUMNS": "80"},
    )  # fmt: skip


def ended(watch: subprocess.Popen[str]) -> tuple[str, str]:
    watch.send_signal(signal.SIGINT)
    try:
        return watch.communicate(timeout=PATIENCE)
    finally:
        watch.kill()


def test_without_a_terminal_each_revision_is_a_line_and_ctrl_c_ends_it_with_a_summary(hub: LocalHub) -> None:
    now = int(time.time() * 1000)
    put(hub, "0", wrap(moved(wrong_key_both_try(Lab(1)).records, now - 90 * SECOND)))
    watch = watching(hub, "--last", "1h")
    assert watch.stdout is not None
    first = watch.stdout.readline()
    rest, said = ended(watch)
    assert watch.returncode == 0
    assert re.fullmatch(
        r"2\d{3}-\S+Z open Outage Critical PreSharedKeyMismatch high turn: both ends; \S+  VNG-1: .+\n", first
    )
    assert "\x1b" not in first + rest + said
    lines = said.splitlines()
    assert re.fullmatch(
        r"Watched for \d+ s: [\d,]+ records of 1 tunnels, 1 revisions told, 1 incidents open\.", lines[0]
    )
    assert re.fullmatch(r"  still down: \S+  VNG-1: PreSharedKeyMismatch", lines[1])


def on_a_terminal(hub: LocalHub, columns: int, *arguments: str, **environment: str) -> str:
    """Watch on a pseudo-terminal until an incident is drawn, end it with Ctrl-C, and return all that was written."""
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (30, columns))
    clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES")}
    shown = b""
    with subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "ikestream", "watch", "--connection-string-env", "HUB", *arguments],
        stdin=theirs, stdout=theirs, stderr=theirs, cwd=ROOT, start_new_session=True,
        env=clean | {"HUB": hub.connection_string(), "TERM": "xterm-256color"} | environment,
    ) as watch:  # fmt: skip
        os.close(theirs)
        asked = False
        try:
            while piece := os.read(ours, 65_536):
                shown += piece
                if not asked and b"critical" in shown and b"read to" in shown:
                    watch.send_signal(signal.SIGINT)
                    asked = True
        except OSError:  # Linux's way to say that the other end is closed
            pass
    os.close(ours)
    assert watch.returncode == 0
    return shown.decode()


@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_gets_a_board_and_has_its_own_screen_back_afterwards(hub: LocalHub, columns: int) -> None:
    now = int(time.time() * 1000)
    put(hub, "0", wrap(moved(wrong_key_both_try(Lab(1)).records, now - 90 * SECOND)))
    shown = on_a_terminal(hub, columns, "--last", "1h")
    before, _, drawn_ = shown.partition("\x1b[?1049h")
    screen, _, after = drawn_.rpartition("\x1b[?1049l")
    assert before == ""
    assert "PreSharedKeyMismatch" in screen
    assert "\x1b[1;31m" in screen  # critical
    assert ("Last event" in screen) is (columns == 120)
    assert "Watched for" in after
    assert "still down" in after
    assert "\x1b[?25h" in shown  # the cursor
    # Drawn in place: no frame scrolls the one before away.
    assert "\n" * 3 not in screen.replace("\r", "")


def test_no_color_is_respected(hub: LocalHub) -> None:
    now = int(time.time() * 1000)
    put(hub, "0", wrap(moved(wrong_key_both_try(Lab(1)).records, now - 90 * SECOND)))
    shown = on_a_terminal(hub, 80, "--last", "1h", NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", shown)


def test_as_json_each_revision_is_a_row(hub: LocalHub) -> None:
    now = int(time.time() * 1000)
    put(hub, "1", wrap(moved(phase_one_both_try(Lab(2)).records, now - 90 * SECOND)))
    watch = watching(hub, "--since", "2020-01-01", "--output", "json")
    assert watch.stdout is not None
    row = json.loads(watch.stdout.readline())
    ended(watch)
    assert (row["Cause"], row["Revision"], row["Drill"]) == ("IkePolicyMismatch", 1, False)


def test_that_the_hub_is_gone_and_back_is_said(hub: LocalHub) -> None:
    watch = watching(hub)
    assert watch.stderr is not None
    until(lambda: len(hub.broker.readers) == 2, "it does not read")
    hub.go_away()
    gone = watch.stderr.readline()
    hub.come_back()
    back = watch.stderr.readline()
    ended(watch)
    assert gone.startswith("watch: the hub is gone, trying again: ")
    assert KEY not in gone
    assert back == "watch: the hub is back\n"
    assert watch.returncode == 0


def test_when_nobody_reads_its_output_it_ends(hub: LocalHub) -> None:
    now = int(time.time() * 1000)
    watch = watching(hub)
    until(lambda: len(hub.broker.readers) == 2, "it does not read")
    assert watch.stdout is not None
    assert watch.stderr is not None
    watch.stdout.close()
    put(hub, "0", wrap(moved(wrong_key_both_try(Lab(1)).records, now - 90 * SECOND)))
    assert watch.wait(PATIENCE) == 0
    assert watch.stderr.read() == ""
    watch.stderr.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--connection-string-env", "HUB", "--hub", "nowhere"),
            "watch: AuthenticationError: ",
        ),
        (("--connection-string-env", "NOBODY"), "watch: ConnectError: "),
        (("--connection-string-env", "NO_SUCH_VARIABLE"), "watch: the variable NO_SUCH_VARIABLE must hold one"),
        (("--connection-string-env", "HUB", "--inventory", "no-such-file"), "no-such-file"),
    ],
)
def test_what_cannot_be_watched_is_one_line(
    hub: LocalHub, arguments: tuple[str, ...], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HUB", hub.connection_string())
    monkeypatch.setenv("NOBODY", hub.connection_string().replace(str(hub.port), "1"))
    ran = run("watch", *arguments)
    assert (ran.status, ran.out) == (2, b"")
    (line,) = ran.notes
    assert line.startswith(said)
    assert KEY not in line


@pytest.mark.parametrize(
    ("failed", "said"),
    [
        (
            AuthenticationError("Token failed. Status code: 404 Description: 'x' could not be found. Error: client-error it"),
            ("AuthenticationError: Token failed. Status code: 404 Description: 'x' could not be found; there is no such event hub"
            " or consumer group: compare the names with the portal"),
        ),
        (
            AuthenticationError("Unauthorized access. 'Listen' claim(s) are required to perform this operation."),
            ("AuthenticationError: Unauthorized access. 'Listen' claim(s) are required to perform this operation; whoever is signed"
            " in lacks the role: Azure Event Hubs Data Sender to send, Data Receiver to read"),
        ),
        (
            ConnectError("Failed to initiate: [Errno -2] Name or service not known Error condition: SocketError Error"),
            ("ConnectError: Failed to initiate: [Errno -2] Name or service not known; there is no such host: --namespace is"
            " <name>.servicebus.windows.net"),
        ),
        (
            ClientAuthenticationError("DefaultAzureCredential failed to retrieve\na token"),
            "ClientAuthenticationError: DefaultAzureCredential failed to retrieve a token; nobody is signed in: az login",
        ),
        (ConnectError("something else"), "ConnectError: something else"),
    ],
)  # fmt: skip
def test_what_failed_is_one_line_with_what_to_do(failed: Exception, said: str) -> None:
    assert reason(failed) == said


@pytest.mark.parametrize("words", ["2", "h2", "-1h", "2 weeks", ""])
def test_a_span_is_a_number_and_a_unit(words: str) -> None:
    ran = run("watch", "--namespace", "x.example", f"--last={words}")
    assert ran.status == 2
    assert "is not a span such as 15m, 2h or 1d" in ran.err.decode()
