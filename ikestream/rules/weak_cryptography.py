"""WeakCryptography: what was agreed is weak (facts 2.22).

Offers do not count: Azure's default list holds weak values for whoever has nothing else. Said once per change, for the
record; the tunnel works, and nobody is woken. Of several legs and initiators the newest agreement of each counts. That
IKEv1 is used would be weak, too, but Azure writes "main mode" in logs of either version: the log does not show it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ikestream.advice import Advice, Impact, Outlook
from ikestream.events import Proposal
from ikestream.finding import ActionOn, Advisory, Confidence, Finding, Severity
from ikestream.history import Agreement

_ENCRYPTION = frozenset({"DES", "DES3", "None"})
_INTEGRITY = frozenset({"MD5", "SHA1"})
_GROUPS = frozenset({1, 2, 5, 22, 23, 24})
"""Of Diffie-Hellman and PFS, by number. 24 is a SHOULD NOT of RFC 8247; no PFS at all is a choice, and not in the table."""
_NUMBER = re.compile(r"(?:dh|pfs)[a-z]*(\d+)", re.IGNORECASE)


def advise(outlook: Outlook) -> Iterator[Advice]:
    """Yield one advice for each time in which something weak was in use."""
    newest: dict[object, Agreement] = {}
    found: list[tuple[int, int | None, tuple[str, ...], tuple[Agreement, ...]]] = []
    for agreement in sorted(outlook.history.agreements, key=lambda a: a.at):
        newest[agreement.side] = agreement
        weak = tuple(sorted({value for a in newest.values() for value in _weak(a)}))
        if found and found[-1][1] is None:
            start, _, before, shown = found[-1]
            if weak == before:
                continue
            found[-1] = start, agreement.at, before, shown
        if weak:
            found.append((agreement.at, None, weak, tuple(a for a in newest.values() if _weak(a))))
    for start, end, weak, shown in found:
        yield _advice(outlook, start, end, weak, shown)


def _weak(agreement: Agreement) -> set[str]:
    """Return what is weak in it, with its phase."""
    weak: set[str] = set()
    for phase, chosen in (("phase 1", agreement.ike), ("phase 2", agreement.esp)):
        weak |= {f"{value} ({phase})" for value in _values(chosen)}
    return weak


def _values(chosen: Proposal | None) -> Iterator[str]:
    if chosen is None:
        return
    if chosen.encryption in _ENCRYPTION:
        yield "no encryption" if chosen.encryption == "None" else chosen.encryption
    if chosen.integrity in _INTEGRITY:
        yield chosen.integrity
    number = _NUMBER.match(chosen.group)
    if number is not None and int(number[1]) in _GROUPS:
        yield chosen.group


def _advice(
    outlook: Outlook, start: int, end: int | None, weak: tuple[str, ...], shown: tuple[Agreement, ...]
) -> Advice:
    remote = outlook.tunnel.remote
    values = ", ".join(weak)
    return Advice(
        finding=Finding(
            cause=Advisory.WEAK_CRYPTOGRAPHY,
            confidence=Confidence.HIGH,
            explanation=f"What both ends agreed on holds {values}. Azure's default policy accepts them for old devices; a custom"
            " policy on the connection keeps them out.",
            action_on=ActionOn.BOTH,
            severity=Severity.INFORMATIONAL,
            evidence=tuple(line for agreement in shown for line in agreement.lines[:2]),
        ),
        summary=f"The tunnel to {remote} works with weak algorithms: {values}.",
        past=f"The tunnel to {remote} worked with weak algorithms: {values}.",
        start=start,
        held=start,
        last=start,
        impact=Impact.NONE,
        end=end,
        settled=end or 0,
        esp=next((a.esp for a in shown if a.esp is not None), None),
    )
