"""`python -m ikestream drill`: a failing tunnel, scripted by the lab, into the event hub: nobody trusts an alert that never fired.

A drill is known by its gateway's resource id (`verdict.DRILLS`), which Azure writes and no peer can choose: nothing in a
log line can make a real outage look like a drill. Addresses are those of documentation. The log is moved so that its
last record is of now, so that the outage is told with the next ticks; after `--duration` the tunnel comes back, and
the incident ends.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from ikestream.events import Category, Record
from ikestream.hubs import Failed, Hubs, add_sign_in, read_connection_string
from ikestream.lab import FAULTS, Lab, Story, wrap
from ikestream.terminal import Screen, plain
from ikestream.verdict import DRILLS

OK, UNREADABLE = 0, 2

IN_A_BODY = 20
DURATION = 180
"""Seconds until the tunnel comes back: time enough for the outage to be told and an alert to fire."""

EXAMPLES = """\
examples:
  python -m ikestream drill --list
  python -m ikestream drill --namespace contoso.servicebus.windows.net --hub vpn-logs
  python -m ikestream drill --scenario TrafficSelectorMismatch --output drill.jsonl
"""


def scenarios() -> dict[str, Any]:
    """Return cause -> the story that shows it, in the order of the lab."""
    found: dict[str, Any] = {}
    for story in FAULTS:
        (truth, *others) = story(Lab(1, tunnel_log=True)).truths
        if not others and truth.down and truth.cause and truth.surely:
            found.setdefault(truth.cause, story)
    return found


def add_command(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "drill",
        help="send a scripted failing tunnel into the event hub, to prove that alerts arrive",
        description="Plays a tunnel that fails, and comes back, into the event hub. Its rows have Drill true, and page nobody.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--list", action="store_true", help="list the scenarios and end")
    parser.add_argument(
        "--scenario", default="PreSharedKeyMismatch", metavar="CAUSE", help="(default: PreSharedKeyMismatch)"
    )
    parser.add_argument("--output", metavar="FILE", help="write the hub bodies, one per line, instead of sending them")
    parser.add_argument(
        "--duration", type=int, default=DURATION, metavar="SECONDS", help=f"until it comes back (default: {DURATION})"
    )
    parser.add_argument("--hub", default="vpn-logs", metavar="HUB", help="(default: vpn-logs)")
    add_sign_in(parser, required=False)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit status: 0, or 2 with one line if it cannot be done."""
    errors, out = Screen(stderr=True), Screen()
    try:
        known = scenarios()
        if options.list:
            for cause, story in known.items():
                out.print(plain(f"{cause}: {_told(story)}"), markup=False, soft_wrap=True)
            return OK
        chosen = _choose(known, options)
        number = int(time.time())
        failing, mending = script(known[chosen], chosen, number, now=number * 1000, back=options.duration)
        if options.output:
            _write(options.output, [*failing, *mending])
            return OK
        hubs = Hubs(options.namespace, read_connection_string(options.connection_string_file))
        asyncio.run(_play(hubs, options, f"DRILL-{chosen}-{number}", failing, mending, out))
    except Failed as failed:
        errors.print(plain(f"drill: {failed}"), markup=False, soft_wrap=True)
        return UNREADABLE
    return OK


def _choose(known: Iterable[str], options: argparse.Namespace) -> str:
    """Return the scenario that is meant. Raises `Failed` if there is none, or nowhere to play it."""
    chosen = {cause.lower(): cause for cause in known}.get(options.scenario.lower())
    if chosen is None:
        raise Failed(f"there is no scenario {options.scenario}; --list names them")
    if not (options.namespace or options.connection_string_file or options.output):
        raise Failed("say where to: --namespace HOST, --connection-string-file FILE, or --output FILE")
    return chosen


def _told(story: Any) -> str:
    return " ".join((story.__doc__ or "").split("\n")[0].split())


def script(scenario: Any, cause: str, number: int, *, now: int, back: int) -> tuple[list[bytes], list[bytes]]:
    """Return the bodies of a tunnel that fails, the last record of `now` (ms), and those with which it is back.

    `number` makes the drill's gateway and its story; `back` is in seconds. Of the log's categories the tunnel log is on.
    """
    story: Story = scenario(Lab(number % 1_000_000, tunnel_log=True))
    kind = "vpnGateways" if "/VPNGATEWAYS/" in story.gateway_id.upper() else "virtualNetworkGateways"
    gateway = f"{DRILLS}providers/microsoft.network/{kind}/drill-{cause}-{number}".upper()
    shift = now - max(r.at or 0 for r in story.records)
    records = [replace(r, gateway=gateway, at=(r.at or 0) + shift) for r in story.records]
    (truth,) = story.truths
    up = [
        Record(
            now + back * 1000, gateway, Category.TUNNEL, "TunnelConnected", instance, "", "", truth.remote, "Connected"
        )
        for instance in sorted({r.instance for r in records if truth.remote in f"{r.message} {r.remote_ip}"})
    ]
    return list(_bodies(records)), list(_bodies(up))


def _bodies(records: Sequence[Record]) -> Iterator[bytes]:
    for n in range(0, len(records), IN_A_BODY):
        yield wrap(records[n : n + IN_A_BODY])


def _write(file: str, bodies: Sequence[bytes]) -> None:
    lines = b"".join(body + b"\n" for body in bodies)
    if file == "-":
        sys.stdout.buffer.write(lines)
        sys.stdout.buffer.flush()
        return
    try:
        Path(file).write_bytes(lines)
    except OSError as failed:
        raise Failed(f"{file} cannot be written: {failed.strerror or type(failed).__name__}") from None


async def _play(
    hubs: Hubs, options: argparse.Namespace, name: str, failing: list[bytes], mending: list[bytes], out: Screen
) -> None:
    async with AsyncExitStack() as opened:
        await hubs.send(opened, options.hub, failing)
        out.print(plain(f"Sent {len(failing)} bodies to {options.hub}: gateway {name}."), markup=False, soft_wrap=True)
        out.print(
            "Its outage should be told within a minute or two. To see it in Log Analytics:\n"
            f'  IkeDiagnosis_CL | where Drill and GatewayName =~ "{name}" | sort by Revision asc',
            markup=False,
            soft_wrap=True,
        )
        out.print(f"The tunnel comes back in {options.duration} s; Ctrl-C leaves it down.")
        await asyncio.sleep(options.duration)
        await hubs.send(opened, options.hub, mending)
        out.print("It is back: the incident should be resolved within two minutes.")
