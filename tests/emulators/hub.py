"""Messages -> partitions -> messages: a local Event Hubs namespace, AMQP 1.0 on a free port of the loopback.

The real azure-eventhub SDK sends to it, reads from it and asks it for properties; the AMQP engine is Apache Qpid
Proton. Like the service it stamps sequence number, offset and enqueued time on every event, opens a batch message
into its events, and wants a token first, which it does not check. A reader with an owner level (an epoch) ends those of
its consumer group and partition that have none or a lower one, and keeps new ones of that kind out. It knows no
throttling, no limits and no expiry. It can go away and come back.

    with LocalHub({"vpn": 2}) as hub:
        EventHubProducerClient.from_connection_string(hub.connection_string("vpn"))
"""

from __future__ import annotations

import asyncio
import re
import struct
import threading
import time
import zlib
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Self, TypeAlias

import pytest

pytest.importorskip("proton", reason="python-qpid-proton has no wheel and could not be built here")

from proton import (
    UNDESCRIBED,
    Array,
    Collector,
    Condition,
    Connection,
    Data,
    Delivery,
    Described,
    Message,
    Transport,
    int32,
    symbol,
    timestamp,
    ulong,
)
from proton.handlers import MessagingHandler

# Proton's own types let nearly everything be None.
Event: TypeAlias = Any
Link: TypeAlias = Any

KEY = "bG9vcGJhY2stb25seQ=="
"""The shared access key of every connection string: what must never be seen in a log."""

ANNOTATIONS, BODY = 0x72, 0x75  # descriptors of message sections, AMQP 1.0 part 3.2
SECTIONS = range(0x70, 0x79)
RECEIVER = re.compile(r"(?P<hub>[^/]+)/ConsumerGroups/(?P<group>[^/]+)/Partitions/(?P<partition>\d+)", re.IGNORECASE)
EPOCH = symbol("com.microsoft:epoch")
SENDER = re.compile(r"(?P<hub>[^/]+)(?:/Partitions/(?P<partition>\d+))?", re.IGNORECASE)
SELECTOR = re.compile(r"x-opt-(?P<field>offset|sequence-number|enqueued-time)\s*(?P<sign>>=?)\s*'(?P<value>[^']*)'")


@dataclass(slots=True)
class Partition:
    """A growing list of encoded events; sequence number and offset are their place."""

    events: list[bytes] = field(default_factory=list)
    enqueued: list[int] = field(default_factory=list)
    expired: bool = False  # retention has taken all there was

    @property
    def head(self) -> int:
        return len(self.events) - 1

    def append(self, message: bytes) -> None:
        now = int(time.time() * 1000)
        parts = sections(message)
        annotations = dict(next((value for code, _, value in parts if code == ANNOTATIONS), {}))
        annotations[symbol("x-opt-sequence-number")] = len(self.events)
        annotations[symbol("x-opt-offset")] = str(len(self.events))
        annotations[symbol("x-opt-enqueued-time")] = timestamp(now)
        stamped = Data()
        stamped.put_object(Described(ulong(ANNOTATIONS), annotations))
        before = b"".join(raw for code, raw, _ in parts if code < ANNOTATIONS)
        after = b"".join(raw for code, raw, _ in parts if code > ANNOTATIONS)
        self.events.append(before + stamped.encode() + after)
        self.enqueued.append(now)

    def place(self, selector: str) -> int:
        """Return the place of the first event that the receiver's filter lets through."""
        found = SELECTOR.search(selector)
        if found is None or found["value"] == "@latest":
            return len(self.events)
        keys = self.enqueued if found["field"] == "enqueued-time" else list(range(len(self.events)))
        least = int(found["value"]) + (found["sign"] == ">")
        return next((place for place, key in enumerate(keys) if key >= least), len(keys))


def sections(message: bytes) -> list[tuple[int, bytes, Any]]:
    """Split an encoded message into (descriptor, bytes, value) of its sections."""
    found = []
    while message:
        data = Data()
        size = data.decode(message)
        data.rewind()
        data.next()
        described: Any = data.get_py_described()
        value = bytes(described.value) if isinstance(described.value, memoryview) else described.value
        found.append((int(described.descriptor), message[:size], value))
        message = message[size:]
    return found


class Broker(MessagingHandler):
    """What the namespace does with links and messages. Lives in the hub's thread."""

    def __init__(self, hubs: dict[str, list[Partition]]) -> None:
        super().__init__(prefetch=300, auto_accept=False)
        self.hubs = hubs
        self.connections: set[Wire] = set()
        self.readers: dict[Link, tuple[Partition, int]] = {}
        self.owners: dict[Link, tuple[str, int | None]] = {}  # reader -> whose partition it reads, by which owner level
        self.answers: dict[tuple[Connection, str], Link] = {}
        self.asked: dict[str, int] = defaultdict(int)
        self.refused: list[Link] = []
        self.opened = self.sent = 0
        self.silent = False
        self.refusals: dict[str, tuple[int, str]] = {}  # partition, or "" for the hub -> what it answers

    def on_link_opening(self, event: Event) -> None:
        link = event.link
        link.source.address, link.target.address = link.remote_source.address, link.remote_target.address
        address = path(link.remote_source.address if link.is_sender else link.remote_target.address)
        if address in ("$cbs", "$management"):
            if link.is_sender:
                self.answers[event.connection, address] = link
            return
        found = (RECEIVER if link.is_sender else SENDER).fullmatch(address)
        partition = self.find(found) if found else None
        if partition is None:
            self.refuse(link, "amqp:not-found", f"The messaging entity '{address}' could not be found.")
        elif link.is_sender and self.is_kept_out(link, address.lower()):
            self.refuse(link, "amqp:link:stolen", "At least one receiver for the endpoint is created with epoch.")
        elif link.is_sender:
            chosen = link.remote_source.filter
            chosen.rewind()
            selectors = chosen.get_object() if chosen.next() else {}
            link.source.filter.copy(link.remote_source.filter)
            self.readers[link] = (partition, partition.place(" ".join(str(s.value) for s in selectors.values())))

    def refuse(self, link: Link, condition: str, text: str) -> None:
        """Close a link that is being opened, once Proton has opened it: closed before, it would be open after all."""
        link.condition = Condition(condition, text)
        self.refused.append(link)

    def close_refused(self) -> None:
        while self.refused:
            self.refused.pop().close()

    def is_kept_out(self, link: Link, address: str) -> bool:
        """Whether the service lets no such reader in; one with an owner level it lets in, and ends lesser ones."""
        level = (link.remote_properties or {}).get(EPOCH)
        level = int(level) if level is not None else None
        others = [(other, theirs) for other, (where, theirs) in self.owners.items() if where == address]
        if any((-1 if level is None else level) < theirs for _, theirs in others if theirs is not None):
            return True
        if level is not None:
            for other, _ in others:
                other.condition = Condition("amqp:link:stolen", "New receiver with higher epoch is created.")
                other.close()
                self.forget_reader(other)
        self.owners[link] = (address, level)
        return False

    def forget_reader(self, link: Link) -> None:
        self.readers.pop(link, None)
        self.owners.pop(link, None)

    def find(self, found: re.Match[str]) -> Partition | None:
        partitions = self.hubs.get(found["hub"].lower(), [])
        place = int(found["partition"] or 0)
        return partitions[place] if place < len(partitions) else None

    def on_link_flow(self, event: Event) -> None:
        if event.link in self.readers:
            self.pump(event.link)

    def pump(self, link: Link) -> None:
        partition, place = self.readers[link]
        while link.credit > 0 and place < len(partition.events):
            self.sent += 1
            link.delivery(str(self.sent))
            link.stream(partition.events[place])
            link.advance()
            place += 1
        self.readers[link] = (partition, place)
        if link.drain_mode:
            link.drained()

    def on_delivery(self, event: Event) -> None:
        link, delivery = event.link, event.delivery
        if not link.is_receiver or not delivery.readable or delivery.partial:
            return
        message = bytes(link.recv(delivery.pending))
        link.advance()
        address = path(link.target.address)
        if address in ("$cbs", "$management"):
            question = Message()
            question.decode(message)
            self.answer(event.connection, address, question)
        elif (found := SENDER.fullmatch(address)) is None or self.find(found) is None:
            return  # sent before it knew that there is no such hub
        else:
            self.enqueue(found, message)
        delivery.update(Delivery.ACCEPTED)
        delivery.settle()

    def enqueue(self, found: re.Match[str], message: bytes) -> None:
        parts = sections(message)
        partitions = self.hubs[found["hub"].lower()]
        annotations: Any = next((value for code, _, value in parts if code == ANNOTATIONS), {})
        key = annotations.get(symbol("x-opt-partition-key"))
        if found["partition"]:
            partition = partitions[int(found["partition"])]
        elif key is not None:
            partition = partitions[zlib.crc32(str(key).encode()) % len(partitions)]
        else:
            partition = min(partitions, key=lambda one: one.head)
        # A batch is a message whose bodies are messages.
        bodies = [value for code, _, value in parts if code == BODY]
        batch = [body for body in bodies if body[:2] == b"\x00\x53" and body[2] in SECTIONS]
        for one in batch or [message]:
            partition.append(one)
        for link, (read, _) in list(self.readers.items()):
            if read is partition:
                self.pump(link)

    def answer(self, connection: Connection, address: str, question: Message) -> None:
        self.asked[address] += 1
        if self.silent and address == "$management":
            return
        status, text, body = 202, "Accepted", None
        if (
            address == "$cbs"
            and (hub := path((question.properties or {})["name"]).split("/")[0]).lower() not in self.hubs
        ):
            status, text = 404, f"The messaging entity '{hub}' could not be found."
        if address == "$management":
            status, text, body = self.properties(question.properties or {})
        self.answers[connection, address].send(
            Message(
                body=body,
                correlation_id=question.id,
                properties={"status-code": int32(status), "status-description": text},
            )
        )

    def properties(self, asked: dict[str, Any]) -> tuple[int, str, dict[str, Any] | None]:
        if refusal := self.refusals.get(asked.get("partition", "")):
            return (*refusal, None)
        partitions = self.hubs.get(asked["name"].lower())
        if partitions is None:
            return 404, f"The messaging entity '{asked['name']}' could not be found.", None
        if "partition" not in asked:
            names: list[Any] = [str(place) for place in range(len(partitions))]
            ids = Array(UNDESCRIBED, Data.STRING, *names)  # type: ignore[arg-type]  # its own constant
            return 200, "OK", {"name": asked["name"], "created_at": timestamp(0), "partition_ids": ids}
        partition = partitions[int(asked["partition"])]
        return (
            200,
            "OK",
            {
                "name": asked["name"],
                "partition": asked["partition"],
                "begin_sequence_number": min(partition.head, 0),
                "last_enqueued_sequence_number": partition.head,
                "last_enqueued_offset": str(partition.head),
                "last_enqueued_time_utc": timestamp(partition.enqueued[-1] if partition.enqueued else 0),
                "is_partition_empty": partition.expired or not partition.events,
            },
        )

    def on_link_closing(self, event: Event) -> None:
        self.forget_reader(event.link)

    def on_transport_error(self, event: Event) -> None:
        """Say nothing: the SDK always detaches the links of a management session after it has ended the session."""

    def forget(self, connection: Connection) -> None:
        self.readers = {link: read for link, read in self.readers.items() if link.connection != connection}
        self.owners = {link: owner for link, owner in self.owners.items() if link.connection != connection}
        self.answers = {key: link for key, link in self.answers.items() if key[0] != connection}


def path(address: str | None) -> str:
    """Return an address without scheme and host."""
    return re.sub(r"^(amqps?|sb)://[^/]+/", "", address or "").strip("/")


# Fields of each performative by descriptor, AMQP 1.0 part 2.7.
FIELDS = {0x10: 10, 0x11: 8, 0x12: 14, 0x13: 11, 0x14: 11, 0x15: 6, 0x16: 3, 0x17: 1, 0x18: 1}


def spelled_out(frame: bytes) -> bytes:
    """Write the trailing nulls of a performative, which AMQP lets a sender leave off, as Proton does.

    The service writes them, and the SDK takes fields by their place without looking how many there are.
    """
    start = frame[4] * 4
    performative = frame[start:]
    if frame[5] != 0 or performative[:2] != b"\x00\x53" or performative[2] not in FIELDS:
        return frame
    code, form = performative[2:4]
    if form == 0x45:  # list0
        count, items, payload = 0, b"", performative[4:]
    elif form == 0xC0:  # list8: size and count in a byte each; the size counts the count
        size, count = performative[4:6]
        items, payload = performative[6 : 5 + size], performative[5 + size :]
    else:  # list32
        size, count = struct.unpack_from(">II", performative, 4)
        items, payload = performative[12 : 8 + size], performative[8 + size :]
    items += b"\x40" * (FIELDS[code] - count)
    whole = bytes((0, 0x53, code, 0xD0)) + struct.pack(">II", len(items) + 4, FIELDS[code]) + items + payload
    return struct.pack(">I", start + len(whole)) + frame[4:start] + whole


class Wire(asyncio.Protocol):
    """One TCP connection: bytes in and out of Proton's engine, its events to the broker."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.pending = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.socket = transport
        self.connection, self.engine, self.events = Connection(), Transport(Transport.SERVER), Collector()
        self.connection.collect(self.events)
        self.engine.sasl().allowed_mechs("ANONYMOUS")
        self.engine.bind(self.connection)
        self.broker.connections.add(self)
        self.broker.opened += 1

    def data_received(self, data: bytes) -> None:
        while data and (room := self.engine.capacity()) > 0:
            self.engine.push(data[:room])
            data = data[room:]
            self.dispatch()
        for wire in list(self.broker.connections):  # what came in here may have to go out there
            wire.flush()

    def dispatch(self) -> None:
        while event := self.events.peek():
            event.dispatch(self.broker)
            self.events.pop()
            self.broker.close_refused()

    def flush(self) -> None:
        self.dispatch()
        while (size := self.engine.pending()) > 0:
            self.pending += self.engine.peek(size) or b""
            self.engine.pop(size)
            self.dispatch()
        while len(self.pending) >= 8:
            handshake = self.pending[:4] == b"AMQP"
            length = 8 if handshake else struct.unpack_from(">I", self.pending)[0]
            if len(self.pending) < length:
                break
            frame, self.pending = self.pending[:length], self.pending[length:]
            self.socket.write(frame if handshake else spelled_out(frame))
        if self.engine.pending() < 0 and not self.socket.is_closing():
            self.socket.close()

    def connection_lost(self, problem: Exception | None) -> None:
        self.broker.connections.discard(self)
        self.broker.forget(self.connection)
        self.engine.close_tail()
        self.dispatch()
        self.engine.unbind()


class LocalHub:
    """A namespace with event hubs of so many partitions each, in a thread of its own, while the block runs."""

    def __init__(self, hubs: dict[str, int]) -> None:
        self.hubs = {name.lower(): [Partition() for _ in range(count)] for name, count in hubs.items()}
        self.broker = Broker(self.hubs)
        self.port = 0
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="local hub")

    def connection_string(self, hub: str = "") -> str:
        entity = f";EntityPath={hub}" if hub else ""
        return (
            f"Endpoint=sb://127.0.0.1:{self.port};SharedAccessKeyName=RootManageSharedAccessKey;"
            f"SharedAccessKey={KEY};UseDevelopmentEmulator=true{entity}"
        )

    def put(self, hub: str, partition: str, body: bytes) -> None:
        """Enqueue an event as if somebody had sent it."""
        self.hubs[hub][int(partition)].append(Message(body=body, inferred=True).encode())

    def go_away(self) -> None:
        """Cut all connections and take no new ones."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)

    def come_back(self) -> None:
        """Take connections again, at the same port."""
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        await self._listen()
        self._up.set()
        await self._over.wait()
        await self._close()

    async def _listen(self) -> None:
        self._server = await self._loop.create_server(lambda: Wire(self.broker), "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self._server.close()
        for wire in list(self.broker.connections):
            wire.socket.abort()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)
