"""Fuzzing of `grammar.read`: coverage-guided with atheris, for a bounded time.

    pip install atheris && python tests/fuzz_grammar.py [seconds]

Checks what the laws ask of any text: no exception, bounds, an event that carries its record. Every finding becomes a
case in `tests/test_grammar.py`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ikestream"]):
    from ikestream import grammar
    from ikestream.events import Category, Kind, Record

SECONDS = 150
CATEGORIES = tuple(Category)
SLOWEST = 0.5  # seconds for one line of at most 64 KiB; ordinary is microseconds


def check(data: bytes) -> None:
    """One input: the first byte chooses the category, the rest is the text of every field."""
    if not data:
        return
    text = data[1:].decode("utf-8", "surrogateescape")
    start = time.perf_counter()
    event = grammar.read(Record(0, "gw", CATEGORIES[data[0] % len(CATEGORIES)], text, "", text, "", text, text, text))
    assert time.perf_counter() - start < SLOWEST, "slow line"
    assert event.message == text
    assert len(event.proposals) <= grammar.MAX_PROPOSALS
    assert len(event.initiator_selectors) <= grammar.MAX_SELECTORS
    assert len(event.responder_selectors) <= grammar.MAX_SELECTORS
    assert len(event.text) <= grammar.MAX_TEXT
    assert len(event.shape) <= grammar.MAX_SHAPE
    assert not event.shape or event.kind is Kind.UNREAD
    assert event.code is None or 0 < event.code <= 0xFFFFFFFF
    for spi in (event.initiator_spi, event.responder_spi):
        assert spi == "" or len(spi) == grammar.SPI_DIGITS


def main() -> None:
    """Runs for the given number of seconds from the samples of the rows."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    with tempfile.TemporaryDirectory() as corpus:
        prefix = "SESSION_ID :{8c0d11aa-4c80-434b-8702-0123456789ab} Remote 203.0.113.9:500: Local 198.51.100.4:500: "
        for number, row in enumerate(grammar.ROWS):
            Path(corpus, str(number)).write_bytes(b"\0" + (prefix * (number % 2) + row.sample).encode())
        # A finding is printed as Base64 and kept in the system's temporary folder, never in the checkout.
        kept = f"-artifact_prefix={tempfile.gettempdir()}/ikestream-grammar-"
        atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", "-max_len=4096", "-timeout=10", kept, corpus], check)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
