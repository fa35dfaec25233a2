"""Keys of documents <-> keys that Azure Table storage takes: printable ASCII, in the same order, and readable.

The service forbids `/ \\ # ?` and control characters, stumbles over `%`, and wants quotes doubled in some places and
not in others. It promises to sort keys, but says nothing of characters outside ASCII; of those that are used here
every order one could think of (by byte, by UTF-16 unit, by code point) is the same. Assumed is no more than that.

A letter, a digit and each of `! - . : = @ _ |` stands for itself, every other byte of the key's UTF-8 is written so
that it sorts where it belongs: bytes below `!` as a space and two hex digits, bytes above `|` as `}` and two hex
digits, and those between as the nearest byte below that stands for itself, `~` and two hex digits (`/` is `.~2f`).
Nothing begins with `~`, so `.~2f` comes after everything that begins with a plain `.` and before `0`.
"""

from __future__ import annotations

import re
import string
from functools import lru_cache

MAX_KEY = 1024
"""Characters of a key, once encoded (Azure: "a string up to 1,024 characters in size")."""

_PLAIN = sorted((string.ascii_letters + string.digits + "!-.:=@_|").encode())


def _written(byte: int) -> str:
    if byte in _PLAIN:
        return chr(byte)
    if byte < _PLAIN[0]:
        return f" {byte:02x}"
    if byte > _PLAIN[-1]:
        return f"}}{byte:02x}"
    return f"{chr(max(plain for plain in _PLAIN if plain < byte))}~{byte:02x}"


_WRITTEN = [_written(byte) for byte in range(256)]
_READ = {written: byte for byte, written in enumerate(_WRITTEN)}
_SYMBOL = re.compile(r"[ }][0-9a-f]{2}|[^ }~](?:~[0-9a-f]{2})?")


@lru_cache(maxsize=4096)  # the same few gateways and peers, hundreds of times a minute
def encode(key: str) -> str:
    """Return `key` as the service takes it. Lone surrogates, which JSON can carry, are kept as well."""
    return "".join(_WRITTEN[byte] for byte in key.encode("utf-8", "surrogatepass"))


@lru_cache(maxsize=4096)
def decode(written: str) -> str:
    """Return the key that `written` stands for. Raises ValueError for what `encode` never wrote."""
    symbols = _SYMBOL.findall(written)
    if "".join(symbols) != written or not _READ.keys() >= set(symbols):
        raise ValueError("not a key of this store")
    return bytes(_READ[symbol] for symbol in symbols).decode("utf-8", "surrogatepass")
