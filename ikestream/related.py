"""Wanted -> ids of the incidents it belongs with: its gateway's or its tunnels', the other end's, the same peer's elsewhere.

An id is minted at telling, so what is related is looked up at telling, too, in what was told about the others. Law 2
compares these ids by what they stand for. What was told once and is since forgotten, past the floor, stays named:
else the last revision would depend on when it was told.

Of two gateways that are each other's peer both tell, although facts 3.7 would page once: which of the two told first is not
to be had from a table over two days, and a message more is better than one that ends while the tunnel is down.
"""

from __future__ import annotations

from collections.abc import Iterator

from ikestream.estate import Estate, Scope
from ikestream.incident import Row, Told, Wanted
from ikestream.inventory import Connection

MAX_RELATED = 256
"""Of one incident; more would not fit into a field."""


def counterparts(store: Estate, scope: Scope) -> Iterator[Scope]:
    """Yield the tunnels that may share the fault of this one: the others of its site, its other end, and the same peer at
    other gateways."""
    own = store.gateways[scope.gateway]
    for other in store.inventory.of(scope.gateway).beside(scope.remote):
        if other.remote in own.tunnels:
            yield Scope(scope.gateway, other.remote)
    for key, gateway in store.gateways.items():
        if key == scope.gateway:
            continue
        if scope.remote in gateway.locals:  # VNet-to-VNet: the peer is a gateway of this stream
            yield from (Scope(key, local) for local in sorted(own.locals & gateway.tunnels.keys()))
        elif scope.remote in gateway.tunnels:
            yield Scope(key, scope.remote)


def relate(store: Estate, scope: Scope, want: Wanted, row: Row) -> list[str]:
    """Return the ids of the incidents that `want`, last told as `row`, belongs with; and say so in its remark."""
    if want.kind != "Outage":
        return []
    gateway = store.gateways[scope.gateway]
    if scope.remote and (ends := _ends(store, scope)):
        want.remark += (
            f" The peer is a gateway of this stream, too ({', '.join(ends)}): one fault, seen from both ends."
            " Both connection resources need the same policy and the same key."
        )
    if scope.remote and (others := store.inventory.of(scope.gateway).beside(scope.remote)):
        want.remark += _redundancy(store, scope, want, others)
    if scope.remote:
        scopes = [Scope(scope.gateway, ""), *counterparts(store, scope)]
        related = [
            told.incident_id
            for crowd in gateway.crowds
            if crowd.holds(scope.remote, want.start)
            for told in _told(store, scopes[0], crowd.start, crowd.end)
            if told.scope == gateway.key and told.start == crowd.start
        ]
        for other in scopes[1:]:
            related += [told.incident_id for told in _told(store, other, want.start, want.end)]
    else:
        crowds = [c for c in gateway.crowds if want.scope == gateway.key and c.start == want.start]
        scopes = [Scope(scope.gateway, remote) for remote in gateway.tunnels] if crowds else []
        related = [
            told.incident_id
            for crowd in crowds
            for remote in crowd.down
            for told in _told(store, Scope(scope.gateway, remote), crowd.start, crowd.end)
            if crowd.holds(remote, told.start)
        ]
    forgotten = [i for i in row.get("RelatedIncidents") or () if not _is_told(store, scopes, i)]
    return sorted({*related, *forgotten})[:MAX_RELATED]


def _redundancy(store: Estate, scope: Scope, want: Wanted, others: tuple[Connection, ...]) -> str:
    """Say which other tunnels the site has, and whether they are down, too."""
    down = {o.remote for o in others if _told(store, Scope(scope.gateway, o.remote), want.start, want.end)}
    names = [f"{f'link {o.link}' if o.link else f'connection {o.name}'} to {o.remote}" for o in others]
    what = "another tunnel" if len(others) == 1 else f"{len(others)} other tunnels"
    lies = "is down, too" if want.end is None else "was down at the time, too"
    fell = [name for name, o in zip(names, others, strict=True) if o.remote in down]
    if not fell:
        state = (
            "No outage of it is known, so traffic may still flow."
            if len(others) == 1
            else "No outage of them is known, so traffic may still flow."
        )
    elif len(fell) == len(others):
        state = f"{'It' if len(others) == 1 else 'Each'} {lies}."
    else:
        state = f"{' and '.join(fell)} {lies}."
    return f" The site has {what}: {', '.join(names)}. {state}"


def _ends(store: Estate, scope: Scope) -> list[str]:
    """Return the names of the gateways of this stream that own the peer's address."""
    return sorted(
        name[1].rpartition("/")[2]
        for key in store.owners(scope.remote) - {scope.gateway}
        if (name := store.gateways[key].name) is not None
    )


def _told(store: Estate, scope: Scope, start: int, end: int | None) -> list[Told]:
    return [
        told
        for told in store.ledger(scope).told
        if told.kind == "Outage"
        and not told.retracted
        and (end is None or told.start <= end)
        and (told.end is None or start <= told.end)
    ]


def _is_told(store: Estate, scopes: list[Scope], incident_id: str) -> bool:
    return any(told.incident_id == incident_id for other in scopes for told in store.ledger(other).told)


def is_covered(store: Estate, scope: Scope, told: Told) -> bool:
    """Whether an open incident of its gateway says what is to be said of a tunnel's outage: one fault, one message."""
    if not scope.remote or told.kind != "Outage":
        return False
    related = told.row["RelatedIncidents"] or ()
    return any(
        whole.incident_id in related and not whole.closed and whole.row["Scope"] == "Gateway"
        for whole in store.ledger(Scope(scope.gateway, "")).told
    )
