"""KQL -> what Log Analytics would make of it: Microsoft's binder for names and types, DuckDB for the answer on sample rows.

The binder knows Kusto, not the limits that Log Analytics and alert rules add. DuckDB knows most of KQL by translation.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

duckdb_kql = pytest.importorskip("duckdb_kql", reason="duckdb-kql is not installed here: run `make emulators`")

MODULES = Path(sys.prefix) / "node/node_modules"
SCRIPT = Path(__file__).with_name("kql.js")
Columns = Sequence[tuple[str, str]]
"""(name, type) of the columns of a table, with the types of infra/tables."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What the binder says of a query: its complaints, and the columns of its answer."""

    problems: list[str]
    columns: dict[str, str]


def missing() -> str:
    """Return why nothing can be bound here, '' if it can."""
    if shutil.which("node") is None:
        return "node is not installed here"
    return (
        ""
        if (MODULES / "@kusto/language-service-next").is_dir()
        else "the KQL binder is not installed here: run `make emulators`"
    )


def bind(queries: Mapping[str, str], tables: Mapping[str, Columns]) -> dict[str, Bound]:
    """Return what the binder says of each query."""
    run = subprocess.run(  # noqa: S603
        ["node", str(SCRIPT), str(MODULES)],  # noqa: S607 - whichever Node is on the path
        input=json.dumps({"tables": tables, "queries": queries}),
        capture_output=True, check=True, encoding="utf-8", timeout=60,
    )  # fmt: skip
    return {name: Bound(a["problems"], dict(a["columns"])) for name, a in json.loads(run.stdout).items()}


_TYPES = {
    "string": "VARCHAR", "int": "INTEGER", "long": "BIGINT", "real": "DOUBLE", "boolean": "BOOLEAN",
    "datetime": "TIMESTAMP", "dynamic": "JSON",
}  # fmt: skip


class Workspace:
    """A Log Analytics workspace of a few tables, held by DuckDB. Strings are never null there: nothing is ''."""

    def __init__(self, tables: Mapping[str, Columns]) -> None:
        self.tables = tables
        self.connection = duckdb_kql.connect()
        for name, columns in tables.items():
            declared = ", ".join(f'"{column}" {_TYPES[kind]}' for column, kind in columns)
            self.connection.execute(f'CREATE TABLE "{name}_all" ({declared})')
        self.look()

    def ingest(self, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take rows as the Logs Ingestion API would: times as text, dynamic values as JSON."""
        columns = self.tables[table]
        values = [[_value(row.get(name), kind) for name, kind in columns] for row in rows]
        if values:
            marks = ", ".join("?" for _ in columns)
            self.connection.executemany(f'INSERT INTO "{table}_all" VALUES ({marks})', values)  # noqa: S608

    def look(self, since: datetime | None = None, until: datetime | None = None) -> None:
        """Show queries only the rows whose TimeGenerated is after `since`, up to `until`: the window of an alert rule."""
        bounds = [f"\"TimeGenerated\" > '{since:%Y-%m-%d %H:%M:%S.%f}'"] if since else []
        bounds += [f"\"TimeGenerated\" <= '{until:%Y-%m-%d %H:%M:%S.%f}'"] if until else []
        for name in self.tables:
            where = f"WHERE {' AND '.join(bounds)}" if bounds else ""
            self.connection.execute(f'CREATE OR REPLACE VIEW "{name}" AS SELECT * FROM "{name}_all" {where}')  # noqa: S608

    def query(self, text: str, now: datetime | None = None) -> list[dict[str, Any]]:
        """Return the answer as rows by column name; `now` is what ago() counts from."""
        answer = duckdb_kql.query(self.connection, text, query_now=now)
        return [dict(zip(answer.columns, row, strict=True)) for row in answer.fetchall()]


def _value(value: Any, kind: str) -> Any:
    if kind == "string":
        return value or ""
    if kind == "dynamic" and value is not None:
        return json.dumps(value)
    return value
