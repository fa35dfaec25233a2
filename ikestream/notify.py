"""IKESTREAM_WEBHOOKS and IKESTREAM_PEERS -> who is told what: two settings that are JSON, read without a word of theirs
in an error, for an address of a webhook is a secret as much as a key is.

    IKESTREAM_WEBHOOKS = [{"name": "noc", "url": "https://...", "format": "slack", "minimumSeverity": "Error"},
                          {"name": "duty", "format": "pagerduty", "routingKey": "...", "on": ["opened", "resolved"]}]
    IKESTREAM_PEERS = {"203.0.113.7": {"owner": "Contoso network team", "importance": "High",
                                       "runbook": "https://wiki.example.com/vpn", "muteUntil": "2026-12-01T06:00Z"}}
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import orjson

from ikestream.finding import Severity
from ikestream.incident import Row, Why
from ikestream.settings import PEERS, WEBHOOKS, BadSetting

MAX_TEXT = 2048
"""Characters of one text in either setting."""

PAGER_DUTY = "https://events.pagerduty.com/v2/enqueue"

KINDS = ("Outage", "Advisory")
MESSAGES = (Why.OPENED, Why.CHANGED, Why.RESOLVED)
SEVERITIES = (Severity.INFORMATIONAL, Severity.WARNING, Severity.ERROR, Severity.CRITICAL)
"""From the least severe on."""


class Format(StrEnum):
    """How a webhook wants to be spoken to."""

    CLOUD_EVENTS = "cloudevents"
    PAGER_DUTY = "pagerduty"
    TEAMS = "teams"
    SLACK = "slack"


class Importance(StrEnum):
    """How much a tunnel matters to those who are told; shown, and nothing is concluded from it."""

    HIGH = "High"
    NORMAL = "Normal"
    LOW = "Low"


@dataclass(frozen=True, slots=True)
class Webhook:
    """One receiver of messages."""

    name: str
    """`name`: what it is called in logs, and in the outbox; whoever renames it makes a new receiver of it."""
    url: str = field(repr=False)
    """`url`: https, or http to this machine. A secret. Only PagerDuty has a default."""
    format: Format = Format.CLOUD_EVENTS
    """`format`: cloudevents, pagerduty, teams or slack."""
    on: frozenset[Why] = frozenset(MESSAGES)
    """`on`: which of opened, changed and resolved it is told; all if absent."""
    kinds: frozenset[str] = frozenset({"Outage"})
    """`kinds`: Outage, Advisory or both; outages if absent."""
    minimum: Severity = Severity.INFORMATIONAL
    """`minimumSeverity`: nothing less severe opens a message."""
    routing_key: str = field(default="", repr=False)
    """`routingKey`: the integration key of a PagerDuty service. A secret."""
    drills: bool = False
    """`drills`: whether rehearsals are told as well."""


@dataclass(frozen=True, slots=True)
class Peer:
    """What people know about the other end of a tunnel that no log says."""

    owner: str = ""
    """`owner`: whom to call."""
    runbook: str = ""
    """`runbook`: the address of a page."""
    importance: Importance | None = None
    """`importance`: High, Normal or Low."""
    mute_until: int = 0
    """`muteUntil`: ms; nothing opens a message before. A time with its zone."""


Peers: TypeAlias = Mapping[str, Peer]
"""By remote IP or name of the connection, as `_known_as` writes them."""


def load_webhooks(text: str) -> tuple[Webhook, ...]:
    """Return the receivers in `text`, none if it is empty. Raises `BadSetting`, which names position and key."""
    if not text.strip():
        return ()
    listed = _json(text, WEBHOOKS)
    if not isinstance(listed, list):
        raise BadSetting(f"{WEBHOOKS} must be a JSON list of objects")
    hooks = tuple(_webhook(item, f"{WEBHOOKS}[{place}]") for place, item in enumerate(listed))
    seen: set[str] = set()
    for place, hook in enumerate(hooks):
        if hook.name.lower() in seen:
            raise BadSetting(f"{WEBHOOKS}[{place}].name is taken by an earlier webhook")
        seen.add(hook.name.lower())
    return hooks


def load_peers(text: str) -> Peers:
    """Return what is known of peers, nothing if `text` is empty. Raises `BadSetting`, which names peer and key."""
    if not text.strip():
        return {}
    mapped = _json(text, PEERS)
    if not isinstance(mapped, dict):
        raise BadSetting(f"{PEERS} must be a JSON object: remote IP or connection name to an object")
    peers: dict[str, Peer] = {}
    for place, (name, item) in enumerate(mapped.items()):
        where = f"{PEERS}[{name!r}]" if _NAME.fullmatch(name) else f"{PEERS}, entry {place}"
        if not name.strip():
            raise BadSetting(f"{where}: a remote IP or the name of a connection is missing")
        if _known_as(name) in peers:
            raise BadSetting(f"{where} is there twice, written differently")
        peers[_known_as(name)] = _peer(item, where)
    return peers


def find(peers: Peers, row: Row) -> Peer | None:
    """Return what is known of the peer of a row: under its connection, which is the more specific, or its address."""
    for column in ("ConnectionName", "RemoteIP"):
        name = row.get(column)
        if isinstance(name, str) and name and (peer := peers.get(_known_as(name))):
            return peer
    return None


def is_address(url: str, *, secure: bool) -> bool:
    """Return whether `url` can be called: https, and if not `secure` or to this machine, http."""
    if len(url) > MAX_TEXT or not _PRINTABLE.fullmatch(url):
        return False
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port  # the port is read because it is checked only then
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and (not secure or _is_loopback(host))))


# Names may be those of Azure's connections: letters, digits, period, underscore, hyphen; addresses have colons.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:%-]{0,79}")
_HOOK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_PRINTABLE = re.compile(r"[!-~]+")
_KEY = re.compile(r"[A-Za-z_]{1,20}")
_WEBHOOK_KEYS = ("name", "url", "format", "on", "kinds", "minimumSeverity", "routingKey", "drills")
_PEER_KEYS = ("owner", "runbook", "importance", "muteUntil")


def _json(text: str, setting: str) -> Any:
    try:
        return orjson.loads(text)
    except ValueError as failed:  # its text names a place; it is not chained, for it holds the whole document
        at = getattr(failed, "pos", 0)
        raise BadSetting(f"{setting} is not JSON: look at character {at}") from None


def _webhook(item: object, where: str) -> Webhook:
    given = _object(item, _WEBHOOK_KEYS, where)
    name = _text(given, "name", where)
    if not _HOOK_NAME.fullmatch(name):
        raise BadSetting(f"{where}.name must have 1 to 40 letters, digits, hyphens and underscores")
    spoken = Format(_choice(given, "format", tuple(Format), where) or Format.CLOUD_EVENTS)
    url = _text(given, "url", where) or (PAGER_DUTY if spoken is Format.PAGER_DUTY else "")
    if not is_address(url, secure=True):
        raise BadSetting(f"{where}.url must be an https address, or http to this machine")
    key = _text(given, "routingKey", where)
    if bool(key) != (spoken is Format.PAGER_DUTY):
        raise BadSetting(f"{where}.routingKey is what format pagerduty needs, and no other takes")
    if key and not _PRINTABLE.fullmatch(key):
        raise BadSetting(f"{where}.routingKey must be one word of visible ASCII characters")
    drills = given.get("drills", False)
    if not isinstance(drills, bool):
        raise BadSetting(f"{where}.drills must be true or false")
    return Webhook(
        name=name,
        url=url,
        format=spoken,
        on=frozenset(Why(why) for why in _choices(given, "on", MESSAGES, where)),
        kinds=frozenset(_choices(given, "kinds", KINDS, where) if "kinds" in given else ("Outage",)),
        minimum=Severity(_choice(given, "minimumSeverity", SEVERITIES, where) or Severity.INFORMATIONAL),
        routing_key=key,
        drills=drills,
    )


def _peer(item: object, where: str) -> Peer:
    given = _object(item, _PEER_KEYS, where)
    runbook = _text(given, "runbook", where)
    if runbook and not is_address(runbook, secure=False):
        raise BadSetting(f"{where}.runbook must be an http or https address")
    chosen = _choice(given, "importance", tuple(Importance), where)
    return Peer(
        owner=_text(given, "owner", where),
        runbook=runbook,
        importance=Importance(chosen) if chosen else None,
        mute_until=_time(given, "muteUntil", where),
    )


def _object(item: object, keys: Iterable[str], where: str) -> dict[str, Any]:
    if not isinstance(item, dict):
        raise BadSetting(f"{where} must be an object")
    for key in item:
        if key not in keys:
            # A key may be a value in the wrong place.
            named = f"{where}.{key}" if _KEY.fullmatch(key) else f"{where} has a key that"
            raise BadSetting(f"{named} is not known: there are {', '.join(keys)}")
    return item


def _text(given: Mapping[str, Any], key: str, where: str) -> str:
    text = given.get(key, "")
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        raise BadSetting(f"{where}.{key} must be a text of at most {MAX_TEXT} characters")
    return text.strip()


def _choice(given: Mapping[str, Any], key: str, choices: Iterable[str], where: str) -> str:
    return next(_chosen([given[key]], choices, f"{where}.{key}")) if key in given else ""


def _choices(given: Mapping[str, Any], key: str, choices: Iterable[str], where: str) -> list[str]:
    items = given.get(key, list(choices))
    if not isinstance(items, list) or not items:
        raise BadSetting(f"{where}.{key} must be a list of: {', '.join(choices)}")
    return list(_chosen(items, choices, f"{where}.{key}"))


def _chosen(items: Iterable[object], choices: Iterable[str], where: str) -> Iterator[str]:
    spelled = {choice.lower(): str(choice) for choice in choices}
    for item in items:
        if not isinstance(item, str) or item.lower() not in spelled:
            raise BadSetting(f"{where} must be one of: {', '.join(choices)}")
        yield spelled[item.lower()]


def _time(given: Mapping[str, Any], key: str, where: str) -> int:
    text = _text(given, key, where)
    if not text:
        return 0
    try:
        at = datetime.fromisoformat(text)
        return int(_zoned(at).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise BadSetting(f"{where}.{key} must be a time with its zone, such as 2026-12-01T06:00Z") from None


def _zoned(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise ValueError
    return at


def _known_as(name: str) -> str:
    try:
        return str(ipaddress.ip_address(name.strip()))
    except ValueError:
        return name.strip().lower()  # Azure's names do not mind case


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
