"""ConnectionSilent: a connection is configured, and the gateway has never written a line of it (facts 3.5).

Nobody who reads logs alone can miss it. A tunnel that is up renews its keys at least every eight hours, so after nine
without any line something is odd; a connection that waits for its peer may simply never have been called. For the
record at first, after a day worth a look.
"""

from __future__ import annotations

from collections.abc import Iterator

from ikestream.advice import Advice, Impact
from ikestream.finding import ActionOn, Advisory, Confidence, Finding, Hypothesis, Severity
from ikestream.inventory import Connection, Connections, Mode, Version
from ikestream.times import DAY, HOUR
from ikestream.tunnel import Gateway

SILENT = 9 * HOUR
"""Longer than Azure's IKE lifetime of 28,800 s: within it a tunnel that is up has renewed its keys (facts 3.6)."""
LATE = DAY


def advise(gateway: Gateway, connections: Connections, heard: int) -> Iterator[tuple[Version, Advice]]:
    """Yield (connection, advice) for every connection that was silent for `SILENT`; lines are known up to `heard`."""
    written = gateway.name[0] if gateway.name is not None else 0
    for remote in sorted({v.connection.remote for v in connections.versions if v.connection.remote}):
        version, had = connections.of(remote), connections.first_had(remote)
        if version is None or had is None or not max(had, written):
            continue
        start = max(had, written)
        tunnel = gateway.tunnels.get(remote)
        end, resolution = version.until, "Removed"
        if tunnel is not None:
            if not tunnel.first_seen or tunnel.first_seen <= start + SILENT:
                continue
            end, resolution = tunnel.first_seen, "Recovered"
        if end is not None and end <= start + SILENT:
            continue
        yield version, _advice(version.connection, start, end, resolution, min(heard, end or heard))
    for version in connections.named:
        start = max(min(v.since for v in connections.same(version.connection)), written)
        first = _first_called(gateway, connections)
        if not start or (first is not None and (first <= start + SILENT or len(connections.named) > 1)):
            continue
        yield version, _advice(version.connection, start, first, "Recovered", min(heard, first or heard))


def _first_called(gateway: Gateway, connections: Connections) -> int | None:
    """Return when a peer that no connection names was first heard: Azure found its address by name. None if never."""
    nameless = (t for t in gateway.tunnels.values() if connections.first_had(t.remote) is None and t.known())
    return min((t.first_seen for t in nameless if t.first_seen), default=None)


def _advice(connection: Connection, start: int, end: int | None, resolution: str, until: int) -> Advice:
    waits = connection.mode is Mode.RESPONDER_ONLY or connection.on_demand
    told = (
        "The connection waits for the peer to call (ResponderOnly), and the peer never has."
        if waits
        else "Azure should call the peer by itself, and a tunnel that is up renews its keys at least every eight hours."
    )
    late = until >= start + LATE
    link = f", link {connection.link}," if connection.link else ""
    called = f"Connection {connection.name}{link} to {connection.remote or connection.fqdn}"
    finding = Finding(
        cause=Advisory.CONNECTION_SILENT,
        confidence=Confidence.MEDIUM if waits else Confidence.LOW,
        explanation=f"{called} is configured, and not a single line of it has been"
        f" logged for {'a day' if late else 'nine hours'}. {told}",
        action_on=ActionOn.PEER if waits else ActionOn.UNKNOWN,
        hypotheses=_HYPOTHESES[1:] if waits else _HYPOTHESES,
        missing_evidence="The state of the connection: the metrics of the gateway, or the check below, tell whether it is up.",
        severity=Severity.WARNING if late else Severity.INFORMATIONAL,
    )
    return Advice(
        finding=finding,
        summary=f"{called} has been silent for as long as it has been watched.",
        past=f"{called} had been silent.",
        start=start,
        held=start + SILENT,
        last=min(start + (LATE if late else SILENT), end or until),  # not `until`: when somebody looked is no evidence
        impact=Impact.NONE,
        end=end,
        settled=end or 0,
        by_absence=True,
        resolution=resolution,
    )


_HYPOTHESES = (
    Hypothesis(
        "The tunnel is up, and the gateway does not write the logs of its renewals",
        Confidence.MEDIUM,
        "Read the status of the connection in the portal.",
    ),
    Hypothesis(
        "The connection is a leftover, or the site was never set up",
        Confidence.MEDIUM,
        "Ask the owner of the site whether a device is there.",
    ),
    Hypothesis(
        "The gateway does not send its IKEDiagnosticLog",
        Confidence.LOW,
        "See that its diagnostic setting sends IKEDiagnosticLog and TunnelDiagnosticLog to the Event Hub.",
    ),
)
