"""Time per byte of `grammar.read` on hostile lines and on ordinary ones, at three lengths.

    python tests/bench/grammar_linearity.py

A line is hostile when its time per byte grows with its length. The last column is the time per byte at 64 KiB over
that at 4 KiB: 1 is linear, 16 would be quadratic; beyond the cap of 64 KiB nothing more is read.
"""

from __future__ import annotations

import statistics
import time

from ikestream import grammar
from ikestream.events import Category, Record

PREFIX = "SESSION_ID :{8c0d11aa-4c80-434b-8702-0123456789ab} Remote 203.0.113.9:500: Local 198.51.100.4:500: "
LENGTHS = (4_096, 16_384, 65_536)
HOSTILE = {
    "spaces": ("", " "),
    "digits": ("", "1"),
    "hex in IPv6 endpoint": ("Remote ", "a:"),
    "dots in endpoint": ("Remote ", "1."),
    "open brackets": ("", "["),
    "tags": ("", "[SEND]"),
    "open tags": ("", "[SEND "),
    "session again": ("", "SESSION_ID :{"),
    "0x": (PREFIX, "0x"),
    "iCookie": (PREFIX, "iCookie 0x"),
    "policy keys": ("[SEND]Sending Ike payload: ", "Policy1:"),
    "policy without end": ("[SEND]Sending Ike payload: ", "Policy "),
    "cipher keys": ("[SEND]Sending Ike payload: ", "Cipher="),
    "near keys": ("[SEND]Sending Ike payload: ", "dh  "),
    "Auth": ("[SEND]Sending Ike payload: ", "Auth:a "),
    "selectors": ("Received Traffic Selector payload request- Number of TSIs 1: ", "StartAddress 1 "),
    "number of": ("Received Traffic Selector payload request- ", "number of ts"),
    "many words": ("Received Traffic Selector payload request- ", "number  "),
    "status": ("IKE Tunnel closed ", "with status "),
    "notify": ("[SEND]Sending ", "Notify "),
    "error keys": ("", "[ErrorCode] "),
    "windows error": ("", "windows error "),
    "unread words": ("", "word "),
    "unread symbols": ("", "ERROR_A"),
    "unread numbers": ("", "(1,"),
    "message id": ("x", " Messid : "),
    "colons": ("", ":"),
    "non-ASCII": ("", "\u0130\u00b2 "),
}
ORDINARY = [PREFIX + row.sample for row in grammar.ROWS]


def seconds(line: str) -> float:
    """Processor time of the best of nine reads, without what a cache would remember."""
    record = Record(0, "gw", Category.IKE, "", "", line)
    best = []
    for _ in range(9):
        for cached in (
            grammar._cached_text,
            grammar._read_template,
            grammar._row,
            grammar._cached_proposals,
            grammar._cached_selectors,
            grammar._endpoint,
        ):
            cached.cache_clear()
        start = time.thread_time()
        grammar.read(record)
        best.append(time.thread_time() - start)
    return min(best)


def main() -> None:
    """Prints nanoseconds per byte."""
    ordinary = statistics.median(seconds(line) / len(line) for line in ORDINARY) * 1e9
    print(f"ordinary lines, median: {ordinary:.0f} ns/byte")  # noqa: T201 - a script for people
    print(f"{'hostile line':<24}" + "".join(f"{length:>10}" for length in LENGTHS) + f"{'growth':>10}")  # noqa: T201
    for name, (start, unit) in HOSTILE.items():
        costs = [seconds((start + unit * (length // len(unit)))[:length]) / length * 1e9 for length in LENGTHS]
        print(f"{name:<24}" + "".join(f"{cost:>10.1f}" for cost in costs) + f"{costs[-1] / costs[0]:>10.2f}")  # noqa: T201


if __name__ == "__main__":
    main()
