"""`python -m ikestream watch`: the hub, live, on a terminal: which tunnels stand, which incidents are open, whose turn it is.

It is the app's core with nothing behind it: batches learn, a tick tells, and nothing is concluded over what the hub holds
and was not read. What came before it began it does not know: a tunnel is unknown until a line speaks of it.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from contextlib import nullcontext, suppress
from typing import Any

import orjson
from rich.live import Live
from rich.text import Text

from ikestream.arguments import Help, add_inventory, instant, read_inventory, span
from ikestream.hubs import Failed, Hubs, add_sign_in, read_connection_string
from ikestream.incident import Row
from ikestream.terminal import Screen, notes, plain
from ikestream.watch import board
from ikestream.watch.picture import Picture
from ikestream.watch.stream import Stream

OK, UNREADABLE = 0, 2
REDRAW = 1.0
"""Seconds between two drawings of the board."""

EXAMPLES = """\
The app is not disturbed: no checkpoint is written and no partition is owned. It needs another consumer group than the app's,
in which the service lets nobody else in; $Default is free. Whoever runs it needs the role Azure Event Hubs Data Receiver.

examples:
  python -m ikestream watch --namespace contoso.servicebus.windows.net --hub vpn-logs --consumer-group people
  python -m ikestream watch --namespace contoso.servicebus.windows.net --last 2h
  python -m ikestream watch --connection-string-env IkeStreamHub --hub vpn-logs --output json > revisions.jsonl
"""


def add_command(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "watch",
        help="watch the event hub live: tunnels, open incidents, whose turn it is",
        description="Reads an event hub as it is written and shows how the tunnels stand. Ctrl-C ends it.",
        epilog=EXAMPLES,
        formatter_class=Help,
    )
    add_sign_in(parser, required=True)
    parser.add_argument("--hub", default="vpn-logs", metavar="HUB", help="(default: vpn-logs)")
    parser.add_argument("--consumer-group", default="$Default", metavar="NAME", help="(default: $Default)")
    when = parser.add_mutually_exclusive_group()
    when.add_argument(
        "--since", type=instant, metavar="TIME", help="what the hub took from this time on, UTC (default: from now)"
    )
    when.add_argument("--last", type=span, metavar="SPAN", help="the same, as a span before now: 15m, 2h, 1d")
    parser.add_argument(
        "--output",
        choices=["table", "json"],
        default="table",
        help="a board, or a line for each revision where there is no terminal; or one JSON row for each",
    )
    add_inventory(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit status: 0 when it was ended, 2 with one line if the hub cannot be read at all."""
    errors = Screen(stderr=True)
    inventory = read_inventory(options, errors)
    if inventory is None:
        return UNREADABLE
    begun = _clock()
    since = options.since if options.last is None else begun - options.last
    try:
        hubs = Hubs(options.namespace, read_connection_string(options))
        picture = Picture(inventory, begun)
        stream = Stream(hubs, options.hub, options.consumer_group, since)
        with suppress(KeyboardInterrupt):  # where the loop cannot be told of Ctrl-C
            asyncio.run(_Watch(picture, stream, options, errors).run())
    except Failed as failed:
        errors.print(plain(f"watch: {failed}"), markup=False, soft_wrap=True)
        return UNREADABLE
    for line in board.summary(picture, begun, _clock()):
        errors.print(line, soft_wrap=True)
    notes(errors, [], picture.tally, records=False)
    return OK


def _clock() -> int:
    return int(time.time() * 1000)


class _Watch:
    """One run, until somebody ends it."""

    def __init__(self, picture: Picture, stream: Stream, options: argparse.Namespace, errors: Screen) -> None:
        self._picture, self._stream, self._options, self._errors = picture, stream, options, errors
        self._out = Screen()
        where = options.namespace or "connection string"
        self._title = f"ikestream: {options.hub} at {where}"
        board_wanted = options.output == "table" and self._out.is_terminal and not self._out.is_dumb_terminal
        self._live = Live(console=self._out, auto_refresh=False, screen=True) if board_wanted else None
        self._said = ""
        self._over = asyncio.Event()
        self._unread = False  # whoever reads our output has gone

    async def run(self) -> None:
        """Read, tell and draw until Ctrl-C, or SIGTERM. Raises `Failed`; `BrokenPipeError` if nobody reads any more."""
        over = self._over
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            try:
                loop.add_signal_handler(name, over.set)
            except NotImplementedError:  # Windows
                break
        tasks = [
            asyncio.create_task(self._stream.run(self._take, self._connected, self._ask)),
            asyncio.create_task(over.wait()),
        ]
        with self._live or nullcontext():
            tasks.append(asyncio.create_task(self._draw()))
            try:
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        if self._unread:
            raise BrokenPipeError

    def _connected(self) -> None:
        for partition, (number, at) in self._stream.begun.items():
            self._picture.begin(partition, number, at)

    def _take(self, deliveries: Any) -> None:
        self._picture.learn(deliveries, _clock())

    def _ask(self, heads: dict[str, int], now: int) -> bool:
        for row in self._picture.conclude(heads, now):
            self._tell(row)
        return self._picture.reached is not None and self._picture.reached >= now

    def _tell(self, row: Row) -> None:
        try:
            if self._options.output == "json":
                sys.stdout.buffer.write(orjson.dumps(row) + b"\n")
                sys.stdout.buffer.flush()
            elif self._live is None:
                self._out.print(board.line(row), soft_wrap=True)
        except BrokenPipeError:  # no failure of the hub, as which it would be taken below
            self._unread = True
            self._over.set()

    async def _draw(self) -> None:
        while True:
            now = _clock()
            trouble = self._stream.trouble
            if self._live is not None:
                self._picture.now = now
                size = self._out.size
                picture = board.board(self._picture, self._title, trouble, now, size.width, size.height)
                self._live.update(picture, refresh=True)
            elif trouble != self._said:
                said = f"the hub is gone, trying again: {trouble}" if trouble else "the hub is back"
                self._errors.print(Text(plain(f"watch: {said}"), style="yellow"), soft_wrap=True)
                self._said = trouble
            await asyncio.sleep(REDRAW)
