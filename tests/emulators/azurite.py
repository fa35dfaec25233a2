"""Requests -> a folder: a real Azurite, Microsoft's own emulator of Azure Storage, on free ports of the loopback.

It holds to ETags, to transactions that roll back whole, to sizes and to continuation tokens; it does not know
throttling, and it takes keys of 512 characters where the service takes 1,024. What it keeps is on disk some seconds
after a write: `kill` may lose what is younger, as no real storage account does. One of its limits is moved: it counts
the 1 MiB of an entity in base64, the service in bytes.

    with Azurite(tmp_path) as azurite:
        tables.with_connection_string(azurite.connection_string)
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

PROGRAM = Path(sys.prefix) / "node/node_modules/azurite/dist/src"
SCRIPT = PROGRAM / "azurite.js"
PRELOAD = f"require({json.dumps(str(PROGRAM / 'table/utils/constants.js'))}).ENTITY_SIZE_MAX = 1024 * 1024 * 4 / 3;\n"
ACCOUNT = "loopback"
KEY = "bG9vcGJhY2sgb25seSwgbm8gc2VjcmV0IGF0IGFsbA=="
"""The account key of every connection string: what must never be seen in a log."""

PATIENCE = 30.0
"""Seconds for Node to load and listen; it takes one, or many on a machine that is busy."""


def missing() -> str:
    """Return why there can be no Azurite here, '' if there can."""
    if shutil.which("node") is None:
        return "node is not installed here"
    return "" if SCRIPT.is_file() else "azurite is not installed here: run `make emulators`"


class Azurite:
    """A storage account in `location`, while the block runs. A restart keeps the ports."""

    def __init__(self, location: Path) -> None:
        self.location = location
        self.ports = free_ports(3)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def connection_string(self) -> str:
        return (
            f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
            f"TableEndpoint=http://127.0.0.1:{self.ports[2]}/{ACCOUNT};"
            f"BlobEndpoint=http://127.0.0.1:{self.ports[0]}/{ACCOUNT};"
        )

    def start(self) -> None:
        """Start it and wait until it listens."""
        self.location.mkdir(parents=True, exist_ok=True)
        preload = self.location / "preload.js"
        preload.write_text(PRELOAD)
        names = ("--blobPort", "--queuePort", "--tablePort")
        ports = [word for name, port in zip(names, self.ports, strict=True) for word in (name, str(port))]
        with (self.location / "output.txt").open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - a fixed command
                [
                    *(
                        "node",
                        "--require",
                        str(preload),
                        str(SCRIPT),
                        "--silent",
                        "--location",
                        str(self.location),
                        *ports,
                    ),
                    *("--skipApiVersionCheck", "--disableTelemetry"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"},
            )
        deadline = time.monotonic() + PATIENCE
        while not all(listens(port) for port in self.ports):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError((self.location / "output.txt").read_text()[-2000:] or "azurite does not listen")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it in good order: what it holds is on disk afterwards."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
        self._process = None

    def kill(self) -> None:
        """End it as a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
        self._process = None

    def restart(self) -> None:
        """End it in good order and start it again with what it had."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listened on just now; held together, so that they differ."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def listens(port: int) -> bool:
    with socket.socket() as one:
        one.settimeout(1)
        return one.connect_ex(("127.0.0.1", port)) == 0
