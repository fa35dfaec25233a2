"""Requests -> the real worker library -> responses: the worker process, in place of the gRPC stream a socket.

`python worker.py FD LEVEL`: frames of a length and a StreamingMessage on the socket FD. What the app writes to
standard output and what it logs go where a worker's go.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import sys
from types import SimpleNamespace

import azure_functions_runtime as runtime  # type: ignore[import-untyped]
import rpc_pb2 as protos  # type: ignore[import-not-found]  # compiled by host.py

HANDLERS = {
    "worker_init_request": (runtime.worker_init_request, "worker_init_response"),
    "functions_metadata_request": (runtime.functions_metadata_request, "function_metadata_response"),
    "invocation_request": (runtime.invocation_request, "invocation_response"),
}


async def serve(connection: socket.socket) -> None:
    reader, writer = await asyncio.open_connection(sock=connection)
    while True:
        try:
            (size,) = struct.unpack(">I", await reader.readexactly(4))
        except asyncio.IncompleteReadError:
            break
        request = protos.StreamingMessage.FromString(await reader.readexactly(size))
        handle, name = HANDLERS[request.WhichOneof("content")]
        answer = await handle(SimpleNamespace(request=request, properties={"host": "127.0.0.1", "protos": protos}))
        frame = protos.StreamingMessage(request_id=request.request_id, **{name: answer}).SerializeToString()
        writer.write(struct.pack(">I", len(frame)) + frame)
        await writer.drain()
    writer.close()


if __name__ == "__main__":
    logging.basicConfig(level=sys.argv[2], format="%(levelname)s %(name)s: %(message)s")
    asyncio.run(serve(socket.socket(fileno=int(sys.argv[1]))))
