"""How far the hub is written, asked with the real SDK; and what may be concluded from that (law 4)."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ikestream import hub as module
from ikestream import settings
from ikestream.estate import Estate
from ikestream.hub import Hub, Unreachable, identity
from tests.emulators.hub import KEY, LocalHub

CLIENT_ID = "11111111-2222-3333-4444-555555555555"


@pytest.fixture(scope="module")
def local() -> Iterator[LocalHub]:
    with LocalHub({"vpn": 3}) as local:
        yield local


def configured(local: LocalHub, name: str = "vpn") -> settings.Settings:
    return settings.load(
        {
            settings.CONNECTION: local.connection_string(),
            settings.HUB_NAME: name,
            settings.CONSUMER_GROUP: "ikestream",
        }
    )


# --- asked --------------------------------------------------------------------------------------------------------


def test_heads_are_the_last_sequence_numbers_and_the_client_is_used_again(local: LocalHub) -> None:
    async def ask() -> None:
        hub = Hub(configured(local))
        assert await hub.heads() == {"0": -1, "1": -1, "2": -1}
        for partition, count in (("0", 1), ("2", 3)):
            for _ in range(count):
                local.put("vpn", partition, b"{}")
        before = local.broker.opened
        assert await hub.heads() == {"0": 0, "1": -1, "2": 2}
        assert local.broker.opened - before == 1 + 3  # a question, a connection: the SDK keeps none
        local.hubs["vpn"][2].expired = True
        assert await hub.heads() == {"0": 0, "1": -1, "2": -1}
        local.hubs["vpn"][2].expired = False
        await hub.close()

    asyncio.run(ask())


def test_a_hub_that_does_not_answer_is_given_up_and_the_next_question_starts_anew(
    local: LocalHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask() -> None:
        hub = Hub(configured(local))
        with monkeypatch.context() as impatient:
            impatient.setattr(module, "PATIENCE", 0.8)
            local.broker.silent = True
            with pytest.raises(Unreachable) as silent:
                await hub.heads()
        assert str(silent.value) == "no answer within 0.8 s"
        local.broker.silent = False
        assert set(await hub.heads()) == {"0", "1", "2"}
        await hub.close()

    asyncio.run(ask())


@pytest.mark.parametrize("refused", ["", "1"], ids=["of the hub", "of one partition"])
def test_a_refusal_is_said_on_one_line_without_the_key(local: LocalHub, refused: str) -> None:
    local.broker.refusals[refused] = (401, "Unauthorized access.\n'Listen' claim(s) are required")
    try:
        with pytest.raises(Unreachable, match=r"^AuthenticationError: ") as said:
            asyncio.run(Hub(configured(local)).heads())
    finally:
        local.broker.refusals.clear()
    assert "\n" not in str(said.value)
    assert KEY not in str(said.value)


def test_a_hub_that_is_not_there_is_named(local: LocalHub) -> None:
    with pytest.raises(Unreachable, match="404"):
        asyncio.run(Hub(configured(local, name="nowhere")).heads())


def test_a_host_that_is_not_there_and_an_identity_that_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    names = {settings.HUB_NAME: "vpn", settings.CONSUMER_GROUP: "g", settings.CREDENTIAL: "managedidentity"}

    async def ask() -> None:
        hub = Hub(settings.load(names | {settings.NAMESPACE: "127.0.0.1"}))
        with pytest.raises(Unreachable, match=r"^ConnectError: "):
            await hub.heads()

    asyncio.run(ask())


class IdentityEndpoint(BaseHTTPRequestHandler):
    """What App Service answers to an app that asks for a token of its managed identity."""

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query)
        known = self.headers["X-IDENTITY-HEADER"] == "of this app" and asked.get("client_id") == [CLIENT_ID]
        (resource,) = asked["resource"]
        answer = {
            "access_token": f"for {resource}",
            "expires_on": "9999999999",
            "resource": resource,
            "token_type": "Bearer",
        }
        self.send_response(200 if known else 400)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer if known else {}).encode())

    def log_message(self, *_: object) -> None:
        pass


def test_the_managed_identity_of_the_settings_is_asked_for_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what requirements.txt installs: the SDK's asynchronous credentials need a transport it does not bring."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), IdentityEndpoint)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{server.server_port}/token")
        monkeypatch.setenv("IDENTITY_HEADER", "of this app")
        found = settings.load({settings.CREDENTIAL: "managedidentity", settings.CLIENT_ID: CLIENT_ID})

        async def token() -> str:
            async with identity(found) as credential:
                return (await credential.get_token("https://eventhubs.azure.net//.default")).token

        assert asyncio.run(token()).startswith("for https://eventhubs.azure.net")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# --- and concluded from -------------------------------------------------------------------------------------------


def test_an_unread_backlog_holds_the_watermark_back() -> None:
    store = Estate()
    store.read("0", 4, enqueued=1_000)
    store.read("1", 9, enqueued=2_000)
    assert store.watermark({"0": 7, "1": 9}, now=50_000) == 1_000
    store.read("0", 7, enqueued=3_000)
    assert store.watermark({"0": 7, "1": 9}, now=50_000) == 50_000


def test_an_empty_partition_holds_nothing_back() -> None:
    assert Estate().watermark({"0": -1, "1": -1}, now=5) == 5


def test_a_partition_never_read_here_holds_back_everything() -> None:
    store = Estate()
    store.read("0", 4, enqueued=1_000)
    assert store.watermark({"0": 4, "1": 0}, now=50_000) is None
    assert store.unseen({"0": 4, "1": 0}) == ["1"]


def test_no_partition_known_is_nothing_known() -> None:
    assert Estate().watermark({}, now=5) is None


def test_a_new_event_in_a_quiet_partition_does_not_take_the_watermark_back() -> None:
    # What was concluded at 50,000 must not be judged again as of 1,000: it would be withdrawn.
    store = Estate()
    store.read("0", 4, enqueued=1_000)
    assert store.watermark({"0": 4, "1": -1}, now=50_000) == 50_000
    assert store.watermark({"0": 5, "1": 0}, now=65_000) == 50_000
    assert store.unseen({"0": 5, "1": 0}) == []


def test_redelivery_does_not_take_a_partition_back() -> None:
    store = Estate()
    store.read("0", 4, enqueued=2_000)
    store.read("0", 2, enqueued=1_000)
    assert store.watermark({"0": 5}, now=50_000) == 2_000


def test_without_a_hub_all_that_came_is_all_there_is() -> None:
    store = Estate()
    store.read("0", 4, enqueued=1_000)
    assert store.watermark(store.heads(), now=50_000) == 50_000


@given(st.lists(st.tuples(st.sampled_from("erta"), st.integers(0, 2)), max_size=60))
def test_nothing_is_ever_concluded_over_an_unread_event(steps: list[tuple[str, int]]) -> None:
    """Events are enqueued and read, the hub is asked and the tick concludes, in any order."""
    store, now, last, begun = Estate(), 0, 0, 0
    enqueued: list[list[int]] = [[], [], []]
    read = [0, 0, 0]
    heads: dict[str, int] = {}
    for step, place in steps:
        now += 10
        if step == "e":
            enqueued[place].append(now)
        elif step == "r" and read[place] < len(enqueued[place]):
            store.read(str(place), read[place], enqueued[place][read[place]])
            read[place] += 1
        elif step == "a":
            begun = begun or now
            heads = {str(p): len(enqueued[p]) - 1 for p in range(3)}
        elif step == "t" and heads:
            watermark = store.watermark(heads, begun)
            begun, heads = 0, {}
            if watermark is not None:
                assert last <= watermark <= now
                last = watermark
                unread = [at for p in range(3) for at in enqueued[p][read[p] :]]
                assert all(at >= watermark for at in unread)
