"""error text, symbol or number -> Code; notify text or number -> Notify: the vocabularies Azure's IKE speaks.

One Windows error is written in many ways: `Policy match error.`, `PolicyMatchError`, `13868`, `0x362C`, `0x0000362c`,
`0x8007362C`, `ERROR_IPSEC_IKE_POLICY_MATCH`. All become one `Code`, with the role that says what it may prove.
Facts, each with its source: `data/windows_codes.json`.

Five messages belong to several codes. The first of them is meant where only the text is known: 13809 for 13809 to
13812 (*Negotiation request sat in Queue too long*) and 13814 for 13814 and 13815 (*Negotiation took too long*); the
role is the same for all of each set.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final

MAX_TEXT: Final = 512  # the longest message has 245 characters; what stands further back is not part of it
CACHE: Final = 2048  # texts seen again and again; bounded because peers choose some of them


class Role(StrEnum):
    """What a code proves about the negotiation it stands in; the values are the marks of the decision tables."""

    FAILS = "F"  # makes the negotiation failed
    FAILS_ALONE = "f"  # failed only if no other session of the leg succeeds within the grace time
    BENIGN = "B"  # never a cause
    SYMPTOM = "S"  # a more specific fact of the same session wins
    CLIENT = "2"  # point-to-site and EAP clients only, never a site-to-site tunnel
    PLATFORM = "G"  # the gateway's own condition; see `negotiation.UNABLE`
    UNLISTED = ""  # no role assigned: shown as a reason; see `negotiation.UNABLE`


@dataclass(frozen=True, slots=True)
class Code:
    """One Windows error. `symbol` and `message` are '' where Windows defines none; `message` ends as Windows prints."""

    number: int
    symbol: str
    message: str
    role: Role
    azure_documented: bool  # listed in Azure's site-to-site error code document
    source: str


@dataclass(frozen=True, slots=True)
class Notify:
    """One notify message type (RFC 7296 3.10.1, RFC 2408 3.14.1); `version` is the IKE version that defines it."""

    number: int
    name: str
    error: bool
    version: int


def fold(text: str) -> str:
    """Letters and digits in lower case: spacing, punctuation and CamelCase carry no meaning in these vocabularies."""
    return "".join(filter(str.isalnum, text)).lower()


_TABLE: Final[dict[str, list[dict[str, Any]]]] = json.loads(
    files("ikestream").joinpath("data/windows_codes.json").read_text(encoding="utf-8")
)
CODES: Final[Mapping[int, Code]] = MappingProxyType(
    {
        row["number"]: Code(
            row["number"],
            row["symbol"],
            row["message"],
            Role(row["role"]),
            row["azure_documented"],
            row["source"],
        )
        for row in _TABLE["codes"]
    }
)
_BY_SYMBOL: Final = {code.symbol: code for code in CODES.values() if code.symbol}


def _texts() -> dict[str, Code]:
    """Folded message -> Code. The first code of equal messages wins; a first sentence stands for its message."""
    by_text: dict[str, Code] = {}
    for code in CODES.values():
        by_text.setdefault(fold(code.message), code)
    for row in _TABLE["aliases"]:
        by_text.setdefault(fold(row["text"]), CODES[row["number"]])
    for code in CODES.values():
        by_text.setdefault(fold(code.message.partition(". ")[0]), code)
    by_text.pop("", None)  # range markers have no message
    return by_text


_BY_TEXT: Final = _texts()

_NUMBER: Final = r"0x[0-9a-f]{1,16}|-?[0-9]{1,10}"
# The whole text is a number, or a number that closes with punctuation: `13801(ERROR_...)`, `0x35ED,`. A number followed
# by words is not in code position: `258 bytes`.
_BARE: Final = re.compile(rf"({_NUMBER})(?=\s{{0,4}}(?:$|[(\[,;]))", re.IGNORECASE | re.ASCII)
# Words that announce a code. `error 5 times` must not be a code, so only numbers that are known are taken here.
_ANNOUNCED: Final = re.compile(
    rf"\b(?:error|code|status|hex|hr|hresult)\b[\])]?[\s:=#]{{0,4}}({_NUMBER})(?![0-9a-z.:])"
    rf"|\(({_NUMBER})(?=\s{{0,4}}[,)])",  # `Invalid cookie received (13846, Hex: 0X3616)`
    re.IGNORECASE | re.ASCII,
)
_SYMBOL: Final = re.compile(r"\b(?:ERROR|WARNING|WAIT)_[A-Z0-9_]{4,64}", re.ASCII)
_WORD: Final = re.compile(r"[^\W_]+")
_PLAIN_NUMBER: Final = re.compile(_NUMBER, re.IGNORECASE | re.ASCII)
MAX_WORDS: Final = 48  # the longest message has 37 words


def number(text: str) -> int | None:
    """The Windows error number in `13801`, `0x35ED`, `0x000035ed`, `0x8007362C` or a signed HRESULT; None otherwise.

    The number need not be a known one. 0 (no error) and numbers beyond 32 bits give None.
    """
    if not _PLAIN_NUMBER.fullmatch(text):
        return None
    value = int(text, 16 if text[:2].lower() == "0x" else 10)
    if -0x80000000 <= value < 0:
        value &= 0xFFFFFFFF
    if value >> 16 == 0x8007:  # HRESULT_FROM_WIN32
        value &= 0xFFFF
    return value if 0 < value <= 0xFFFFFFFF else None


def _known(text: str) -> Code | None:
    value = number(text)
    return None if value is None else CODES.get(value)


def _prefixes(text: str) -> Iterator[str]:
    """Folded beginnings of the text that end with a word, longest first."""
    words = _WORD.findall(text.lower())[:MAX_WORDS]
    return ("".join(words[:end]) for end in range(len(words), 0, -1))


def _suffixes(text: str) -> Iterator[str]:
    """Folded endings of the text that begin with a word, longest first."""
    words = _WORD.findall(text.lower())[-MAX_WORDS:]
    return ("".join(words[start:]) for start in range(len(words)))


@lru_cache(CACHE)
def _message(text: str) -> Code | None:
    if whole := _BY_TEXT.get(fold(text)):
        return whole
    for prefix in _prefixes(text):
        if code := _BY_TEXT.get(prefix):
            return code
    return None


def message(text: str) -> Code | None:
    """The code whose message the text begins with, whatever follows."""
    return _message(text[:MAX_TEXT].strip())


@lru_cache(CACHE)
def _resolve(text: str) -> Code | None:
    if bare := _BARE.match(text):
        return _known(bare[1])
    for symbol in _SYMBOL.finditer(text):
        if code := _BY_SYMBOL.get(symbol[0]):
            return code
    if code := _message(text):
        return code
    for announced in _ANNOUNCED.finditer(text):
        if code := _known(announced[1] or announced[2]):
            return code
    return None


def resolve(text: str) -> Code | None:
    """The code a text in code position stands for: the number itself, its symbol, or the words of its message.

    Words may follow the message (`... (Error code: 13801, Hex: 0X35E9)`); none may come before it, so that a
    sentence that only quotes one is not taken for it (`find` does that). Numbers count as the whole text or where a
    word announces them. Case, punctuation and spacing do not matter.
    """
    return _resolve(text[:MAX_TEXT].strip())


@lru_cache(CACHE)
def _find(text: str) -> Code | None:
    if code := _resolve(text):
        return code
    for suffix in _suffixes(text):
        if code := _BY_TEXT.get(suffix):
            return code
    return None


def find(text: str) -> Code | None:
    """As `resolve`, and also a message at the very end of a longer text: `IKE failed: Negotiation timed out.`."""
    return _find(text[-MAX_TEXT:].strip())


def complete(text: str) -> Code | None:
    """The one code whose message begins with a text that was cut, if 12 letters or more leave only one."""
    cut = fold(text[:MAX_TEXT])
    if len(cut) < 12:
        return None
    found = {code.number: code for message, code in _BY_TEXT.items() if message.startswith(cut)}
    return next(iter(found.values())) if len(found) == 1 else None


NOTIFIES: Final[tuple[Notify, ...]] = tuple(
    Notify(row["number"], row["name"], row["error"], row["version"]) for row in _TABLE["notifies"]
)


def _notifies() -> dict[str, Notify]:
    """Folded name, wording or number -> Notify. IKEv2 comes first in the table, so 17 is INVALID_KE_PAYLOAD."""
    by_text: dict[str, Notify] = {}
    for entry in NOTIFIES:
        by_text.setdefault(fold(entry.name), entry)
        by_text.setdefault(str(entry.number), entry)
    for row in _TABLE["notify_aliases"]:
        by_text.setdefault(fold(row["text"]), by_text[fold(row["name"])])
    return by_text


_BY_NOTIFY: Final = _notifies()
_NOTIFY_NAME: Final = re.compile(r"\b[A-Z][A-Z0-9]{0,30}(?:[_-][A-Z0-9]{1,30}){1,6}\b", re.ASCII)
MAX_NOTIFY: Final = 160  # the longest name has 34 characters; words may stand before or after it


@lru_cache(CACHE)
def _notify(text: str) -> Notify | None:
    if whole := _BY_NOTIFY.get(fold(text)):
        return whole
    for prefix in _prefixes(text):
        # A number is a type only by itself: `5 proposals received` is no INVALID_MAJOR_VERSION.
        if not prefix.isdecimal() and (entry := _BY_NOTIFY.get(prefix)):
            return entry
    for name in _NOTIFY_NAME.finditer(text):
        if entry := _BY_NOTIFY.get(fold(name[0])):
            return entry
    return None


def notify(text: str) -> Notify | None:
    """The notify type a text stands for: registered name, Azure's words for it (`Policy Mismatch`), or number.

    Words may follow; a registered name in capitals is found anywhere (`Peer sent NO_PROPOSAL_CHOSEN`).
    """
    return _notify(text[:MAX_NOTIFY].strip())
