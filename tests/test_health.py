"""The rows about the monitor itself, the log, and the answer of the health endpoint."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import orjson
import pytest

from ikestream import __version__, codec, columns, health, monitor, settings
from ikestream.batch import DeadLetter, Delivery, Report, sort
from ikestream.estate import Estate, Partition, Scope
from ikestream.health import Batches, Minutes, Writer
from ikestream.inbox import post
from ikestream.incident import Ledger, Row, Told
from ikestream.keeping import Pending
from ikestream.lab import FAULTS, PROMPT, Lab
from ikestream.lab import post as deliver
from ikestream.monitor import Monitor, Ticked
from ikestream.sinks import Posting, Receipt, Why
from ikestream.sinks.log_analytics import LogAnalytics
from ikestream.stores import Delete, Document, Put, Unavailable
from ikestream.stores.memory import Memory
from ikestream.times import DAY, HOUR, LEASE, MINUTE, SECOND, TICK
from ikestream.timestamps import iso
from ikestream.tunnel import Gateway, Tunnel
from tests.emulators.https import Authority
from tests.emulators.ingestion import RULE, TOKEN, Ingestion, typed

NOW = 1_772_445_600_000  # 2026-03-02T10:00:00Z
WRITER = Writer("w1", "ikestream-abc", "West Europe")
TYPES = columns.types(health.TABLE)
KEY = "/subscriptions/0/resourcegroups/rg/providers/microsoft.network/virtualnetworkgateways/vng"


def shaped(row: Row) -> Row:
    """The row, if it has every column of the table, in order, with values of their types."""
    assert tuple(row) == tuple(TYPES)
    read = orjson.loads(orjson.dumps(row))
    assert {n: v for n, v in read.items() if v is not None and not typed(v, TYPES[n])} == {}
    return row


def estate(**tunnels: Tunnel) -> Estate:
    """One gateway whose tunnels are known peers, and two partitions, the second of them five minutes behind."""
    found = Estate(partitions={"0": Partition(41, NOW - SECOND), "1": Partition(7, NOW - 5 * MINUTE)})
    found.reached = {"0": NOW - 2 * SECOND, "1": NOW - 5 * MINUTE}
    found.gateways[KEY] = Gateway(KEY, tunnels=tunnels)
    return found


def waiting(at: int, sink: str = "log_analytics") -> Pending:
    return Pending(Posting({"IncidentId": "i", "Revision": 1, "TimeGenerated": iso(at)}, Why.OPENED), {sink})


def held(**more: Any) -> Ticked:
    return Ticked(held=True, heads={"0": 41, "1": 19}, **more)


def note(
    minutes: Minutes, ticked: Ticked, found: Estate, now: int = NOW, outbox: Any = None, seconds: float = 0.1
) -> Row | None:
    row = minutes.note(ticked, found, outbox or {}, now, seconds)
    return shaped(row) if row is not None else None


def test_the_version_of_the_columns_is_that_of_the_file() -> None:
    assert json.loads(health.TABLE.read_text(encoding="utf-8"))["stream"] == health.STREAM


# --- the tick ---------------------------------------------------------------------------------------------------------


def test_a_row_says_how_far_behind_what_waits_and_who_was_heard_last() -> None:
    found = estate(
        **{
            "203.0.113.7": Tunnel("203.0.113.7", last_seen=NOW - HOUR),
            "203.0.113.8": Tunnel("203.0.113.8", last_seen=NOW - MINUTE),
        }
    )
    found.gateways[KEY].strangers = {"203.0.113.8"}
    found.gateways["quiet"] = Gateway("quiet", tunnels={"p": Tunnel("p", last_seen=NOW - DAY)})
    outbox = {
        Scope(KEY, "203.0.113.7"): [waiting(NOW - 7 * MINUTE), waiting(NOW - MINUTE)],
        Scope(KEY, ""): [waiting(NOW - SECOND)],
    }
    ticked = held(
        events=12, told=3, delivered=2, refused=1, left=4, parked={"g": NOW - HOUR}, unseen=["1"], trouble=["a", "b"]
    )
    row = note(Minutes(WRITER), ticked, found, outbox=outbox, seconds=1.5)
    assert row is not None
    assert {name: row[name] for name in row if row[name] is not None} == {
        "TimeGenerated": "2026-03-02T10:00:00.000Z",
        "Kind": "Tick",
        "AppName": "ikestream-abc",
        "Region": "West Europe",
        "Instance": "w1",
        "WatermarkAt": "2026-03-02T09:55:00.000Z",  # the slowest partition decides
        "LagSeconds": 300.0,
        "Partitions": [
            {"Partition": "0", "LagSeconds": 2.0, "Unread": 0},
            {"Partition": "1", "LagSeconds": 300.0, "Unread": 12},
        ],
        "Waiting": 1,
        "Inbox": 4,
        "Outbox": 3,
        "OldestUndelivered": "2026-03-02T09:53:00.000Z",
        "Gateways": [
            {"Gateway": "quiet", "LastEvent": "2026-03-01T10:00:00.000Z"},
            {"Gateway": KEY, "LastEvent": "2026-03-02T09:59:00.000Z"},
        ],
        "Parked": [{"Gateway": "g", "Since": "2026-03-02T09:00:00.000Z"}],
        "Records": 12,
        "DeadLetters": 1,
        "LostRaces": 0,
        "Told": 3,
        "Delivered": 2,
        "BoundsReached": 0,
        "TooLate": 0,
        "TickSeconds": 1.5,
        "TrackedTunnels": 2,  # a stranger is none
        "OpenIncidents": 0,
        "Trouble": "a; b",
        "Version": __version__,
        "SchemaVersion": 1,
    }


def test_a_row_a_minute_counts_all_its_ticks() -> None:
    minutes, found = Minutes(WRITER), estate()
    rows = []
    for n in range(13):
        ticked = held(events=1, told=n, trouble=["always", f"once {n % 2}"])
        # The timer is some milliseconds early or late.
        row = note(minutes, ticked, found, NOW + n * TICK - n % 5, seconds=float(n % 4))
        if row is not None:
            rows.append((n, row))
    assert [n for n, _ in rows] == [0, 4, 8, 12]
    assert [row["Records"] for _, row in rows] == [1, 4, 4, 4]
    assert [row["Told"] for _, row in rows] == [0, 1 + 2 + 3 + 4, 5 + 6 + 7 + 8, 9 + 10 + 11 + 12]
    assert [row["TickSeconds"] for _, row in rows] == [0, 3, 3, 3]
    assert [row["Trouble"] for _, row in rows] == ["always; once 0", *["always; once 1; once 0"] * 3]


def test_incidents_that_ended_are_not_open() -> None:
    found = estate(**{"203.0.113.7": Tunnel("203.0.113.7")})
    told = [
        Told(state, "", "Outage", NOW, None, {"State": state, "Resolution": None}, NOW)
        for state in ("Open", "Resolved")
    ]
    found.keep(Scope(KEY, "203.0.113.7"), Ledger(told, 2))
    row = note(Minutes(WRITER), held(), found)
    assert row is not None
    assert row["OpenIncidents"] == 1


def test_bounds_and_late_records_are_told_as_they_grow() -> None:
    tunnel = Tunnel("203.0.113.7", thinned=5, late=2)
    minutes, found = Minutes(WRITER), estate(**{"203.0.113.7": tunnel})
    rows = [note(minutes, held(), found)]
    tunnel.thinned, tunnel.late, found.gateways[KEY].evicted = 6, 4, 10
    rows.append(note(minutes, held(), found, NOW + MINUTE))
    found.gateways["new"] = Gateway("new", evicted=3)
    found.gateways[KEY].evicted = 1  # a stranger took its count along
    rows.append(note(minutes, held(), found, NOW + 2 * MINUTE))
    # What was known before this worker began is nobody's news; what is forgotten takes nothing back.
    assert [(row["BoundsReached"], row["TooLate"]) for row in rows if row] == [(0, 0), (11, 2), (3, 0)]


def test_whose_turn_it_is_not_says_nothing_unless_something_is_wrong() -> None:
    minutes = Minutes(WRITER)
    assert note(minutes, Ticked(), Estate()) is None
    row = note(minutes, Ticked(trouble=["store: 503"]), Estate())
    assert row is not None
    assert (row["Trouble"], row["LagSeconds"], row["Outbox"], row["TrackedTunnels"]) == ("store: 503", None, None, None)
    assert note(minutes, Ticked(trouble=["store: 503"]), Estate(), NOW + MINUTE // 2) is None


def test_who_loses_the_store_tells_what_stood_and_how_old_that_is_by_now() -> None:
    minutes, found = Minutes(WRITER), estate()
    note(minutes, held(parked={"g": NOW}, left=3), found, outbox={Scope(KEY, ""): [waiting(NOW)]})
    row = note(minutes, Ticked(trouble=["store: 503"]), Estate(), NOW + 20 * MINUTE)
    assert row is not None
    assert (row["LagSeconds"], row["Outbox"], row["OldestUndelivered"]) == (25 * 60.0, 1, iso(NOW))
    assert ([p["Gateway"] for p in row["Parked"]], row["Inbox"]) == (["g"], 3)
    assert row["BoundsReached"] == 0
    row = note(minutes, Ticked(held=True, lost_races=1), Estate(), NOW + 22 * MINUTE)
    assert row is not None
    assert (row["LagSeconds"], row["Outbox"], row["LostRaces"]) == (27 * 60.0, 1, 1)
    # Somebody else ticks now: he speaks.
    assert note(minutes, Ticked(), Estate(), NOW + 30 * MINUTE) is None
    row = note(minutes, Ticked(lost_races=1), Estate(), NOW + 40 * MINUTE)
    assert row is not None
    assert (row["LagSeconds"], row["LostRaces"]) == (None, 1)


def test_a_thousand_gateways_fit_into_a_row() -> None:
    found = estate()
    for n in range(1_000):
        key = KEY.replace("vng", f"a-gateway-with-a-long-name-as-some-have-{n}")
        found.gateways[key] = Gateway(key, tunnels={"p": Tunnel("p", last_seen=NOW - n * SECOND)})
    row = note(Minutes(WRITER), held(trouble=["x" * 5_000]), found)
    assert row is not None
    assert all(len(orjson.dumps(value)) < 64_000 for value in row.values())
    assert row["Gateways"][0]["LastEvent"] == iso(0)  # one that never wrote is the longest silent
    assert row["Gateways"][1]["LastEvent"] == iso(NOW - 999 * SECOND)


class Ears:
    """A receiver that takes nothing."""

    name, messages = "log_analytics", False

    async def send(self, postings: Sequence[Posting]) -> Receipt:
        return Receipt(trouble="503", retry_after=0.0)

    async def close(self) -> None:
        pass


def test_the_row_of_a_real_tick() -> None:
    """A failing tunnel, a store in memory, a receiver that is down."""
    log = next(iter(FAULTS))(Lab(3))
    deliveries = deliver(sorted(log.records, key=lambda r: r.at or 0), Random(0), PROMPT)
    last = deliveries[-1].enqueued
    clock = [last]
    store = Memory()
    running = Monitor(store, [Ears()], lambda: clock[0], "w1")

    async def story() -> list[Row]:
        for start in range(0, len(deliveries), 50):
            await post(store, sort(deliveries[start : start + 50])[0])
        rows = []
        minutes = Minutes(WRITER)
        for _ in range(80):
            ticked = await running.tick()
            row = note(minutes, ticked, running.estate, clock[0], running.outbox)
            rows += [row] if row else []
            clock[0] += TICK
        return rows

    rows = asyncio.run(story())
    assert len(rows) == 20
    assert rows[0]["Records"] == len(log.records)
    assert (rows[-1]["TrackedTunnels"], rows[-1]["Partitions"][0]["Unread"]) == (1, 0)
    assert sum(row["Told"] for row in rows) == rows[-1]["Outbox"] > 0
    assert rows[-1]["OldestUndelivered"] == min(
        pending.posting.row["TimeGenerated"] for rows in running.outbox.values() for pending in rows
    )
    assert rows[-1]["OpenIncidents"] == len(
        {
            told.incident_id
            for s in running.estate.scopes()
            for told in running.estate.ledger(s).told
            if told.row["State"] == "Open"
        }
    )
    assert rows[-1]["Trouble"] == "log_analytics: 503"
    assert {row["Delivered"] for row in rows} == {0}
    assert rows[-1]["Gateways"] == [
        {"Gateway": log.gateway_id.lower(), "LastEvent": iso(max(r.at or 0 for r in log.records))}
    ]


# --- batches ----------------------------------------------------------------------------------------------------------

DELIVERY = Delivery("0", "0", 0, NOW, b"")
SECRET = "Pre$hared-K3y!"  # noqa: S105
LINE = (
    f"SESSION_ID :{{c9459bf0-8178-4482-88d6-a695be1f5157}} [SEND] Frobnicated 203.0.113.7 for user alice key={SECRET}"
)


def body(*messages: str) -> bytes:
    return orjson.dumps(
        {
            "records": [
                {
                    "time": iso(NOW),
                    "resourceId": KEY,
                    "category": "IKEDiagnosticLog",
                    "properties": {"message": message},
                }
                for message in messages
            ]
        }
    )


def batch(*bodies: bytes) -> Report:
    return sort([Delivery("0", str(n), n, NOW, one) for n, one in enumerate(bodies)])[1]


def test_a_batch_is_counted_and_lines_that_nothing_reads_are_masked() -> None:
    report = batch(
        body(LINE, LINE.replace("alice", "bob"), "[SEND] Mumbled"), b"no JSON", orjson.dumps([{"time": "x"}])
    )
    row = Batches(WRITER).note(report, 3, NOW)
    assert row is not None
    shaped(row)
    assert (row["Kind"], row["AppName"], row["Region"], row["Instance"]) == (
        "Batch",
        "ikestream-abc",
        "West Europe",
        "w1",
    )
    assert (row["Events"], row["Records"], row["Unread"], row["DeadLetters"]) == (3, 3, 3, 1)
    assert [(shape["Lines"]) for shape in row["UnreadShapes"]] == [2, 1]
    assert "Frobnicated" in row["UnreadShapes"][0]["Shape"]
    assert sum(row["Skipped"].values()) == 1
    for hidden in (SECRET, "alice", "203.0.113.7", "c9459bf0"):
        assert hidden not in orjson.dumps(row).decode()
    # The tick's columns are not a batch's to say.
    assert {row[name] for name in ("LagSeconds", "Outbox", "Parked", "BoundsReached", "LostRaces")} == {None}


def test_a_row_of_batches_comes_once_a_minute_or_at_once_if_somebody_must_hear_of_it() -> None:
    batches = Batches(WRITER)
    quiet, dead, odd = Report(records=5), Report(dead=[DeadLetter(DELIVERY, "empty")]), Report(unread=Counter(a=1))

    def noted(report: Report, at: int) -> Any:
        row = batches.note(report, 1, NOW + at * SECOND)
        return None if row is None else (row["Events"], row["Records"], row["DeadLetters"], row["Unread"])

    assert noted(quiet, 0) == (1, 5, 0, 0)
    assert noted(quiet, 1) is None
    assert noted(dead, 2) == (2, 5, 1, 0)
    assert noted(odd, 3) == (1, 0, 0, 1)
    assert noted(odd, 4) is None  # a shape that was told
    assert noted(quiet, 62) is None
    assert noted(quiet, 63) == (3, 10, 0, 1)


def test_a_flood_of_shapes_is_neither_many_rows_nor_a_long_one() -> None:
    batches = Batches(WRITER)
    rows = [
        batches.note(Report(unread=Counter({f"shape {n}.{m}": 1 for m in range(50)})), 1, NOW + n) for n in range(200)
    ]
    told = [row for row in rows if row is not None]
    assert len(told) <= health.MOST_KNOWN_SHAPES // 50 + 1
    assert {len(row["UnreadShapes"]) for row in told} == {health.MOST_SHAPES}


def test_letters_that_were_cut_are_told() -> None:
    row = Batches(WRITER).note(Report(dead=[DeadLetter(DELIVERY, "x")]), 1, NOW, cut=1)
    assert row is not None
    assert row["Trouble"] == "1 of the dead letters did not fit whole and were cut"


# --- written ----------------------------------------------------------------------------------------------------------


class Identity:
    """Has a token."""

    async def get_token(self, *_: str, **__: Any) -> Any:
        from azure.core.credentials import AccessToken

        return AccessToken(TOKEN, 9_999_999_999)

    async def close(self) -> None:
        pass


def test_the_table_takes_both_kinds(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    rows = [
        note(Minutes(WRITER), held(trouble=["x"]), estate(), outbox={Scope(KEY, ""): [waiting(NOW)]}),
        Batches(WRITER).note(batch(body(LINE), b""), 2, NOW),
    ]
    with Ingestion(authority, health.STREAM, TYPES) as server:
        sink = LogAnalytics(
            server.origin, RULE, health.STREAM, Identity(), TYPES, trust=str(authority.ca), required=health.required(),  # type: ignore[arg-type]
        )  # fmt: skip

        async def story() -> Receipt:
            try:
                return await sink.write([row for row in rows if row])
            finally:
                await sink.close()

        assert asyncio.run(story()).accepted == {("", 0), ("", 1)}
        assert server.rows == [orjson.loads(orjson.dumps(row)) for row in rows]


def test_the_log_holds_a_row_as_json_on_one_line(caplog: pytest.LogCaptureFixture) -> None:
    fine = note(Minutes(WRITER), held(), estate())
    wrong = note(Minutes(WRITER), held(trouble=["forged\nhealth {}"]), estate())
    assert fine is not None
    assert wrong is not None
    with caplog.at_level(logging.INFO, "ikestream.health"):
        health.log([fine, wrong])
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    for record, row in zip(caplog.records, (fine, wrong), strict=True):
        message = record.getMessage()
        assert message.startswith("health {")
        assert "\n" not in message
        assert json.loads(message[7:]) == {n: v for n, v in row.items() if v not in (None, [], {})}


def test_a_row_too_long_for_application_insights_loses_its_lists(caplog: pytest.LogCaptureFixture) -> None:
    row = note(Minutes(WRITER), held(), estate())
    assert row is not None
    with caplog.at_level(logging.INFO, "ikestream.health"):
        health.log([row | {"Gateways": [{"Gateway": "x" * 40_000}]}])
    (record,) = caplog.records
    assert len(record.getMessage()) < 32_768
    assert json.loads(record.getMessage()[7:])["LagSeconds"] == 300.0


def test_a_writer_is_the_app_that_the_platform_names() -> None:
    found = settings.load({settings.SITE: "ikestream-abc", settings.REGION: "West Europe"})
    assert health.writer(found, "w1") == WRITER
    assert health.writer(settings.load({}), "w2") == Writer("w2", "", "")


# --- the endpoint -----------------------------------------------------------------------------------------------------


class Down:
    """A store that does not answer; its error holds what nobody may see."""

    async def read(self, partition: str, limit: int | None = None) -> AsyncIterator[Document]:
        raise Unavailable("ikestreamabc.table.core.windows.net: 403 " + SECRET)
        yield

    async def write(self, partition: str, changes: Sequence[Put | Delete]) -> list[str]:
        raise Unavailable("403")

    async def close(self) -> None:
        pass


class Stuck(Down):
    """A store that never answers."""

    async def read(self, partition: str, limit: int | None = None) -> AsyncIterator[Document]:
        await asyncio.sleep(3_600)
        yield Document("", "", b"", "")


def kept(row: Row | None, ticked: int = NOW) -> Memory:
    """A store after a tick at `ticked` that left `row`."""
    store = Memory()
    state = monitor.TickState(holder="w1", until=ticked + LEASE)

    async def story() -> None:
        await store.write(monitor.TICK, [Put(monitor.TICK, codec.pack(state, monitor.TickState))])
        if row is not None:
            await health.keep(store, row)

    asyncio.run(story())
    return store


def row_of(found: Estate, outbox: Any = None) -> Row:
    row = note(Minutes(WRITER), held(parked={KEY: NOW}, trouble=[SECRET]), found, outbox=outbox)
    assert row is not None
    return row


def checked(store: Any, now: int = NOW) -> tuple[int, dict[str, Any]]:
    status, said = asyncio.run(health.check(store, now))
    text = orjson.dumps(said).decode()
    assert SECRET not in text
    assert KEY not in text
    assert (status == 200) == (said["status"] == "healthy") == (said["reasons"] == [])
    return status, said


def test_healthy_says_since_when_and_how_much_waits() -> None:
    outbox = {Scope(KEY, ""): [waiting(NOW - MINUTE)]}
    assert checked(kept(row_of(estate(), outbox)), NOW + MINUTE) == (
        200,
        {
            "status": "healthy",
            "version": __version__,
            "reasons": [],
            "lastTick": "2026-03-02T10:00:00.000Z",
            "lagSeconds": 360.0,
            "undelivered": 1,
            "oldestUndelivered": "2026-03-02T09:59:00.000Z",
            "parkedGateways": 1,
            "openIncidents": 0,
        },
    )


@pytest.mark.parametrize(
    ("store", "now", "reason"),
    [
        (lambda: Memory(), NOW, "nothing has ticked yet"),
        (lambda: Down(), NOW, "the store cannot be read"),
        (lambda: kept(None), NOW, "nothing has been judged yet: the event hub was never read, or cannot be asked how far it is"),
        (lambda: kept(row_of(estate())), NOW + 5 * MINUTE + 1, "no tick for 5 minutes"),
        (lambda: kept(row_of(estate()), NOW + 10 * MINUTE), NOW + 10 * MINUTE + 1, "what is judged is 15 minutes old"),
        (
            lambda: kept(row_of(estate(), {Scope(KEY, ""): [waiting(NOW - 16 * MINUTE)]})),
            NOW,
            "rows have waited for 16 minutes to be delivered",
        ),
    ],
)  # fmt: skip
def test_unhealthy_says_why(store: Any, now: int, reason: str) -> None:
    status, said = checked(store(), now)
    assert (status, said["reasons"]) == (503, [reason])


def test_just_before_it_is_still_healthy() -> None:
    assert checked(kept(row_of(estate())), NOW + 5 * MINUTE)[0] == 200
    assert checked(kept(row_of(estate()), NOW + 10 * MINUTE), NOW + 10 * MINUTE)[0] == 200


def test_a_store_that_never_answers_is_one_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "PATIENCE", 0.05)
    assert checked(Stuck())[1]["reasons"] == ["the store cannot be read"]


def test_what_newer_code_wrote_is_said_and_not_guessed() -> None:
    store = Memory()
    asyncio.run(store.write(monitor.TICK, [Put(monitor.TICK, b"something else")]))
    assert checked(store)[1]["reasons"] == ["the store holds what this version cannot read"]


def test_a_row_of_who_knows_nothing_does_not_take_away_what_is_kept() -> None:
    store = kept(row_of(estate()))
    unknowing = note(Minutes(WRITER), Ticked(trouble=["store: 503"]), Estate())
    assert unknowing is not None
    asyncio.run(health.keep(store, unknowing))
    assert checked(store)[0] == 200


def test_the_state_a_real_tick_leaves_is_read() -> None:
    clock = [NOW]
    store = Memory()

    async def heads() -> dict[str, int]:
        return {"0": -1}

    running = Monitor(store, [], lambda: clock[0], "w1", heads=heads)

    async def story() -> None:
        row = Minutes(WRITER).note(await running.tick(), running.estate, running.outbox, clock[0], 0.1)
        assert row is not None
        await health.keep(store, row)

    asyncio.run(story())
    assert checked(store, NOW + MINUTE)[0] == 200
    assert checked(store, NOW + 6 * MINUTE)[1]["reasons"] == ["no tick for 6 minutes"]
