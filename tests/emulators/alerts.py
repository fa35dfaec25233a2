"""Rows over time -> the alerts that Azure Monitor would raise and resolve: a log search alert rule, stateful, one period.

A rule looks every `frequency` at the rows of its range, which is its window unless another one is given. Each combination of dimension values that its query returns is
one alert; it resolves when the query has not returned the combination for a while. Documented: alerts-create-log-alert-rule.md.
Not simulated: how late rows become visible, and the limit of 300.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from tests.emulators.kql import Workspace

HEALTHY = {1: 10, 5: 15, 10: 30, 15: 45, 60: 120}
"""Minutes between looks -> minutes without the row before an alert resolves."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: its name, its query, the names it splits by, minutes between looks, its window, and how far back its query looks."""

    name: str
    query: str
    dimensions: tuple[str, ...]
    frequency: int
    window: timedelta
    range: timedelta
    severity: int


@dataclass(slots=True)
class Alert:
    """One alert: the values it stands for, when it fired, and when it resolved."""

    values: tuple[Any, ...]
    fired: datetime
    resolved: datetime | None = None


def raised(workspace: Workspace, rule: Rule, told: Sequence[datetime], until: datetime) -> list[Alert]:
    """Return the alerts of `rule` until `until`, in the order fired. `told` are the times of all rows it may see.

    Between the first look after a row comes and the first look after it leaves the window no answer can change, so the
    looks in between are not taken.
    """
    step, healthy = timedelta(minutes=rule.frequency), timedelta(minutes=HEALTHY[rule.frequency])
    start = min(told).replace(second=0, microsecond=0)

    def look_after(moment: datetime) -> datetime:
        return start + -(-(moment - start) // step) * step

    looks = {look_after(at) for at in told} | {look_after(at + rule.range + timedelta(microseconds=1)) for at in told}
    alerts: list[Alert] = []
    standing: dict[tuple[Any, ...], Alert] = {}
    gone: dict[tuple[Any, ...], datetime] = {}
    for now in sorted(look for look in looks if look <= until):
        for values in [v for v, since in gone.items() if now >= since + healthy]:
            standing.pop(values).resolved = gone.pop(values) + healthy
        workspace.look(now - rule.range, now)
        found = {tuple(row[name] for name in rule.dimensions) for row in workspace.query(rule.query, now)}
        for values in standing.keys() - found - gone.keys():
            gone[values] = now
        for values in found:
            gone.pop(values, None)
            if values not in standing:
                standing[values] = Alert(values, now)
                alerts.append(standing[values])
    for values, since in gone.items():
        if until >= since + healthy:
            standing[values].resolved = since + healthy
    return alerts
