"""A server that speaks the protocol of Valkey and answers what the test says, or nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from hiredis import Reader

PRIMARY = b"$11\r\nrole:master\r\n"
GREETINGS = {"HELLO": b"%1\r\n+proto\r\n:3\r\n", "CLIENT": b"+OK\r\n", "INFO": PRIMARY}

Answer = Callable[[list[str]], bytes | None]
"""What is written for a command; None: nothing. Whatever it awaits for is the test's own affair."""


def echo(command: list[str]) -> bytes:
    """`ECHO x` is answered with x."""
    text = command[1].encode()
    return b"$%d\r\n%b\r\n" % (len(text), text)


class ScriptedRedis:
    """Made by `scripted_redis`. `answer` may be changed at any time; greetings are answered by themselves."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Transport] = set()
        self.answer: Answer = echo
        self.chunks: list[bytes] = []
        """As they were read."""
        self.commands: list[list[str]] = []
        """All but greetings."""
        self.connections = 0
        self.heard = asyncio.Event()
        """Set with every command that is no greeting."""

    @property
    def url(self) -> str:
        return f"unix://{self._path}"

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: _Peer(self), str(self._path))

    def refuse(self) -> None:
        """Takes no more connections, and ends those that are open."""
        assert self._server is not None
        self._server.close()
        self._path.unlink(missing_ok=True)
        self.cut()

    def cut(self) -> None:
        for transport in list(self._open):
            transport.abort()

    def write(self, data: bytes) -> None:
        for transport in self._open:
            transport.write(data)

    def deafen(self) -> None:
        """Reads nothing any more."""
        for transport in self._open:
            transport.pause_reading()

    async def wait_for(self, count: int) -> None:
        """Returns when so many commands have come."""
        while len(self.commands) < count:
            self.heard.clear()
            await self.heard.wait()


class _Peer(asyncio.Protocol):
    def __init__(self, server: ScriptedRedis) -> None:
        self._server = server
        self._reader = Reader(encoding="utf-8")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server._open.add(transport)
        self._server.connections += 1

    def connection_lost(self, error: Exception | None) -> None:
        self._server._open.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._server.chunks.append(data)
        self._reader.feed(data)
        while command := self._reader.gets():
            answer = GREETINGS.get(command[0])
            if answer is None:
                self._server.commands.append(command)
                self._server.heard.set()
                answer = self._server.answer(command)
            if answer is not None:
                self._transport.write(answer)


@asynccontextmanager
async def scripted_redis(folder: Path) -> AsyncIterator[ScriptedRedis]:
    """Listens on a socket in that folder until the block ends."""
    server = ScriptedRedis(folder / "scripted.sock")
    await server.start()
    try:
        yield server
    finally:
        server.refuse()
        await asyncio.sleep(0)  # in which the loop closes what was cut
