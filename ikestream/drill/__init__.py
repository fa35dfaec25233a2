"""`python -m ikestream drill`: what goes wrong with tunnels, scripted by the lab, into the event hub: nobody trusts an alert
that never fired.

A drill is known by its gateway's resource id (`verdict.DRILLS`), which Azure writes and no peer can choose: nothing in a
log line can make a real outage look like a drill. Addresses are those of documentation. The log is moved so that its
last record is of now, so that it is told with the next ticks; after `--duration` the tunnel comes back, and the incident
ends. With `--wait` the rows are looked for where people will see them, and each step is timed.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext
from pathlib import Path
from typing import Any

from ikestream.arguments import Help, seconds
from ikestream.drill import arrival
from ikestream.drill.scenarios import NOT_REHEARSED, REHEARSALS, Back, Rehearsal, gateway_name, script
from ikestream.events import Record
from ikestream.hubs import Failed, Hubs, add_sign_in, read_connection_string
from ikestream.lab import wrap
from ikestream.terminal import Screen, plain
from ikestream.times import SECOND, TICK

OK, UNREADABLE = 0, 2

IN_A_BODY = 20
DURATION = 180
"""Seconds that an outage goes on after it was told: time enough for an alert to fire."""
PATIENCE = 900
"""Seconds to wait for a row: Log Analytics shows most within a minute or two, the first of a new table much later."""

EXAMPLES = """\
examples:
  python -m ikestream drill --list
  python -m ikestream drill --namespace contoso.servicebus.windows.net --hub vpn-logs
  python -m ikestream drill --namespace contoso.servicebus.windows.net --wait --workspace 00000000-0000-0000-0000-000000000000
  python -m ikestream drill --scenario TrafficSelectorMismatch --output drill.jsonl
"""


def add_command(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "drill",
        help="send a scripted failing tunnel into the event hub, to prove that alerts arrive",
        description="Plays a tunnel that fails, and comes back, into the event hub. Its rows have Drill true, and page nobody.",
        epilog=EXAMPLES,
        formatter_class=Help,
    )
    parser.add_argument("--list", action="store_true", help="list the scenarios and end")
    parser.add_argument(
        "--scenario", default="PreSharedKeyMismatch", metavar="NAME", help="(default: PreSharedKeyMismatch)"
    )
    parser.add_argument("--output", metavar="FILE", help="write the hub bodies, one per line, instead of sending them")
    parser.add_argument(
        "--duration",
        type=seconds,
        metavar="SECONDS",
        help=f"until it comes back (default: {DURATION} after it should be told)",
    )
    parser.add_argument("--hub", default="vpn-logs", metavar="HUB", help="(default: vpn-logs)")
    add_sign_in(parser, required=False)
    waiting = parser.add_argument_group("waiting for the row")
    waiting.add_argument(
        "--wait", action="store_true", help="wait until the row is in Log Analytics, and say how long each step took"
    )
    waiting.add_argument("--workspace", default="", metavar="ID", help="the workspace's id, a GUID")
    waiting.add_argument(
        "--patience",
        type=seconds,
        default=PATIENCE,
        metavar="SECONDS",
        help=f"to wait for each row (default: {PATIENCE})",
    )
    waiting.add_argument(
        "--log-endpoint",
        default=arrival.ENDPOINT,
        metavar="URL",
        help=f"the query API, in another cloud than the public one (default: {arrival.ENDPOINT})",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit status: 0, or 2 with one line if it cannot be done."""
    errors, out = Screen(stderr=True), Screen()
    try:
        if options.list:
            for line in listing():
                out.print(plain(line), markup=False, soft_wrap=True)
            return OK
        name = _choose(options)
        rehearsal, number = REHEARSALS[name], int(time.time())
        duration = _duration(rehearsal, options)
        failing, mending = (list(bodies(part)) for part in script(name, number, now=number * 1000, back=duration))
        if options.output:
            _write(options.output, [*failing, *mending])
            return OK
        hubs = Hubs(options.namespace, read_connection_string(options))
        played = _Played(hubs, options, rehearsal, gateway_name(name, number), failing, mending, duration, out)
        asyncio.run(played.run())
    except Failed as failed:
        errors.print(plain(f"drill: {failed}"), markup=False, soft_wrap=True)
        return UNREADABLE
    return OK


def listing() -> Iterator[str]:
    """Yield a line for each scenario: its name, what is seen and when, what happens; and for what cannot be rehearsed."""
    for name, rehearsal in REHEARSALS.items():
        seen = f"{'an outage' if rehearsal.kind == 'Outage' else 'an advisory'} within {rehearsal.after} s"
        over = "" if rehearsal.back is Back.NOTHING else ", and resolved"
        yield f"{name}: {seen}{over}. {rehearsal.story_in_words}"
    for cause, why in NOT_REHEARSED.items():
        yield f"({cause.value}: not here, {why})"


def bodies(records: Sequence[Record]) -> Iterator[bytes]:
    """Yield the hub bodies of a log."""
    for n in range(0, len(records), IN_A_BODY):
        yield wrap(records[n : n + IN_A_BODY])


def _choose(options: argparse.Namespace) -> str:
    """Return the name of the scenario that is meant. Raises `Failed` if there is none, or nowhere to play it."""
    chosen = {name.lower(): name for name in REHEARSALS}.get(options.scenario.lower())
    if chosen is None:
        why = {cause.value.lower(): why for cause, why in NOT_REHEARSED.items()}.get(options.scenario.lower())
        raise Failed(f"there is no scenario {options.scenario}{f': {why}' if why else '; --list names them'}")
    if not (options.namespace or options.connection_string_file or options.connection_string_env or options.output):
        raise Failed("say where to: --namespace HOST, --connection-string-file FILE, or --output FILE")
    if options.wait:
        if options.output:
            raise Failed("--wait waits for what was sent: leave out --output")
        arrival.check(options.workspace, options.log_endpoint)
    return chosen


def _duration(rehearsal: Rehearsal, options: argparse.Namespace) -> int:
    """Return the seconds until it is over. Raises `Failed` if the row that is waited for would never come."""
    if options.duration is None:
        return rehearsal.after + DURATION
    if options.wait and options.duration + TICK // SECOND < rehearsal.after and rehearsal.back is not Back.NOTHING:
        raise Failed(f"--duration {options.duration} ends it before it is told, which takes {rehearsal.after} s")
    return int(options.duration)


def _write(file: str, lines: Sequence[bytes]) -> None:
    whole = b"".join(body + b"\n" for body in lines)
    if file == "-":
        sys.stdout.buffer.write(whole)
        sys.stdout.buffer.flush()
        return
    try:
        Path(file).write_bytes(whole)
    except OSError as failed:
        raise Failed(f"{file} cannot be written: {failed.strerror or type(failed).__name__}") from None


class _Played:
    """A drill on its way."""

    def __init__(
        self,
        hubs: Hubs,
        options: argparse.Namespace,
        rehearsal: Rehearsal,
        gateway: str,
        failing: list[bytes],
        mending: list[bytes],
        duration: int,
        out: Screen,
    ) -> None:
        self._hubs, self._options, self._rehearsal, self._gateway = hubs, options, rehearsal, gateway
        self._failing, self._mending, self._duration, self._out = failing, mending, duration, out
        self._begun = time.monotonic()

    async def run(self) -> None:
        """Send, wait as asked, and send how it is over. Raises `Failed`."""
        async with AsyncExitStack() as opened:
            table = None
            if self._options.wait:  # before anything is sent: who cannot see the rows should know at once
                credential = await self._hubs.identity(opened)
                table = arrival.Table(self._options.log_endpoint, self._options.workspace, self._gateway, credential)
                await table.ask(opened)
            self._begun = time.monotonic()
            await self._hubs.send(opened, self._options.hub, self._failing)
            self._say(f"sent {len(self._failing)} bodies to {self._options.hub}: gateway {self._gateway}")
            over = asyncio.create_task(self._mend(opened))
            try:
                if table is None:
                    self._announce()
                    await over
                else:
                    await self._watch(opened, table, over)
            finally:
                over.cancel()
                await asyncio.gather(over, return_exceptions=True)

    async def _mend(self, opened: AsyncExitStack) -> None:
        if not self._mending:
            return
        await asyncio.sleep(max(self._duration - (time.monotonic() - self._begun), 0))
        await self._hubs.send(opened, self._options.hub, self._mending)
        self._say("it is over, as the gateway's log says: the incident should be resolved within two minutes")

    async def _watch(self, opened: AsyncExitStack, table: arrival.Table, over: asyncio.Task[None]) -> None:
        rehearsal = self._rehearsal

        def told(row: arrival.Sighting) -> bool:
            return row.kind == rehearsal.kind and row.cause == rehearsal.cause

        if self._mending:
            self._say(f"all is well again at {self._duration} s; Ctrl-C leaves it as it is")
        with self._waiting("the row"):
            row, seen = await table.until(opened, told, self._options.patience)
        if row is None:
            if self._mending and not over.done():
                self._duration = 0
                await self._hubs.send(opened, self._options.hub, self._mending)
            raise Failed(_missing(rehearsal, seen, table, self._options))
        self._say(f"in the table: {row.cause}, {row.confidence.lower()} confidence, told {row.told}")
        await over
        if rehearsal.back is Back.NOTHING:
            return
        with self._waiting("the row that says Resolved"):
            row, _ = await table.until(
                opened,
                lambda r: told(r) and r.state == "Resolved" and r.incident == row.incident,
                self._options.patience,
            )
        if row is None:
            raise Failed(
                f"no row says Resolved after {self._options.patience} s{_because(table)}: look at LagSeconds in IkeStreamHealth_CL"
            )
        self._say(f"resolved, in the table: revision {row.revision}, told {row.told}")

    def _waiting(self, what: str) -> AbstractContextManager[object]:
        """Show on a terminal that it waits, and for what."""
        words = f"waiting for {what} in Log Analytics"
        return self._out.status(words) if self._out.is_terminal else nullcontext()

    def _announce(self) -> None:
        after = self._rehearsal.after
        self._say(f"it should be told within {after} s of being read. To see it in Log Analytics:")
        self._print(f'  IkeDiagnosis_CL | where Drill and GatewayName =~ "{self._gateway}" | sort by Revision asc')
        if self._mending:
            self._print(f"The tunnel comes back in {self._duration} s; Ctrl-C leaves it down.")

    def _say(self, line: str) -> None:
        self._print(f"{time.monotonic() - self._begun:6.1f} s  {line}")

    def _print(self, line: str) -> None:
        self._out.print(plain(line), markup=False, soft_wrap=True)


def _missing(
    rehearsal: Rehearsal, seen: Sequence[arrival.Sighting], table: arrival.Table, options: argparse.Namespace
) -> str:
    """Say on one line that the row did not come, and where to look."""
    said = f"no row says {rehearsal.cause} after {options.patience} s{_because(table)}"
    others = sorted({row.cause for row in seen})
    if others:
        return f"{said}, only {', '.join(others)}: are two versions of the app running?"
    return (
        f"{said}. The hub took the bodies, so look at the app: IkeStreamHealth_CL | where Kind == 'Tick' | top 1 by TimeGenerated"
        " says how far it has read (LagSeconds) and what is wrong (Trouble); no row there: it does not run, or reads another hub"
    )


def _because(table: arrival.Table) -> str:
    return f" ({table.trouble})" if table.trouble else ""
