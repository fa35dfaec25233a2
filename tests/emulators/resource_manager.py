"""Azure Resource Manager as far as it is documented for Microsoft.Network: lists with pages, gateways by id, rights, codes.

It knows the answer to a question for a key, too; whoever asks for it stands in `paths`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from aiohttp import web

from tests.emulators.https import SECRET, Authority, Scripted
from tests.emulators.ingestion import TOKEN

VERSION = "2024-05-01"
NETWORK = "/providers/microsoft.network/"
INVENTORIES = Path(__file__).parent.parent / "inventories"
OUTSIDE = {"id", "name", "type", "location", "tags", "etag"}
NOT_IN_THE_LIST_OF_A_GATEWAY = {"dpdTimeoutSeconds", "useLocalAzureIpAddress", "ingressNatRules", "egressNatRules"}
"""What VirtualNetworkGatewayConnectionListEntity lacks of what a connection has (azure-rest-api-specs)."""


class ResourceManager(Scripted):
    """What stands in `resources` (id in lower case -> resource), to whoever has the token.

    `refuses` says of a path (as asked, with its slashes) which status it is answered with, 0 if it may be read.
    `page` is how many resources a page has, `paths` is what was asked for, in order.
    """

    def __init__(self, authority: Authority, resources: Iterable[Mapping[str, Any]] = ()) -> None:
        super().__init__(authority)
        self.resources: dict[str, dict[str, Any]] = {}
        self.add(*resources)
        self.page = 2
        self.paths: list[str] = []
        self.refuses: Callable[[str], int] = lambda _: 0
        self.body: Callable[[str], bytes | None] = lambda _: None  # instead of what stands there
        self.next_link: Callable[[str], object] = lambda link: link

    def add(self, *resources: Mapping[str, Any]) -> None:
        """Put resources there, or in the place of what they were."""
        self.resources |= {str(r["id"]).lower(): dict(r) for r in resources}

    async def take(self, request: web.Request, body: bytes) -> Callable[[], web.Response]:
        path = unquote(request.path)
        self.paths.append(path)
        answer = self._answer(request, path)
        return lambda: answer

    def _answer(self, request: web.Request, path: str) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return refusal(401, "InvalidAuthenticationToken")
        if request.method != "GET" or request.query.get("api-version") != VERSION:
            return refusal(400, "InvalidApiVersionParameter")
        if status := self.refuses(path):
            return refusal(status, {403: "AuthorizationFailed", 404: "ResourceGroupNotFound"}.get(status, "Busy"))
        if (instead := self.body(path)) is not None:
            return web.Response(body=instead, content_type="application/json")
        key = path.lower()
        if key.endswith("/sharedkey"):
            return web.json_response({"value": SECRET})
        if key in self.resources:
            return web.json_response(self.resources[key])
        found = self._listed(key)
        if found is None:
            return refusal(404, "ResourceNotFound")
        begin = int(request.query.get("$skiptoken", "0"))
        answer: dict[str, Any] = {"value": found[begin : begin + self.page]}
        if begin + self.page < len(found):
            link = f"{self.origin}{quote(path)}?api-version={VERSION}&%24skiptoken={begin + self.page}"
            answer["nextLink"] = self.next_link(link)
        return web.json_response(answer)

    def _listed(self, key: str) -> list[dict[str, Any]] | None:
        parent, _, kind = key.rpartition("/")
        if parent in self.resources and kind == "connections":
            found = [r for r in self._of("/connections/") if _gateway(r) == parent]
            return [_shortened(r) for r in found]
        if parent in self.resources and kind == "vpnconnections":
            inside = self.resources[parent]["properties"].get("connections") or []
            return [*inside, *(r for k, r in self.resources.items() if k.startswith(f"{key}/"))]
        if NETWORK.strip("/") in key and key.count("/") == 7:
            return [r for k, r in self.resources.items() if k.startswith(f"{key}/") and k.count("/") == 8]
        return None

    def _of(self, kind: str) -> list[dict[str, Any]]:
        return [r for k, r in self.resources.items() if kind in k and k.count("/") == 8]


def stored(*folders: str) -> list[dict[str, Any]]:
    """Return the resources of folders in `tests/inventories` as Resource Manager writes them."""
    found = []
    for folder in folders:
        for file in sorted((INVENTORIES / folder).glob("*.json")):
            document = json.loads(file.read_text("utf-8"))
            found += [nested(r) for r in (document["value"] if isinstance(document, dict) else document)]
    return found


def nested(resource: Mapping[str, Any]) -> dict[str, Any]:
    """Return a resource with its settings under `properties`, which is where `az` takes them out."""
    if "properties" in resource:
        return dict(resource)
    inside = {k: v for k, v in resource.items() if k not in OUTSIDE | {"resourceGroup"} and v is not None}
    return {k: v for k, v in resource.items() if k in OUTSIDE} | {"properties": inside}


def refusal(status: int, code: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": SECRET}}, status=status)


def _gateway(connection: Mapping[str, Any]) -> str:
    return str((connection["properties"].get("virtualNetworkGateway1") or {}).get("id", "")).lower()


def _shortened(connection: Mapping[str, Any]) -> dict[str, Any]:
    inside = {k: v for k, v in connection["properties"].items() if k not in NOT_IN_THE_LIST_OF_A_GATEWAY}
    return {**connection, "properties": inside}


def site_to_site(gateway_id: str, *remotes: str) -> list[dict[str, Any]]:
    """Return a gateway with a connection to each address: the resources as their lists have them."""
    group = gateway_id[: gateway_id.lower().index(NETWORK)]
    network = f"{group}/providers/Microsoft.Network"
    found: list[dict[str, Any]] = [
        {
            "id": gateway_id,
            "name": gateway_id.rpartition("/")[2],
            "type": "Microsoft.Network/virtualNetworkGateways",
            "properties": {
                "gatewayType": "Vpn",
                "vpnType": "RouteBased",
                "bgpSettings": {"bgpPeeringAddresses": [{"tunnelIpAddresses": ["192.0.2.250"]}]},
            },
        }
    ]
    for remote in remotes:
        name = f"{gateway_id.rpartition('/')[2]}-{remote}"
        site = {"id": f"{network}/localNetworkGateways/lng-{name}"}
        found += [
            {**site, "name": f"lng-{name}", "properties": {"gatewayIpAddress": remote}},
            {
                "id": f"{network}/connections/cn-{name}",
                "name": f"cn-{name}",
                "type": "Microsoft.Network/connections",
                "properties": {
                    "virtualNetworkGateway1": {"id": gateway_id},
                    "localNetworkGateway2": site,
                    "connectionType": "IPsec",
                    "connectionProtocol": "IKEv2",
                    "dpdTimeoutSeconds": 45,
                    "ipsecPolicies": [],
                },
            },
        ]
    return found
