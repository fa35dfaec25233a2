"""logged algorithm name -> Azure's custom policy name: one vocabulary for both sides' proposals.

The log prints `AES-CBC-256`, `Md5` and `DhGroup20` where a custom policy says `AES256`, `MD5` and `ECP384`. Values
Azure has no name for (SHA512, DH group 5, ChaCha20) stay as logged, because no policy can hold them and the reader
must see what the peer really offers. Names and spellings, each with its source: `data/algorithms.json`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.resources import files
from typing import Any, Final

MAX_NAME: Final = 64  # the longest registered transform name has 30 characters; a longer value is not a name


def _fold(text: str) -> str:
    """Case and punctuation carry no meaning: `AES-CBC-256`, `aes_cbc_256` and `AesCbc256` are one name."""
    return "".join(filter(str.isalnum, text)).lower()


def _names(rows: Iterable[dict[str, Any]], column: str) -> dict[str, str]:
    return {_fold(spelling): row[column] for row in rows for spelling in row["spellings"]}


_TABLE: Final[dict[str, list[dict[str, Any]]]] = json.loads(
    files("ikestream").joinpath("data/algorithms.json").read_text(encoding="utf-8")
)
_ENCRYPTION: Final = _names(_TABLE["encryption"], "name")
_INTEGRITY: Final = _names(_TABLE["integrity"], "name")
_DH: Final = _names(_TABLE["groups"], "dh")
_PFS: Final = _names(_TABLE["groups"], "pfs")
_KNOWN: Final = frozenset((*_ENCRYPTION, *_INTEGRITY, *_DH))
_BEGINNINGS: Final = frozenset(name[:end] for name in _KNOWN for end in range(len(name)))


def _translate(text: str, names: dict[str, str]) -> str:
    logged = text[:MAX_NAME].strip()
    return names.get(_fold(logged)) or logged


def encryption(text: str) -> str:
    """`AES-CBC-256` -> `AES256`, `AES-GCM-256` -> `GCMAES256`, `3DES` -> `DES3`, `NULL` -> `None`; else as logged."""
    return _translate(text, _ENCRYPTION)


def integrity(text: str) -> str:
    """`SHA-1` -> `SHA1`, `SHA2-256` -> `SHA256`, `Md5` -> `MD5`, `AES-GCM-256` -> `GCMAES256`; else as logged."""
    return _translate(text, _INTEGRITY)


def dh_group(text: str) -> str:
    """`DhGroup2` -> `DHGroup2`, `14` or `DHGroup2048` -> `DHGroup14`, `DhGroup20` -> `ECP384`; else as logged."""
    return _translate(text, _DH)


def pfs_group(text: str) -> str:
    """`DhGroup14` or `PFS14` -> `PFS2048`, `PFS2` -> `PFS2`, `19` -> `ECP256`, `NULL` -> `None`; else as logged."""
    return _translate(text, _PFS)


def is_combined_mode(name: str) -> bool:
    """Whether an Azure encryption name brings its own integrity (AES-GCM, RFC 4106): no integrity goes with it."""
    return name.startswith("GCMAES")


def is_fragment(text: str) -> bool:
    """Whether a value at the very end of a line is only the beginning of a name: `AES-CB`, `DhGroup`, ``.

    A value that is a name by itself counts as whole (`DhGroup1`, although `DhGroup14` begins with it), except
    `SHA`: Azure prints `SHA1`, so `SHA` at the end of a line says nothing.
    """
    folded = _fold(text[:MAX_NAME])
    return folded == "sha" or (folded in _BEGINNINGS and folded not in _KNOWN)
