"""The columns of IkeDiagnosis_CL, read from the one file that Bicep, code and tests share."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import orjson

TABLE = Path(__file__).parent.parent / "infra" / "tables" / "IkeDiagnosis.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Columns:
    """`names` in order; `material` are those whose change is told at once."""

    names: tuple[str, ...]
    material: tuple[str, ...]


@cache
def load() -> Columns:
    """Return the columns of the diagnosis table."""
    columns = orjson.loads(TABLE.read_bytes())["columns"]
    return Columns(
        names=tuple(c["name"] for c in columns),
        material=tuple(c["name"] for c in columns if c.get("material")),
    )


@cache
def types(table: Path = TABLE) -> dict[str, str]:
    """Return name -> type of the columns of a table of `infra/tables`, in order."""
    return {column["name"]: column["type"] for column in orjson.loads(table.read_bytes())["columns"]}
