"""The pictures of the report in its README, taken in Chromium of a day that the lab wrote.

    python -m tests.pictures

Needs what `tests/test_report_in_chromium.py` needs. Look at what it wrote before you commit it: fonts differ between machines.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from ikestream.cli import main as run
from ikestream.events import Record
from ikestream.lab import Lab, wrap
from ikestream.lab.faults import maintenance, peer_vanishes, phase_one_both_try, selectors_apart, wrong_key_mended
from ikestream.lab.healthy import establish_and_rekey, short_lifetimes
from ikestream.times import HOUR, MINUTE
from tests.test_report_in_chromium import CHROMIUM, MISSING, MODULES, NODE

FOLDER = Path(__file__).parent.parent / "ikestream" / "report" / "pictures"
SCRIPT = Path(__file__).parent / "pictures.mjs"
MAX_SIZE = 200_000
PICTURES = [
    {"name": "incident", "width": 1440, "height": 1100, "theme": "light", "open": 0, "scroll": ""},
    {
        "name": "exchange",
        "width": 1360,
        "height": 690,
        "theme": "dark",
        "open": 1,
        "scroll": ".incident > details[open]",
    },
    {
        "name": "phone",
        "width": 400,
        "height": 860,
        "theme": "light",
        "open": 0,
        "scroll": ".incident > details[open] .exchanges",
    },
]
DAY = (
    (establish_and_rekey, 0),
    (short_lifetimes, 0),
    (establish_and_rekey, 0),
    (wrong_key_mended, 5 * HOUR),
    (maintenance, 9 * HOUR),
    (peer_vanishes, 15 * HOUR),
    (selectors_apart, 17 * HOUR),
    (phase_one_both_try, 18 * HOUR + 40 * MINUTE),
)
"""What happens on the gateway, and when."""


def day() -> list[Record]:
    """A day of one gateway: most of it works, three tunnels are down at the end."""
    lab = Lab(12, tunnel_log=True, virtual_wan=False)
    start = lab.start
    for story, after in DAY:
        lab.start = start + after
        story(lab)
    end = max(record.at or 0 for record in lab.log.records)
    return [record for record in lab.log.records if (record.at or 0) <= min(end, start + 20 * HOUR)]


def main() -> int:
    if MISSING:
        sys.stderr.write(f"No pictures without {', '.join(MISSING)}.\n")
        return 1
    with tempfile.TemporaryDirectory(prefix="ikestream-pictures-") as folder:
        log, page = Path(folder, "PT1H.json"), Path(folder, "report.html")
        log.write_bytes(b"\n".join(wrap([record]) for record in day()))
        run(["report", str(log), "-o", str(page)])
        FOLDER.mkdir(exist_ok=True)
        command = [
            str(NODE),
            str(SCRIPT),
            str(MODULES.parent),
            str(CHROMIUM),
            str(page),
            str(FOLDER),
            json.dumps(PICTURES),
        ]
        subprocess.run(command, timeout=120, check=True)  # noqa: S603 - our own script
    for picture in sorted(FOLDER.glob("*.png")):
        size = picture.stat().st_size
        sys.stdout.write(f"{picture.name}: {size // 1000} KB{'' if size <= MAX_SIZE else ', too large'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
