"""Readings that follow upon each other, kept in a store: what is read, what is lost and what is back; who writes and who looks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace

import pytest

from ikestream import codec
from ikestream.events import Proposal
from ikestream.inventory import Connection, Connections, Inventory, Version, VpnGateway, keeping
from ikestream.inventory.connections import Ended, Listing
from ikestream.inventory.keeping import AGAIN, EVERY, HEAD, KEPT, WANTED, Head, Keeper, Known, Refreshed, View, merge
from ikestream.inventory.resource_manager import Reading
from ikestream.stores import Conflict, Delete, Document, Put, Store, Unavailable, partition, tables
from ikestream.stores.memory import Memory
from ikestream.times import DAY, EXPECTED_LEG_AGE, MINUTE
from tests.emulators import azurite
from tests.simulation import run
from tests.test_stores import run as with_store

START = 1_772_445_600_000
RG, OTHER = "/subscriptions/s/resourceGroups/RG", "/subscriptions/s/resourceGroups/other"
GATEWAY = VpnGateway(f"{RG}/providers/Microsoft.Network/virtualNetworkGateways/One", "One", "RG", ("192.0.2.4",))
SECOND = VpnGateway(f"{OTHER}/providers/Microsoft.Network/vpnGateways/Two", "Two", "other", ("192.0.2.5",))
KEY, KEY_2 = GATEWAY.id.lower(), SECOND.id.lower()
A = Connection(f"{RG}/providers/Microsoft.Network/connections/cn-a", "cn-a", "RG", "203.0.113.7", site="lng-a")
B = replace(A, id=A.id.replace("cn-a", "cn-b"), name="cn-b", remote="203.0.113.8", site="lng-b")
HIDDEN = replace(A, remote="")


def found(*connections: Connection, partial: bool = False, unread: Sequence[str] = ()) -> Reading:
    return Reading(
        (Listing(GATEWAY, connections),),
        partial=frozenset({KEY} if partial else ()),
        unread=frozenset(scope.lower() for scope in unread),
        troubles=tuple(f"{scope}: 403 AuthorizationFailed" for scope in unread),
    )


NOTHING_READ = Reading((), unread=frozenset({RG.lower()}), troubles=("RG: 503 Busy",))


class Azure:
    """What Resource Manager answers, a store, a clock, and what was said."""

    def __init__(self, store: Store | None = None) -> None:
        self.now, self.store, self.reading = START, store or Memory(), found(A)
        self.reads = 0
        self.scopes: tuple[str, ...] = (RG,)
        self.view = View(self.store)

    def keeper(self, worker: str = "one", store: Store | None = None) -> Keeper:
        async def read(scopes: Sequence[str]) -> Reading:
            assert tuple(scopes) == tuple(sorted(self.scopes))
            self.reads += 1
            return self.reading

        return Keeper(store or self.store, read, self.scopes, lambda: self.now, worker)

    def refresh(self, after: int = 0) -> Refreshed | None:
        self.now += after
        return run(self.keeper().refresh())

    def seen(self) -> Connections:
        return run(self.view.read(self.now)).of(KEY)


@pytest.fixture
def azure() -> Azure:
    return Azure()


# --- when ---------------------------------------------------------------------------------------------------------


def test_what_was_read_is_what_a_view_sees(azure: Azure) -> None:
    assert azure.seen().gateway is None
    assert azure.refresh() == Refreshed(1)
    assert azure.seen() == Connections(GATEWAY, (Version(A, START),), START)


def test_it_is_read_every_quarter_of_an_hour_and_not_before(azure: Azure) -> None:
    azure.refresh()
    assert [azure.refresh(MINUTE) is not None for _ in range(30)].count(True) == 2
    assert azure.reads == 3


def test_it_is_read_soon_if_somebody_wants_it_and_once(azure: Azure) -> None:
    azure.refresh()
    azure.now += 3 * MINUTE
    run(azure.view.want(azure.now))
    assert azure.refresh(MINUTE) is not None
    assert azure.refresh(MINUTE) is None


def test_what_fails_is_read_again_sooner_but_not_for_a_wish(azure: Azure) -> None:
    azure.refresh()
    azure.reading = NOTHING_READ
    assert azure.refresh(EVERY) is not None
    run(azure.view.want(azure.now + 1))
    assert [azure.refresh(MINUTE) is not None for _ in range(5)] == [False] * 4 + [True]


def test_who_wants_to_be_left_alone_is(azure: Azure) -> None:
    azure.reading = replace(NOTHING_READ, wait=1800.0)
    azure.refresh()
    run(azure.view.want(azure.now + 1))
    assert [azure.refresh(MINUTE) is not None for _ in range(30)] == [False] * 29 + [True]


def test_other_groups_are_read_at_once(azure: Azure) -> None:
    azure.refresh()
    azure.scopes = (OTHER, RG)
    assert azure.refresh(MINUTE) is not None


def test_a_clock_that_was_wrong_does_not_stop_it(azure: Azure) -> None:
    azure.now += 30 * DAY
    azure.refresh()
    azure.now -= 30 * DAY
    assert azure.refresh() is not None


# --- what changes -------------------------------------------------------------------------------------------------

CUSTOM = replace(A, ike=Proposal("AES256", "SHA256", "DHGroup14"), ipsec=Proposal("AES256", "SHA256", "None"))


def test_versions_are_kept_from_reading_to_reading(azure: Azure) -> None:
    azure.refresh()
    azure.reading = found(CUSTOM, B)
    azure.refresh(EVERY)
    azure.reading = found(B)
    azure.refresh(EVERY)
    azure.refresh(MINUTE)

    connections, gone = azure.seen(), START + 2 * EVERY + MINUTE
    assert connections.versions == (
        Version(A, START, START + EVERY),
        Version(CUSTOM, START + EVERY, gone),
        Version(B, START + EVERY),
    )
    assert connections.ended("203.0.113.7") == (Ended(gone, Version(CUSTOM, START + EVERY, gone)),)


def test_what_has_not_changed_is_not_written_again(azure: Azure) -> None:
    azure.refresh()
    before = rows(azure, KEY)
    seen = run(azure.view.read(azure.now))
    azure.refresh(EVERY)

    assert rows(azure, KEY) == before
    assert run(azure.view.read(azure.now)) is seen  # nobody has to be judged again


def rows(azure: Azure, key: str) -> list[Document]:
    async def all_of_them() -> list[Document]:
        return [document async for document in azure.store.read(partition("i", key))]

    return run(all_of_them())


def test_a_gateway_that_is_no_longer_listed_takes_its_connections_along(azure: Azure) -> None:
    azure.refresh()
    azure.reading = Reading()
    azure.refresh(EVERY)
    assert azure.seen().ended("203.0.113.7") == ()
    azure.refresh(MINUTE)

    gone = START + EVERY + MINUTE
    assert azure.seen().ended("203.0.113.7") == (Ended(gone, Version(A, START, gone)),)
    assert azure.refresh(MINUTE) is None  # and nobody looks for it any more


@pytest.mark.parametrize("missing", [found(B), Reading()])
def test_what_is_missing_once_has_not_gone(azure: Azure, missing: Reading) -> None:
    azure.reading = found(A, B)
    azure.refresh()
    before = azure.seen()
    for _ in range(3):
        azure.reading = missing
        azure.refresh(EVERY)
        assert azure.seen() == before
        azure.reading = found(A, B)
        assert azure.refresh(MINUTE) is not None
        assert azure.seen() == before


def test_what_is_missing_now_is_not_what_was_missing_before(azure: Azure) -> None:
    azure.reading = found(A, B)
    azure.refresh()
    before = azure.seen()
    for reading in (found(B), found(A), Reading(), found(B)):
        azure.reading = reading
        azure.refresh(EVERY)
        assert azure.seen() == before


def test_what_cannot_be_read_in_between_is_no_proof_that_something_has_gone(azure: Azure) -> None:
    azure.refresh()
    before = azure.seen()
    for reading in (Reading(), NOTHING_READ, Reading()):
        azure.reading = reading
        azure.refresh(EVERY)
    assert azure.seen() == before


def test_a_gateway_that_nobody_asks_about_any_more_is_forgotten_and_nothing_ended(azure: Azure) -> None:
    azure.refresh()
    azure.scopes, azure.reading = (OTHER,), Reading((Listing(SECOND, ()),))
    azure.refresh(MINUTE)

    assert azure.seen() == Connections()
    assert rows(azure, KEY) == []
    assert run(azure.view.read(azure.now)).of(KEY_2).gateway == SECOND


# --- what cannot be read ------------------------------------------------------------------------------------------


def test_what_cannot_be_read_goes_on_as_it_was_for_a_day_and_then_without_names(azure: Azure) -> None:
    azure.refresh()
    before = azure.seen()
    azure.reading = NOTHING_READ
    azure.refresh(EVERY)
    azure.now = START + KEPT
    assert azure.seen() == before
    azure.refresh()
    azure.now += 1
    assert azure.seen() == Connections()

    azure.reading = found(CUSTOM)
    azure.refresh(AGAIN)
    assert azure.seen().versions == (Version(A, START, azure.now), Version(CUSTOM, azure.now))


def test_after_a_month_it_is_forgotten(azure: Azure) -> None:
    azure.refresh()
    azure.reading = NOTHING_READ
    azure.refresh(EXPECTED_LEG_AGE)
    assert rows(azure, KEY) == []


def test_even_if_nobody_reads_any_more_it_ends_after_a_day(azure: Azure) -> None:
    azure.refresh()
    azure.now += KEPT + 1
    assert azure.seen() == Connections()


def test_one_gateway_that_cannot_be_read_does_not_lose_the_other(azure: Azure) -> None:
    azure.scopes = (OTHER, RG)
    azure.reading = Reading((Listing(GATEWAY, (A,)), Listing(SECOND, ())))
    azure.refresh()
    azure.reading = replace(found(CUSTOM), unread=frozenset({OTHER.lower()}))
    azure.refresh(EVERY)

    inventory = run(azure.view.read(azure.now))
    assert [v.connection for v in inventory.of(KEY).current] == [CUSTOM]
    assert inventory.of(KEY_2).gateway == SECOND


def test_addresses_that_may_not_be_read_any_more_are_those_of_before_for_a_day() -> None:
    known, _ = merge({}, found(A, B), (RG,), 1)
    hidden = found(replace(HIDDEN, mode=A.mode, dpd=30), B, partial=True)
    later, _ = merge(known, hidden, (RG,), 1 + KEPT)
    assert [v.connection for v in later[KEY].connections.current] == [replace(A, dpd=30), B]
    assert (later[KEY].read_at, later[KEY].whole_at) == (1 + KEPT, 1)
    assert later[KEY].connections.ended("203.0.113.7") == ()

    after, _ = merge(later, hidden, (RG,), 2 + KEPT)
    assert {v.connection.remote for v in after[KEY].connections.current} == {"", "203.0.113.8"}
    assert after[KEY].connections.ended("203.0.113.7") == ()  # nobody can say so


def test_a_setting_that_only_a_closed_list_has_is_that_of_before() -> None:
    known, _ = merge({}, found(replace(A, dpd=45), B), (RG,), 1)
    closed, _ = merge(known, found(A, B, partial=True), (RG,), 2)
    assert closed[KEY].connections == known[KEY].connections
    changed, _ = merge(known, found(A, B), (RG,), 2)
    assert changed[KEY].connections.versions[0] == Version(replace(A, dpd=45), 1, 2)
    back, _ = merge(changed, found(replace(A, dpd=30), B), (RG,), 3)
    assert [v.connection.dpd for v in back[KEY].connections.versions] == [45, 0, 30, 0]


def test_another_site_behind_a_connection_has_not_the_address_of_the_one_before() -> None:
    known, _ = merge({}, found(A), (RG,), 1)
    later, _ = merge(known, found(replace(HIDDEN, site="lng-new"), partial=True), (RG,), 2)
    assert [v.connection.remote for v in later[KEY].connections.current] == [""]


def test_an_address_that_could_not_be_read_at_first_has_not_changed_when_it_can() -> None:
    known, _ = merge({}, found(HIDDEN, partial=True), (RG,), 1)
    assert known[KEY].whole_at == 0
    later, _ = merge(known, found(A), (RG,), 2)
    assert later == {KEY: Known(Connections(GATEWAY, (Version(A, 1),), 1), 2, 2)}


# --- what is said -------------------------------------------------------------------------------------------------


def test_a_loss_is_one_warning_and_its_end_one_word(azure: Azure) -> None:
    azure.refresh()
    azure.reading = NOTHING_READ
    said = [azure.refresh(AGAIN if n else EVERY) for n in range(600)]  # two days
    assert [refreshed for refreshed in said if refreshed is None] == []
    (warning,) = [line for refreshed in said if refreshed for line in refreshed.lost]
    assert warning == (
        "RG cannot be read: RG: 503 Busy; what was read at 2026-03-02T10:00:00.000Z is used until "
        "2026-03-03T10:00:00.000Z, then verdicts there go without the names of connections"
    )
    azure.reading = found(A)
    assert azure.refresh(AGAIN) == Refreshed(1, (), ("RG",))
    assert azure.refresh(EVERY) == Refreshed(1)


def test_a_fault_of_a_moment_is_not_worth_a_word(azure: Azure) -> None:
    azure.refresh()
    azure.reading = NOTHING_READ
    assert azure.refresh(EVERY) == Refreshed(1)
    azure.reading = found(A)
    assert azure.refresh(AGAIN) == Refreshed(1)


def test_what_was_never_read_is_said_at_once(azure: Azure) -> None:
    azure.reading = NOTHING_READ
    refreshed = azure.refresh()
    assert refreshed is not None
    assert refreshed.lost == ("RG cannot be read: RG: 503 Busy; verdicts there go without the names of connections",)


def test_groups_without_any_gateway_are_not_what_was_meant(azure: Azure) -> None:
    azure.reading = Reading()
    refreshed = azure.refresh()
    assert refreshed == Refreshed(
        0,
        (
            "RG cannot be read: no VPN gateway of the app's region is there; verdicts there go without the names of connections",
        ),
    )
    assert azure.refresh(EVERY) == Refreshed(0)
    azure.reading = found(A)
    assert azure.refresh(EVERY) == Refreshed(1, (), ("RG",))


def test_a_group_that_nobody_asks_about_any_more_is_not_said_to_be_back(azure: Azure) -> None:
    azure.reading = NOTHING_READ
    azure.refresh()
    azure.scopes, azure.reading = (OTHER,), Reading((Listing(SECOND, ()),))
    assert azure.refresh(AGAIN) == Refreshed(1)


def test_another_process_says_nothing_again(azure: Azure) -> None:
    azure.reading = NOTHING_READ
    azure.refresh()
    azure.now += AGAIN
    assert run(azure.keeper("another").refresh()) == Refreshed(0)


# --- many, and at once --------------------------------------------------------------------------------------------


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "MAX_BODY", 1_000)


def many(dpd: int) -> tuple[Connection, ...]:
    return tuple(
        replace(A, id=f"{A.id}-{n}", name=f"cn-{n}", remote=f"198.51.100.{n % 250}", dpd=dpd + n * n % 7919)
        for n in range(500)
    )


@pytest.mark.usefixtures("small")
def test_many_connections_are_several_rows(azure: Azure) -> None:
    for dpd in (1, 2):
        azure.reading = found(*many(dpd))
        azure.refresh(EVERY)
        assert 5 < len(rows(azure, KEY)) <= keeping.MOST_ROWS
        assert all(len(document.body) <= 1_000 for document in rows(azure, KEY))
        assert {v.connection for v in azure.seen().current} == set(many(dpd))


@pytest.mark.usefixtures("small")
def test_what_was_before_goes_where_there_is_no_room_for_it(azure: Azure, monkeypatch: pytest.MonkeyPatch) -> None:
    azure.reading = found(*many(1))
    azure.refresh()
    monkeypatch.setattr(keeping, "MOST_ROWS", len(rows(azure, KEY)) + 1)
    azure.reading = found(*many(2))
    azure.refresh(EVERY)
    assert {v.connection for v in azure.seen().versions} == set(many(2))


def test_too_many_gateways_are_left_out_and_that_is_said(azure: Azure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "MOST_GATEWAYS", 1)
    azure.scopes, azure.reading = (OTHER, RG), Reading((Listing(GATEWAY, (A,)), Listing(SECOND, ())))
    assert azure.refresh() == Refreshed(1, ("1 gateways are too many and were left out",))
    assert len(run(azure.view.read(azure.now)).gateways) == 1
    assert azure.refresh(EVERY) == Refreshed(1)  # said once


class Interrupted:
    """A store in which something happens, or breaks, before a write to the head, or to what `where` begins with."""

    def __init__(self, inner: Store, before: Callable[[], None], where: str = HEAD) -> None:
        self.inner, self.before, self.where = inner, before, where

    def read(self, partition: str, limit: int | None = None) -> AsyncIterator[Document]:
        return self.inner.read(partition, limit)

    async def write(self, partition: str, changes: Sequence[Put | Delete]) -> list[str]:
        if partition.startswith(self.where):
            self.before()
        return await self.inner.write(partition, changes)

    async def close(self) -> None:
        pass


def test_a_writer_that_froze_changes_nothing_when_it_wakes_up(azure: Azure) -> None:
    azure.refresh()
    azure.now += EVERY
    azure.reading = found(A)  # what it read before it froze

    def meanwhile() -> None:
        azure.reading = found(CUSTOM)
        azure.refresh(MINUTE)

    frozen = azure.keeper("frozen", Interrupted(azure.store, meanwhile))
    azure.reading = found(A, B)
    assert run(frozen.refresh()) is None
    assert [v.connection for v in azure.seen().current] == [CUSTOM]
    azure.reading = found(B)
    azure.refresh(EVERY)
    assert len(rows(azure, KEY)) == 1  # what it left behind is gone


def test_two_who_write_at_the_same_time_do_not_write_into_the_same_rows(azure: Azure) -> None:
    azure.refresh()
    azure.now += EVERY

    def meanwhile() -> None:
        azure.reading = found(CUSTOM)
        azure.refresh()

    frozen = azure.keeper("frozen", Interrupted(azure.store, meanwhile, "i|"))
    azure.reading = found(A, B)
    assert run(frozen.refresh()) is None
    assert [v.connection for v in run(View(azure.store).read(azure.now)).of(KEY).current] == [CUSTOM]


def test_a_writer_that_dies_leaves_what_was(azure: Azure) -> None:
    azure.refresh()
    azure.now += EVERY

    def dies() -> None:
        raise Unavailable("503")

    azure.reading = found(CUSTOM)
    with pytest.raises(Unavailable):
        run(azure.keeper("dying", Interrupted(azure.store, dies)).refresh())
    assert [v.connection for v in azure.seen().current] == [A]
    azure.refresh()
    assert [v.connection for v in azure.seen().current] == [CUSTOM]
    assert len(rows(azure, KEY)) == 1


class Between(Interrupted):
    """A store in which something happens once between the head and the rows."""

    def read(self, partition: str, limit: int | None = None) -> AsyncIterator[Document]:
        if partition.startswith("i|") and self.before is not None:
            before, self.before = self.before, None  # type: ignore[assignment]
            before()
        return self.inner.read(partition, limit)


def test_who_looks_while_another_writes_sees_one_reading_or_the_other(azure: Azure) -> None:
    azure.refresh()

    def meanwhile() -> None:
        azure.reading = found(CUSTOM)
        azure.refresh(EVERY)

    view = View(Between(azure.store, meanwhile))
    assert [v.connection for v in run(view.read(azure.now)).of(KEY).current] == [CUSTOM]


def test_what_newer_code_wrote_is_left_alone(azure: Azure) -> None:
    azure.refresh()
    azure.seen()
    run(azure.store.write(HEAD, [Put(HEAD, codec.pack(Head(format=2), Head))]))
    assert azure.refresh(EVERY) is None
    assert azure.seen().gateway == GATEWAY


def test_what_is_damaged_is_written_anew(azure: Azure) -> None:
    azure.refresh()
    (document,) = rows(azure, KEY)
    run(azure.store.write(partition("i", KEY), [Put(document.row, b"damaged")]))
    assert run(View(azure.store).read(azure.now)) == Inventory()
    azure.refresh(EVERY)
    assert [v.connection for v in azure.seen().current] == [A]

    run(azure.store.write(WANTED, [Put(WANTED, b"damaged")]))
    assert azure.refresh(2 * MINUTE) is None
    run(azure.store.write(HEAD, [Put(HEAD, b"damaged")]))
    with pytest.raises(codec.BadState):
        run(View(azure.store).read(azure.now))
    azure.refresh(EVERY)
    assert [v.connection for v in azure.seen().current] == [A]
    assert len(rows(azure, KEY)) == 1


def test_what_cannot_be_swept_away_keeps_nobody_from_being_told(azure: Azure) -> None:
    class Sticky(Memory):
        async def write(self, partition: str, changes: Sequence[Put | Delete]) -> list[str]:
            if any(isinstance(change, Delete) for change in changes):
                raise Unavailable("503")
            return await super().write(partition, changes)

    azure = Azure(Sticky())
    azure.refresh()
    azure.scopes = (OTHER, RG)
    azure.reading = replace(found(CUSTOM), unread=frozenset({OTHER.lower()}), troubles=("other: 403",))
    refreshed = azure.refresh(MINUTE)
    assert refreshed is not None
    assert len(refreshed.lost) == 1
    assert [v.connection for v in azure.seen().current] == [CUSTOM]


def test_of_two_writers_one_is_told(azure: Azure) -> None:
    class Racing(Memory):
        async def write(self, partition: str, changes: Sequence[Put | Delete]) -> list[str]:
            if partition == HEAD:
                raise Conflict("somebody else")
            return await super().write(partition, changes)

    assert run(azure.keeper("late", Racing()).refresh()) is None


@pytest.fixture
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[azurite.Azurite]:
    if reason := azurite.missing():
        pytest.skip(reason)
    with azurite.Azurite(tmp_path_factory.mktemp("azurite")) as running:
        yield running


@pytest.mark.usefixtures("small")
def test_azure_table_storage_keeps_it_as_well(account: azurite.Azurite) -> None:
    async def story(store: Store) -> None:
        azure = Azure(store)
        for connections in ((A,), many(1), (B,)):
            azure.reading = found(*connections)
            for _ in range(2):  # what was there before is missed twice
                azure.now += EVERY
                assert await azure.keeper().refresh() == Refreshed(1)
            seen = await View(store).read(azure.now)
            assert {v.connection for v in seen.of(KEY).current} == set(connections)
        await azure.view.want(azure.now + MINUTE)
        azure.now += 2 * MINUTE
        assert await azure.keeper().refresh() is not None

    with_store(lambda: tables.with_connection_string(account.connection_string, "inventory"), story)
