"""Everything known and told of all gateways, in memory: what is judged.

The command line keeps nothing else; the app keeps each gateway in a store, too. `due` is a heap with lazy deletion: a
scope's earliest deadline counts.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from ikestream.events import IkeEvent
from ikestream.incident import Ledger
from ikestream.inventory import Inventory
from ikestream.tunnel import SLOT, Gateway

AT_ONCE = 500
"""Tunnels that are judged again with one tick, if that is for no more than that the configuration was read: it takes a
millisecond or some for each, and the lease is a minute."""


class Scope(NamedTuple):
    """One tunnel: gateway key and remote address, '' for the gateway itself."""

    gateway: str
    remote: str


@dataclass(frozen=True, slots=True, order=True)
class Partition:
    """How far a partition of the hub has been read."""

    sequence_number: int
    enqueued: int  # ms


@dataclass(slots=True)
class Estate:
    """Everything known and told, of all gateways, and what is configured on them. `peers` are addresses that count as
    configured on each of them."""

    peers: frozenset[str] = frozenset()
    grid: int = 1
    """Deadlines are moved up to a multiple of this many ms, so that those close together cost one judgement."""
    inventory: Inventory = field(default_factory=Inventory)
    gateways: dict[str, Gateway] = field(default_factory=dict)
    partitions: dict[str, Partition] = field(default_factory=dict)
    reached: dict[str, int] = field(default_factory=dict)  # partition -> ms up to which all of it has been read
    changed: set[Scope] | None = None
    """Whose facts, ledger or deadline may have changed since somebody emptied it: what a store has to write. None: nobody
    asks, and then nothing grows with what comes."""
    _owners: dict[str, frozenset[str]] = field(default_factory=dict)  # address -> gateways that it belongs to
    _ledgers: dict[Scope, Ledger] = field(default_factory=dict)
    _due: dict[Scope, int] = field(default_factory=dict)
    _heap: list[tuple[int, Scope]] = field(default_factory=list)

    def learn(self, event: IkeEvent, due: int) -> None:
        """Learn one event; what it touches is judged at `due` at the latest."""
        key = event.gateway.lower()
        self.learn_into(key, event, due)

    def learn_into(self, key: str, event: IkeEvent, due: int) -> None:
        """The same, where the gateway's key is known already."""
        gateway = self.gateways.get(key)
        if gateway is None:
            gateway = self.gateways[key] = Gateway(key, peers=self.known_to(key))
            if gateway.peers:  # what is configured and silent is the gateway's to tell
                self.schedule(Scope(key, ""), due)
        locals_, slot = gateway.locals, (event.at or 0) // SLOT
        pulse = gateway.pulse.get(slot)
        new = bool(event.remote) and event.remote not in gateway.tunnels
        touched = gateway.learn(event)
        beats = gateway.pulse.get(slot)
        if event.remote in gateway.strangers or pulse is None or (beats is not None and beats[2] != pulse[2]):
            self.schedule(Scope(key, ""), due)  # who knocked today, and whether its feed is silent
        if new:  # a connection that was silent, or one whose peer's address Azure looks up
            self.schedule(Scope(key, ""), due)
        if self.changed is not None:
            owner = event.remote or gateway.owners.get(event.session, (0, ""))[1]
            self.changed.add(Scope(key, ""))
            self.changed.add(Scope(key, owner))
        if gateway.locals is not locals_:  # a peer of another gateway may turn out to be this one
            self._own(gateway)
            for other in self.gateways.values():
                for peer in gateway.locals & other.tunnels.keys():
                    self.schedule(Scope(other.key, peer), due)
        if touched and event.remote in self._owners:  # what this end offers or refuses is news at the other
            for far in self._owners[event.remote] - {key}:
                for local in gateway.locals & self.gateways[far].tunnels.keys():
                    self.schedule(Scope(far, local), due)
        for remote in touched:
            if remote:
                self.schedule(Scope(key, remote), due)
            else:
                self.schedule(Scope(key, ""), due)
                for known in gateway.tunnels:
                    self.schedule(Scope(key, known), due)

    def known_to(self, key: str) -> frozenset[str]:
        """Return the addresses that count as configured on a gateway."""
        return self.peers | self.inventory.of(key).peers

    def equip(self, inventory: Inventory, due: int, barred: Collection[str] = (), spread: int = 0) -> None:
        """Take in what is configured; the gateways of which it says something new are judged at `due`, if not earlier.

        `barred` are gateways that are not here although there is something to be known of them. Of many tunnels each
        `AT_ONCE` are due `spread` ms later than those before: who starts over judges all there is.
        """
        before, self.inventory = self.inventory, inventory
        for key, connections in inventory.gateways.items():
            # It may never write a line, and its connections be silent.
            if key not in self.gateways and connections.since and key not in barred:
                self.gateways[key] = Gateway(key)
        touched = 0
        for key, gateway in self.gateways.items():
            if before.of(key) == inventory.of(key):
                continue
            gateway.recognise(self.known_to(key))
            for remote in ("", *gateway.tunnels):
                self.schedule(Scope(key, remote), due + touched // AT_ONCE * spread)
                touched += 1

    def owners(self, address: str) -> frozenset[str]:
        """Return the gateways that an address belongs to, by their own lines."""
        return self._owners.get(address, frozenset())

    def _own(self, gateway: Gateway) -> None:
        for address in gateway.locals:
            self._owners[address] = self.owners(address) | {gateway.key}

    def add(self, gateway: Gateway, ledgers: Mapping[str, Ledger], dues: Mapping[str, int | None]) -> None:
        """Take in a gateway as a store kept it: what was told and what is due, by remote address, '' for itself."""
        self.gateways[gateway.key] = gateway
        self._own(gateway)
        gateway.recognise(self.known_to(gateway.key))
        for remote, ledger in ledgers.items():
            self.keep(Scope(gateway.key, remote), ledger)
        for remote, due in dues.items():
            if due is not None:
                self.schedule(Scope(gateway.key, remote), due)

    def remove(self, key: str) -> None:
        """Forget a gateway and everything about it."""
        self.gateways.pop(key, None)
        self._owners = {a: left for a, keys in self._owners.items() if (left := keys - {key})}
        self._ledgers = {scope: ledger for scope, ledger in self._ledgers.items() if scope.gateway != key}
        self._due = {scope: due for scope, due in self._due.items() if scope.gateway != key}

    def due_of(self, scope: Scope) -> int | None:
        """Return when `scope` is judged next, None if it is not."""
        return self._due.get(scope)

    def read(self, partition: str, sequence_number: int, enqueued: int) -> None:
        """Note that `partition` has been read up to `sequence_number`, enqueued at `enqueued`; never backwards."""
        reached = Partition(sequence_number, enqueued)
        self.partitions[partition] = max(self.partitions.get(partition, reached), reached)

    def heads(self) -> dict[str, int]:
        """Return the head of every partition as far as it is known here: all that came. For want of a hub to ask."""
        return {partition: seen.sequence_number for partition, seen in self.partitions.items()}

    def watermark(self, heads: Mapping[str, int], now: int) -> int | None:
        """Return the instant up to which everything has been read, None while that cannot be said.

        `heads` are the last enqueued sequence number of every partition, asked of the hub at `now` or later; a
        partition read up to its head counts as now, an empty one (-1) too. The smallest counts: nothing may be
        concluded over unread events, however old. It never goes back: what was read up to `now` once stays so when a
        new event arrives.
        """
        for partition, head in heads.items():
            seen = self.partitions.get(partition)
            if head < 0 or (seen is not None and seen.sequence_number >= head):
                reached = now
            elif seen is not None:
                reached = seen.enqueued
            else:
                continue
            self.reached[partition] = max(self.reached.get(partition, reached), reached)
        if self.unseen(heads):
            return None
        return min((self.reached[partition] for partition in heads), default=None)

    def unseen(self, heads: Mapping[str, int]) -> list[str]:
        """Return the partitions of which it was never known here up to where they have been read.

        A process that starts where another stopped cannot tell a partition that was read to its end from one with
        a backlog: both are silent. It waits until an event comes.
        """
        return [p for p, head in heads.items() if head >= 0 and p not in self.partitions and p not in self.reached]

    def ledger(self, scope: Scope) -> Ledger:
        """Return what was told about `scope`. It is kept once `keep` is called."""
        return self._ledgers.get(scope) or Ledger()

    def keep(self, scope: Scope, ledger: Ledger) -> None:
        """Keep what was told about `scope`, if anything was: of strangers there is nothing to keep."""
        if ledger.count:
            self._ledgers[scope] = ledger

    def schedule(self, scope: Scope, due: int) -> None:
        """Have `scope` judged at `due`, or earlier if that was asked for before."""
        current = self._due.get(scope)
        if current is not None and due >= current:
            return
        due = -(-due // self.grid) * self.grid
        if current is None or due < current:
            self._due[scope] = due
            self.note_change(scope)
            heapq.heappush(self._heap, (due, scope))

    def settle(self, key: str, watermark: int) -> None:
        """Move the gateway's waiting lines for good once all facts about them are in."""
        for remote in self.gateways[key].settle(watermark):
            self.note_change(Scope(key, remote))

    def note_change(self, scope: Scope) -> None:
        """Note that `scope` has to be written, if anybody asks."""
        if self.changed is not None:
            self.changed.add(scope)

    def next_due(self) -> int | None:
        """Return the earliest deadline, None if nothing is due ever."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: int) -> Iterator[Scope]:
        """Yield every scope due by `now`, oldest first; each is no longer scheduled once yielded."""
        while (at := self.next_due()) is not None and at <= now:
            _, scope = heapq.heappop(self._heap)
            del self._due[scope]
            self.note_change(scope)
            yield scope

    def scopes(self) -> list[Scope]:
        """Return every gateway and every tunnel, known or not, in a fixed order."""
        return sorted(Scope(key, remote) for key, gateway in self.gateways.items() for remote in ("", *gateway.tunnels))
