"""Words of the command line -> values: what several commands take alike."""

from __future__ import annotations

import argparse
import ipaddress
import re
from datetime import UTC, datetime
from typing import NoReturn

from rich.text import Text

from ikestream.inventory import Inventory
from ikestream.inventory.files import BadInventory, load
from ikestream.terminal import Screen, plain

_SPAN = re.compile(r"(\d{1,6})\s*([smhd])", re.IGNORECASE)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Help(argparse.RawDescriptionHelpFormatter):
    """Breaks prose at the terminal's width and leaves examples as they are: a command must be one line to be copied."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        prose, head, examples = text.partition("examples:\n")
        filled = argparse.HelpFormatter._fill_text(self, prose, width, indent) if prose.strip() else ""
        return "\n\n".join(filter(None, (filled, super()._fill_text(head + examples, width, indent) if head else "")))


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and where to read on, instead of ten lines of usage before it."""

    def error(self, message: str) -> NoReturn:
        """End with status 2."""
        self.exit(2, f"{self.prog}: {message}; {self.prog.replace('ikestream', 'python -m ikestream', 1)} --help\n")


def seconds(text: str) -> int:
    """Return a number of seconds, 0 or more."""
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return int(text)


def add_inventory(command: argparse.ArgumentParser) -> None:
    """Let a command take `--inventory`; `read_inventory` reads what was given."""
    command.add_argument(
        "--inventory",
        action="extend",
        nargs="+",
        default=[],
        metavar="PATH",
        help="what is configured: files, or a folder of files, that az network vpn-connection list, local-gateway list,"
        " vnet-gateway list, vpn-gateway list and vpn-site list wrote with -o json",
    )


def read_inventory(options: argparse.Namespace, errors: Screen) -> Inventory | None:
    """Return what `--inventory` names, an empty one if it names nothing, None if it cannot be read; say why."""
    if not options.inventory:
        return Inventory()
    try:
        inventory, missing = load(options.inventory)
    except BadInventory as bad:
        errors.print(Text(plain(str(bad)), style="red"), soft_wrap=True)
        return None
    for line in missing:
        errors.print(Text(plain(f"inventory: {line}"), style="yellow"), soft_wrap=True)
    return inventory


def address(text: str) -> str:
    """Return an IP address as it is written in rows."""
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an IP address") from None


def instant(text: str) -> int:
    """Return a time in ms since 1970; without a zone it is UTC."""
    try:
        parsed = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 2026-11-23T02:15:00Z") from None
    return int(parsed.replace(tzinfo=parsed.tzinfo or UTC).timestamp() * 1000)


def span(text: str) -> int:
    """Return a span such as 90s, 15m, 2h or 1d in ms."""
    found = _SPAN.fullmatch(text.strip())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a span such as 15m, 2h or 1d")
    return int(found[1]) * _UNITS[found[2].lower()] * 1000
