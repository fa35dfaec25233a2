"""`drill`: the scripted tunnel says what it is meant to, is known as a drill, and goes into a hub with the real SDK."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import orjson
import pytest
from azure.eventhub import EventData, EventHubConsumerClient, PartitionContext

from ikestream import drill
from ikestream.batch import Delivery, learn
from ikestream.drill.scenarios import NOT_REHEARSED, REHEARSALS, Back, gateway_name, script
from ikestream.estate import Estate
from ikestream.events import Category, Record
from ikestream.finding import Advisory, Cause
from ikestream.grammar import read
from ikestream.incident import Row
from ikestream.lab import REHEARSED, Lab, Scenario, post
from ikestream.tick import tell
from ikestream.times import SECOND, TICK
from ikestream.verdict import DRILLS
from tests.emulators.https import SECRET, Answer, Authority
from tests.emulators.hub import LocalHub
from tests.emulators.identity import Identity
from tests.emulators.logs_query import WORKSPACE, LogsQuery
from tests.streams import GATEWAY, START, as_delivered, in_order, told
from tests.test_command_line import ROOT, run

NOW = 1_795_000_000_000


BACK = 400
"""Seconds until it is over: later than the last scenario is told."""


def played(name: str, number: int) -> Iterator[tuple[int, Row]]:
    """Yield (seconds since sending, row) as the app would tell them: a tick every 15 s, all read by then."""
    estate = Estate()
    failing, mending = script(name, number, now=NOW, back=BACK)
    for sent, records in ((0, failing), (BACK, mending)):
        number = sent
        for body in drill.bodies(records):
            number += 1
            learn(estate, [Delivery("0", str(number), number, NOW + sent * SECOND, body)])
        for at in range(NOW + sent * SECOND, NOW + (sent + BACK) * SECOND, TICK):
            yield from ((((at - NOW) // SECOND), row) for row in tell(estate, at))


@pytest.mark.parametrize("name", REHEARSALS)
@pytest.mark.parametrize("number", [1, 2, 3, 77, 4_711])
def test_a_scenario_is_told_in_time_and_over_as_the_list_says(name: str, number: int) -> None:
    rehearsal = REHEARSALS[name]
    rows = list(played(name, number))
    assert {(row["Drill"], row["GatewayName"].upper()) for _, row in rows} == {(True, gateway_name(name, number))}
    own = [(at, row) for at, row in rows if (row["Kind"], row["Cause"]) == (rehearsal.kind, rehearsal.cause)]
    at, first = own[0]
    # The tick that tells it comes up to 15 s after it may be told: the list counts that in.
    assert at <= rehearsal.after - TICK // SECOND
    assert first["State"] == "Open"
    last = own[-1][1]
    assert (last["IncidentId"], last["Resolution"] or "") not in {
        (first["IncidentId"], w) for w in ("Withdrawn", "Merged")
    }
    if rehearsal.back is not Back.NOTHING:
        assert (last["IncidentId"], last["State"], last["Resolution"]) == (first["IncidentId"], "Resolved", "Recovered")
        resolved = min(at for at, row in own if row["State"] == "Resolved")
        assert BACK <= resolved <= BACK + 120
    # Nobody is told of another outage than the one that is rehearsed.
    outages = {row["Cause"] for _, row in rows if row["Kind"] == "Outage"}
    assert outages == ({rehearsal.cause} if rehearsal.kind == "Outage" else set())


def test_the_story_names_the_same_cause_as_the_scenario() -> None:
    for name, rehearsal in REHEARSALS.items():
        (truth,) = rehearsal.story(Lab(5, tunnel_log=True)).truths
        assert truth.cause == rehearsal.cause, name


@pytest.mark.parametrize("story", REHEARSED, ids=lambda story: story.__name__)
@pytest.mark.parametrize("tunnel_log", [True, False])
def test_the_stories_of_the_drill_are_told_alike_however_they_are_delivered(story: Scenario, tunnel_log: bool) -> None:
    for seed in range(2):
        whole = story(Lab(seed, tunnel_log=tunnel_log))
        expected = told(in_order(whole.records))
        assert told(as_delivered(post(whole.records, Random(seed)), Random(seed))) == expected
        (truth,) = whole.truths
        assert truth.cause in {row["Cause"] for row in expected} or not truth.surely


def test_every_cause_and_advisory_has_a_scenario_or_a_reason_why_not() -> None:
    outages = {r.cause for r in REHEARSALS.values() if r.kind == "Outage"}
    advisories = {r.cause for r in REHEARSALS.values() if r.kind == "Advisory"}
    assert outages | {c for c in NOT_REHEARSED if isinstance(c, Cause)} == set(Cause)
    assert advisories | {c for c in NOT_REHEARSED if isinstance(c, Advisory)} == set(Advisory)
    assert not (outages | advisories) & NOT_REHEARSED.keys()


@pytest.mark.parametrize("name", REHEARSALS)
def test_the_written_stream_gives_the_same_verdict(name: str, tmp_path: Path) -> None:
    log = tmp_path / "drill.jsonl"
    assert run("drill", "--scenario", name.lower(), "--output", log).status == 0
    rows = [orjson.loads(line) for line in run("diagnose", log, "--output", "json").out.splitlines()]
    rehearsal = REHEARSALS[name]
    if rehearsal.cause is Advisory.FEED_SILENT:  # a saved log simply ends
        assert rehearsal.cause not in {row["Cause"] for row in rows}
    else:
        assert (rehearsal.kind, rehearsal.cause, True) in {(row["Kind"], row["Cause"], row["Drill"]) for row in rows}


def test_the_last_line_of_the_failing_part_is_of_now() -> None:
    failing, mending = script("PreSharedKeyMismatch", 5, now=NOW, back=60)
    assert max(record.at or 0 for record in failing) == NOW
    assert {record.at for record in mending} == {NOW + 60_000}


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
    named = [line.partition(":")[0] for line in ran.out.decode().splitlines()]
    assert named == [*REHEARSALS, *(f"({cause.value}" for cause in NOT_REHEARSED)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--scenario", "Nonsense", "--output", "x"), "drill: there is no scenario Nonsense; --list names them"),
        ((), "drill: say where to: "),
        (
            ("--scenario", "PeerAddressMismatch", "--output", "x"),
            "drill: there is no scenario PeerAddressMismatch: only what",
        ),
        (("--wait", "--output", "x"), "drill: --wait waits for what was sent: leave out --output"),
        (("--wait", "--namespace", "x.example", "--workspace", "1"), "drill: --workspace must be the workspace's id"),
        (
            (
                "--wait",
                "--namespace",
                "x.example",
                "--workspace",
                WORKSPACE,
                "--duration",
                "60",
                "--scenario",
                "BgpPeerDown",
            ),
            "drill: --duration 60 ends it before it is told, which takes 225 s",
        ),
        (("--connection-string-env", "NO_SUCH_VARIABLE"), "drill: the variable NO_SUCH_VARIABLE must hold one"),
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
        assert b"it is over" in done.stdout
        assert b"where Drill and GatewayName" in done.stdout
        (sent,) = re.findall(rb"sent (\d+) bodies", done.stdout)
        assert sum(part.head + 1 for part in hub.hubs["vpn-logs"]) == int(sent) + 1  # and one that says it is back


# --- waiting for the row ------------------------------------------------------------------------------------------


class Monitor(threading.Thread):
    """The app in small, while the block runs: reads the hub with the SDK, and tells by a clock that is in a hurry."""

    def __init__(self, hub: LocalHub, workspace: LogsQuery, hurry: int) -> None:
        super().__init__(name="monitor")
        self._client = EventHubConsumerClient.from_connection_string(hub.connection_string("vpn-logs"), "$Default")
        self._workspace, self._hurry, self._begun = workspace, hurry, time.time()
        self._estate = Estate()

    def _now(self) -> int:
        return int((self._begun + (time.time() - self._begun) * self._hurry) * 1000)

    def _take(self, context: PartitionContext, events: list[EventData]) -> None:
        bodies = [b"".join(event.body) for event in events]  # type: ignore[arg-type]
        number = int(events[-1].sequence_number or 0) if events else 0
        learn(self._estate, [Delivery(context.partition_id, "", number, self._now(), body) for body in bodies])
        self._workspace.rows += tell(self._estate, self._now())

    def run(self) -> None:
        with self._client:
            self._client.receive_batch(self._take, max_wait_time=0.2, starting_position="-1")

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self.join(20)


WAITING = """
import sys
from ikestream.cli import main
from ikestream.drill import arrival
arrival.EVERY = 0.2
sys.exit(main(sys.argv[1:]))
"""


def drilled(
    hub: LocalHub, workspace: LogsQuery, authority: Authority, *arguments: str, signed_in: bool = True
) -> subprocess.CompletedProcess[str]:
    with Identity() as identity:
        return subprocess.run(  # noqa: S603 - our own command
            [
                sys.executable, "-c", WAITING, "drill", "--connection-string-env", "HUB", "--wait", "--log-endpoint",
                workspace.origin, "--duration", "1", *(arguments or ("--workspace", WORKSPACE)),
            ],
            capture_output=True, cwd=ROOT, timeout=120, check=False, text=True,
            env={
                "PATH": os.environ["PATH"], "HUB": hub.connection_string(), "SSL_CERT_FILE": str(authority.ca),
                **(identity.settings if signed_in else {"AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential"}),
            },
        )  # fmt: skip


def test_it_waits_for_its_row_and_says_how_long_each_step_took(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with (
        LocalHub({"vpn-logs": 2}) as hub,
        LogsQuery(authority) as workspace,
        Monitor(hub, workspace, hurry=60),
    ):
        workspace.answer(200, 429, 503)  # it has an hour in which it says nothing of use, and then is well
        workspace.script[0] = Answer()
        done = drilled(hub, workspace, authority)
    assert (done.returncode, done.stderr) == (0, "")
    steps = re.findall(r"^ *(\d+\.\d) s  (sent|in the table|it is over|resolved)\b", done.stdout, re.MULTILINE)
    order = [step for _, step in steps]
    assert sorted(order) == ["in the table", "it is over", "resolved", "sent"]
    assert (order[0], order[-1]) == ("sent", "resolved")  # the tunnel may be back before the first row is seen
    assert [float(at) for at, _ in steps] == sorted(float(at) for at, _ in steps)
    assert "PreSharedKeyMismatch, high confidence" in done.stdout
    assert {row["Cause"] for row in workspace.rows if row["Kind"] == "Outage"} == {"PreSharedKeyMismatch"}


def test_what_does_not_come_is_said_with_where_to_look_and_the_tunnel_is_back(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with LocalHub({"vpn-logs": 1}) as hub, LogsQuery(authority) as workspace:  # and nobody reads
        done = drilled(hub, workspace, authority, "--workspace", WORKSPACE, "--patience", "1", "--duration", "900")
        (part,) = hub.hubs["vpn-logs"]
        (sent,) = re.findall(r"sent (\d+) bodies", done.stdout)
        assert part.head + 1 == int(sent) + 1
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        "drill: no row says PreSharedKeyMismatch after 1 s. The hub took the bodies, so look at the app:"
    )


@pytest.mark.parametrize(
    ("workspace_id", "signed_in", "answers", "said"),
    [
        ("contoso-logs", True, (), "drill: --workspace must be the workspace's id, a GUID"),
        (
            WORKSPACE.replace("1", "9"),
            True,
            (),
            "drill: Log Analytics knows no such workspace (404 WorkspaceNotFoundError)",
        ),
        (
            WORKSPACE,
            True,
            (403,),
            "drill: Log Analytics refuses to answer (403 without a code): whoever runs this needs",
        ),
        (
            WORKSPACE,
            True,
            (400,),
            "drill: Log Analytics does not take the query (400 without a code): has this workspace",
        ),
        (WORKSPACE, False, (), "drill: nobody is signed in who may ask Log Analytics"),
    ],
)
def test_who_cannot_see_the_row_is_told_before_anything_is_sent(
    workspace_id: str, signed_in: bool, answers: tuple[int, ...], said: str, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    with LocalHub({"vpn-logs": 1}) as hub, LogsQuery(authority) as workspace:
        workspace.answer(*answers)
        done = drilled(hub, workspace, authority, "--workspace", workspace_id, signed_in=signed_in)
        assert hub.hubs["vpn-logs"][0].head == -1
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(said)
    assert SECRET not in line


def test_a_hub_that_is_not_there_is_one_line_without_the_key(tmp_path: Path) -> None:
    with LocalHub({"vpn-logs": 1}) as hub:
        secret = tmp_path / "hub.txt"
        secret.write_text(hub.connection_string())
        ran = run("drill", "--connection-string-file", secret, "--hub", "nowhere")
        key = hub.connection_string().partition("SharedAccessKey=")[2].partition(";")[0]
    assert ran.status == 2
    assert len(ran.notes) == 1
    assert key.encode() not in ran.err + ran.out
