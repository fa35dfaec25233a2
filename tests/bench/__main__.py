"""How fast and in how much memory, beside what decoding the JSON alone takes: `python -m tests.bench`, or `make bench`.

Streams are made by `tests.bench.stream`, each measurement runs in a process of its own, and the rounds are interleaved, so
that a machine that is busy for a while is so for the floor, too. What counts is the ratio to the floor.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import sys
import tempfile
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import orjson

from tests.bench import stream
from tests.bench.measure import Numbers, measure

ROUNDS = 3
RECORDS = 100_000
TUNNELS = 1_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--records", type=int, default=RECORDS, help="of the stream that everything is measured with")
    parser.add_argument("--tunnels", type=int, default=TUNNELS)
    parser.add_argument(
        "--grow", type=int, default=500_000, help="up to how many records growth is shown; 5000000 takes an hour"
    )
    parser.add_argument("--only", choices=["speed", "growth", "quiet", "start", "store"], action="append")
    options = parser.parse_args()
    parts = options.only or ["speed", "growth", "quiet", "start", "store"]
    say(f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()},")
    say(
        f"Python {platform.python_version()}, orjson {orjson.__version__}; CPU time, medians of {options.rounds} rounds"
    )
    with tempfile.TemporaryDirectory(prefix="ikestream-bench-") as folder:
        path = Path(folder, "stream.jsonl")
        if "speed" in parts:
            speed(path, options.records, options.tunnels, options.rounds)
        if "growth" in parts:
            growth(path, options.records, options.tunnels, options.grow)
        if "quiet" in parts:
            quiet(options.rounds)
        if "start" in parts:
            start(options.rounds)
        if "store" in parts:
            store()
    return 0


def say(line: str = "") -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def speed(path: Path, records: int, tunnels: int, rounds: int) -> None:
    """Print what each step costs a record."""
    count = made(path, records, tunnels)
    say(f"\n{count:,} records of {tunnels:,} tunnels, {path.stat().st_size / count:.0f} bytes each")
    found: dict[str, list[Numbers]] = defaultdict(list)
    for _ in range(rounds):
        for name in ("floor", "least", "grammar", "learn", "app", "start", "diagnose"):
            found[name].append(measure(name, path))
    floor, least = (median(found[name], "seconds") / count for name in ("floor", "least"))
    shown = [
        ("floor: orjson.loads", found["floor"], "seconds", 0.0),
        ("least: one pattern, one entry", found["least"], "seconds", 0.0),
        ("decode + grammar", found["grammar"], "seconds", 0.0),
        ("learn, in batches of 1,000", found["learn"], "seconds", 0.0),
        ("diagnose, start-up apart", found["diagnose"], "seconds", median(found["start"], "seconds")),
    ]
    say(f"{'':34}{'µs/record':>10}{'records/s':>12}{'x floor':>9}{'x least':>9}{'peak MB':>9}")
    for label, runs, key, less in shown:
        each = max(median(runs, key) - less, 1e-9) / count
        say(
            f"{label:34}{each * 1e6:10.2f}{1 / each:12,.0f}{each / floor:9.1f}{each / least:9.1f}{median(runs, 'peak'):9.0f}"
        )
    ticks = median(found["app"], "ticks")
    each = {key: median(found["app"], key) / ticks * 1e3 for key in ("learn", "judge", "keep")}
    say(
        f"the app at the log's pace, a tick every 15 s, ms of CPU a tick: learn {each['learn']:.1f}, judge {each['judge']:.1f},"
        f" keep {each['keep']:.1f}; {count / ticks:.0f} records each, {median(found['app'], 'peak'):.0f} MB"
    )
    say(f"start-up of diagnose: {median(found['start'], 'seconds'):.2f} s, {median(found['start'], 'peak'):.0f} MB")


def made(path: Path, records: int, tunnels: int, *, retries: bool = False) -> int:
    """Write a stream; return how many records it has. In another process: a child's peak of memory begins with its parent's."""
    with ProcessPoolExecutor(1, get_context("spawn")) as other:
        return other.submit(stream.retries if retries else stream.write, path, records, tunnels).result()


def growth(path: Path, records: int, tunnels: int, most: int) -> None:
    """Print how time and memory grow with records and with tunnels."""
    say("\ndiagnose, one round each")
    say(f"{'records':>10}{'tunnels':>9}{'s':>9}{'µs/record':>11}{'peak MB':>9}")
    sizes = [(n, tunnels) for n in (50_000, 500_000, 5_000_000) if n <= most]
    for size, many in [*sizes, *((records, t) for t in (10, 100, 1_000, 10_000))]:
        count = made(path, size, many)
        run = measure("diagnose", path)
        say(f"{count:10,}{many:9,}{run['seconds']:9.1f}{run['seconds'] / count * 1e6:11.1f}{run['peak']:9.0f}")
    for size in [n for n in (20_000, 200_000, 2_000_000) if n <= most]:
        count = made(path, size, tunnels, retries=True)
        run = measure("diagnose", path)
        say(
            f"{count:10,}{tunnels:9,}{run['seconds']:9.1f}{run['seconds'] / count * 1e6:11.1f}{run['peak']:9.0f}  every record an attempt"
        )


def quiet(rounds: int) -> None:
    """Print what a tick costs when there is nothing to say."""
    say("\ntunnels that are up and quiet, seconds of CPU")
    say(f"{'tunnels':>10}{'first tick':>12}{'a tick':>9}{'worst':>9}{'restart':>9}{'peak MB':>9}")
    for tunnels in (1_000, 10_000):
        runs = [measure("quiet", str(tunnels)) for _ in range(rounds)]
        first, each, most, again, peak = (median(runs, key) for key in ("first", "seconds", "most", "again", "peak"))
        say(f"{tunnels:10,}{first:12.2f}{each:9.4f}{most:9.2f}{again:9.2f}{peak:9.0f}")


def start(rounds: int) -> None:
    """Print what a cold start of the app costs."""
    runs = [measure("imports", "-") for _ in range(rounds)]
    say(
        f"\nimport of function_app: {median(runs, 'seconds'):.2f} s, {median(runs, 'modules'):.0f} modules, {median(runs, 'peak'):.0f} MB;"
        f" azure.functions before it: {median(runs, 'library'):.2f} s"
    )


def store() -> None:
    """Print what the app asks of the storage account, and what its sinks send."""
    from tests.bench import deliver, operations  # import the emulators, whose memory would count for every measurement

    say()
    counts = asyncio.run(operations.batch_of(BATCHED))
    say(
        f"a batch of {BATCHED:,} records from one gateway: {counts['queries']} reads, {counts['transactions']} writes, {counts['bytes']:,} bytes"
    )
    say(
        f"the tick that learns it: {counts['tick queries']} reads, {counts['tick transactions']} writes, {counts['tick bytes']:,} bytes"
    )
    deliver.main()


BATCHED = 1_000


def median(runs: list[dict[str, Any]], key: str) -> float:
    return float(statistics.median(float(run[key]) for run in runs))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown processor"
    )


if __name__ == "__main__":
    sys.exit(main())
