"""Tunnels with faults -> numbers: how large a report is, how long it takes to write, and to open in Chromium.

    python -m tests.bench.report                     # 500 tunnels, every fault of the lab in turn
    python -m tests.bench.report 2000 -o many.html   # and keep the page

Opening needs Chromium and the development packages of Node; without them only the size is told.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ikestream.cli import main as run
from ikestream.events import Record
from ikestream.lab import FAULTS, Lab, wrap
from ikestream.times import MINUTE

ROOT = Path(__file__).parent.parent.parent
CHROMIUM = Path("/usr/bin/chromium")
PER_GATEWAY = 50
IN_A_BODY = 100


def fleet(tunnels: int, *, per_gateway: int = PER_GATEWAY) -> Iterator[Record]:
    """Yield the records of gateways on which one tunnel after the other fails, in each of the lab's ways."""
    told = 0
    while told < tunnels:
        lab = Lab(1 + told // per_gateway, tunnel_log=True)
        while told < tunnels and len(lab.taken) < 3 * per_gateway:
            lab.log.lost, lab.log.short = 0.0, False
            lab.start += 7 * MINUTE
            told += len(FAULTS[told % len(FAULTS)](lab).truths)
            if told % per_gateway == 0:
                break
        yield from lab.log.records


def write(path: Path, tunnels: int) -> int:
    """Write the log of `tunnels` tunnels as hub bodies; return how many records it holds."""
    records = list(fleet(tunnels))
    with path.open("wb") as file:
        for at in range(0, len(records), IN_A_BODY):
            file.write(wrap(records[at : at + IN_A_BODY]) + b"\n")
    return len(records)


def times(page: Path) -> str:
    """Open the page five times; say how long that took."""
    node, modules = shutil.which("node"), ROOT / ".venv" / "node"
    if node is None or not CHROMIUM.exists() or not (modules / "node_modules" / "playwright-core").exists():
        return "not opened: that takes Node, Chromium and `make emulators`"
    command = [node, str(ROOT / "tests" / "chromium.mjs"), str(modules), str(CHROMIUM), str(page), "times"]
    done = subprocess.run(command, capture_output=True, timeout=120, check=True)  # noqa: S603 - our own script
    runs = json.loads(done.stdout)
    opened, filtered = (sorted(run[what] for run in runs) for what in ("opened", "filtered"))
    return f"opened in {opened[2]:.0f} ms ({opened[0]:.0f} to {opened[-1]:.0f}), filtered in {filtered[2]:.0f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tunnels", type=int, nargs="?", default=500)
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ikestream-bench-") as folder:
        log = Path(folder, "fleet.jsonl")
        records = write(log, options.tunnels)
        page = options.out or Path(folder, "report.html")
        start = time.perf_counter()
        run(["report", str(log), "-o", str(page)])
        took = time.perf_counter() - start
        sys.stdout.write(
            f"{options.tunnels} tunnels, {records:,} records: written in {took:.1f} s, {page.stat().st_size / 1e6:.2f} MB\n"
            f"{times(page)}\n"
        )


if __name__ == "__main__":
    main()
