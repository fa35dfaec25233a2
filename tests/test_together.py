"""Many tunnels at once: one incident of the gateway, linked both ways, and the same however it is delivered (laws 2, 5)."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ikestream.estate import Estate
from ikestream.events import Category, Record
from ikestream.grammar import read
from ikestream.incident import Row
from ikestream.lab import post
from ikestream.tick import tell
from ikestream.times import DAY, HOUR, MINUTE, SECOND
from tests.streams import GATEWAY, START, as_delivered, in_order, last, told

GATEWAYS = (GATEWAY, GATEWAY[:-3] + "TWO")
PEERS = tuple(f"203.0.113.{n}" for n in range(1, 7))
REASONS = ("", "DPD timed out", "StandbyChanged", "TunnelRemoved", "RemotelyTriggered", "Traffic selectors changed")


def outages(rows: Iterable[Row]) -> dict[str, Row]:
    """The last revisions of the outages; the feed of these gateways ends, which is an advisory in the end."""
    return {i: row for i, row in last(rows).items() if row["Kind"] == "Outage"}


def tunnel(at: int, peer: str, *, up: bool, instance: int = 0, reason: str = "", gateway: str = GATEWAY) -> Record:
    operation, status = ("TunnelConnected", "Connected") if up else ("TunnelDisconnected", "Disconnected")
    name = f"GatewayTenantWorker_IN_{instance}"
    return Record(at, gateway, Category.TUNNEL, operation, name, "", remote_ip=peer, status=status, reason=reason)


@st.composite
def days(draw: st.DrawFn) -> list[Record]:
    """Tunnels that come up, go down in crowds or alone, some for good; gateway events and IKE lines between."""
    records = [
        tunnel(START + n * SECOND, peer, up=True, instance=instance, gateway=gateway)
        for gateway in draw(st.sampled_from((GATEWAYS[:1], GATEWAYS)))
        for instance in draw(st.sampled_from(((0,), (0, 1))))
        for n, peer in enumerate(PEERS)
    ]
    for _ in range(draw(st.integers(1, 4))):
        at = START + HOUR + draw(st.integers(0, 40)) * MINUTE
        instance = draw(st.sampled_from((0, 1)))
        gateway = draw(st.sampled_from(GATEWAYS))
        reason = draw(st.sampled_from(REASONS))
        if draw(st.booleans()):
            operation = draw(st.sampled_from(("HostMaintenanceEvent", "GatewayTenantPrimaryChanged")))
            name = f"GatewayTenantWorker_IN_{instance}"
            records.append(
                Record(at + draw(st.integers(-9, 9)) * MINUTE, gateway, Category.GATEWAY, operation, name, "")
            )
        for peer in draw(st.lists(st.sampled_from(PEERS), min_size=1, max_size=6, unique=True)):
            down = at + draw(st.integers(0, 150)) * SECOND
            records.append(tunnel(down, peer, up=False, instance=instance, reason=reason, gateway=gateway))
            if draw(st.integers(0, 3)):
                back = down + draw(st.sampled_from((20, 100, 179, 180, 181, 400, 3_000))) * SECOND
                records.append(tunnel(back, peer, up=True, instance=draw(st.sampled_from((0, 1))), gateway=gateway))
        peer = draw(st.sampled_from(PEERS))
        close = (
            f"SESSION_ID :{{0000000{peer[-1]}-0000-4000-8000-000000000000}} Remote {peer}:500: Local 192.0.2.4:500: "
        )
        close += "[LOCAL_MSG] IKE Tunnel closed for tunnelId 0x3 with status Main mode SA assumed to be invalid because peer stopped responding"
        records.append(Record(at, gateway, Category.IKE, "IKELogEvent", f"GatewayTenantWorker_IN_{instance}", close))
    return records


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(days(), st.integers(0, 2**32))
def test_crowds_end_the_same_however_they_are_delivered(records: list[Record], seed: int) -> None:
    random = Random(seed)

    assert told(as_delivered(post(records, random), random)) == told(in_order(records))


def fallen(count: int, of: int, *, back: int | None = None, spread: int = 10) -> list[Record]:
    peers = [f"203.0.113.{n}" for n in range(of)]
    records = [tunnel(START + n, peer, up=True) for n, peer in enumerate(peers)]
    for n, peer in enumerate(peers[:count]):
        records.append(tunnel(START + HOUR + n * spread * SECOND, peer, up=False, reason="DPD timed out"))
        if back is not None:
            records.append(tunnel(START + HOUR + back + n * SECOND, peer, up=True))
    return records


@pytest.mark.parametrize(
    ("count", "of", "spread", "expected"),
    [(3, 6, 10, 1), (3, 7, 10, 0), (2, 2, 10, 0), (3, 3, 60, 1), (3, 3, 61, 0), (10, 20, 5, 1), (10, 21, 5, 0)],
)
def test_half_of_the_legs_at_least_three_within_two_minutes(count: int, of: int, spread: int, expected: int) -> None:
    rows = outages(in_order(fallen(count, of, spread=spread)))
    whole = [row for row in rows.values() if row["Scope"] == "Gateway"]
    own = [row for row in rows.values() if row["Scope"] == "Tunnel" and row["Kind"] == "Outage"]

    assert len(whole) == expected
    assert len(own) == count
    for row in whole:
        assert row["RemoteIP"] == ""
        assert row["Impact"] == ("Down" if count == of else "Degraded")
        assert sorted(row["RelatedIncidents"]) == sorted(r["IncidentId"] for r in own)
        assert {leg["RemoteIP"] for leg in row["Legs"]} == {r["RemoteIP"] for r in own}
    assert all(row["RelatedIncidents"] == [w["IncidentId"] for w in whole] for row in own)


def test_a_row_of_a_tunnel_points_to_its_gateway_from_the_first() -> None:
    rows = in_order(fallen(3, 3))
    first = {row["IncidentId"]: row for row in reversed(rows)}
    (whole,) = [i for i, row in first.items() if row["Scope"] == "Gateway"]

    assert rows[0]["IncidentId"] == whole
    assert all(row["RelatedIncidents"] == [whole] for i, row in first.items() if i != whole)


def test_a_takeover_of_three_minutes_is_told_to_nobody() -> None:
    assert outages(in_order(fallen(6, 6, back=174 * SECOND, spread=0))) == {}
    assert len(outages(in_order(fallen(6, 6, back=181 * SECOND, spread=0)))) == 7


def test_silence_ends_an_outage_after_thirty_days_and_not_before() -> None:
    records = fallen(1, 1)
    rows = in_order(records)
    assert [row["State"] for row in last(rows).values()] == ["Open"]

    later = [*records, tunnel(START + 45 * DAY, "203.0.113.77", up=True)]
    (row,) = outages(in_order(later)).values()
    assert (row["State"], row["Resolution"]) == ("Resolved", "NotObserved")
    assert row["ResolvedAt"] == "2026-04-01T11:00:00.000Z"


def test_what_was_once_related_stays_named_when_the_other_is_forgotten() -> None:
    records = [r for r in fallen(3, 3, back=400 * SECOND) if r.operation == "TunnelDisconnected" or r.at != LAST_BACK]
    # The gateway is judged once more after the floor, and forgets; the tunnel that is still down is told on.
    records.append(Record(START + 30 * HOUR, GATEWAY, Category.GATEWAY, "GatewayTenantPrimaryChanged", "", ""))
    rows = outages(in_order(records))
    (whole,) = [i for i, row in rows.items() if row["Scope"] == "Gateway"]
    (still,) = [row for row in rows.values() if row["State"] == "Open"]

    assert rows[whole]["State"] == "Resolved"
    assert still["TimeGenerated"] > "2026-03-04"
    assert still["RelatedIncidents"] == [whole]


LAST_BACK = START + HOUR + 402 * SECOND


def test_a_late_line_about_another_dead_peer_takes_an_early_verdict_back_at_once() -> None:
    a, b = "203.0.113.1", "203.0.113.2"
    down = START + HOUR
    store = Estate()
    early = [tunnel(START, a, up=True), tunnel(START, b, up=True), tunnel(down, a, up=False, reason="DPD timed out")]
    for record in [*early, tunnel(down + 100 * SECOND, a, up=True)]:
        store.learn(read(record), record.at or 0)
    (first,) = tell(store, down + 170 * SECOND)
    assert first["RemoteIP"] == a

    store.learn(read(tunnel(down + 10 * SECOND, b, up=False, reason="DPD timed out")), down + 171 * SECOND)
    store.learn(read(tunnel(down + 90 * SECOND, b, up=True)), down + 171 * SECOND)
    (withdrawn,) = tell(store, down + 175 * SECOND)
    assert (withdrawn["RemoteIP"], withdrawn["Resolution"]) == (a, "Withdrawn")
