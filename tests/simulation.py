"""Hub, workers, store and receivers in simulated time, with whatever can go wrong between them.

One seed decides everything, so a failing seed replays exactly. Every await of the code under test is a step of a
coroutine that the simulation may delay, freeze for minutes, abandon (a crash) or answer with a fault, before or after
the effect. The workers' clocks differ, and so do their rules. At the end the faults stop, the clock runs on, whoever
was frozen wakes up, and what the receivers hold is compared with the reference: every record on time, in order,
nothing ever failing.

`python -m tests.simulation FIRST:LAST` runs a range of seeds and prints those that fail; with `configured` behind it
the gateways have connections that are changed, removed and moved meanwhile, as far as Resource Manager can be read.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import AsyncIterator, Coroutine, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache, partial
from random import Random
from typing import Any, TypeVar, cast

import orjson

from ikestream import inbox, monitor
from ikestream.batch import Delivery, sort
from ikestream.events import Kind, Proposal, Record
from ikestream.grammar import read
from ikestream.incident import Row
from ikestream.inventory import Connection, Inventory, Mode, VpnGateway
from ikestream.inventory.connections import Listing
from ikestream.inventory.keeping import EVERY, Keeper, View
from ikestream.inventory.resource_manager import Reading
from ikestream.lab import FAULTS, HEALTHY, Feed, Lab, post
from ikestream.monitor import Refused
from ikestream.sinks import Posting, Receipt, Why
from ikestream.stores import Delete, Document, Put, Unavailable
from ikestream.stores.memory import Memory
from ikestream.times import DAY, HOUR, MINUTE, SECOND, TICK
from tests.streams import AFTERWARDS, in_order, told

T = TypeVar("T")
STORIES = [*FAULTS, *HEALTHY]
RECORDS = 400
"""Of one story; what a week of a healthy tunnel says more is left out."""
PATIENCE = 10
"""Ticks in which a worker that wakes up must have made good what it owes, when nothing fails any more."""
SKEW = 10 * SECOND
"""How far a worker's clock may be wrong, either way."""

FREEZES = {"page": 0.3, "send": 0.05, "sent": 0.05, "written": 0.05}
"""How often a worker freezes at what it does; where it hurts most, and seldom comes by, more often."""


class Step:
    """Where the simulation takes over; `doing` says what the worker was at."""

    def __init__(self, doing: str) -> None:
        self.doing = doing

    def __await__(self) -> Generator[str, None, None]:
        yield self.doing


class World:
    """The true clock, and whether things fail."""

    def __init__(self, seed: int, start: int) -> None:
        self.random, self.now, self.faulty = Random(seed), start, True

    def fails(self, chance: float = 0.06) -> bool:
        return self.faulty and self.random.random() < chance


class FaultyStore:
    """A memory store whose pages are read one by one, which does not answer, or answers too late to be heard.

    As in Azure Table storage a page names the row with which the next one begins: what is posted before that row in
    the meantime is not seen.
    """

    def __init__(self, world: World) -> None:
        self.world, self.inner = world, Memory()

    async def read(self, partition: str, limit: int | None = None) -> AsyncIterator[Document]:
        first, left = "", 10**9 if limit is None else limit
        while left > 0:
            await Step("read")
            if self.world.fails():
                raise Unavailable("503")
            rest = [d async for d in self.inner.read(partition) if d.row >= first]
            page = rest[: min(3, left)]
            for document in page:
                yield document
            if len(page) == len(rest):
                return
            first, left = rest[len(page)].row, left - len(page)

    async def write(self, partition: str, changes: Sequence[Put | Delete]) -> list[str]:
        await Step("write")
        if self.world.fails():
            raise Unavailable("timed out before")
        etags = await self.inner.write(partition, changes)
        await Step("written")
        if self.world.fails():
            raise Unavailable("committed, but the answer was lost")
        return etags

    async def close(self) -> None:
        pass


class Receiver:
    """Accepts, does not answer, accepts a part, or refuses a row for good; a row of a key must never change."""

    def __init__(self, world: World, name: str, *, messages: bool, refuses: bool = False) -> None:
        self.world, self.name, self.messages, self.refuses = world, name, messages, refuses
        self.rows: dict[tuple[str, int], Row] = {}
        self.newest: dict[str, int] = {}  # incident -> revision of the last message
        self.why: dict[tuple[str, int], Why] = {}

    async def send(self, postings: Sequence[Posting]) -> Receipt:
        receipt = Receipt()
        for posting in postings:
            await Step("page" if self.messages else "send")
            if self.world.fails(0.1):
                receipt.trouble, receipt.retry_after = "429", self.world.random.choice((None, 20.0, 300.0))
                break
            if self.refuses and int(posting.key[0], 16) % 5 == 0 and posting.key[1] % 2:
                receipt.refused[posting.key] = "413"
                continue
            assert self.rows.setdefault(posting.key, posting.row) == posting.row, "a row has changed"
            self.newest[posting.key[0]] = posting.key[1]
            self.why.setdefault(posting.key, posting.why)
            await Step("sent")
            if self.world.fails(0.05):
                continue  # it came, and nobody knows
            receipt.accepted.add(posting.key)
        return receipt

    async def close(self) -> None:
        pass


class Cloud:
    """What is configured on the gateways of a log, and how it is changed while it is written."""

    def __init__(self, seed: int, records: Sequence[Record]) -> None:
        random = self._random = Random(seed)
        first, last = (pick(r.at or 0 for r in records) for pick in (min, max))
        peers: dict[str, set[str]] = {}
        for record in records:
            event = read(record)
            if event.remote and event.kind is not Kind.UNREAD:
                peers.setdefault(event.gateway, set()).add(event.remote)
        self.scopes = sorted(peers)
        self.states: list[tuple[int, dict[str, list[Connection]]]] = []
        state = {
            gateway: [self._connection(gateway, remote) for remote in sorted(remotes) if random.random() < 0.8]
            for gateway, remotes in peers.items()
        }
        self.states.append((0, state))
        for at in sorted(random.randint(first, last + HOUR) for _ in range(random.choice((0, 1, 2, 4)))):
            state = {gateway: list(connections) for gateway, connections in state.items()}
            connections = state[random.choice(self.scopes)]
            if connections:
                self._change(connections)
            self.states.append((at, state))

    def _connection(self, gateway: str, remote: str) -> Connection:
        name = f"cn-{remote}"
        return self._custom(Connection(f"{gateway}/{name}", name, "RG", remote, site="lng"))

    def _custom(self, connection: Connection) -> Connection:
        choose = self._random.choice
        if choose((True, False)):
            return replace(connection, ike=None, ipsec=None)
        return replace(
            connection,
            ike=Proposal("AES256", choose(("SHA256", "SHA1")), choose(("DHGroup2", "DHGroup14"))),
            ipsec=Proposal("AES256", "SHA256", choose(("None", "PFS2048"))),
        )

    def _change(self, connections: list[Connection]) -> None:
        place = self._random.randrange(len(connections))
        one = connections.pop(place)
        what = self._random.choice(("policy", "mode", "remove", "move", "rename"))
        if what == "policy":
            connections.append(self._custom(one))
        elif what == "mode":
            connections.append(replace(one, mode=self._random.choice(tuple(Mode))))
        elif what == "move":
            connections.append(replace(one, remote="198.51.100.250"))
        elif what == "rename":
            connections.append(replace(one, id=f"{one.id}-new", name=f"{one.name}-new"))

    def read(self, now: int, *, unread: bool, partial: bool, short: bool) -> Reading:
        """Return what a reading finds at `now`.

        `unread`: not the first gateway; `partial`: no addresses of its sites; `short`: not its first connection, of which
        nobody says that it is there.
        """
        state = max((s for s in self.states if s[0] <= now), key=lambda s: s[0])[1]
        first = self.scopes[0]
        if partial:
            state = {**state, first: [replace(c, remote="") for c in state[first]]}
        if short:
            state = {**state, first: state[first][1:]}
        lost = [first] if unread else []
        return Reading(
            tuple(
                Listing(VpnGateway(gateway, gateway.rpartition("/")[2], "RG"), tuple(connections))
                for gateway, connections in state.items()
                if gateway not in lost
            ),
            partial=frozenset([first.lower()] if partial and not unread else ()),
            unread=frozenset(gateway.lower() for gateway in lost),
        )


class Simulation:
    """Learners of each partition, and two workers that would tick; one that reads what is configured, if anything is."""

    def __init__(self, seed: int, deliveries: Sequence[Delivery], cloud: Cloud | None = None) -> None:
        self.cloud = cloud
        self.world = World(seed, min(d.enqueued for d in deliveries))
        self.store = FaultyStore(self.world)
        self.table = Receiver(self.world, "table", messages=False, refuses=True)
        self.pagers = [Receiver(self.world, f"pager-{n}", messages=True) for n in range(2)]
        self.dead: dict[bytes, Refused] = {}
        self.deliveries = deliveries
        self.checkpoints = dict.fromkeys(sorted({d.partition for d in deliveries}), 0)
        self.running: dict[str, Coroutine[Any, Any, object]] = {}
        self.frozen: dict[str, int] = {}  # who does nothing, and until when
        self.monitors: dict[str, monitor.Monitor] = {}
        self.born = 0

    def worker(self, rules: int) -> monitor.Monitor:
        self.born += 1
        skew = self.world.random.randint(-SKEW, SKEW)
        return monitor.Monitor(
            self.store,
            [self.table, *self.pagers],
            lambda: self.world.now + skew,
            f"worker-{self.born}",
            heads=self.heads,
            dead_letters=self.bury,
            inventory=View(self.store) if self.cloud is not None else None,
            rules=rules,
        )

    async def refresh(self) -> None:
        """Read what is configured, if it is time."""
        try:
            await Keeper(self.store, self.list_, self.scopes, lambda: self.world.now, f"keeper-{self.born}").refresh()
        except Unavailable:
            return

    @property
    def scopes(self) -> list[str]:
        return self.cloud.scopes if self.cloud is not None else []

    async def list_(self, _: Sequence[str]) -> Reading:
        assert self.cloud is not None
        await Step("list")
        fails = self.world.fails
        found = self.cloud.read(self.world.now, unread=fails(0.1), partial=fails(0.1), short=fails(0.05))
        await Step("listed")
        return found

    async def heads(self) -> dict[str, int]:
        await Step("ask")
        if self.world.fails():
            raise Unavailable("the hub")
        return {
            p: max(
                (d.sequence_number for d in self.deliveries if d.partition == p and d.enqueued <= self.world.now),
                default=-1,
            )
            for p in self.checkpoints
        }

    async def bury(self, refused: Sequence[Refused]) -> None:
        await Step("bury")
        if self.world.fails():
            raise Unavailable("the dead-letter hub")
        self.dead |= {one.body: one for one in refused}

    async def learn(self, partition: str) -> None:
        """What the host does: the checkpoint moves after the batch, and never back."""
        begin = self.checkpoints[partition]
        own = [d for d in self.deliveries if d.partition == partition and d.enqueued <= self.world.now]
        batch = own[begin:][: self.world.random.choice((1, 2, 5, 50))]
        if not batch:
            return
        try:
            await inbox.post(self.store, sort(batch)[0])
        except Unavailable:
            return  # the host tries again; the checkpoint waits
        await Step("checkpoint")
        self.checkpoints[partition] = max(self.checkpoints[partition], begin + len(batch))

    async def tick(self, name: str) -> None:
        await self.monitors[name].tick()

    def start(self, name: str) -> Coroutine[Any, Any, object]:
        if name in self.checkpoints:
            return self.learn(name)
        if name.startswith("keeper"):
            self.born += 1
            return self.refresh()
        if name not in self.monitors:
            self.monitors[name] = self.worker(rules=self.world.random.choice((1, 1, 1, 2)))
        return self.tick(name)

    def step(self, name: str) -> None:
        """Go on with a worker until its next await."""
        if name not in self.running:
            self.running[name] = self.start(name)
        try:
            doing = self.running[name].send(None)
        except StopIteration:
            del self.running[name]
            if "once" in name and (worker := self.monitors.pop(name, None)) and worker.owes:
                self.monitors[name] = worker  # it lives on until it owes nothing
                self.running[name] = self.tick(name)
            return
        random = self.world.random
        if "once" not in name and random.random() < FREEZES.get(doing, 0.002):
            # The platform takes it for dead and starts another, which must wait for the lease; it wakes up some time.
            self.born += 1
            ghost = f"{name}, once, {self.born}"
            self.running[ghost] = self.running.pop(name)
            self.frozen[ghost] = self.world.now + random.choice((MINUTE, 2 * MINUTE, 5 * MINUTE, 20 * MINUTE, DAY))
            if name in self.monitors:
                self.monitors[ghost] = self.monitors.pop(name)

    def crash(self, name: str) -> None:
        """End a worker in the middle of anything.

        But one: who froze before sending a message, sent it after its lease, and then dies, leaves an old message
        behind that nobody knows of. Receivers that must not have that order by `Revision`.
        """
        if name in self.monitors and self.monitors[name].owes:
            return
        running = self.running.pop(name, None)
        if running is not None:
            running.close()
        self.monitors.pop(name, None)
        self.frozen.pop(name, None)

    def awake(self, name: str) -> bool:
        return self.frozen.get(name, 0) <= self.world.now

    def run(self) -> None:
        """Everything goes wrong, until all is learned and half an hour more."""
        random = self.world.random
        until = max(d.enqueued for d in self.deliveries) + 30 * MINUTE
        workers = [*self.checkpoints, "tick-a", "tick-b", *(["keeper"] if self.cloud is not None else [])]
        while self.world.now < until or not self.has_learned():
            name = random.choice([*workers, *(ghost for ghost in self.running if ghost not in workers)])
            if random.random() < 0.005:
                self.crash(name)
                continue
            for _ in range(random.choice((1, 3, 30))):
                if self.awake(name) and (name in workers or name in self.running):
                    self.step(name)
            if random.random() < 0.15:
                self.world.now += random.choice((SECOND, 5 * SECOND, TICK, TICK, MINUTE, 20 * MINUTE))

    def known(self) -> Inventory:
        """What is known of the configuration in the end."""
        return run(View(self.store).read(self.world.now))

    def has_learned(self) -> bool:
        return all(n == sum(d.partition == p for d in self.deliveries) for p, n in self.checkpoints.items())

    def run_on(self) -> None:
        """No faults any more: one worker goes on until nothing but restatements is to come.

        Whoever was in the middle of something comes back in the middle of it, long after.
        """
        self.world.faulty = False
        self.world.now = max(self.world.now, max(d.enqueued for d in self.deliveries)) + 15 * MINUTE
        last, begun, end = self.worker(rules=2), self.world.now, self.world.now + AFTERWARDS
        settled = 0
        while self.world.now < end:
            if self.cloud is not None:
                run(self.refresh())
            run(last.tick())
            due = last.estate.next_due()
            settled = settled + 1 if due is None or due > end else 0
            if settled > 4 and not self.running:
                break
            for name in list(self.running):
                # After a day an incident that is over is forgotten, and nobody could tell that a message is old.
                if self.world.random.random() < 0.3 or self.world.now > begun + 6 * HOUR:
                    run(self.running.pop(name))
                    for _ in range(PATIENCE):
                        if name in self.monitors and self.monitors[name].owes:
                            run(self.tick(name))
            most = self.world.now + EVERY if self.cloud is not None else end  # what is not read for a day is not known
            self.world.now = max(self.world.now + TICK, min(due or 0, end, most))


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run it through, whatever it waits for."""
    try:
        while True:
            coroutine.send(None)
    except StopIteration as end:
        return cast("T", end.value)


def script(seed: int) -> list[Record]:
    """Return what happens: one story, or two at once at one gateway."""
    one, *more = [
        STORIES[number % len(STORIES)](Lab(number)).records for number in (seed, seed + 7 * 3**5)[: 2 - seed % 2]
    ]
    begin, gateway = min(r.at or 0 for r in one), one[0].gateway
    records = list(one)
    for other in more:
        shift = begin - min(r.at or 0 for r in other)
        records += [replace(r, at=(r.at or 0) + shift, gateway=gateway) for r in other]
    records.sort(key=lambda r: r.at or 0)
    return [r for r in records if (r.at or 0) < begin + DAY][:RECORDS]


@cache
def reference(seed: int) -> list[dict[str, Any]]:
    """Return what must have been told in the end, whatever happens."""
    return told(in_order(script(seed)))


def simulate(seed: int, *, configured: bool = False) -> None:
    """Run one seed to its end. Raises `AssertionError` if a law was broken."""
    records = script(seed)
    simulation = Simulation(seed, post(records, Random(seed), Feed()), Cloud(seed, records) if configured else None)
    simulation.run()
    simulation.run_on()
    expected = told(in_order(records, simulation.known())) if configured else reference(seed)

    rows = {**simulation.table.rows}
    for refused in simulation.dead.values():
        row = orjson.loads(refused.body)
        assert refused.kind == "row", refused.reason
        assert rows.setdefault((row["IncidentId"], row["Revision"]), row) == row, "a row has changed"
    assert told([row for _, row in sorted(rows.items())]) == expected, "told otherwise than in order"
    newest = dict(sorted(rows))
    for pager in simulation.pagers:
        for (incident, revision), why in simulation.table.why.items():
            assert why is Why.UPDATED or pager.newest.get(incident, 0) >= revision, "a message was never delivered"
        for incident, revision in pager.newest.items():
            assert revision == max(r for i, r in pager.rows if i == incident), "the last message is not the newest"
            assert revision <= newest[incident], "a message without a row"


def failing(seeds: Sequence[int], *, configured: bool = False) -> Iterator[tuple[int, str]]:
    """Run seeds; yield those that fail, each with what it failed of."""
    for seed in seeds:
        try:
            simulate(seed, configured=configured)
        except Exception:  # noqa: BLE001 - whatever a planted fault leads to
            yield seed, traceback.format_exc(limit=-2)


def main() -> int:
    """Run a range of seeds on every core; exit status 1 if one fails."""
    first, last = map(int, sys.argv[1].split(":"))
    bad = 0
    with ProcessPoolExecutor() as pool:
        chunks = [range(n, min(n + 50, last)) for n in range(first, last, 50)]
        failures = partial(_failures, configured="configured" in sys.argv[2:])
        for done, found in zip(chunks, pool.map(failures, chunks), strict=True):
            bad += len(found)
            for seed, why in found:
                print(f"seed {seed}\n{why}", flush=True)
            if done.stop % 1000 == 0:
                print(f"up to {done.stop}: {bad} failed", flush=True)
    print(f"{last - first} seeds from {first}: {bad} failed")
    return min(bad, 1)


def _failures(seeds: range, *, configured: bool) -> list[tuple[int, str]]:
    return list(failing(seeds, configured=configured))


if __name__ == "__main__":
    sys.exit(main())
