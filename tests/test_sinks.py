"""One contract, every sink: what a sink does not say it accepted stays, and what it says it accepted is there.

The real client of the Logs Ingestion API and real HTTP, against servers on the loopback with a certificate authority of
their own, which answer whatever a script says.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import time
import unicodedata
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any

import orjson
import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ikestream import columns, formats, notify
from ikestream.incident import Row
from ikestream.notify import Format, Importance, Peer, Webhook
from ikestream.replay import Tally, replay
from ikestream.settings import BadSetting
from ikestream.sinks import Posting, Receipt, Sink, Why, log_analytics, slack, teams, webhooks
from ikestream.sinks.answers import retry_after
from ikestream.sinks.console import Console
from ikestream.sinks.log_analytics import CHUNK, FIELD, REQUIRED, LogAnalytics, fit, shorten
from ikestream.sinks.message import Message, cut, visible
from ikestream.sinks.webhooks import WebhookSink
from ikestream.times import LEASE_LEFT, SECOND
from tests.emulators.https import LOST, SECRET, Answer, Authority, Scripted
from tests.emulators.ingestion import RULE, TOKEN, Ingestion, typed
from tests.emulators.receiver import Receiver

SAMPLE = Path(__file__).parent.parent / "ikestream" / "data" / "samples" / "2-policy.json"
STREAM = "Custom-IkeDiagnosis_CL"
COLUMNS = columns.types()
ROUTING_KEY = "a-secret-routing-key"
WAITS = 0.25  # seconds a sink waits for an answer in these tests

with formats.read([SAMPLE]) as saved:
    [ROW] = replay(saved.timed(), Tally())


def row(incident: str = "a", revision: int = 1, **other: object) -> Row:
    return ROW | {"IncidentId": incident, "Revision": revision} | other


def opened(incident: str = "a", revision: int = 1, **other: object) -> Posting:
    return Posting(row(incident, revision, **other), Why.OPENED)


def changed(incident: str = "a", revision: int = 2, **other: object) -> Posting:
    return Posting(row(incident, revision, **other), Why.CHANGED)


def resolved(incident: str = "a", revision: int = 3, **other: object) -> Posting:
    over = {"State": "Resolved", "Resolution": "Recovered", "ResolvedAt": "2020-09-18T16:30:00.000Z"}
    return Posting(row(incident, revision, **(over | other)), Why.RESOLVED)


class Identity:
    """Hands out one token, or fails as a missing managed identity does."""

    def __init__(self, token: str = TOKEN, failed: Exception | None = None) -> None:
        self.token, self.failed, self.scopes = token, failed, set[str]()

    async def get_token(self, *scopes: str, **_: object) -> AccessToken:
        self.scopes.update(scopes)
        if self.failed is not None:
            raise self.failed
        return AccessToken(self.token, int(time.time()) + 3600)

    async def close(self) -> None:
        """Nothing to let go of."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def ingestion_server(authority: Authority) -> Iterator[Ingestion]:
    with Ingestion(authority, STREAM, COLUMNS) as running:
        yield running


@pytest.fixture(scope="module")
def receiver_server(authority: Authority) -> Iterator[Receiver]:
    with Receiver(authority) as running:
        yield running


@pytest.fixture
def ingestion(ingestion_server: Ingestion) -> Ingestion:
    return emptied(ingestion_server)


@pytest.fixture
def receiver(receiver_server: Receiver) -> Receiver:
    return emptied(receiver_server)


def emptied(server: Any) -> Any:
    server.script.clear()
    server.requests = 0
    server.refuses = lambda _: 0
    for kept in ("calls", "sizes", "received"):
        if hasattr(server, kept):
            getattr(server, kept).clear()
    return server


def table(server: Ingestion, authority: Authority, identity: Identity | None = None, **other: Any) -> LogAnalytics:
    given = {"trust": str(authority.ca), "answer": WAITS} | other
    return LogAnalytics(server.origin, RULE, STREAM, identity or Identity(), COLUMNS, **given)  # type: ignore[arg-type]


def webhook(
    server: Receiver, authority: Authority, spoken: Format = Format.CLOUD_EVENTS, peers: Any = None, **other: Any
) -> WebhookSink:
    clock = other.pop("clock", time.time)
    key = ROUTING_KEY if spoken is Format.PAGER_DUTY else ""
    hook = Webhook("noc", server.url, spoken, routing_key=key, **other)
    return WebhookSink(hook, peers or {}, clock=clock, trust=authority.client(), answer=WAITS)


def run(sink: Sink, story: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        try:
            await story()
        finally:
            await sink.close()
            # A connection that was given up says goodbye in TLS first; the worker's loop goes on, this one ends here.
            await asyncio.sleep(0.02)

    asyncio.run(whole())


def sent(sink: Sink, *calls: Sequence[Posting]) -> list[Receipt]:
    receipts: list[Receipt] = []

    async def story() -> None:
        receipts.extend([await sink.send(call) for call in calls])

    run(sink, story)
    return receipts


# --- the contract -------------------------------------------------------------------------------------------------


class Disk(io.BytesIO):
    """Takes nothing while it is full."""

    full = False

    def flush(self) -> None:
        if self.full:
            self.truncate(0)
            self.seek(0)
            raise OSError(28, "No space left on device")


@dataclass
class Place:
    """A sink, how to make its receiver fail, and what the receiver has: (IncidentId, Revision) in order."""

    sink: Sink
    fail: Callable[[], None]
    mend: Callable[[], None]
    has: Callable[[], list[tuple[str, int]]]


def keys(rows: Sequence[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(r["IncidentId"], r["Revision"]) for r in rows]


def told_of(body: dict[str, Any]) -> tuple[str, int]:
    """Return which revision a message is about, in any format."""
    if body.get("event_action") == "resolve":
        return body["dedup_key"], resolved().key[1]  # PagerDuty is told no more than which alert is over
    for _, text in strings(body):
        if found := re.fullmatch(r"(?:Incident: )?(\w+)/(\d+)", text):
            return found[1], int(found[2])
    raise AssertionError(body)


@pytest.fixture(params=["console", "log_analytics", *Format])
def place(request: pytest.FixtureRequest, authority: Authority, ingestion: Ingestion, receiver: Receiver) -> Place:
    if request.param == "console":
        disk = Disk()
        return Place(
            Console(disk),
            lambda: setattr(disk, "full", True),
            lambda: setattr(disk, "full", False),
            lambda: keys([json.loads(line) for line in disk.getvalue().splitlines()]),
        )
    server: Scripted = ingestion if request.param == "log_analytics" else receiver
    return Place(
        table(ingestion, authority) if server is ingestion else webhook(receiver, authority, request.param),
        lambda: server.answer(*[503] * 9),
        server.script.clear,
        lambda: keys(ingestion.rows) if server is ingestion else [told_of(body) for body in receiver.bodies],
    )


def test_what_is_accepted_is_there_in_order(place: Place) -> None:
    postings = [opened("a"), opened("b"), changed("a"), resolved("a")]
    [receipt] = sent(place.sink, postings)
    assert receipt == Receipt(accepted={p.key for p in postings})
    assert place.has() == [p.key for p in postings]


def test_nothing_to_send_is_no_trouble(place: Place) -> None:
    assert sent(place.sink, []) == [Receipt()]
    assert place.has() == []


def test_what_was_not_taken_is_in_neither_and_is_taken_the_next_time(place: Place) -> None:
    async def story() -> None:
        place.fail()
        receipt = await place.sink.send([opened("a"), opened("b")])
        assert (receipt.accepted, receipt.refused) == (set(), {})
        assert receipt.trouble
        assert "\n" not in receipt.trouble
        assert receipt.retry_after is not None
        assert place.has() == []
        place.mend()
        receipt = await place.sink.send([opened("a"), opened("b")])
        assert receipt == Receipt(accepted={("a", 1), ("b", 1)})
        assert sorted(place.has()) == [("a", 1), ("b", 1)]

    run(place.sink, story)


def test_what_is_sent_again_does_no_harm(place: Place) -> None:
    receipts = sent(place.sink, [opened("a")], [opened("a")])
    assert receipts == [Receipt(accepted={("a", 1)})] * 2
    assert set(place.has()) == {("a", 1)}


def test_a_sink_that_was_closed_opens_again(place: Place) -> None:
    async def story() -> None:
        await place.sink.send([opened("a")])
        await place.sink.close()
        await place.sink.close()
        assert (await place.sink.send([opened("b")])).accepted == {("b", 1)}

    run(place.sink, story)


def test_names_are_different_and_hold_no_secret(authority: Authority, ingestion: Ingestion, receiver: Receiver) -> None:
    made: list[Sink] = [Console(io.BytesIO()), table(ingestion, authority), webhook(receiver, authority)]
    assert [sink.name for sink in made] == ["console", "log_analytics", "webhook:noc"]
    assert [sink.messages for sink in made] == [False, False, True]
    assert "secret" not in repr([vars(sink).get("_hook") for sink in made]) + repr(made)


# What is answered, and how many seconds are to be waited; None: whatever.
PASSING = [
    (Answer(408), 15), (Answer(429), 15), (Answer(429, {"Retry-After": "7"}), 7), (Answer(500), 15),
    (Answer(502), 15), (Answer(503, {"retry-after": "90"}), 90), (Answer(504), 15), (Answer(cut=True), 15),
    (Answer(503, {"Retry-After": "999999999999999999999"}), 3600), (Answer(503, {"Retry-After": "soon"}), 15),
    (Answer(503, {"Retry-After": "-5"}), 15), (Answer(504, hangs=0.6), 15), (LOST, 15),
]  # fmt: skip
WRONG_SETTING = [401, 403, 404, 307, 302]


@pytest.mark.parametrize("kind", ["log_analytics", "webhook"])
@pytest.mark.parametrize(("answer", "wait"), [*PASSING, *((Answer(status, {"Location": "https://127.0.0.1:1/"}), 300) for status in WRONG_SETTING)], ids=repr)  # fmt: skip
def test_what_may_pass_or_be_mended_loses_nothing(
    authority: Authority, ingestion: Ingestion, receiver: Receiver, kind: str, answer: Answer, wait: float
) -> None:
    server: Scripted = ingestion if kind == "log_analytics" else receiver
    sink: Sink = table(ingestion, authority) if kind == "log_analytics" else webhook(receiver, authority)
    server.answer(answer)
    failed, again = sent(sink, [opened()], [opened()])
    assert (failed.accepted, failed.refused, failed.retry_after) == (set(), {}, wait)
    assert failed.trouble.startswith(f"{STREAM} at 127.0.0.1: " if kind == "log_analytics" else "127.0.0.1: ")
    assert "secret" not in failed.trouble
    assert SECRET not in failed.trouble
    assert len(failed.trouble.splitlines()) == 1
    assert again == Receipt(accepted={("a", 1)})
    assert server.requests == 2  # nobody tried again in between, and no redirect was followed


def test_a_date_is_as_good_as_seconds() -> None:
    now = 1_700_000_000.0
    assert retry_after({"Retry-After": formatdate(now + 40, usegmt=True)}, now) == 40
    assert retry_after({"Retry-After": formatdate(now - 40, usegmt=True)}, now) == 0
    assert retry_after({"Retry-After": formatdate(now + 10**8, usegmt=True)}, now) == 3600
    assert retry_after({"Retry-After": "0"}, now) == 0
    for odd in ("", "nan", "inf", "1e3", "²", "Wed, 99 Nov 2026 25:00:00 GMT", "9" * 5000 + "x"):
        assert retry_after({"Retry-After": odd}, now) is None
    assert retry_after({"Retry-After": "9" * 5000}, now) == 3600


def test_nobody_there_is_trouble_and_no_exception(authority: Authority) -> None:
    with Ingestion(authority, STREAM, COLUMNS) as gone, Receiver(authority) as gone_too:
        made: list[Sink] = [table(gone, authority), webhook(gone_too, authority)]
    for sink in made:
        [receipt] = sent(sink, [opened()])
        assert (receipt.accepted, receipt.refused) == (set(), {})
        assert "127.0.0.1: ClientConnectorError" in receipt.trouble
        assert "secret" not in receipt.trouble


def test_a_server_that_nobody_vouches_for_is_told_nothing(ingestion: Ingestion, receiver: Receiver) -> None:
    untrusting: list[Sink] = [
        LogAnalytics(ingestion.origin, RULE, STREAM, Identity(), COLUMNS),  # type: ignore[arg-type]
        WebhookSink(Webhook("noc", receiver.url)),
    ]
    for sink in untrusting:
        [receipt] = sent(sink, [opened()])
        assert receipt.accepted == set()
        assert "Certificate" in receipt.trouble
    assert (ingestion.requests, receiver.requests) == (0, 0)


def test_a_call_ends_before_another_worker_may_send() -> None:
    longest = max(log_analytics.PATIENCE, webhooks.PATIENCE) + 1  # a request that is under way is given up, too
    assert longest < LEASE_LEFT / SECOND


@pytest.mark.parametrize("kind", ["log_analytics", "webhook"])
def test_a_receiver_that_never_answers_does_not_take_longer_than_its_time(
    authority: Authority, ingestion: Ingestion, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    for module in (log_analytics, webhooks):
        monkeypatch.setattr(module, "PATIENCE", 0.4)
    monkeypatch.setattr(log_analytics, "CHUNK", 1)
    server: Scripted = ingestion if kind == "log_analytics" else receiver
    sink: Sink = table(ingestion, authority) if kind == "log_analytics" else webhook(receiver, authority)
    server.answer(*[Answer(504, hangs=1.0)] * 9)
    began = time.monotonic()
    [receipt] = sent(sink, [opened(f"i{n}") for n in range(9)])
    assert time.monotonic() - began < 0.9
    assert (receipt.accepted, receipt.refused) == (set(), {})
    assert "no answer in time" in receipt.trouble
    assert server.requests == 2


# --- Log Analytics ------------------------------------------------------------------------------------------------


def test_chunks_are_as_large_as_they_may_be_and_no_larger(authority: Authority, ingestion: Ingestion) -> None:
    # 60 rows of about 60 KB: 15 to a chunk of 900 KB.
    postings = [opened(f"i{n}", Explanation="x" * 55_000) for n in range(60)]
    [receipt] = sent(table(ingestion, authority), postings)
    assert receipt.accepted == {p.key for p in postings}
    assert keys(ingestion.rows) == [p.key for p in postings]
    one = max(len(orjson.dumps(r)) for r in ingestion.rows)
    assert all(size <= CHUNK for size in ingestion.sizes)
    assert all(size > CHUNK - one - 1 for size in ingestion.sizes[:-1])


def test_a_chunk_is_full_to_the_byte() -> None:
    def entries(*sizes: int) -> list[Any]:
        return [log_analytics._Entry(("a", n), {}, b"x" * size) for n, size in enumerate(sizes)]

    half = (CHUNK - 3) // 2
    exact = CHUNK - 3 - half  # two brackets and a comma
    assert [len(c) for c in log_analytics.chunks(entries(half, exact))] == [2]
    assert [len(c) for c in log_analytics.chunks(entries(half, exact + 1))] == [1, 1]
    assert [len(c) for c in log_analytics.chunks(entries(CHUNK, half, exact))] == [1, 2]
    assert [len(c) for c in log_analytics.chunks(entries(CHUNK, half, exact + 1))] == [1, 1, 1]
    assert [len(c) for c in log_analytics.chunks(entries(1, CHUNK * 2, 1))] == [1, 1, 1]
    assert list(log_analytics.chunks([])) == []


def test_what_was_accepted_stays_accepted_when_a_later_chunk_fails(authority: Authority, ingestion: Ingestion) -> None:
    postings = [opened(f"i{n}", Explanation="x" * 60_000, Fix="y" * 60_000) for n in range(12)]  # two chunks
    ingestion.answer(Answer(), Answer(429, {"Retry-After": "9"}))
    [receipt] = sent(table(ingestion, authority), postings)
    assert receipt.accepted == set(keys(ingestion.rows)) != set()
    assert len(receipt.accepted) < 12
    assert (receipt.refused, receipt.retry_after) == ({}, 9)
    assert "429" in receipt.trouble


def test_a_chunk_that_fails_does_not_hold_up_the_next_one(authority: Authority, ingestion: Ingestion) -> None:
    postings = [opened(f"i{n}", Explanation="x" * 60_000, Fix="y" * 60_000) for n in range(12)]
    ingestion.answer(500)
    [receipt] = sent(table(ingestion, authority), postings)
    assert receipt.accepted == set(keys(ingestion.rows)) != set()
    assert ("i0", 1) not in receipt.accepted


@pytest.mark.parametrize("status", [400, 413])
def test_one_row_that_is_not_taken_is_cut_and_blocks_no_other(
    authority: Authority, ingestion: Ingestion, status: int
) -> None:
    ingestion.refuses = lambda r: status if r["IncidentId"] == "i5" and r["Evidence"] else 0
    postings = [opened(f"i{n}") for n in range(9)]
    [receipt] = sent(table(ingestion, authority), postings)
    assert receipt == Receipt(accepted={p.key for p in postings})
    [cut_row] = [r for r in ingestion.rows if r["IncidentId"] == "i5"]
    whole = next(r for r in ingestion.rows if r["IncidentId"] == "i4")
    assert whole == orjson.loads(orjson.dumps(row("i4")))
    assert cut_row["Explanation"].startswith(f"This row was cut: the table did not take it whole ({status}).")
    assert cut_row["Explanation"].endswith(whole["Explanation"])
    same = set(REQUIRED) - {"IncidentId", "Explanation"}
    assert {name: cut_row[name] for name in same} == {name: whole[name] for name in same}
    assert all(cut_row[name] is None for name in COLUMNS if name not in REQUIRED)
    assert {"IncidentId", "Revision", "State", "Cause", "Summary", "TimeGenerated"} <= set(REQUIRED) <= set(COLUMNS)
    assert all(COLUMNS[name] != "dynamic" for name in REQUIRED)


def test_a_row_is_refused_only_when_cut_and_alone(authority: Authority, ingestion: Ingestion) -> None:
    ingestion.refuses = lambda r: 400 if r["IncidentId"] == "i5" else 0
    postings = [opened(f"i{n}") for n in range(9)]
    [receipt] = sent(table(ingestion, authority), postings)
    assert receipt.accepted == {p.key for p in postings} - {("i5", 1)}
    assert list(receipt.refused) == [("i5", 1)]
    assert receipt.refused["i5", 1].startswith(f"{STREAM} at 127.0.0.1: 400 InvalidRecord")
    assert SECRET not in receipt.refused["i5", 1]
    assert (receipt.trouble, receipt.retry_after) == ("", None)


def test_a_chunk_that_is_too_large_for_the_service_is_halved(authority: Authority, ingestion: Ingestion) -> None:
    ingestion.answer(413)
    postings = [opened(f"i{n}") for n in range(7)]
    [receipt] = sent(table(ingestion, authority), postings)
    assert receipt == Receipt(accepted={p.key for p in postings})
    assert [len(call) for call in ingestion.calls] == [3, 4]
    assert keys(ingestion.rows) == [p.key for p in postings]


def test_a_row_larger_than_a_chunk_is_cut_before_it_is_sent(authority: Authority, ingestion: Ingestion) -> None:
    texts = {name: "x" * 63_000 for name, kind in COLUMNS.items() if kind == "string" and name not in REQUIRED}
    lists = {name: ["y" * 60_000] for name, kind in COLUMNS.items() if kind == "dynamic"}
    large = opened("large", **texts, **lists, **dict.fromkeys(("Summary", "GatewayId", "GatewayName"), "z" * 63000))
    assert len(orjson.dumps(large.row)) > CHUNK
    [receipt] = sent(table(ingestion, authority), [opened("a"), large, opened("b")])
    assert receipt == Receipt(accepted={("a", 1), ("large", 1), ("b", 1)})
    [found] = [r for r in ingestion.rows if r["IncidentId"] == "large"]
    assert ingestion.requests == 1  # nobody had to refuse it first
    assert "(413)" in found["Explanation"]
    assert found["Summary"] == "z" * 997 + "…"


def test_a_row_that_no_json_can_hold_is_refused_alone(authority: Authority, ingestion: Ingestion) -> None:
    [receipt] = sent(table(ingestion, authority), [opened("a"), opened("b", Attempts=1 << 70), opened("c")])
    assert receipt.accepted == {("a", 1), ("c", 1)}
    assert list(receipt.refused) == [("b", 1)]


def test_no_value_is_left_for_the_service_to_cut(authority: Authority, ingestion: Ingestion) -> None:
    evidence = [{"Time": "t", "SessionId": "s", "Message": f"{n} " + "ü" * 4_000} for n in range(12)]
    [receipt] = sent(
        table(ingestion, authority), [opened(Explanation="€" * 30_000, Evidence=evidence, PeerOffers=["p" * 70_000])]
    )
    assert receipt == Receipt(accepted={("a", 1)})
    [found] = ingestion.rows
    # 64,000 bytes: 21,332 signs of three bytes and the ellipsis of three.
    assert found["Explanation"] == "€" * 21_332 + "…"
    assert found["Evidence"] == evidence[:7]  # each a little more than 8,000 bytes
    assert found["PeerOffers"] == ["p" * 997 + "…"]


@given(st.text(), st.integers(3, 40))
def test_a_text_is_cut_between_characters(text: str, limit: int) -> None:
    short = shorten(text, limit)
    assert len(short.encode(errors="replace")) <= max(limit, 3)
    if len(text.encode(errors="replace")) <= limit:
        assert short == text
    else:
        assert short.endswith("…")
        assert text.startswith(short[:-1])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text('a"€\\\n', max_size=9).map(lambda t: t * 3_000),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=40, deadline=None)
@given(JSON)
def test_whatever_a_column_holds_fits_and_keeps_its_type(value: object) -> None:
    fitted = fit(value)
    assert len(orjson.dumps(fitted)) <= FIELD or isinstance(fitted, str)
    assert fitted is None or type(fitted) is type(value)
    if isinstance(value, list) and isinstance(fitted, list):
        assert len(fitted) <= len(value)
    if len(orjson.dumps(value)) <= FIELD:
        assert fitted == value


def test_a_missing_identity_and_a_wrong_token_are_told_apart(authority: Authority, ingestion: Ingestion) -> None:
    nobody = Identity(failed=ClientAuthenticationError("tried a secret\nand another"))
    [receipt] = sent(table(ingestion, authority, nobody), [opened()])
    assert "no token for the app's identity" in receipt.trouble
    assert "secret" not in receipt.trouble
    assert (receipt.refused, receipt.retry_after, ingestion.requests) == ({}, 300, 0)
    [receipt] = sent(table(ingestion, authority, Identity("another")), [opened()])
    assert "401 Unauthorized, not allowed: the app's identity needs the role Monitoring Metrics" in receipt.trouble
    assert receipt.refused == {}


def test_the_token_is_asked_for_the_cloud_of_the_endpoint() -> None:
    for host, audience in (
        ("x.westeurope-1.ingest.monitor.azure.com", "https://monitor.azure.com/.default"),
        ("x.usgovvirginia-1.ingest.monitor.azure.us", "https://monitor.azure.us/.default"),
        ("x.chinanorth3-1.ingest.monitor.azure.cn", "https://monitor.azure.cn/.default"),
    ):
        identity = Identity(failed=ClientAuthenticationError("no"))
        sent(LogAnalytics(f"https://{host}", RULE, STREAM, identity, COLUMNS), [opened()])  # type: ignore[arg-type]
        assert identity.scopes == {audience}


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1", "127.0.0.1", "", "https://"])
def test_a_table_is_told_nothing_in_clear(endpoint: str) -> None:
    with pytest.raises(ValueError, match="the endpoint must look like"):
        LogAnalytics(endpoint, RULE, STREAM, Identity(), COLUMNS)  # type: ignore[arg-type]


def test_rows_that_are_no_revisions_go_to_their_own_table(authority: Authority) -> None:
    health = {"TimeGenerated": "datetime", "Partition": "string", "LagSeconds": "real"}
    with Ingestion(authority, "Custom-IkeStreamHealth_CL", health) as server:
        sink = LogAnalytics(
            server.origin, RULE, "Custom-IkeStreamHealth_CL", Identity(), health, trust=str(authority.ca)  # type: ignore[arg-type]
        )  # fmt: skip
        receipts: list[Receipt] = []

        async def story() -> None:
            rows = [{"TimeGenerated": "2026-01-01T00:00:00Z", "LagSeconds": 1.5, "Later": "unknown"}]
            receipts.append(await sink.write(rows))

        run(sink, story)
        assert receipts == [Receipt(accepted={("", 0)})]
        assert server.rows == [{"TimeGenerated": "2026-01-01T00:00:00Z", "Partition": None, "LagSeconds": 1.5}]


# --- webhooks -----------------------------------------------------------------------------------------------------


def test_a_cloud_event_is_one(authority: Authority, receiver: Receiver) -> None:
    peers = {
        "168.62.186.148": Peer(owner="Contoso", runbook="https://wiki.example.com/vpn", importance=Importance.HIGH)
    }
    sink = webhook(receiver, authority, peers=peers)
    sent(sink, [opened(), changed(), resolved()])
    assert {r.content_type for r in receiver.received} == {"application/cloudevents+json"}
    first, second, third = receiver.bodies
    assert {name: first[name] for name in first if name != "data"} == {
        "specversion": "1.0",
        "type": "ikestream.incident.opened",
        "source": ROW["GatewayId"],
        "id": "a/1",
        "subject": "168.62.186.148",
        "time": ROW["TimeGenerated"],
        "datacontenttype": "application/json",
    }
    notes = {"Owner": "Contoso", "Runbook": "https://wiki.example.com/vpn", "Importance": "High"}
    assert first["data"] == orjson.loads(orjson.dumps(row() | notes))
    assert (second["id"], second["type"]) == ("a/2", "ikestream.incident.changed")
    assert (third["id"], third["type"]) == ("a/3", "ikestream.incident.resolved")


def test_a_source_is_a_uri_reference_whatever_a_gateway_is_called(authority: Authority, receiver: Receiver) -> None:
    sent(webhook(receiver, authority), [opened("a", GatewayId="a b\n<ü>"), opened("b", GatewayId="", RemoteIP="")])
    assert [body["source"] for body in receiver.bodies] == ["a%20b%0A%3C%C3%BC%3E", "/ikestream"]
    assert receiver.bodies[1]["subject"] == "VNG-WEST"  # a subject must not be empty


def test_pager_duty_has_one_alert_for_each_incident(authority: Authority, receiver: Receiver) -> None:
    peers = {"168.62.186.148": Peer(runbook="https://wiki.example.com/vpn")}
    sink = webhook(receiver, authority, Format.PAGER_DUTY, peers)
    sent(
        sink,
        [opened(Summary="s" * 2000), changed(Severity="Warning"), resolved(), opened("b", Severity="Informational")],
    )
    first, second, third, fourth = receiver.bodies
    assert (first["event_action"], first["dedup_key"]) == ("trigger", "a")
    assert len(first["payload"]["summary"]) == 1024
    assert first["payload"]["summary"].endswith("s…")
    assert first["payload"]["custom_details"]["Mismatch"] == ["DhGroup: Azure DHGroup2; peer DHGroup14"]
    assert first["links"] == [{"href": "https://wiki.example.com/vpn", "text": "Runbook"}]
    assert (second["event_action"], second["dedup_key"]) == ("trigger", "a")
    assert third == {"routing_key": ROUTING_KEY, "dedup_key": "a", "event_action": "resolve"}
    assert [b["payload"]["severity"] for b in (first, second, fourth)] == ["critical", "warning", "info"]
    assert {b["routing_key"] for b in receiver.bodies} == {ROUTING_KEY}


HOSTILE = "<!channel> <@U123> @everyone [pay](https://evil.example) *bold* ```\n<at>Ann</at> {{DATE(2026)}} ${x} \u202e&amp; \x1b[2J"


def hostile() -> Posting:
    return opened(
        Summary=HOSTILE,
        Explanation=HOSTILE,
        Fix=HOSTILE,
        GatewayName=HOSTILE,
        Mismatch=[{"Parameter": "DhGroup", "Azure": [HOSTILE], "Peer": [HOSTILE]}],
        Evidence=[{"Time": "t", "SessionId": "s", "Message": HOSTILE}],
    )


def strings(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield path, value
    for name, inner in (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from strings(inner, f"{path}.{name}")


def test_a_log_can_ping_nobody_in_slack_and_link_nowhere(authority: Authority, receiver: Receiver) -> None:
    sent(webhook(receiver, authority, Format.SLACK), [hostile()])
    [body] = receiver.bodies
    texts = [text for _, text in strings(body)]
    assert any("&lt;!channel&gt; &lt;@U123&gt;" in text for text in texts)
    assert any("&amp;amp;" in text for text in texts)
    assert not any(set("<>\u202e\x1b") & set(text) for text in texts)
    markup = [b["text"] for b in body["blocks"] if b.get("text", {}).get("type") == "mrkdwn"]
    assert len(markup) == 2  # the table, and the lines that prove it
    for block in markup:
        assert block["text"].startswith("```")
        assert block["text"].endswith("```")
        assert "`" not in block["text"][3:-3]
        assert block["verbatim"] is True
    assert (body["parse"], body["link_names"]) == ("none", False)


def test_a_log_can_ping_nobody_in_teams_and_link_nowhere(authority: Authority, receiver: Receiver) -> None:
    sent(webhook(receiver, authority, Format.TEAMS), [hostile()])
    [body] = receiver.bodies
    [attachment] = body["attachments"]
    assert (body["type"], attachment["contentType"]) == ("message", "application/vnd.microsoft.card.adaptive")
    card = attachment["content"]
    assert (card["type"], card["msteams"]) == ("AdaptiveCard", {"width": "Full"})
    holding = {element["type"] for element in elements(card) if "evil.example" in str(element.get("text", ""))}
    assert holding == {"TextRun"}  # what reads Markdown is TextBlock and FactSet
    assert not {"TextBlock", "FactSet"} & {element["type"] for element in elements(card)}
    texts = [text for _, text in strings(body)]
    assert not any(sign in text.lower() for text in texts for sign in ("<at>", "</at", "{{", "${", "\u202e", "\x1b"))
    assert not any("\n" in text for text in texts)


def elements(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if isinstance(value.get("type"), str):
            yield value
        for inner in value.values():
            yield from elements(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from elements(inner)


@pytest.mark.parametrize("spoken", [Format.SLACK, Format.TEAMS])
def test_a_card_shows_cause_mismatch_fix_turn_and_since(
    authority: Authority, receiver: Receiver, spoken: Format
) -> None:
    peers = {"168.62.186.148": Peer("Contoso network team", "https://wiki.example.com/vpn", Importance.LOW)}
    sent(webhook(receiver, authority, spoken, peers), [opened(), resolved(revision=2)])
    down, up = (" ".join(text for _, text in strings(body)) for body in receiver.bodies)
    for shown in (
        "Open: The tunnel to",
        "IkePolicyMismatch",
        "DHGroup2",
        "DHGroup14",
        "Azure's side",
        "2020-09-18T16:02:04",
    ):
        assert shown in down
    for shown in (
        "Contoso network team",
        "https://wiki.example.com/vpn",
        "Low",
        "A custom policy needs all six values",
    ):
        assert shown in down
    assert "Resolved: The tunnel to" in up
    assert "2020-09-18T16:30:00.000Z Recovered" in up
    for over in ("Azure's side", "DHGroup2,", "A custom policy needs"):
        assert over not in up.replace(ROW["Summary"], "").replace(ROW["Explanation"], "")


@pytest.mark.parametrize("spoken", list(Format))
def test_a_message_stays_within_what_its_receiver_takes(
    authority: Authority, receiver: Receiver, spoken: Format
) -> None:
    long = "<&😀" * 20_000
    mismatch = [{"Parameter": long, "Azure": [long] * 9, "Peer": [long] * 9}] * 20
    evidence = [{"Time": "t", "SessionId": "s", "Message": long}] * 12
    posting = opened(Summary=long, Explanation=long, Fix=long, GatewayName=long, Mismatch=mismatch, Evidence=evidence)
    assert sent(webhook(receiver, authority, spoken), [posting]) == [Receipt(accepted={("a", 1)})]
    [body] = receiver.bodies
    assert len(orjson.dumps(body)) <= webhooks.SPOKEN[spoken].largest
    if spoken is Format.SLACK:
        assert len(body["blocks"]) <= 50
        for place, text in strings(body):
            limit = 150 if place == ".blocks.0.text.text" else 2000 if ".fields." in place else 3000
            assert len(text) <= limit
            assert text.replace("&lt;", "").replace("&gt;", "").replace("&amp;", "").count("&") == 0


@pytest.mark.parametrize("spoken", list(Format))
def test_a_row_of_nothing_is_a_message_all_the_same(authority: Authority, receiver: Receiver, spoken: Format) -> None:
    nothing = dict.fromkeys(COLUMNS) | {"IncidentId": "a", "Revision": 1, "Kind": "Outage"}
    odd = nothing | {"IncidentId": "b", "Mismatch": {"a": 1}, "Evidence": "x", "Summary": 5, "State": [], "Severity": 0}
    receipts = sent(webhook(receiver, authority, spoken), [Posting(nothing, Why.OPENED), Posting(odd, Why.CHANGED)])
    assert receipts == [Receipt(accepted={("a", 1), ("b", 1)})]
    assert len(receiver.bodies) == 2


def test_who_refuses_a_message_gets_the_least_that_is_worth_telling(authority: Authority, receiver: Receiver) -> None:
    receiver.refuses = lambda body: 413 if body["data"].get("Evidence") else 0
    assert sent(webhook(receiver, authority), [opened()]) == [Receipt(accepted={("a", 1)})]
    [body] = receiver.bodies
    assert {"IncidentId", "State", "Cause", "Summary"} <= set(body["data"])
    assert body["data"]["Summary"] == ROW["Summary"]


def test_a_message_is_refused_for_good_only_by_a_receiver_that_takes_others(
    authority: Authority, receiver: Receiver
) -> None:
    receiver.refuses = lambda body: 400 if body["id"].startswith("bad/") else 0
    doubtful, other, sure = sent(webhook(receiver, authority), [opened("bad")], [opened("a")], [opened("bad")])
    assert (doubtful.accepted, doubtful.refused, doubtful.retry_after) == (set(), {}, 60)
    assert "check its address, format and key" in doubtful.trouble
    assert other.accepted == {("a", 1)}
    assert sure.refused == {("bad", 1): "127.0.0.1: 400, it does not take this message"}
    assert (sure.trouble, sure.retry_after) == ("", None)


def test_one_incident_that_fails_does_not_hold_up_the_others(authority: Authority, receiver: Receiver) -> None:
    receiver.refuses = lambda body: 500 if body["id"].startswith("bad") else 0
    postings = [opened(f"bad{n}") for n in range(4)] + [opened("a"), opened("b")]
    first, second = sent(webhook(receiver, authority), postings, postings)
    assert first.accepted | second.accepted == {("a", 1), ("b", 1)}
    # Left alone after three failures in a row; then the one that was not tried, the two good ones, and three again.
    assert receiver.requests == 3 + 1 + 2 + 3


def test_of_an_incident_that_failed_nothing_newer_is_sent_before_it(authority: Authority, receiver: Receiver) -> None:
    receiver.answer(LOST)
    first, second = sent(webhook(receiver, authority), *[[opened(), opened("b"), changed(), resolved()]] * 2)
    assert first.accepted == {("b", 1)}
    assert second.accepted == {("a", 1), ("a", 2), ("a", 3), ("b", 1)}
    assert [b["id"] for b in receiver.bodies if b["id"] != "b/1"] == ["a/1", "a/1", "a/2", "a/3"]


def test_nothing_older_is_sent_after_something_newer(authority: Authority, receiver: Receiver) -> None:
    receipts = sent(webhook(receiver, authority), [resolved()], [changed()])
    assert receipts[1] == Receipt(accepted={("a", 2)})
    assert [body["id"] for body in receiver.bodies] == ["a/3"]


def test_a_webhook_in_clear_is_only_for_this_machine() -> None:
    for url in (
        "http://example.com/secret",
        "ftp://127.0.0.1/secret",
        "https:///secret",
        "secret",
        "https://a b/secret",
    ):
        with pytest.raises(ValueError, match="webhook noc: the address must be https") as refused:
            WebhookSink(Webhook("noc", url))
        assert "secret" not in str(refused.value)
    for url in ("http://127.0.0.1:1/x", "http://localhost/x", "http://[::1]:1/x", "https://example.com/x"):
        WebhookSink(Webhook("noc", url))


def test_who_is_told_what(authority: Authority, receiver: Receiver) -> None:
    postings = [
        opened("outage"),
        opened("drill", Drill=True),
        opened("advisory", Kind="Advisory"),
        opened("warning", Severity="Warning"),
        Posting(row("restated"), Why.UPDATED),
    ]

    def told(**hook: Any) -> list[str]:
        receiver.received.clear()
        [receipt] = sent(webhook(receiver, authority, **hook), postings)
        assert receipt == Receipt(accepted={p.key for p in postings})  # what is for nobody is not left over
        return [body["id"].split("/")[0] for body in receiver.bodies]

    assert told() == ["outage", "warning"]
    assert told(drills=True) == ["outage", "drill", "warning"]
    assert told(kinds=frozenset({"Advisory"})) == ["advisory"]
    assert told(minimum=notify.Severity.ERROR) == ["outage"]
    assert told(on=frozenset({Why.RESOLVED})) == []


def heard(receiver: Receiver) -> list[str]:
    return [f"{body['id']} {body['type'].rsplit('.', 1)[1]}" for body in receiver.bodies]


def test_whoever_heard_of_an_incident_hears_its_end(authority: Authority, receiver: Receiver) -> None:
    hook = {"minimum": notify.Severity.ERROR}
    sent(
        webhook(receiver, authority, **hook), [opened()], [changed(Severity="Warning")], [resolved(Severity="Warning")]
    )
    assert heard(receiver) == ["a/1 opened", "a/2 changed", "a/3 resolved"]
    receiver.received.clear()
    # Kept back as a whole by this process: nothing to end. Not known to it: another process may have told it.
    sent(webhook(receiver, authority, **hook), [opened(Severity="Warning")], [resolved(Severity="Warning")])
    assert heard(receiver) == []
    sent(webhook(receiver, authority, **hook), [resolved(Severity="Warning")])
    assert heard(receiver) == ["a/3 resolved"]


def test_an_opening_that_was_never_heard_is_told_with_the_change(authority: Authority, receiver: Receiver) -> None:
    on = frozenset({Why.OPENED, Why.RESOLVED})
    receiver.answer(503)
    # The outbox keeps the newest revision of what could not be sent.
    sent(webhook(receiver, authority, on=on), [opened()], [changed()], [changed(revision=3)], [resolved(revision=4)])
    assert heard(receiver) == ["a/2 opened", "a/4 resolved"]


def test_a_muted_peer_opens_nothing_until_then(authority: Authority, receiver: Receiver) -> None:
    now = 1_000.0
    peers = {"168.62.186.148": Peer(mute_until=2_000_000)}
    sink = webhook(receiver, authority, peers=peers, clock=lambda: now)

    async def story() -> None:
        nonlocal now
        for posting in (opened(), changed(), resolved(), opened("b"), opened("other", RemoteIP="203.0.113.1")):
            assert (await sink.send([posting])).accepted == {posting.key}
        assert heard(receiver) == ["other/1 opened"]
        now = 2_000.0
        for posting in (changed("b"), resolved("b")):
            await sink.send([posting])
        assert heard(receiver)[1:] == ["b/2 changed", "b/3 resolved"]

    run(sink, story)


def test_an_incident_that_was_told_before_its_peer_was_muted_is_ended(authority: Authority, receiver: Receiver) -> None:
    # To mute a peer is to change a setting, which restarts the app: the sink that told it is not the one that ends it.
    sent(webhook(receiver, authority), [opened()])
    peers = {"168.62.186.148": Peer(mute_until=(1 << 52))}
    sent(webhook(receiver, authority, peers=peers), [changed()], [resolved()])
    assert heard(receiver) == ["a/1 opened", "a/3 resolved"]


def test_what_is_remembered_is_bounded(
    authority: Authority, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "MEMORY", 3)
    sink = webhook(receiver, authority)
    sent(sink, [opened(f"i{n}") for n in range(9)])
    assert list(sink._memory) == ["i6", "i7", "i8"]


# --- any faults ---------------------------------------------------------------------------------------------------

FAULTS = st.sampled_from(
    [Answer(), Answer(), Answer(), Answer(408), Answer(429), Answer(429, {"Retry-After": "1"}), Answer(500),
     Answer(502), Answer(503, taken=True), Answer(401), Answer(404), LOST, LOST, Answer(cut=True), Answer(hangs=0.4)]
)  # fmt: skip
anything = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@anything
@given(st.lists(FAULTS, max_size=8), st.lists(st.sampled_from("abc"), min_size=1, max_size=8))
def test_after_any_faults_a_receivers_last_word_is_the_newest(
    authority: Authority, receiver_server: Receiver, script: list[Answer], told: list[str]
) -> None:
    receiver = emptied(receiver_server)
    receiver.answer(*script)
    sink = webhook(receiver, authority)
    sink._patience = 0.15
    newest: dict[str, Posting] = {}  # the outbox of a receiver of messages

    async def story() -> None:
        coming = list(told)
        revisions = dict.fromkeys("abc", 0)
        for _ in range(40):
            if coming:
                incident = coming.pop(0)
                revisions[incident] += 1
                newest[incident] = opened(incident, revisions[incident])
            receipt = await sink.send(list(newest.values()))
            assert receipt.refused == {}
            there = {tuple(body["id"].split("/")) for body in receiver.bodies}
            assert {(i, str(r)) for i, r in receipt.accepted} <= there
            assert bool(receipt.trouble) == (len(receipt.accepted) < len(newest))
            for incident, _ in receipt.accepted:
                del newest[incident]
            if not coming and not newest:
                break
        assert newest == {}
        for incident in set(told):
            last = [body["id"] for body in receiver.bodies if body["id"].startswith(f"{incident}/")][-1]
            assert last == f"{incident}/{revisions[incident]}"

    run(sink, story)


@anything
@given(st.lists(FAULTS | st.just(Answer(413)), max_size=8), st.integers(1, 30))
def test_after_any_faults_the_table_has_every_revision(
    authority: Authority, ingestion_server: Ingestion, script: list[Answer], count: int
) -> None:
    ingestion = emptied(ingestion_server)
    # A 413 is said to any one request of the script; each row may hear it twice before it is refused for good.
    ingestion.answer(*[answer for place, answer in enumerate(script) if answer.status != 413 or place < 1])
    sink = table(ingestion, authority, answer=0.15)
    left = [opened(f"i{n}", Explanation="x" * 60_000) for n in range(count)]

    async def story() -> None:
        nonlocal left
        for _ in range(20):
            receipt = await sink.send(left)
            assert receipt.refused == {}
            assert receipt.accepted <= set(keys(ingestion.rows))
            left = [posting for posting in left if posting.key not in receipt.accepted]
            assert bool(receipt.trouble) == bool(left)
            if not left:
                break
        assert left == []
        assert {key for key, _ in map(tuple, keys(ingestion.rows))} == {f"i{n}" for n in range(count)}

    run(sink, story)


# --- settings -----------------------------------------------------------------------------------------------------


def test_no_webhooks_and_no_peers() -> None:
    assert notify.load_webhooks("  ") == ()
    assert notify.load_webhooks("[]") == ()
    assert notify.load_peers("") == {}


def test_a_webhook_has_sensible_defaults() -> None:
    [hook] = notify.load_webhooks('[{"name": "noc", "url": "https://example.com/x"}]')
    assert hook == Webhook("noc", "https://example.com/x")
    assert hook.format is Format.CLOUD_EVENTS
    assert hook.on == {Why.OPENED, Why.CHANGED, Why.RESOLVED}
    assert (hook.kinds, hook.drills, hook.minimum) == ({"Outage"}, False, "Informational")


def test_everything_about_a_webhook_can_be_said() -> None:
    given = {
        "name": "duty", "format": "PagerDuty", "routingKey": "k3y", "on": ["opened", "Resolved"],
        "kinds": ["outage", "Advisory"], "minimumSeverity": "error", "drills": True,
    }  # fmt: skip
    [hook] = notify.load_webhooks(json.dumps([given]))
    assert hook.url == "https://events.pagerduty.com/v2/enqueue"
    assert (hook.format, hook.routing_key, hook.drills) == (Format.PAGER_DUTY, "k3y", True)
    assert (hook.on, hook.kinds) == ({Why.OPENED, Why.RESOLVED}, {"Outage", "Advisory"})
    assert hook.minimum == "Error"
    assert "k3y" not in repr(hook)


GOOD = {"name": "noc", "url": "https://example.com/s3cret"}


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("{", "IKESTREAM_WEBHOOKS is not JSON"),
        ('[{"name": "noc", "url": "https://example.com/s3cret"', "IKESTREAM_WEBHOOKS is not JSON"),
        ("{}", "IKESTREAM_WEBHOOKS must be a JSON list"),
        ([5], "IKESTREAM_WEBHOOKS[0] must be an object"),
        ([GOOD, {"url": "https://example.com/s3cret"}], "IKESTREAM_WEBHOOKS[1].name"),
        ([GOOD | {"name": "a b"}], "IKESTREAM_WEBHOOKS[0].name"),
        ([GOOD, GOOD | {"name": "NOC"}], "IKESTREAM_WEBHOOKS[1].name is taken"),
        ([{"name": "noc"}], "IKESTREAM_WEBHOOKS[0].url"),
        ([GOOD | {"url": "http://example.com/s3cret"}], "IKESTREAM_WEBHOOKS[0].url must be an https address"),
        ([GOOD | {"url": "https://example.com:s3cret/"}], "IKESTREAM_WEBHOOKS[0].url"),
        ([GOOD | {"url": ["s3cret"]}], "IKESTREAM_WEBHOOKS[0].url must be a text"),
        ([GOOD | {"format": "s3cret"}], "IKESTREAM_WEBHOOKS[0].format must be one of: cloudevents, pagerduty"),
        ([GOOD | {"on": []}], "IKESTREAM_WEBHOOKS[0].on must be a list of: opened, changed, resolved"),
        ([GOOD | {"on": ["opened", "updated"]}], "IKESTREAM_WEBHOOKS[0].on must be one of"),
        ([GOOD | {"kinds": "Outage"}], "IKESTREAM_WEBHOOKS[0].kinds must be a list"),
        ([GOOD | {"minimumSeverity": 3}], "IKESTREAM_WEBHOOKS[0].minimumSeverity must be one of"),
        ([GOOD | {"drills": "yes"}], "IKESTREAM_WEBHOOKS[0].drills must be true or false"),
        ([GOOD | {"format": "pagerduty"}], "IKESTREAM_WEBHOOKS[0].routingKey is what format pagerduty needs"),
        ([GOOD | {"routingKey": "s3cret"}], "IKESTREAM_WEBHOOKS[0].routingKey"),
        ([GOOD | {"format": "pagerduty", "routingKey": "s3cret and more"}], "IKESTREAM_WEBHOOKS[0].routingKey"),
        ([GOOD | {"minimunSeverity": "Error"}], "IKESTREAM_WEBHOOKS[0].minimunSeverity is not known"),
        ([GOOD | {"https://example.com/s3cret": 1}], "IKESTREAM_WEBHOOKS[0] has a key that is not known"),
    ],
)
def test_a_wrong_webhook_is_named_by_place_and_key_and_not_by_its_secret(given: Any, named: str) -> None:
    with pytest.raises(BadSetting) as refused:
        notify.load_webhooks(given if isinstance(given, str) else json.dumps(given))
    assert str(refused.value).startswith(named)
    assert "s3cret" not in str(refused.value)
    assert refused.value.__cause__ is None  # an error of JSON holds the whole document
    assert len(str(refused.value).splitlines()) == 1


def test_peers_are_found_by_address_however_it_is_written_and_by_connection() -> None:
    peers = notify.load_peers(
        json.dumps(
            {
                "2001:DB8:0::7": {"owner": "Six"},
                " 203.0.113.7 ": {"owner": "Four", "importance": "high", "muteUntil": "2026-12-01T07:00+01:00"},
                "To-Contoso": {"owner": "By name", "runbook": "http://wiki/vpn"},
            }
        )
    )

    def found(**known: object) -> Peer | None:
        return notify.find(peers, {"RemoteIP": "", "ConnectionName": None} | known)

    assert found(RemoteIP="2001:db8::7") == Peer(owner="Six")
    # 2026-12-01T06:00:00Z
    assert found(RemoteIP="203.0.113.7") == Peer("Four", "", Importance.HIGH, 1_796_104_800_000)
    assert found(RemoteIP="203.0.113.7", ConnectionName="TO-CONTOSO") == Peer("By name", "http://wiki/vpn")
    assert found(RemoteIP="203.0.113.7", ConnectionName="another") == found(RemoteIP="203.0.113.7")
    assert found() is None


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("[]", "IKESTREAM_PEERS must be a JSON object"),
        ('{"a": 5}', "IKESTREAM_PEERS['a'] must be an object"),
        ('{"": {}}', "IKESTREAM_PEERS, entry 0: a remote IP"),
        ('{"203.0.113.7": {"muteuntil": ""}}', "IKESTREAM_PEERS['203.0.113.7'].muteuntil is not known"),
        ('{"203.0.113.7": {"muteUntil": "2026-12-01T06:00"}}', "IKESTREAM_PEERS['203.0.113.7'].muteUntil"),
        ('{"203.0.113.7": {"muteUntil": "tomorrow"}}', "IKESTREAM_PEERS['203.0.113.7'].muteUntil must be a time"),
        ('{"203.0.113.7": {"runbook": "javascript:alert(1)"}}', "IKESTREAM_PEERS['203.0.113.7'].runbook"),
        ('{"203.0.113.7": {"importance": "Huge"}}', "IKESTREAM_PEERS['203.0.113.7'].importance"),
        ('{"203.0.113.7": {"owner": 5}}', "IKESTREAM_PEERS['203.0.113.7'].owner"),
        ('{"2001:db8::7": {}, "2001:DB8:0::7": {}}', "IKESTREAM_PEERS['2001:DB8:0::7'] is there twice"),
    ],
)
def test_a_wrong_peer_is_named(given: str, named: str) -> None:
    with pytest.raises(BadSetting) as refused:
        notify.load_peers(given)
    assert str(refused.value).startswith(named)


# --- words --------------------------------------------------------------------------------------------------------


@given(st.text(), st.integers(1, 60))
def test_a_cut_never_divides_an_escape(text: str, limit: int) -> None:
    short = cut(text, limit, slack.escape)
    assert len(short) <= limit
    assert short == slack.escape(text) or (short.endswith("…") and slack.escape(text).startswith(short[:-1]))
    rest = short.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
    assert not set("&<>") & set(rest)


def test_what_moves_or_divides_text_is_written_out() -> None:
    assert visible("a\u2028b\u2029c\u202ed\u2066e\x85f\ufeffg\n") == (
        "a\\u2028b\\u2029c\\u202ed\\u2066e\\u0085f\\ufeffg\n"
    )


@given(st.text())
def test_nothing_hides_in_what_is_shown(text: str) -> None:
    shown = visible(text)
    assert not {c for c in shown if not c.isprintable() and unicodedata.category(c) != "Zs"} - {"\n"}
    assert not set("\u202e\u200b\x1b\r\x00\u2028") & set(shown)
    assert not teams.escape(shown).count("{{")


def test_a_message_of_a_drill_says_so(authority: Authority, receiver: Receiver) -> None:
    sent(webhook(receiver, authority, Format.SLACK, drills=True), [opened(Drill=True)])
    assert receiver.bodies[0]["text"].startswith("Drill, nothing is broken. Open: ")
    assert Message(row(), Why.OPENED).resolved is False


def test_the_emulator_refuses_what_the_table_would_lose(ingestion: Ingestion) -> None:
    good = orjson.loads(orjson.dumps(ROW))
    assert ingestion.fits(good, ingestion.streams[ingestion.stream])
    for wrong in ({"Attempts": "1"}, {"Drill": 1}, {"Legs": "[]"}, {"Summary": "x" * 70_000}, {"Unknown": None}):
        assert not ingestion.fits(good | wrong, ingestion.streams[ingestion.stream])
    assert not ingestion.fits({name: good[name] for name in list(good)[1:]}, ingestion.streams[ingestion.stream])
    assert typed("2026-01-01T00:00:00Z", "datetime")
