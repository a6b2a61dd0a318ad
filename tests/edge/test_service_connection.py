"""Connections seen from inside: what a client that goes away, or a stop, leaves behind."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
import uvicorn
from shelfgap_edge.service.connection import connection_class
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from uvicorn.server import ServerState

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"


async def take(request):
    try:
        await request.body()
    except ClientDisconnect:
        return PlainTextResponse("gone", 400)
    return PlainTextResponse("whole")


@asynccontextmanager
async def listening():
    """Listen; yields the connections that were made, the reasons that were counted, and the port."""
    limits = SimpleNamespace(connections=10, body_seconds=300.0)
    made, counted = [], []
    protocol = connection_class(lambda: limits, counted.append)
    app = Starlette(routes=[Route("/", take, methods=["POST"])])
    config = uvicorn.Config(app, ws="none", lifespan="off", log_config=None)
    config.load()
    state = ServerState()

    def make():
        made.append(protocol(config, state, {}, asyncio.get_running_loop()))
        return made[-1]

    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    try:
        async with asyncio.timeout(60):
            yield made, counted, server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def until(holds):
    while not holds():
        await asyncio.sleep(0.01)


def reset(writer):
    """Close so that the other end gets an error in place of an end."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


@pytest.mark.parametrize("leave", [lambda writer: writer.close(), reset], ids=["closed", "reset"])
@pytest.mark.parametrize("body", [b"abc", b"abcdefghij"], ids=["within the body", "after an answer"])
def test_no_timer_outlives_a_connection_and_holds_on_to_what_came_in(leave, body):
    async def main():
        async with listening() as (made, _, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HEAD + b"Content-Length: 10\r\n\r\n" + body)
            if len(body) == 10:
                assert b"HTTP/1.1 200" in await reader.readline()
            await until(lambda: made and made[0].cycle is not None)
            leave(writer)
            await until(lambda: not made[0].connections)
            return made[0]

    connection = asyncio.run(main())
    assert (connection._deadline, connection.timeout_keep_alive_task) == (None, None)


def test_a_stop_closes_a_connection_whose_sender_has_its_refusal_and_counts_it_once():
    async def main():
        async with listening() as (made, counted, port):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\nno number\r\n")
            assert b"HTTP/1.1 400" in await reader.readline()
            made[0].shutdown()
            writer.write(b"more of it")
            await until(lambda: not made[0].connections)
            writer.close()
            return counted

    assert asyncio.run(main()) == ["malformed-request"]
