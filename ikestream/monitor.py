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
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from ikestream import codec, keeping
from ikestream.batch import Parcel, take
from ikestream.estate import Estate, Partition, Scope
from ikestream.inbox import INBOX
from ikestream.incident import Row, Told, Why
from ikestream.keeping import ITSELF, Pending
from ikestream.sinks import Posting, Sink
from ikestream.stores import Conflict, Delete, Document, Put, Store, TooLarge, Unavailable
from ikestream.tick import conclude
from ikestream.times import BUDGET, LEASE, LEASE_LEFT, SECOND, STANDBY

FORMAT = 1
"""Of what is kept. Who meets a higher one touches nothing: what newer code wrote stays as it is."""
RULES = 1
"""Counts up when verdicts change: of two versions that run side by side only the newer one tells."""

GATEWAYS = "gateways"
TICK = "tick"
GATEWAY_ROW = "gateway"
MAX_KEY = 200
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
    unseen: list[str] = field(default_factory=list)  # partitions of which nothing was ever read
    trouble: list[str] = field(default_factory=list)  # one line each, no secret


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that a sink refused for good, or a parcel that cannot be kept: for the dead letters."""

    kind: str  # row, records
    body: bytes
    reason: str


DeadLetters: TypeAlias = Callable[[Sequence[Refused]], Awaitable[None]]
"""Keeps what is refused; raises `Unavailable` if it could not."""


def partition_of(key: str) -> str:
    """Return the store's partition of a gateway: its key, cut to what a store takes and still its own."""
    if len(key) <= MAX_KEY:
        return f"g|{key}"
    return f"g|{key[:MAX_KEY]}|{hashlib.sha256(key.encode()).hexdigest()[:16]}"


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
        rules: int = RULES,
    ) -> None:
        self._store, self._sinks, self._clock, self._worker = store, sinks, clock, worker
        self._heads, self._unreachable, self._dead, self._rules = heads, unreachable, dead_letters, rules
        self._state, self._etag = TickState(), ""
        self._waits: dict[str, int] = {}  # sink -> ms before which it wants no more
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
        self._gaps: set[tuple[str, int, int]] = set()

    async def tick(self) -> Ticked:
        """Do everything that is to be done now. Raises nothing for what store, hub or sinks do."""
        seen = Ticked()
        try:
            seen.held = await self._hold()
            if seen.held:
                await self._turn(seen)
        except Conflict:
            seen.lost_races += 1
            self._forget()
        except Unavailable as why:
            seen.trouble.append(f"store: {why}")
            self._forget()
        return seen

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
        parcels, complete = await self._learn(seen)
        if heads is not None and complete:
            heads = heads if self._heads is not None else self.estate.heads()
            seen.heads, seen.unseen = heads, self.estate.unseen(heads)
            seen.watermark = self.estate.watermark(heads, now)
            if seen.watermark is not None:
                self._conclude(seen.watermark, seen)
        committed = await self._commit(seen)
        await self._clear(parcels, committed, seen)
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
            await self._load_gateway(key)

    async def _load_gateway(self, key: str) -> None:
        found = {_remote(d): d async for d in self._store.read(partition_of(key))}
        self._etags[key] = {remote: document.etag for remote, document in found.items()}
        bad = keeping.unpack(self.estate, self.outbox, key, {remote: d.body for remote, d in found.items()})
        for remote, document in found.items():
            self._digests[key, remote] = _digest(document.body)
        if bad:
            self.estate.remove(key)
            self._unsure.add(key)  # whoever can read it, mend it

    async def _reload(self, seen: Ticked) -> None:
        """Read anew the gateways of which is not known what the store holds."""
        for key in sorted(self._unsure):
            self.estate.remove(key)
            self.outbox = {scope: pending for scope, pending in self.outbox.items() if scope.gateway != key}
            try:
                self._unsure.discard(key)
                await self._load_gateway(key)
            except Unavailable as why:
                self._unsure.add(key)
                seen.trouble.append(f"store: {why}")

    async def _learn(self, seen: Ticked) -> tuple[list[tuple[str, Parcel]], bool]:
        """Learn what is in the inbox; return the parcels with their rows, and whether there are no others."""
        parcels: list[tuple[str, Parcel]] = []
        begun = self._clock()
        complete = True
        async for document in self._store.read(INBOX):
            try:
                parcel = codec.unpack(document.body, Parcel)
            except codec.BadState as why:  # it stays, for whoever can read it
                seen.trouble.append(f"inbox {document.row}: {why}")
                complete = False
                continue
            parcels.append((document.row, parcel))
            if parcel.gateway not in self._unsure and parcel.gateway not in self._state.parked:
                take(self.estate, parcel)
                seen.events += len(parcel.events)
            if self._clock() > begun + BUDGET:
                complete = False
                break
        seen.parcels = len(parcels)
        self._note_read([parcel for _, parcel in parcels])
        return parcels, complete

    def _note_read(self, parcels: Iterable[Parcel]) -> None:
        """Note how far each partition has been read.

        While pages of the inbox are read others are posted: a batch may be seen whose predecessor was posted behind
        the reader's back. A batch that follows upon what was read counts; one after a gap (the first of all, or after
        lost retention) counts when it is seen for the second time, for by then its predecessors would have been seen:
        they stand before it in the inbox.
        """
        numbers: dict[tuple[str, int, int], set[int]] = {}
        whole: dict[tuple[str, int, int], Parcel] = {}
        for parcel in parcels:
            batch = parcel.partition, parcel.first, parcel.last
            numbers.setdefault(batch, set()).add(parcel.number)
            if len(numbers[batch]) == parcel.of:
                whole[batch] = parcel
        gaps: set[tuple[str, int, int]] = set()
        for batch, parcel in sorted(whole.items(), key=lambda item: item[0]):
            reached = self.estate.partitions.get(parcel.partition)
            follows = parcel.first == 0 or (reached is not None and parcel.first <= reached.sequence_number + 1)
            if follows or batch in self._gaps:
                self.estate.read(parcel.partition, parcel.last, parcel.enqueued)
            else:
                gaps.add(batch)
        self._gaps = gaps

    def _conclude(self, watermark: int, seen: Ticked) -> None:
        for scope, telling in conclude(self.estate, watermark):
            receivers = {s.name for s in self._sinks if telling.why is not Why.UPDATED or not s.messages}
            if receivers:
                self.outbox.setdefault(scope, []).append(Pending(Posting(telling.row, telling.why), receivers))
            seen.told += 1

    # --- commit ---------------------------------------------------------------------------------------------------

    async def _commit(self, seen: Ticked) -> set[str]:
        """Write what has changed; return the gateways of which the store does not hold what is known. Raises `Conflict`."""
        failed: set[str] = set()
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
                self._failures.pop(key, None)
            except (Unavailable, TooLarge) as why:
                seen.trouble.append(f"store: {why}")
                failed.add(key)
                self._unsure.add(key)
                self._failures[key] = self._failures.get(key, 0) + 1
        if committed and self._dead is not None:
            for key in failed:
                if self._failures[key] >= PARKED_AFTER:
                    self._state.parked[key] = self._clock()
        return failed

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
        for row, parcel in parcels:
            reached = self.estate.partitions.get(parcel.partition)
            if reached is None or reached.sequence_number < parcel.last:
                continue  # it is the only proof of how far was read
            if parcel.gateway in self._state.parked:
                if await self._park(parcel, seen):
                    done.append(row)
            elif parcel.gateway not in self._unsure | failed:
                done.append(row)
        if self._state.partitions != self.estate.partitions:
            await self._write_state()  # before the parcels that prove it are gone
        if done:
            await self._store.write(INBOX, [Delete(row) for row in done])
        seen.left = len(parcels) - len(done)

    async def _park(self, parcel: Parcel, seen: Ticked) -> bool:
        reason = f"the gateway {parcel.gateway} cannot be committed"
        return await self._bury([Refused("records", codec.pack(parcel, Parcel), reason)], seen)

    async def _bury(self, refused: Sequence[Refused], seen: Ticked) -> bool:
        if self._dead is None:
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
        sent: dict[str, dict[str, int]] = {}
        for sink in self._sinks:
            if not self._lasts():
                return
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
            newest = {p.posting.key[0]: p.posting.key[1] for _, p in waiting}  # within a scope in order of revision
            postings = [
                p.posting for _, p in waiting if not sink.messages or newest[p.posting.key[0]] == p.posting.key[1]
            ]
            receipt = await sink.send(postings)
            if receipt.trouble:
                seen.trouble.append(f"{sink.name}: {receipt.trouble}")
            if receipt.retry_after is not None:
                self._waits[sink.name] = self._clock() + int(receipt.retry_after * SECOND)
            done = set(receipt.accepted)
            for posting in postings:
                reason = receipt.refused.get(posting.key)
                if reason is not None and await self._bury([_refused(posting.row, sink.name, reason)], seen):
                    done.add(posting.key)
                    seen.refused += 1
            seen.delivered += len(receipt.accepted)
            for scope, pending in waiting:
                incident, revision = pending.posting.key
                superseded = sink.messages and revision < newest[incident] and (incident, newest[incident]) in done
                if (incident, revision) in done or superseded:
                    pending.left.discard(sink.name)
                    self.estate.note_change(scope)
            if sink.messages:
                sent[sink.name] = dict(receipt.accepted)
        for scope in [s for s in self.estate.changed or () if s in self.outbox]:
            self.outbox[scope] = [pending for pending in self.outbox[scope] if pending.left]
            if not self.outbox[scope]:
                del self.outbox[scope]
        try:
            await self._commit(seen)
        except Conflict:
            await self._make_good(sent)
            raise

    async def _make_good(self, sent: dict[str, dict[str, int]]) -> None:
        """Somebody else went on while this worker was sending: send the newest of what it has sent, until that is it."""
        keys = sorted(self._etags)
        while any(sent.values()):
            newest = {told.incident_id: told.row for key in keys for told in await self._told(key)}
            for sink in self._sinks:
                ours = sent.pop(sink.name, {})
                later = [newest[i] for i, revision in ours.items() if i in newest and newest[i]["Revision"] > revision]
                if later:
                    receipt = await sink.send([Posting(row, Why.CHANGED) for row in later])
                    sent[sink.name] = dict(receipt.accepted)

    async def _told(self, key: str) -> list[Told]:
        """Return what the store says was told of a gateway and its tunnels."""
        other, found = Estate(), {_remote(d): d.body async for d in self._store.read(partition_of(key))}
        keeping.unpack(other, {}, key, found)
        return [told for scope in other.scopes() for told in other.ledger(scope).told]


def _refused(row: Row, sink: str, reason: str) -> Refused:
    return Refused("row", codec.pack(row, dict[str, object]), f"{sink}: {reason}")


def _row(remote: str) -> str:
    return f"t|{remote}" if remote != ITSELF else GATEWAY_ROW


def _remote(document: Document) -> str:
    return ITSELF if document.row == GATEWAY_ROW else document.row[2:]


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()
