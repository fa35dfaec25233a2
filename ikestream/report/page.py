"""Account -> HTML: one page that needs nothing else.

Whatever came from a log goes through `finalize`, which writes out what cannot be seen, and then through the autoescape of
the templates. The page's own style and script are the only ones that may run: their hashes stand in its content
security policy, and nothing may be loaded from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from ikestream import __version__
from ikestream.events import Proposal
from ikestream.finding import TITLES, Advisory, Cause
from ikestream.formats import Problem
from ikestream.incident import Row
from ikestream.offers import Phase, compare, parameters
from ikestream.remedy import note_of
from ikestream.replay import Tally
from ikestream.report.account import Account, Quiet
from ikestream.report.data import build, divide, script_safe, visible
from ikestream.report.lanes import Lane, Site, Track
from ikestream.report.scale import Scale, scale
from ikestream.timeline import State
from ikestream.timestamps import iso

MANY_ALIKE = 8
"""Advisories of one kind that are only for the record are listed, not told one by one, from here on."""
OPEN_AT_FIRST = 1
MAX_NOTES = 8
MAX_RELATED = 30

_PHASES = {
    "IkeEncryption": Phase.IKE, "IkeIntegrity": Phase.IKE, "DhGroup": Phase.IKE,
    "IpsecEncryption": Phase.IPSEC, "IpsecIntegrity": Phase.IPSEC, "PfsGroup": Phase.IPSEC,
}  # fmt: skip
PARAMETERS = {
    "IkeEncryption": "Phase 1 encryption",
    "IkeIntegrity": "Phase 1 integrity",
    "DhGroup": "Phase 1 DH group",
    "IpsecEncryption": "Phase 2 encryption",
    "IpsecIntegrity": "Phase 2 integrity",
    "PfsGroup": "Phase 2 PFS group",
    "LocalSelectors": "Prefixes on Azure's side",
    "RemoteSelectors": "Prefixes on the peer's side",
}
BEGUN = {"Azure": ", begun by Azure", "Peer": ", begun by the peer", "Both": ", begun by both ends"}
TURNS = {"Azure": "Azure", "Peer": "the peer", "Path": "the path between", "Both": "both ends", "Unknown": "not known"}


def render(account: Account, tally: Tally, problems: Sequence[Problem] = ()) -> str:
    """Return the page as text, to be written as UTF-8."""
    asides, told = _asides(account.rows)
    data, drawn = build(told, account.exchanges)
    style, script = _source("page.css"), _source("page.js")
    span = None if account.start is None or account.end is None else scale(account.start, account.end)
    outages = [row for row in told if row["Kind"] == "Outage"]
    names = {row["IncidentId"]: f"{_ends(row)}: {_title(row)}" for row in told}
    page = _environment().get_template("page.html")
    return page.render(
        style=Markup(style),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        policy=_policy(style, script),
        data=data,
        span=script_safe(None if span is None else [span.start, span.end]),
        version=__version__,
        start=None if account.start is None else moment(account.start),
        end=None if account.end is None else moment(account.end),
        records=tally.records,
        gateways=list(dict.fromkeys(site.name for site in account.sites)),
        tunnels=sum(len(site.tracks) for site in account.sites),
        down=sum(row["State"] == "Open" for row in outages),
        over=sum(row["State"] != "Open" for row in outages),
        advisories=sum(row["Kind"] == "Advisory" for row in account.rows),
        outages=[_incident(row, account, drawn, names, at) for at, row in enumerate(outages)],
        advised=[_incident(row, account, drawn, names, -1) for row in told if row["Kind"] == "Advisory"],
        asides=asides,
        quiet=[_quiet(quiet) for quiet in account.quiet],
        left_out=account.left_out,
        causes=sorted(Counter(row["Cause"] for row in account.rows).items()),
        names=sorted({_ends(row) for row in told}),
        axis=[(span.place(at), text) for at, text in span.ticks()] if span is not None else [],
        sites=[] if span is None else [_site(site, account.rows, span, account.end or 0) for site in account.sites],
        notes=list(_notes(tally, problems)),
    )


@cache
def _environment() -> Environment:
    return Environment(
        loader=FunctionLoader(lambda name: _unindented(_source(name))),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _unindented(template: str) -> str:
    # Hundreds of incidents would carry their indentation along. No template has a <pre> over several lines.
    return "\n".join(line.strip() for line in template.split("\n"))


def _finalize(value: Any) -> Any:
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def _source(name: str) -> str:
    return (files("ikestream.report") / "templates" / name).read_text("utf-8")


def _policy(style: str, script: str) -> str:
    def of(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; script-src {of(script)}; style-src {of(style)}; img-src data:; base-uri 'none'; "
        "form-action 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )


def moment(at: int) -> str:
    """Return an instant as people read it: `2026-03-02 10:31:07`."""
    return iso(at)[:19].replace("T", " ")


def _said(time: str | None) -> str:
    return "" if time is None else time[:19].replace("T", " ")


def _ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def lasted(seconds: float) -> str:
    """Return a duration in its two largest units: `2 d 3 h`, `5 min 20 s`."""
    left, parts = int(seconds), []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count:,} {unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "less than 1 s"


def _ends(row: Row) -> str:
    ends = " to ".join(filter(None, (row["GatewayName"], row["RemoteIP"])))
    return f"{row['ConnectionName']}: {ends}" if row["ConnectionName"] else ends


def _title(row: Row) -> str:
    kind = Cause if row["Kind"] == "Outage" else Advisory
    try:
        return TITLES[kind(row["Cause"])]
    except ValueError:  # an advisory told under an outage's name
        return TITLES[Cause(row["Cause"])]


def _state(row: Row) -> tuple[str, str]:
    if row["Kind"] == "Advisory":
        return "advisory", "Advisory"
    if row["State"] == "Open":
        return "down", "Degraded" if row["Impact"] == "Degraded" else "Down"
    return "over", {"Removed": "Removed", "Moved": "Moved", "NotObserved": "Not seen"}.get(
        row["Resolution"], "Was down"
    )


def _incident(row: Row, account: Account, drawn: dict[str, int], names: dict[str, str], place: int) -> dict[str, Any]:
    key = row["IncidentId"]
    state, says = _state(row)
    end = row["ResolvedAt"]
    outage = row["Kind"] == "Outage" and row["Scope"] == "Tunnel"
    return {
        "row": row,
        "key": key,
        "state": state,
        "says": says,
        "who": _ends(row),
        "title": _title(row),
        "turn": TURNS[row["ActionOn"]],
        "begun": BEGUN.get(row["Initiator"], ""),
        "first": _said(row["FirstSeen"]),
        "last": _said(row["LastSeen"]),
        "end": _said(end),
        "lasted": lasted(row["DurationSeconds"]) if row["DurationSeconds"] is not None else "",
        "so_far": _so_far(row, account),
        "from": _ms(row["FirstSeen"]) if row["FirstSeen"] else "",
        "to": (_ms(end) if end else account.end or "") if row["FirstSeen"] else "",
        "search": " ".join(filter(None, (_ends(row), row["GatewayName"], row["RemoteIP"]))).lower(),
        "mismatch": _mismatch(row),
        "offers": _offers(row),
        "fix": [_labelled(line) for line in (row["Fix"] or "").split("\n") if line],
        "note": note_of(row) if outage and row["Cause"] in set(Cause) else "",
        "evidence": _evidence(row),
        "drawn": drawn.get(key, 0),
        "exchanges": len(account.exchanges.get(key, ())),
        "opened": 0 <= place < OPEN_AT_FIRST,
        "related": [(r, names[r]) for r in row["RelatedIncidents"] or () if r in names][:MAX_RELATED],
    }


def _so_far(row: Row, account: Account) -> str:
    if row["State"] != "Open" or not row["FirstSeen"] or account.end is None:
        return ""
    return lasted(max((account.end - _ms(row["FirstSeen"])) / 1000, 0))


_LABELS = 40


def _labelled(line: str) -> tuple[str, str]:
    label, colon, text = line.partition(": ")
    return (label, text) if colon and len(label) <= _LABELS else ("", line)


def _mismatch(row: Row) -> list[tuple[str, str, list[str], list[str], bool]]:
    """Both sides, parameter by parameter, as (column's name, in words, Azure, peer, differs).

    Beside what differs stands what the nearest proposals agree on, so that nobody has to guess the rest.
    """
    found = {m["Parameter"]: (list(m["Azure"]), list(m["Peer"])) for m in row["Mismatch"] or ()}
    order = list(found)
    phase = next((_PHASES[name] for name in found if name in _PHASES), None)
    if phase is not None:
        azure, peer = _proposals(row["AzureOffers"]), _proposals(row["PeerOffers"])
        nearest = compare(azure, peer, phase).nearest
        same = {} if nearest is None else _fields(nearest, phase)
        order = [name for name in map(str, parameters(phase)) if name in found or name in same]
        order += [name for name in found if name not in order]
        found = same | found
    differing = {m["Parameter"] for m in row["Mismatch"] or ()}
    return [(name, PARAMETERS.get(name, name), *found[name], name in differing) for name in order]


def _fields(pair: tuple[Proposal, Proposal], phase: Phase) -> dict[str, tuple[list[str], list[str]]]:
    values = [(p.encryption, p.integrity, p.group) for p in pair]
    names = map(str, parameters(phase))
    return {
        name: ([azure] if azure else [], [peer] if peer else [])
        for name, azure, peer in zip(names, *values, strict=True)
        if azure or peer
    }


def _proposals(offers: Iterable[dict[str, str]] | None) -> tuple[Proposal, ...]:
    return tuple(Proposal(o.get("Encryption", ""), o.get("Integrity", ""), o.get("Group", "")) for o in offers or ())


def _offers(row: Row) -> list[tuple[str, list[list[str]]]]:
    """Whose offers, and the offers, each as its three values."""
    source = {"Configured": "as configured", "AssumedDefault": "the documented default, assumed"}
    said = source.get(row["OffersSource"] or "", "from the log")
    sides = ((f"Azure, {said}", row["AzureOffers"]), ("Peer, from the log", row["PeerOffers"]))
    return [
        (name, [[p.encryption, p.integrity, p.group] for p in _proposals(offers)]) for name, offers in sides if offers
    ]


def _evidence(row: Row) -> list[tuple[str, list[tuple[str, str]]]]:
    """The quoted lines in the row's order, by what stands before their words, which is the same for a whole session:
    (session and endpoints, [(time of day, words)]); both together are the line as logged."""
    groups: list[tuple[str, list[tuple[str, str]]]] = []
    for line in row["Evidence"] or ():
        head, words = divide(line["Message"] or "")
        if not groups or groups[-1][0] != head:
            groups.append((head, []))
        groups[-1][1].append(((line["Time"] or "")[11:23], words))
    return groups


def _asides(rows: Sequence[Row]) -> tuple[list[dict[str, Any]], list[Row]]:
    """Split off advisories that are only for the record where there are many of a kind: a fleet on the default policy
    would fill pages."""
    record = [row for row in rows if row["Kind"] == "Advisory" and row["Severity"] == "Informational"]
    counts = Counter(row["Cause"] for row in record)
    listed = {cause for cause, count in counts.items() if count >= MANY_ALIKE}
    asides = []
    for cause in sorted(listed):
        own = [row for row in record if row["Cause"] == cause]
        items = [(_ends(row), _said(row["FirstSeen"]), row["Summary"]) for row in own]
        asides.append({"cause": cause, "title": _title(own[0]), "fix": own[0]["Fix"].split("\n"), "items": items})
    aside = {row["IncidentId"] for row in record if row["Cause"] in listed}
    return asides, [row for row in rows if row["IncidentId"] not in aside]


def _quiet(quiet: Quiet) -> dict[str, Any]:
    track, site = quiet.track, quiet.site
    newest = [lane.spells[-1] for lane in track.lanes if lane.spells and lane.spells[-1].state is track.state]
    since = max((spell.start for spell in newest), default=None)
    ends = f"{site.name} to {track.remote}"
    return {
        "key": quiet.key,
        "who": f"{track.connection}: {ends}" if track.connection else ends,
        "search": f"{track.connection} {ends}".lower(),
        "state": track.state.value,
        "since": "" if since is None else moment(since),
    }


def _site(site: Site, rows: Sequence[Row], span: Scale, until: int) -> dict[str, Any]:
    own = [row for row in rows if row["GatewayId"].lower() == site.key and row["FirstSeen"] and row["Kind"] == "Outage"]
    by_tunnel: dict[str, list[Row]] = {}
    for row in own:
        by_tunnel.setdefault(row["RemoteIP"], []).append(row)
    tracks = [_track(track, site, by_tunnel.get(track.remote, []), span, until) for track in site.tracks]
    tracks.sort(key=lambda track: track["order"])
    return {
        "name": site.name,
        "search": site.name.lower(),
        "marks": [
            {
                "x": span.place(mark.at),
                "what": mark.what,
                "letter": mark.what[0].upper(),
                "says": f"{moment(mark.at)} {mark.what}: {mark.says}"[:300],
            }
            for mark in site.marks
            if span.start <= mark.at <= span.end
        ],
        "outages": [_outage(row, span, until) for row in own if not row["RemoteIP"]],
        "tracks": tracks,
    }


def _track(track: Track, site: Site, outages: list[Row], span: Scale, until: int) -> dict[str, Any]:
    ends = f"{track.connection or site.name} to {track.remote}"
    down = any(row["State"] == "Open" for row in outages)
    return {
        "name": track.remote,
        "connection": track.connection,
        "search": f"{ends} {site.name} {track.remote}".lower(),
        "state": track.state.value,
        "lanes": [_lane(lane, span) for lane in track.lanes],
        "outages": [_outage(row, span, until) for row in outages],
        "order": (not down, not outages, track.state is not State.DOWN, track.remote),
    }


def _lane(lane: Lane, span: Scale) -> dict[str, Any]:
    return {
        "name": lane.name,
        "spells": [
            {
                "up": spell.state is State.UP,
                "x": span.place(spell.start),
                "width": span.width(spell.start, spell.end),
            }
            for spell in lane.spells
        ],
    }


def _outage(row: Row, span: Scale, until: int) -> dict[str, Any]:
    start, end = _ms(row["FirstSeen"]), _ms(row["ResolvedAt"]) if row["ResolvedAt"] else until
    return {
        "key": row["IncidentId"],
        "x": span.place(start),
        "width": span.width(start, end),
        "says": f"{row['Cause']}, {_said(row['FirstSeen'])} to {_said(row['ResolvedAt']) or 'the end of the log'}",
    }


def _notes(tally: Tally, problems: Sequence[Problem]) -> Iterable[str]:
    yield from (str(problem) for problem in problems)
    yield from (f"Not read, {count} times: {shape}" for shape, count in tally.unread.most_common(MAX_NOTES))
    if len(tally.unread) > MAX_NOTES:
        yield f"And {len(tally.unread) - MAX_NOTES} more shapes of lines that were not read."
    if tally.strangers:
        names = sorted(tally.strangers, key=lambda ip: (-tally.strangers[ip], ip))
        more = f" and {len(names) - MAX_NOTES} more" if len(names) > MAX_NOTES else ""
        yield (
            "Not judged, because Azure never called them and they never authenticated as sites: "
            f"{', '.join(names[:MAX_NOTES])}{more}. Scanners or clients; if one is a peer, add --peer and its address."
        )
