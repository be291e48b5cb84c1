"""A listener that somebody else has opened: it outlives the server, with the connections that wait in it."""

import asyncio
import socket

from tests.integration.engine.conftest import start_engine

REQUEST = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


async def test_connections_that_no_server_has_taken_are_answered_by_the_next_one() -> None:
    with socket.create_server(("127.0.0.1", 0)) as kept:
        address = kept.getsockname()
        async with start_engine(listener=kept.dup()) as engine:
            assert engine.url.endswith(f":{address[1]}")
            await engine.opened()
        reader, writer = await asyncio.open_connection(*address)
        writer.write(REQUEST)
        async with start_engine(listener=kept.dup()):
            assert (await reader.readline()).split()[1] == b"200"
        writer.close()
