"""Hub, workers, store and receivers in simulated time, with crashes, lost races and lost answers: laws 2 to 4.

One seed decides everything. Every await of the code under test is a step of a coroutine that the simulation may
delay, abandon (a crash) or answer with a fault, before or after the effect. At the end the faults stop, the clock runs
on, and what the receivers hold is compared with the reference: every record on time, in order, nothing ever failing.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Sequence
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import pytest

from ikestream import inbox, monitor
from ikestream.batch import Delivery, sort
from ikestream.incident import Row
from ikestream.lab import FAULTS, HEALTHY, Feed, Lab, Story, post
from ikestream.monitor import Monitor
from ikestream.sinks import Posting, Receipt, Why
from ikestream.stores import Delete, Document, Put, Unavailable
from ikestream.stores.memory import Memory
from ikestream.times import DAY, MINUTE, SECOND, TICK
from tests.streams import AFTERWARDS, in_order, told

SEEDS = range(300)


class Step:
    """Where the simulation takes over."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class World:
    """The clock, and whether things fail."""

    def __init__(self, seed: int, start: int) -> None:
        self.random, self.now, self.faulty = Random(seed), start, True

    def fails(self, chance: float = 0.06) -> bool:
        return self.faulty and self.random.random() < chance


class FaultyStore:
    """A memory store whose pages are read one by one, which does not answer, or answers too late to be heard."""

    def __init__(self, world: World) -> None:
        self.world, self.inner = world, Memory()

    async def read(self, partition: str, limit: int | None = None) -> AsyncIterator[Document]:
        after, left = "", 10**9 if limit is None else limit
        while left > 0:
            await Step()
            if self.world.fails():
                raise Unavailable("503")
            page = [d async for d in self.inner.read(partition) if d.row > after][: min(3, left)]
            for document in page:
                yield document
            if len(page) < 3:
                return
            after, left = page[-1].row, left - len(page)

    async def write(self, partition: str, changes: Sequence[Put | Delete]) -> list[str]:
        await Step()
        if self.world.fails():
            raise Unavailable("timed out before")
        etags = await self.inner.write(partition, changes)
        await Step()
        if self.world.fails():
            raise Unavailable("committed, but the answer was lost")
        return etags

    async def close(self) -> None:
        pass


class Receiver:
    """Accepts, refuses to answer, or accepts a part; a row of a key must never change."""

    def __init__(self, world: World, name: str, *, messages: bool) -> None:
        self.world, self.name, self.messages = world, name, messages
        self.rows: dict[tuple[str, int], Row] = {}
        self.newest: dict[str, int] = {}  # incident -> revision of the last message
        self.why: dict[tuple[str, int], Why] = {}

    async def send(self, postings: Sequence[Posting]) -> Receipt:
        receipt = Receipt()
        for posting in postings:
            await Step()
            if self.world.fails(0.1):
                receipt.trouble, receipt.retry_after = "429", 20.0
                break
            assert self.rows.setdefault(posting.key, posting.row) == posting.row
            self.newest[posting.key[0]] = posting.key[1]
            self.why.setdefault(posting.key, posting.why)
            if self.world.fails(0.05):
                continue  # it came, and nobody knows
            receipt.accepted.add(posting.key)
        return receipt

    async def close(self) -> None:
        pass


class Simulation:
    """Learners of each partition, and two workers that would tick."""

    def __init__(self, seed: int, deliveries: Sequence[Delivery]) -> None:
        self.world = World(seed, min(d.enqueued for d in deliveries))
        self.store = FaultyStore(self.world)
        self.table = Receiver(self.world, "table", messages=False)
        self.pager = Receiver(self.world, "pager", messages=True)
        self.deliveries = deliveries
        self.checkpoints = dict.fromkeys(sorted({d.partition for d in deliveries}), 0)
        self.running: dict[str, Coroutine[Any, Any, object]] = {}
        self.monitors: dict[str, Monitor] = {}
        self.born = 0

    def worker(self) -> Monitor:
        self.born += 1
        sinks = [self.table, self.pager]
        return Monitor(self.store, sinks, lambda: self.world.now, f"worker-{self.born}", heads=self.heads)

    async def heads(self) -> dict[str, int]:
        await Step()
        if self.world.fails():
            raise Unavailable("the hub")
        return {
            p: max(
                (d.sequence_number for d in self.deliveries if d.partition == p and d.enqueued <= self.world.now),
                default=-1,
            )
            for p in self.checkpoints
        }

    def unread(self, partition: str) -> list[Delivery]:
        own = [d for d in self.deliveries if d.partition == partition and d.enqueued <= self.world.now]
        return own[self.checkpoints[partition] :]

    async def learn(self, partition: str) -> None:
        batch = self.unread(partition)[: self.world.random.choice((1, 2, 5, 50))]
        if not batch:
            return
        try:
            await inbox.post(self.store, sort(batch)[0])
        except Unavailable:
            return  # the host tries again; the checkpoint waits
        self.checkpoints[partition] += len(batch)

    async def tick(self, name: str) -> None:
        await self.monitors[name].tick()

    def step(self, name: str, start: Callable[[], Coroutine[Any, Any, object]]) -> None:
        running = self.running.get(name)
        if running is None:
            running = self.running[name] = start()
        try:
            running.send(None)
        except StopIteration:
            del self.running[name]

    def crash(self, name: str) -> None:
        running = self.running.pop(name, None)
        if running is not None:
            running.close()
        self.monitors.pop(name, None)

    def run(self) -> None:
        random = self.world.random
        workers = [*self.checkpoints, "tick-a", "tick-b"]
        while any(self.checkpoints[p] < sum(d.partition == p for d in self.deliveries) for p in self.checkpoints):
            name = random.choice(workers)
            if random.random() < 0.005:
                self.crash(name)
                continue
            for _ in range(random.choice((1, 3, 30))):
                if name in self.checkpoints:
                    self.step(name, lambda name=name: self.learn(name))  # type: ignore[misc]
                else:
                    self.monitors.setdefault(name, self.worker())
                    self.step(name, lambda name=name: self.tick(name))  # type: ignore[misc]
            if random.random() < 0.15:
                self.world.now += random.choice((SECOND, 5 * SECOND, TICK, TICK, MINUTE, 20 * MINUTE))

    def run_on(self) -> None:
        """No faults any more: one worker goes on until nothing but restatements is to come."""
        for name in list(self.running):
            self.crash(name)
        self.world.faulty = False
        self.world.now = max(self.world.now, max(d.enqueued for d in self.deliveries)) + 5 * MINUTE
        last, end = self.worker(), self.world.now + AFTERWARDS
        settled = 0
        while self.world.now < end:
            finish(last.tick())
            due = last.estate.next_due()
            settled = settled + 1 if due is None or due > end else 0
            if settled > 4:
                break
            self.world.now = max(self.world.now + TICK, min(due or 0, end))


def finish(coroutine: Coroutine[Any, Any, object]) -> None:
    """Run it through, whatever it waits for."""
    try:
        while True:
            coroutine.send(None)
    except StopIteration:
        pass


def simulate(seed: int, story: Callable[[Lab], Story]) -> None:
    records = story(Lab(seed)).records
    begin = min(r.at or 0 for r in records)
    records = tuple(r for r in records if (r.at or 0) < begin + DAY)[:400]
    simulation = Simulation(seed, post(records, Random(seed), Feed()))
    simulation.run()
    simulation.run_on()

    table, pager = simulation.table, simulation.pager
    rows = [row for _, row in sorted(table.rows.items())]
    assert told(rows) == told(in_order(records))
    for (incident, revision), why in table.why.items():
        assert why is Why.UPDATED or pager.newest.get(incident, 0) >= revision


def simulate_all(seeds: range) -> None:
    for seed in seeds:
        simulate(seed, STORIES[seed % len(STORIES)])


STORIES = [*FAULTS, *HEALTHY]


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_fails_costs_a_delay_and_never_a_verdict(seed: int) -> None:
    simulate(seed, STORIES[seed % len(STORIES)])


# --- shortcuts, planted -------------------------------------------------------------------------------------------

COMMIT = "        committed = await self._commit(seen)\n"
CLEAR = "        await self._clear(parcels, committed, seen)\n"
PLANTED = {
    "forget the version of a document": ('etag=known.get(r, "")', "etag=None"),
    "take out of the inbox before the commit": (COMMIT + CLEAR, CLEAR.replace("committed", "set()") + COMMIT),
    "deliver before the commit": (COMMIT + CLEAR, "        await self._deliver(seen)\n" + COMMIT + CLEAR),
    "advance past a gateway that failed": ("elif parcel.gateway not in self._unsure | failed:", "else:"),
}


@pytest.mark.parametrize("shortcut", PLANTED)
def test_a_planted_shortcut_is_found(shortcut: str, monkeypatch: pytest.MonkeyPatch) -> None:
    right, wrong = PLANTED[shortcut]
    source = Path(monitor.__file__).read_text("utf-8")
    assert source.count(right) == 1
    planted = ModuleType("planted")
    monkeypatch.setitem(sys.modules, "planted", planted)  # its dataclasses look their module up
    exec(compile(source.replace(right, wrong), "planted", "exec"), planted.__dict__)  # noqa: S102 - our own source
    monkeypatch.setitem(globals(), "Monitor", planted.Monitor)
    with pytest.raises((AssertionError, KeyError)):
        simulate_all(range(200))
