"""The inventory as Azure Resource Manager lists it, over HTTPS, with pages, throttling, missing rights and garbage."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from random import Random
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError

from ikestream import codec
from ikestream.inventory import Connection, Connections, Inventory, renew, resource_manager
from ikestream.inventory.files import load
from ikestream.inventory.resource_manager import Reading, ResourceManager
from tests.emulators import resource_manager as emulator
from tests.emulators.https import SECRET, Answer, Authority
from tests.emulators.ingestion import TOKEN
from tests.emulators.resource_manager import INVENTORIES, stored

SUBSCRIPTION = "/subscriptions/00000000-0000-0000-0000-000000000001"
RG, SITES, WAN = (f"{SUBSCRIPTION}/resourceGroups/{name}" for name in ("RG", "rg-sites", "rg-wan"))
LAB = f"{RG}/providers/Microsoft.Network/virtualNetworkGateways/vng-lab"
VPN_HUB = f"{WAN}/providers/Microsoft.Network/vpnGateways/vpngw-hub"


class Identity:
    """Hands out one token and notes for what."""

    def __init__(self, failing: Exception | None = None) -> None:
        self.scopes: list[str] = []
        self._failing = failing

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.scopes += scopes
        if self._failing:
            raise self._failing
        return AccessToken(TOKEN, int(time.time()) + 86_400)

    async def close(self) -> None:
        pass

    async def __aenter__(self) -> Identity:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def azure(authority: Authority) -> Iterator[emulator.ResourceManager]:
    with emulator.ResourceManager(authority, stored("az", "virtual-wan")) as running:
        yield running


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource_manager, "BACKOFF", 0.01)


@pytest.fixture
def read(azure: emulator.ResourceManager, authority: Authority) -> Any:
    def reading(
        *scopes: str, identity: Identity | None = None, answer: float = 5.0, endpoint: str = "", region: str = ""
    ) -> Reading:
        async def once() -> Reading:
            client = ResourceManager(
                endpoint or azure.origin,
                identity or Identity(),
                region=region,
                trust=str(authority.ca),
                answer=answer,
            )
            try:
                return await client.read(scopes)
            finally:
                await client.close()
                await asyncio.sleep(0.01)  # its connections are let go by the loop, too

        return asyncio.run(once())

    return reading


def of(reading: Reading) -> Inventory:
    return renew(Inventory(), reading.listings, 0)


def connections(reading: Reading, gateway: str) -> dict[str, Connection]:
    (listing,) = (one for one in reading.listings if one.gateway.id.lower() == gateway.lower())
    return {c.name: c for c in listing.connections}


# --- what is read -------------------------------------------------------------------------------------------------


def test_what_is_read_is_what_the_files_of_az_say(read: Any) -> None:
    reading = read(RG, WAN)

    assert reading.troubles == ()
    assert (reading.unread, reading.partial) == (frozenset(), frozenset())
    inventory, missing = load([INVENTORIES / "az", INVENTORIES / "virtual-wan"])
    assert missing == ()
    assert len(inventory.gateways) == 3
    assert of(reading) == inventory


def test_pages_are_turned_to_the_last(azure: emulator.ResourceManager, read: Any) -> None:
    whole = read(RG)
    for size in (1, 3, 100):
        azure.page = size
        assert read(RG) == whole


def test_a_gateway_by_its_id_is_read_with_its_connections_and_no_other(
    azure: emulator.ResourceManager, read: Any
) -> None:
    reading = read(LAB, VPN_HUB)

    assert {listing.gateway.name for listing in reading.listings} == {"vng-lab", "vpngw-hub"}
    whole = read(RG, WAN)
    assert [one for one in whole.listings if one.gateway.name != "vng-hub"] == list(reading.listings)


def test_gateways_of_another_region_stream_to_another_app(azure: emulator.ResourceManager, read: Any) -> None:
    azure.resources[LAB.lower()]["location"] = "northeurope"
    assert [one.gateway.name for one in read(RG, region="West Europe").listings] == ["vng-hub"]
    assert [one.gateway.name for one in read(RG, region="North Europe").listings] == ["vng-lab"]
    assert [one.gateway.name for one in read(LAB, region="West Europe").listings] == ["vng-lab"]  # somebody says so
    del azure.resources[LAB.lower()]["location"]
    assert len(read(RG, region="West Europe").listings) == 2


def test_a_connection_in_another_group_than_its_gateway_is_found(azure: emulator.ResourceManager, read: Any) -> None:
    elsewhere = moved(azure, "cn-seattle", "rg-elsewhere")
    seattle = connections(read(RG), LAB)["cn-seattle"]

    assert (seattle.id, seattle.remote) == (elsewhere, "203.0.113.7")
    assert seattle.dpd == 45  # which the list of the gateway's connections does not say


def moved(azure: emulator.ResourceManager, name: str, group: str) -> str:
    key = next(k for k in azure.resources if k.endswith(f"/connections/{name}"))
    resource = azure.resources.pop(key)
    resource["id"] = resource["id"].replace("/resourceGroups/RG/", f"/resourceGroups/{group}/")
    azure.add(resource)
    return str(resource["id"])


def test_a_gateway_that_names_its_public_addresses_is_told_which_they_are(
    azure: emulator.ResourceManager, read: Any
) -> None:
    before = of(read(RG))
    public = f"{SITES}/providers/Microsoft.Network/publicIPAddresses/pip-"
    for name in ("vng-lab", "vng-hub"):
        gateway = next(r for r in azure.resources.values() if r["name"] == name)
        addresses = [
            a for p in gateway["properties"]["bgpSettings"].pop("bgpPeeringAddresses") for a in p["tunnelIpAddresses"]
        ]
        gateway["properties"]["ipConfigurations"] = [
            {"name": a, "properties": {"publicIPAddress": {"id": public + a}}} for a in addresses
        ]
        azure.add(*({"id": public + a, "name": f"pip-{a}", "properties": {"ipAddress": a}} for a in addresses))
    after = of(read(RG))

    lab, hub = (after.gateways[key].gateway for key in sorted(after.gateways, reverse=True))
    assert lab is not None
    assert hub is not None
    assert (lab.addresses, hub.addresses) == (("192.0.2.4", "192.0.2.5"), ("192.0.2.40",))
    assert {v.connection.remote for v in after.of(LAB.lower()).versions} == {
        v.connection.remote for v in before.of(LAB.lower()).versions
    }


def test_nobody_asks_for_a_key_and_none_is_kept(azure: emulator.ResourceManager, read: Any) -> None:
    reading = read(RG, WAN, LAB)

    assert "not-for-anybody" in json.dumps(list(azure.resources.values()))
    assert "not-for-anybody" not in repr(reading)
    assert azure.paths
    assert not [path for path in azure.paths if "key" in path.lower()]


def test_the_token_is_for_the_endpoint(azure: emulator.ResourceManager, read: Any) -> None:
    identity = Identity()
    read(RG, identity=identity)

    assert set(identity.scopes) == {f"{azure.origin}/.default"}


def test_no_list_is_asked_for_twice(azure: emulator.ResourceManager, read: Any) -> None:
    azure.page = 1000
    read(RG, WAN, LAB)

    asked = [path.lower() for path in azure.paths]
    assert len(asked) == len(set(asked))


# --- what goes wrong ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_passes_is_tried_again(azure: emulator.ResourceManager, read: Any, status: int) -> None:
    whole = read(RG)
    azure.answer(status, Answer(status, {"Retry-After": "0"}))
    assert read(RG) == whole
    azure.answer(Answer(cut=True))
    assert read(RG) == whole


def test_a_wait_that_is_asked_for_is_kept(azure: emulator.ResourceManager, read: Any) -> None:
    azure.answer(Answer(429, {"Retry-After": "1"}))
    begun = time.monotonic()

    assert read(RG).troubles == ()
    assert time.monotonic() - begun >= 1


def test_a_long_wait_ends_the_reading_and_is_handed_on(
    azure: emulator.ResourceManager, read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource_manager, "AT_ONCE", 1)
    azure.answer(Answer(429, {"Retry-After": "300"}))
    begun = time.monotonic()
    reading = read(RG, WAN)

    assert time.monotonic() - begun < 5
    assert reading.wait == 300
    assert reading.listings == ()
    assert reading.unread == {RG.lower(), WAN.lower()}
    assert azure.requests == 1  # nothing else of the subscription is asked for


def test_what_fails_again_and_again_is_not_read(azure: emulator.ResourceManager, read: Any) -> None:
    azure.refuses = lambda path: 503 if path.lower().endswith("/virtualnetworkgateways/vng-lab/connections") else 0
    reading = read(RG)

    assert reading.unread == {LAB.lower()}
    assert [listing.gateway.name for listing in reading.listings] == ["vng-hub"]
    assert reading.troubles == ("virtualNetworkGateways/vng-lab/connections of resource group RG: 503 Busy",)
    assert len([p for p in azure.paths if p.lower().endswith("vng-lab/connections")]) == resource_manager.TRIES


def test_one_group_that_may_not_be_read_does_not_lose_the_others(azure: emulator.ResourceManager, read: Any) -> None:
    azure.refuses = lambda path: 403 if "/rg-wan/" in path.lower() else 0
    reading = read(RG, WAN)

    assert reading.unread == {WAN.lower()}
    assert {listing.gateway.name for listing in reading.listings} == {"vng-lab", "vng-hub"}
    assert reading.partial == frozenset()
    assert "403 AuthorizationFailed; the app's identity needs the role Reader" in reading.troubles[0]
    assert SECRET not in repr(reading)


def test_sites_that_may_not_be_read_leave_the_connections_without_addresses(
    azure: emulator.ResourceManager, read: Any
) -> None:
    azure.refuses = lambda path: 403 if "/rg-sites/" in path.lower() else 0
    reading = read(RG)

    assert reading.unread == frozenset()
    assert reading.partial == {LAB.lower()}
    found = connections(reading, LAB)
    assert (found["cn-seattle"].remote, found["cn-seattle"].custom) == ("", True)
    assert found["cn-hub"].remote == "192.0.2.40"
    assert of(reading).of(LAB.lower()).ended("203.0.113.7") == ()  # nobody can say that it has gone


def test_sites_that_do_not_answer_leave_the_gateway_unread(azure: emulator.ResourceManager, read: Any) -> None:
    azure.refuses = lambda path: 500 if "/rg-sites/" in path.lower() else 0
    reading = read(RG)

    assert reading.unread == {LAB.lower()}
    assert [listing.gateway.name for listing in reading.listings] == ["vng-hub"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b'"x"',
        b'{"value": 3}',
        b'{"value": {}}',
        b'{"id": 7}',
        b"\xff\xfe",
        b'{"value": [',
    ],
)
def test_garbage_is_not_read_and_says_nothing(azure: emulator.ResourceManager, read: Any, body: bytes) -> None:
    azure.body = lambda path: body
    reading = read(RG, LAB)

    assert reading.listings == ()
    assert reading.unread == {RG.lower(), LAB.lower()}
    assert all("the answer is no" in line for line in reading.troubles)


def test_odd_resources_among_good_ones_harm_nobody(azure: emulator.ResourceManager, read: Any) -> None:
    whole = read(RG)
    odd = [None, 3, [], {}, {"id": 7}, {"id": "x" * 9999}, {"id": f"{LAB}/connections"}]
    sites = f"{SITES}/providers/Microsoft.Network/localNetworkGateways".lower()
    good = [r for k, r in azure.resources.items() if k.startswith(sites)]
    azure.body = lambda path: json.dumps({"value": [*odd, *good]}).encode() if path.lower() == sites else None

    assert read(RG) == whole


@pytest.mark.parametrize(
    "odd",
    [
        "/microsoft.network/virtualnetworkgateways/x",
        "/a/b/c/microsoft.network/virtualnetworkgateways/x",
        f"{RG}/providers/Microsoft.Network/virtualNetworkGateways/x?y",
        f"{RG}/providers/Microsoft.Network/virtualNetworkGateways/\x00\n#",
        f"{RG}/providers/Microsoft.Network/connections/x",
        "/microsoft.network/connections/x",
    ],
)
def test_odd_ids_in_an_answer_lead_nowhere(azure: emulator.ResourceManager, read: Any, odd: str) -> None:
    whole = read(RG)
    azure.page = 100
    lists = {f"{RG}/providers/Microsoft.Network/virtualNetworkGateways".lower(), f"{LAB}/connections".lower()}
    resource = {"id": odd, "properties": {"virtualNetworkGateway1": {"id": LAB}, "connectionType": "IPsec"}}

    def with_it(path: str) -> bytes | None:
        found = azure._listed(path.lower())
        return json.dumps({"value": [*(found or ()), resource]}).encode() if path.lower() in lists else None

    azure.body = with_it
    reading = read(RG)
    assert {one.gateway.name for one in reading.listings} <= {one.gateway.name for one in whole.listings}
    assert "vng-hub" in {one.gateway.name for one in reading.listings}
    assert all(line.isprintable() for line in reading.troubles)


ODD = (
    None,
    7,
    -1,
    True,
    "",
    "x" * 9_999,
    [],
    {},
    [None],
    {"id": 7},
    {"id": "/x"},
    [[]],
    {"properties": 3},
    1e300,
)


def damaged(value: Any, random: Random, chance: float) -> Any:
    """Return a JSON value in which here and there something else stands."""
    if random.random() < chance:
        return random.choice(ODD)
    if isinstance(value, dict):
        return {name: damaged(inner, random, chance) for name, inner in value.items()}
    if isinstance(value, list):
        return [damaged(inner, random, chance) for inner in value]
    return value


@pytest.mark.parametrize("seed", range(200))
def test_whatever_stands_in_an_answer_nothing_raises(seed: int) -> None:
    random = Random(seed)
    known = emulator.ResourceManager.__new__(emulator.ResourceManager)
    known.resources = {str(r["id"]).lower(): r for r in stored("az", "virtual-wan")}

    async def page(url: str) -> dict[str, Any]:
        path = unquote(urlsplit(url).path).lower()
        found = known.resources.get(path) or {"value": known._listed(path) or []}
        answer = damaged(found, random, random.choice((0.0, 0.01, 0.05)))
        return answer if isinstance(answer, dict) else {}

    reading = asyncio.run(resource_manager._Round(page, "https://management.azure.com", "").read([RG, WAN, LAB]))
    inventory = renew(Inventory(), reading.listings, 1)
    for connections in inventory.gateways.values():
        assert codec.unpack(codec.pack(connections, Connections), Connections) == connections
    assert all(line.isprintable() for line in reading.troubles)


def test_a_page_on_another_host_or_of_something_else_is_not_turned(
    azure: emulator.ResourceManager, read: Any, authority: Authority
) -> None:
    with emulator.ResourceManager(authority) as other:
        links: list[object] = [
            azure.origin.replace("127.0.0.1", "localhost") + f"{RG}/providers/Microsoft.Network/connections",
            f"{other.origin}{RG}/providers/Microsoft.Network/connections?api-version=2024-05-01",
            azure.origin.replace("https", "http") + f"{RG}/providers/Microsoft.Network/connections",
            f"{azure.origin}{RG}/providers/Microsoft.Network/connections/cn-seattle/sharedkey?api-version=2024-05-01",
            f"{azure.origin}{RG}/providers/Microsoft.Network/connections/../connections/cn-seattle/sharedkey",
            7,
        ]
        for link in links:
            azure.next_link = lambda _, link=link: link  # type: ignore[misc]
            reading = read(RG)
            assert reading.listings == ()
            assert all("names a next page that is" in line for line in reading.troubles)
        assert other.paths == []
    assert not [path for path in azure.paths if "key" in path.lower()]


def test_pages_without_end_are_bounded(
    azure: emulator.ResourceManager, read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource_manager, "MOST_PAGES", 5)
    azure.next_link = lambda link: str(link).rpartition("%24skiptoken=")[0] + "%24skiptoken=0"
    reading = read(RG)

    assert reading.listings == ()
    assert "more than 5 pages" in reading.troubles[0]


def test_a_redirect_is_not_followed(azure: emulator.ResourceManager, read: Any, authority: Authority) -> None:
    with emulator.ResourceManager(authority) as other:
        azure.answer(*(Answer(307, {"Location": other.origin}) for _ in range(2)))
        reading = read(RG)
        assert other.paths == []
    assert reading.listings == ()
    assert reading.troubles[0].endswith(": 307")


def test_an_answer_that_does_not_come_is_waited_for_only_so_long(
    azure: emulator.ResourceManager, read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource_manager, "CONNECT", 0.1)
    azure.answer(*(Answer(hangs=3.0) for _ in range(2 * resource_manager.TRIES)))
    begun = time.monotonic()
    reading = read(RG, answer=0.2)

    assert time.monotonic() - begun < 10
    assert reading.unread == {RG.lower()}
    assert azure.requests == 2 * resource_manager.TRIES


def test_a_reading_ends_when_its_time_is_over(
    azure: emulator.ResourceManager, read: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource_manager, "PATIENCE", 0.5)
    azure.answer(*(Answer(hangs=3.0) for _ in range(50)))
    begun = time.monotonic()
    reading = read(RG, WAN)

    assert time.monotonic() - begun < 10
    assert reading.unread == {RG.lower(), WAN.lower()}


def test_nobody_there(read: Any) -> None:
    reading = read(RG, endpoint="https://127.0.0.1:9")

    assert reading.unread == {RG.lower()}
    assert reading.troubles[0].startswith("virtualNetworkGateways of resource group RG: ")


def test_without_a_token_nothing_is_read_and_nothing_is_said_about_why(
    azure: emulator.ResourceManager, read: Any
) -> None:
    reading = read(RG, identity=Identity(ClientAuthenticationError(message=SECRET)))

    assert reading.unread == {RG.lower()}
    assert "no token for the app's identity" in reading.troubles[0]
    assert SECRET not in repr(reading)
    assert azure.paths == []


def test_names_from_anywhere_are_shown_without_harm(azure: emulator.ResourceManager, read: Any) -> None:
    azure.refuses = lambda path: 403
    reading = read(f"{SUBSCRIPTION}/resourceGroups/rg\x1b[31m\nERROR forged")

    assert all(line.isprintable() for line in reading.troubles)


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("https://management.azure.com:443/subscriptions", True),
        ("https://MANAGEMENT.azure.com/", True),
        ("https://management.azure.com:8443/", False),
        ("https://management.azure.com:x/", False),
        ("https://management.azure.com@example.com/", False),
        ("https://management.azure.com.example.com/", False),
        ("http://management.azure.com:443/", False),
        ("//management.azure.com/", False),
        ("", False),
    ],
)
def test_a_page_of_the_same_host_may_name_its_port(url: str, same: bool) -> None:
    origin = resource_manager._origin
    assert (origin(url) == origin("https://management.azure.com")) is same


def test_an_endpoint_is_an_https_address() -> None:
    for wrong in ("http://management.azure.com", "management.azure.com", "https://", "https://a/b"):
        with pytest.raises(ValueError, match="must look like"):
            ResourceManager(wrong, Identity())
