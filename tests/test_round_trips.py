"""What a batch and a tick ask of the storage account, counted where Microsoft's own client sends it to Azurite.

One round trip costs as much as thousands of records parsed, and is what a month's bill counts.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from ikestream import inbox
from ikestream.batch import Delivery, sort
from ikestream.monitor import Monitor
from ikestream.stores import tables
from ikestream.times import TICK
from tests.bench import stream
from tests.bench.operations import Anything
from tests.emulators.azurite import Azurite, missing

RECORDS = 1_000
AGO = stream.START + 8 * 3_600_000
"""The clock: later than every record of the stream, so that ticks conclude what there is to conclude."""

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "-")


@pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")
def test_a_batch_of_one_gateway_is_one_write_and_its_tick_one_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from azure.core.pipeline.transport import AioHttpTransport

    sent: Counter[str] = Counter()
    send = AioHttpTransport.send

    async def counted(self: AioHttpTransport, request: Any, **options: Any) -> Any:
        sent["reads" if request.method == "GET" else "writes"] += 1
        return await send(self, request, **options)

    monkeypatch.setattr(AioHttpTransport, "send", counted)

    async def run(connection_string: str) -> tuple[Counter[str], Counter[str], Counter[str]]:
        now = AGO
        store = tables.with_connection_string(connection_string, "roundtrips")
        monitor = Monitor(store, [Anything()], lambda: now, "worker")
        bodies = stream.stream(3 * RECORDS, stream.PER_GATEWAY)
        posted, learned = Counter[str](), Counter[str]()
        try:
            for batch in range(3):
                some = enumerate(islice(bodies, RECORDS // stream.IN_A_BODY), batch * RECORDS)
                parcels, report = sort([Delivery("0", str(n), n, now, body) for n, body in some])
                assert report.records == RECORDS
                assert len({parcel.gateway for parcel in parcels}) == 1
                sent.clear()
                await inbox.post(store, parcels)
                posted = Counter(sent)
                sent.clear()
                ticked = await monitor.tick()
                assert (ticked.held, ticked.trouble, ticked.events) == (True, [], RECORDS)
                learned = Counter(sent)
                now += TICK
            sent.clear()
            await monitor.tick()
        finally:
            await store.close()
        return posted, learned, Counter(sent)

    with Azurite(tmp_path) as azurite:
        posted, learned, idle = asyncio.run(run(azurite.connection_string))
    assert posted == {"writes": 1}
    # The lease; the gateway with its tunnels; how far was read; the inbox emptied; and what was delivered, marked.
    assert learned["reads"] == 1
    assert learned["writes"] <= 5
    assert idle == {"reads": 1, "writes": 1}
