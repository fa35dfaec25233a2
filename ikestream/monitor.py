"""Store x hub x sinks -> one tick: parcels are learned, verdicts told, committed, and only then delivered.

Batches only post parcels into the inbox; the tick alone writes what is known, so that batches of any number of
partitions never contend, and learn by one idempotent write. What makes it safe, whatever dies or freezes when:

1. A parcel leaves the inbox after every gateway it speaks of has been committed with it. Learned again, it changes
   nothing.
2. Nothing is concluded unless the whole inbox was read and the hub said how far it is written (law 4). The event before
   one that was read has been read: partitions are posted in order (`_note_read`).
3. One worker ticks at a time, by a lease; but a lease is no fence (a frozen worker goes on), the versions of documents
   are. Whatever is known in memory holds as long as the chain of the lease's own versions is unbroken; with the first
   conflict it is all forgotten and read anew.
4. A gateway's commit always writes its own document, so whoever works on an old view of any tunnel of it fails.
5. A revision is committed with the facts that it rests on, in an outbox, before it is delivered, and marked after. Who
   finds at marking that somebody else went on looks again, and sends what is newest: a receiver's last word is the last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import orjson

from ikestream import codec, keeping
from ikestream.batch import Parcel, bodies, take
from ikestream.estate import Estate, Partition, Scope
from ikestream.events import Kind
from ikestream.inbox import INBOX
from ikestream.incident import Row, Telling, Told, Why
from ikestream.inventory.connections import NOTHING
from ikestream.inventory.keeping import View
from ikestream.keeping import ITSELF, Pending
from ikestream.related import is_covered
from ikestream.sinks import Posting, Receipt, Sink
from ikestream.stores import Conflict, Delete, Document, Put, Store, TooLarge, Unavailable, partition
from ikestream.tick import conclude
from ikestream.times import BUDGET, LEASE, LEASE_LEFT, PARKED, SECOND, STANDBY
from ikestream.times import TICK as TICK_LENGTH

FORMAT = 3
"""Of what is kept. Who meets a higher one touches nothing: what newer code wrote stays as it is. 1 wrote events by name, 2 of
the Tunnel log only that there is one."""
RULES = 2
"""Counts up when verdicts change: of two versions that run side by side only the newer one tells."""

GATEWAYS = "gateways"
TICK = "tick"
GATEWAY_ROW = "gateway"
PARKED_AFTER = 5
"""Ticks in a row in which a gateway cannot be committed while others can."""

Heads: TypeAlias = Callable[[], Awaitable[dict[str, int]]]
"""Asks the hub: partition -> sequence number of its last event. Raises what `Monitor` is told to expect of it."""


@dataclass(slots=True)
class TickState:
    """Who ticks, and how far the hub has been read: the one document all workers fight for."""

    holder: str = ""
    until: int = 0  # ms
    format: int = FORMAT
    rules: int = RULES
    partitions: dict[str, Partition] = field(default_factory=dict)
    reached: dict[str, int] = field(default_factory=dict)
    parked: dict[str, int] = field(default_factory=dict)  # gateways that cannot be committed -> since (ms)


@dataclass(slots=True)
class Ticked:
    """What a tick saw, for the health table."""

    held: bool = False  # whether this worker's turn it was
    watermark: int | None = None
    heads: dict[str, int] = field(default_factory=dict)
    parcels: int = 0
    events: int = 0
    left: int = 0  # parcels that stay in the inbox
    told: int = 0
    delivered: int = 0
    refused: int = 0
    lost_races: int = 0
    parked: dict[str, int] = field(default_factory=dict)
    inventory_at: int | None = None  # when the configuration was read (ms), of the gateway that was read longest ago
    unseen: list[str] = field(default_factory=list)  # partitions of which nothing was ever read
    trouble: list[str] = field(default_factory=list)  # one line each, no secret


@dataclass(frozen=True, slots=True)
class Refused:
    """What is set aside for good, for the dead letters: a row that a sink refused, or records that cannot be kept.

    `body` is the row as JSON, a hub body that reads as those records did, or what stands in the inbox and cannot be read.
    """

    kind: str  # row, records, parcel
    body: bytes
    reason: str


DeadLetters: TypeAlias = Callable[[Sequence[Refused]], Awaitable[None]]
"""Keeps what is refused; raises `Unavailable` if it could not."""


def partition_of(key: str) -> str:
    """Return the store's partition of a gateway's facts."""
    return partition("g", key)


class Monitor:
    """One worker's tick. Awaits nothing but its arguments, so that a simulation can stop it at every step."""

    def __init__(
        self,
        store: Store,
        sinks: Sequence[Sink],
        clock: Callable[[], int],
        worker: str,
        *,
        heads: Heads | None = None,
        unreachable: type[Exception] = Unavailable,
        dead_letters: DeadLetters | None = None,
        inventory: View | None = None,
        rules: int = RULES,
    ) -> None:
        self._store, self._sinks, self._clock, self._worker = store, sinks, clock, worker
        self._heads, self._unreachable, self._dead, self._rules = heads, unreachable, dead_letters, rules
        self._state, self._etag = TickState(), ""
        self._inventory = inventory
        self._waits: dict[str, int] = {}  # sink -> ms before which it wants no more
        self._owed: dict[str, dict[str, tuple[str, int]]] = {}  # sink -> incident -> gateway, revision sent, not marked
        self._failures: dict[str, int] = {}  # gateway -> ticks in a row in which it could not be committed
        self._forget()

    def _forget(self) -> None:
        """Know nothing any more: the next tick reads everything anew."""
        self.estate = Estate(changed=set())
        self.outbox: dict[Scope, list[Pending]] = {}
        self._etag = ""
        self._etags: dict[str, dict[str, str]] = {}  # gateway -> row -> version
        self._digests: dict[tuple[str, str], bytes] = {}
        self._unsure: set[str] = set()  # gateways of which is not known what the store holds
        self._unreadable: dict[str, str] = {}  # those of them with a document that cannot be read -> which, and why

    async def tick(self) -> Ticked:
        """Do everything that is to be done now. Raises nothing for what store, hub or sinks do."""
        seen = Ticked()
        try:
            await self._make_good()
            seen.held = await self._hold()
            if seen.held:
                await self._turn(seen)
        except Conflict:
            seen.lost_races += 1
            self._forget()
            try:
                await self._make_good()
            except Unavailable as why:
                seen.trouble.append(f"store: {why}")
        except Unavailable as why:
            seen.trouble.append(f"store: {why}")
            self._forget()
        return seen

    @property
    def owes(self) -> bool:
        """Whether it sent messages under a lease that is over, and does not know yet that nobody sent newer ones."""
        return any(self._owed.values()) and not self._lasts()

    async def _turn(self, seen: Ticked) -> None:
        now = self._clock()  # before the hub is asked: what is enqueued while it answers is later
        heads: dict[str, int] | None = None
        try:
            heads = await self._heads() if self._heads is not None else None
        except self._unreachable as why:
            seen.trouble.append(f"nothing concluded: the event hub cannot be asked how far it is written: {why}")
        else:
            heads = self.estate.heads() if heads is None else heads
        await self._reload(seen)
        await self._equip(now, seen)
        parcels, complete = await self._learn(seen)
        if heads is not None and complete:
            heads = heads if self._heads is not None else self.estate.heads()
            seen.heads, seen.unseen = heads, self.estate.unseen(heads)
            seen.watermark = self.estate.watermark(heads, now)
            if seen.watermark is not None:
                self._conclude(seen.watermark, seen)
        failed, stuck = await self._commit(seen)
        await self._note_stuck(stuck, seen)
        await self._clear(parcels, failed, seen)
        await self._deliver(seen)
        seen.parked = dict(self._state.parked)

    # --- the lease ------------------------------------------------------------------------------------------------

    async def _hold(self) -> bool:
        """Take or prolong the lease; whether it is ours. Raises `Conflict` if it was and is no longer."""
        now = self._clock()
        if not self._etag:
            found = await self._read_state()
            if found is not None:
                state, etag = found
                newer = state.rules > self._rules and now < state.until + STANDBY
                if state.format > FORMAT or newer or (state.holder != self._worker and now < state.until):
                    return False
                self._state, self._etag = state, etag
            else:
                self._state = TickState()
            self.estate.partitions, self.estate.reached = dict(self._state.partitions), dict(self._state.reached)
            fresh = True
        else:
            fresh = False
        self._state.holder, self._state.until = self._worker, now + LEASE
        self._state.format, self._state.rules = FORMAT, self._rules
        try:
            await self._write_state()
        except Conflict:
            if fresh:
                self._forget()
                return False
            raise
        if fresh:
            await self._load()
        return True

    async def _read_state(self) -> tuple[TickState, str] | None:
        async for document in self._store.read(TICK, 1):
            return codec.unpack(document.body, TickState), document.etag
        return None

    async def _write_state(self) -> None:
        self._state.partitions, self._state.reached = dict(self.estate.partitions), dict(self.estate.reached)
        body = codec.pack(self._state, TickState)
        (self._etag,) = await self._store.write(TICK, [Put(TICK, body, etag=self._etag)])

    def _lasts(self) -> bool:
        return self._clock() < self._state.until - LEASE_LEFT

    # --- what is known --------------------------------------------------------------------------------------------

    async def _load(self) -> None:
        """Read everything that is kept."""
        keys = [codec.unpack(document.body, str) async for document in self._store.read(GATEWAYS)]
        for key in keys:
            if key not in self._state.parked:
                await self._load_gateway(key)

    async def _load_gateway(self, key: str) -> None:
        found = {_remote(d): d async for d in self._store.read(partition_of(key))}
        self._etags[key] = {remote: document.etag for remote, document in found.items()}
        bad = keeping.unpack(self.estate, self.outbox, key, {remote: d.body for remote, d in found.items()})
        for remote, document in found.items():
            self._digests[key, remote] = _digest(document.body)
        self._unreadable.pop(key, None)
        if bad:
            self.estate.remove(key)
            self._unsure.add(key)  # whoever can read it, mend it
            row, why = min(bad.items())
            self._unreadable[key] = f"document {_row(row)}: {why}"

    async def _reload(self, seen: Ticked) -> None:
        """Read anew the gateways of which is not known what the store holds, and those that were parked long enough."""
        now = self._clock()
        for key in [key for key, since in self._state.parked.items() if now >= since + PARKED]:
            del self._state.parked[key]
            self._unsure.add(key)
        for key in sorted(self._unsure - self._state.parked.keys()):
            self.estate.remove(key)
            self.outbox = {scope: pending for scope, pending in self.outbox.items() if scope.gateway != key}
            try:
                self._unsure.discard(key)
                await self._load_gateway(key)
            except Unavailable as why:
                self._unsure.add(key)
                seen.trouble.append(f"store: {why}")
            if self.estate.inventory.of(key) is not NOTHING and key in self.estate.gateways:
                self.estate.schedule(Scope(key, ""), 0)  # it may have changed in the meantime
                for remote in self.estate.gateways[key].tunnels:
                    self.estate.schedule(Scope(key, remote), 0)
            if key in self._unreadable:
                seen.trouble.append(f"store: gateway {key}: {self._unreadable[key]}")

    async def _equip(self, now: int, seen: Ticked) -> None:
        """Take in what is configured. What was judged without it, or with what it was before, is judged again."""
        if self._inventory is None:
            return
        try:
            found = await self._inventory.read(now)
        except codec.BadState as why:
            seen.trouble.append(f"inventory: {why}")
            return
        seen.inventory_at = self._inventory.known_at
        if found is not self.estate.inventory:
            self.estate.equip(found, now, self._unsure | self._state.parked.keys(), spread=TICK_LENGTH)

    async def _learn(self, seen: Ticked) -> tuple[list[tuple[str, Parcel]], bool]:
        """Learn what is in the inbox; return the parcels with their rows, and whether there are no others."""
        parcels: list[tuple[str, Parcel]] = []
        begun = self._clock()
        complete, changed = True, False
        async for document in self._store.read(INBOX):
            try:
                parcel = codec.unpack(document.body, Parcel)
            except codec.BadState as why:
                seen.trouble.append(f"inbox {document.row}: {why}")
                if await self._bury([Refused("parcel", document.body, f"inbox {document.row}: {why}")], seen):
                    await self._store.write(INBOX, [Delete(document.row)])
                else:  # what it says is not read
                    complete = False
                continue
            parcels.append((document.row, parcel))
            if parcel.gateway not in self._unsure and parcel.gateway not in self._state.parked:
                take(self.estate, parcel)
                seen.events += len(parcel.events)
            changed = changed or any(event.kind is Kind.CONFIGURATION for event in parcel.events)
            if self._clock() > begun + BUDGET:
                complete = False
                break
        if changed and self._inventory is not None:
            await self._inventory.want(self._clock())
        seen.parcels = len(parcels)
        self._note_read([parcel for _, parcel in parcels])
        return parcels, complete

    def _note_read(self, parcels: Iterable[Parcel]) -> None:
        """Note how far each partition has been read: up to the last batch of which every parcel was seen.

        Partitions are posted in order, and the inbox is read in order: whatever stands before a batch that was seen has
        been seen, too, now or earlier, even if others are posted while pages are read.
        """
        numbers: dict[tuple[str, int, int], set[int]] = {}
        for parcel in parcels:
            batch = numbers.setdefault((parcel.partition, parcel.first, parcel.last), set())
            batch.add(parcel.number)
            if len(batch) == parcel.of:
                self.estate.read(parcel.partition, parcel.last, parcel.enqueued)

    def _conclude(self, watermark: int, seen: Ticked) -> None:
        over: set[str] = set()  # gateways of which an incident is over
        for scope, telling in conclude(self.estate, watermark):
            seen.told += 1
            over |= {scope.gateway} if not scope.remote and telling.why is Why.RESOLVED else set()
            self._post(scope, telling.row, telling.why, {s.name for s in self._sinks if not s.messages})
            if (why := self._news_in(scope, telling)) is not None:
                self._post(scope, telling.row, why, self._receivers)
        # What stays down when its gateway is up again is a fault of its own, and nobody has heard of it.
        for scope in [
            Scope(key, remote) for key in sorted(over) for remote in sorted(self.estate.gateways[key].tunnels)
        ]:
            for told in self.estate.ledger(scope).told:
                if told.unsaid and not told.closed and not is_covered(self.estate, scope, told):
                    told.unsaid = False
                    self._post(scope, told.row, Why.OPENED, self._receivers)
                    self.estate.note_change(scope)

    @property
    def _receivers(self) -> set[str]:
        return {sink.name for sink in self._sinks if sink.messages}

    def _post(self, scope: Scope, row: Row, why: Why, receivers: set[str]) -> None:
        if receivers:
            self.outbox.setdefault(scope, []).append(Pending(Posting(row, why), receivers))

    def _news_in(self, scope: Scope, telling: Telling) -> Why | None:
        """Return why people are to hear of it, None if they are not.

        Not while the incident of its gateway says it all, nor that it ended if they never heard that it began.
        """
        if telling.why is Why.UPDATED:
            return None
        incident = telling.row["IncidentId"]
        told = next((t for t in self.estate.ledger(scope).told if t.incident_id == incident), None)
        if told is None or not (telling.why is Why.OPENED or told.unsaid):
            return telling.why
        if is_covered(self.estate, scope, told) or telling.why is Why.RESOLVED:
            told.unsaid = telling.why is not Why.RESOLVED
            return None
        told.unsaid = False
        return Why.OPENED

    # --- commit ---------------------------------------------------------------------------------------------------

    async def _commit(self, seen: Ticked) -> tuple[set[str], set[str]]:
        """Write what has changed. Raises `Conflict`.

        Returns the gateways of which the store does not hold what is known, and those of which it is not for want of
        the store: it took others, or would never take this, or what it holds cannot be read.
        """
        failed: set[str] = set()
        stuck: set[str] = set(self._unreadable)
        changed: dict[str, set[str]] = {}
        for scope in self.estate.changed or ():
            changed.setdefault(scope.gateway, set()).add(scope.remote)
        self.estate.changed = set()
        committed = 0
        for key, remotes in sorted(changed.items()):
            if key not in self.estate.gateways:
                continue
            try:
                await self._commit_gateway(key, remotes)
                committed += 1
            except (Unavailable, TooLarge) as why:
                seen.trouble.append(f"store: {why}")
                failed.add(key)
                self._unsure.add(key)
                if isinstance(why, TooLarge):
                    stuck.add(key)
        return failed, stuck | failed if committed else stuck

    async def _note_stuck(self, stuck: set[str], seen: Ticked) -> None:
        """Park the gateways that have been stuck for a while: one must not hold up the inbox for all. Raises `Conflict`."""
        self._failures = {key: self._failures.get(key, 0) + 1 for key in stuck}
        parked = [key for key, times in self._failures.items() if times >= PARKED_AFTER]
        if not parked or self._dead is None:
            return
        for key in parked:
            del self._failures[key]
            self._unsure.add(key)
            self._unreadable.pop(key, None)
            self._state.parked[key] = self._clock()
            self.estate.remove(key)
            seen.trouble.append(f"parked: the gateway {key} cannot be committed; its records go to the dead letters")
        await self._write_state()

    async def _commit_gateway(self, key: str, remotes: set[str]) -> None:
        known = self._etags.setdefault(key, {})
        if ITSELF not in known:  # listed before it is there: what is not listed is not found again
            await self._store.write(GATEWAYS, [Put(partition_of(key), codec.pack(key, str))])
        gateway = self.estate.gateways[key]
        packed = keeping.pack(self.estate, self.outbox, key, [ITSELF, *sorted(remotes - {ITSELF})])
        gone = [remote for remote in known if remote != ITSELF and remote not in gateway.tunnels]
        puts = {
            remote: body
            for remote, body in packed.items()
            if body is not None and self._digests.get((key, remote)) != _digest(body)
        }
        if not puts and not gone:
            return
        puts = {ITSELF: packed[ITSELF] or b"", **puts}  # always, and first: it is the fence of the others
        changes: list[Put | Delete] = [Put(_row(r), body, etag=known.get(r, "")) for r, body in puts.items()]
        changes[1:1] = [Delete(_row(remote)) for remote in gone]
        written = await self._store.write(partition_of(key), changes)
        etags = [etag for change, etag in zip(changes, written, strict=True) if isinstance(change, Put)]
        for (remote, body), etag in zip(puts.items(), etags, strict=True):
            known[remote] = etag
            self._digests[key, remote] = _digest(body)
        for remote in gone:
            del known[remote]
            self._digests.pop((key, remote), None)

    async def _clear(self, parcels: list[tuple[str, Parcel]], failed: set[str], seen: Ticked) -> None:
        """Take out of the inbox what is committed. Raises `Conflict`, and then nothing was taken out."""
        done: list[str] = []
        aside: list[tuple[str, Parcel]] = []
        for row, parcel in parcels:
            reached = self.estate.partitions.get(parcel.partition)
            if reached is None or reached.sequence_number < parcel.last:
                continue  # it is the only proof of how far was read
            if parcel.gateway in self._state.parked:
                aside.append((row, parcel))
            elif parcel.gateway not in self._unsure | failed:
                done.append(row)
        if aside and await self._bury([one for _, parcel in aside for one in _parked(parcel)], seen):
            done += [row for row, _ in aside]
        if self._state.partitions != self.estate.partitions:
            await self._write_state()  # before the parcels that prove it are gone
        if done:
            await self._store.write(INBOX, [Delete(row) for row in done])
        seen.left = len(parcels) - len(done)

    async def _bury(self, refused: Sequence[Refused], seen: Ticked) -> bool:
        if self._dead is None or not refused:
            return False
        try:
            await self._dead(refused)
        except Unavailable as why:
            seen.trouble.append(f"dead letters: {why}")
            return False
        return True

    # --- delivery -------------------------------------------------------------------------------------------------

    async def _deliver(self, seen: Ticked) -> None:
        """Send what waits, sink by sink, and mark it."""
        for sink in self._sinks:
            if not self._lasts():
                break  # what was sent is marked all the same
            if self._clock() < self._waits.get(sink.name, 0):
                continue
            waiting = [
                (scope, pending)
                for scope, outbox in sorted(self.outbox.items())
                if scope.gateway not in self._unsure
                for pending in outbox
                if sink.name in pending.left
            ]
            if not waiting:
                continue
            postings = [p.posting for _, p in waiting] if not sink.messages else self._news(waiting)
            if sink.messages:
                gateways = {p.posting.key[0]: scope.gateway for scope, p in waiting}
                self._owed[sink.name] = {i: (gateways[i], revision) for i, revision in (p.key for p in postings)}
            receipt = await _send(sink, postings)
            if receipt.trouble:
                seen.trouble.append(f"{sink.name}: {receipt.trouble}")
            if receipt.retry_after is not None:
                self._waits[sink.name] = self._clock() + int(receipt.retry_after * SECOND)
            done = set(receipt.accepted)
            refused = [p for p in postings if p.key in receipt.refused]
            if await self._bury([_refused(p.row, sink.name, receipt.refused[p.key]) for p in refused], seen):
                done |= {p.key for p in refused}
                seen.refused += len(refused)
            seen.delivered += len(receipt.accepted)
            heard = dict(done) if sink.messages else {}
            for scope, pending in waiting:
                incident, revision = pending.posting.key
                if (incident, revision) in done or revision <= heard.get(incident, 0):
                    pending.left.discard(sink.name)
                    self.estate.note_change(scope)
        for scope in [s for s in self.estate.changed or () if s in self.outbox]:
            self.outbox[scope] = [pending for pending in self.outbox[scope] if pending.left]
            if not self.outbox[scope]:
                del self.outbox[scope]
        failed, _ = await self._commit(seen)
        for sent in self._owed.values():  # whatever is marked, nobody has gone on
            for incident in [i for i, (gateway, _) in sent.items() if gateway not in failed]:
                del sent[incident]

    def _news(self, waiting: Iterable[tuple[Scope, Pending]]) -> list[Posting]:
        """Return the newest revision of each incident that somebody has to hear of, whichever of its revisions said so.

        The newest, even if by itself it would be none of people's business: who looks again after a lost race sends
        that, too, and what follows upon it must not be older. Nobody heard yet that an incident opened if the revision
        that should have said so waits among others.
        """
        news: dict[str, Posting] = {}
        for scope, pending in waiting:
            posting, incident = pending.posting, pending.posting.key[0]
            why = posting.why
            if incident in news and news[incident].why is Why.OPENED and why is Why.CHANGED:
                why = Why.OPENED
            newest = (told.row for told in self.estate.ledger(scope).told if told.incident_id == incident)
            news[incident] = Posting(next(newest, posting.row), why)
        return list(news.values())

    async def _make_good(self) -> None:
        """Somebody else may have gone on while this worker was sending: send the newest of what it sent, until that is it.

        Also if nobody knows whether it came. Raises `Unavailable`; what is owed then is tried with the next tick.
        """
        for sink in self._sinks:
            owed = self._owed.get(sink.name, {})
            while owed:
                told = [t for key in sorted({gateway for gateway, _ in owed.values()}) for t in await self._told(key)]
                newest = {t.incident_id: t.row for t in told}
                for incident, (_, revision) in list(owed.items()):
                    if incident not in newest or newest[incident]["Revision"] <= revision:
                        del owed[incident]
                if not owed:
                    break
                receipt = await _send(sink, [Posting(newest[incident], Why.CHANGED) for incident in owed])
                for incident, revision in receipt.accepted:
                    owed[incident] = owed[incident][0], revision
                if len(receipt.accepted) < len(owed):
                    break

    async def _told(self, key: str) -> list[Told]:
        """Return what the store says was told of a gateway and its tunnels."""
        other, found = Estate(), {_remote(d): d.body async for d in self._store.read(partition_of(key))}
        keeping.unpack(other, {}, key, found)
        return [told for scope in other.scopes() for told in other.ledger(scope).told]


async def _send(sink: Sink, postings: Sequence[Posting]) -> Receipt:
    """Send. A sink raises nothing by its contract; if a library below it does, that is this sink's delay and no other's."""
    try:
        return await sink.send(postings)
    except Exception as why:  # noqa: BLE001
        return Receipt(trouble=type(why).__name__)


def _parked(parcel: Parcel) -> Iterator[Refused]:
    for body in bodies(parcel.events):
        yield Refused("records", body, f"the gateway {parcel.gateway} is parked: what is known of it cannot be kept")


def _refused(row: Row, sink: str, reason: str) -> Refused:
    return Refused("row", orjson.dumps(row), f"{sink}: {reason}")


def _row(remote: str) -> str:
    return f"t|{remote}" if remote != ITSELF else GATEWAY_ROW


def _remote(document: Document) -> str:
    return ITSELF if document.row == GATEWAY_ROW else document.row[2:]


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()
