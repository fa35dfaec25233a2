"""Readings <-> documents: what is configured, as it was read last, where every worker finds it.

One function reads Resource Manager (`Keeper`), another judges (`View`); they share nothing but the store. A gateway's
connections stand in a partition of their own, cut into rows; the head, one document, says which rows hold for which
gateway and when each was read. Rows are written before the head that names them, under a name that nobody else writes,
so that whoever reads sees one reading or the one before, never half of one, and a writer that froze and wakes up is
refused at the head.

What can be read no longer goes on as it was read last for a day (`KEPT`), which is enough for somebody who has seen the
warning to give the right back; after that what verdicts say of the configuration might be of another one, and a verdict
without a name is better. It is kept for a month all the same: whoever reads again then says what changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ikestream import codec
from ikestream.inventory.connections import Connection, Connections, Inventory, Listing, renew
from ikestream.stores import MAX_BODY, Conflict, Delete, Put, Store, Unavailable, partition
from ikestream.times import DAY, EXPECTED_LEG_AGE, MINUTE, SECOND
from ikestream.timestamps import iso

if TYPE_CHECKING:
    from ikestream.inventory.resource_manager import Reading

EVERY = 15 * MINUTE
"""From reading to reading, where nothing says that something was changed."""
AGAIN = 5 * MINUTE
"""The same after one that failed."""
KEPT = DAY
"""So long what was read last stands for what is configured."""
CERTAIN = MINUTE
"""So long after something was missing for the first time it is looked for once more; only then has it gone."""
SLACK = 30 * SECOND
"""The timer fires every minute and is never exact: what is due within half of one is due."""
MOST_GATEWAYS = 4_000
MOST_ROWS = 32
"""Of one gateway: some hundred thousand connections."""
MOST_NAMED = 5
"""Troubles in one line of the log."""

NOTHING = "nothing"
"""What is lost where everything can be read and there is no gateway: most likely a group was mistaken for another."""
FORMAT = 1
HEAD, WANTED = "inventory-head", "inventory-wanted"


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a gateway's connections stand: `count` rows that begin with `name`; and when (ms) they were read last."""

    name: str
    count: int
    read_at: int
    whole_at: int  # when nothing was missing in it


@dataclass(frozen=True, slots=True)
class Loss:
    """Since when (ms) a group or a gateway cannot be read, and whether the log says so."""

    since: int
    said: bool = False


@dataclass(slots=True)
class Head:
    """What the last reading left behind. `number` grows from head to head."""

    format: int = FORMAT
    number: int = 0
    scopes: tuple[str, ...] = ()
    gateways: dict[str, Entry] = field(default_factory=dict)
    lost: dict[str, Loss] = field(default_factory=dict)
    doubted: dict[str, str] = field(default_factory=dict)  # gateways of which the last reading missed something -> what
    tried_at: int = 0  # ms
    next_at: int = 0  # ms: when it is read again
    soonest_at: int = 0  # ms: the same if somebody wants it


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of one gateway, and when (ms) it was read, at all and with nothing missing."""

    connections: Connections
    read_at: int
    whole_at: int


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a reading is worth telling: lines for the log, of what was lost and of what is back."""

    gateways: int
    lost: tuple[str, ...] = ()
    back: tuple[str, ...] = ()


# --- one reading after the other ----------------------------------------------------------------------------------


def merge(
    known: Mapping[str, Known],
    found: Reading,
    scopes: Collection[str],
    at: int,
    doubted: Mapping[str, str] = {},
) -> tuple[dict[str, Known], dict[str, str]]:
    """Return what is known after a reading that began at `at` (ms), and gateways in doubt with a mark of what is missing.

    A gateway that is in none of the `scopes` any more is forgotten, without a word that its connections went. One that
    could not be read stays as it was, and so does one of which something is missing that was there before, unless just
    that was missing in the reading before (`doubted`): Resource Manager is many servers that do not always agree.
    """
    within = {key: was for key, was in known.items() if any(_covers(scope, key) for scope in scopes)}
    listed = {listing.gateway.id.lower(): listing for listing in found.listings}
    unread = {key for key in within.keys() - listed.keys() if any(_covers(scope, key) for scope in found.unread)}
    merged = {key: within[key] for key in unread if at - within[key].read_at < EXPECTED_LEG_AGE}
    missed = {key: _missed(within[key].connections, listed.get(key)) for key in within.keys() - unread}
    doubt = {key: which for key, which in missed.items() if which and which != doubted.get(key)}
    merged |= {key: replace(within[key], read_at=at) for key in doubt}
    listed = {key: listing for key, listing in listed.items() if key not in doubt}
    before: dict[str, Connections] = {}
    completed: list[Listing] = []
    for key, listing in listed.items():
        was = within.get(key)
        if was is not None:
            if key in found.partial and at - was.whole_at <= KEPT:
                listing = _complete(listing, was.connections)
            before[key] = _corrected(was.connections, listing)
        completed.append(listing)
    before |= {key: within[key].connections for key in within.keys() - listed.keys() - unread - doubt.keys()}
    for key, connections in renew(Inventory(before), completed, at).gateways.items():
        partly = key in found.partial
        merged[key] = Known(connections, at, at if not partly else within[key].whole_at if key in within else 0)
    return dict(sorted(merged.items())), doubt


def _missed(known: Connections, listing: Listing | None) -> str:
    """Return a mark of the connections that were there before and are not listed, '' if all are."""
    there = {c.identity for c in listing.connections} if listing is not None else set()
    gone = sorted({v.connection.identity for v in known.current} - there)
    return hashlib.sha256(repr(gone).encode()).hexdigest()[:16] if gone else ""


def _complete(listing: Listing, known: Connections) -> Listing:
    """Fill in from before what may not be read now: addresses of the gateway and of sites, and what the sites say."""
    before = {v.connection.identity: v.connection for v in known.current}
    gateway, was = listing.gateway, known.gateway
    if not gateway.addresses and was is not None:
        gateway = replace(gateway, addresses=was.addresses)
    filled = []
    for c in listing.connections:
        other = before.get(c.identity)
        # The list of a gateway's connections lacks it; the list of their group may be closed.
        c = replace(c, dpd=c.dpd or other.dpd) if other is not None else c
        filled.append(_filled(c, other))
    return Listing(gateway, tuple(filled))


def _corrected(known: Connections, listing: Listing) -> Connections:
    """Fill in what could not be read before, as if it had been: what was not seen has not changed."""
    now = {c.identity: c for c in listing.connections}
    return replace(
        known,
        versions=tuple(
            replace(v, connection=_filled(v.connection, now.get(v.connection.identity))) if v.until is None else v
            for v in known.versions
        ),
    )


def _filled(lacking: Connection, other: Connection | None) -> Connection:
    """Return a connection of whose site nothing is known with what `other`, the same at another time, says of it."""
    if lacking.remote or lacking.fqdn or other is None or other.site.lower() != lacking.site.lower():
        return lacking
    return replace(
        lacking,
        remote=other.remote,
        fqdn=other.fqdn,
        prefixes=other.prefixes,
        asn=other.asn,
        bgp_addresses=other.bgp_addresses,
        vendor=lacking.vendor or other.vendor,
        also=lacking.also or other.also,
        on_demand=lacking.on_demand or other.on_demand,
    )


def _covers(scope: str, key: str) -> bool:
    return key == scope.lower() or key.startswith(f"{scope.lower()}/")


# --- the store ----------------------------------------------------------------------------------------------------


class View:
    """What a worker that judges knows of it: read again only where it has changed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[Entry, Connections]] = {}
        self._inventory = Inventory()

    async def read(self, now: int) -> Inventory:
        """Return what stands for what is configured at `now` (ms); the same object if nothing has changed.

        Raises `Unavailable`, and `BadState` if the head cannot be read.
        """
        for _ in range(2):  # between head and rows somebody may have written new ones and deleted these
            head, _ = await _read_head(self._store)
            if head.format > FORMAT or await self._take(head):
                break
        standing = {
            key: connections for key, (entry, connections) in sorted(self._known.items()) if now - entry.read_at <= KEPT
        }
        if standing != self._inventory.gateways:
            self._inventory = Inventory(standing, max((e.read_at for e, _ in self._known.values()), default=0))
        return self._inventory

    @property
    def known_at(self) -> int | None:
        """When the gateway was read that was read longest ago (ms), None if none was."""
        return min((entry.read_at for entry, _ in self._known.values()), default=None)

    async def want(self, now: int) -> None:
        """Ask for a reading soon: something was changed. Raises `Unavailable`."""
        await self._store.write(WANTED, [Put(WANTED, codec.pack(now, int))])

    async def _take(self, head: Head) -> bool:
        whole = True
        self._known = {key: found for key, found in self._known.items() if key in head.gateways}
        for key, entry in head.gateways.items():
            before = self._known.get(key)
            if before is not None and (before[0].name, before[0].count) == (entry.name, entry.count):
                self._known[key] = entry, before[1]
            elif (connections := await _read_rows(self._store, key, entry)) is not None:
                self._known[key] = entry, connections
            else:
                whole = False
        return whole


class Keeper:
    """What the function that reads does: whether it is time, one reading, and what it leaves behind."""

    def __init__(
        self,
        store: Store,
        read: Callable[[Sequence[str]], Awaitable[Reading]],
        scopes: Sequence[str],
        clock: Callable[[], int],
        worker: str,
    ) -> None:
        """`worker` names this process among all that write."""
        self._store, self._read, self._clock, self._worker = store, read, clock, worker
        self._scopes = tuple(sorted({scope.lower(): scope for scope in scopes}.values()))

    async def refresh(self) -> Refreshed | None:
        """Read if it is time; return what is to be told, None if it is not time or somebody else was faster.

        Raises `Unavailable` and `TooLarge`; the next call tries again.
        """
        head, etag = await self._head()
        if head.format > FORMAT or not await self._is_due(head):
            return None
        at = self._clock()
        found = await self._read(self._scopes)
        known = await self._load(head)
        if known is None:
            return None
        merged, doubted = merge(known, found, self._scopes, at, head.doubted)
        new, told = self._follow(head, found, doubted, at)
        too_many = sorted(merged)[MOST_GATEWAYS:]
        written: set[str] = set()
        for key, one in merged.items():
            if key in too_many:
                continue
            entry = head.gateways.get(key)
            if entry is None or key not in known or known[key].connections != one.connections:
                rows = _rows(one.connections)
                entry = Entry(f"{new.number:010d}|{self._worker}", len(rows), 0, 0)
                await self._store.write(
                    partition("i", key), [Put(f"{entry.name}|{n:03d}", row) for n, row in enumerate(rows)]
                )
                written.add(key)
            new.gateways[key] = replace(entry, read_at=one.read_at, whole_at=one.whole_at)
        try:
            await self._store.write(HEAD, [Put(HEAD, codec.pack(new, Head), etag=etag)])
        except Conflict:
            return None
        try:
            for key in sorted(written | (head.gateways.keys() - new.gateways.keys())):
                await self._sweep(key, new)
        except Unavailable:
            pass  # it is in nobody's way
        if too_many and len(head.gateways) < MOST_GATEWAYS:  # said once
            told = replace(told, lost=(*told.lost, f"{len(too_many)} gateways are too many and were left out"))
        return replace(told, gateways=len(new.gateways))

    async def _is_due(self, head: Head) -> bool:
        now = self._clock()
        if head.scopes != self._scopes or not now - DAY < head.tried_at <= now:  # a clock was wrong
            return True
        if now >= head.next_at:
            return True
        if now < head.soonest_at:
            return False
        async for document in self._store.read(WANTED, 1):
            try:
                return bool(codec.unpack(document.body, int) > head.tried_at)
            except codec.BadState:  # whoever wants it again writes it anew
                return False
        return False

    async def _head(self) -> tuple[Head, str]:
        try:
            return await _read_head(self._store)
        except codec.BadState:  # it is written anew: what it said can be read again
            async for document in self._store.read(HEAD, 1):
                return Head(), document.etag
            return Head(), ""

    async def _load(self, head: Head) -> dict[str, Known] | None:
        """Return what the rows say, None if they are gone: somebody else has gone on."""
        known: dict[str, Known] = {}
        for key, entry in head.gateways.items():
            connections = await _read_rows(self._store, key, entry)
            if connections is None:
                again, _ = await _read_head(self._store)
                if again.number != head.number:
                    return None
                continue  # damaged: known as if for the first time
            known[key] = Known(connections, entry.read_at, entry.whole_at)
        return known

    def _follow(self, head: Head, found: Reading, doubted: dict[str, str], at: int) -> tuple[Head, Refreshed]:
        """Return the next head, without its gateways, and what is lost or back.

        A fault of a moment is not worth a word: what was read before is told of when it fails a second time.
        """
        missing = found.unread | found.partial
        troubles = found.troubles
        if not missing and not found.listings:
            missing, troubles = frozenset({NOTHING}), ("no VPN gateway of the app's region is there",)
        lost, news = {}, []
        for name in sorted(missing):
            loss = head.lost.get(name)
            if loss is None:
                loss = Loss(at, said=not any(_covers(name, key) for key in head.gateways))
            elif not loss.said:
                loss = replace(loss, said=True)
            if loss.said and not (name in head.lost and head.lost[name].said):
                news.append(name)
            lost[name] = loss
        back = tuple(
            name
            for name, loss in sorted(head.lost.items())
            if loss.said and name not in missing and any(_covers(scope, name) for scope in (*self._scopes, NOTHING))
        )
        asked = int(found.wait * SECOND)
        usual = AGAIN if found.unread else CERTAIN if doubted else EVERY
        ids = [*self._scopes, *(listing.gateway.id for listing in found.listings)]
        shown = {scope.lower(): _last(scope) for scope in ids} | {NOTHING: ", ".join(map(_last, self._scopes))}
        new = Head(
            number=max(head.number + 1, at // SECOND),  # also where the one before could not be read
            scopes=self._scopes,
            lost=lost,
            doubted=doubted,
            tried_at=at,
            next_at=at + max(usual, asked) - SLACK,
            soonest_at=at + max(AGAIN if found.unread else MINUTE, asked) - SLACK,
        )
        told = _told(news, shown, troubles, head) if news else ()
        return new, Refreshed(0, told, tuple(shown.get(name, _last(name)) for name in back))

    async def _sweep(self, key: str, head: Head) -> None:
        """Delete rows that no head names any more, those of writers that died among them."""
        entry = head.gateways.get(key)
        old = [
            Delete(document.row)
            async for document in self._store.read(partition("i", key))
            if not (entry is not None and document.row.startswith(f"{entry.name}|"))
            and document.row < f"{head.number + 1:010d}|"  # those of a later head may just be being written
        ]
        if old:
            await self._store.write(partition("i", key), old)


def _told(lost: Sequence[str], shown: Mapping[str, str], troubles: Sequence[str], head: Head) -> tuple[str, ...]:
    why = "; ".join(troubles[:MOST_NAMED]) or "the address of a connection is not known"
    if len(troubles) > MOST_NAMED:
        why += f"; and {len(troubles) - MOST_NAMED} more"
    read_at = [e.read_at for key, e in head.gateways.items() if any(_covers(name, key) for name in lost)]
    then = "verdicts there go without the names of connections"
    if read_at:
        then = f"what was read at {iso(min(read_at))} is used until {iso(min(read_at) + KEPT)}, then {then}"
    names = ", ".join(shown.get(name, _last(name)) for name in lost[:MOST_NAMED])
    return (f"{names} cannot be read: {why}; {then}",)


async def _read_head(store: Store) -> tuple[Head, str]:
    async for document in store.read(HEAD, 1):
        return codec.unpack(document.body, Head), document.etag
    return Head(), ""


async def _read_rows(store: Store, key: str, entry: Entry) -> Connections | None:
    rows = [d.body async for d in store.read(partition("i", key)) if d.row.startswith(f"{entry.name}|")]
    if len(rows) != entry.count:
        return None
    try:
        found: Connections = codec.unpack(b"".join(rows), Connections)
    except codec.BadState:
        return None
    return found


def _rows(connections: Connections) -> list[bytes]:
    body = codec.pack(connections, Connections)
    if len(body) > MOST_ROWS * MAX_BODY:  # what was before is the first to go
        now = replace(connections, versions=tuple(connections.current))
        body = codec.pack(now, Connections)
    return [body[at : at + MAX_BODY] for at in range(0, len(body), MAX_BODY)]


def _last(resource_id: str) -> str:
    parts = resource_id.split("/")
    return "".join(c if c.isprintable() else "?" for c in parts[-1])[:90]
