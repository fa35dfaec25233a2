"""infra/tables/IkeDiagnosis.json: what Log Analytics takes, what the design promises, and what the rows hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest

from ikestream import columns, formats
from ikestream.replay import Tally, replay, replay_clockless

HERE = Path(__file__).parent
LOGS = sorted([*(HERE.parent / "ikestream" / "data" / "samples").iterdir(), *(HERE / "cases").rglob("*.log")])

TABLE = orjson.loads(columns.TABLE.read_bytes())
TYPES = {column["name"]: column["type"] for column in TABLE["columns"]}

# Azure: create-custom-table.md, data-collection-rule-structure.md, azure-monitor-limits-custom-logs.md.
RESERVED = (
    "id BilledSize IsBillable InvalidTimeGenerated TenantId Title Type UniqueId _ItemId _ResourceGroup _ResourceId "
    "_SubscriptionId _TimeReceived"
)
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{1,44}")
# Tables know guid too, the streams of a data collection rule do not.
STREAM_TYPES = {"string", "int", "long", "real", "boolean", "dynamic", "datetime"}
FIELD_LIMIT = 64 * 1024

# The columns people's queries are written against, by type, and of them those whose change is told at once.
PROMISED = {
    "datetime": "TimeGenerated FirstSeen LastSeen ResolvedAt",
    "int": "Revision Attempts ErrorCode SchemaVersion",
    "real": "DurationSeconds",
    "boolean": "Drill",
    "string": (
        "IncidentId Kind Scope State Resolution MergedInto Severity Cause OpenedAs Confidence GatewayId GatewayName "
        "RemoteIP ConnectionName ResourceGroup Initiator Summary Explanation Fix MissingEvidence OffersSource "
        "FailedStep ActionOn Impact ErrorName"
    ),
    "dynamic": (
        "Legs FixCommands Hypotheses Mismatch AzureOffers PeerOffers ChangedSince SessionIds IkeSpis Evidence "
        "RelatedIncidents DocLinks"
    ),
}
MATERIAL = (
    "State Resolution Severity Cause Confidence ConnectionName ResourceGroup Legs FixCommands Hypotheses Mismatch "
    "OffersSource ActionOn Impact ErrorCode ErrorName"
)


def test_the_table_is_one_that_azure_takes() -> None:
    assert TABLE["name"] == "IkeDiagnosis_CL"
    assert TABLE["stream"] == f"Custom-{TABLE['name']}"
    assert TYPES["TimeGenerated"] == "datetime"


@pytest.mark.parametrize("column", TABLE["columns"], ids=lambda column: column["name"])
def test_a_column_is_one_that_azure_takes(column: dict[str, Any]) -> None:
    assert NAME.fullmatch(column["name"])
    assert column["name"].lower() not in RESERVED.lower().split()
    assert column["type"] in STREAM_TYPES
    assert column["description"]
    assert set(column) <= {"name", "type", "description", "material"}


def test_no_name_comes_twice() -> None:
    names = [column["name"].lower() for column in TABLE["columns"]]
    assert len(names) == len(set(names))


def test_the_columns_are_those_promised() -> None:
    assert {name: kind for kind, names in PROMISED.items() for name in names.split()} == TYPES


def test_the_material_columns_are_those_promised() -> None:
    assert set(columns.load().material) == set(MATERIAL.split())


def test_the_program_reads_the_same_file() -> None:
    assert columns.load().names == tuple(TYPES)


@cache
def rows(log: Path) -> tuple[dict[str, Any], ...]:
    with formats.read([log]) as saved:
        found = [*replay(saved.timed(), Tally()), *replay_clockless(saved.clockless(), Tally())]
    return tuple(orjson.loads(orjson.dumps(row)) for row in found)


NOT_TOLD_YET = {"MergedInto", "ConnectionName", "ResourceGroup", "RelatedIncidents", "ChangedSince"}


def test_the_rows_below_are_many_and_hold_something_in_every_column() -> None:
    found = [row for log in LOGS for row in rows(log)]
    assert len(found) > 30
    assert {row["State"] for row in found} == {"Open", "Resolved"}
    empty = {name for name in TYPES if not any(row[name] not in (None, "", [], {}) for row in found)}
    assert empty <= NOT_TOLD_YET


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.name)
def test_every_row_has_every_column_with_a_value_of_its_type(log: Path) -> None:
    for row in rows(log):
        assert tuple(row) == tuple(TYPES)
        wrong = {name: value for name, value in row.items() if value is not None and not fits(value, TYPES[name])}
        assert wrong == {}
        assert all(len(orjson.dumps(value)) <= FIELD_LIMIT for value in row.values())
        assert list(missing(row)) == []


def fits(value: object, kind: str) -> bool:
    match kind:
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "int":
            return isinstance(value, int) and not isinstance(value, bool) and -(2**31) <= value < 2**31
        case "real":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "datetime":
            return isinstance(value, str) and value.endswith("Z") and datetime.fromisoformat(value).year > 2000
        case "dynamic":
            return isinstance(value, list | dict)
    return False


def missing(row: dict[str, Any]) -> Iterator[str]:
    """Yield the columns without which a row says nothing."""
    for name in ("IncidentId", "Revision", "Kind", "Scope", "State", "Severity", "Cause", "OpenedAs", "Confidence"):
        if not row[name]:
            yield name
    for name in ("GatewayId", "Summary", "Explanation", "ActionOn", "Impact", "SchemaVersion"):
        if not row[name]:
            yield name
    if (row["State"] == "Resolved") != bool(row["Resolution"]):
        yield "Resolution"
