"""Saved logs -> Account: the last word on every incident, every leg over time, and the exchanges worth drawing.

Two passes: the first judges, as `diagnose` does; the second fetches the lines of the sessions that the verdicts name,
because while the clock runs most of a long log is folded away. What is kept is bounded at every step.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from ikestream.estate import Estate
from ikestream.events import Record
from ikestream.formats import Reading
from ikestream.grammar import read
from ikestream.incident import Row
from ikestream.inventory import Inventory
from ikestream.negotiation import Negotiation
from ikestream.replay import Keep, Tally, replay, replay_clockless
from ikestream.report.exchange import Ladder, draw
from ikestream.report.lanes import Site, Track, sites
from ikestream.session import SESSIONLESS, Session
from ikestream.timeline import FAILED, Outcome
from ikestream.times import CLOCKLESS, LIVE, MINUTE, Times

MAX_INCIDENTS = 2_000
"""More than anybody reads: open outages stay first, then what is newest."""
MAX_SESSIONS = 10
"""Of an incident, beside those its evidence is from: what column `SessionIds` holds."""
MAX_ATTEMPTS = 3
"""Of one session: a SESSION_ID may live on over the rekeys of days."""
MAX_LINES = 200_000
"""Fetched in all."""
MAX_QUIET = 600
"""Tunnels without an outage that show their newest exchanges, and how many of them."""
MAX_QUIET_SESSIONS = 3
REACH = MINUTE
"""How far from an incident an attempt that belongs to it may lie."""

_GUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_HEAD = 128
"""A SESSION_ID stands at the beginning of its line."""

Key = tuple[str, str]
"""Gateway in lower case, and a SESSION_ID or a remote address."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A ladder; whether the verdict quotes it, and whether it is the last that went well before the outage."""

    ladder: Ladder
    quoted: bool = False
    good: bool = False


@dataclass(frozen=True, slots=True)
class Quiet:
    """A tunnel that no outage is told of; `key` names its exchanges."""

    key: str
    site: Site
    track: Track


@dataclass(slots=True)
class Account:
    """Everything a report shows. `start` and `end` are the first and the last record's time in ms, None without a clock.

    `exchanges` are by incident id, or by the key of a quiet tunnel, newest first. `left_out` incidents are not among the
    rows.
    """

    rows: list[Row] = field(default_factory=list)
    exchanges: dict[str, list[Exchange]] = field(default_factory=dict)
    sites: list[Site] = field(default_factory=list)
    quiet: list[Quiet] = field(default_factory=list)
    start: int | None = None
    end: int | None = None
    left_out: int = 0


def gather(
    saved: Reading, tally: Tally, peers: frozenset[str] = frozenset(), inventory: Inventory | None = None
) -> Account:
    """Read and judge everything in `saved`; the rows are the last revisions that `diagnose` tells, to the last column."""
    inventory = inventory or Inventory()
    account = Account()
    last: dict[str, Row] = {}
    tracks: dict[Key, tuple[Track, Times]] = {}

    def keep(times: Times) -> Keep:
        def take(estate: Estate, now: int) -> None:
            found = sites(estate, now, account.end or 0, times)
            account.sites += found
            tracks.update({(site.key, t.remote): (t, times) for site in found for t in site.tracks})

        return take

    for row in replay(_watch(saved.timed(again=True), account), tally, peers, inventory, keep(LIVE)):
        last[row["IncidentId"]] = row
    for row in replay_clockless(saved.clockless(), tally, peers, inventory, keep(CLOCKLESS)):
        last[row["IncidentId"]] = row
    account.rows = _choose(last.values())
    account.left_out = max(len(account.rows) - MAX_INCIDENTS, 0)
    del account.rows[MAX_INCIDENTS:]
    fetched = fetch(saved.timed(), {key for row in account.rows for key in _sessions(row)})
    for row in account.rows:
        track, times = tracks.get((row["GatewayId"].lower(), row["RemoteIP"]), (None, LIVE))
        account.exchanges[row["IncidentId"]] = list(_exchanges(row, track, fetched, times))
    _quiet(account, tracks)
    return account


def _quiet(account: Account, tracks: dict[Key, tuple[Track, Times]]) -> None:
    told = {(row["GatewayId"].lower(), row["RemoteIP"]) for row in account.rows if row["Kind"] == "Outage"}
    for site in account.sites:
        for track in site.tracks:
            if (site.key, track.remote) in told or len(account.quiet) == MAX_QUIET:
                continue
            key = f"t{len(account.quiet)}"
            _, times = tracks[site.key, track.remote]
            newest = sorted((n for n, _ in track.negotiations), key=lambda n: (n.start, n.session))
            account.exchanges[key] = [Exchange(draw(n, times)) for n in reversed(newest[-MAX_QUIET_SESSIONS:])]
            account.quiet.append(Quiet(key, site, track))


def _watch(records: Iterable[Record], account: Account) -> Iterator[Record]:
    for record in records:
        account.start = record.at if account.start is None else account.start
        account.end = record.at
        yield record


def _choose(rows: Iterable[Row]) -> list[Row]:
    told = [row for row in rows if row["Resolution"] not in ("Withdrawn", "Merged")]
    told.sort(key=lambda row: row["FirstSeen"] or "", reverse=True)
    # What is down comes first, and a gateway before its tunnels.
    told.sort(key=lambda row: (row["Kind"] != "Outage", row["State"] != "Open", row["Scope"] != "Gateway"))
    return told


def _sessions(row: Row) -> list[Key]:
    quoted = [line["SessionId"] for line in row["Evidence"] or () if line["SessionId"]]
    listed = (row["SessionIds"] or [])[:MAX_SESSIONS]
    return [(row["GatewayId"].lower(), session) for session in dict.fromkeys([*quoted, *listed])]


def fetch(records: Iterable[Record], wanted: set[Key]) -> dict[Key, Session]:
    """Return the lines of the sessions that are wanted, by gateway and SESSION_ID, at most `MAX_LINES` in all."""
    found: dict[Key, Session] = {}
    left = MAX_LINES
    for record in records:
        if not wanted or not left:
            break
        match = _GUID.search(record.message, 0, _HEAD)
        key = (record.gateway.lower(), match[0].lower() if match else "")
        if key in wanted:
            left -= found.setdefault(key, Session()).add(read(record))
    return found


def _exchanges(row: Row, track: Track | None, fetched: dict[Key, Session], times: Times) -> Iterator[Exchange]:
    known = track.negotiations if track is not None else ()
    near = _near(row, times)
    quoted = {line["SessionId"] for line in row["Evidence"] or ()}
    chosen: dict[Negotiation, bool] = {}
    for key in _sessions(row):
        session = fetched.setdefault(key, Session())
        for n, _ in known:  # lines without addresses have found their negotiation there
            if n.session == key[1]:
                for event in n.events:
                    session.add(event)
        attempts = [n for n in session.negotiations(key[1]) if near(n)] if session.events else []
        chosen |= dict.fromkeys(attempts[-MAX_ATTEMPTS:], key[1] in quoted)
    bare = [n for n, outcome in known if n.session.startswith(SESSIONLESS) and outcome in FAILED and near(n)]
    chosen |= dict.fromkeys(bare[-MAX_SESSIONS:], True)
    for n in sorted(chosen, key=lambda n: (n.start, n.session), reverse=True):
        yield Exchange(draw(n, times), quoted=chosen[n])
    if row["Kind"] == "Outage" and row["FirstSeen"]:
        before = [n for n, outcome in known if outcome is Outcome.SUCCEEDED and n.start < _ms(row["FirstSeen"])]
        good = max(before, key=lambda n: (n.start, n.session), default=None)
        if good is not None and good not in chosen:
            yield Exchange(draw(good, times), good=True)


def _near(row: Row, times: Times) -> Callable[[Negotiation], bool]:
    if times is CLOCKLESS or not row["FirstSeen"]:
        return lambda _: True
    first = _ms(row["FirstSeen"]) - REACH
    last = _ms(row["ResolvedAt"] or row["LastSeen"] or row["FirstSeen"]) + REACH
    return lambda n: n.end >= first and n.start <= last


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)
