"""A message -> a PagerDuty event (Events API v2). One incident is one alert: its `dedup_key` is the IncidentId.

A change is a trigger with the same key: PagerDuty adds it to the alert. Resolving needs the key alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ikestream.sinks.message import Message, cut, evidence, facts, mismatch, one_line, prose, text, title

SUMMARY = 1024
"""Characters of `summary`, the documented most."""

SOURCE = 255
PROSE = 4000
LINES = 12

SEVERITY: Mapping[str, str] = MappingProxyType(
    {"Critical": "critical", "Error": "error", "Warning": "warning", "Informational": "info"}
)


def write(message: Message, routing_key: str) -> dict[str, Any]:
    """Return the event. `routing_key` is a secret, and part of it."""
    row, peer = message.row, message.peer
    event: dict[str, Any] = {"routing_key": routing_key, "dedup_key": str(row["IncidentId"])}
    if message.resolved:
        return event | {"event_action": "resolve"}
    payload: dict[str, Any] = {
        "summary": cut(title(message), SUMMARY),
        "source": cut(one_line(text(row, "GatewayName") or text(row, "GatewayId")), SOURCE) or "ikestream",
        # Not known is not harmless: whoever is on call looks once too often rather than never.
        "severity": SEVERITY.get(text(row, "Severity"), "error"),
        "timestamp": row.get("TimeGenerated"),
        "component": cut(text(row, "RemoteIP"), SOURCE),
        "class": cut(text(row, "Cause"), SOURCE),
    }
    if not message.brief:
        details: dict[str, Any] = {label: cut(said, SOURCE) for label, said in facts(message)}
        details |= {label: cut(said, PROSE) for label, said in prose(message)}
        if differing := mismatch(message):
            details["Mismatch"] = [
                cut(f"{name}: Azure {ours}; peer {theirs}", PROSE) for name, ours, theirs in differing
            ]
        if proof := evidence(message, LINES):
            details["Evidence"] = [cut(line, PROSE) for line in proof]
        payload["custom_details"] = details
    event |= {"event_action": "trigger", "client": "ikestream", "payload": {k: v for k, v in payload.items() if v}}
    if peer is not None and peer.runbook:
        event["links"] = [{"href": peer.runbook, "text": "Runbook"}]
    return event
