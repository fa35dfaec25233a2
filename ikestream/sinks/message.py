"""A revision -> what a message says, in words and before any format: title, facts, mismatch, fix.

Peers choose much of what stands in a log. Everything that is shown goes through `visible`, and each format escapes it
in its own way on top of that.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ikestream.incident import Row, Why
from ikestream.notify import Peer

MISMATCHES = 8
"""Rows of the table; there are eight parameters that can differ."""

VALUES = 32
"""Of one parameter: as many as there are proposals in an offer."""

MOST = 5_000
"""Characters looked at of one value: more than any format shows, so that what is longer is seen to be cut."""

TURN: Mapping[str, str] = MappingProxyType(
    {
        "Azure": "Azure's side",
        "Peer": "The peer's side",
        "Path": "The path between both",
        "Both": "Both sides",
        "Unknown": "Not known yet",
    }
)
VERB: Mapping[Why, str] = MappingProxyType({Why.OPENED: "Open", Why.CHANGED: "Changed", Why.RESOLVED: "Resolved"})


@dataclass(frozen=True, slots=True)
class Message:
    """One revision to tell people about. `brief` is the least that is worth telling, for who refuses the rest."""

    row: Row
    why: Why
    peer: Peer | None = None
    brief: bool = False

    @property
    def resolved(self) -> bool:
        """Whether nobody has to do anything any more."""
        return self.why is Why.RESOLVED


def text(row: Row, column: str) -> str:
    """Return a column as text that shows what it holds, '' if nothing."""
    value = row.get(column)
    return "" if value is None else visible(str(value))


def title(message: Message) -> str:
    """Return one line that says it all."""
    drill = "Drill, nothing is broken. " if message.row.get("Drill") else ""
    said = text(message.row, "Summary") or text(message.row, "Cause") or text(message.row, "IncidentId")
    return one_line(f"{drill}{VERB.get(message.why, 'Changed')}: {said}")


def facts(message: Message) -> Iterator[tuple[str, str]]:
    """Yield what there is to know in a few words each, the most important first, at most ten; each is one line."""
    for label, known in _facts(message):
        yield label, one_line(known)  # a second line could pass for a fact of its own


def _facts(message: Message) -> Iterator[tuple[str, str]]:
    row, peer = message.row, message.peer
    confidence = text(row, "Confidence").lower()
    if cause := text(row, "Cause"):
        yield "Cause", f"{cause} (confidence: {confidence})" if confidence else cause
    if not message.resolved:
        yield "Whose turn", TURN.get(text(row, "ActionOn"), TURN["Unknown"])
    if since := text(row, "FirstSeen"):
        yield "Since", since
    if message.resolved:
        yield "Until", " ".join(filter(None, (text(row, "ResolvedAt"), text(row, "Resolution"))))
    for label, column in (("Severity", "Severity"), ("Gateway", "GatewayName"), ("Peer", "RemoteIP")):
        if known := text(row, column):
            yield label, known
    if connection := text(row, "ConnectionName"):
        yield "Connection", connection
    if peer is not None and peer.owner:
        yield "Owner", visible(peer.owner)
    if peer is not None and peer.importance:
        yield "Importance", peer.importance.value
    # The keys of the row in the table, for whoever wants to read on.
    yield "Incident", f"{text(row, 'IncidentId')}/{text(row, 'Revision')}"


def mismatch(message: Message) -> list[tuple[str, str, str]]:
    """Return (parameter, what Azure accepts, what the peer offers) where the two sides differ."""
    if message.resolved:
        return []
    found = message.row.get("Mismatch")
    return [
        (one_line(visible(str(item.get("Parameter", "")))), _values(item.get("Azure")), _values(item.get("Peer")))
        for item in (found if isinstance(found, list) else [])[:MISMATCHES]
        if isinstance(item, dict)
    ]


def prose(message: Message) -> Iterator[tuple[str, str]]:
    """Yield what happened and what to do; of what is over only what happened, of a brief message nothing."""
    columns = (("What happened", "Explanation"), ("Fix", "Fix"), ("What would settle it", "MissingEvidence"))
    for label, column in () if message.brief else columns[:1] if message.resolved else columns:
        if said := text(message.row, column):
            yield label, said


def evidence(message: Message, most: int) -> list[str]:
    """Return the newest `most` lines of the log that prove it, as they were logged."""
    found = message.row.get("Evidence")
    if message.brief or message.resolved or not isinstance(found, list):
        return []
    lines = [one_line(visible(str(item.get("Message", "")))) for item in found if isinstance(item, dict)]
    return lines[-most:]


def visible(said: str) -> str:
    """Return `said`, at most `MOST` of it, with every control, format and surrogate character but the newline written out.

    No text can turn the direction of what follows, hide in it, or pass for a line of another.
    """
    said = said[:MOST]
    return "".join(c if c.isprintable() or c == "\n" or not _hidden(c) else f"\\u{ord(c):04x}" for c in said)


def one_line(said: str) -> str:
    """Return `said` with its line breaks as spaces."""
    return " ".join(said.split())


def cut(said: str, limit: int, escape: Callable[[str], str] = str) -> str:
    """Return `said` as `escape` writes it character by character, at most `limit` long, with an ellipsis if it was cut.

    Cut is what is said, never what it is written as: half an escape would be another text.
    """
    whole = escape(said)
    if len(whole) <= limit:
        return whole
    written: list[str] = []
    room = limit - 1
    for character in said:
        one = escape(character)
        if (room := room - len(one)) < 0:
            break
        written.append(one)
    return "".join(written) + "…"


def _values(found: object) -> str:
    items = found[:VALUES] if isinstance(found, list) else [] if found is None else [found]
    return one_line(", ".join(visible(str(item)) for item in items)) or "-"


def _hidden(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
