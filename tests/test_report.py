"""`python -m ikestream report`: the same verdicts as `diagnose`, in a page that no log line can break out of."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import html5lib
import orjson
import pytest

from ikestream import formats
from ikestream.cli import main
from ikestream.events import Category, Record
from ikestream.grammar import read
from ikestream.lab import Lab
from ikestream.negotiation import Negotiation
from ikestream.replay import Tally
from ikestream.report import Account, gather
from ikestream.report.account import MAX_INCIDENTS, MAX_SESSIONS, fetch
from ikestream.report.exchange import MAX_LINES, MAX_STEPS, Ladder, Reach, Way, draw
from ikestream.report.page import MANY_ALIKE
from ikestream.times import HOUR, LIVE
from tests.bench import report as bench
from tests.expectations import CASES, Case, cases
from tests.test_terminal import HOSTILE, LONG, log

ROOT = Path(__file__).parent.parent
SAMPLES = ROOT / "ikestream" / "data" / "samples"
POLICY = CASES / "IkePolicyMismatch" / "seed.log"
KEY = CASES / "PreSharedKeyMismatch" / "seed.log"
BARE = CASES / "PreSharedKeyMismatch" / "seed-bare-lines.log"
MENDED = CASES / "PreSharedKeyMismatch" / "down-five-minutes-and-up-again.log"
HTML = "{http://www.w3.org/1999/xhtml}"
BREAKING = {
    "script": "<script>window.broken = 1</script>",
    "end of script": "</script><script>window.broken = 1</script><!-- <script>",
    "end of script with a space": "</script ><img src=x onerror=window.broken=1>",
    "comment and script": "<!--<script>",
    "handler": "\"><img src=x onerror='window.broken = 1'>",
    "single quotes": "' autofocus onfocus='window.broken = 1",
    "svg": "<svg onload=window.broken=1><title></svg></title>",
    "template": "{{ 7 * 7 }}{% raw %}{# no #}",
    "json": '"]}; window.broken = 1; //\\',
    "entity": "&lt;script&gt;&#60;b&#62;",
    "style": "</style><style>*{display:none}</style>",
    "address": "javascript:window.broken=1",
    "closing": "</pre></code></details></article></main></body></html>",
}


def write(*arguments: str | Path, out: Path) -> str:
    assert main(["report", *map(str, arguments), "-o", str(out)]) == 0
    return out.read_text("utf-8")


def parse(page: str) -> Element:
    """The page as a browser reads it; anything that is not well-formed raises."""
    return html5lib.HTMLParser(strict=True).parse(page)


def find(tree: Element, tag: str, kind: str = "") -> list[Element]:
    return [e for e in tree.iter(HTML + tag) if not kind or kind in (e.get("class") or "").split()]


def text(element: Element) -> str:
    return " ".join("".join(element.itertext()).split())


def data(tree: Element) -> dict[str, Any]:
    (found,) = [e for e in find(tree, "script") if e.get("id") == "data"]
    return orjson.loads(found.text or "")


@cache
def account(path: Path) -> Account:
    with formats.read([path]) as saved:
        return gather(saved, Tally())


def ladders(path: Path) -> list[Ladder]:
    return [e.ladder for found in account(path).exchanges.values() for e in found]


# --- The same verdicts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_the_page_holds_every_verdict_of_diagnose_and_no_other(
    case: Case, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(CASES.parent)  # where a case's arguments name files from
    main(["diagnose", str(case.log), "--output", "json", *case.arguments])
    rows = {row["IncidentId"]: row for row in map(orjson.loads, capfdbinary.readouterr().out.splitlines())}
    told = {key: row for key, row in rows.items() if row["Resolution"] not in ("Withdrawn", "Merged")}
    tree = parse(write(case.log, *case.arguments, out=tmp_path / "report.html"))
    articles = {(e.get("id") or "").removeprefix("i-"): e for e in find(tree, "article", "incident")}
    assert articles.keys() == told.keys()
    for key, row in told.items():
        shown = text(articles[key])
        assert articles[key].get("data-cause") == row["Cause"]
        assert articles[key].get("data-state") == (
            "advisory" if row["Kind"] == "Advisory" else "down" if row["State"] == "Open" else "over"
        )
        for column in ("Summary", "Explanation", "MissingEvidence"):
            assert " ".join((row[column] or "").split()) in shown
        assert all(" ".join(h["Check"].split()) in shown for h in row["Hypotheses"])
        assert all(value in shown for m in row["Mismatch"] for value in (*m["Azure"], *m["Peer"]))


# --- Exchanges ------------------------------------------------------------------------------------------------------


def steps(ladder: Ladder) -> list[tuple[Way, str, str, bool]]:
    return [(step.way, step.name, ", ".join(step.says), step.failed) for step in ladder.steps]


def test_the_exchange_of_the_policy_sample_is_what_its_lines_say() -> None:
    peer_begins, azure_begins = ladders(POLICY)
    assert steps(azure_begins) == [
        (Way.TO_PEER, "IKE_SA_INIT", "SA: 6 proposals", False),
        (Way.TO_AZURE, "IKE_SA_INIT", "N(NO_PROPOSAL_CHOSEN)", True),
        (Way.LOCAL, "Closed", "Policy match error (13868)", False),
    ]
    assert steps(peer_begins) == [
        (Way.TO_AZURE, "IKE_SA_INIT", "SA: AES256 / SHA256 / DHGroup14", False),
        (Way.LOCAL, "IKE_SA_INIT", "made the responder's SPI", False),
        (Way.TO_PEER, "IKE_SA_INIT", "N(NO_PROPOSAL_CHOSEN)", True),
    ]
    assert azure_begins.stages == (
        ("IKE_SA_INIT", Reach.FAILED),
        ("IKE_AUTH", Reach.OPEN),
        ("Child SA", Reach.OPEN),
    )
    assert azure_begins.end == "The peer refused: NO_PROPOSAL_CHOSEN"


def test_lines_of_one_moment_are_drawn_in_the_order_of_the_exchange() -> None:
    # In the seed's picture the close is older than the notify that caused it, and SA_INIT's answer newer than AUTH.
    for path in (KEY, BARE):
        (ladder,) = ladders(path)
        assert steps(ladder) == [
            (Way.TO_PEER, "IKE_SA_INIT", "SA: 6 proposals", False),
            (Way.TO_AZURE, "IKE_SA_INIT", "SA: AES256 / SHA256 / DHGroup2, Nonce", False),
            (Way.TO_PEER, "IKE_AUTH", "AUTH, TSi 0.0.0.0/0, TSr 0.0.0.0/0, SA: 6 proposals", False),
            (Way.TO_AZURE, "IKE_AUTH", "N(AUTHENTICATION_FAILED)", True),
            (Way.LOCAL, "Closed", "IKE authentication credentials are unacceptable (13801)", False),
        ]
        assert [reach for _, reach in ladder.stages] == [Reach.DONE, Reach.FAILED, Reach.OPEN]


SENT = "[SEND][SA_INIT] Sending IKE SA_INIT packet with tunnelId 0x3, iCookie 0xA and rCookie 0x0"
ANSWERED = "[RECEIVED][SA_INIT] Received IKE SA Init response message with iCookie 0xA rCookie 0xB"


def ways(*lines: tuple[int, str]) -> list[tuple[Way, str]]:
    """The messages drawn for lines of one session, each with its time in ms."""
    session = "3baa1cd0-77ec-40e6-b0d6-7ef40b2372a5"
    head = f"SESSION_ID :{{{session}}} Remote 198.51.100.7:500: Local 203.0.113.4:500: "
    events = [read(Record(1_772_445_600_000 + ms, "vng", Category.IKE, "", "", head + line)) for ms, line in lines]
    return [(step.way, step.name) for step in draw(Negotiation(session, events), LIVE).steps]


def test_an_answer_some_milliseconds_older_than_its_question_comes_after_it() -> None:
    drawn = ways(
        (0, ANSWERED),
        (2, SENT),
        (30, "[RECEIVED][SA_AUTH] Received IKE AUTH message"),
        (31, "[SEND][SA_AUTH] Sending SA AUTH message for tunnelId 0x3 and tsId 0x37"),
    )
    assert drawn[:4] == [
        (Way.TO_PEER, "IKE_SA_INIT"),
        (Way.TO_AZURE, "IKE_SA_INIT"),
        (Way.TO_PEER, "IKE_AUTH"),
        (Way.TO_AZURE, "IKE_AUTH"),
    ]


def test_a_corrected_group_keeps_its_two_rounds() -> None:
    corrected = "[RECEIVED][NOTIFY] Received Notify Message - Invalid KE Payload"
    drawn = ways((0, SENT), (30, corrected), (31, SENT), (60, ANSWERED))
    assert [way for way, _ in drawn[:4]] == [Way.TO_PEER, Way.TO_AZURE, Way.TO_PEER, Way.TO_AZURE]


STALLED = CASES / "NegotiationStalled"


def test_an_answer_that_is_missing_stands_where_it_should_have_come() -> None:
    # Before the close that follows from it; from the peer, because Azure asked last.
    timed_out = next(found for found in ladders(STALLED / "auth-on-port-500-is-not-answered.log") if found.failed)
    assert steps(timed_out)[2:] == [
        (Way.TO_PEER, "IKE_AUTH", "AUTH, TSi 0.0.0.0/0, TSr 0.0.0.0/0, SA: 6 proposals", False),
        (Way.PEER_SILENT, "IKE_AUTH", "no answer in the log", True),
        (Way.LOCAL, "Closed", "Negotiation timed out (13805)", False),
    ]
    assert timed_out.end == "No answer: Negotiation timed out (13805)"


def test_what_is_missing_after_an_answer_is_the_child() -> None:
    answered = next(
        found
        for found in ladders(STALLED / "an-answer-on-4500-arrived-between.log")
        if found.failed and found.steps[-1].way is not Way.LOCAL
    )
    assert steps(answered)[-2:] == [
        (Way.TO_AZURE, "IKE_AUTH", "AUTH", False),
        (Way.PEER_SILENT, "Child SA", "not agreed, for all the log says", True),
    ]
    assert [reach for _, reach in answered.stages] == [Reach.DONE, Reach.DONE, Reach.FAILED]


def test_a_message_sent_again_is_one_message() -> None:
    first = ladders(CASES / "IkePolicyMismatch" / "a-retransmission-is-no-attempt.log")
    assert max(step.times for found in first for step in found.steps) == 2


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.name)
def test_a_ladder_that_failed_shows_where_and_one_that_did_not_shows_nothing(case: Case) -> None:
    for found in ladders(case.log):
        assert [step.failed for step in found.steps].count(True) == found.failed
        assert not (found.failed and found.succeeded)
        failed = [reach for _, reach in found.stages].count(Reach.FAILED)
        assert failed == (found.failed and bool(found.stages))


def test_no_line_is_lost_between_log_and_ladder() -> None:
    lines = [e.message for ladder in ladders(POLICY) for step in ladder.steps for e in step.lines]
    with formats.read([POLICY]) as saved:
        assert sorted(lines) == sorted(record.message for record in saved)


# --- Bounds -----------------------------------------------------------------------------------------------------------


def test_what_is_fetched_for_drawing_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    path = CASES / "PreSharedKeyMismatch" / "down-again-after-half-a-minute.log"
    with formats.read([path]) as saved:
        records = list(saved.timed())
    wanted = {("vng", session) for session in re.findall(r"\{([0-9a-f-]{36})\}", " ".join(r.message for r in records))}
    named = [replace(record, gateway="VNG") for record in records]
    everything = fetch(named, wanted)
    assert everything.keys() == wanted
    monkeypatch.setattr("ikestream.report.account.MAX_LINES", 5)
    assert sum(len(session.events) for session in fetch(named, wanted).values()) == 5


def test_lines_folded_away_while_the_clock_runs_are_fetched_again() -> None:
    # Hours of retries: of all but the newest only the first and the last stay whole while they are judged.
    lab = Lab(5, tunnel_log=True)
    site = lab.site(active_active=False)
    site.set(peer={"key": "two"})
    site.run(3 * HOUR)
    site.set(peer={"key": site.azure.key})
    site.run(20 * HOUR)
    with formats.in_order(lab.log.records) as ordered:
        saved = formats.Reading(iter(ordered), [])
    with saved:
        found = gather(saved, Tally())
    (outage,) = [row for row in found.rows if row["Kind"] == "Outage"]
    drawn = {exchange.ladder.session for exchange in found.exchanges[outage["IncidentId"]]}
    assert len(outage["SessionIds"]) == 10
    assert drawn >= set(outage["SessionIds"])


def test_a_session_that_goes_on_for_ever_is_drawn_with_its_fault() -> None:
    sent = "[SEND][SA_INIT] Sending IKE SA_INIT packet with tunnelId 0x3, iCookie 0x{0:X} and rCookie 0x0"
    answered = "[RECEIVED][SA_INIT] Received IKE SA Init response message with iCookie 0x{0:X} rCookie 0x{0:X}"
    lines = [line.format(n) for n in range(1, 100) for line in (sent, answered)]
    lines[100:100] = ["[RECEIVED][NOTIFY] Received Notify Message - Authentication failed"]
    head = "SESSION_ID :{3baa1cd0-77ec-40e6-b0d6-7ef40b2372a5} Remote 198.51.100.7:500: Local 203.0.113.4:500: "
    events = [
        read(Record(1_772_445_600_000 + 3_000 * n, "vng", Category.IKE, "", "", head + line))
        for n, line in enumerate(lines)
    ]
    ladder = draw(Negotiation("3baa1cd0-77ec-40e6-b0d6-7ef40b2372a5", events), LIVE)
    assert len(ladder.steps) <= MAX_STEPS + 1
    assert [step.says for step in ladder.steps if step.failed] == [["N(AUTHENTICATION_FAILED)"]]
    assert all(len(step.lines) <= MAX_LINES for step in ladder.steps)


# --- Whatever a log holds -------------------------------------------------------------------------------------------


def elements(tree: Element) -> Iterator[tuple[str, tuple[str, ...]]]:
    for element in tree.iter():
        yield str(element.tag), tuple(sorted(element.attrib))


@pytest.mark.parametrize("words", [*HOSTILE.values(), *BREAKING.values(), LONG], ids=[*HOSTILE, *BREAKING, "long"])
def test_no_text_of_a_log_becomes_markup(words: str, tmp_path: Path) -> None:
    harmless = parse(write(log("harmless", tmp_path), out=tmp_path / "harmless.html"))
    page = write(log(words, tmp_path), out=tmp_path / "report.html")
    tree = parse(page)
    assert {tag for tag, _ in elements(tree)} <= {tag for tag, _ in elements(harmless)}
    assert {name for _, names in elements(tree) for name in names} <= {n for _, ns in elements(harmless) for n in ns}
    assert len(find(tree, "script")) == 3
    assert not [name for e in tree.iter() for name in e.attrib if name.startswith("on") or name in ("style", "srcdoc")]
    assert {(e.get("href") or "")[:8] for e in find(tree, "a")} <= {"https://", "#inciden"} | {
        (e.get("href") or "")[:8] for e in find(tree, "a") if (e.get("href") or "").startswith("#i-")
    }
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]", page)
    assert data(tree)["strings"]


def test_the_texts_stand_where_they_can_do_harm(tmp_path: Path) -> None:
    # Else the test above would prove nothing: in markup, and in the data of the script.
    tree = parse(write(log("h<i>de</i>", tmp_path), out=tmp_path / "report.html"))
    assert "h<i>de</i>" in text(find(tree, "main")[0])
    assert any("h<i>de</i>" in words for words in data(tree)["strings"])


def test_only_the_pages_own_style_and_script_may_run(tmp_path: Path) -> None:
    tree = parse(write(SAMPLES, out=tmp_path / "report.html"))
    (policy,) = [e.get("content") for e in find(tree, "meta") if e.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in (policy or "").split(";"))
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in (policy or "")
    (style,) = find(tree, "style")
    (script,) = [e for e in find(tree, "script") if e.get("type") is None]
    for rule, element in (("style-src", style), ("script-src", script)):
        digest = base64.b64encode(hashlib.sha256((element.text or "").encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert not [e for e in tree.iter() if e.get("src") or e.get("style")]


# --- Size -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [SAMPLES, BARE], ids=["samples", "without times"])
def test_the_page_is_the_same_each_time(path: Path, tmp_path: Path) -> None:
    assert write(path, out=tmp_path / "one.html") == write(path, out=tmp_path / "two.html")


def test_what_cannot_be_read_or_written_is_one_clear_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(POLICY), "-o", str(tmp_path / "no" / "folder.html")]) == 2
    assert capfd.readouterr().err.count("cannot be written") == 1
    assert main(["report", str(tmp_path / "no.log"), "-o", str(tmp_path / "report.html")]) == 2
    assert "Does not exist." in capfd.readouterr().err


def test_the_page_of_fifty_tunnels_is_well_formed_and_holds_them_all(tmp_path: Path) -> None:
    bench.write(tmp_path / "fleet.jsonl", 50)
    tree = parse(write(tmp_path / "fleet.jsonl", out=tmp_path / "report.html"))
    assert len(find(tree, "div", "track")) == 50
    exchanges, commands = data(tree)["exchanges"], data(tree)["commands"]
    for article in find(tree, "article", "incident"):
        key = (article.get("id") or "").removeprefix("i-")
        places = {
            kind for e in find(article, "div") for kind in ("commands", "exchanges") if kind in (e.get("class") or "")
        }
        assert ("commands" in places) == (key in commands)
        assert ("exchanges" in places) == (key in exchanges)


def test_the_page_of_five_hundred_tunnels_is_smaller_than_five_megabytes(tmp_path: Path) -> None:
    bench.write(tmp_path / "fleet.jsonl", 500)
    page = write(tmp_path / "fleet.jsonl", out=tmp_path / "report.html")
    assert page.count('<div class="row track"') == 500
    assert len(page.encode()) < 5_000_000
    # What it leaves out it says, and every incident that has an exchange keeps one.
    assert "attempts are kept here" in page
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    kept = orjson.loads(found[1])["exchanges"]
    assert all(kept.values())
    incidents, _, _ = page.partition('<section id="quiet"')  # those without an outage get what is left
    assert len([key for key in kept if not key.startswith("t")]) == incidents.count('class="exchanges js"')


# --- Its README -----------------------------------------------------------------------------------------------------


def test_the_pictures_are_there_and_small() -> None:
    folder = ROOT / "ikestream" / "report"
    shown = set(re.findall(r"!\[[^\]]+\]\((pictures/[a-z]+\.png)\)", (folder / "README.md").read_text("utf-8")))
    assert shown == {f"pictures/{path.name}" for path in (folder / "pictures").iterdir()}
    for name in shown:
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
        assert (folder / name).stat().st_size <= 200_000


def test_the_bounds_it_names_are_those_of_the_code() -> None:
    said = (ROOT / "ikestream" / "report" / "README.md").read_text("utf-8")
    assert f"| incidents | {MAX_INCIDENTS:,}," in said
    assert MAX_SESSIONS == 10  # "the ten newest"
    assert f"| lines of one message | {MAX_LINES} |" in said
    assert MANY_ALIKE == 8  # "from eight of a kind on"
