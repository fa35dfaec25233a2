"""Whatever fails costs a delay and never a verdict: laws 2 to 4, and shortcuts that break them when planted."""

from __future__ import annotations
import __future__

import inspect
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple

import pytest

from ikestream import estate, fold, inbox, monitor, tunnel
from ikestream.batch import Delivery, Parcel, sort, take
from ikestream.estate import Scope
from ikestream.events import Record
from ikestream.inbox import INBOX
from ikestream.keeping import Pending
from ikestream.lab import FAULTS, PROMPT, Lab, post
from ikestream.monitor import GATEWAY_ROW, PARKED_AFTER, Monitor, Refused, Ticked, partition_of
from ikestream.sinks import Posting, Receipt, Why
from ikestream.stores import Conflict, Delete, Document, Put, TooLarge
from ikestream.stores.memory import Memory
from ikestream.times import HOUR, LEASE, PARKED, TICK
from tests import simulation
from tests.simulation import STORIES, Receiver, World, failing, reference, run, simulate
from tests.streams import START
from tests.test_together import fallen

SEEDS = range(2_000)
"""`make soak` runs ten thousand and more."""
A_TEST = 20
"""Seeds in one test, so that the workers of pytest share them."""


@pytest.mark.parametrize("first", range(SEEDS.start, SEEDS.stop, A_TEST))
def test_whatever_fails_costs_a_delay_and_never_a_verdict(first: int) -> None:
    for seed in range(first, first + A_TEST):
        try:
            simulate(seed)
        except AssertionError as broken:
            raise AssertionError(f"seed {seed}, {STORIES[seed % len(STORIES)].__name__}: {broken}") from broken


# --- shortcuts, planted -------------------------------------------------------------------------------------------


class Shortcut(NamedTuple):
    """A change of the source of one function: every `right` gives way to its `wrong`."""

    owner: Any
    function: str
    changes: tuple[tuple[str, str], ...]


COMMIT = "        failed, stuck = await self._commit(seen)\n        await self._note_stuck(stuck, seen)\n"
CLEAR = "        await self._clear(parcels, failed, seen)\n"
DELIVER = "        await self._deliver(seen)\n"
FEW = 24
"""The stories are short; a bound that they reach stands for the real one."""
EVICT = "del self.sessions[min(self.sessions, key=lambda k: min(self.sessions[k].events))]"
PLANTED = {
    "forget the version of a document": Shortcut(
        monitor.Monitor, "_commit_gateway", (('etag=known.get(r, "")', "etag=None"),)
    ),
    "take out of the inbox before the commit": Shortcut(
        monitor.Monitor, "_turn", ((COMMIT + CLEAR, CLEAR.replace("failed", "set()") + COMMIT),)
    ),
    "deliver before the commit": Shortcut(
        monitor.Monitor, "_turn", ((COMMIT + CLEAR + DELIVER, DELIVER + COMMIT + CLEAR),)
    ),
    "mark before delivering": Shortcut(
        monitor.Monitor,
        "_deliver",
        (
            (
                "            receipt = await _send(sink, postings)\n",
                "            for _, p in waiting:\n                p.left.discard(sink.name)\n            await self._commit(seen)\n            receipt = await _send(sink, postings)\n",
            ),
        ),
    ),
    "take a lost answer for a success": Shortcut(
        monitor.Monitor, "_deliver", (("done = set(receipt.accepted)", "done = {p.key for p in postings}"),)
    ),
    "do not look again when marking is refused": Shortcut(
        monitor.Monitor, "_make_good", (("for sink in self._sinks:", "for sink in ():"),)
    ),
    "advance past a gateway that failed": Shortcut(
        monitor.Monitor, "_clear", (("elif parcel.gateway not in self._unsure | failed:", "else:"),)
    ),
    "advance past a batch that failed": Shortcut(
        simulation.Simulation, "learn", (("return  # the host tries again; the checkpoint waits", "pass"),)
    ),
    "conclude before the backlog is read": Shortcut(
        monitor.Monitor, "_turn", (("self.estate.watermark(heads, now)", "now"),)
    ),
    "conclude while another partition is unread": Shortcut(
        estate.Estate, "watermark", (("return min(", "return max("), ("if self.unseen(heads):", "if not self.reached:"))
    ),
    "keep only the earliest record": Shortcut(
        fold, "_absorb", (("if (conclusion.at, n.session) > (span.last_at, span.last.session):", "if False:"),)
    ),
    "fold as soon as a negotiation has ended": Shortcut(
        fold,
        "fold",
        (
            ("cut = watermark - FOLD_HORIZON", "cut = watermark + FOLD_CONTEXT"),
            ("if len(timeline.conclusions) < min(FEW_FOLDED, MIN_FOLDED):", "if False:"),
            ("if len(old) < min(MIN_FOLDED, max(FEW_FOLDED, len(recent) - len(old))):", "if not old:"),
        ),
    ),
    "evict the oldest session": Shortcut(
        tunnel.Tunnel,
        "add",
        (
            (
                "        return new\n",
                f"        if len(self.sessions) > {FEW}:\n            {EVICT}\n        return new\n",
            ),
        ),
    ),
    "give a line without an endpoint to whom was seen last": Shortcut(
        tunnel.Gateway, "orphans", (("if len({remote for remote, _ in owners}) == 1:", "if owners:"),)
    ),
}
"""What `STATE.md` and experience name; a shortcut that no seed finds says that the simulation is too kind."""


def plant(monkeypatch: pytest.MonkeyPatch, shortcut: Shortcut) -> None:
    owner = shortcut.owner
    module = owner if inspect.ismodule(owner) else sys.modules[owner.__module__]
    original = getattr(owner, shortcut.function)
    source = inspect.getsource(original)
    for right, wrong in shortcut.changes:
        assert source.count(right) == 1, right
        source = source.replace(right, wrong)
    source = textwrap.dedent(source)
    names: dict[str, Any] = {}
    flags = __future__.annotations.compiler_flag
    exec(compile(source, "planted", "exec", flags=flags, dont_inherit=True), vars(module), names)  # noqa: S102 - our own source
    monkeypatch.setattr(owner, shortcut.function, names[shortcut.function])
    for importer in [m for name, m in sys.modules.items() if name.startswith("ikestream.")]:
        if getattr(importer, shortcut.function, None) is original:
            monkeypatch.setattr(importer, shortcut.function, names[shortcut.function])


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_shortcut_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for first in range(0, 200, A_TEST):
        seeds = range(first, first + A_TEST)
        for seed in seeds:
            reference(seed)  # by the right code
        with monkeypatch.context() as planted:
            plant(planted, PLANTED[name])
            if next(failing(seeds), None) is not None:
                return
    raise AssertionError("no seed of 200 finds it")


# --- what a simulation of random faults does not come by ------------------------------------------------------------


def parcels_of(*stories: Any) -> list[Parcel]:
    """The inbox after each story's gateway wrote its log, each into a partition of its own."""
    posted = []
    for number, story in enumerate(stories):
        records = [replace(r, gateway=f"{r.gateway}-{number}") for r in story(Lab(7)).records]
        batch = [replace(d, partition=str(number)) for d in post(records, Random(7), PROMPT)]
        posted += sort(batch)[0]
    return posted


class Shelf:
    """Where a monitor's dead letters go."""

    def __init__(self) -> None:
        self.refused: list[Refused] = []

    async def __call__(self, refused: Sequence[Refused]) -> None:
        self.refused += refused


class Bench:
    """One worker over a memory store whose clock the test turns; `broken` are partitions that are never written."""

    def __init__(self, store: Memory | None = None, shelf: Shelf | None = None) -> None:
        self.now, self.store, self.shelf = 0, store or Memory(), shelf
        self.world = World(0, 0)
        self.world.faulty = False
        self.table = Receiver(self.world, "table", messages=False)
        self.broken: Callable[[str], bool] = lambda _: False
        self.monitor = Monitor(self, [self.table], lambda: self.now, "worker", dead_letters=shelf)

    def read(self, partition: str, limit: int | None = None) -> AsyncIterator[Document]:
        return self.store.read(partition, limit)

    async def write(self, partition: str, changes: Sequence[Put | Delete]) -> list[str]:
        if self.broken(partition):
            raise TooLarge("a document is larger than the store takes")
        return await self.store.write(partition, changes)

    async def close(self) -> None:
        pass

    def post(self, parcels: Sequence[Parcel]) -> None:
        run(inbox.post(self.store, parcels))
        self.now = max(self.now, *(p.enqueued for p in parcels))

    def tick(self, times: int = 1) -> Ticked:
        for _ in range(times):
            self.now += TICK
            ticked = run(self.monitor.tick())
        return ticked

    def causes(self, gateway: str) -> set[str]:
        return {row["Cause"] for row in self.table.rows.values() if row["GatewayId"].endswith(gateway)}


def test_a_gateway_that_cannot_be_kept_is_parked_and_its_records_can_be_sent_again() -> None:
    shelf = Shelf()
    bench = Bench(shelf=shelf)
    bench.broken = lambda partition: partition.endswith("-0")
    bench.post(parcels_of(FAULTS[0], FAULTS[4]))
    first = bench.tick()
    assert not first.parked
    assert first.left  # nothing is set aside at once
    seen = bench.tick(PARKED_AFTER)
    assert [key[-2:] for key in seen.parked] == ["-0"]
    assert bench.tick(20).left == 0
    assert bench.causes("-1")
    assert not bench.causes("-0")
    assert {refused.kind for refused in shelf.refused} == {"records"}
    assert all("-0" in refused.reason for refused in shelf.refused)

    bench.broken = lambda _: False
    bench.now += PARKED
    again = [
        Delivery("9", str(number), number, bench.now, refused.body) for number, refused in enumerate(shelf.refused)
    ]
    bench.post(sort(again)[0])
    assert bench.tick(20).parked == {}
    assert bench.causes("-0") == {"PreSharedKeyMismatch"}


def test_without_dead_letters_nothing_is_set_aside() -> None:
    bench = Bench()
    bench.broken = lambda partition: partition.endswith("-0")
    bench.post(parcels_of(FAULTS[0], FAULTS[4]))
    seen = bench.tick(3 * PARKED_AFTER)
    assert not seen.parked
    assert seen.left == sum(p.gateway.endswith("-0") for p in parcels_of(FAULTS[0], FAULTS[4]))
    assert bench.causes("-1")


def test_a_gateway_whose_document_cannot_be_read_is_parked_and_named() -> None:
    bench = Bench(shelf=Shelf())
    bench.post(parcels_of(FAULTS[0], FAULTS[4]))
    bench.tick(20)
    (key,) = (k for k in bench.monitor.estate.gateways if k.endswith("-0"))
    run(bench.store.write(partition_of(key), [Put(GATEWAY_ROW, b"damaged")]))
    bench.monitor = Monitor(bench, [bench.table], lambda: bench.now, "another", dead_letters=bench.shelf)
    bench.now += LEASE
    assert any("-0" in said and GATEWAY_ROW in said for said in bench.tick(2).trouble)
    assert [k[-2:] for k in bench.tick(PARKED_AFTER).parked] == ["-0"]


def test_a_parcel_that_cannot_be_read_is_set_aside_and_until_then_nothing_is_concluded() -> None:
    bench = Bench()
    run(bench.store.write(INBOX, [Put("0|damaged", b"damaged")]))
    bench.post(parcels_of(FAULTS[0]))
    bench.tick(20)
    assert not bench.table.rows
    bench.monitor = Monitor(bench, [bench.table], lambda: bench.now, "another", dead_letters=(shelf := Shelf()))
    bench.now += LEASE
    bench.tick(20)
    assert [(refused.kind, refused.body) for refused in shelf.refused] == [("parcel", b"damaged")]
    assert bench.causes("-0") == {"PreSharedKeyMismatch"}


def test_a_worker_with_an_old_view_of_a_gateway_changes_none_of_its_tunnels() -> None:
    """Somebody else has learned of another tunnel: only the gateway's own document stands between them."""
    one, other = Bench(), Bench()
    other.store = one.store
    (whole,) = parcels_of(FAULTS[0])
    half = len(whole.events) // 2
    one.post([replace(whole, events=whole.events[:half])])
    one.tick()
    other.now = one.now + 2 * LEASE
    strange = tuple(replace(e, remote="198.51.100.200", session="") for e in whole.events if e.remote)
    other.post([replace(whole, first=10**6, last=10**6, events=strange)])
    other.tick()

    async def kept() -> list[bytes]:
        return [d.body async for d in one.store.read(partition_of(whole.gateway))]

    before = run(kept())
    take(one.monitor.estate, replace(whole, events=whole.events[half:]))
    with pytest.raises(Conflict):
        run(one.monitor._commit(Ticked()))
    assert run(kept()) == before


def paged(records: Sequence[Record], until: int) -> list[tuple[str, str]]:
    """What a pager is told of a gateway whose log is `records`: (address, why), in order."""
    bench = Bench()
    pager = Receiver(bench.world, "pager", messages=True)
    heard: list[tuple[str, str]] = []

    async def send(postings: Sequence[Posting]) -> Receipt:
        heard.extend(
            (p.row["RemoteIP"], p.why.value) for p in postings if p.row["Kind"] == "Outage" and p.why is not Why.CHANGED
        )
        return Receipt(accepted={p.key for p in postings})

    pager.send = send  # type: ignore[method-assign]
    bench.monitor = Monitor(bench, [bench.table, pager], lambda: bench.now, "worker")
    deliveries = post(records, Random(7), PROMPT)
    bench.now = deliveries[0].enqueued
    while bench.now < until:
        ready = [d for d in deliveries if d.enqueued <= bench.now]
        if ready:
            deliveries = deliveries[len(ready) :]
            run(inbox.post(bench.store, sort(ready)[0]))
        bench.tick()
    return heard


def test_a_gateway_that_is_down_is_one_message_and_its_tunnels_none() -> None:
    heard = paged(fallen(5, 6, back=HOUR), START + 3 * HOUR)
    assert heard == [("", "opened"), ("", "resolved")]


def test_a_tunnel_that_stays_down_when_its_gateway_is_up_again_is_told_then() -> None:
    stays = "203.0.113.4"
    records = [r for r in fallen(5, 6, back=HOUR) if not (r.remote_ip == stays and (r.at or 0) >= START + 2 * HOUR)]
    back = replace(records[0], at=START + 4 * HOUR, remote_ip=stays)
    heard = paged([*records, back], START + 5 * HOUR)
    assert heard == [("", "opened"), ("", "resolved"), (stays, "opened"), (stays, "resolved")]


def test_a_few_tunnels_that_go_down_are_a_message_each() -> None:
    heard = paged(fallen(2, 6, back=HOUR), START + 3 * HOUR)
    assert sorted(heard) == [(f"203.0.113.{n}", why) for n in range(2) for why in ("opened", "resolved")]


def test_who_hears_of_an_incident_only_now_hears_that_it_opened() -> None:
    def news(*tellings: tuple[int, Why]) -> list[tuple[int, Why]]:
        waiting = [
            (Scope("g", "r"), Pending(Posting({"IncidentId": "i", "Revision": revision}, why), {"pager"}))
            for revision, why in tellings
        ]
        return [(p.row["Revision"], p.why) for p in Bench().monitor._news(waiting)]

    assert news((1, Why.OPENED), (2, Why.CHANGED)) == [(2, Why.OPENED)]
    assert news((1, Why.OPENED), (2, Why.CHANGED), (3, Why.RESOLVED)) == [(3, Why.RESOLVED)]
    assert news((2, Why.CHANGED), (3, Why.CHANGED)) == [(3, Why.CHANGED)]
