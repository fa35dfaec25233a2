"""A message -> a CloudEvents 1.0 event in structured JSON: the row as it is, for programs.

`id` is IncidentId/Revision: a receiver that has seen it with the same `source` may drop it (CloudEvents 1.0, `id`).
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from ikestream.incident import Row
from ikestream.sinks.message import Message

CONTENT_TYPE = "application/cloudevents+json"
TYPE = "ikestream.incident"

BRIEF = (
    "TimeGenerated", "IncidentId", "Revision", "Kind", "Scope", "State", "Resolution", "MergedInto", "Severity",
    "Cause", "Confidence", "GatewayId", "GatewayName", "RemoteIP", "ConnectionName", "FirstSeen", "LastSeen",
    "ResolvedAt", "Summary", "ActionOn", "Impact", "Drill", "SchemaVersion",
)  # fmt: skip
"""The columns that a receiver gets who refuses them all."""


def write(message: Message) -> dict[str, Any]:
    """Return the event."""
    row, peer = message.row, message.peer
    data: Row = {name: row.get(name) for name in BRIEF} if message.brief else dict(row)
    data |= {
        "Owner": peer.owner or None if peer else None,
        "Runbook": peer.runbook or None if peer else None,
        "Importance": peer.importance.value if peer and peer.importance else None,
    }
    event = {
        "specversion": "1.0",
        "type": f"{TYPE}.{message.why.value}",
        "source": _source(str(row.get("GatewayId") or "")),
        "id": f"{row['IncidentId']}/{row['Revision']}",
        "time": row.get("TimeGenerated"),
        "subject": row.get("RemoteIP") or row.get("GatewayName"),
        "datacontenttype": "application/json",
    }
    return {name: value for name, value in event.items() if value} | {"data": data}


def _source(gateway: str) -> str:
    """Return the gateway as the URI reference that `source` must be; it must not be empty either."""
    return quote(gateway, safe="/-._~", errors="replace") or "/ikestream"
