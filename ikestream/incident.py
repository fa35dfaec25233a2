"""Wanted x told -> revisions: what is told is the difference between what is wanted now and what was told before.

An incident's id is minted when it is first told and stored with it, never computed again: no pure function of
the facts can be stable when late evidence may move the start. Wanted incidents are matched to told ones by
overlap, in order of start.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple, TypeAlias

from ikestream import columns
from ikestream.times import RESTATEMENT, REVISION_SPACING
from ikestream.timestamps import iso

Row: TypeAlias = dict[str, Any]
"""One row of IkeDiagnosis_CL: every column, None where nothing is known."""


class Why(StrEnum):
    """Why a revision was told."""

    OPENED = "opened"
    CHANGED = "changed"  # a material column
    RESOLVED = "resolved"
    UPDATED = "updated"  # counts, last times, evidence, or a restatement: a row, never a message


class Telling(NamedTuple):
    """One revision, and why it is told."""

    row: Row
    why: Why


@dataclass(slots=True)
class Wanted:
    """An incident as the facts show it now. `content` holds every column but those that telling it decides, once it is
    complete; before, at least all material ones."""

    scope: str  # what it is about: gateway key and remote address; for a BGP session, its address too
    kind: str
    start: int
    end: int | None
    content: Row
    advisory: str = ""  # which one it is, '' for an outage: the cause of an outage may change, an advisory is its cause
    rest: Callable[[], Row] | None = None
    """Works out the other columns: for an outage that goes on as told nobody reads them, and they take longest."""
    remark: str = ""  # what the explanation says besides, of incidents it belongs with

    def complete(self) -> Row:
        """Return every column."""
        if self.rest is not None:
            self.content |= self.rest()
            self.rest = None
        if self.remark:
            self.content["Explanation"] += self.remark
            self.remark = ""
        return self.content


@dataclass(slots=True)
class Told:
    """An incident as last told."""

    incident_id: str
    scope: str
    kind: str
    start: int
    end: int | None
    row: Row
    told_at: int
    advisory: str = ""
    unsaid: bool = False  # nobody was told of it, because its gateway's incident says it all

    @property
    def closed(self) -> bool:
        """Whether its last revision says Resolved."""
        return bool(self.row["State"] == "Resolved")

    @property
    def retracted(self) -> bool:
        """Whether it ended because late evidence took it back."""
        return self.row["Resolution"] in ("Withdrawn", "Merged")


@dataclass(slots=True)
class Ledger:
    """Everything told about one scope. `count` is how many incidents were ever told, for minting ids."""

    told: list[Told] = field(default_factory=list)
    count: int = 0


class Pace(IntEnum):
    """How eagerly changes are told that are no change of the verdict (counts, last times, evidence)."""

    LIVE = 0  # with the restatement of an open incident, six hours after it was last told, changed or not
    REPLAY = 1  # a saved log: not by themselves
    FINAL = 2  # the end of a saved log: at once, so that the last revision holds everything


Relate: TypeAlias = Callable[[Wanted, Row], list[str]]
"""(an incident wanted, its row as last told) -> the ids of other incidents it belongs with."""


def revise(
    wanted: Sequence[Wanted],
    ledger: Ledger,
    now: int,
    since: int,
    pace: Pace = Pace.LIVE,
    relate: Relate | None = None,
) -> tuple[list[Telling], int | None]:
    """Tell what has changed; return the new revisions in order and the next instant at which telling is due by itself.

    Updates `ledger`, and forgets what ended before `since`, where nothing is judged any more. A material change is told at most once a minute, opening and resolving at once; an open
    incident is restated every six hours; what changed of a resolved one (late evidence) follows after a minute.
    """
    tellings: list[Telling] = []
    dues: list[int] = []
    ledger.told = [t for t in ledger.told if not _is_past(t, since)]
    pairs, orphans = _match(wanted, [t for t in ledger.told if not t.retracted])
    for want, told in pairs:
        if relate is not None:
            want.content["RelatedIncidents"] = relate(want, told.row if told is not None else {})
        if told is None:
            ledger.count += 1
            told = Told(_mint(want, ledger.count), want.scope, want.kind, want.start, want.end, {}, 0, want.advisory)
            ledger.told.append(told)
            tellings.append(Telling(_tell(told, want.complete(), now, revision=1), Why.OPENED))
            if (wait := _wait(_NONE, pace, closed=told.closed)) is not None:
                dues.append(told.told_at + wait)
            continue
        told.start, told.end = want.start, want.end
        change, wait = _compare(want, told, pace)
        if wait is None:
            continue
        if now >= told.told_at + wait:
            tellings.append(Telling(_tell(told, want.complete(), now), _why(change, want.content)))
            wait = _wait(_NONE, pace, closed=told.closed)
        if wait is not None:
            dues.append(told.told_at + wait)
    for told in orphans:
        into = next(
            (
                t
                for w, t in pairs
                if t is not None
                and _key(w) == _key(told)
                and w.start <= told.start
                and (w.end is None or told.start <= w.end)
            ),
            None,
        )
        content = {k: v for k, v in told.row.items() if k not in TELLING}
        content |= {
            "State": "Resolved",
            "Resolution": "Merged" if into else "Withdrawn",
            "MergedInto": into.incident_id if into else None,
            "Impact": "None",
        }
        tellings.append(Telling(_tell(told, content, now), Why.RESOLVED))
    return tellings, min(dues, default=None)


def complete(wanted: Sequence[Wanted], ledger: Ledger, now: int, since: int, pace: Pace) -> None:
    """Complete those that `revise` will tell: while the facts are there that the rest is read off."""
    standing = [t for t in ledger.told if not t.retracted and not _is_past(t, since)]
    for want, told in _match(wanted, standing)[0]:
        if want.rest is None:
            continue
        wait = 0 if told is None else _compare(want, told, pace)[1]
        if told is None or (wait is not None and now >= told.told_at + wait):
            want.complete()


def _is_past(told: Told, since: int) -> bool:
    if told.retracted:
        return told.told_at <= since
    return told.closed and told.end is not None and told.end <= since


TELLING = frozenset({"TimeGenerated", "IncidentId", "Revision", "OpenedAs"})
"""The columns that are decided by telling it."""
_NONE, _QUIET, _MATERIAL, _AT_ONCE = range(4)


def _wait(change: int, pace: Pace, *, closed: bool) -> int | None:
    """Return how long after the last telling this change is told, None if not by itself."""
    if change == _AT_ONCE or (change != _NONE and pace is Pace.FINAL):
        return 0
    if change == _MATERIAL or (change == _QUIET and closed):
        return REVISION_SPACING
    return RESTATEMENT if pace is Pace.LIVE and not closed else None


def _match(wanted: Sequence[Wanted], told: Sequence[Told]) -> tuple[list[tuple[Wanted, Told | None]], list[Told]]:
    left = sorted(told, key=lambda t: (t.start, t.incident_id))
    pairs: list[tuple[Wanted, Told | None]] = []
    for want in sorted(wanted, key=lambda w: w.start):
        match = next((t for t in left if _key(t) == _key(want) and _overlap(want, t)), None)
        if match is not None:
            left.remove(match)
        pairs.append((want, match))
    return pairs, left


def _key(incident: Wanted | Told) -> tuple[str, str, str]:
    return incident.scope, incident.kind, incident.advisory


def _overlap(want: Wanted, told: Told) -> bool:
    return (told.end is None or want.start <= told.end) and (want.end is None or told.start <= want.end)


def _mint(want: Wanted, count: int) -> str:
    seed = "\n".join((want.scope, want.kind, want.advisory, str(want.start), str(count)))
    return hashlib.sha256(seed.encode()).hexdigest()[:20]


def _compare(want: Wanted, told: Told, pace: Pace) -> tuple[int, int | None]:
    """Return how `want` differs from what was told, as far as that matters, and how long after the last telling that is told."""
    row, content = told.row, want.content
    if row["State"] != content["State"]:
        change = _AT_ONCE
    elif any(row[name] != content[name] for name in columns.load().material):
        change = _MATERIAL
    elif told.closed or pace is Pace.FINAL:  # else it waits for the restatement, or for a change that is material
        change = _QUIET if any(row[name] != value for name, value in want.complete().items()) else _NONE
    else:
        change = _QUIET
    return change, _wait(change, pace, closed=told.closed)


def _why(change: int, content: Row) -> Why:
    if change == _AT_ONCE:
        return Why.RESOLVED if content["State"] == "Resolved" else Why.OPENED
    return Why.CHANGED if change == _MATERIAL else Why.UPDATED


def _tell(told: Told, content: Row, now: int, revision: int | None = None) -> Row:
    at = max(now, told.told_at + 1)
    row = dict.fromkeys(columns.load().names)
    row |= content
    row |= {
        "TimeGenerated": iso(at),
        "IncidentId": told.incident_id,
        "Revision": revision or told.row["Revision"] + 1,
        "OpenedAs": told.row["OpenedAs"] if told.row else content["Cause"],
    }
    told.row, told.told_at = row, at
    return row
