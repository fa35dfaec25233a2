"""Law 6, bounded: whatever knocks, and however often, nothing that is kept grows without end and nobody known is lost.

Sizes are taken of every container that can be reached from the store, so a new one that leaks fails here, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import Enum
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ikestream.estate import Estate
from ikestream.events import Category, Record
from ikestream.grammar import read
from ikestream.lab import Lab
from ikestream.lab.faults import phase_one_both_try
from ikestream.negotiation import Negotiation
from ikestream.tick import tell
from ikestream.times import HOUR, MINUTE, SECOND
from ikestream.tunnel import MAX_OWNERS_EVER, MAX_STRANGER_SESSIONS, MAX_STRANGERS
from tests.streams import GATEWAY, START, last, told

MOST = MAX_OWNERS_EVER
"""No container holds more than this, by far the largest bound."""
RETRIES = 4_000
"""Enough to be folded many times; 25,000 (75,000 lines) take half a minute and end the same."""
INSTANCE = "GatewayTenantWorker_IN_0"


def containers(root: Any, path: str = "store") -> Iterator[tuple[str, int]]:
    """Yield (path by type, length) of every container that can be reached."""
    seen: set[int] = set()
    stack: list[tuple[Any, str]] = [(root, path)]
    while stack:
        value, where = stack.pop()
        if id(value) in seen or isinstance(value, str | bytes | int | float | Enum | type(None)):
            continue
        seen.add(id(value))
        if isinstance(value, Negotiation):
            yield f"{where}.events", len(value.events)
        elif is_dataclass(value):
            stack += [(getattr(value, f.name), f"{where}.{f.name}") for f in fields(value)]
        elif isinstance(value, dict):
            yield where, len(value)
            stack += [(v, where + "[]") for v in value.values()]
        elif isinstance(value, list | tuple | set | frozenset):
            yield where, len(value)
            stack += [(v, where + "[]") for v in value]


def sizes(store: Estate) -> dict[str, int]:
    found: dict[str, int] = {}
    for where, length in containers(store):
        found[where] = max(found.get(where, 0), length)
    return found


def line(at: int, remote: str, session: str, body: str, *, local: str = "192.0.2.4") -> Record:
    prefix = f"SESSION_ID :{{{session}}} Remote {remote}:500: Local {local}:500: "
    return Record(at, GATEWAY, Category.IKE, "IKELogEvent", INSTANCE, prefix + body)


def guid(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def refused(at: int, remote: str, session: str, spi: int) -> list[Record]:
    return [
        line(at, remote, session, f"[RECEIVED][SA_INIT] Received IKE SA INIT packet with iCookie 0x{spi:X} and rCookie 0x0"),
        line(at + 5, remote, session, "[SEND][NOTIFY] Sending Notify Message - Policy Mismatch"),
    ]  # fmt: skip


def feed(store: Estate, records: list[Record]) -> list[dict[str, Any]]:
    """Learn and tell as the app does, a tick a minute."""
    rows: list[dict[str, Any]] = []
    tick = START
    for record in sorted(records, key=lambda r: r.at or 0):
        while (record.at or 0) >= tick + MINUTE:
            tick += MINUTE
            rows += tell(store, tick)
        store.learn(read(record), record.at or 0)
    while (due := store.next_due()) is not None and due <= tick + 7 * HOUR:
        rows += tell(store, due)
    return rows


def crowd(addresses: int, sessions: int, second_hand: list[str]) -> list[Record]:
    random = Random(5)
    found = []
    for n in range(addresses):
        remote = f"10.{n // 65025}.{n // 255 % 255}.{n % 255}"
        for k in range(sessions if n % 500 else 40 * sessions):
            session = random.choice(second_hand) if k % 7 == 6 else guid(n * 4096 + k + 1)
            found += refused(START + random.randint(0, 90 * MINUTE), remote, session, 0xA000000000000000 + n * 4096 + k)
    return found


def test_a_flood_of_strangers_leaves_nothing_behind_and_loses_nobody() -> None:
    story = phase_one_both_try(Lab(4))
    alone = Estate()
    expected = told(feed(alone, list(story.records)))
    sessions = [s for gateway in alone.gateways.values() for s in gateway.owners]
    store = Estate()
    rows = feed(store, [*story.records, *(_moved(r, story.gateway_id) for r in crowd(2_000, 3, sessions))])
    (gateway,) = store.gateways.values()

    assert {t.remote for t in story.truths} <= gateway.tunnels.keys()
    assert [(r["Cause"], r["Mismatch"], r["State"]) for r in told(rows) if r["Cause"] != "UnknownPeer"] == [
        (r["Cause"], r["Mismatch"], r["State"]) for r in expected
    ]
    assert sum(r["Cause"] == "UnknownPeer" for r in told(rows)) == 1
    assert len(gateway.strangers) <= MAX_STRANGERS
    assert all(len(gateway.tunnels[s].sessions) <= MAX_STRANGER_SESSIONS for s in gateway.strangers)
    assert gateway.evicted > 1_000
    assert len(store._ledgers) <= 1 + len(story.truths)
    assert max(sizes(store).values()) <= MOST
    assert len(store._due) <= 2 * (1 + len(gateway.tunnels))


def _moved(record: Record, gateway: str) -> Record:
    return Record(record.at, gateway, record.category, record.operation, record.instance, record.message)


def test_twice_the_flood_takes_no_more_room() -> None:
    once, twice = Estate(), Estate()
    feed(once, crowd(1_000, 3, [guid(9)]))
    feed(twice, crowd(2_000, 3, [guid(9)]))

    grown = {w: n for w, n in sizes(twice).items() if n > 1.5 * max(sizes(once).get(w, 0), 64)}
    assert {w for w in grown if w != "store.gateways[].owners"} == set()


def test_sessions_of_strangers_are_forgotten_at_a_bound_that_is_counted() -> None:
    store = Estate()
    for n in range(MAX_OWNERS_EVER + 2_000):
        (record, _) = refused(START + n, f"10.0.0.{n % 50}", guid(n), n + 1)
        store.learn(read(record), START)
    (gateway,) = store.gateways.values()

    assert len(gateway.owners) <= MAX_OWNERS_EVER
    assert gateway.evicted > 0


def test_thousands_of_equal_retries_are_a_handful_of_entries() -> None:
    store = Estate()
    peer = "203.0.113.7"
    offer = line(
        START, peer, guid(1), "[RECEIVED][SA_INIT] Received IKE SA INIT packet with iCookie 0xA1 and rCookie 0x0"
    )
    told_offer = line(
        START + 1, peer, guid(1), "Received Ike payload Policy1:Cipher=AES-CBC-256 Integrity=SHA512 DhGroup=DhGroup18 "
    )
    records = [
        offer,
        told_offer,
        line(START + 2, peer, guid(1), "[SEND][NOTIFY] Sending Notify Message - Policy Mismatch"),
    ]
    for n in range(2, RETRIES):
        at = START + n * 2 * SECOND
        records += [
            line(at, peer, guid(n), f"[SEND][SA_INIT] Sending IKE SA_INIT packet with tunnelId 0x3, iCookie 0x{n + 0xB000000:X} and rCookie 0x0"),
            line(at + 30, peer, guid(n), "[RECEIVED][NOTIFY] Received Notify Message - Policy Mismatch"),
            line(at + 40, peer, guid(n), "[LOCAL_MSG] IKE Tunnel closed for tunnelId 0x3 with status Policy match error"),
        ]  # fmt: skip
    rows = feed(store, records)
    (gateway,) = store.gateways.values()
    tunnel = gateway.tunnels[peer]

    (row,) = (row for row in last(rows).values() if row["Kind"] == "Outage")
    assert row["Cause"] == "IkePolicyMismatch"
    assert row["Attempts"] == 256
    assert len(tunnel.spans) <= 4
    assert len(tunnel.sessions) < 1_100
    assert max(sizes(store).values()) <= MOST
    kept = [n for span in tunnel.spans for n in (span.first, span.last)] + tunnel.recent()
    assert any(n.peer_ike for n in kept)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    st.lists(st.text(max_size=80), min_size=1, max_size=20),
    st.sampled_from(("SESSION_ID :{%s} ", "SESSION_ID :{11111111-0000-4000-8000-%s} ", "%s")),
    st.sampled_from(("[RECEIVED][NOTIFY] Received Notify Message - %s", "Received Ike payload %s", "[IkeEvent] %s")),
)
def test_hostile_texts_stay_within_the_bounds(texts: list[str], prefix: str, body: str) -> None:
    store = Estate()
    for n in range(400):
        text = texts[n % len(texts)] + str(n)
        message = (prefix % text) + "Remote 203.0.113.9:500: Local 192.0.2.4:500: " * (n % 2) + body % text
        store.learn(read(Record(START + n * SECOND, GATEWAY, Category.IKE, "IKELogEvent", INSTANCE, message)), START)
    tell(store, START + HOUR)

    assert max(sizes(store).values()) <= 1_100
    assert not any(gateway.tunnels.keys() - {"203.0.113.9"} for gateway in store.gateways.values())


@pytest.mark.parametrize("copies", [40, 400])
def test_a_payload_of_many_proposals_is_kept_within_bounds(copies: int) -> None:
    store = Estate()
    many = "".join(f"Policy{i}:Cipher=AES-CBC-{i} Integrity=SHA{i} DhGroup=DhGroup{i} " for i in range(1, copies))
    store.learn(read(line(START, "203.0.113.9", guid(1), "Received Ike payload " + many)), START)

    assert max(n for w, n in sizes(store).items() if w.endswith("proposals")) <= 32
