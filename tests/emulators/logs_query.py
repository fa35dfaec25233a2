"""The query API of Log Analytics as far as the drill needs it: one workspace, a token, and rows of the diagnosis table.

It answers one shape of query, which it takes apart itself: what it does not understand is a 400, as from the service.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from tests.emulators.https import SECRET, Authority, Scripted
from tests.emulators.ingestion import TOKEN

WORKSPACE = "11111111-2222-3333-4444-555555555555"
QUERY = re.compile(
    r'IkeDiagnosis_CL \| where TimeGenerated > ago\(1d\) and Drill and GatewayName =~ "(?P<gateway>[A-Za-z0-9-]+)"'
    r" \| project (?P<columns>[A-Za-z, ]+) \| sort by Revision asc"
)


class LogsQuery(Scripted):
    """A workspace. `rows` are those of its table, whoever puts them there."""

    def __init__(self, authority: Authority) -> None:
        super().__init__(authority)
        self.rows: list[dict[str, Any]] = []

    async def take(self, request: web.Request, body: bytes) -> Callable[[], web.Response]:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return lambda: refusal(403, "InsufficientAccessError")
        if request.method != "POST" or request.path != f"/v1/workspaces/{WORKSPACE}/query":
            return lambda: refusal(404, "WorkspaceNotFoundError")
        found = QUERY.fullmatch(orjson.loads(body)["query"])
        if found is None:
            return lambda: refusal(400, "BadArgumentError")
        names = [name.strip() for name in found["columns"].split(",")]
        rows = [r for r in list(self.rows) if r["Drill"] and r["GatewayName"].lower() == found["gateway"].lower()]
        rows.sort(key=lambda r: int(r["Revision"]))
        table = {
            "name": "PrimaryResult",
            "columns": [{"name": name, "type": "string"} for name in names],
            "rows": [[row[name] for name in names] for row in rows],
        }
        return lambda: web.json_response({"tables": [table]})


def refusal(status: int, code: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": SECRET}}, status=status)
