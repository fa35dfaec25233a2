"""A server on the loopback, with a certificate authority of its own, that answers as a script tells it to."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SECRET = "what-a-receiver-says-is-its-own-business"  # noqa: S105 - stands in bodies of errors, and must come out nowhere


@dataclass(frozen=True)
class Answer:
    """What happens to one request instead of what should."""

    status: int = 0  # 0: what it would be
    headers: Mapping[str, str] = field(default_factory=dict)
    taken: bool = False  # the request counts all the same
    hangs: float = 0  # seconds before it is answered; that it counts is decided before
    cut: bool = False  # the connection is closed instead


LOST = Answer(taken=True, cut=True)
"""Accepted, but the answer was lost."""


class Authority:
    """A certificate authority that is a day old, and a certificate of its own for 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        self.ca, self._chain = folder / "ca.pem", folder / "server.pem"
        ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ikestream test CA")])
        now = datetime.now(UTC)

        def certificate(name: x509.Name, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
            return (
                x509.CertificateBuilder()
                .subject_name(name)
                .issuer_name(ca_name)
                .public_key(public)
                .serial_number(x509.random_serial_number())
                .not_valid_before(now - timedelta(days=1))
                .not_valid_after(now + timedelta(days=1))
                .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
            )

        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        ca = (
            certificate(ca_name, ca_key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        server = (
            certificate(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")]), key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
            )
            .sign(ca_key, hashes.SHA256())
        )
        plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self.ca.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
        self._chain.write_bytes(key.private_bytes(*plain) + server.public_bytes(serialization.Encoding.PEM))

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._chain)
        return context

    def client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca))


class Scripted:
    """A server in a thread of its own while the block runs. `script` is used up from the left, one for each request."""

    def __init__(self, authority: Authority) -> None:
        self.script: deque[Answer] = deque()
        self.requests = 0
        self.port = 0
        self._context = authority.server()
        self._up = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="https server")

    @property
    def origin(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def answer(self, *answers: Answer | int) -> None:
        self.script.extend(Answer(a) if isinstance(a, int) else a for a in answers)

    async def take(self, request: web.Request, body: bytes) -> Callable[[], web.Response]:
        """Check a request; return what counts it and answers. Raises what is answered to a wrong one."""
        raise NotImplementedError

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        scripted = self.script.popleft() if self.script else Answer()
        body = await request.read()
        response = web.Response(
            status=scripted.status or 500, headers=scripted.headers, text=f'{{"error": "{SECRET}"}}'
        )
        if not (scripted.status or scripted.cut) or scripted.taken:
            counted = (await self.take(request, body))()
            response = response if scripted.status else counted
        if scripted.hangs:
            await asyncio.sleep(scripted.hangs)
        if scripted.cut and request.transport is not None:
            request.transport.abort()
        return response

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=64_000_000)
        app.router.add_route("*", "/{path:.*}", self._handle)
        # A request that hangs is given up when the block ends.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.0, auto_decompress=False)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._context)
        await site.start()
        self.port = runner.addresses[0][1]
        self._up.set()
        await self._over.wait()
        for connection in runner.server.connections if runner.server else ():
            if connection.transport is not None:
                connection.transport.abort()
        await runner.cleanup()
        # What is closed is let go by the loop; left to the garbage collector it warns in the middle of another test.
        await asyncio.sleep(0.05)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._up.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(10)
