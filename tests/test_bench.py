"""The streams of the bench are what its figures rest on: real lines, in order, no two tunnels or attempts mixed up."""

from __future__ import annotations

from itertools import islice

from ikestream.batch import Delivery, sort
from ikestream.events import Kind
from tests.bench import stream

TUNNELS = 60


def test_every_line_is_read_and_belongs_to_one_tunnel_in_order_of_time() -> None:
    bodies = list(stream.stream(30_000, TUNNELS))
    assert bodies == list(islice(stream.stream(60_000, TUNNELS), len(bodies)))
    assert bodies != list(stream.stream(30_000, TUNNELS, seed=1))
    parcels, report = sort([Delivery("0", str(n), n, 1 << 41, body) for n, body in enumerate(bodies)])
    assert report.records == 30_000
    assert not report.skipped
    assert not report.dead
    assert not report.unread
    events = [event for parcel in parcels for event in parcel.events]
    assert len({event.remote for event in events}) == TUNNELS
    owners = {(event.session, event.remote) for event in events if event.session}
    assert len(owners) == len({session for session, _ in owners}) > 1_000
    begun = {(e.initiator_spi, e.session) for e in events if e.kind in (Kind.SA_INIT_SENT, Kind.SA_INIT_RECEIVED)}
    assert len(begun) == len({spi for spi, _ in begun}) > 500
    assert {Kind.TUNNEL_UP, Kind.TUNNEL_DOWN, Kind.TS_FINAL, Kind.CLOSED, Kind.NOTIFY_SENT} <= {e.kind for e in events}
    times = [at for body in bodies for at in _times(body)]
    assert times == sorted(times)


def _times(body: bytes) -> list[bytes]:
    return [piece[:28] for piece in body.split(b'"time":"')[1:]]
