"""Azure Resource Manager -> Listings: what is configured on the gateways of some resource groups, read by plain REST.

Resources are listed, never changed, and no key is asked for: only paths of a shape in `_PATHS` are requested, on the one
host that the token is for, whatever an answer names as its next page.

A reading is complete gateway by gateway. One that could not be read says nothing of it (`Reading.unread`), because a
connection that is missing in half a list would look like one that was removed.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import orjson

from ikestream.inventory.connections import Listing
from ikestream.inventory.documents import Gathered, put_together, reference
from ikestream.sinks.answers import reason, retry_after

if TYPE_CHECKING:
    from azure.core import AsyncPipelineClient
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.core.rest import AsyncHttpResponse, HttpRequest

API_VERSION = "2024-05-01"
"""Of Microsoft.Network, as in the Bicep files (azure-rest-api-specs, specification/network/resource-manager)."""

CONNECT, READ = 3.0, 20.0
"""Seconds to connect, and to wait for the next bytes: a list of many gateways takes some."""

TRIES = 3
"""Of one request, where the answer was 408, 429, 5xx or none."""

BACKOFF = 1.0
"""Seconds before the second try where nobody said how long to wait; twice that before the third."""

LONGEST_PAUSE = 20.0
"""Seconds. Who asks for a longer wait is left alone: the next reading comes by itself."""

PATIENCE = 240.0
"""Seconds for one reading; the function may run for 600, and what was not read by then is read next time."""

AT_ONCE = 4
"""Requests under way at once: Resource Manager takes 25 a second of one subscription, and others use it, too."""

MOST_PAGES = 200
"""Of one list."""

LARGEST = 32_000_000
"""Bytes of one page."""

ROLE = "Reader"

_GROUP = r"/subscriptions/[^/?#]+/resourceGroups/[^/?#]+"
_NETWORK = r"/providers/Microsoft\.Network/"
_PATHS = re.compile(
    rf"{_GROUP}{_NETWORK}(?:"
    r"(?:connections|localNetworkGateways|publicIPAddresses|vpnSites)"
    r"|virtualNetworkGateways(?:/[^/?#]+(?:/connections)?)?"
    r"|vpnGateways(?:/[^/?#]+(?:/vpnConnections)?)?)",
    re.IGNORECASE,
)
"""Everything that is ever requested: lists, and gateways by id. A connection's sharedKey is none of them."""
_GATEWAY = re.compile(rf"{_GROUP}{_NETWORK}(?:virtualNetworkGateways|vpnGateways)/[^/?#]+", re.IGNORECASE)
_CODE = re.compile(r"[A-Za-z0-9]{1,60}")
_AGAIN = frozenset({408, 429, 500, 502, 503, 504})
_DEFINITE = frozenset({401, 403, 404})


@dataclass(frozen=True, slots=True)
class Reading:
    """What one reading found. Gateways go by their keys: resource ids in lower case."""

    listings: tuple[Listing, ...] = ()
    partial: frozenset[str] = frozenset()  # gateways whose connections may lack what the app may not read
    unread: frozenset[str] = frozenset()  # gateways, and groups of gateways, of which nothing could be read
    troubles: tuple[str, ...] = ()  # one line each, no secret
    wait: float = 0.0  # seconds that the service wants to be left alone


class _Refused(Exception):  # noqa: N818 - reads as what it is
    """What cannot be read now. `definite`: not a fault of the moment, somebody has to mend it."""

    def __init__(self, said: str, *, definite: bool = False, wait: float = 0.0) -> None:
        super().__init__(said)
        self.said, self.definite, self.wait = said, definite, wait


class ResourceManager:
    """One cloud's Resource Manager. Belongs to one event loop, as the worker has; once closed it opens again."""

    def __init__(
        self,
        endpoint: str,
        credential: AsyncTokenCredential,
        *,
        region: str = "",
        clock: Callable[[], float] = time.time,
        trust: str | None = None,
        answer: float = READ,
    ) -> None:
        """Raises ValueError for an endpoint that is no https address.

        With a `region` only its gateways are read of a group, others stream to another app; `trust` is a file with the certificates to trust instead of the system's. Closing `credential`, whose identity
        needs the role Reader on the resource groups, is the caller's.
        """
        parts = urlsplit(endpoint)
        if parts.scheme.lower() != "https" or not parts.hostname or parts.path.strip("/"):
            raise ValueError("the endpoint must look like https://management.azure.com")
        self._endpoint, self._credential, self._region = f"https://{parts.netloc}", credential, _plain(region)
        self._clock, self._trust, self._answer = clock, trust, answer
        self._client: AsyncPipelineClient[HttpRequest, AsyncHttpResponse] | None = None

    async def read(self, scopes: Sequence[str]) -> Reading:
        """Read the gateways of resource groups, or single ones, given by id. Never raises for what the service does."""
        return await _Round(self._page, self._endpoint, self._region).read(scopes)

    async def close(self) -> None:
        """Let go of connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _page(self, url: str) -> dict[str, Any]:
        """Return the answer to a GET of `url`. Raises `_Refused`."""
        if _origin(url) != _origin(self._endpoint) or not _PATHS.fullmatch(urlsplit(url).path):
            raise _Refused("the answer names a next page that is not asked for")
        for left in reversed(range(TRIES)):
            try:
                status, headers, body = await self._get(url)
            except _Refused as refused:
                if not left or refused.definite:
                    raise
                status, headers, body = 0, {}, b""
            if status not in _AGAIN and status:
                break
            pause = retry_after(headers, self._clock())
            if pause is not None and pause > LONGEST_PAUSE:
                raise _Refused(_said(status, body), wait=pause)
            if left:
                await asyncio.sleep(BACKOFF * 2 ** (TRIES - 1 - left) if pause is None else pause)
        if status != 200:
            hint = f"; the app's identity needs the role {ROLE}" if status in (401, 403) else ""
            raise _Refused(_said(status, body) + hint, definite=status in _DEFINITE)
        if len(body) > LARGEST:
            raise _Refused("the answer is too large", definite=True)
        try:
            answer = orjson.loads(body)
        except ValueError:  # not chained: its text may hold the answer
            raise _Refused("the answer is no JSON") from None
        if not isinstance(answer, dict):
            raise _Refused("the answer is no list of resources")
        return answer

    async def _get(self, url: str) -> tuple[int, Any, bytes]:
        from aiohttp import ClientError
        from azure.core.exceptions import AzureError, ClientAuthenticationError
        from azure.core.rest import HttpRequest

        client = self._connected()
        try:
            async with asyncio.timeout(CONNECT + self._answer):
                response = await client.send_request(HttpRequest("GET", url))
                return response.status_code, response.headers, response.content
        except TimeoutError:
            raise _Refused("no answer in time") from None
        except ClientAuthenticationError as failed:  # a long text about every way it has tried
            raise _Refused(f"{reason(failed)}; no token for the app's identity", definite=True) from None
        except (AzureError, ClientError, OSError) as failed:
            raise _Refused(reason(failed)) from None

    def _connected(self) -> AsyncPipelineClient[HttpRequest, AsyncHttpResponse]:
        # Imported here: the other functions start without it.
        from azure.core import AsyncPipelineClient
        from azure.core.pipeline.policies import (
            AsyncBearerTokenCredentialPolicy,
            HeadersPolicy,
            RequestIdPolicy,
            UserAgentPolicy,
        )

        if self._client is None:
            options: dict[str, Any] = {"connection_verify": self._trust} if self._trust else {}
            # No policy that retries: the SDK's waits as long as it is told to, be it hours. None that follows redirects:
            # they would carry the token to somebody else. None that logs: it would write resource ids at INFO.
            self._client = AsyncPipelineClient(
                self._endpoint,
                policies=[
                    RequestIdPolicy(),
                    HeadersPolicy({"Accept": "application/json"}),
                    UserAgentPolicy(base_user_agent="ikestream"),
                    AsyncBearerTokenCredentialPolicy(self._credential, f"{self._endpoint}/.default"),
                ],
                connection_timeout=CONNECT,
                read_timeout=self._answer,
                **options,
            )
        return self._client


@dataclass(slots=True)
class _Round:
    """One reading, list by list. A list is asked for once, however many gateways need it."""

    page: Callable[[str], Awaitable[dict[str, Any]]]
    endpoint: str
    region: str
    gathered: Gathered = field(default_factory=Gathered)
    refused: dict[str, _Refused] = field(default_factory=dict)  # path in lower case -> why it could not be read
    _names: dict[str, str] = field(default_factory=dict)
    _asked: set[str] = field(default_factory=set)
    _closed: dict[str, _Refused] = field(default_factory=dict)  # subscription -> that it wants to be left alone
    _until: float = 0.0
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    async def read(self, scopes: Sequence[str]) -> Reading:
        self._until = asyncio.get_running_loop().time() + PATIENCE
        unread = await self._read_gateways(scopes)
        named = {scope.lower() for scope in scopes}
        own = {key for key, r in self.gathered.gateways.items() if _is_vpn(r) and (key in named or self._is_here(r))}
        of = {key: _child(str(self.gathered.gateways[key]["id"])) for key in sorted(own)}
        await self._list(of.values())
        unread |= {key for key, path in of.items() if path.lower() in self.refused}
        own -= unread

        needed = {key: set(self._needed_by(key)) for key in sorted(own)}
        await self._list(sorted(set().union(*needed.values())))
        # Of gateways that do not say their addresses themselves.
        hidden = {key: set(self._lists_of_addresses(key)) for key in sorted(own | self._others(own))}
        await self._list(sorted(set().union(*hidden.values())))
        for key in own:
            needed[key] |= hidden[key].union(*(hidden.get(other, set()) for other in self._others({key})))

        partial = set()
        for key in sorted(own):
            failed = [why for path in needed[key] if (why := self.refused.get(path.lower())) is not None]
            if any(not why.definite for why in failed):
                unread.add(key)
            elif failed:
                partial.add(key)
        listings, _ = put_together(self.gathered)
        kept = tuple(listing for listing in listings if listing.gateway.id.lower() in own - unread)
        partial |= {
            listing.gateway.id.lower()
            for listing in kept
            if any(not c.remote and not c.fqdn for c in listing.connections)
        }
        return Reading(
            kept,
            frozenset(partial),
            frozenset(unread),
            tuple(f"{self._names[path]}: {why.said}" for path, why in sorted(self.refused.items())),
            max((why.wait for why in self.refused.values()), default=0.0),
        )

    async def _read_gateways(self, scopes: Sequence[str]) -> set[str]:
        """Read the gateways of `scopes`; return the scopes of which some could not be read."""
        paths = {scope: list(_gateways_of(scope)) for scope in scopes}
        await self._list(path for every in paths.values() for path in every)
        return {scope.lower() for scope, every in paths.items() if any(path.lower() in self.refused for path in every)}

    def _is_here(self, r: Any) -> bool:
        return not self.region or _plain(str(r.get("location") or self.region)) == self.region

    def _needed_by(self, key: str) -> Iterator[str]:
        """Yield the lists that say more about the connections of a gateway and the sites at their other ends."""
        for r in self._connections(key):
            yield f"{_group(str(r['id']))}/connections"  # the list of a gateway's connections lacks some settings (DPD)
            for name, kind in (
                ("localNetworkGateway2", "localNetworkGateways"),
                ("virtualNetworkGateway2", "virtualNetworkGateways"),
            ):
                if (group := _group(reference(r.get(name)))) is not None:
                    yield f"{group}/{kind}"
        for link_key, r in self.gathered.links.items():
            if link_key.startswith(f"{key}/") and (group := _group(reference(r.get("remoteVpnSite")))) is not None:
                yield f"{group}/vpnSites"

    def _connections(self, key: str) -> list[Any]:
        found = self.gathered.connections.values()
        return [r for r in found if reference(r.get("virtualNetworkGateway1")).lower() == key]

    def _others(self, keys: Collection[str]) -> set[str]:
        """Return the gateways at the other ends of connections between virtual networks."""
        return {
            other
            for key in keys
            for r in self._connections(key)
            if (other := reference(r.get("virtualNetworkGateway2")).lower()) in self.gathered.gateways
        }

    def _lists_of_addresses(self, key: str) -> Iterator[str]:
        for public in self.gathered.hidden_addresses(key):
            if (group := _group(public)) is not None:
                yield f"{group}/publicIPAddresses"

    # --- requests -------------------------------------------------------------------------------------------------

    async def _list(self, paths: Iterable[str]) -> None:
        """Gather what stands at `paths`, at once; what cannot be read is noted in `refused`."""
        new = {path.lower(): path for path in paths if path.lower() not in self._asked}
        self._asked |= new.keys()
        await asyncio.gather(*(self._gather(path) for path in new.values()))

    async def _gather(self, path: str) -> None:
        if not _PATHS.fullmatch(path):  # made of an id in an answer that is none
            self.refused[path.lower()] = _Refused("no id of a resource")
            self._names[path.lower()] = "a list"
            return
        subscription = path.lower().split("/")[2]
        try:
            async with self._places:
                if subscription in self._closed:
                    raise self._closed[subscription]
                found = await self._pages(path)
        except _Refused as refused:
            self.refused[path.lower()] = refused
            self._names[path.lower()] = _shown(path)
            if refused.wait:
                self._closed[subscription] = refused
            return
        for resource in found:
            self.gathered.add(resource)

    async def _pages(self, path: str) -> list[Any]:
        """Return the resources of a list, all of them or none, or the resource that stands at `path`."""
        url = f"{self.endpoint}{quote(path, safe='/()')}?api-version={API_VERSION}"
        found: list[Any] = []
        for _ in range(MOST_PAGES):
            left = self._until - asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(max(left, 0)):
                    answer = await self.page(url)
            except TimeoutError:
                raise _Refused(f"not read within {PATIENCE:g} s") from None
            value = answer.get("value")
            if not isinstance(value, list):
                if _GATEWAY.fullmatch(path) and isinstance(answer.get("id"), str):
                    return [answer]
                raise _Refused("the answer is no list of resources")
            found += value
            following = answer.get("nextLink")
            if not following:
                return found
            if not isinstance(following, str):
                raise _Refused("the answer names a next page that is none")
            url = following
        raise _Refused(f"more than {MOST_PAGES} pages", definite=True)


def _gateways_of(scope: str) -> Iterator[str]:
    if _GATEWAY.fullmatch(scope):
        yield scope
    else:
        for kind in ("virtualNetworkGateways", "vpnGateways"):
            yield f"{scope}/providers/Microsoft.Network/{kind}"


def _child(gateway_id: str) -> str:
    return f"{gateway_id}/{'connections' if '/virtualnetworkgateways/' in gateway_id.lower() else 'vpnConnections'}"


def _group(resource_id: str) -> str | None:
    """Return what lists of the group of a resource begin with, None for what is no id of a resource."""
    found = re.match(rf"{_GROUP}{_NETWORK}", resource_id, re.IGNORECASE)
    return found[0].rstrip("/") if found else None


def _is_vpn(r: Any) -> bool:
    return str(r.get("gatewayType") or "vpn").lower() == "vpn"


def _plain(region: str) -> str:
    """Return a region as resources name it: `West Europe` is `westeurope`."""
    return region.replace(" ", "").lower()


def _origin(url: str) -> tuple[str, str | None, int]:
    """Return scheme, host and port; next pages come with `:443` and without."""
    parts = urlsplit(url)
    try:
        return parts.scheme.lower(), parts.hostname, parts.port or 443
    except ValueError:  # a port that is none
        return "", None, 0


def _said(status: int, body: bytes) -> str:
    """Name an answer by its status and the service's code, never by its text."""
    if not status:
        return "no answer"
    try:
        code = orjson.loads(body)["error"]["code"]
    except (ValueError, TypeError, KeyError):
        code = None
    return f"{status} {code}" if isinstance(code, str) and _CODE.fullmatch(code) else str(status)


def _shown(path: str) -> str:
    """Name a list by its last parts: kind and resource group."""
    parts = re.sub(r"[^\w.()/-]", "?", path).split("/")
    return f"{'/'.join(parts[7:])[:160]} of resource group {parts[4][:90]}"
