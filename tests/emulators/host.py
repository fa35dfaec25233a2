"""Batches and timer ticks -> invocations: the Functions host's part of starting and calling this app.

The app runs as deployed: a copy of the checkout without what `.funcignore` leaves out, in a process of its own, under
Microsoft's own worker library, called with the messages the host sends. What the .NET host does itself is not here:
reading host.json, resolving `%...%`, listening to the hub, checkpoints, retries, the timer's schedule.
"""

from __future__ import annotations

import fnmatch
import importlib
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

CHECKOUT = Path(__file__).parent.parent.parent
PATIENCE = 60
HEALTH = " ikestream.health: health "


@dataclass(frozen=True, slots=True)
class HubEvent:
    """One event as the host takes it from the hub."""

    body: bytes
    sequence_number: int
    enqueued: int  # ms


def deploy(target: Path) -> Path:
    """Copy what a deployment takes: everything but the lines of `.funcignore`."""
    lines = (CHECKOUT / ".funcignore").read_text().splitlines()
    ignored = [line.strip("/") for line in lines if line and not line.startswith("#")]

    def left_out(folder: str, names: Iterable[str]) -> set[str]:
        inside = Path(folder).relative_to(CHECKOUT)
        return {
            name
            for name in names
            for rule in ignored
            if fnmatch.fnmatch(str(inside / name) if "/" in rule else name, rule)
        }

    shutil.copytree(CHECKOUT, target, ignore=left_out)
    return target


def messages(target: Path) -> Path:
    """Compile rpc.proto into a folder for PYTHONPATH."""
    from grpc_tools import protoc  # type: ignore[import-untyped]

    target.mkdir()
    well_known = Path(protoc.__file__).parent / "_proto"
    source = Path(__file__).parent
    assert not protoc.main(["", f"-I{source}", f"-I{well_known}", f"--python_out={target}", str(source / "rpc.proto")])
    sys.path.insert(0, str(target))
    return target


class Worker:
    """One worker process with the app in `folder`, indexed. `rows` and `logged` are what it has written so far."""

    def __init__(
        self, folder: Path, protos: Path, scratch: Path, settings: Mapping[str, str], level: str = "INFO"
    ) -> None:
        self.protos: Any = importlib.import_module("rpc_pb2")
        self.functions: dict[str, Any] = {}
        self._folder = folder
        self._files = [(scratch / f"{name}-{uuid.uuid4()}").open("w+b") for name in ("stdout", "stderr")]
        self._socket, theirs = socket.socketpair()
        self._one = threading.Lock()
        self._socket.settimeout(PATIENCE)
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        self._process = subprocess.Popen(  # noqa: S603 - our own worker
            [sys.executable, "-P", str(Path(__file__).parent / "worker.py"), str(theirs.fileno()), level],
            cwd=folder,
            env={**kept, "PYTHONPATH": f"{folder}{os.pathsep}{protos}", **settings},
            stdout=self._files[0],
            stderr=self._files[1],
            pass_fds=[theirs.fileno()],
        )
        theirs.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for file in self._files:
            file.close()

    def start(self) -> Any:
        """Let the worker index the app; return the status, and on success know the functions."""
        request = self.protos.WorkerInitRequest(host_version="4.1", function_app_directory=str(self._folder))
        status = self._ask(worker_init_request=request).worker_init_response.result
        answer = self._ask(functions_metadata_request=self.protos.FunctionsMetadataRequest())
        self.functions = {found.name: found for found in answer.function_metadata_response.function_metadata_results}
        return status

    def learn(
        self, events: Sequence[HubEvent], partition: str = "0", context: str = "PartitionContext", offset: Any = str
    ) -> Any:
        """Hand over a batch as the host does with cardinality many and data type binary; return the status."""
        properties = [
            {
                "SequenceNumber": event.sequence_number,
                "Offset": offset(event.sequence_number * 100),
                "EnqueuedTimeUtc": datetime.fromtimestamp(event.enqueued / 1000, UTC).isoformat()[:-6] + "Z",
                "PartitionKey": None,
            }
            for event in events
        ]
        place = {"FullyQualifiedNamespace": "ns", "EventHubName": "vpn", "ConsumerGroup": "g", "PartitionId": partition}
        metadata = {"SystemPropertiesArray": properties, "PropertiesArray": [{} for _ in events], context: place}
        bodies = self.protos.CollectionBytes(bytes=[event.body for event in events])
        return self._call("learn", "events", self.protos.TypedData(collection_bytes=bodies), metadata)

    def ask(self) -> tuple[int, dict[str, Any]]:
        """Call the health endpoint; return the status and the body of its answer."""
        http = self.protos.TypedData(http=self.protos.RpcHttp(method="GET", url="http://localhost/api/health"))
        response = self._respond("health", "request", http, {})
        assert response.result.status == response.result.Success, response.result.exception.message
        answer = response.return_value.http
        return int(answer.status_code), json.loads(answer.body.string or answer.body.bytes)

    def tell(self) -> Any:
        """Let the timer fire once; return the status."""
        timer = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": None, "IsPastDue": False}
        return self._call("tell", "timer", self.protos.TypedData(json=json.dumps(timer)), {})

    def refresh(self) -> Any:
        """Let the other timer fire once; return the status."""
        timer = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": None, "IsPastDue": False}
        return self._call("inventory", "timer", self.protos.TypedData(json=json.dumps(timer)), {})

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What stands on standard output, each line as JSON."""
        return [json.loads(line) for line in self._written(0).splitlines()]

    @property
    def logged(self) -> list[str]:
        """The lines of the log that are the app's or another library's, not the worker's own, and no row of health."""
        own = (
            HEALTH,
            " azure.functions: ",
            "WARNING root: Auth level is not applied",
        )  # the latter for want of a web endpoint
        return [line for line in self._written(1).splitlines() if not any(words in line for words in own)]

    @property
    def health(self) -> list[dict[str, Any]]:
        """The rows of health that stand in the log."""
        lines = [line for line in self._written(1).splitlines() if HEALTH in line]
        return [json.loads(line.partition(HEALTH)[2]) for line in lines]

    def _written(self, which: int) -> str:
        return Path(self._files[which].name).read_text()

    def _call(self, name: str, argument: str, data: Any, metadata: Mapping[str, Any]) -> Any:
        return self._respond(name, argument, data, metadata).result

    def _respond(self, name: str, argument: str, data: Any, metadata: Mapping[str, Any]) -> Any:
        request = self.protos.InvocationRequest(
            invocation_id=str(uuid.uuid4()),
            function_id=self.functions[name].function_id,
            input_data=[self.protos.ParameterBinding(name=argument, data=data)],
            trigger_metadata={key: self.protos.TypedData(json=json.dumps(value)) for key, value in metadata.items()},
        )
        return self._ask(invocation_request=request).invocation_response

    def _ask(self, **content: Any) -> Any:
        frame = self.protos.StreamingMessage(request_id=str(uuid.uuid4()), **content).SerializeToString()
        with self._one:  # the worker answers one after the other
            self._socket.sendall(struct.pack(">I", len(frame)) + frame)
            (size,) = struct.unpack(">I", self._read(4))
            return self.protos.StreamingMessage.FromString(self._read(size))

    def _read(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            more = self._socket.recv(size - len(found))
            if not more:
                raise EOFError(f"the worker ended: {self._written(1)[-2000:]}")
            found += more
        return found
