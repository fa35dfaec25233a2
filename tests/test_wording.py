"""The same line in other clothes: spacing, case, line ends, quotes, other hex, IPv6, ids without braces. It says the same."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from ikestream.events import Category, IkeEvent, Record
from ikestream.grammar import ROWS, read
from ikestream.lab import ADVISED, FAULTS, HEALTHY, Lab

PREFIX = "SESSION_ID :{8a1cee43-6cba-4148-8a18-83c9d886fcfc} Remote 203.0.113.7:500: Local 192.0.2.4:500: "


def _lines() -> list[str]:
    """What the lab writes after the endpoints, and the sample of every row; cookies and ids made one, 0 left as it is."""
    found = {row.sample for row in ROWS}
    for scenario in (*FAULTS, *HEALTHY, *ADVISED):
        for record in scenario(Lab(1)).records:
            if record.category is Category.IKE:
                body = re.sub(r"^.*?Local \S+: ", "", record.message)
                found.add(re.sub(r"0x(?!0\b)[0-9A-Fa-f]+", "0x1F", body))
    return sorted(found)


LINES = _lines()
CLOTHES: dict[str, Callable[[str], str]] = {
    "lower case": str.lower,
    "capitals": str.upper,
    "two blanks": lambda t: t.replace(" ", "  "),
    "tabs": lambda t: t.replace(" ", "\t", 3),
    "CRLF": lambda t: t + "\r\n",
    "blanks at the end": lambda t: t + "   ",
    "a blank after each colon": lambda t: re.sub(r":(?=\S)", ": ", t),
    "blanks around =": lambda t: t.replace("=", " = "),
    "commas between policies": lambda t: re.sub(r" (Policy\d)", r", \1", t),
    "a full stop": lambda t: t.rstrip(".") + ".",
    "escaped line ends": lambda t: t.replace(" Policy", r"\r\n Policy"),
    "quoted": lambda t: f'"{t}"',
    "0X": lambda t: t.replace("0x", "0X"),
    "blanks that do not break": lambda t: t.replace(" ", "\u00a0", 2),
    "dashes": lambda t: t.replace(" - ", " \u2013 "),
    "blanks between tags": lambda t: re.sub(r"\]\s*\[", "] [", t),
}
PREFIXES = {
    "no braces": PREFIX.replace("{", "").replace("}", ""),
    "capital id": PREFIX.replace("8a1cee43-6cba-4148-8a18-83c9d886fcfc", "8A1CEE43-6CBA-4148-8A18-83C9D886FCFC"),
    "no blank": PREFIX.replace("SESSION_ID :", "SESSION_ID:"),
    "a blank more": PREFIX.replace(":{", ": {"),
    "IPv6": PREFIX.replace("203.0.113.7:500", "[2001:db8::7]:500").replace("192.0.2.4:500", "[2001:db8::4]:500"),
    "lower case": PREFIX.lower(),
    "two blanks": PREFIX.replace(" ", "  "),
}


def line(text: str) -> IkeEvent:
    return read(Record(1, "g", Category.IKE, "IKELogEvent", "i", text))


def says(event: IkeEvent) -> tuple[object, ...]:
    # A value without a name of Azure's stays as logged, so its case is the line's.
    offers = [tuple(v.casefold() for v in (p.encryption, p.integrity, p.group)) for p in event.proposals]
    return event.kind, offers, event.initiator_selectors, event.responder_selectors, event.code, event.name


@pytest.mark.parametrize("clothes", CLOTHES)
def test_a_line_says_the_same_in_other_clothes(clothes: str) -> None:
    differs = [text for text in LINES if says(line(PREFIX + CLOTHES[clothes](text))) != says(line(PREFIX + text))]
    assert differs == []


@pytest.mark.parametrize("prefix", PREFIXES)
def test_what_stands_before_it_may_be_written_otherwise(prefix: str) -> None:
    for text in LINES:
        event, usual = line(PREFIXES[prefix] + text), line(PREFIX + text)
        assert says(event) == says(usual)
        assert event.session == usual.session == "8a1cee43-6cba-4148-8a18-83c9d886fcfc"
        assert (event.remote_port, event.local_port) == (500, 500)
        assert (event.remote, event.local) in {("203.0.113.7", "192.0.2.4"), ("2001:db8::7", "2001:db8::4")}
