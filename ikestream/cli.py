"""The command line: saved logs -> verdicts, on a terminal or as JSON lines."""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import orjson
from rich.text import Text

from ikestream import __version__, drill, formats, redrive, watch
from ikestream.arguments import Help, Parser, add_inventory, address, instant, read_inventory
from ikestream.incident import Row
from ikestream.listing import Filter, select
from ikestream.remedy import note_of
from ikestream.replay import Tally, replay, replay_clockless
from ikestream.terminal import TOOLS, Bars, Screen, notes, plain, print_line, verdicts

OK, FOUND, UNREADABLE = 0, 1, 2

_MAIN_EXAMPLES = """\
examples:
  python -m ikestream diagnose PT1H.json
  python -m ikestream watch --namespace contoso.servicebus.windows.net
  python -m ikestream COMMAND --help
"""


_DIAGNOSE_EXAMPLES = """\
examples:
  python -m ikestream diagnose PT1H.json
  python -m ikestream diagnose logs/ --output json > verdicts.jsonl
  az monitor log-analytics query ... | python -m ikestream diagnose -
  python -m ikestream diagnose PT1H.json --inventory connections.json local-gateways.json gateways.json
"""


_EVENTS_EXAMPLES = """\
examples:
  python -m ikestream events PT1H.json --remote-ip 203.0.113.7 --sort desc
  python -m ikestream events export.csv --since 2026-11-23T02:15 --until 2026-11-23T02:20
  python -m ikestream events logs/ --instance 1 --output json
"""


_REPORT_EXAMPLES = """\
examples:
  python -m ikestream report PT1H.json -o report.html
  python -m ikestream report logs/ --inventory inventory/ -o report.html
"""


_NOTE_EXAMPLES = """\
examples:
  python -m ikestream note PT1H.json --remote-ip 203.0.113.7 > note.txt
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status: 0, 1 with `--fail-on outage` and an outage, 2 if input cannot be read."""
    options = parser().parse_args(arguments)
    # What is read off a log are trees without cycles; walking all of them again and again takes a twelfth of the time.
    gc.set_threshold(100_000, 20, 100)
    try:
        return int(options.run(options))
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nothing is wrong. The interpreter must not try to flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """Return what the command line takes."""
    whole = Parser(
        prog="ikestream",
        description="Diagnoses IPsec tunnels of Azure VPN gateways from their IKE diagnostic logs.",
        epilog=_MAIN_EXAMPLES,
        formatter_class=Help,
    )
    whole.add_argument("--version", action="version", version=f"ikestream {__version__}")
    commands = whole.add_subparsers(title="commands", required=True, metavar="COMMAND")
    diagnose = commands.add_parser(
        "diagnose",
        help="say which tunnel is down, why, and what to type",
        description="Reads saved logs and prints a verdict for every tunnel that is or was down.",
        epilog=_DIAGNOSE_EXAMPLES,
        formatter_class=Help,
    )
    _add_input(diagnose)
    diagnose.add_argument(
        "--commands",
        action="append",
        choices=[*(tool.lower() for tool in TOOLS), "all"],
        type=str.lower,
        help="whose commands the table prints: az (default), powershell, the peer's device, or all; may be repeated",
    )
    _add_peer(diagnose)
    add_inventory(diagnose)
    diagnose.add_argument("--fail-on", choices=["outage"], help="exit with status 1 if there is one")
    diagnose.set_defaults(run=_diagnose)
    page = commands.add_parser(
        "report",
        help="write one page with the verdicts, a timeline and each exchange",
        description="Reads saved logs and writes one self-contained HTML page: incidents, every tunnel over time, and each exchange"
        " as a ladder between Azure and peer. The page loads nothing and sends nothing.",
        epilog=_REPORT_EXAMPLES,
        formatter_class=Help,
    )
    _add_input(page, output=False)
    page.add_argument(
        "-o", "--out", required=True, metavar="FILE", help="where to write the page; - for standard output"
    )
    _add_peer(page)
    add_inventory(page)
    page.set_defaults(run=_report)
    events = commands.add_parser(
        "events",
        help="list the messages themselves, narrowed down and sorted",
        description="The IKE log query every engineer knows, as a command: lists the messages of saved logs.",
        epilog=_EVENTS_EXAMPLES,
        formatter_class=Help,
    )
    _add_input(events)
    events.add_argument(
        "--since", type=instant, metavar="TIME", help="from this time on, UTC: 2026-11-23T02:15 or 2026-11-23"
    )
    events.add_argument("--until", type=instant, metavar="TIME", help="before this time")
    events.add_argument("--remote-ip", type=address, metavar="IP", help="only this peer")
    events.add_argument(
        "--instance", default="", metavar="N", help="only this gateway instance: 0, 1 or its whole name"
    )
    events.add_argument(
        "--session", type=_session, default="", metavar="ID", help="only this SESSION_ID, or those that begin so"
    )
    events.add_argument(
        "--sort", choices=["asc", "desc"], default="asc", help="oldest first (asc, default) or newest first"
    )
    events.add_argument(
        "--all", action="store_true", help="the Tunnel, Gateway, Route and P2S logs too, not only the IKE log"
    )
    events.set_defaults(run=_events)
    letter = commands.add_parser(
        "note",
        help="write the note to the company at the other end",
        description="Reads saved logs and prints, for each tunnel that is down, a note for whoever runs the other end: times, SPIs to"
        " search for, what differs, and one request. It holds nothing about keys and no resource id. Of a tunnel that is up"
        " again it is about its last outage, if --remote-ip names it.",
        epilog=_NOTE_EXAMPLES,
        formatter_class=Help,
    )
    _add_input(letter, output=False)
    letter.add_argument("--remote-ip", type=address, metavar="IP", help="only this peer, also if it is up again")
    _add_peer(letter)
    add_inventory(letter)
    letter.set_defaults(run=_note)
    watch.add_command(commands)
    redrive.add_command(commands)
    drill.add_command(commands)
    return whole


def _add_input(command: argparse.ArgumentParser, *, output: bool = True) -> None:
    command.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="a file, a folder, or - for standard input; plain or gzip; hub bodies, PT1H.json, query or portal exports, or bare lines",
    )
    if output:
        command.add_argument(
            "--output", choices=["table", "json"], default="table", help="for people, or one JSON row per line"
        )
    command.add_argument(
        "--gateway",
        default="",
        metavar="NAME",
        help="the gateway of lines that do not name one (default: the file's name)",
    )


def _add_peer(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="IP",
        type=address,
        help="an address that is a configured peer, even if the log shows only its own attempts; may be repeated",
    )


def _session(text: str) -> str:
    return text.strip().strip("{}").lower()


def _events(options: argparse.Namespace) -> int:
    tally = Tally()
    problems: list[formats.Problem] = []
    errors = Screen(stderr=True)
    wanted = Filter(
        options.since, options.until, options.remote_ip or "", options.instance, options.session, options.all
    )
    with Bars(errors) as bars:
        found = formats.records(options.paths, report=problems.append, gateway=options.gateway, progress=bars.read)
        lines = select(found, wanted, tally.count, newest_first=options.sort == "desc")
        first = next(lines, None)
    shown = 0
    out = sys.stdout.buffer if options.output == "json" else Screen()
    for line in chain([first] if first else [], lines):
        shown += 1
        if isinstance(out, Screen):
            print_line(out, line, header=shown == 1)
        else:
            out.write(orjson.dumps(line) + b"\n")
    sys.stdout.flush()
    if tally.records and not shown:
        other = "" if options.all else " Those of the Tunnel, Gateway, Route and P2S logs are shown with --all."
        errors.print(f"None of the {tally.records:,} records fits.{other}")
    notes(errors, problems, tally, records=bool(shown))
    return UNREADABLE if any(problem.fatal for problem in problems) else OK


def _diagnose(options: argparse.Namespace) -> int:
    tally = Tally()
    errors = Screen(stderr=True)
    inventory = read_inventory(options, errors)
    if inventory is None:
        return UNREADABLE
    last: dict[str, Row] = {}
    outages: set[str] = set()
    out, waiting = sys.stdout.buffer, list[bytes]()
    with (
        Bars(errors) as bars,
        formats.read(options.paths, gateway=options.gateway, progress=bars.read, judged=bars.judge) as saved,
    ):
        for run, records in ((replay, saved.timed()), (replay_clockless, saved.clockless())):
            for row in run(records, tally, frozenset(options.peer), inventory):
                stands = row["Kind"] == "Outage" and row["Resolution"] not in ("Withdrawn", "Merged")
                (outages.add if stands else outages.discard)(row["IncidentId"])
                if options.output != "json":
                    last[row["IncidentId"]] = row
                elif out.isatty():  # with the bars on it
                    waiting.append(orjson.dumps(row) + b"\n")
                else:  # at once: of a month there are more than fit in memory
                    out.write(orjson.dumps(row) + b"\n")
    if options.output == "json":
        out.writelines(waiting)
        out.flush()
    else:
        chosen = options.commands or ["az"]
        tools = [tool for tool in TOOLS if tool.lower() in chosen or "all" in chosen]
        verdicts(Screen(), list(last.values()), tally, tools)
    notes(errors, saved.problems, tally, records=options.output == "json")
    if any(problem.fatal for problem in saved.problems):
        return UNREADABLE
    return FOUND if options.fail_on == "outage" and outages else OK


def _report(options: argparse.Namespace) -> int:
    from ikestream import report  # with templates that nothing else needs

    tally = Tally()
    errors = Screen(stderr=True)
    inventory = read_inventory(options, errors)
    if inventory is None:
        return UNREADABLE
    with (
        Bars(errors) as bars,
        formats.read(options.paths, gateway=options.gateway, progress=bars.read, judged=bars.judge) as saved,
    ):
        account = report.gather(saved, tally, frozenset(options.peer), inventory)
    page = report.render(account, tally, saved.problems).encode()
    if options.out == "-":
        sys.stdout.buffer.write(page)
        sys.stdout.buffer.flush()
    else:
        try:
            Path(options.out).write_bytes(page)
        except OSError as error:
            errors.print(
                Text(plain(f"{options.out}: cannot be written: {error.strerror or error}."), style="red"),
                soft_wrap=True,
            )
            return UNREADABLE
    notes(errors, saved.problems, tally, records=True)
    return UNREADABLE if any(problem.fatal for problem in saved.problems) else OK


def _note(options: argparse.Namespace) -> int:
    tally = Tally()
    errors = Screen(stderr=True)
    inventory = read_inventory(options, errors)
    if inventory is None:
        return UNREADABLE
    last: dict[str, Row] = {}
    with (
        Bars(errors) as bars,
        formats.read(options.paths, gateway=options.gateway, progress=bars.read, judged=bars.judge) as saved,
    ):
        peers = frozenset([*options.peer, *([options.remote_ip] if options.remote_ip else [])])
        for run, records in ((replay, saved.timed()), (replay_clockless, saved.clockless())):
            last |= {row["IncidentId"]: row for row in run(records, tally, peers, inventory)}
    newest: dict[tuple[str, str], Row] = {}
    for row in last.values():
        if row["Kind"] == "Outage" and row["Scope"] == "Tunnel" and row["Resolution"] not in ("Withdrawn", "Merged"):
            newest[row["GatewayId"], row["RemoteIP"]] = row  # in the order told, so the last one stays
    written = [
        note_of(row)
        for row in newest.values()
        if (row["RemoteIP"] == options.remote_ip if options.remote_ip else row["State"] == "Open")
    ]
    sys.stdout.write("\n".join(written))
    sys.stdout.flush()
    if tally.records and not written:
        asked = f"No outage of {options.remote_ip}" if options.remote_ip else "No tunnel that is down"
        errors.print(f"{asked} in {tally.records:,} records: nothing to write about.")
    notes(errors, saved.problems, tally, records=False)
    return UNREADABLE if any(problem.fatal for problem in saved.problems) else OK
