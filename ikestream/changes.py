"""Situation -> changes: what differs from the tunnel's last good negotiations, on whose side, and what was written in Azure.

A tunnel that worked and does not any more was changed, and most often its owner does not know by whom. Each side's
offers in the newest failed attempts are compared with those in the newest attempts that went well: like with like,
because one negotiation shows the offers of its initiator only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from ikestream.episode import Situation
from ikestream.events import Kind, Proposal, Selector
from ikestream.finding import ActionOn
from ikestream.inventory import Connection
from ikestream.negotiation import Initiator, Negotiation, remembered
from ikestream.rules.ending import How, endings
from ikestream.selectors import ranges
from ikestream.timeline import Outcome
from ikestream.times import MINUTE

WRITTEN_AFTER = 5 * MINUTE
"""Azure may log a configuration event this much later than its effect (facts 2.19)."""
MAX_SHOWN = 32


@dataclass(frozen=True, slots=True)
class Changed:
    """One difference. `before` and `now` are '' where only the act is known; `at` is when it first showed (ms)."""

    what: str
    before: str
    now: str
    side: ActionOn
    at: int


def compare(situation: Situation) -> tuple[Changed, ...]:
    """Return what changed since the tunnel last worked, oldest first."""
    found = [*_written(situation), *_differences(situation), *_reconfigured(situation)]
    return tuple(sorted(found, key=lambda c: (c.at, c.what, c.side)))


def _written(situation: Situation) -> Iterable[Changed]:
    start = situation.episode.start
    for e in situation.gateway_events:
        if (
            e.kind is Kind.CONFIGURATION
            and start - situation.times.configuration_lead <= (e.at or 0) <= start + WRITTEN_AFTER
        ):
            yield Changed(e.name or e.kind.value, "", "", ActionOn.AZURE, e.at or 0)
    said = {
        e.event.text: e.event.at or 0
        for e in endings(situation)
        if e.how is How.RECONFIGURED and e.event.kind is Kind.TUNNEL_DOWN
    }
    for text, at in said.items():
        yield Changed(text, "", "", ActionOn.AZURE, at)


def _differences(situation: Situation) -> Iterable[Changed]:
    conclusions = situation.conclusions
    good = [
        n
        for n in situation.negotiations
        if conclusions[n].outcome is Outcome.SUCCEEDED and conclusions[n].at <= situation.episode.start
    ]
    good.sort(key=lambda n: (conclusions[n].at, n.session), reverse=True)
    bad = sorted(situation.failed, key=lambda n: (conclusions[n].at, n.session), reverse=True)
    for what, side, show in _SHOWN:
        before = next((n for n in good if show(n)), None)
        now = next((n for n in bad if show(n)), None) if before is not None else None
        if before is None or now is None or show(before) == show(now):
            continue
        shown = show(now)
        first = min(n.start for n in situation.failed if show(n) == shown)
        yield Changed(what, show(before), shown, side, first)


def _reconfigured(situation: Situation) -> Iterable[Changed]:
    """What the inventory saw change in Azure since the tunnel was last good, by the time of the reading that saw it."""
    version = situation.configured
    if version is None:
        return
    good = situation.last_good
    since = situation.episode.start - situation.times.configuration_lead
    if good is not None:
        since = min(since, situation.conclusions[good].at)
    newer = version
    for older in situation.connections.before(version):
        if newer.since <= since or older.until != newer.since:
            return
        for what, show in _SETTINGS:
            before, now = show(older.connection), show(newer.connection)
            if before != now:
                yield Changed(what, before, now, ActionOn.AZURE, newer.since)
        newer = older


def _policy(c: Connection) -> str:
    if c.ike is None or c.ipsec is None:
        return "the default policy"
    return f"{_offered((c.ike,))}; {_offered((c.ipsec,))}"


def _pairs(c: Connection) -> str:
    if c.selectors:
        return ", ".join(f"{' '.join(p.local)} to {' '.join(p.remote)}" for p in c.selectors[:MAX_SHOWN])
    return "policy-based" if c.policy_based else "any to any"


_SETTINGS: tuple[tuple[str, Callable[[Connection], str]], ...] = (
    ("custom policy", _policy),
    ("IKE protocol", lambda c: c.protocol or "not given"),
    ("connection mode", lambda c: c.mode.value),
    ("configured traffic selectors", _pairs),
    ("DPD timeout", lambda c: f"{c.dpd or 45} s"),
    ("peer address", lambda c: c.remote or c.fqdn or "not given"),
    ("prefixes of the site", lambda c: ", ".join(c.prefixes[:MAX_SHOWN]) or "none"),
    ("BGP", lambda c: f"on, ASN {c.asn}, {' '.join(c.bgp_addresses)}".rstrip(" ,") if c.bgp else "off"),
)
"""(what, how it reads): lifetimes are left out, for they prevent nothing (facts 01)."""


@lru_cache(1024)  # the same few lists, attempt after attempt
def _offered(proposals: tuple[Proposal, ...]) -> str:
    return ", ".join("/".join(v for v in (p.encryption, p.integrity, p.group) if v) for p in proposals[:MAX_SHOWN])


def _azure_ike(n: Negotiation) -> str:
    return "" if n.azure_ike_cut else _offered(n.azure_ike)


def _selectors(kind: Kind, initiator: Initiator) -> Callable[[Negotiation], str]:
    def show(n: Negotiation) -> str:
        if n.initiator is not initiator:
            return ""
        lines = [e for e in n.events if e.kind is kind and e.initiator_selectors and not e.cut]
        own = tuple(s for e in lines for s in e.initiator_selectors)
        other = tuple(s for e in lines for s in e.responder_selectors)
        return f"{_united(own)} to {_united(other)}" if lines else ""

    return show


@lru_cache(1024)
def _united(selectors: tuple[Selector, ...]) -> str:
    # As unions: the first range may be no more than the packet that set the negotiation off (R5).
    return ", ".join(ranges(selectors)[:MAX_SHOWN])


_SHOWN: tuple[tuple[str, ActionOn, Callable[[Negotiation], str]], ...] = (
    ("phase 1 proposals", ActionOn.AZURE, remembered(_azure_ike)),
    ("phase 1 proposals", ActionOn.PEER, remembered(lambda n: _offered(n.peer_ike))),
    ("phase 2 proposals", ActionOn.AZURE, remembered(lambda n: _offered(n.azure_esp))),
    ("phase 2 proposals", ActionOn.PEER, remembered(lambda n: _offered(n.peer_esp))),
    ("traffic selectors", ActionOn.AZURE, remembered(_selectors(Kind.TS_PROPOSED, Initiator.AZURE))),
    ("traffic selectors", ActionOn.PEER, remembered(_selectors(Kind.TS_REQUESTED, Initiator.PEER))),
    ("authentication method", ActionOn.AZURE, lambda n: n.auth_method),
)
"""(what, whose, how it reads in one attempt: '' where it does not show)"""
