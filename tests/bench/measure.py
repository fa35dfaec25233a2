"""One measurement in a process of its own, so that its peak of memory is its own: `python -m tests.bench.measure NAME FILE`.

Prints a JSON object: CPU seconds (`seconds`), `records`, the peak of memory in MB (`peak`) and what the measurement adds.
"""

from __future__ import annotations

import asyncio
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

Numbers = dict[str, Any]
BATCH = 1_000
"""Records of a batch, as a hub that is behind hands them over."""


def floor(path: Path) -> Numbers:
    """The JSON is decoded, and nothing else."""
    records = 0
    begun = time.process_time()
    for line in path.open("rb"):
        records += len(orjson.loads(line)["records"])
    return {"seconds": time.process_time() - begun, "records": records}


def least(path: Path) -> Numbers:
    """Each record decoded, its prefix taken apart by one pattern, and what that says kept under the record's identity.

    No program in this language that knows one record from another, or one tunnel from another, does with less.
    """
    records = 0
    prefix = re.compile(r"SESSION_ID :\{([^}]*)\} Remote ([^:]*):\d+: Local ([^:]*):\d+: ").match
    kept: dict[tuple[str, str, str], tuple[str, ...]] = {}
    begun = time.process_time()
    for line in path.open("rb"):
        for record in orjson.loads(line)["records"]:
            properties = record["properties"]
            message, instance = properties["message"], properties["instance"]
            found = prefix(message)
            kept[record["time"], instance, message] = (record["resourceId"], *(found.groups() if found else ()))
            records += 1
    return {"seconds": time.process_time() - begun, "records": records}


def grammar(path: Path) -> Numbers:
    """Bodies become events: envelope and grammar."""
    from ikestream.envelope import decode
    from ikestream.grammar import read

    records = 0
    begun = time.process_time()
    for line in path.open("rb"):
        for record in decode(line).records:
            read(record)
            records += 1
    return {"seconds": time.process_time() - begun, "records": records}


def learn(path: Path) -> Numbers:
    """Bytes to facts, through the inbox of a memory store, in whole batches, as after a pause; judging is not counted."""
    numbers = _app(path, 0)
    return {**numbers, "seconds": numbers["learn"]}


def app(path: Path) -> Numbers:
    """What the app does with it at the pace it was written: batches, and a tick every 15 s of the log's own clock.

    `learn`: bytes to facts, through the inbox of a memory store. `judge`: status, rules and rows. `keep`: what has changed
    becomes documents.
    """
    from ikestream.times import TICK

    return _app(path, TICK)


def _app(path: Path, pace: int) -> Numbers:
    from ikestream import inbox
    from ikestream.batch import sort
    from ikestream.monitor import Monitor
    from ikestream.stores.memory import Memory

    spent: Counter[str] = Counter()
    ticks = 0

    class Timed(Monitor):
        async def _learn(self, seen: Any) -> Any:
            begun = time.process_time()
            found = await super()._learn(seen)
            spent["learn"] += time.process_time() - begun
            return found

        def _conclude(self, watermark: int, seen: Any) -> None:
            begun = time.process_time()
            super()._conclude(watermark, seen)
            spent["judge"] += time.process_time() - begun

    async def run() -> int:
        store, records, now = Memory(), 0, 0
        monitor = Timed(store, [Nobody()], lambda: now, "worker")
        for deliveries, at in _batches(path, pace):
            begun = time.process_time()
            parcels, report = sort(deliveries)
            await inbox.post(store, parcels)
            spent["learn"] += time.process_time() - begun
            records += report.records
            if at is not None:
                nonlocal ticks
                now, ticks = at, ticks + 1
                await monitor.tick()
        spent["tunnels"] = sum(len(g.tunnels) for g in monitor.estate.gateways.values())
        return records

    begun = time.process_time()
    records = asyncio.run(run())
    seconds = time.process_time() - begun
    return {
        "seconds": seconds, "records": records, "learn": spent["learn"], "judge": spent["judge"], "ticks": ticks,
        "keep": seconds - spent["learn"] - spent["judge"], "tunnels": spent["tunnels"],
    }  # fmt: skip


def diagnose(path: Path) -> Numbers:
    """The command line, from its start to its end."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "ikestream", "diagnose", str(path), "--output", "json"]
    rows = subprocess.run(command, check=True, capture_output=True).stdout.count(b"\n")  # noqa: S603
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "seconds": used.ru_utime + used.ru_stime, "wall": time.perf_counter() - begun, "rows": rows,
        "peak": used.ru_maxrss / 1024, "records": path.read_bytes().count(b'"time":') if path.stat().st_size < 1 << 30 else 0,
    }  # fmt: skip


def start(_: Path) -> Numbers:
    """The command line's start alone: one body."""
    from tests.bench import stream

    with tempfile.TemporaryDirectory(prefix="ikestream-bench-") as folder:
        path = Path(folder, "one.json")
        stream.write(path, 1, 10)
        return diagnose(path)


def quiet(path: Path) -> Numbers:
    """Ticks over tunnels that came up and have nothing to say; the number of tunnels stands where the file would.

    `first` is the tick that learns them, `again` the one of a process that starts anew and reads them from its store.
    """
    from ikestream import inbox
    from ikestream.batch import Delivery, sort
    from ikestream.monitor import Monitor
    from ikestream.stores.memory import Memory
    from ikestream.times import HOUR, TICK
    from tests.bench import stream

    tunnels = int(str(path))
    bodies = list(stream.connections(tunnels))
    now = stream.START + 10_000
    seconds: list[float] = []

    async def run() -> tuple[float, float]:
        nonlocal now
        store = Memory()
        monitor = Monitor(store, [Nobody()], lambda: now, "worker")
        deliveries = [Delivery("0", str(n), n, now, body) for n, body in enumerate(bodies)]
        await inbox.post(store, sort(deliveries)[0])
        first = await timed(monitor)
        for _ in range(2 * HOUR // TICK):
            now += TICK
            seconds.append(await timed(monitor))
        now += HOUR
        return first, await timed(Monitor(store, [Nobody()], lambda: now, "another"))

    async def timed(monitor: Monitor) -> float:
        begun = time.process_time()
        ticked = await monitor.tick()
        assert ticked.held
        return time.process_time() - begun

    first, again = asyncio.run(run())
    seconds.sort()
    return {
        "records": tunnels, "first": first, "again": again, "seconds": seconds[len(seconds) // 2], "most": seconds[-1],
    }  # fmt: skip


def imports(_: Path) -> Numbers:
    """What a cold start of the app imports, and how long that takes."""
    code = (
        "import sys,time;b=time.process_time();import azure.functions;m=time.process_time();import function_app;e=time.process_time();"
        "print(m-b,e-m,len(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()  # noqa: S603
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return {
        "library": float(said[0]),
        "seconds": float(said[1]),
        "modules": int(said[2]),
        "records": 0,
        "peak": used.ru_maxrss / 1024,
    }


class Nobody:
    """A sink that takes every row."""

    name, messages = "table", False

    async def send(self, postings: Sequence[Any]) -> Any:
        from ikestream.sinks import Receipt

        return Receipt(accepted={posting.key for posting in postings})

    async def close(self) -> None:
        pass


def _batches(path: Path, pace: int) -> Iterator[tuple[list[Any], int | None]]:
    """Yield batches, and with the last of each `pace` ms of the log's clock that time: then the tick comes; 0: with each."""
    from ikestream.batch import Delivery
    from ikestream.timestamps import milliseconds

    batch: list[Delivery] = []
    size, last = 0, 0
    for number, line in enumerate(path.open("rb")):
        # The time of a body's last record: where that stands is known, so that the bench decodes nothing itself.
        at = line.rindex(b'"time":"') + 8
        enqueued = milliseconds(line[at : at + 28].decode()) or 0
        if pace and last and enqueued // pace > last // pace:
            yield batch, last // pace * pace + pace
            batch, size = [], 0
        elif size >= BATCH:
            yield batch, None if pace else last
            batch, size = [], 0
        batch.append(Delivery("0", str(number), number, enqueued, line))
        size, last = size + 20, enqueued
    yield batch, last // pace * pace + pace if pace else last


MEASUREMENTS: dict[str, Callable[[Path], Numbers]] = {
    f.__name__: f for f in (floor, least, grammar, learn, app, diagnose, start, quiet, imports)
}


def measure(name: str, path: Path | str) -> Numbers:
    """Return what the measurement says, made in a process of its own."""
    command = [sys.executable, "-m", "tests.bench.measure", name, str(path)]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    return dict(orjson.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment).stdout))  # noqa: S603


def main() -> int:
    name, path = sys.argv[1:3]
    numbers = MEASUREMENTS[name](Path(path))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.buffer.write(orjson.dumps({"peak": peak, **numbers}) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
