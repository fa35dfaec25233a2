"""Selectors of both sides -> SelectorComparison: what is missing and what is too wide, as unions of ranges.

The first selector may be the one packet that triggered the negotiation (RFC 7296 2.9), so single ranges say little;
only unions are compared, and only what belongs to the same end of the tunnel.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, summarize_address_range

from ikestream.events import Selector

CACHE = 512
"""Lists of selectors whose comparison is remembered: a tunnel shows the same few, attempt after attempt."""

Range = tuple[int, int, int]
"""(address family 4 or 6, first address, last address), ends included."""


@dataclass(frozen=True, slots=True)
class SelectorComparison:
    """Two unions of ranges for the same end of the tunnel. Texts are CIDRs where a range is one, else `start-end`.

    `missing` is what Azure has and the peer lacks, `too_wide` what the peer has and Azure lacks. `narrowed` lists what
    one side restricts to some protocol or ports; it never counts as missing.
    """

    common: tuple[str, ...]
    missing: tuple[str, ...]
    too_wide: tuple[str, ...]
    narrowed: tuple[str, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether both sides hold the same addresses."""
        return not self.missing and not self.too_wide

    @property
    def disjoint(self) -> bool:
        """Whether no address is on both sides, so that no negotiation can succeed."""
        return not self.common and bool(self.missing) and bool(self.too_wide)


def compare_selectors(azure: Iterable[Selector], peer: Iterable[Selector]) -> SelectorComparison:
    """Compare the unions of ranges both sides hold for one end (RFC 7296 2.9: the first may be a single packet).

    The caller maps TSi and TSr to ends by role (facts 06 R4). Selectors with unreadable or reversed ends are left out.
    """
    return _compare(tuple(azure), tuple(peer))


@lru_cache(CACHE)
def _compare(azure: tuple[Selector, ...], peer: tuple[Selector, ...]) -> SelectorComparison:
    ours, theirs = _union(azure), _union(peer)
    open_ranges = (_union(tuple(s for s in side if _unrestricted(s))) for side in (azure, peer))
    restricted = [_subtract(whole, free) for whole, free in zip((ours, theirs), open_ranges, strict=True)]
    missing = _subtract(ours, theirs)
    return SelectorComparison(
        common=_texts(_subtract(ours, missing)),
        missing=_texts(missing),
        too_wide=_texts(_subtract(theirs, ours)),
        narrowed=_texts(_join([*restricted[0], *restricted[1]])),
    )


def covers(wide: Iterable[Selector], narrow: Iterable[Selector]) -> bool:
    """Whether every address of `narrow` lies in `wide`, all ranges of each side taken together."""
    return not _subtract(_union(tuple(narrow)), _union(tuple(wide)))


def ranges(selectors: Iterable[Selector]) -> tuple[str, ...]:
    """The union of `selectors` as text: CIDRs where a range is one, else `start-end`; IPv4 first, ascending."""
    return _texts(_union(tuple(selectors)))


def cidrs(selectors: Iterable[Selector]) -> tuple[str, ...]:
    """The union of `selectors` as CIDRs only, as many as it takes (at most 2 per bit and range)."""
    return tuple(
        str(network)
        for family, first, last in _union(tuple(selectors))
        for network in summarize_address_range(_address(family, first), _address(family, last))
    )


def _unrestricted(selector: Selector) -> bool:
    return selector.protocol == 0 and selector.port_start == 0 and selector.port_end == 65535


def _address(family: int, value: int) -> IPv4Address | IPv6Address:
    return IPv4Address(value) if family == 4 else IPv6Address(value)


@lru_cache(CACHE)
def _union(selectors: tuple[Selector, ...]) -> tuple[Range, ...]:
    found: list[Range] = []
    for selector in selectors:
        try:
            first, last = ip_address(selector.start), ip_address(selector.end)
        except ValueError:
            continue  # a peer may send anything; what is no address is no range
        if first.version == last.version and int(first) <= int(last):
            found.append((first.version, int(first), int(last)))
    return tuple(_join(found))


def _join(found: Iterable[Range]) -> list[Range]:
    """Sorted, with ranges that touch or overlap made one."""
    joined: list[Range] = []
    for family, first, last in sorted(found):
        if joined and joined[-1][0] == family and first <= joined[-1][2] + 1:
            joined[-1] = (family, joined[-1][1], max(last, joined[-1][2]))
        else:
            joined.append((family, first, last))
    return joined


def _subtract(whole: Sequence[Range], part: Sequence[Range]) -> list[Range]:
    """Addresses of `whole` that are not in `part`; both joined. One pass over each: linear."""
    rest: list[Range] = []
    at = 0
    for family, first, last in whole:
        while at < len(part) and (part[at][0], part[at][2]) < (family, first):
            at += 1
        start, i = first, at
        while i < len(part) and part[i][0] == family and part[i][1] <= last:
            if part[i][1] > start:
                rest.append((family, start, part[i][1] - 1))
            start = part[i][2] + 1
            i += 1
        if start <= last:
            rest.append((family, start, last))
    return rest


def _texts(found: Iterable[Range]) -> tuple[str, ...]:
    return tuple(_text(*r) for r in found)


def _text(family: int, first: int, last: int) -> str:
    size = last - first + 1
    if size & (size - 1) == 0 and first % size == 0:
        bits = 32 if family == 4 else 128
        return f"{_address(family, first)}/{bits - size.bit_length() + 1}"
    return f"{_address(family, first)}-{_address(family, last)}"
