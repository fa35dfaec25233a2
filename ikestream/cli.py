"""The command line: saved logs -> verdicts, on a terminal or as JSON lines."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import orjson
from rich.console import Console

from ikestream import __version__, formats
from ikestream.incident import Row
from ikestream.replay import Tally, replay, replay_clockless
from ikestream.terminal import TOOLS, notes, progress, verdicts

OK, FOUND, UNREADABLE = 0, 1, 2

_EXAMPLES = """\
examples:
  python -m ikestream diagnose PT1H.json
  python -m ikestream diagnose logs/ --output json > verdicts.jsonl
  az monitor log-analytics query ... | python -m ikestream diagnose -
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status: 0, 1 with `--fail-on outage` and an outage, 2 if input cannot be read."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nothing is wrong. The interpreter must not try to flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ikestream", description="Diagnoses IPsec tunnels of Azure VPN gateways from their IKE diagnostic logs."
    )
    parser.add_argument("--version", action="version", version=f"ikestream {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    diagnose = commands.add_parser(
        "diagnose",
        help="say which tunnel is down, why, and what to type",
        description="Reads saved logs and prints a verdict for every tunnel that is or was down.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_input(diagnose)
    diagnose.add_argument(
        "--commands",
        action="append",
        choices=[*(tool.lower() for tool in TOOLS), "all"],
        type=str.lower,
        help="whose commands the table prints: az (default), powershell, the peer's device, or all; may be repeated",
    )
    diagnose.add_argument("--fail-on", choices=["outage"], help="exit with status 1 if there is one")
    diagnose.set_defaults(run=_diagnose)
    return parser


def _add_input(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "paths",
        nargs="+",
        metavar="PATH",
        help="a file, a folder, or - for standard input; plain or gzip; hub bodies, PT1H.json, query or portal exports, or bare lines",
    )
    command.add_argument(
        "--output", choices=["table", "json"], default="table", help="for people, or one JSON row per line"
    )
    command.add_argument(
        "--gateway",
        default="",
        metavar="NAME",
        help="the gateway of lines that do not name one (default: the file's name)",
    )


def _diagnose(options: argparse.Namespace) -> int:
    tally = Tally()
    errors = Console(stderr=True, highlight=False)
    with progress(errors) as advance:
        rows: list[Row] = []
        last: dict[str, Row] = {}
        with formats.read(options.paths, gateway=options.gateway, progress=advance) as saved:
            for run, records in ((replay, saved.timed()), (replay_clockless, saved.clockless())):
                for row in run(records, tally):
                    last[row["IncidentId"]] = row
                    if options.output == "json":
                        rows.append(row)
    if options.output == "json":
        for row in rows:
            sys.stdout.buffer.write(orjson.dumps(row) + b"\n")
        sys.stdout.buffer.flush()
    else:
        chosen = options.commands or ["az"]
        tools = [tool for tool in TOOLS if tool.lower() in chosen or "all" in chosen]
        verdicts(Console(highlight=False), list(last.values()), tally, tools)
    notes(errors, saved.problems, tally, records=options.output == "json")
    if any(problem.fatal for problem in saved.problems):
        return UNREADABLE
    outage = any(row["Kind"] == "Outage" and row["Resolution"] not in ("Withdrawn", "Merged") for row in last.values())
    return FOUND if options.fail_on == "outage" and outage else OK
