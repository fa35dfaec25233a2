"""Large saved logs -> numbers: how fast, and in how much memory, `ikestream.formats` reads what does not fit.

    python tests/bench/read_large.py 1000                # 1000 MB of event hub bodies, newest first
    python tests/bench/read_large.py 300 --layout list   # one JSON list on one line, as `az ... query` gives
    python tests/bench/read_large.py 300 --layout lines  # message lines without a time

Makes its input in a temporary folder, which it removes.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import orjson

from ikestream.formats import read

GATEWAY = (
    "/SUBSCRIPTIONS/00000000-0000-0000-0000-000000000000/RESOURCEGROUPS/BENCH/PROVIDERS"
    "/MICROSOFT.NETWORK/VIRTUALNETWORKGATEWAYS/VPNGW{}"
)
BODY = "[SEND][SA_INIT] Sending IKE SA_INIT packet with tunnelId 0x{:x}, iCookie 0x{:016X} and rCookie 0x0"
NEWEST = 1_600_000_000_000


def message(number: int) -> str:
    spread = number * 2_654_435_761 % 2**64
    session = f"{spread % 2**32:08x}-17c2-4028-961b-{number:012x}"
    prefix = f"SESSION_ID :{{{session}}} Remote 192.0.2.{number % 250}:500: Local 198.51.100.{number % 4}:500: "
    return prefix + BODY.format(number % 4096, spread)


def stamp(number: int) -> str:
    seconds, ms = divmod(NEWEST - number * 7, 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{ms:03}4567Z"


def hub() -> Iterator[bytes]:
    number = 0
    while True:
        records = [
            {
                "time": stamp(number + offset),
                "resourceId": GATEWAY.format(offset % 3),
                "operationName": "IKELogEvent",
                "category": "IKEDiagnosticLog",
                "level": "Informational",
                "properties": {"instance": "GatewayTenantWorker_IN_0", "message": message(number + offset)},
            }
            for offset in range(100)
        ]
        number += 100
        yield orjson.dumps({"records": records}) + b"\n"


def query() -> Iterator[bytes]:
    number = 0
    yield b"["
    while True:
        if number:
            yield b", "
        yield orjson.dumps(
            {
                "Category": "IKEDiagnosticLog",
                "Level": "Informational",
                "Message": message(number),
                "OperationName": "IKELogEvent",
                "ResourceId": GATEWAY.format(number % 3),
                "TableName": "PrimaryResult",
                "TimeGenerated": stamp(number),
                "instance_s": "GatewayTenantWorker_IN_0",
            }
        )
        number += 1


def bare() -> Iterator[bytes]:
    number = 0
    while True:
        yield message(number).encode() + b"\n"
        number += 1


LAYOUTS = {"hub": (hub, b""), "list": (query, b"]"), "lines": (bare, b"")}


def write(path: Path, size: int, layout: str) -> None:
    pieces, end = LAYOUTS[layout]
    with path.open("wb") as file:
        for piece in pieces():
            if file.tell() > size and piece.startswith((b",", b"{", b"SESSION")):
                break
            file.write(piece)
        file.write(end)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("megabytes", type=int)
    parser.add_argument("--layout", choices=LAYOUTS, default="hub")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ikestream-bench-") as folder:
        path = Path(folder, "large.json" if options.layout != "lines" else "IkeLogs.txt")
        write(path, options.megabytes * 1_000_000, options.layout)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        count, last = 0, -1
        with read([path]) as saved:
            filled = time.perf_counter()
            for record in saved:
                if record.at is not None:
                    assert record.at >= last, "not in order"
                    last = record.at
                count += 1
        end = time.perf_counter()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stdout.write(
        f"{options.layout}: {count} records, {saved.duplicates} duplicates, {len(saved.problems)} problems\n"
        f"read {filled - start:.1f} s, merge {end - filled:.1f} s, {count / (end - start):,.0f} records/s, "
        f"{options.megabytes / (end - start):.0f} MB/s, peak {peak // 1024} MB (before reading {before // 1024} MB)\n"
    )


if __name__ == "__main__":
    main()
