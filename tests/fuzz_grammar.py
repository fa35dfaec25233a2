"""Fuzzing of `grammar.read`: coverage-guided with atheris, for a bounded time (`make fuzz`).

Checks what the laws ask of any text: no exception, bounds, an event that carries its record, and a cost of at most ten
times the share of the line's length, measured against ordinary lines in the same run. Every finding becomes a case in
`tests/test_grammar.py`.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ikestream"]):
    from ikestream import algorithms, codes, grammar
    from ikestream.events import Category, Kind, Record

SECONDS = 150
CATEGORIES = tuple(Category)
ORDINARY = 200  # bytes: a shorter line still costs a whole event
SHARE = 10
TRIES = 7


def record(category: Category, text: str) -> Record:
    """The text as the message, and in the other categories, which say more with fields, as every field."""
    fields = ("", "", "", "") if category is Category.IKE else (text, text, text, text)
    return Record(0, "gw", category, fields[0], "", text, "", *fields[1:])


def cost(category: Category, text: str, tries: int) -> float:
    """Processor seconds of reading one line with nothing remembered; the least of several, for the machine is shared."""
    least = float("inf")
    for _ in range(tries):
        for remembered in CACHES:
            remembered.cache_clear()
        start = time.process_time()
        grammar.read(record(category, text))
        least = min(least, time.process_time() - start)
    return least


CACHES = [
    found for module in (grammar, codes, algorithms) for found in vars(module).values() if hasattr(found, "cache_clear")
]
PREFIX = "SESSION_ID :{8c0d11aa-4c80-434b-8702-0123456789ab} Remote 203.0.113.9:500: Local 198.51.100.4:500: "


def per_byte() -> float:
    """What ordinary lines cost at most, per byte."""
    lines = [PREFIX + row.sample for row in grammar.ROWS]
    return max(cost(Category.IKE, text, TRIES) / max(len(text), ORDINARY) for text in lines)


PER_BYTE = per_byte()


def check(data: bytes) -> None:
    """One input: the first byte chooses the category, the rest is the text of every field."""
    if not data:
        return
    category, text = CATEGORIES[data[0] % len(CATEGORIES)], data[1:].decode("utf-8", "surrogateescape")
    length = len(data) if category is Category.IKE else 5 * len(data)
    allowed = SHARE * PER_BYTE * max(length, ORDINARY)
    start = time.process_time()
    event = grammar.read(record(category, text))
    if time.process_time() - start > allowed:
        # The machine may only have been slow just now: ordinary lines are measured again beside it.
        least = ordinary = float("inf")
        for _ in range(TRIES):
            least = min(least, cost(category, text, TRIES))
            ordinary = min(ordinary, per_byte())
        assert least <= SHARE * ordinary * max(length, ORDINARY), (
            f"costs more than {SHARE} times the share of its length"
        )
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
        for number, row in enumerate(grammar.ROWS):
            Path(corpus, str(number)).write_bytes(b"\0" + (PREFIX * (number % 2) + row.sample).encode())
        # A finding is printed as Base64 and kept in the system's temporary folder, never in the checkout.
        kept = f"-artifact_prefix={tempfile.gettempdir()}/ikestream-grammar-"
        atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", "-max_len=4096", "-timeout=10", kept, corpus], check)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
