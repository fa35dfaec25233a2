"""A managed identity: the endpoint that App Service and Functions give an app, which hands out one token."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, urlsplit

from tests.emulators.ingestion import TOKEN

HEADER = "only-this-app-knows"


class Identity:
    """The identity of one app while the block runs; `settings` are what the platform would set."""

    def __init__(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="identity")

    @property
    def settings(self) -> dict[str, str]:
        return {
            "IDENTITY_ENDPOINT": f"http://127.0.0.1:{self._server.server_address[1]}/msi/token",
            "IDENTITY_HEADER": HEADER,
        }

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        (resource,) = parse_qs(urlsplit(self.path).query).get("resource", [""])
        known = self.headers.get("X-IDENTITY-HEADER") == HEADER and bool(resource)
        answer = {
            "access_token": TOKEN,
            "expires_on": str(int(time.time()) + 86_400),
            "resource": resource,
            "token_type": "Bearer",
        }
        body = json.dumps(answer if known else {}).encode()
        self.send_response(200 if known else 401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: what the app logs is what is looked at."""
