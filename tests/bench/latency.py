"""Percentiles, on real parts: from a body's arrival in the hub until it is kept, and from "may be told" to row and message.

    python -m tests.bench.latency --tunnels 10000 --seconds 180

The load is ten times that of a fleet of 1,000 tunnels of which two in a hundred are down: each of those is tried again
every ten seconds, eight lines a time, which is nearly all there is to read. Every ten seconds one more tunnel goes
down; its outage may be told sixty seconds after its TunnelDisconnected (`times.LIVE.hold`).

A body is kept once its batch stands in the inbox; it is learned with the next tick. Hub, storage account,
table, webhook, the two workers and this program share one machine: what is measured is an upper bound of what the app
adds, and says nothing of how fast Azure is.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import orjson
from azure.eventhub import EventData, EventHubProducerClient

from ikestream.times import LIVE, SECOND
from tests.emulators.stack import HUB, Stack

PER_GATEWAY = 100
DOWN_SHARE = 0.02
RETRY = 10
ID = "/SUBSCRIPTIONS/00000000-0000-0000-0000-000000000001/RESOURCEGROUPS/RG/PROVIDERS/MICROSOFT.NETWORK/VIRTUALNETWORKGATEWAYS/VNG-{}"
LINES = (
    "[SEND][SA_INIT] Sending IKE SA_INIT packet with tunnelId 0x3, iCookie 0x{spi} and rCookie 0x0",
    "[SEND]Sending Ike payload for tunnel Id 0x3: Auth:PreShared Key- Policy1:Cipher=AES-CBC-256 Integrity=SHA256 DhGroup=DhGroup2",
    "[RECEIVED][SA_INIT] Received IKE SA Init response message for iCookie 0x{spi} and rCookie 0x{spi}",
    "[RECEIVED]Received Ike payload: Policy1:Cipher=AES-CBC-256 Integrity=SHA256 DhGroup=DhGroup2",
    "[SEND][SA_AUTH] Sending SA AUTH message for tunnelId 0x3 and tsId 0x37",
    "[RECEIVED][SA_AUTH] Received IKE AUTH message",
    "[RECEIVED][NOTIFY] Received Notify Message - Authentication failed",
    "[LOCAL_MSG] IKE Tunnel closed for tunnelId 0x3 with status Authentication failed",
)


def stamp(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at * 1000) % 1000:03d}0000Z"


def address(tunnel: int) -> str:
    return f"198.{18 + tunnel // 65536}.{tunnel // 256 % 256}.{tunnel % 256}"


def record(tunnel: int, category: str, operation: str, properties: dict[str, str]) -> dict[str, object]:
    return {
        "time": stamp(time.time()), "resourceId": ID.format(tunnel // PER_GATEWAY), "category": category,
        "operationName": operation, "properties": {"instance": "GatewayTenantWorker_IN_0", **properties},
    }  # fmt: skip


def connection(tunnel: int, *, up: bool) -> dict[str, object]:
    word = "Connected" if up else "Disconnected"
    said = {"remoteIP": address(tunnel), "status": word, "stateChangeReason": "", "message": ""}
    return record(tunnel, "TunnelDiagnosticLog", f"Tunnel{word}", said)


def attempt(tunnel: int, number: int) -> list[dict[str, object]]:
    head = f"SESSION_ID :{{{tunnel:08x}-0000-4000-8000-{number:012x}}} Remote {address(tunnel)}:500: Local 203.0.113.4:500: "
    spi = f"{tunnel:08X}{number:08X}"
    return [
        record(tunnel, "IKEDiagnosticLog", "IKELogEvent", {"message": head + line.format(spi=spi)}) for line in LINES
    ]


def percentiles(seconds: list[float]) -> str:
    if len(seconds) < 2:
        return f"{len(seconds)} measured"
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return f"p50 {cuts[49]:7.2f} s   p95 {cuts[94]:7.2f} s   p99 {cuts[98]:7.2f} s   most {max(seconds):7.2f} s   of {len(seconds):,}"


class Sender:
    """Sends records as Azure does: some to a body, the partitions in turn."""

    def __init__(self, producer: EventHubProducerClient) -> None:
        self._producer, self._next, self.records = producer, 0, 0

    def send(self, records: list[dict[str, object]], in_a_body: int = 20) -> None:
        self.records += len(records)
        bodies = [records[n : n + in_a_body] for n in range(0, len(records), in_a_body)]
        for some in (bodies[n : n + 20] for n in range(0, len(bodies), 20)):
            self._next = (self._next + 1) % 4
            batch = [EventData(orjson.dumps({"records": body})) for body in some]
            self._producer.send_batch(batch, partition_id=str(self._next))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tunnels", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=180)
    options = parser.parse_args()
    failing = list(range(0, options.tunnels, int(1 / DOWN_SHARE)))
    more = [t for t in range(options.tunnels) if t % int(1 / DOWN_SHARE) == 7][: options.seconds // RETRY]
    with tempfile.TemporaryDirectory(prefix="ikestream-bench-") as folder, Stack(Path(folder), every=15.0) as stack:
        producer = EventHubProducerClient.from_connection_string(stack.hub.connection_string(HUB))
        with producer:
            sender = Sender(producer)
            sender.send([connection(t, up=True) for t in range(options.tunnels)])
            time.sleep(60)  # all of them are known and their documents written
            stack.host.learned.clear()
            began, before, went_down = time.time(), sender.records, dict[str, float]()
            for second in range(options.seconds):
                due = failing[second % RETRY :: RETRY]
                records = [r for t in due for r in attempt(t, second)]
                fallen = more[: second // RETRY + 1]
                if second % RETRY == 0:
                    went_down[address(fallen[-1])] = time.time()
                    records.append(connection(fallen[-1], up=False))
                records += [r for t in fallen[second % RETRY :: RETRY] for r in attempt(t, second)]
                sender.send(records)
                time.sleep(max(began + second + 1 - time.time(), 0))
            rate = (sender.records - before) / (time.time() - began)
            time.sleep(120)
        learned = list(stack.host.learned)
        rows = {row["RemoteIP"]: at for at, row in reversed(stack.table.arrived) if row["State"] == "Open"}
        messages = {m.body["data"]["RemoteIP"]: m.at for m in reversed(stack.pager.received)}
    hold = LIVE.hold / SECOND
    to_row = [rows[ip] - at - hold for ip, at in went_down.items() if ip in rows]
    to_message = [messages[ip] - at - hold for ip, at in went_down.items() if ip in messages]
    print(f"{options.tunnels:,} tunnels, {rate:,.0f} records/s, {options.seconds} s; tick every 15 s")
    print(f"{platform.machine()}, {os.cpu_count()} cores shared by everything, Python {platform.python_version()}")
    print(f"arrival in the hub -> in the inbox {percentiles(learned)}")
    print(f"may be told -> row                {percentiles(to_row)}   told {len(to_row)} of {len(went_down)}")
    print(f"may be told -> message            {percentiles(to_message)}   told {len(to_message)} of {len(went_down)}")
    return 0 if len(to_row) == len(to_message) == len(went_down) else 1


if __name__ == "__main__":
    sys.exit(main())
