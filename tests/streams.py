"""Deliveries -> last revisions: runs the whole core as the app would, and builds streams of real lines' words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from typing import Any

from hypothesis import strategies as st

from ikestream import codes
from ikestream.batch import Delivery, learn
from ikestream.estate import Estate
from ikestream.events import Category, Record
from ikestream.grammar import ROWS
from ikestream.incident import Row
from ikestream.inventory import Inventory
from ikestream.lab.delivery import PROMPT, post
from ikestream.replay import NO_INVENTORY
from ikestream.tick import tell
from ikestream.times import DAY, HOUR, MINUTE, SECOND, TICK

START = 1_772_445_600_000  # 2026-03-02T10:00:00Z
GATEWAY = "/SUBSCRIPTIONS/00000000-0000-0000-0000-000000000001/RESOURCEGROUPS/RG/PROVIDERS/MICROSOFT.NETWORK/VIRTUALNETWORKGATEWAYS/VNG-LAB"
AFTERWARDS = 3 * DAY
"""The clock runs on this long: offers age out after a day, an open incident is told again every six hours."""

NOT_COMPARED = {"IncidentId", "Revision", "TimeGenerated", "OpenedAs"}
RETRACTED = {"Withdrawn", "Merged"}


def in_order(records: Sequence[Record], inventory: Inventory = NO_INVENTORY) -> list[Row]:
    """The reference: one partition, no delay, a tick after every record and whenever something is due.

    `inventory` is what is configured in the end, with what was before; it is known from the beginning.
    """
    deliveries = post(sorted(records, key=lambda r: r.at or 0), Random(0), PROMPT)
    store = Estate()
    store.equip(inventory, START)
    rows: list[Row] = []
    now = 0
    for delivery in deliveries:
        rows += run_until(store, now, delivery.enqueued - 1)
        now = delivery.enqueued
        learn(store, [delivery])
    return rows + run_on(store, max((d.enqueued for d in deliveries), default=START))


def as_delivered(deliveries: Sequence[Delivery], random: Random, inventory: Inventory = NO_INVENTORY) -> list[Row]:
    """Batches of any size, each partition read at its own pace, ticks in between by the watermark.

    `clock` is the wall's; a partition's events exist for its reader from their enqueued time on.
    """
    store = Estate(inventory=inventory)
    rows: list[Row] = []
    unread = {p: [d for d in deliveries if d.partition == p] for p in sorted({d.partition for d in deliveries})}
    taken: list[list[Delivery]] = []
    clock = min((d.enqueued for d in deliveries), default=START)
    while any(unread.values()):
        ready = [p for p, left in unread.items() if left and left[0].enqueued <= clock]
        if not ready:
            clock = min(left[0].enqueued for left in unread.values() if left)
        elif random.random() < 0.75:
            partition = random.choice(ready)
            batch = [d for d in unread[partition][: random.choice((1, 1, 2, 5, 20))] if d.enqueued <= clock]
            del unread[partition][: len(batch)]
            learn(store, random.sample(batch, len(batch)))
            taken.append(batch)
        elif taken and random.random() < 0.3:
            learn(store, random.choice(taken))  # a worker died after its commit and before its checkpoint
        if random.random() < 0.5:
            clock += random.choice((0, SECOND, TICK, MINUTE, 5 * MINUTE, 20 * MINUTE))
        if random.random() < 0.6:
            heads = {
                p: max((d.sequence_number for d in deliveries if d.partition == p and d.enqueued <= clock), default=-1)
                for p in unread
            }
            mark = store.watermark(heads, clock)
            if mark is not None:
                rows += tell(store, mark)
    clock = max(clock, max((d.enqueued for d in deliveries), default=START))
    if taken and random.random() < 0.5:
        later = clock + random.choice((MINUTE, HOUR, 5 * HOUR))
        rows += run_until(store, clock, later)
        learn(store, random.choice(taken))
        clock = later
    return rows + run_on(store, clock)


def run_on(store: Estate, now: int) -> list[Row]:
    """All has been read: let the clock run on until nothing but restatements is to come."""
    return run_until(store, now, now + AFTERWARDS)


def run_until(store: Estate, now: int, until: int) -> list[Row]:
    """Judge whenever something is due, from `now` up to and including `until`; never in the past."""
    rows: list[Row] = []
    while (due := store.next_due()) is not None and due <= until:
        now = max(now, due)
        rows += tell(store, now)
    return rows


def last(rows: Iterable[Row]) -> dict[str, Row]:
    """The last revision of every incident that stands; `Revision` must count up by one and `TimeGenerated` grow."""
    newest: dict[str, Row] = {}
    for row in rows:
        before = newest.get(row["IncidentId"])
        assert row["Revision"] == (1 if before is None else before["Revision"] + 1)
        assert before is None or before["TimeGenerated"] < row["TimeGenerated"]
        newest[row["IncidentId"]] = row
    return {i: row for i, row in newest.items() if row["Resolution"] not in RETRACTED}


def told(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """What law 2 compares: the last revisions without the columns that telling decides, in a fixed order.

    Ids are minted at telling, so where a row names another incident its id gives way to what it stands for; naming
    one that was taken back, or never told, fails.
    """
    newest = last(rows)
    named = {i: f"{row['GatewayId']}|{row['RemoteIP']}|{row['Kind']}|{row['FirstSeen']}" for i, row in newest.items()}
    kept = [{k: v for k, v in row.items() if k not in NOT_COMPARED} for row in newest.values()]
    kept = [row | {"RelatedIncidents": sorted(named[i] for i in row["RelatedIncidents"] or ())} for row in kept]
    return sorted(kept, key=lambda row: repr(sorted(row.items())))


# --- streams of the words of real lines ---------------------------------------------------------------------------

_NOTIFIES = (
    "Policy Mismatch",
    "Authentication failed",
    "Traffic Selectors Unacceptable",
    "Invalid KE Payload",
    "Invalid Syntax",
    "INVALID_ID_INFORMATION",
    "TEMPORARY_FAILURE",
)
_CODES = (
    13801,
    13868,
    13805,
    13885,
    13886,
    13807,
    13821,
    13999,
    4320,
    13843,
    13877,
    13891,
    13895,
    13802,
    13809,
    13822,
    13861,
    13869,
)
BODIES = (
    *(row.sample for row in ROWS),
    *(
        f"[{tag}][NOTIFY] {verb} Notify Message - {text}"
        for tag, verb in (("SEND", "Sending"), ("RECEIVED", "Received"))
        for text in _NOTIFIES
    ),
    *(f"[LOCAL_MSG] IKE Tunnel closed for tunnelId 0x3 with status {codes.CODES[c].message}" for c in _CODES),
    "something no row of the grammar knows",
)
"""What a line may say: the sample of every row of the grammar, notifies either way, closes of every role."""

PEERS = ("203.0.113.7", "203.0.113.8", "198.51.100.9")
LOCALS = ("192.0.2.4", "192.0.2.5")
INSTANCES = ("GatewayTenantWorker_IN_0", "GatewayTenantWorker_IN_1")


@st.composite
def lines(draw: st.DrawFn, locals_: tuple[str, ...] = LOCALS) -> Record:
    """One record of any category, from a few sessions, peers and instances, close together and often at one instant."""
    at = START + draw(st.integers(0, 80)) * draw(st.sampled_from((0, 1, SECOND, 30 * SECOND, 3 * MINUTE)))
    instance = draw(st.sampled_from(INSTANCES))
    what = draw(st.integers(0, 19))
    if what == 0:
        return Record(
            at,
            GATEWAY,
            Category.GATEWAY,
            draw(st.sampled_from(("SetGatewayConfiguration", "HostMaintenanceEvent", "GatewayTenantPrimaryChanged"))),
            instance,
            "",
        )
    if what == 1:
        return Record(
            at,
            GATEWAY,
            Category.ROUTE,
            draw(st.sampled_from(("BgpConnectedEvent", "BgpDisconnectedEvent"))),
            instance,
            "10.1.0.4",
        )
    peer = draw(st.sampled_from(PEERS))
    if what <= 4:
        up = draw(st.booleans())
        operation, status = ("TunnelConnected", "Connected") if up else ("TunnelDisconnected", "Disconnected")
        reason = "" if up else draw(st.sampled_from(("", "DPD timed out", "RemotelyTriggered")))
        return Record(
            at, GATEWAY, Category.TUNNEL, operation, instance, "", remote_ip=peer, status=status, reason=reason
        )
    number = draw(st.integers(0, 4))
    owner = PEERS[number % len(PEERS)]  # a session belongs to one peer
    local = locals_[number % len(locals_)]
    session = f"SESSION_ID :{{0000000{number}-0000-4000-8000-000000000000}} "
    ends = f"Remote {owner}:500: Local {local}:500: "
    prefix = draw(st.sampled_from((session + ends, session + ends, session + ends, session, ends, "")))
    return Record(at, GATEWAY, Category.IKE, "IKELogEvent", instance, prefix + draw(st.sampled_from(BODIES)))


def streams(size: int = 40, locals_: tuple[str, ...] = LOCALS) -> st.SearchStrategy[list[Record]]:
    """A log of up to `size` such records; the gateway's own addresses are `locals_`."""
    return st.lists(lines(locals_), min_size=1, max_size=size)
