"""Saved logs: every format gives the same records, every problem its sentence, any order the same order."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
import os
import random
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ikestream.events import Category, Record
from ikestream.formats import Ordered, Problem, in_order, read, records
from ikestream.formats import documents as documents_module
from ikestream.formats.documents import elements
from ikestream.formats.lines import LINE_LIMIT
from ikestream.formats.text import CHUNK

QUIET = settings(deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])

GATEWAY = (
    "/SUBSCRIPTIONS/00000000-0000-0000-0000-000000000000/RESOURCEGROUPS/LAB"
    "/PROVIDERS/MICROSOFT.NETWORK/VIRTUALNETWORKGATEWAYS/VPNGW"
)
PREFIX = "SESSION_ID :{3baa1cd0-77ec-40e6-b0d6-7ef40b2372a5} Remote 192.0.2.1:500: Local 198.51.100.1:500: "
START = int(datetime(2020, 9, 18, 15, 43, 12, tzinfo=UTC).timestamp()) * 1000


def ike(at: int | None, message: str) -> Record:
    return Record(at, GATEWAY, Category.IKE, "IKELogEvent", "GatewayTenantWorker_IN_0", message, "Informational")


STORY = [
    ike(
        START + 7, PREFIX + "[SEND][SA_INIT] Sending IKE SA_INIT packet with tunnelId 0x3, iCookie 0x1 and rCookie 0x0"
    ),
    ike(START + 123, PREFIX + '[RECEIVED][NOTIFY] Received Notify Message - "quoted", with; commas\tand \\ tab'),
    ike(START + 123, PREFIX + "[LOCAL_MSG] IKE Tunnel closed for tunnelId 0x3 with status Ünlesbar"),
    ike(START + 999, PREFIX + "Proposed(send) Traffic Selector payload will be- [Tsid 0x37 ]Number of TSIs 1: {[}]"),
    Record(
        at=START + 60_001,
        gateway=GATEWAY,
        category=Category.TUNNEL,
        operation="TunnelDisconnected",
        instance="GatewayTenantWorker_IN_1",
        message="",
        level="Warning",
        remote_ip="192.0.2.1",
        status="Disconnected",
        reason="peer stopped responding",
    ),
]
ORDERED = sorted(STORY, key=lambda found: (found.at or 0, found.instance, found.message))


def iso(at: int | None) -> str:
    assert at is not None
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at % 1000:03}4567Z"


def local(at: int | None) -> str:
    assert at is not None
    stamp = datetime.fromtimestamp(at / 1000, UTC)
    clock = stamp.strftime("%I:%M:%S.").lstrip("0")
    return f"{stamp.month}/{stamp.day}/{stamp.year}, {clock}{at % 1000:03} {stamp:%p}"


def raw(found: Record) -> dict[str, object]:
    properties = {
        "instance": found.instance,
        "message": found.message,
        "remoteIP": found.remote_ip,
        "status": found.status,
        "stateChangeReason": found.reason,
    }
    return {
        "time": iso(found.at),
        "resourceId": found.gateway,
        "operationName": found.operation,
        "category": found.category,
        "level": found.level,
        "properties": {name: value for name, value in properties.items() if value},
    }


def columns(found: Record) -> dict[str, object]:
    return {
        "TimeGenerated": iso(found.at),
        "ResourceId": found.gateway,
        "Category": found.category.value,
        "OperationName": found.operation,
        "Level": found.level,
        "Message": found.message or None,
        "instance_s": found.instance,
        "remoteIP_s": found.remote_ip or None,
        "status_s": found.status or None,
        "stateChangeReason_s": found.reason or None,
    }


def bodies(story: list[Record]) -> bytes:
    return b"".join(orjson.dumps({"records": [raw(found) for found in pair]}) + b"\n" for pair in batches(story))


def batches(story: list[Record]) -> list[list[Record]]:
    return [story[at : at + 2] for at in range(0, len(story), 2)]


def blob(story: list[Record]) -> bytes:
    return b"\r\n".join(orjson.dumps(raw(found)) for found in story)


def pretty(story: list[Record]) -> bytes:
    return orjson.dumps({"records": [raw(found) for found in story]}, option=orjson.OPT_INDENT_2)


def pretty_pair(story: list[Record]) -> bytes:
    return b"\n".join(pretty(pair) for pair in batches(story))


def concatenated(story: list[Record]) -> bytes:
    return b"".join(orjson.dumps(raw(found)) for found in story)


def query(story: list[Record]) -> bytes:
    return orjson.dumps(
        [{**columns(found), "TableName": "PrimaryResult"} for found in story], option=orjson.OPT_INDENT_2
    )


def query_line(story: list[Record]) -> bytes:
    return b"WARNING: This command is in preview.\n" + orjson.dumps([columns(found) for found in story])


def rest(story: list[Record]) -> bytes:
    names = list(columns(story[0]))
    rows = [list(columns(found).values()) for found in story]
    return orjson.dumps(
        {"tables": [{"name": "P", "columns": [{"name": n, "type": "string"} for n in names], "rows": rows}]}
    )


def rest_old(story: list[Record]) -> bytes:
    names = list(columns(story[0]))
    rows = [list(columns(found).values()) for found in story]
    table = {"TableName": "Table_0", "Columns": [{"ColumnName": name} for name in names], "Rows": rows}
    return orjson.dumps({"Tables": [table]}, option=orjson.OPT_INDENT_2)


def table(story: list[Record], delimiter: str, time: Callable[[int | None], str], title: str) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter)
    writer.writerow([title if name == "TimeGenerated" else name for name in columns(story[0])])
    for found in story:
        writer.writerow(["" if v is None else v for v in {**columns(found), "TimeGenerated": time(found.at)}.values()])
    return out.getvalue()


def portal(story: list[Record]) -> bytes:
    return b"\xef\xbb\xbf" + table(story, ",", local, "TimeGenerated [UTC]").encode()


def semicolons(story: list[Record]) -> bytes:
    return b"sep=;\r\n" + table(story, ";", iso, "TimeGenerated").encode()


def tabs(story: list[Record]) -> bytes:
    return table(story, "\t", local, '"TimeGenerated [UTC]"'.strip('"')).encode("utf-16")


FORMATS = [
    bodies, blob, pretty, pretty_pair, concatenated, query, query_line, rest, rest_old, portal, semicolons, tabs,
    lambda story: bodies(story).decode().encode("utf-16"),
    lambda story: gzip.compress(bodies(story), mtime=0),
    lambda story: gzip.compress(query(story)[:50], mtime=0) + gzip.compress(query(story)[50:], mtime=0) + b"\x00" * 20,
]  # fmt: skip


def saved(path: Path, **options: str) -> tuple[list[Record], list[Problem]]:
    with read([path], **options) as found:
        return list(found), found.problems


def written(folder: Path, content: bytes, name: str = "log") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def sentences(path: Path) -> list[str]:
    return [f"{problem.where}|{problem.what}|{problem.fatal}" for problem in saved(path)[1]]


class TestSameContent:
    @pytest.mark.parametrize("order", [1, -1])
    @pytest.mark.parametrize("layout", FORMATS)
    def test_every_format_gives_the_same_records(self, tmp_path: Path, layout, order: int) -> None:
        found, problems = saved(written(tmp_path, layout(STORY[::order])))
        assert found == ORDERED
        assert [problem.what for problem in problems] == (
            ["1 line is broken and left out; the rest was read."] if layout is query_line else []
        )

    def test_all_formats_at_once_are_one_log(self, tmp_path: Path) -> None:
        for number, layout in enumerate(FORMATS):
            written(tmp_path, layout(STORY), f"{number}.log")
        with read([tmp_path]) as found:
            assert list(found) == ORDERED
        assert found.duplicates == (len(FORMATS) - 1) * len(STORY)

    def test_standard_input(self) -> None:
        with read(["-"], stdin=io.BytesIO(gzip.compress(bodies(STORY), mtime=0))) as found:
            assert list(found) == ORDERED

    def test_chunk_ends_anywhere(self, tmp_path: Path) -> None:
        """Formats whose text does not fit one chunk, cut at each place of the story."""
        for layout in (query, pretty, rest, portal, bodies):
            content = layout(STORY)
            for size in (1, 2, 3, 7, 100):
                pieces = [content[at : at + size] for at in range(0, len(content), size)]
                if layout is portal:
                    continue
                got = list(elements(iter(pieces), lambda line: pytest.fail(f"line {line}")))
                assert len(got) == len(STORY), (layout, size)

    def test_documents_larger_than_may_be_in_memory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(documents_module, "WHOLE", 1500)
        many = [ike(START + number, f"{PREFIX}{number}") for number in range(200)]
        for layout in (
            pretty,
            query,
            rest,
            rest_old,
            bodies,
            lambda story: orjson.dumps([{"records": list(map(raw, story))}]),
        ):
            content = layout(many)
            pieces = (content[at : at + 100] for at in range(0, len(content), 100))
            got = list(elements(pieces, lambda line: pytest.fail(f"line {line}")))
            assert len(got) == len(many)

    @pytest.mark.parametrize("size", [1, 2, 3, 7])
    def test_gzip_members_end_anywhere(self, size: int) -> None:
        class Dribble(io.BytesIO):
            def read(self, _: int | None = -1) -> bytes:
                return super().read(size if self.tell() else 5)

        content = bodies(STORY)
        for split in range(90, 100):
            packed = (
                gzip.compress(content[:split], mtime=0)
                + gzip.compress(b"", mtime=0)
                + gzip.compress(content[split:], mtime=0)
            )
            assert (
                list(records(["-"], report=lambda problem: pytest.fail(str(problem)), stdin=Dribble(packed))) == STORY
            )

    def test_newlines_in_csv_fields_and_quotes_at_chunk_ends(self, tmp_path: Path) -> None:
        story = [ike(START + n, f'{PREFIX}{n} "x" \n next, line' + "y" * (n % 97)) for n in range(CHUNK // 100)]
        content = portal(story)
        assert len(content) > CHUNK
        assert saved(written(tmp_path, content)) == (story, [])


class TestBareLines:
    LINES = (
        "// Network Watcher, IkeLogs.txt\r\n\r\nRemote 192.0.2.1:500: Local 198.51.100.1:500: [SEND] x\r\n"
        "IkeCleanupQMNegotiation called with error 13868 and flags a\r\n  # note\r\n"
    )

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
    def test_without_a_time(self, tmp_path: Path, encoding: str) -> None:
        path = written(tmp_path, self.LINES.encode(encoding), "IkeLogs.txt")
        with read([path]) as found:
            assert list(found.timed()) == []
            assert list(found.clockless()) == [
                Record(None, "IkeLogs", Category.IKE, "", "", "Remote 192.0.2.1:500: Local 198.51.100.1:500: [SEND] x"),
                Record(
                    None, "IkeLogs", Category.IKE, "", "", "IkeCleanupQMNegotiation called with error 13868 and flags a"
                ),
            ]
        assert found.problems == []

    def test_the_gateway_is_the_files_name_unless_told(self, tmp_path: Path) -> None:
        path = written(tmp_path, gzip.compress(self.LINES.encode(), mtime=0), "Ike.Logs.txt.gz")
        assert {found.gateway for found in saved(path)[0]} == {"Ike.Logs"}
        assert {found.gateway for found in saved(path, gateway="vpngw1")[0]} == {"vpngw1"}
        written(tmp_path, bodies(STORY), "hub")
        assert {found.gateway for found in saved(tmp_path / "hub", gateway="vpngw1")[0]} == {GATEWAY}

    @pytest.mark.parametrize(
        "lead",
        [
            "2020-09-18T15:43:12.123Z ",
            "2020-09-18T15:43:12.1239999Z\t",
            "2020-09-18 15:43:12.123 ",
            "2020-09-18 15:43:12,123 - ",
            "[2020-09-18 15:43:12.123] ",
            "[2020-09-18T15:43:12.123Z]",
            "2020-09-18T17:43:12.123+02:00: ",
            "09/18/2020, 03:43:12.123 PM ",
            "9/18/2020, 3:43:12.123 PM, ",
            "09/18/2020, 15:43:12.123\t",
            "[09/18/2020 15:43:12.123] ",
            "18/09/2020, 15:43:12.123 ",
            "2020/09/18 15:43:12.123 ",
            "2020-09-18, 3:43:12.123 p.m. ",
            "18.09.2020, 15:43:12.123 | ",
        ],
    )
    def test_leading_times(self, tmp_path: Path, lead: str) -> None:
        for message in ("[SEND][NOTIFY] Sending Notify Message - Policy Mismatch", PREFIX + "[SEND] x"):
            found, problems = saved(written(tmp_path, f"{lead}{message}\n".encode(), "vpngw"))
            assert problems == []
            assert found == [Record(START + 123, "vpngw", Category.IKE, "", "", message)]

    def test_equal_lines_without_a_time_are_two_events_in_the_order_written(self, tmp_path: Path) -> None:
        first = written(tmp_path, b"[SEND] b\n[SEND] a\n[SEND] b\n", "2.txt")
        second = written(tmp_path, b"[SEND] z\n", "1.txt")
        with read([first, second]) as found:
            assert [line.message[-1] for line in found] == ["b", "a", "b", "z"]

    def test_the_day_comes_first_where_the_file_shows_it(self, tmp_path: Path) -> None:
        text = "05/09/2020 10:00:00 [SEND] a\n18/09/2020 10:00:00 [SEND] b\n"
        found, problems = saved(written(tmp_path, text.encode()))
        assert [iso(line.at)[:10] for line in found] == ["2020-09-05", "2020-09-18"]
        assert problems == []

    def test_a_guess_that_turns_out_wrong_is_said(self, tmp_path: Path) -> None:
        early = "05/09/2020 10:00:00 [SEND] a\n" * (CHUNK // 20)
        path = written(tmp_path, (early + "18/09/2020 10:00:00 [SEND] b\n").encode())
        (said,) = sentences(path)
        assert said.endswith(
            "|Dates before this line were read with the month first, but here the day comes first.|False"
        )

    def test_a_list_that_goes_on_in_the_next_line_is_one_message(self, tmp_path: Path) -> None:
        offer = (
            PREFIX + "[RECEIVED]Received Ike payload: Policy1:Cipher=AES-CBC-256\n  Integrity=SHA384\n DhGroup=DhGroup2"
        )
        offer += "\nPolicy2:Cipher=AES-CBC-256 Integrity=SHA256 DhGroup=DhGroup5"
        selectors = (
            PREFIX + "Received Traffic Selector payload request- [Tsid 0x7  ]Number of TSIs 1:\nStartAddress 10.0.0.0"
        )
        selectors += " EndAddress 10.0.0.255 PortStart 0 PortEnd 65535 Protocol 0\nNumber of TSRs 0:"
        for lead in ("", "2020-09-18T15:43:12.123Z "):
            text = "".join(f"{lead}{message}\n" for message in (offer, selectors, "[SEND] x"))
            found, problems = saved(written(tmp_path, text.encode()))
            assert problems == []
            # Rows of one time are put in the order of their text; a file without times stays as it is written.
            assert sorted(line.message for line in found) == sorted([offer, selectors, "[SEND] x"])

    def test_a_list_without_end_does_not_fill_the_memory(self, tmp_path: Path) -> None:
        text = "[SEND] x\n" + "Policy1:Cipher=AES-CBC-256\n" * 100_000
        found, _ = saved(written(tmp_path, text.encode()))
        assert len(found) > 1
        assert max(len(line.message) for line in found) <= 2 * LINE_LIMIT

    @pytest.mark.parametrize("layout", [portal, query, bodies])
    def test_files_put_together_are_one(self, tmp_path: Path, layout: Callable[[list[Record]], bytes]) -> None:
        mark = codecs.BOM_UTF8
        first, second = (mark + layout(part).removeprefix(mark) for part in (STORY[:3], STORY[3:]))
        found, problems = saved(written(tmp_path, first + b"\n" + second))
        assert found == ORDERED
        assert problems == []

    def test_lines_in_quotes(self, tmp_path: Path) -> None:
        path = written(tmp_path, f'"{PREFIX}[SEND] x"\n"{PREFIX}[SEND] a ""b"""\n'.encode())
        assert [line.message for line in saved(path)[0]] == [PREFIX + "[SEND] x", PREFIX + '[SEND] a "b"']
        assert sentences(path) == []

    def test_a_nul_in_a_log_costs_no_other_line(self, tmp_path: Path) -> None:
        found, problems = saved(written(tmp_path, bodies(STORY[:2]) + b"\0\0\0\n" + bodies(STORY[2:])))
        assert found == ORDERED
        assert [problem.fatal for problem in problems] == [False]

    def test_prose_is_no_log(self, tmp_path: Path) -> None:
        path = written(tmp_path, b"# Readme\nThis folder holds the logs of our VPN.\nAsk Bob about IKE.\n")
        assert saved(path)[0] == []
        assert sentences(path) == ["|Holds text, but no line of it looks like an IKE log.|True"]


class TestQueries:
    def test_the_seeds_own_query(self, tmp_path: Path) -> None:
        text = (
            '"TimeGenerated [UTC]",GWIN,SessionID,RemoteIP,LocalIP,IKEMessage\n'
            '"9/18/2020, 3:43:12.123 PM",0,3baa1cd0-77ec-40e6-b0d6-7ef40b2372a5,168.62.186.148,104.208.38.235,'
            '"[RECEIVED][NOTIFY] Received Notify Message - Authentication failed"\n'
        )
        found, problems = saved(written(tmp_path, text.encode(), "query_data.csv"))
        assert problems == []
        assert found == [
            Record(
                at=START + 123,
                gateway="query_data",
                category=Category.IKE,
                operation="",
                instance="GatewayTenantWorker_IN_0",
                message="SESSION_ID :{3baa1cd0-77ec-40e6-b0d6-7ef40b2372a5} Remote 168.62.186.148:0: Local 104.208.38.235:0: "
                "[RECEIVED][NOTIFY] Received Notify Message - Authentication failed",
            )
        ]

    def test_an_empty_cell_is_no_value(self, tmp_path: Path) -> None:
        text = f"TimeGenerated,instance_s,GWIN,Message\n{iso(START)},,1,[SEND] a\n"
        assert [line.instance for line in saved(written(tmp_path, text.encode()))[0]] == ["GatewayTenantWorker_IN_1"]

    def test_a_projection_without_time(self, tmp_path: Path) -> None:
        for content in (b"Message\n[SEND] a\n", orjson.dumps([{"Message": "[SEND] a"}])):
            found, problems = saved(written(tmp_path, content))
            assert found == [Record(None, "log", Category.IKE, "", "", "[SEND] a")]
            assert problems == []

    def test_local_times_are_said(self, tmp_path: Path) -> None:
        text = table(STORY, ",", local, "TimeGenerated [Local Time]")
        found, problems = saved(written(tmp_path, text.encode()))
        assert found == ORDERED
        assert [str(problem.what) for problem in problems] == [
            "Its times are exported as [Local Time]; they were read as UTC. Set the portal to UTC."
        ]


class TestProblems:
    def test_does_not_exist(self, tmp_path: Path) -> None:
        assert saved(tmp_path / "nope") == ([], [Problem(str(tmp_path / "nope"), "", "Does not exist.", True)])
        assert str(Problem("a.json", "line 3", "Is bad.")) == "a.json, line 3: Is bad."
        assert saved(Path("a\x00b"))[1] == [Problem("a\x00b", "", "Is no file name.", True)]

    def test_directory_without_files(self, tmp_path: Path) -> None:
        written(tmp_path, b"x", ".hidden")
        (tmp_path / ".git").mkdir()
        written(tmp_path / ".git", bodies(STORY))
        assert sentences(tmp_path) == ["|Is a directory without files.|True"]

    def test_directory_without_records(self, tmp_path: Path) -> None:
        written(tmp_path, b"Readme\n", "README")
        assert sentences(tmp_path) == [
            "|Holds text, but no line of it looks like an IKE log.|False",
            "|Is a directory in which no file holds records of a VPN gateway.|True",
        ]

    def test_a_directory_is_read_in_order_of_names_and_odd_files_are_warnings(self, tmp_path: Path) -> None:
        (tmp_path / "b").mkdir()
        written(tmp_path / "b", b"[SEND] 3\n", "1.txt")
        written(tmp_path, b"[SEND] 2\n", "b.txt")
        written(tmp_path, b"[SEND] 1\n", "a.txt")
        written(tmp_path, b"\x89PNG\x00", "c.png")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(os.path.relpath(tmp_path / "socket"))
            with read([tmp_path, tmp_path / "a.txt"]) as found:
                assert [line.message for line in found] == ["[SEND] 1", "[SEND] 2", "[SEND] 3"]
        assert [(Path(problem.path).name, problem.fatal) for problem in found.problems] == [("c.png", False)]

    @pytest.mark.parametrize(
        "content", [b"", b"\n\r\n ", b"\xef\xbb\xbf", gzip.compress(b"", mtime=0), "\ufeff".encode("utf-16-le")]
    )
    def test_empty(self, tmp_path: Path, content: bytes) -> None:
        assert sentences(written(tmp_path, content)) == ["|Is empty.|True"]

    def test_binary(self, tmp_path: Path) -> None:
        said = ["|Is binary, not text: logs are JSON, CSV or plain lines, also packed with gzip.|True"]
        assert sentences(written(tmp_path, b"\x7fELF\x02\x01\x01\x00\x00")) == said
        assert sentences(written(tmp_path, bytes(range(1, 32)) * 9)) == said
        assert sentences(written(tmp_path, gzip.compress(b"a\x00b", mtime=0))) == said
        assert "Event Hubs Capture" in sentences(written(tmp_path, b"Obj\x01\x04\x14avro.codec"))[0]
        assert "Parquet" in sentences(written(tmp_path, b"PAR1\x15\x04"))[0]
        assert sentences(written(tmp_path, b"PK\x03\x04rest"))[0].startswith("|Is a ZIP archive or an Excel workbook")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
    def test_no_permission(self, tmp_path: Path) -> None:
        path = written(tmp_path, bodies(STORY))
        path.chmod(0)
        assert sentences(path) == ["|May not be read: no permission.|True"]

    def test_no_permission_as_the_system_says_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = written(tmp_path, bodies(STORY))

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
        assert sentences(path) == ["|May not be read: no permission.|True"]

    def test_broken_lines_are_one_problem_with_their_numbers(self, tmp_path: Path) -> None:
        good = [orjson.dumps(raw(found)) for found in STORY]
        lines = [
            good[0],
            b"{",
            good[1],
            b'{"time": "2020',
            b"junk",
            good[2][:-40],
            good[3],
            b"}{",
            b'{"a" 1}',
            good[4],
            b"x",
        ]
        found, problems = saved(written(tmp_path, b"\n".join(lines)))
        assert found == [line for line in ORDERED if line != STORY[2]]
        assert [(problem.where, problem.what, problem.fatal) for problem in problems] == [
            ("lines 2, 4, 5, 6, 8, ...", "7 lines are broken and left out; the rest was read.", False)
        ]

    def test_one_line_of_many_broken_parts_is_named_once(self, tmp_path: Path) -> None:
        text = b'{"records":[' + b'[[{"time":1},{"time":2}],' * 300 + b"]}\n" + bodies(STORY)
        found, problems = saved(written(tmp_path, text))
        assert found == ORDERED
        assert [(problem.where, problem.what) for problem in problems[:1]] == [
            ("line 1", "1 line is broken and left out; the rest was read.")
        ]

    def test_a_document_that_was_cut_off_gives_its_good_part(self, tmp_path: Path) -> None:
        for layout in (pretty, query, rest, bodies):
            content = layout(STORY)
            end = content.rindex(b"peer stopped")
            found, problems = saved(written(tmp_path, content[:end]))
            assert found == ORDERED[:-1], layout
            assert [(problem.what, problem.fatal) for problem in problems] == [
                ("1 line is broken and left out; the rest was read.", False)
            ]

    def test_nothing_but_broken_json(self, tmp_path: Path) -> None:
        said = "Holds no JSON that can be read; it may be cut off or damaged."
        assert sentences(written(tmp_path, b'{"records": [{"time": "20')) == [f"line 1|{said}|True"]

    def test_gzip_that_was_cut_off_gives_its_good_part(self, tmp_path: Path) -> None:
        many = [ike(START + n, f"{PREFIX}{random.Random(n).random()}") for n in range(2000)]
        packed = gzip.compress(blob(many), mtime=0)
        found, problems = saved(written(tmp_path, packed[:-2000]))
        assert 1000 < len(found) < 2000
        assert found == many[: len(found)]
        assert problems[0].what == "The gzip data ends early: the file was cut off; what is there was read."
        assert not any(problem.fatal for problem in problems)
        damaged = packed[:6000] + bytes(50) + packed[6050:]
        found, problems = saved(written(tmp_path, damaged))
        assert found == many[: len(found)]
        assert not any(problem.fatal for problem in problems if found)

    def test_only_other_services(self, tmp_path: Path) -> None:
        other = {"time": iso(START), "category": "NetworkSecurityGroupEvent", "resourceId": "/PROVIDERS/A.B/C/D"}
        path = written(tmp_path, b"\n".join([orjson.dumps(other)] * 3 + [b"[1]"]))
        assert sentences(path) == [
            (
                "|Holds no records of a VPN gateway, only 1 not a JSON object, 3 of another Azure service "
                "(NetworkSecurityGroupEvent: 3).|True"
            )
        ]

    def test_other_services_among_ours(self, tmp_path: Path) -> None:
        other = {**raw(STORY[0]), "category": "Audit"}
        found, problems = saved(written(tmp_path, orjson.dumps({"records": [raw(STORY[0]), other, other]})))
        assert found == STORY[:1]
        assert [str(problem.what) for problem in problems] == ["Left out: 2 of another category (Audit: 2)."]

    def test_a_query_that_returned_nothing_is_no_failure(self, tmp_path: Path) -> None:
        for content in (
            b"[]",
            b'{"records": []}',
            b"TimeGenerated,Message\n",
            b'{"tables":[{"columns":[],"rows":[]}]}',
        ):
            assert sentences(written(tmp_path, content)) == [
                "|Holds no records: the query or export it comes from returned nothing.|False"
            ]

    def test_csv_rows_that_do_not_fit(self, tmp_path: Path) -> None:
        text = f"TimeGenerated,Category,Message\n{iso(START)},IKEDiagnosticLog,a,b\n{iso(START)},IKEDiagnosticLog,ok\n"
        found, problems = saved(written(tmp_path, text.encode() + b"yesterday,IKEDiagnosticLog,x\n"))
        assert [line.message for line in found] == ["ok"]
        assert [(problem.where, problem.what) for problem in problems] == [
            ("line 2", "1 line is broken and left out; the rest was read."),
            ("", "Left out: 1 without a usable time."),
        ]

    def test_a_quote_that_is_never_closed_does_not_fill_the_memory(self, tmp_path: Path) -> None:
        text = f'TimeGenerated,Message\n{iso(START)},[SEND] a\n{iso(START)},"open\n' + "x" * 3_000_000
        found, problems = saved(written(tmp_path, text.encode()))
        assert found[0].message == "[SEND] a"
        assert problems[0].what.endswith("broken and left out; the rest was read.")

    @pytest.mark.parametrize(
        "text",
        [
            b'{"a":[' + b",{" * 100_000,
            b'["' + b"\\" * 200_000,
            b"[" * 200_000,
            b'{"a":"},{' * 20_000,
            b"{}" * 100_000,
            b"[" + b'{"a":1},2,' * 20_000,
            b"[" + b"{}},{}" * 20_000,
            b"{\n" * 50_000,
            b'{"a":1,\n' * 20_000,
            b'[{"a":1\n' * 20_000,
            b"[\n" * 50_000,
            b'{"a"' * 50_000,
            b'{"records":[' * 20_000,
            b'{"records":[{"x":1},\n' * 20_000,
            b'{"a":[{"x":1},\n' * 20_000,
            b',{"a":[{"x":1}' * 20_000,
        ],
        ids=lambda text: repr(text[:14]),
    )
    def test_hostile_json_takes_linear_time(self, text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(documents_module, "WHOLE", CHUNK)
        good = orjson.dumps(raw(STORY[0]))
        start = time.process_time()
        problems: list[Problem] = []
        found = list(records(["-"], report=problems.append, stdin=io.BytesIO(good + b"\n" + text)))
        assert found == STORY[:1]
        assert len(problems) <= 2
        assert problems
        assert time.process_time() - start < 2

    def test_many_documents_on_one_line_take_linear_time(self) -> None:
        start = time.process_time()
        assert list(records(["-"], report=lambda _: None, stdin=io.BytesIO(b"{}" * 200_000))) == []
        assert time.process_time() - start < 5

    def test_a_torn_record_ends_with_its_line(self) -> None:
        good = b'{"b": 2}\n' * 1000
        for torn in (b'{"a": 1\n', b'{"a": "x"\n', b"{\n", b'{"a": 1,\n', b'{"a": {}\n', b'{"a": "x\n', b'{"a": [1}\n'):
            text = documents_module._Text(iter([torn + good]))
            text.more()
            assert text.value_end() is documents_module._Lost.WRONG, torn
            assert text.vain <= len(torn) + 10

    def test_temporary_folder_that_is_full(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(**_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr("ikestream.formats.order.tempfile.TemporaryFile", full)
        monkeypatch.setitem(Ordered.__init__.__kwdefaults__, "run", 1)
        (said,) = sentences(written(tmp_path, bodies(STORY)))
        assert said.startswith(
            "|Is the folder for temporary files and cannot take the records: No space left on device."
        )
        assert said.endswith("|True")


def test_progress_counts_the_bytes_read(tmp_path: Path) -> None:
    calls: list[tuple[int, int | None]] = []
    path = written(tmp_path, gzip.compress(bodies(STORY), mtime=0))
    size = path.stat().st_size
    with read([path, tmp_path / "nope"], progress=lambda done, of: calls.append((done, of))):
        assert calls[-1] == (size, size)
    with read(["-"], stdin=io.BytesIO(b"[SEND] x"), progress=lambda done, of: calls.append((done, of))):
        assert calls[-1] == (8, None)


def test_records_come_before_the_file_is_read_to_its_end(tmp_path: Path) -> None:
    content = query([ike(START + n, f"{PREFIX}{n}") for n in range(20_000)])
    read_so_far = 0

    def watch(done: int, _: int | None) -> None:
        nonlocal read_so_far
        read_so_far = done

    first = next(
        records([written(tmp_path, content)], report=lambda problem: pytest.fail(str(problem)), progress=watch)
    )
    assert first.message == PREFIX + "0"
    assert read_so_far < len(content) // 4


messages = st.sampled_from(["", "a", "b", "Ä", "\U0001f600"])
any_record = st.builds(
    Record,
    st.integers(0, 3) | st.none(),
    st.sampled_from(["/s/GW", "/s/gw", "/s/gw2", "file", "other"]),
    st.sampled_from([Category.IKE, Category.TUNNEL]),
    st.sampled_from(["", "x"]),
    st.sampled_from(["", "0"]),
    messages,
    level=st.sampled_from(["", "Error"]),
    remote_ip=st.sampled_from(["", "192.0.2.1"]),
)


def ike_line(found: Record) -> bool:
    return found.category is Category.IKE


def open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


plain = st.none() | st.booleans() | st.integers(-9, 9) | st.text('a"\\\\ {}[],:\n', max_size=6)
element = st.dictionaries(
    st.text('k"{', max_size=2), plain | st.lists(plain, max_size=2) | st.dictionaries(st.just("x"), plain), max_size=3
)


@QUIET
@given(
    st.lists(element, min_size=1, max_size=8),
    st.sampled_from(["list", "records", "lines", "rows"]),
    st.booleans(),
    st.integers(1, 40),
    st.sampled_from([500, documents_module.WHOLE]),
)
def test_elements_do_not_depend_on_layout_or_chunks(
    given_ones: list[dict[str, object]], layout: str, indent: bool, size: int, whole: int
) -> None:
    option = orjson.OPT_INDENT_2 if indent else 0
    if layout == "lines":
        text = b"\n".join(orjson.dumps(one, option=option) for one in given_ones)
    elif layout == "rows":
        table = {"columns": [{"name": "c"}], "rows": [[one] for one in given_ones]}
        text = orjson.dumps({"tables": [table]}, option=option)
    else:
        text = orjson.dumps(given_ones if layout == "list" else {"n": 1, "records": given_ones}, option=option)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents_module, "WHOLE", whole)
        pieces = (text[at : at + size] for at in range(0, len(text), size))
        got = list(elements(pieces, lambda line: pytest.fail(f"line {line}")))
    assert got == ([{"c": one} for one in given_ones] if layout == "rows" else given_ones)


class TestOrder:
    @QUIET
    @given(st.lists(any_record, max_size=40), st.randoms(use_true_random=False), st.integers(1, 7), st.integers(2, 4))
    def test_no_permutation_repetition_or_run_length_changes_the_result(
        self, found: list[Record], shuffle: random.Random, run: int, fan: int
    ) -> None:
        with in_order(found) as ordered:
            expected = list(ordered.timed())
        changed = found + [line for line in found if shuffle.random() < 0.5]
        shuffle.shuffle(changed)
        with in_order(changed, run=run, fan=fan) as ordered:
            first = list(ordered.timed(again=True))
            again = list(ordered.timed())
        assert first == again == expected
        assert ordered.duplicates == sum(line.at is not None for line in changed) - len(again)
        assert len(
            {(line.at, line.instance, line.message, line.gateway.lower()) for line in again if ike_line(line)}
        ) == (sum(map(ike_line, again)))
        times = [line.at or 0 for line in again]
        assert times == sorted(times)
        assert set(again) <= set(found)

    @QUIET
    @given(st.lists(any_record, max_size=30), st.integers(1, 7))
    def test_lines_without_a_time_stay_as_they_stand(self, found: list[Record], run: int) -> None:
        with in_order(found, run=run) as ordered:
            assert list(ordered.clockless()) == [line for line in found if line.at is None]

    def test_what_makes_two_records_one(self) -> None:
        one = STORY[0]
        same = [
            replace(one, level=""),
            replace(one, operation=""),
            replace(one, gateway=GATEWAY.lower()),
            replace(one, gateway="file"),
        ]
        other = [
            replace(one, at=START + 8),
            replace(one, instance="GatewayTenantWorker_IN_1"),
            replace(one, message=one.message + "."),
            replace(one, gateway=GATEWAY + "2"),
            replace(one, category=Category.P2S),
        ]
        tunnels = [STORY[4], replace(STORY[4], remote_ip="192.0.2.2"), replace(STORY[4], operation="TunnelConnected")]
        for given_order in itertools.permutations([one, *same]):
            with in_order([*given_order, *other, *tunnels], run=3, fan=2) as ordered:
                result = list(ordered)
            assert ordered.duplicates == len(same)
            assert len(result) == 1 + len(other) + len(tunnels)
            assert replace(one, gateway=GATEWAY.lower()) in result  # the one with all its fields

    def test_the_gateway_that_is_only_a_files_name_gives_way(self) -> None:
        with in_order([replace(STORY[0], gateway="a"), replace(STORY[0], gateway="b")]) as ordered:
            assert [line.gateway for line in ordered] == ["a", "b"]
        with in_order([replace(STORY[0], gateway="a"), STORY[0]]) as ordered:
            assert [line.gateway for line in ordered] == [GATEWAY]

    def test_open_files_stay_few_and_none_stays_behind(self, tmp_path: Path) -> None:
        found = [ike(number, "x") for number in range(500)]
        before = open_files()
        with in_order(reversed(found), run=1, fan=4, folder=tmp_path) as ordered:
            if before:
                assert open_files() - before <= 4 * 5
            assert list(ordered) == found
        assert list(tmp_path.iterdir()) == []
        with in_order(found, run=10, folder=tmp_path) as ordered:
            next(ordered.timed())
        assert list(tmp_path.iterdir()) == []
        if before:
            assert open_files() == before

    def test_an_input_that_fails_leaves_no_files(self, tmp_path: Path) -> None:
        def failing():
            yield from STORY
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            in_order(failing(), run=1, folder=tmp_path)
        assert list(tmp_path.iterdir()) == []


@QUIET
@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_end_in_records_or_problems(content: bytes) -> None:
    with read(["-"], stdin=io.BytesIO(content)) as found:
        assert list(found) or found.problems


@QUIET
@given(
    st.sampled_from(range(len(FORMATS))),
    st.lists(st.tuples(st.integers(0, 5_000), st.binary(max_size=4), st.integers(0, 5)), min_size=1, max_size=4),
)
def test_mutated_files_end_in_records_or_problems(layout: int, cuts: list[tuple[int, bytes, int]]) -> None:
    content = bytearray(FORMATS[layout](STORY))
    for place, new, length in cuts:
        at = place % (len(content) + 1)
        content[at : at + length] = new
    with read(["-"], stdin=io.BytesIO(bytes(content))) as found:
        got = list(found)
        assert got or found.problems
        orjson.dumps([line.message + line.gateway for line in got])
        assert len(got) <= len(STORY) + 40
