"""Episode + finding -> Wanted: every column that the facts decide."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TypeAlias, TypeVar

from ikestream import codes, columns, remedy
from ikestream.advice import Advice
from ikestream.changes import Changed, compare
from ikestream.columns import SCHEMA_VERSION
from ikestream.episode import Episode, Situation
from ikestream.events import Category, IkeEvent, Proposal
from ikestream.finding import TITLES, Advisory, Cause, Confidence, FailedStep, Finding, Remedy
from ikestream.incident import TELLING, Row, Wanted
from ikestream.inventory import Connections, Version
from ikestream.inventory.connections import NOTHING
from ikestream.negotiation import Initiator, Negotiation, Signature
from ikestream.rules import diagnose
from ikestream.rules.bgp_peer_down import Fallen
from ikestream.rules.bgp_peer_down import judge as judge_bgp
from ikestream.rules.offered import last_agreed
from ikestream.rules.on_demand import is_on_demand
from ikestream.rules.together import judge as judge_together
from ikestream.session import SESSIONLESS
from ikestream.timeline import State, Timeline, way
from ikestream.timestamps import clock, iso
from ikestream.together import Together
from ikestream.tunnel import MAX_ATTEMPTS, Gateway, gather

MAX_EVIDENCE = 12
MAX_MESSAGE = 2_000
MAX_SPANS = 8
MAX_LISTED = 10
MAX_LEGS = 256
"""In a row of the gateway; more would not fit into a field."""


@dataclass(frozen=True, slots=True)
class Span:
    """One cause and the time in which the newest attempts showed it."""

    cause: Cause | Advisory
    first: int
    last: int


def want(situation: Situation, timeline: Timeline, scope: str, *, clockless: bool) -> Wanted | None:
    """Return the incident that this episode is, None if the rules find that it is none."""
    if is_on_demand(situation.tunnel, timeline, situation.episode, situation.times, situation.configured):
        return None
    finding = diagnose(situation)
    if finding is None:
        return None
    episode = situation.episode
    if any(change.childless and change.at == episode.start for change in situation.downs):
        finding = replace(
            finding,
            confidence=Confidence.LOW if finding.confidence is Confidence.LOW else Confidence.MEDIUM,
            explanation=f"IKE is up, no IPsec SA: TunnelConnected stands, but the child is refused again and again. {finding.explanation}",
            failed_step=FailedStep.CHILD_SA,
        )
    names = name(situation)

    def when(at: int | None) -> str | None:
        return None if at is None or clockless else iso(at)

    last = max([n.end for n in situation.failed] + [c.at for c in situation.downs], default=episode.start)
    resolved = episode.up is not None
    back = resolved or episode.back is not None
    down_time = episode.down_time()
    found = codes.CODES.get(finding.code) if finding.code else None
    cure = remedy.cure(finding, names, last_agreed(situation.last_good))
    content: Row = {
        "Kind": "Outage",
        "Scope": "Tunnel",
        "State": "Resolved" if resolved else "Open",
        "Resolution": _resolution(episode) if resolved else None,
        "MergedInto": None,
        "Severity": finding.severity.value,
        "Cause": finding.cause.value,
        "Confidence": finding.confidence.value,
        "GatewayId": names.gateway_id,
        "GatewayName": names.gateway_name,
        "RemoteIP": situation.tunnel.remote,
        "ConnectionName": names.connection or None,
        "ResourceGroup": names.resource_group or None,
        "Legs": [
            {
                "LocalIP": leg.name or None,
                "Instance": leg.instance or None,
                "State": leg.state.value,
                "Since": when(leg.since),
            }
            for leg in _legs(timeline, situation.until)
        ],
        "Initiator": _initiator(situation.failed),
        "FirstSeen": when(episode.start),
        "LastSeen": when(min(last, situation.until)),
        "ResolvedAt": when(episode.up),
        "DurationSeconds": None if down_time is None or clockless else down_time / 1000,
        "Summary": _summarise(situation, finding, names, resolved=resolved),
        "Fix": cure.fix,
        "FixCommands": _commands(cure),
        "MissingEvidence": finding.missing_evidence or None,
        "Hypotheses": _hypotheses(finding),
        "Mismatch": [
            {"Parameter": m.parameter.value, "Azure": list(m.azure), "Peer": list(m.peer)} for m in finding.mismatch
        ],
        "OffersSource": finding.offers_source.value if finding.offers_source else None,
        "FailedStep": finding.failed_step.value if finding.failed_step else None,
        "ActionOn": finding.action_on.value,
        "Impact": "None" if back else "Down",
        "ErrorCode": finding.code,
        "ErrorName": found.symbol if found else None,
        "RelatedIncidents": [],
        "DocLinks": list(cure.doc_links),
        "Drill": is_drill(situation.gateway),
        "SchemaVersion": SCHEMA_VERSION,
    }
    rest = partial(_fill_in, situation, finding, clockless=clockless)
    return Wanted(scope, "Outage", episode.start, episode.up, content, rest=rest)


def _fill_in(situation: Situation, finding: Finding, *, clockless: bool) -> Row:
    """Return the columns that say how it came to this: no decision needs them."""

    def when(at: int | None) -> str | None:
        return None if at is None or clockless else iso(at)

    changed = compare(situation)
    behind = gather(situation.attempts[n] for n in situation.failed)
    return {
        "Attempts": min(len(behind.identities), MAX_ATTEMPTS),
        "Explanation": _explain(situation, finding, changed, clockless=clockless),
        "AzureOffers": _offers(finding.azure_offers),
        "PeerOffers": _offers(finding.peer_offers),
        "ChangedSince": [
            {"What": c.what, "Before": c.before or None, "Now": c.now or None, "Side": c.side.value, "At": when(c.at)}
            for c in changed
        ],
        "SessionIds": _distinct(a.session for a in behind.newest if not a.session.startswith(SESSIONLESS)),
        "IkeSpis": [
            {"Initiator": initiator or None, "Responder": responder or None}
            for initiator, responder in _distinct(a.spis for a in behind.newest if any(a.spis))
        ],
        "Evidence": [
            {"Time": when(e.at), "SessionId": e.session or None, "Message": quote(e)}
            for e in finding.evidence[:MAX_EVIDENCE]
        ],
    }


def _resolution(episode: Episode) -> str:
    if episode.unheard:
        return "NotObserved"
    if episode.moved:
        return "Moved"
    return "Removed" if episode.removed else "Recovered"


def name(situation: Situation) -> remedy.Names:
    """Return the names a cure may use. Everything comes from the gateway's own id or from addresses of a known peer."""
    locals_ = sorted({n.local for n in situation.negotiations if n.local})
    names = _name(situation.gateway, situation.tunnel.remote, situation.connections, locals_)
    return replace(names, peer_gateway=situation.far.name) if situation.far is not None else names


DRILLS = "/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/ikestream-drill/"
"""Gateways whose resource id begins so, in lower case, are played by `drill`: Azure has no such subscription, and a peer has
no say in the id that Azure writes beside its lines."""


def is_drill(gateway: Gateway) -> bool:
    """Whether what is told of this gateway is a drill."""
    return gateway.key.startswith(DRILLS)


def _name(
    gateway: Gateway,
    remote: str,
    connections: Connections = NOTHING,
    locals_: Sequence[str] = (),
    version: Version | None = None,
) -> remedy.Names:
    listed = connections.gateway
    gateway_id = gateway.name[1] if gateway.name else listed.id if listed is not None else gateway.key
    version = version or (connections.of(remote, called=True) if remote else None)
    return remedy.Names(
        gateway_id=gateway_id,
        gateway_name=gateway_id.rpartition("/")[2],
        resource_group=version.connection.resource_group if version is not None else "",
        connection=version.connection.name if version is not None else "",
        link=version.connection.link if version is not None else "",
        remote_ip=remote,
        azure_ips=tuple(locals_) or (listed.addresses if listed is not None else ()),
        peer_ip_is_known=bool(remote),  # an outage is only ever told about a known peer
        configured=version.connection if version is not None and version.until is None else None,
        network=listed.network if listed is not None else "",
        network_group=listed.network_group if listed is not None else "",
    )


def want_bgp(gateway: Gateway, session: Fallen, scope: str, connections: Connections = NOTHING) -> Wanted:
    """Return the incident that a fallen BGP session is: of its tunnel, or of the gateway where that is not known."""
    finding = judge_bgp(session)
    names = _name(gateway, session.remote, connections)
    cure = remedy.cure(finding, names)
    resolved = session.up is not None
    whose = f"of {_lower(_tunnel(names))}" if session.remote else f"of gateway {names.gateway_name}"
    state = "was down and is up again" if resolved else "is down while the tunnel is up"
    content: Row = {column: None for column in columns.load().names if column not in TELLING} | {
        "Kind": "Outage",
        "Scope": "Tunnel" if session.remote else "Gateway",
        "State": "Resolved" if resolved else "Open",
        "Resolution": "Recovered" if resolved else None,
        "Severity": finding.severity.value,
        "Cause": finding.cause.value,
        "Confidence": finding.confidence.value,
        "GatewayId": names.gateway_id,
        "GatewayName": names.gateway_name,
        "RemoteIP": session.remote,
        "ConnectionName": names.connection or None,
        "ResourceGroup": names.resource_group or None,
        "Legs": [],
        "Initiator": "Unknown",
        "FirstSeen": iso(session.start),
        "LastSeen": iso(session.lines[-1].at or 0),
        "ResolvedAt": None if session.up is None else iso(session.up),
        "DurationSeconds": None if session.up is None else (session.up - session.start) / 1000,
        "Attempts": 0,
        "Summary": f"The BGP session to {session.address} {whose} {state}.",
        "Explanation": finding.explanation,
        "Fix": cure.fix,
        "FixCommands": _commands(cure),
        "MissingEvidence": finding.missing_evidence,
        "Hypotheses": _hypotheses(finding),
        "Mismatch": [],
        "ChangedSince": [],
        "FailedStep": FailedStep.BGP.value,
        "ActionOn": finding.action_on.value,
        "Impact": "None" if resolved else "Degraded",
        "SessionIds": [],
        "IkeSpis": [],
        "Evidence": [{"Time": iso(e.at or 0), "SessionId": None, "Message": quote(e)} for e in finding.evidence],
        "RelatedIncidents": [],
        "DocLinks": list(cure.doc_links),
        "Drill": is_drill(gateway),
        "SchemaVersion": SCHEMA_VERSION,
    }
    return Wanted(scope, "Outage", session.start, session.up, content)


def want_together(gateway: Gateway, crowd: Together, scope: str) -> Wanted:
    """Return the incident of the gateway that legs which went down together are."""
    finding = judge_together(gateway, crowd)
    names = _name(gateway, "")
    # Whatever their closing lines say, the place to begin is the gateway: no peer is asked to restart anything.
    named = finding.cause in (Cause.GATEWAY_FAILOVER, Cause.CONFIGURATION_CHANGED)
    cure = remedy.cure(finding if named else replace(finding, cause=Cause.GATEWAY_MAINTENANCE), names)
    found = codes.CODES.get(finding.code) if finding.code else None
    resolved = crowd.end is not None
    remotes = sorted({s.remote for s in crowd.fell})
    where = f"instance {crowd.instance} of gateway {names.gateway_name}" if crowd.instance else names.gateway_name
    state = "went down together, and most are up again" if resolved else "went down together"
    listed = ", ".join(remotes[:MAX_LISTED]) + (", …" if len(remotes) > MAX_LISTED else "")
    told = (
        f"{len(crowd.fell)} of the {crowd.stood} legs that were up on {where} {state} within two minutes: {listed}. "
        + (f"{len(crowd.down)} tunnels had no other leg." if crowd.down else "Each of the tunnels had another leg.")
    )
    content: Row = {column: None for column in columns.load().names if column not in TELLING} | {
        "Kind": "Outage",
        "Scope": "Gateway",
        "State": "Resolved" if resolved else "Open",
        "Resolution": "Recovered" if resolved else None,
        "Severity": finding.severity.value,
        "Cause": finding.cause.value,
        "Confidence": finding.confidence.value,
        "GatewayId": names.gateway_id,
        "GatewayName": names.gateway_name,
        "RemoteIP": "",
        "Legs": [
            {
                "RemoteIP": s.remote,
                "LocalIP": s.leg or None,
                "Instance": s.instance or None,
                "State": State.UP.value if s.end is not None and (crowd.end is None or s.end <= crowd.end) else "Down",
                "Since": iso(s.end if s.end is not None and (crowd.end is None or s.end <= crowd.end) else s.start),
            }
            for s in crowd.fell[:MAX_LEGS]
        ],
        "Initiator": "Unknown",
        "FirstSeen": iso(crowd.start),
        "LastSeen": iso(max(s.start for s in crowd.fell)),
        "ResolvedAt": None if crowd.end is None else iso(crowd.end),
        "DurationSeconds": None if crowd.end is None else (crowd.end - crowd.start) / 1000,
        "Attempts": 0,
        "Summary": f"{len(remotes)} tunnels of {where} {state}: {TITLES[finding.cause]}.",
        "Explanation": f"{told} {finding.explanation}",
        "Fix": cure.fix,
        "FixCommands": _commands(cure),
        "MissingEvidence": finding.missing_evidence,
        "Hypotheses": _hypotheses(finding),
        "Mismatch": [],
        "ChangedSince": [],
        "FailedStep": finding.failed_step.value if finding.failed_step else None,
        "ActionOn": finding.action_on.value,
        "Impact": "None" if resolved else "Down" if len(crowd.down) == len(remotes) and crowd.whole else "Degraded",
        "ErrorCode": finding.code,
        "ErrorName": found.symbol if found else None,
        "SessionIds": [],
        "IkeSpis": [],
        "Evidence": [
            {"Time": iso(e.at or 0), "SessionId": e.session or None, "Message": quote(e)} for e in finding.evidence
        ],
        "RelatedIncidents": [],
        "DocLinks": list(cure.doc_links),
        "Drill": is_drill(gateway),
        "SchemaVersion": SCHEMA_VERSION,
    }
    return Wanted(scope, "Outage", crowd.start, crowd.end, content)


def want_advice(
    gateway: Gateway,
    remote: str,
    advice: Advice,
    scope: str,
    legs: Sequence[Row],
    locals_: Sequence[str],
    *,
    over: bool,
    connections: Connections = NOTHING,
    version: Version | None = None,
) -> Wanted:
    """Return the incident that an advisory is; `remote` is '' for one of the gateway, `over` if its end is told.

    `version` is the connection it is about, if the address does not tell.
    """
    finding = advice.finding
    names = _name(gateway, remote, connections, locals_, version)
    cure = remedy.cure(finding, names, remedy.Agreed(ipsec=advice.esp))
    found = codes.CODES.get(finding.code) if finding.code else None
    end = advice.end if over else None
    content: Row = {column: None for column in columns.load().names if column not in TELLING} | {
        "Kind": "Advisory",
        "Scope": "Tunnel" if remote else "Gateway",
        "State": "Resolved" if over else "Open",
        "Resolution": advice.resolution if over else None,
        "Severity": finding.severity.value,
        "Cause": finding.cause.value,
        "Confidence": finding.confidence.value,
        "GatewayId": names.gateway_id,
        "GatewayName": names.gateway_name,
        "RemoteIP": remote,
        "ConnectionName": names.connection or None,
        "ResourceGroup": names.resource_group or None,
        "Legs": list(legs),
        "Initiator": _initiator(advice.negotiations),
        "FirstSeen": iso(advice.start),
        "LastSeen": iso(advice.last),
        "ResolvedAt": None if end is None else iso(end),
        "DurationSeconds": None if end is None else (end - advice.start) / 1000,
        "Attempts": advice.attempts,
        "Summary": (advice.past or advice.summary) if over else advice.summary,
        "Explanation": finding.explanation,
        "Fix": cure.fix,
        "FixCommands": _commands(cure),
        "MissingEvidence": finding.missing_evidence or None,
        "Hypotheses": _hypotheses(finding),
        "Mismatch": [],
        "ChangedSince": [
            {"What": c.what, "Before": c.before or None, "Now": c.now or None, "Side": c.side.value, "At": iso(c.at)}
            for c in advice.changed
        ],
        "FailedStep": finding.failed_step.value if finding.failed_step else None,
        "ActionOn": finding.action_on.value,
        "Impact": "None" if over else advice.impact.value,
        "ErrorCode": finding.code,
        "ErrorName": found.symbol if found else None,
        "SessionIds": _distinct(e.session for e in finding.evidence if e.session)[:MAX_LISTED],
        "IkeSpis": [],
        "Evidence": [
            {"Time": iso(e.at or 0), "SessionId": e.session or None, "Message": quote(e)}
            for e in finding.evidence[:MAX_EVIDENCE]
        ],
        "RelatedIncidents": [],
        "DocLinks": list(cure.doc_links),
        "Drill": is_drill(gateway),
        "SchemaVersion": SCHEMA_VERSION,
    }
    return Wanted(scope, "Advisory", advice.start, end, content, advisory=finding.cause.value)


def show_legs(timeline: Timeline, until: int) -> list[Row]:
    """Return column `Legs` as of `until`."""
    return [
        {
            "LocalIP": leg.name or None,
            "Instance": leg.instance or None,
            "State": leg.state.value,
            "Since": None if leg.since is None else iso(leg.since),
        }
        for leg in _legs(timeline, until)
    ]


def _commands(cure: Remedy) -> list[dict[str, str]]:
    return [
        {
            "Side": c.side.value,
            "Tool": c.tool,
            "Command": c.command,
            "Effect": c.effect,
            "Undo": c.undo,
            "Assumed": c.assumed,
        }
        for c in cure.commands
    ]


def _hypotheses(finding: Finding) -> list[dict[str, str]]:
    return [{"Cause": h.cause, "Confidence": h.confidence.value, "Check": h.check} for h in finding.hypotheses]


def quote(event: IkeEvent) -> str:
    """Return what proves it in Azure's words: the line; of another category's record the operation and what it says."""
    if event.category is Category.IKE:
        return cut(event.message)
    said = [event.name or event.kind.value]
    said += [text for text in (event.message, event.text) if text and all(text not in other for other in said)]
    return cut(": ".join(said))


def cut(message: str) -> str:
    """Return `message` at most `MAX_MESSAGE` characters long, the cut marked."""
    return message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + "…"


@dataclass(frozen=True, slots=True)
class _Leg:
    name: str
    instance: str
    state: State
    since: int | None


def _legs(timeline: Timeline, until: int) -> list[_Leg]:
    legs = []
    for leg in timeline.legs:
        own = [c for c in timeline.changes if c.leg == leg.leg and c.at <= until]
        legs.append(_Leg(leg.leg, leg.instance, own[-1].state if own else State.UNKNOWN, own[-1].at if own else None))
    return legs


def _initiator(failed: Sequence[Negotiation]) -> str:
    who = {n.initiator for n in failed} - {Initiator.UNKNOWN}
    if len(who) == 1:
        return who.pop().value
    return "Both" if who else "Unknown"


def _offers(proposals: Sequence[Proposal]) -> list[dict[str, str]] | None:
    return [{key.capitalize(): value for key, value in asdict(p).items() if value} for p in proposals[:32]] or None


T = TypeVar("T")


def _distinct(values: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(values))


def _tunnel(names: remedy.Names) -> str:
    """Name the tunnel as people call it, at the beginning of a sentence."""
    if names.connection and names.link:
        return f"Connection {names.connection}, link {names.link}, to {names.remote_ip}"
    if names.connection:
        return f"Connection {names.connection} to {names.remote_ip}"
    return f"The tunnel to {names.remote_ip}"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def _summarise(situation: Situation, finding: Finding, names: remedy.Names, *, resolved: bool) -> str:
    tunnel = _tunnel(names)
    state = "was down and is up again" if resolved else "is down"
    if not resolved and (back := situation.episode.back) is not None:
        state = f"was down and is up again since {clock(back)} UTC, not yet for long enough"
    if situation.episode.removed:
        state = "is gone from Azure"
    if situation.episode.moved:
        heirs = [e.moved_to.remote for e in situation.connections.ended(names.remote_ip) if e.moved_to is not None]
        state = f"is over, because the connection goes to {heirs[-1] or 'another address'} now"
    if situation.episode.unheard:
        state = "was down when it was last heard of, 30 days before this"
    what = finding.title or TITLES[finding.cause]
    if finding.mismatch:
        what += ": " + "; ".join(
            f"{m.parameter} Azure {'/'.join(m.azure)}, peer {'/'.join(m.peer)}" for m in finding.mismatch
        )
    return f"{tunnel} {state}: {what}."


def _explain(situation: Situation, finding: Finding, changed: Iterable[Changed], *, clockless: bool) -> str:
    spans = trace(situation)
    parts: list[str] = []
    if situation.last_good is not None and not clockless:
        parts.append(
            f"It was up before: last good negotiation {iso(situation.conclusions[situation.last_good].at)[:19].replace('T', ' ')} UTC."
        )
    differs = list(dict.fromkeys(f"{c.side}'s {c.what}" for c in changed if c.before))
    if differs:
        parts.append(f"Changed since: {', '.join(differs)}.")
    current = spans[-1] if spans and spans[-1].cause is finding.cause else None
    earlier = spans[:-1] if current is not None else spans
    if earlier and not clockless:
        parts += [f"{_when(span)}: {TITLES[span.cause]}." for span in earlier]
        parts.append(
            f"Since {iso(current.first)[:19].replace('T', ' ')} UTC:" if current is not None else "Since then:"
        )
    parts.append(finding.explanation)
    return " ".join(parts)


def _when(span: Span) -> str:
    first, last = (iso(at)[:19].replace("T", " ") for at in (span.first, span.last))
    return f"At {first} UTC" if first == last else f"From {first} to {last} UTC"


Tried: TypeAlias = tuple[Initiator, str]
"""Who began, and on which of Azure's addresses."""


def _turns(failed: Sequence[Negotiation]) -> list[Negotiation]:
    """Return the attempts with which a side began, or ended, to fail in one way; what lies between says nothing new, and
    folding keeps no more of it."""
    sides: dict[Tried, list[Negotiation]] = {}
    for n in failed:
        sides.setdefault((n.initiator, n.local), []).append(n)
    kept: set[Negotiation] = set()
    for own in sides.values():
        ways = [way(n) for n in own]
        kept.update(
            n
            for place, n in enumerate(own)
            if place in (0, len(own) - 1) or not ways[place - 1] == ways[place] == ways[place + 1]
        )
    return [n for n in failed if n in kept]


def trace(situation: Situation) -> list[Span]:
    """Return the causes that the newest attempts showed over the episode, oldest first, at most `MAX_SPANS`."""
    spans: list[Span] = []
    newest: dict[Tried, Negotiation] = {}
    shown: dict[Tried, Signature] = {}
    tried = {(n.initiator, n.local): situation.conclusions[n].at for n in situation.failed}  # for the last time
    alike: list[tuple[int, frozenset[tuple[Tried, Signature]]]] = []
    until: dict[frozenset[tuple[Tried, Signature]], tuple[tuple[Negotiation, ...], int]] = {}
    key: frozenset[tuple[Tried, Signature]] = frozenset()
    for n in _turns(situation.failed):
        here, at = (n.initiator, n.local), situation.conclusions[n].at
        newest[here] = n
        over = [k for k in newest if k[0] is n.initiator and tried[k] < at - situation.times.attempts_window]
        for old in over:
            del newest[old], shown[old]
        if over or shown.get(here) != way(n):
            shown[here] = way(n)
            key = frozenset(shown.items())
        alike.append((at, key))
        until[key] = (tuple(newest.values()), at)
    causes: dict[frozenset[tuple[Tried, Signature]], Cause | Advisory | None] = {}
    for key, (last_shown, at) in until.items():
        # At their end: the same attempts again say more than the first of them did.
        ordered = tuple(sorted(last_shown, key=lambda m: (-situation.conclusions[m].at, m.session)))
        finding = diagnose(situation.narrow(ordered, at))
        # That the reason was not clear for a time tells nobody anything.
        clear = finding is not None and finding.cause is not Cause.UNCLASSIFIED
        causes[key] = finding.cause if finding is not None and clear else None
    cause: Cause | Advisory | None = None
    first = last = 0  # of the span that is not put down yet
    for at, key in alike:
        if causes[key] is not None and causes[key] is not cause:
            if cause is not None:
                spans.append(Span(cause, first, last))
            cause, first = causes[key], at
        if causes[key] is not None:
            last = at
    if cause is not None:
        spans.append(Span(cause, first, last))
    if len(spans) > MAX_SPANS:
        spans = [spans[0], *spans[-(MAX_SPANS - 1) :]]
    return spans
