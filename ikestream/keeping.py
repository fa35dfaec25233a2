"""Gateway <-> documents: one of each tunnel, with what was told of it and is not delivered yet, and one of the gateway.

A document is written whole, so a verdict and the facts that it rests on never part. What one tunnel's facts decide for
the gateway (whose a SESSION_ID is, who is a stranger) is put together again when they are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ikestream import codec
from ikestream.estate import Estate, Scope
from ikestream.incident import Ledger
from ikestream.sinks import Posting
from ikestream.tunnel import Gateway, Tunnel

ITSELF = ""
"""Stands for the gateway's own document; those of its tunnels go by their remote addresses."""


@dataclass(slots=True)
class Pending:
    """A revision on its way, and the names of the sinks that have not accepted it."""

    posting: Posting
    left: set[str]


@dataclass(slots=True)
class TunnelDocument:
    """Everything about one tunnel."""

    tunnel: Tunnel
    ledger: Ledger = field(default_factory=Ledger)
    outbox: list[Pending] = field(default_factory=list)
    owners: dict[str, int] = field(default_factory=dict)  # SESSION_ID that is this tunnel's -> first seen (ms)
    due: int | None = None


@dataclass(slots=True)
class GatewayDocument:
    """Everything about a gateway that is no tunnel's."""

    gateway: Gateway
    ledger: Ledger = field(default_factory=Ledger)
    outbox: list[Pending] = field(default_factory=list)
    owners: dict[str, tuple[int, str]] = field(default_factory=dict)  # of tunnels that are not kept any more
    due: int | None = None


Outbox = Mapping[Scope, list[Pending]]


def pack(estate: Estate, outbox: Outbox, key: str, remotes: Iterable[str]) -> dict[str, bytes | None]:
    """Return row -> document of these `remotes` of a gateway, `ITSELF` among them if asked for; None: not kept any more."""
    gateway = estate.gateways[key]
    remotes = list(remotes)
    owned: dict[str, dict[str, int]] = {remote: {} for remote in remotes}
    for session, (first, remote) in gateway.owners.items():
        if remote in owned:
            owned[remote][session] = first
    packed: dict[str, bytes | None] = {}
    for remote in remotes:
        scope = Scope(key, remote)
        ledger, pending, due = estate.ledger(scope), outbox.get(scope, []), estate.due_of(scope)
        if remote == ITSELF:
            bare = replace(gateway, tunnels={}, owners={}, strangers=set(), peers=frozenset())
            left = {s: owner for s, owner in gateway.owners.items() if owner[1] not in gateway.tunnels}
            packed[remote] = codec.pack(GatewayDocument(bare, ledger, pending, left, due), GatewayDocument)
        elif (tunnel := gateway.tunnels.get(remote)) is not None:
            document = TunnelDocument(tunnel, ledger, pending, owned[remote], due)
            packed[remote] = codec.pack(document, TunnelDocument)
        else:
            packed[remote] = None
    return packed


def unpack(
    estate: Estate, outbox: dict[Scope, list[Pending]], key: str, documents: Mapping[str, bytes]
) -> dict[str, codec.BadState]:
    """Take a gateway as its documents say into `estate` and `outbox`; return what could not be read, by row.

    Without its own document a gateway is what its tunnels say.
    """
    bad: dict[str, codec.BadState] = {}
    whole = GatewayDocument(Gateway(key))
    tunnels: dict[str, TunnelDocument] = {}
    for row, body in documents.items():
        try:
            if row == ITSELF:
                whole = codec.unpack(body, GatewayDocument)
            else:
                tunnels[row] = codec.unpack(body, TunnelDocument)
        except codec.BadState as why:
            bad[row] = why
    gateway = replace(whole.gateway)
    gateway.owners = dict(whole.owners)
    for remote, document in tunnels.items():
        gateway.tunnels[remote] = document.tunnel
        for session, first in document.owners.items():
            owner = (first, remote)
            gateway.owners[session] = min(gateway.owners.get(session, owner), owner)
    if gateway.tunnel_log_since is None:  # format 2 did not keep it; its lines tell
        gateway.tunnel_log_since = min((at for t in gateway.tunnels.values() for at, *_ in t.marks), default=None)
    gateway.strangers = {remote for remote, document in tunnels.items() if not document.tunnel.proven}
    every: dict[str, GatewayDocument | TunnelDocument] = {ITSELF: whole, **tunnels}
    estate.add(gateway, {r: d.ledger for r, d in every.items()}, {r: d.due for r, d in every.items()})
    for remote, kept in every.items():
        if kept.outbox:
            outbox[Scope(key, remote)] = kept.outbox
    return bad
