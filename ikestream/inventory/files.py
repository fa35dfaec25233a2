"""Files that `az ... list` wrote -> Inventory: what is configured, without access to Azure."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import orjson

from ikestream.inventory.connections import Inventory, renew
from ikestream.inventory.documents import Gathered, put_together

LARGEST = 256_000_000
"""Bytes of one file: ten thousand connections are some 30 MB."""
WANTED = "the JSON of az network vpn-connection list, local-gateway list, vnet-gateway list, vpn-gateway list or vpn-site list"


class BadInventory(Exception):  # noqa: N818 - reads as what it is
    """A file that is no inventory. One line: which, and why; nothing of what is in it."""


def load(paths: Iterable[str | Path]) -> tuple[Inventory, tuple[str, ...]]:
    """Return what the files say, and one line for everything that is missing in them. Raises `BadInventory`.

    A path may be a folder: every `*.json` in it is read. Each file holds what one command wrote, or Resource Manager
    answered: a list, an object with `value`, or one resource.
    """
    gathered = Gathered()
    for path in _files(paths):
        before, count = gathered.other, 0
        for resource in _resources(path):
            gathered.add(resource)
            count += 1
        if count and gathered.other - before == count:
            raise BadInventory(
                f"{path}: neither a VPN gateway nor a connection nor a site is in it; wanted is {WANTED}"
            )
    listings, missing = put_together(gathered)
    return renew(Inventory(), listings, 0), missing


def _files(paths: Iterable[str | Path]) -> Iterator[Path]:
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(path.glob("*.json"))
            if not inside:
                raise BadInventory(f"{path}: no *.json in this folder")
            yield from inside
        else:
            yield path


def _resources(path: Path) -> list[Any]:
    try:
        if path.stat().st_size > LARGEST:
            raise BadInventory(f"{path}: too large for an inventory")
        body = path.read_bytes()
    except OSError as failed:
        raise BadInventory(f"{path}: {failed.strerror or type(failed).__name__}") from None
    try:
        document = orjson.loads(_as_utf8(body))
    except ValueError:  # not chained: its text may hold the document
        raise BadInventory(f"{path}: not JSON; wanted is {WANTED}, with -o json") from None
    if isinstance(document, dict) and isinstance(document.get("value"), list):
        if document.get("nextLink"):
            raise BadInventory(f"{path}: only the first page of an answer (it has a nextLink)")
        return list(document["value"])
    if isinstance(document, dict):
        return [document]
    if isinstance(document, list):
        return document
    raise BadInventory(f"{path}: no list of resources; wanted is {WANTED}")


def _as_utf8(body: bytes) -> bytes:
    # PowerShell writes what it redirects as UTF-16, or with a mark before it.
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if body.startswith(mark):
            return body.decode(encoding).encode()
    return body.removeprefix(codecs.BOM_UTF8)
