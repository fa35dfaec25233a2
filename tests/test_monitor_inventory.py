"""The tick with what is configured: told by name, judged again when it changes, and what fails around it costs no verdict."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from ikestream import estate, inbox
from ikestream.batch import sort
from ikestream.estate import Estate
from ikestream.events import Category, Record
from ikestream.grammar import read
from ikestream.inventory import Connection, VpnGateway
from ikestream.inventory.connections import Listing
from ikestream.inventory.keeping import EVERY, HEAD, KEPT, WANTED, Keeper, View
from ikestream.inventory.resource_manager import Reading
from ikestream.lab import FAULTS, PROMPT, Lab, post
from ikestream.monitor import GATEWAY_ROW, GATEWAYS, Monitor, partition_of
from ikestream.stores import Document, Put, Unavailable
from ikestream.stores.memory import Memory
from ikestream.times import MINUTE, TICK
from tests.simulation import STORIES, Receiver, World, run, simulate
from tests.streams import last

SEEDS = range(200)
A_TEST = 20


@pytest.mark.parametrize("first", range(SEEDS.start, SEEDS.stop, A_TEST))
def test_whatever_fails_and_is_configured_otherwise_meanwhile_ends_in_the_same_verdicts(first: int) -> None:
    for seed in range(first, first + A_TEST):
        try:
            simulate(seed, configured=True)
        except AssertionError as broken:
            raise AssertionError(f"seed {seed}, {STORIES[seed % len(STORIES)].__name__}: {broken}") from broken


STORY = FAULTS[0](Lab(7))
GATEWAY = STORY.records[0].gateway
KEY = GATEWAY.lower()
(PEER,) = {truth.remote for truth in STORY.truths if truth.cause}
NAMED = Connection(f"{GATEWAY}/cn-seattle", "cn-seattle", "rg-vpn", PEER, site="lng-seattle")


class Flaky(Memory):
    """A store of which one partition does not answer."""

    silent = ""

    async def read(self, partition: str, limit: int | None = None) -> AsyncIterator[Document]:
        if partition == self.silent:
            raise Unavailable("503")
        async for document in super().read(partition, limit):
            yield document


class Bench:
    """A worker, a store, and a configuration that the test changes."""

    def __init__(self) -> None:
        world = World(0, 0)
        world.faulty = False
        self.now, self.store = STORY.records[0].at or 0, Flaky()
        self.table = Receiver(world, "table", messages=False)
        self.configured: tuple[Connection, ...] | None = (NAMED,)
        self.restart()

    def restart(self) -> None:
        self.monitor = Monitor(
            self.store, [self.table], lambda: self.now, f"worker-{self.now}", inventory=View(self.store)
        )

    def post(self, records: Sequence[Record], *, partition: str = "0", first: int = 0) -> None:
        deliveries = [
            replace(d, partition=partition, sequence_number=d.sequence_number + first)
            for d in post(records, Random(7), PROMPT)
        ]
        self.now = max(self.now, *(d.enqueued for d in deliveries))
        for own in sorted({d.partition for d in deliveries}):
            run(inbox.post(self.store, sort([d for d in deliveries if d.partition == own])[0]))

    def read(self) -> bool:
        async def found(_: Sequence[str]) -> Reading:
            if self.configured is None:
                return Reading(unread=frozenset({KEY}))
            return Reading((Listing(VpnGateway(GATEWAY, "vng", "RG"), self.configured),))

        return run(Keeper(self.store, found, [GATEWAY], lambda: self.now, "keeper").refresh()) is not None

    def gone(self) -> None:
        """Read until what is missing is known to have gone."""
        for _ in range(2):
            self.now += EVERY
            self.read()

    def tick(self, after: int = TICK) -> dict[str, Any]:
        self.now += after
        ticked = run(self.monitor.tick())
        assert ticked.trouble == []
        found = [row for _, row in sorted(self.table.rows.items()) if row["Kind"] == "Outage"]
        newest = list(last(found).values())
        return newest[0] if newest else {}

    def documents(self, partition: str) -> list[Document]:
        async def every() -> list[Document]:
            return [document async for document in self.store.read(partition)]

        return run(every())


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_an_outage_that_is_told_gets_its_name_once_it_is_known(bench: Bench) -> None:
    bench.post(STORY.records)
    first = bench.tick(2 * MINUTE)
    assert (first["State"], first["ConnectionName"]) == ("Open", None)

    assert bench.read()
    second = bench.tick(2 * MINUTE)
    assert (second["ConnectionName"], second["ResourceGroup"]) == ("cn-seattle", "rg-vpn")
    assert second["IncidentId"] == first["IncidentId"]
    bench.tick(2 * MINUTE)
    assert bench.tick()["Revision"] == second["Revision"]  # and nothing more is told of it


def test_a_connection_that_is_named_otherwise_is_told_again_also_by_another_worker(bench: Bench) -> None:
    bench.read()
    bench.post(STORY.records)
    assert bench.tick(2 * MINUTE)["ConnectionName"] == "cn-seattle"
    bench.configured = (replace(NAMED, id=f"{NAMED.id}-2", name="cn-tacoma"),)
    bench.gone()
    bench.restart()
    assert bench.tick(2 * MINUTE)["ConnectionName"] == "cn-tacoma"


def test_a_removed_connection_ends_its_outage(bench: Bench) -> None:
    bench.read()
    bench.post(STORY.records)
    bench.tick(2 * MINUTE)
    bench.configured = ()
    bench.gone()
    bench.tick(10 * MINUTE)
    assert bench.tick(10 * MINUTE)["Resolution"] == "Removed"


def test_what_cannot_be_read_any_more_goes_on_for_a_day_and_then_without_a_name(bench: Bench) -> None:
    bench.read()
    bench.post(STORY.records)
    assert bench.tick(2 * MINUTE)["ConnectionName"] == "cn-seattle"
    bench.configured = None
    for _ in range(18):
        bench.now += KEPT // 20
        bench.read()
    assert bench.tick()["ConnectionName"] == "cn-seattle"
    assert bench.tick(KEPT // 5)["ConnectionName"] is None


def test_what_is_kept_and_damaged_costs_the_names_and_no_verdict(bench: Bench) -> None:
    bench.read()
    run(bench.store.write(HEAD, [Put(HEAD, b"damaged")]))
    bench.post(STORY.records)
    bench.now += 2 * MINUTE
    assert run(bench.monitor.tick()).trouble == ["inventory: not this program's state: error"]
    (row,) = [row for row in bench.table.rows.values() if row["Kind"] == "Outage"]
    assert (row["Cause"], row["ConnectionName"]) == ("PreSharedKeyMismatch", None)


def changed(at: int) -> Record:
    return Record(at, GATEWAY, Category.GATEWAY, "SetConnectionConfiguration", "GatewayTenantWorker_IN_0", "")


def test_a_change_in_azure_has_it_read_soon(bench: Bench) -> None:
    bench.read()
    bench.post(STORY.records)
    bench.tick(2 * MINUTE)
    wanted = bench.documents(WANTED)
    assert not bench.read()

    bench.post([changed(bench.now)], partition="1")
    bench.tick()
    assert bench.documents(WANTED) != wanted
    bench.now += MINUTE
    assert bench.read()
    bench.tick()
    bench.now += 2 * MINUTE
    assert not bench.read()


def test_without_an_inventory_nothing_asks_for_one(bench: Bench) -> None:
    bench.monitor = Monitor(bench.store, [bench.table], lambda: bench.now, "worker")
    bench.read()
    bench.post([*STORY.records, changed(STORY.records[-1].at or 0)])
    assert bench.tick(2 * MINUTE)["ConnectionName"] is None
    assert bench.documents(WANTED) == []


def test_what_stands_of_a_gateway_that_cannot_be_read_is_not_written_over(bench: Bench) -> None:
    bench.post(STORY.records)
    bench.tick(2 * MINUTE)
    run(bench.store.write(partition_of(KEY), [Put(GATEWAY_ROW, b"damaged")]))
    before = bench.documents(partition_of(KEY))
    bench.read()
    bench.now += 2 * MINUTE
    bench.restart()
    for _ in range(3):
        bench.now += TICK
        run(bench.monitor.tick())
    assert bench.documents(partition_of(KEY)) == before


def test_a_gateway_that_could_not_be_read_when_it_changed_is_judged_with_it_afterwards(bench: Bench) -> None:
    bench.post(STORY.records)
    bench.tick(2 * MINUTE)
    bench.read()
    bench.monitor._unsure.add(KEY)
    bench.store.silent = partition_of(KEY)
    bench.now += 2 * MINUTE
    assert run(bench.monitor.tick()).trouble == ["store: 503"]
    bench.store.silent = ""
    assert bench.tick()["ConnectionName"] == "cn-seattle"


def test_who_starts_over_judges_all_there_is_a_part_with_each_tick(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(6):
        bench.post([replace(r, gateway=f"{GATEWAY}-{n}") for r in STORY.records], partition=str(n))
    bench.tick(2 * MINUTE)
    for n in range(6):  # due is nothing, but for what is configured
        assert bench.monitor.estate.gateways[f"{KEY}-{n}"].tunnels

    async def found(_: Sequence[str]) -> Reading:
        return Reading(
            tuple(
                Listing(VpnGateway(f"{GATEWAY}-{n}", "vng", "RG"), (replace(NAMED, id=f"{GATEWAY}-{n}/cn-seattle"),))
                for n in range(6)
            )
        )

    scopes = [f"{GATEWAY}-{n}" for n in range(6)]
    run(Keeper(bench.store, found, scopes, lambda: bench.now, "keeper").refresh())
    monkeypatch.setattr(estate, "AT_ONCE", 4)
    bench.now += 2 * MINUTE
    named = []
    for _ in range(4):
        bench.tick()
        newest = last([row for _, row in sorted(bench.table.rows.items())]).values()
        named.append(sum(row["ConnectionName"] is not None for row in newest if row["Kind"] == "Outage"))
    assert named == [2, 4, 6, 6]


def test_a_connection_without_any_line_is_there_from_the_first_reading(bench: Bench) -> None:
    bench.read()
    bench.tick()
    assert [document.body for document in bench.documents(GATEWAYS)]
    assert KEY in bench.monitor.estate.gateways


def test_whom_azure_called_until_a_while_ago_is_no_stranger_when_his_lines_come_late() -> None:
    call = "SESSION_ID :{00000000-0000-4000-8000-000000000000} Remote 203.0.113.7:500: Local 192.0.2.4:500: "
    record = Record(
        STORY.records[0].at, GATEWAY, Category.IKE, "IKELogEvent", "GatewayTenantWorker_IN_0",
        call + "[RECEIVED][SA_INIT] Received IKE SA_INIT packet with tunnelId 0x1, iCookie 0xA and rCookie 0x0",
    )  # fmt: skip
    bench = Bench()
    bench.configured = (replace(NAMED, remote="203.0.113.7"),)
    bench.read()
    prompt, late, unknown = Estate(), Estate(), Estate()
    prompt.learn(read(record), 0)
    prompt.equip(run(View(bench.store).read(bench.now)), 0)
    bench.configured = ()
    bench.gone()
    late.equip(run(View(bench.store).read(bench.now)), 0)
    late.learn(read(record), 0)
    unknown.learn(read(record), 0)
    known = [estate.gateways[KEY].tunnels["203.0.113.7"].known() for estate in (prompt, late, unknown)]
    assert known == [True, True, False]
