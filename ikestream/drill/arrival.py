"""Log Analytics -> a drill's rows: asks the query API again and again until the row is there, as whoever is signed in.

Plain REST through azure-core's pipeline: one POST is all that is needed of the API, and no SDK that the app has brings it.
(`POST {endpoint}/v1/workspaces/{id}/query`, Azure Monitor Log Analytics API.)
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from ikestream.hubs import Failed

if TYPE_CHECKING:
    from azure.core import AsyncPipelineClient
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.core.rest import AsyncHttpResponse, HttpRequest

ENDPOINT = "https://api.loganalytics.azure.com"
EVERY = 5.0
"""Seconds between two questions: new rows take tens of seconds, and the API allows 200 questions in 30 s."""
ANSWER = 20.0
"""Seconds for one answer."""

_WORKSPACE = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_CODE = re.compile(r"[A-Za-z0-9]{1,60}")


@dataclass(frozen=True, slots=True)
class Sighting:
    """One revision in the table: when the app told it, as the row says (ISO 8601), and what it says."""

    told: str
    incident: str
    revision: int
    kind: str
    state: str
    cause: str
    confidence: str


def check(workspace: str, endpoint: str) -> None:
    """Raise `Failed` for a workspace or an endpoint that cannot be meant."""
    if not _WORKSPACE.fullmatch(workspace):
        raise Failed(
            "--workspace must be the workspace's id, a GUID: az monitor log-analytics workspace show --query customerId"
        )
    parts = urlsplit(endpoint)
    if parts.scheme != "https" or not parts.hostname:
        raise Failed(f"--log-endpoint must be an https address such as {ENDPOINT}")


class Table:
    """The diagnosis table of one workspace, asked about one drill."""

    def __init__(self, endpoint: str, workspace: str, gateway: str, credential: AsyncTokenCredential) -> None:
        self._url = f"{endpoint.rstrip('/')}/v1/workspaces/{workspace}/query"
        self._scope = f"{_audience(endpoint)}/.default"
        self._endpoint, self._credential = endpoint, credential
        # The name is the drill's own: letters, digits and hyphens.
        self._query = (
            f'IkeDiagnosis_CL | where TimeGenerated > ago(1d) and Drill and GatewayName =~ "{gateway}"'
            " | project TimeGenerated, IncidentId, Revision, Kind, State, Cause, Confidence | sort by Revision asc"
        )
        self._client: AsyncPipelineClient[HttpRequest, AsyncHttpResponse] | None = None
        self.trouble = ""
        """Why the newest question has no answer; '' if it has one."""

    async def until(
        self, opened: AsyncExitStack, wanted: Callable[[Sighting], bool], patience: float
    ) -> tuple[Sighting | None, list[Sighting]]:
        """Ask until a row is `wanted` or `patience` seconds are over; return it, and all rows of the newest answer.

        Raises `Failed` for what no patience cures: a workspace that is not there, a right that is missing.
        """
        end = time.monotonic() + patience
        seen: list[Sighting] = []
        while True:
            seen = await self.ask(opened) or seen
            if found := next(filter(wanted, seen), None):
                return found, seen
            if time.monotonic() + EVERY > end:
                return None, seen
            await asyncio.sleep(EVERY)

    async def ask(self, opened: AsyncExitStack) -> list[Sighting]:
        """Return the drill's rows; none, and `trouble`, if the service does not answer now. Raises `Failed`."""
        from azure.core.exceptions import AzureError, ClientAuthenticationError
        from azure.core.rest import HttpRequest

        request = HttpRequest("POST", self._url, json={"query": self._query, "timespan": "P1D"})
        try:
            client = await self._open(opened)
            async with asyncio.timeout(ANSWER):
                response = await client.send_request(request)
                body = await response.read()
        except ClientAuthenticationError as failed:
            raise Failed(f"nobody is signed in who may ask Log Analytics: {type(failed).__name__}; az login") from None
        except (AzureError, OSError, TimeoutError) as failed:
            self.trouble = f"Log Analytics does not answer: {type(failed).__name__}"
            return []
        if response.status_code != 200:
            self.trouble = self._refused(response.status_code, body)
            return []
        self.trouble = ""
        return _sightings(body)

    async def _open(self, opened: AsyncExitStack) -> AsyncPipelineClient[HttpRequest, AsyncHttpResponse]:
        if self._client is None:
            from azure.core import AsyncPipelineClient
            from azure.core.pipeline.policies import AsyncBearerTokenCredentialPolicy, UserAgentPolicy

            # No policy follows a redirect, which would carry the token elsewhere; whoever asks again anyway needs no retries.
            policies: list[Any] = [
                UserAgentPolicy("ikestream-drill"),
                AsyncBearerTokenCredentialPolicy(self._credential, self._scope),
            ]
            client: AsyncPipelineClient[HttpRequest, AsyncHttpResponse] = AsyncPipelineClient(
                self._endpoint, policies=policies
            )
            await opened.enter_async_context(client)
            self._client = client
        return self._client

    def _refused(self, status: int, body: bytes) -> str:
        """Return what a status says that may pass. Raises `Failed` for one that does not."""
        code = _code(body)
        if status in (401, 403):
            raise Failed(
                f"Log Analytics refuses to answer ({status} {code}): whoever runs this needs the role Log Analytics Reader on"
                " the workspace"
            )
        if status == 404:
            raise Failed(
                f"Log Analytics knows no such workspace ({status} {code}): --workspace takes its id, not its name"
            )
        if status == 400:
            raise Failed(
                f"Log Analytics does not take the query ({status} {code}): has this workspace the table IkeDiagnosis_CL?"
            )
        return f"Log Analytics answers {status}"


def _audience(endpoint: str) -> str:
    """Return whom the token is for: a sovereign cloud's own API, the public one elsewhere."""
    host = urlsplit(endpoint).hostname or ""
    if host.endswith((".us", ".cn")):
        return f"https://{host}"
    return "https://api.loganalytics.io"


def _code(body: bytes) -> str:
    """Return the error's code, its first word of the API; never its text, which may hold anything."""
    try:
        code = orjson.loads(body)["error"]["code"]
    except (ValueError, TypeError, KeyError):
        return "without a code"
    return code if isinstance(code, str) and _CODE.fullmatch(code) else "without a code"


def _sightings(body: bytes) -> list[Sighting]:
    """Read an answer: tables of columns and rows; the first one is the query's."""
    try:
        table = orjson.loads(body)["tables"][0]
        names = [column["name"] for column in table["columns"]]
        rows = [dict(zip(names, row, strict=True)) for row in table["rows"]]
        return [
            Sighting(
                str(row["TimeGenerated"]), str(row["IncidentId"]), int(row["Revision"]), str(row["Kind"]),
                str(row["State"]), str(row["Cause"]), str(row["Confidence"]),
            )
            for row in rows
        ]  # fmt: skip
    except (ValueError, TypeError, KeyError, IndexError):
        raise Failed("Log Analytics gives an answer that is none of the query API") from None
