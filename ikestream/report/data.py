"""Rows, ladders -> the page's data: what its script draws only when somebody opens it, as compact JSON.

Five hundred tunnels repeat themselves: every text stands once, in `strings`, and is named by its place there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from markupsafe import Markup

from ikestream import grammar
from ikestream.incident import Row
from ikestream.report.account import Exchange
from ikestream.report.exchange import Ladder, Step, Way
from ikestream.terminal import plain
from ikestream.verdict import cut

MAX_PAGE = 4_600_000
"""Bytes that a page with five hundred incidents should stay below; what exchanges get of it is what the rest leaves."""
INCIDENT = 8_500
"""Bytes of one incident with its commands and its tunnel's line in the timeline, without exchanges, as measured with the faults of the lab."""
QUIET = 1_200
"""Bytes of a tunnel without one."""
MIN_DRAWN, MAX_DRAWN = 250_000, 3_000_000
"""Bytes of exchanges: many incidents get one or two each, one gets all it has."""

_WAYS = {Way.TO_PEER: 0, Way.TO_AZURE: 1, Way.LOCAL: 2, Way.PEER_SILENT: 3, Way.AZURE_SILENT: 4}


@dataclass(slots=True)
class Strings:
    """Texts, each once."""

    texts: list[str] = field(default_factory=list)
    size: int = 0
    _places: dict[str, int] = field(default_factory=dict)

    def place(self, text: str) -> int:
        """Return where `text` stands, as people may see it."""
        shown = visible(text)
        known = self._places.get(shown)
        if known is None:
            known = self._places[shown] = len(self.texts)
            self.texts.append(shown)
            self.size += len(shown.encode()) + 3
        return known


def visible(text: str) -> str:
    """Return `text` with everything a reader cannot see written out; line feeds stay."""
    return "\n".join(plain(line) for line in text.split("\n"))


def build(rows: Sequence[Row], exchanges: Mapping[str, Sequence[Exchange]]) -> tuple[Markup, dict[str, int]]:
    """Return the data for the page's script, safe to stand in a script element, and how many exchanges each incident
    keeps of those it has."""
    strings = Strings()
    commands = {row["IncidentId"]: _commands(row, strings) for row in rows}
    chosen = _choose([row["IncidentId"] for row in rows], exchanges, strings)
    document = {
        "commands": {key: found for key, found in commands.items() if found},
        "exchanges": {key: found for key, found in chosen.items() if found},
        "strings": strings.texts,
    }
    return script_safe(document), {key: len(found) for key, found in chosen.items()}


def script_safe(document: Any) -> Markup:
    """Return JSON that can neither end its script element nor begin another, whatever texts it holds."""
    text = orjson.dumps(document).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704 - the lines above made it safe


def _commands(row: Row, strings: Strings) -> list[list[int]]:
    names = ("Side", "Tool", "Command", "Effect", "Undo", "Assumed")
    return [[strings.place(command[name] or "") for name in names] for command in row["FixCommands"] or ()]


def _choose(
    incidents: Sequence[str], exchanges: Mapping[str, Sequence[Exchange]], strings: Strings
) -> dict[str, list[dict[str, Any]]]:
    """Take from each incident in turn, what the verdict quotes first, until the page is full; one each in any case.
    Tunnels without an incident get what is left."""
    quiet = [key for key in exchanges if key not in set(incidents)]
    queues = [(key, sorted(exchanges[key], key=lambda e: (not e.quoted, not e.good))) for key in incidents]
    first = len(incidents)
    queues += [(key, list(exchanges[key])) for key in quiet]
    taken: dict[str, list[tuple[Exchange, dict[str, Any]]]] = {key: [] for key, _ in queues}
    before, own, turn = strings.size, 0, 0
    room = min(max(MAX_PAGE - first * INCIDENT - len(quiet) * QUIET, MIN_DRAWN), MAX_DRAWN)
    while any(len(queue) > turn for _, queue in queues):
        for at, (key, queue) in enumerate(queues):
            if len(queue) > turn and ((turn == 0 and at < first) or own + strings.size - before < room):
                drawn = _exchange(queue[turn], strings)
                own += len(orjson.dumps(drawn))
                taken[key].append((queue[turn], drawn))
        turn += 1
    return {
        key: [drawn for _, drawn in sorted(found, key=lambda pair: (pair[0].good, -pair[0].ladder.start))]
        for key, found in taken.items()
    }


def _exchange(exchange: Exchange, strings: Strings) -> dict[str, Any]:
    ladder = exchange.ladder
    return {
        "session": strings.place("" if ladder.session.startswith("local:") else ladder.session),
        "ends": [strings.place(ladder.local), strings.place(ladder.remote)],
        "at": ladder.start,
        "who": ladder.initiator.value,
        "spis": [strings.place(spi) for spi in ladder.spis],
        "end": strings.place(ladder.end),
        "good": exchange.good or ladder.succeeded,
        "bad": ladder.failed,
        "last": exchange.good,
        "stages": [[name, reach.value] for name, reach in ladder.stages],
        "steps": [_step(step, ladder, strings) for step in ladder.steps],
        "out": ladder.left_out,
    }


def _step(step: Step, ladder: Ladder, strings: Strings) -> list[Any]:
    return [
        _WAYS[step.way],
        step.at - ladder.start,
        strings.place(step.name),
        strings.place(", ".join(step.says)),
        step.times,
        int(step.failed),
        [part for line in _lines(step) for part in (strings.place(line[0]), strings.place(line[1]))],
        step.left_out,
    ]


def _lines(step: Step) -> Iterable[tuple[str, str]]:
    for event in step.lines:
        head, words = divide(event.message)
        yield head, cut(words)


def divide(message: str) -> tuple[str, str]:
    """Split a line into what stands before its words, session and endpoints, and the words; together they are the line."""
    words = grammar.body(message)
    at = message.find(words) if words else len(message)
    return message[:at], message[at:]
