"""Rows and events -> what a person sees in a terminal.

Every text from a log goes through `plain`: control characters and direction marks become visible escapes, and
nothing is ever read as markup, so that no log line can move the cursor, colour, or forge a line of output.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from ikestream import grammar
from ikestream.advice import Impact
from ikestream.finding import Cause
from ikestream.formats import Problem
from ikestream.incident import Row
from ikestream.listing import Line as Listed
from ikestream.replay import Tally

MAX_NOTES = 8
MIN_MESSAGE = 40


class Screen(Console):
    """A terminal, or whatever stands for one; nothing in it highlights or guesses."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False)

    def on_broken_pipe(self) -> None:
        """Let the command line decide what a reader that has gone means; rich would exit with status 1."""
        raise BrokenPipeError


def plain(text: str) -> str:
    """Return `text` with every control, format and surrogate character written out, on one line."""
    return "".join(
        c if c == " " or not _hidden(c) else f"\\u{ord(c):04x}" if ord(c) > 0xFF else f"\\x{ord(c):02x}" for c in text
    )


def _hidden(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


class Bars(Progress):
    """How far long work is, on a terminal; nothing elsewhere. First the bytes that are read, then what is judged of them."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        super().__init__(*columns, console=console, transient=True, disable=not sys.stderr.isatty())
        self._tasks_by_name: dict[str, TaskID] = {}

    def read(self, done: int, total: int | None) -> None:
        """Say how many bytes are read, of how many if that is known."""
        self._say("reading", done, total)

    def judge(self, done: int, total: int | None) -> None:
        """Say how many records are judged, of how many."""
        self._say("judging", done, total)

    def _say(self, what: str, done: int, total: int | None) -> None:
        if what not in self._tasks_by_name:
            self._tasks_by_name[what] = self.add_task(what)
        self.update(self._tasks_by_name[what], completed=done, total=total)


def verdicts(console: Console, rows: Sequence[Row], tally: Tally, tools: Sequence[str]) -> None:
    """Print the last revision of every outage, open ones first, one line if there is none, and then the advisories.

    `tools` are the tools whose commands are printed (see `TOOLS`).
    """
    told = [row for row in rows if row["Resolution"] not in ("Withdrawn", "Merged")]
    told.sort(key=lambda row: (row["State"] != "Open", row["FirstSeen"] or "", row["GatewayName"], row["RemoteIP"]))
    outages = [row for row in told if row["Kind"] == "Outage"]
    for row in outages:
        _print(console, _verdict(row, tools, console.width))
    if not outages and tally.records:
        console.print(f"No outage found in {tally.records:,} records.")
    advisories = [row for row in told if row["Kind"] == "Advisory"]
    for row in advisories:
        if row["Severity"] != "Informational":
            _print(console, _advice(row))
    _print(console, _asides([row for row in advisories if row["Severity"] == "Informational"]))


def _print(console: Console, parts: Iterator[Part]) -> None:
    for part, by in parts:
        if isinstance(part, Rule):
            console.print(part)
        elif isinstance(part, Table):
            console.print(Padding(part, (0, 0, 0, by), expand=False))
        elif isinstance(part, Line):
            console.print(" " * by, part, sep="", soft_wrap=True)
        else:
            for line in part.wrap(console, max(console.width - by, 20)):
                line.rstrip()
                console.print(" " * by, line, sep="", soft_wrap=True)


TOOLS = ("az", "PowerShell", "FortiOS", "PAN-OS", "IOS-XE", "ASA", "Junos", "strongSwan")


class Line(Text):
    """Text that is never broken, however narrow the terminal: it must be one line when it is copied."""


Part: TypeAlias = tuple[Rule | Table | Text, int]
"""What to print, and how far to indent it."""


def _verdict(row: Row, tools: Sequence[str], width: int) -> Iterator[Part]:
    yield Rule(Text(plain(_ends(row)), style="bold"), style="dim"), 0
    yield _headline(row), 2
    yield Text(""), 0
    yield Text(plain(row["Summary"]), style="bold"), 2
    yield Text(""), 0
    if row["Mismatch"]:
        yield _mismatch(row), 4
        yield Text(""), 0
    yield from _section("What happened", [row["Explanation"]])
    yield from _proof(row, width)
    if row["MissingEvidence"]:
        yield from _section("What is missing", [row["MissingEvidence"]])
    if row["Hypotheses"]:
        seen = [f"{h['Cause']} ({h['Confidence'].lower()} confidence). {h['Check']}" for h in row["Hypotheses"]]
        yield from _section("Also possible", seen)
    yield from _section("Fix", row["Fix"].split("\n"))
    yield from _commands(row, tools)


def _advice(row: Row) -> Iterator[Part]:
    yield Rule(Text(plain(_ends(row)), style="bold"), style="dim"), 0
    over = f" to {_moment(row['ResolvedAt'])}" if row["ResolvedAt"] else ""
    since = f"{'from' if over else 'since'} {_moment(row['FirstSeen'])}{over}"
    yield Text(plain(f"Advisory, {row['Severity'].lower()}: {row['Cause']}, {since}"), style="bold"), 2
    yield Text(plain(row["Summary"])), 2
    yield Text(""), 0
    yield from _section("Fix", row["Fix"].split("\n"))


def _asides(rows: Sequence[Row]) -> Iterator[Part]:
    """What is only for the record, one paragraph a kind: a fleet on the default policy would fill pages."""
    for cause in sorted({row["Cause"] for row in rows}):
        own = [row for row in rows if row["Cause"] == cause]
        said = list(dict.fromkeys(row["Summary"] for row in own))
        shown = said[: MOST_OF_ITS_OWN if cause in _OF_ITS_OWN else 1]
        more = f" And {len(said) - len(shown)} more like it." if len(said) > len(shown) else ""
        yield Text(plain(f"For the record, {cause}: {' '.join(shown)}{more}"), style="dim"), 0


_OF_ITS_OWN = frozenset({"ConfigurationRisk", "ConnectionSilent"})
"""What they say is of one connection and no other."""
MOST_OF_ITS_OWN = 12


def _ends(row: Row) -> str:
    ends = " to ".join(filter(None, (row["GatewayName"], row["RemoteIP"])))
    return f"{row['ConnectionName']}: {ends}" if row["ConnectionName"] else ends


def _headline(row: Row) -> Text:
    down = row["State"] == "Open"
    whose = "BGP " if row["Cause"] == Cause.BGP_PEER_DOWN else ""  # the tunnel under it is up
    degraded = row["Impact"] == Impact.DEGRADED and not whose
    word = f"{whose}{'DEGRADED' if degraded else 'DOWN'}" if down else f"{whose}was down"
    state = Text(word, style="bold red" if down else "bold green")
    if row["ResolvedAt"]:
        since = f" from {_moment(row['FirstSeen'])} to {_moment(row['ResolvedAt'])}, {row['DurationSeconds']:,.0f} s"
    else:
        since = f" since {_moment(row['FirstSeen'])}" if row["FirstSeen"] else ""
    attempts = f", {row['Attempts']} failed attempt{'' if row['Attempts'] == 1 else 's'}"
    turn = {"Azure": "Azure", "Peer": "the peer", "Path": "the path between them", "Both": "both ends"}.get(
        row["ActionOn"], "not known"
    )
    cause = f"\n{row['Cause']}, {row['Confidence'].lower()} confidence. Whose turn: {turn}."
    return Text.assemble(state, since, attempts, (cause, "bold"))


def _moment(time: str) -> str:
    return f"{time[:10]} {time[11:19]} UTC"


def _mismatch(row: Row) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
    table.add_column("Parameter", no_wrap=True)
    table.add_column("Azure")
    table.add_column("Peer")
    for mismatch in row["Mismatch"]:
        azure = Text(plain(", ".join(mismatch["Azure"])), style="cyan")
        peer = Text(plain(", ".join(mismatch["Peer"])), style="yellow")
        table.add_row(mismatch["Parameter"], azure, peer)
    return table


def _section(title: str, paragraphs: Sequence[str]) -> Iterator[Part]:
    yield Text(title, style="bold"), 2
    for paragraph in paragraphs:
        yield Text(plain(paragraph)), 4
    yield Text(""), 0


def _proof(row: Row, width: int) -> Iterator[Part]:
    if not row["Evidence"]:
        return
    yield Text("Proof", style="bold"), 2
    session = None
    for line in row["Evidence"]:
        if line["SessionId"] != session:
            session = line["SessionId"]
            if session:
                yield Text(plain(f"session {session}"), style="dim"), 4
        time = f"{line['Time'][11:23]}  " if line["Time"] else ""
        # The row keeps the line whole; on a screen two lines of it say enough.
        room = max(2 * (width - 4) - len(time) - 16, 40)
        body = plain(grammar.body(line["Message"]))
        yield Text.assemble((time, "dim"), body if len(body) <= room else body[:room] + "…"), 4
    yield Text(""), 0


MOST_DEVICES = 2
"""Commands for more than these are for want of knowing the device; two of a maker's systems have much in common."""


def _commands(row: Row, tools: Sequence[str]) -> Iterator[Part]:
    devices = {c["Tool"] for c in row["FixCommands"] if c["Side"] == "Peer"}
    chosen = {*tools, *(devices if len(devices) <= MOST_DEVICES else ())}
    for command in row["FixCommands"]:
        if command["Tool"] not in chosen:
            continue
        effect = command["Effect"].removeprefix("None; ")
        does = f"read only: {effect}" if effect != command["Effect"] else effect
        yield Text(plain(f"{command['Side']}, {command['Tool']}, {does[:1].lower()}{does[1:]}"), style="bold"), 2
        for line in command["Command"].split("\n"):
            yield Line(plain(line), style="cyan"), 4
        for title, text in (("Assumed", command["Assumed"]), ("Undo", command["Undo"])):
            if text and text != "Not needed.":
                yield Text(plain(f"{title}: {text}".replace("\n", " "))), 4
        yield Text(""), 0
    others = sorted({c["Tool"] for c in row["FixCommands"]} - chosen, key=TOOLS.index)
    if others:
        yield Text(f"Commands for {', '.join(others)}: add --commands all, or name one.", style="dim"), 2
        yield Text(""), 0


def print_line(console: Console, line: Listed, *, header: bool) -> None:
    """Print one line of a listing, on as many rows as its message needs; `header` prints the heads first."""
    if header:
        heads = Text.assemble("Time".ljust(26), "GW ", "Session  ", "Remote".ljust(16), "Local".ljust(16), "Message")
        heads.stylize("bold")
        console.print(heads, soft_wrap=True)
    instance = (line["Instance"] or "")[-1:]
    session = (line["SessionId"] or "")[:8]
    lead = f"{line['Time'] or '':26}{instance:3}{session:9}{line['RemoteIP'] or '':16}{line['LocalIP'] or '':16}"
    message = Text(plain(line["Message"] or ""))
    # Beside the columns where there is room for the message, below them where there is not.
    room = console.width - len(lead)
    beside = room >= MIN_MESSAGE
    by = len(lead) if beside else 4
    wrapped = message.wrap(console, max(console.width - by, MIN_MESSAGE))
    if not beside:
        console.print(Text(plain(lead.rstrip()), style="dim"), soft_wrap=True)
    for row, part in enumerate(wrapped):
        part.rstrip()
        start = Text(plain(lead), style="dim") if beside and row == 0 else " " * by
        console.print(start, part, sep="", soft_wrap=True)


def notes(console: Console, problems: Sequence[Problem], tally: Tally, *, records: bool) -> None:
    """Print, one line each, what went wrong with the input, what could not be read, and who was not judged."""
    for problem in problems:
        console.print(Text(plain(str(problem)), style="red" if problem.fatal else "yellow"), soft_wrap=True)
    for shape, count in tally.unread.most_common(MAX_NOTES):
        console.print(Text(plain(f"not read, {count}x: {shape}"), style="yellow"), soft_wrap=True)
    if len(tally.unread) > MAX_NOTES:
        console.print(
            Text(f"and {len(tally.unread) - MAX_NOTES} more shapes of lines not read", style="yellow"), soft_wrap=True
        )
    if tally.strangers:
        one = len(tally.strangers) == 1
        names = sorted(tally.strangers, key=lambda ip: (-tally.strangers[ip], ip))
        more = f" and {len(names) - MAX_NOTES} more" if len(names) > MAX_NOTES else ""
        told = (
            f"not judged, because Azure never called {'it' if one else 'them'} and {'it' if one else 'they'} never "
            f"authenticated as a site: {', '.join(names[:MAX_NOTES])}{more}. {'It' if one else 'They'} may be a scanner or a client; if it is a peer, add "
            "--peer and its address."
        )
        console.print(Text(plain(told), style="dim"), soft_wrap=True)
    if records and tally.records:
        console.print(Text(f"{tally.records:,} records read", style="dim"), soft_wrap=True)
