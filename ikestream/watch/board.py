"""Picture -> what a person sees: a board on a terminal, a line for each revision anywhere else.

Whatever comes from a log goes through `plain`, and into cells that are cut and never wrapped: no line of a log can move
the cursor, colour anything, or put a row on the board that is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from ikestream.events import IkeEvent
from ikestream.incident import Row
from ikestream.terminal import plain
from ikestream.times import DAY, HOUR, MINUTE, SECOND
from ikestream.timestamps import iso
from ikestream.watch.picture import Picture, Standing, TunnelNow

WIDE = 110
"""Columns from which on there is room for the last event and the confidence."""
FEWEST = 3
"""Rows that the list of tunnels has, however many incidents are open."""
LONGEST = 300
"""Characters of a text that are looked at for one cell."""

STYLES = {Standing.DOWN: "bold red", Standing.DEGRADED: "yellow", Standing.UNKNOWN: "dim", Standing.UP: "green"}
SEVERITIES = {"Critical": "bold red", "Error": "red", "Warning": "yellow", "Informational": "dim"}
TURNS = {"Azure": "Azure", "Peer": "the peer", "Path": "the path", "Both": "both ends"}


def board(picture: Picture, title: str, trouble: str, now: int, width: int, height: int) -> RenderableType:
    """Return the whole screen: what is open, how the tunnels stand, and how fresh that is."""
    tunnels = picture.tunnels()
    incidents = sorted(picture.open.values(), key=_urgency)
    room = max(height - 8, 2 * FEWEST)  # rules, heads and the status line
    shown = incidents[: max(room - max(min(len(tunnels), room // 2), FEWEST), 1)]
    room -= max(len(shown), 1)
    over = picture.over[::-1][: max(min(len(picture.over), room - len(tunnels)), 0)]
    room -= len(over)
    parts: list[RenderableType] = [Rule(Text(plain(title), style="bold"), style="dim")]
    if incidents or over:
        parts.append(_incidents([*shown, *over], now, width))
    else:
        parts.append(Text("No open incident.", style="green" if picture.reached is not None else "dim"))
    if len(incidents) > len(shown):
        parts.append(Text(f"and {len(incidents) - len(shown)} more that are open", style="bold"))
    parts += [Text(""), _tunnels(tunnels[: max(room, FEWEST)], now, width)]
    hidden = tunnels[max(room, FEWEST) :]
    if hidden:
        counts = ", ".join(
            f"{sum(t.standing is s for t in hidden)} {s}" for s in Standing if any(t.standing is s for t in hidden)
        )
        parts.append(Text(f"and {len(hidden)} more: {counts}", style="dim"))
    parts += [Text(""), status(picture, trouble, now)]
    return Group(*parts)


def _urgency(row: Row) -> tuple[bool, int, str]:
    return row["Kind"] != "Outage", list(SEVERITIES).index(row["Severity"]), row["FirstSeen"] or ""


def _table(*heads: tuple[str, int | None]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", expand=True)
    for head, wide in heads:
        table.add_column(head, no_wrap=True, overflow="ellipsis", width=wide, ratio=None if wide else 1)
    return table


def _incidents(rows: Sequence[Row], now: int, width: int) -> Table:
    wide = width >= WIDE
    heads: list[tuple[str, int | None]] = [
        ("Incident", None),
        ("", 8),
        ("For", 7),
        ("Cause", 31 if wide else 24),
        ("Turn", 9),
    ]
    table = _table(*heads, *([("Sure", 6)] if wide else []))
    for row in rows:
        is_open = row["State"] == "Open"
        state = ("info" if row["Severity"] == "Informational" else row["Severity"].lower()) if is_open else "resolved"
        cells = [
            Text(_short(_name(row["ConnectionName"], row["GatewayName"], row["RemoteIP"]))),
            Text(
                "for info" if state == "informat" else state,
                style=SEVERITIES.get(row["Severity"], "") if is_open else "green",
            ),
            Text(_span(row, now)),
            Text(_short(row["Cause"]), style="bold" if is_open and row["Kind"] == "Outage" else ""),
            Text(TURNS.get(row["ActionOn"], "not known") if is_open else ""),
        ]
        table.add_row(*cells, *([Text(_short(row["Confidence"].lower()))] if wide else []))
    return table


def _tunnels(tunnels: Sequence[TunnelNow], now: int, width: int) -> Table:
    wide = width >= WIDE
    heads: list[tuple[str, int | None]] = [("Tunnel", 42 if wide else None), ("State", 8), ("Since", 7), ("Legs", 5)]
    table = _table(*heads, ("Last event", None) if wide else ("Last", 8))
    for tunnel in tunnels:
        style = STYLES[tunnel.standing]
        table.add_row(
            Text(_short(_name(tunnel.connection, tunnel.gateway, tunnel.remote))),
            Text(tunnel.standing.value, style=style),
            Text(_ago(tunnel.since, now)),
            Text(f"{tunnel.legs[0]}/{tunnel.legs[1]}" if tunnel.legs[1] else ""),
            Text(_last(tunnel.last, wide=wide), style="dim"),
        )
    if not tunnels:
        table.add_row(Text("none seen yet", style="dim"), "", "", "", "")
    return table


def status(picture: Picture, trouble: str, now: int) -> Text:
    """Return how fresh the board is, how much comes, and what was not read."""
    if trouble:
        return Text(
            _short(f"The hub is gone, trying again: {trouble}"), style="bold red", no_wrap=True, overflow="ellipsis"
        )
    lag = picture.lag
    if lag is None:
        fresh = Text("reading what is there: nothing is concluded yet", style="yellow")
    else:
        # The hub is asked every few seconds; what is younger than that is not behind.
        fresh = Text(f"read to {lag:,.0f} s ago", style="yellow" if lag > 60 else "")
    # What may be cut at the end of a narrow line stands there.
    rest = f"  {picture.rate(now):,.1f} records/s  Ctrl-C ends  {picture.tally.records:,} records"
    unread = sum(picture.tally.unread.values())
    for count, what in ((unread, "not read"), (picture.dead, "broken bodies"), (picture.skipped, "of other services")):
        rest += f"  {count:,} {what}" if count else ""
    return Text.assemble(fresh, (rest, "dim"), no_wrap=True, overflow="ellipsis")


def line(row: Row) -> Text:
    """Return one revision on one line, for whoever reads without a terminal."""
    if row["State"] == "Open":
        state = "open" if row["Revision"] == 1 else "changed"
    else:
        state = (row["Resolution"] or "resolved").lower()
    turn = TURNS.get(row["ActionOn"], "not known")
    name = _name(row["ConnectionName"], row["GatewayName"], row["RemoteIP"])
    said = (
        f"{row['TimeGenerated']} {state} {row['Kind']} {row['Severity']} {row['Cause']} {row['Confidence'].lower()}"
        f" turn: {turn}; {name}: {row['Summary']}"
    )
    return Text(plain(said))


def summary(picture: Picture, begun: int, now: int) -> list[Text]:
    """Return what is left to say at the end: how long, how much, and what is still open."""
    head = (
        f"Watched for {_length(now - begun)}: {picture.tally.records:,} records of {len(picture.tunnels()):,} tunnels,"
        f" {picture.told:,} revisions told, {len(picture.open):,} incidents open."
    )
    down = [row for row in sorted(picture.open.values(), key=_urgency) if row["Kind"] == "Outage"]
    lines = [
        head,
        *(f"  still down: {_name(r['ConnectionName'], r['GatewayName'], r['RemoteIP'])}: {r['Cause']}" for r in down),
    ]
    return [Text(plain(text)) for text in lines]


def _name(connection: str | None, gateway: str, remote: str) -> str:
    """Return what a tunnel, or a gateway, is called: where the cell ends, the name of the gateway is cut first."""
    return "  ".join(filter(None, (remote, connection or gateway)))


def _short(text: str) -> str:
    return plain(text[:LONGEST])


def _last(event: IkeEvent | None, *, wide: bool) -> str:
    if event is None or event.at is None:
        return ""
    time = iso(event.at)[11:19]
    return _short(f"{time} {event.kind.value}{f': {event.text}' if event.text else ''}") if wide else time


def _span(row: Row, now: int) -> str:
    if row["DurationSeconds"] is not None:
        return _length(int(row["DurationSeconds"] * 1000))
    return _length(now - _ms(row["FirstSeen"])) if row["FirstSeen"] else ""


def _ms(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp() * 1000)


def _ago(at: int | None, now: int) -> str:
    return "" if at is None else _length(now - at)


def _length(ms: int) -> str:
    ms = max(ms, 0)
    if ms < MINUTE:
        return f"{ms // SECOND} s"
    if ms < HOUR:
        return f"{ms // MINUTE} min"
    if ms < DAY:
        return f"{ms // HOUR}h{ms % HOUR // MINUTE:02d}"
    return f"{ms // DAY}d{ms % DAY // HOUR:02d}h"
