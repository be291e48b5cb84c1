"""An address that leads where the test says: to this server, later to another one, or nowhere."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

CHUNK_BYTES = 65_536

Target = Path | int
"""A unix socket, or a port."""


class Proxy:
    """Passes TCP connections on to a server's unix socket, or its port of this machine. Made by `proxying`.

    `target` None refuses them.
    """

    def __init__(self) -> None:
        self.port = 0
        self.target: Target | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._frozen: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Ends every connection, as a lost network does."""
        for writer in list(self._open):
            writer.transport.abort()

    def freeze(self) -> None:
        """Nothing gets through what is open now, and nobody is told; new connections work."""
        self._frozen |= self._open

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.target is None:
                raise ConnectionRefusedError
            far_reader, far_writer = await _connected(self.target)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, far_writer}
        self._open |= both
        await asyncio.gather(self._pass_on(reader, far_writer), self._pass_on(far_reader, writer))
        self._open -= both
        self._frozen -= both

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(CHUNK_BYTES):
                if writer not in self._frozen:
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass
        # one end that is closed closes the other
        writer.transport.abort()


async def _connected(target: Target) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if isinstance(target, Path):
        return await asyncio.open_unix_connection(str(target))
    return await asyncio.open_connection("127.0.0.1", target)


@asynccontextmanager
async def proxying(target: Target | None) -> AsyncIterator[Proxy]:
    """Listens on a port of its own until the block ends."""
    proxy = Proxy()
    proxy.target = target
    server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        while proxy._open:
            proxy.cut()
            await asyncio.sleep(0)
        await server.wait_closed()
