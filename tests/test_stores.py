"""One contract, two stores: memory, and Azure Table storage as Azurite plays it, by Microsoft's own client.

Law 3 stands on this: what a write said it wrote is there, and of two who decide on the same version one is told.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ikestream.stores import MAX_BODY, Conflict, Delete, Document, Put, Store, TooLarge, Unavailable, tables
from ikestream.stores.keys import MAX_KEY, decode, encode
from ikestream.stores.memory import Memory
from tests.emulators.azurite import ACCOUNT, KEY, Azurite, missing

Open = Callable[[], Store]
GATEWAY = (
    "/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg-lab/providers"
    "/microsoft.network/virtualnetworkgateways/vng-west"
)
ODD_KEYS = [
    GATEWAY,
    GATEWAY.replace("/", "|"),
    "203.0.113.7",
    "203.0.113.7!told",
    "2001:db8::1",
    "fe80::1%eth0",
    "_gateway",
    "o'brien",
    "''",
    'say "hi"',
    "100%",
    "%27 or 1 eq 1",
    "a\\b#c?d",
    "a+b&c=d",
    " leading and trailing ",
    "groß",
    "東京",
    "\U0001f600",
    "\uffff",
    "~",
    ".~2f",
    "tab\tnul\0del\x7fnel\x85",
    "",
]
names = count()

# The client hands its bytes to aiohttp as they are; a megabyte to the loopback keeps nobody waiting.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    if reason := missing():
        pytest.skip(reason)
    with Azurite(tmp_path_factory.mktemp("azurite")) as running:
        yield running


@pytest.fixture(params=["memory", "tables"])
def store(request: pytest.FixtureRequest) -> Open:
    """Return what opens one and the same empty store; in Azurite, as another worker would."""
    if request.param == "memory":
        memory = Memory()
        return lambda: memory
    return in_azurite(request.getfixturevalue("azurite"))


def in_azurite(azurite: Azurite) -> Open:
    name = f"t{next(names)}x{os.getpid()}"
    return lambda: tables.with_connection_string(azurite.connection_string, name)


def run(open_: Open, story: Callable[[Store], Awaitable[None]]) -> None:
    async def whole() -> None:
        store = open_()
        try:
            await story(store)
        finally:
            await store.close()

    asyncio.run(whole())


async def rows(store: Store, partition: str = "p", limit: int | None = None) -> list[Document]:
    return [document async for document in store.read(partition, limit)]


async def bodies(store: Store, partition: str = "p") -> dict[str, bytes]:
    return {document.row: document.body for document in await rows(store, partition)}


# --- one document -------------------------------------------------------------------------------------------------


def test_nothing_is_there_before_something_is_written(store: Open) -> None:
    async def story(store: Store) -> None:
        assert await rows(store) == []
        assert await store.write("p", []) == []
        assert await store.write("p", [Delete("r")]) == [""]
        assert await store.write("p", [Delete("r"), Delete("s")]) == ["", ""]

    run(store, story)


def test_what_is_written_is_read_with_the_etag_that_the_write_returned(store: Open) -> None:
    async def story(store: Store) -> None:
        [first] = await store.write("p", [Put("r", b"one")])
        assert await rows(store) == [Document("p", "r", b"one", first)]
        # An update takes pieces of a longer body away.
        [second] = await store.write("p", [Put("r", b"", first)])
        assert await rows(store) == [Document("p", "r", b"", second)]
        assert first != second
        assert await rows(store, "q") == []

    run(store, story)


def test_another_worker_reads_what_was_written(store: Open) -> None:
    other = store()

    async def story(store: Store) -> None:
        await store.write("p", [Put("r", b"one")])
        assert await bodies(other) == {"r": b"one"}
        await other.close()

    run(store, story)


@pytest.mark.parametrize("beside", [[], [Put("beside", b"new")]], ids=["alone", "in a transaction"])
def test_a_version_that_is_not_there_is_a_conflict(store: Open, beside: list[Put]) -> None:
    async def story(store: Store) -> None:
        [first] = await store.write("p", [Put("r", b"one", etag="")])
        [second] = await store.write("p", [Put("r", b"two", etag=first)])
        for change in (
            Put("r", b"mine", etag=""),  # there is one
            Put("r", b"mine", etag=first),  # it was replaced
            Put("gone", b"mine", etag=second),  # there is none
        ):
            with pytest.raises(Conflict):
                await store.write("p", [*beside, change])
        assert await bodies(store) == {"r": b"two"}  # and nothing of what stood beside it
        [third] = await store.write("p", [Put("r", b"three")])  # whatever is there
        assert third not in (first, second)
        assert await store.write("p", [Delete("r")]) == [""]
        await store.write("p", [Put("r", b"again", etag="")])
        assert await bodies(store) == {"r": b"again"}

    run(store, story)


def test_a_body_that_does_not_compress_is_kept_whole(store: Open) -> None:
    body = random.Random(1).randbytes(800_000)

    async def story(store: Store) -> None:
        await store.write("p", [Put("r", body)])
        assert await bodies(store) == {"r": body}
        await store.write("p", [Put("s", b"."), Put("r", body[:MAX_BODY])])
        await store.write("p", [Put("r", b"short")])
        assert await bodies(store) == {"r": b"short", "s": b"."}

    run(store, story)


@pytest.mark.parametrize(
    "body", [b"." * (MAX_BODY + 1), random.Random(2).randbytes(MAX_BODY + 1)], ids=["text", "noise"]
)
def test_a_body_that_is_too_large_is_refused_before_anything_is_sent(store: Open, body: bytes) -> None:
    async def story(store: Store) -> None:
        with pytest.raises(TooLarge, match="'r'"):
            await store.write("p", [*(Put(f"{n}", b".") for n in range(100)), Put("r", body)])
        assert await rows(store) == []
        largest = random.Random(3).randbytes(MAX_BODY)
        await store.write("p", [Put("r" * 400, largest)])
        assert await bodies(store) == {"r" * 400: largest}

    run(store, story)


# --- several documents --------------------------------------------------------------------------------------------


def test_a_deletion_of_what_is_gone_stops_nothing_else_in_its_transaction(store: Open) -> None:
    async def story(store: Store) -> None:
        [etag] = await store.write("p", [Put("r", b"one")])
        etags = await store.write(
            "p", [Delete("no"), Put("a", b"a", etag=""), Delete("nor"), Put("r", b"two", etag=etag), Delete("neither")]
        )
        assert [bool(etag) for etag in etags] == [False, True, False, True, False]
        assert {document.row: document.etag for document in await rows(store)} == {"a": etags[1], "r": etags[3]}
        assert await bodies(store) == {"a": b"a", "r": b"two"}
        # One that is there and one that is not; and the conflict of another row still undoes all of it.
        with pytest.raises(Conflict):
            await store.write("p", [Delete("no"), Delete("a"), Put("r", b"three", etag="")])
        assert await bodies(store) == {"a": b"a", "r": b"two"}
        assert await store.write("p", [Delete("no"), Delete("a"), Delete("r")]) == ["", "", ""]
        assert await rows(store) == []

    run(store, story)


def test_more_than_a_transaction_holds_is_written_in_order(store: Open) -> None:
    async def story(store: Store) -> None:
        etags = await store.write("p", [Put(f"{n:03}", b"%d" % n, "") for n in range(205)])
        assert await rows(store) == [Document("p", f"{n:03}", b"%d" % n, etags[n]) for n in range(205)]
        # Over a page's end as well.
        assert [document.row for document in await rows(store, limit=101)] == [f"{n:03}" for n in range(101)]

    run(store, story)


def test_one_row_twice_in_one_write_is_written_in_order(store: Open) -> None:
    async def story(store: Store) -> None:
        etags = await store.write("p", [Put("r", b"one"), Put("s", b"s"), Delete("r"), Put("r", b"two", etag="")])
        assert [etag != "" for etag in etags] == [True, True, False, True]
        assert await bodies(store) == {"r": b"two", "s": b"s"}

    run(store, story)


@pytest.mark.parametrize("sizes", [[880_000] * 3, [32_000] * 90], ids=["few large", "many"])
def test_as_much_as_a_transaction_holds_is_all_or_nothing(store: Open, sizes: list[int]) -> None:
    # 2.6 MB and 2.9 MB that do not compress; the service takes 4 MiB of base64.
    noise = random.Random(4)
    puts = [Put(f"{place:02}", noise.randbytes(size)) for place, size in enumerate(sizes)]

    async def story(store: Store) -> None:
        await store.write("p", [Put(puts[-1].row, b"there")])
        with pytest.raises(Conflict):
            await store.write("p", [*puts[:-1], Put(puts[-1].row, puts[-1].body, etag="")])
        assert await bodies(store) == {puts[-1].row: b"there"}
        await store.write("p", puts)
        assert await bodies(store) == {put.row: put.body for put in puts}

    run(store, story)


def test_more_bytes_than_a_transaction_holds_are_written_in_several(store: Open) -> None:
    noise = random.Random(5)
    puts = [Put(f"{n}", noise.randbytes(890_000)) for n in range(5)]

    async def story(store: Store) -> None:
        await store.write("p", puts)
        assert await bodies(store) == {put.row: put.body for put in puts}

    run(store, story)


# --- keys, order, limits ------------------------------------------------------------------------------------------


def test_odd_keys_are_kept_and_read_in_order_of_code_point(store: Open) -> None:
    async def story(store: Store) -> None:
        shuffled = random.Random(6).sample(ODD_KEYS, len(ODD_KEYS))
        for partition in (f"{GATEWAY}/2", "100% o'brien 東京"):
            await store.write(partition, [Put(key, key.encode()) for key in shuffled])
            assert [document.row for document in await rows(store, partition)] == sorted(ODD_KEYS)
            assert {(document.partition, document.body) for document in await rows(store, partition)} == {
                (partition, key.encode()) for key in ODD_KEYS
            }
        # Each alone: the keys then stand in an address of their own, which is quoted in another way.
        for key in ODD_KEYS:
            [etag] = await store.write(key, [Put(key, b"one", etag="")])
            await store.write(key, [Put(key, b"two", etag=etag)])
            assert await bodies(store, key) == {key: b"two"}
            await store.write(key, [Delete(key)])
            assert await rows(store, key) == []

    run(store, story)


@given(st.lists(st.text(st.characters(codec=None, categories=None)), min_size=2, max_size=20))
def test_encoded_keys_are_printable_and_sort_as_the_keys_do(keys: list[str]) -> None:
    written = [encode(key) for key in keys]
    assert [decode(one) for one in written] == keys
    assert sorted(written) == [encode(key) for key in sorted(keys)]
    for one in written:
        assert one.isascii()
        assert one.isprintable()
        assert not set("/\\#?%'\"`") & set(one)
        assert not one.endswith(" ")


@given(
    st.lists(st.sampled_from("./0-~ }{|!é\x00"), max_size=4), st.lists(st.sampled_from("./0-~ }{|!é\x00"), max_size=4)
)
def test_encoded_keys_of_neighbours_sort_as_the_keys_do(one: list[str], other: list[str]) -> None:
    a, b = "".join(one), "".join(other)
    assert (a < b) == (encode(a) < encode(b))


@pytest.mark.parametrize("written", ["/", "a/b", "~", ".~2F", ".~2", ".~30", " 2", "é", "!~23~", "}41", "%2f"])
def test_a_key_that_this_store_never_wrote_is_no_key(written: str) -> None:
    with pytest.raises(ValueError, match=r"not a key|surrogates|utf-8"):
        decode(written)


def test_limit_is_the_most_that_is_read(store: Open) -> None:
    async def story(store: Store) -> None:
        await store.write("p", [Put(row, b".") for row in "dcba"])
        for limit in (0, 1, 3, 4, 5):
            assert [document.row for document in await rows(store, limit=limit)] == list("abcd")[:limit]

    run(store, story)


# --- several at a time --------------------------------------------------------------------------------------------


def test_of_writers_on_one_document_none_loses_what_it_wrote(store: Open) -> None:
    conflicts = 0

    async def increment(store: Store) -> None:
        nonlocal conflicts
        while True:
            found = {document.row: document for document in await rows(store)}
            old = found.get("r")
            changes = [Put("r", b"%d" % (int(old.body if old else 0) + 1), etag=old.etag if old else "")]
            try:
                await store.write("p", changes)
            except Conflict:
                conflicts += 1
                await asyncio.sleep(random.Random(conflicts).random() / 50)
            else:
                return

    async def story(store: Store) -> None:
        await asyncio.gather(*(increment(store) for _ in range(20)))
        assert await bodies(store) == {"r": b"20"}

    run(store, story)


def test_a_reader_sees_no_transaction_half_done(store: Open) -> None:
    async def story(store: Store) -> None:
        async def write() -> None:
            for n in range(20):
                await store.write("p", [Put(row, b"%d" % n) for row in "abc"])

        async def look() -> None:
            while not writing.done():
                found = await bodies(store)
                assert len(set(found.values())) <= 1, found
                assert len(found) in (0, 3)

        writing = asyncio.create_task(write())
        await asyncio.gather(writing, look())

    run(store, story)


# --- trouble ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def connected(text: str, table: str) -> AsyncIterator[tables.Tables]:
    store = tables.with_connection_string(text, table)
    try:
        yield store
    finally:
        await store.close()


def harmless(problem: BaseException) -> str:
    """Return what a problem says, having looked that it is one line without a secret and drags no other along."""
    text = f"{problem} {problem!r}"
    assert "\n" not in text
    assert KEY not in text
    assert "sig=" not in text
    assert "secret" not in text
    assert problem.__cause__ is None
    assert problem.__suppress_context__ or problem.__context__ is None
    return str(problem)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "BACKOFF", 0.01)


@pytest.mark.usefixtures("quick")
def test_a_store_that_is_down_is_unavailable_and_works_again_once_it_is_up(tmp_path: Path) -> None:
    if reason := missing():
        pytest.skip(reason)

    async def story(azurite: Azurite) -> None:
        async with connected(azurite.connection_string, "ikestream") as store:
            [etag] = await store.write("p", [Put("r", b"one")])
            azurite.restart()
            assert await bodies(store) == {"r": b"one"}
            azurite.kill()
            for change in ([Put("r", b"two", etag=etag)], [Put("r", b"two"), Put("s", b"two")], [Delete("r")]):
                with pytest.raises(Unavailable) as caught:
                    await store.write("p", change)
                assert "table ikestream at 127.0.0.1: ServiceRequestError" in harmless(caught.value)
            for question in (rows(store),):
                with pytest.raises(Unavailable) as caught:
                    await question
                harmless(caught.value)
            azurite.start()
            await store.write("p", [Put("r", b"two", etag=etag)])
            assert await bodies(store) == {"r": b"two"}

    with Azurite(tmp_path / "azurite") as azurite:
        asyncio.run(story(azurite))


def test_a_table_that_somebody_deleted_is_made_again(azurite: Azurite) -> None:
    from azure.data.tables.aio import TableClient

    async def story() -> None:
        async with connected(azurite.connection_string, "deleted") as store:
            for changes in (
                [Put("r", b"one")],
                [Put("r", b"one", etag=""), Put("s", b"two")],
                [Delete("q"), Delete("r")],
            ):
                await store.write("p", [Put("old", b".")])
                async with TableClient.from_connection_string(azurite.connection_string, "deleted") as client:
                    await client.delete_table()
                await store.write("p", changes)
                assert await bodies(store) == {put.row: put.body for put in changes if isinstance(put, Put)}

    asyncio.run(story())


def test_workers_that_start_together_make_one_table(azurite: Azurite) -> None:
    open_ = in_azurite(azurite)

    async def story() -> None:
        workers = [open_() for _ in range(5)]
        await asyncio.gather(*(worker.write("p", [Put(f"{n}", b".")]) for n, worker in enumerate(workers)))
        assert len(await rows(workers[0])) == 5
        await asyncio.gather(*(worker.close() for worker in workers))

    asyncio.run(story())


@pytest.mark.usefixtures("quick")
def test_a_wrong_key_is_not_allowed_and_never_shown(azurite: Azurite) -> None:
    wrong = azurite.connection_string.replace(KEY, "d3Jvbmcgc2VjcmV0IGtleQ==")

    async def story() -> None:
        async with connected(wrong, "ikestream") as store:
            for question in (
                rows(store),
                store.write("p", [Put("r", b".")]),
                store.write("p", [Put("r", b".", etag="")]),
                store.write("p", [Put("r", b"."), Delete("s")]),
            ):
                with pytest.raises(
                    Unavailable, match=r"not allowed \(403 AuthorizationFailure\).*Storage Table Data"
                ) as caught:
                    await question
                assert "d3Jvbmcg" not in harmless(caught.value)
            assert "d3Jvbmcg" not in repr(store)

    asyncio.run(story())


@pytest.mark.usefixtures("quick")
def test_a_signature_in_a_connection_string_is_never_shown(azurite: Azurite) -> None:
    signed = (
        f"TableEndpoint=http://127.0.0.1:{azurite.ports[2]}/{ACCOUNT};SharedAccessSignature=sv=2019-02-02&sig=c2VjcmV0"
    )

    async def story() -> None:
        for text in (signed, signed.replace("127.0.0.1", "nowhere.invalid")):
            async with connected(text, "ikestream") as store:
                for question in (rows(store), store.write("p", [Put("r", b"."), Put("s", b".")])):
                    with pytest.raises(Unavailable) as caught:
                        await question
                    assert "c2VjcmV0" not in harmless(caught.value)

    asyncio.run(story())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "AccountName=a",
        "AccountKey=c2VjcmV0",
        "TableEndpoint=https://a/",
        "SharedAccessSignature=sig=c2VjcmV0",
        ";=;",
    ],
)
def test_a_connection_string_that_cannot_be_one_is_refused_at_once(text: str) -> None:
    with pytest.raises(ValueError, match="must hold AccountName") as caught:
        tables.with_connection_string(text)
    assert "c2VjcmV0" not in harmless(caught.value)


@pytest.mark.parametrize("name", ["", "ab", "1abc", "ike-stream", "a" * 64])
def test_a_name_that_no_table_can_have_is_refused_at_once(name: str) -> None:
    with pytest.raises(ValueError, match="3 to 63 letters"):
        tables.with_connection_string(f"AccountName=a;AccountKey={KEY}", name)


def test_keys_that_azure_never_takes_are_refused(azurite: Azurite) -> None:
    key = "/" * (MAX_KEY // 4 + 1)

    async def story(store: Store) -> None:
        with pytest.raises(TooLarge, match="more than 1024"):
            await store.write("p", [Put(key, b".")])
        with pytest.raises(TooLarge, match="more than 1024"):
            await store.write(key, [Put("r", b".")])
        assert await rows(store, key) == []

    run(in_azurite(azurite), story)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Format": 2}, "has format 2, not 1"),
        ({"Format": None}, "has format None, not 1"),
        ({"b0": b"another"}, "is damaged"),
        ({"b0": None}, "is damaged"),
        ({"RowKey": "~"}, "was written by something else"),
    ],
)
def test_a_row_that_another_hand_changed_is_named_and_not_believed(
    azurite: Azurite, change: dict[str, object], message: str
) -> None:
    from azure.data.tables.aio import TableClient

    name = f"changed{next(names)}"

    async def story() -> None:
        async with connected(azurite.connection_string, name) as store:
            await store.write("p", [Put("r", b"body")])
            entity = {
                "PartitionKey": "p",
                "RowKey": "r",
                "Format": 1,
                "Length": 4,
                "b0": b"body",
                **change,
            }
            async with TableClient.from_connection_string(azurite.connection_string, name) as client:
                await client.upsert_entity(
                    {key: value for key, value in entity.items() if value is not None}, "replace"
                )
            with pytest.raises(Unavailable, match=message) as caught:
                await rows(store)
            harmless(caught.value)

    asyncio.run(story())


def test_what_the_service_itself_finds_too_large_is_refused_for_good(
    azurite: Azurite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MAX_BODY", 2_000_000)
    monkeypatch.setattr(tables, "REQUEST", 10_000_000)
    noise = random.Random(7).randbytes(1_900_000)

    async def story(store: Store) -> None:
        for changes, code in (
            ([Put("r", noise)], "EntityTooLarge"),
            ([Put("r", noise), Put("s", noise)], "RequestBodyTooLarge"),
        ):
            with pytest.raises(TooLarge, match=code) as caught:
                await store.write("p", changes)
            harmless(caught.value)
        monkeypatch.setattr(tables, "PIECE", 65 * 1024)
        with pytest.raises(TooLarge, match="PropertyValueTooLarge"):
            await store.write("p", [Put("r", noise[:100_000])])
        assert await rows(store) == []

    run(in_azurite(azurite), story)


class Wire:
    """Between the store and Azurite: it can swallow the answer of the next write, as a cut connection does."""

    def __init__(self, port: int) -> None:
        self.beyond = port
        self.swallow = False
        self.swallowed = 0

    async def listen(self) -> asyncio.Server:
        server = await asyncio.start_server(self.carry, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.beyond)

        async def forth() -> None:
            while data := await reader.read(65536):
                there_writer.write(data)
            there_writer.close()

        asking = asyncio.create_task(forth())
        while data := await there_reader.read(65536):
            if self.swallow:
                self.swallow = False
                self.swallowed += 1
                break
            writer.write(data)
        asking.cancel()
        there_writer.close()
        writer.close()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        # The client asks again where that can be done, and meets its own first try.
        ([Put("r", b"two", etag="now")], Conflict),
        # What does not look at versions is simply done twice.
        ([Put("r", b"two")], None),
        ([Delete("r")], None),
        # An insert and a transaction are not sent twice over a lost connection: nobody knows.
        ([Put("new", b"two", etag="")], Unavailable),
        ([Put("r", b"two", etag="now"), Put("new", b"two", etag="")], Unavailable),
    ],
    ids=["update", "upsert", "delete", "insert", "transaction"],
)
def test_a_write_whose_answer_is_lost_has_happened(
    azurite: Azurite, changes: list[Put | Delete], told: type[Exception] | None
) -> None:
    async def story() -> None:
        wire = Wire(azurite.ports[2])
        server = await wire.listen()
        text = azurite.connection_string.replace(f":{azurite.ports[2]}/", f":{wire.port}/")
        async with connected(text, f"lost{next(names)}") as store:
            [etag] = await store.write("p", [Put("r", b"one")])
            sent = [
                Put(change.row, change.body, etag=etag) if isinstance(change, Put) and change.etag == "now" else change
                for change in changes
            ]
            wire.swallow = True
            heard: type[Exception] | None = None
            try:
                await store.write("p", sent)
            except (Conflict, Unavailable) as problem:
                heard = type(problem)
                harmless(problem)
            assert heard is told
            assert wire.swallowed == 1
            expected = {"r": b"one"} | {change.row: b"two" for change in sent if isinstance(change, Put)}
            assert await bodies(store) == (expected if not isinstance(sent[0], Delete) else {})
        server.close()

    asyncio.run(story())


# --- both -----------------------------------------------------------------------------------------------------------

CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abc"), st.binary(max_size=20)),
        st.tuples(st.just("insert"), st.sampled_from("abc"), st.binary(max_size=20)),
        st.tuples(st.just("update"), st.sampled_from("abc"), st.binary(max_size=20)),
        st.tuples(st.just("stale"), st.sampled_from("abc"), st.binary(max_size=20)),
        st.tuples(st.just("delete"), st.sampled_from("abc"), st.just(b"")),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda change: change[1],  # one row twice is two transactions, of which the first may be written
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(writes=st.lists(st.tuples(st.sampled_from(["p", "/q"]), CHANGES), max_size=8))
def test_both_stores_end_with_the_same_after_the_same_writes(
    azurite: Azurite, writes: list[tuple[str, list[tuple[str, str, bytes]]]]
) -> None:
    async def play(store: Store) -> list[object]:
        told: list[object] = []
        first: dict[tuple[str, str], str] = {}  # the etag each row had when it was first written
        for partition, changes in writes:
            there = {document.row: document.etag for document in await rows(store, partition)}
            made: list[Put | Delete] = []
            for kind, row, body in changes:
                stale = first.get((partition, row), "")
                etag = {"insert": "", "update": there.get(row, ""), "stale": stale}.get(kind)
                made.append(Delete(row) if kind == "delete" else Put(row, body, etag))
            try:
                etags = await store.write(partition, made)
            except Conflict:
                told.append("conflict")
            else:
                told.append([bool(etag) for etag in etags])
                for change, etag in zip(made, etags, strict=True):
                    first.setdefault((partition, change.row), etag)
        found = await rows(store, "p") + await rows(store, "/q")
        told += [(document.partition, document.row, document.body) for document in found]
        await store.close()
        return told

    assert asyncio.run(play(in_azurite(azurite)())) == asyncio.run(play(Memory()))
