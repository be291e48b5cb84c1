"""Clients that send any text at all: packets by hand, over a bare websocket and over bare requests."""

import asyncio
import base64
import json
from abc import ABC, abstractmethod
from collections import deque
from contextlib import suppress
from io import BytesIO
from typing import Any

import aiohttp

WAIT_S = 5.0


class Closed(Exception):
    """The server has closed the session. `code`: the close code of its websocket; None without one."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


class Talk(ABC):
    """A session, on whichever transport: a frame is a packet of Engine.IO, or the bytes of a binary message."""

    @abstractmethod
    async def send(self, frame: str | bytes) -> None: ...

    @abstractmethod
    async def receive(self) -> str | bytes:
        """The next frame. Raises Closed."""

    async def ask(self, frame: str | bytes) -> str | bytes:
        """Sends it, and answers what comes next."""
        await self.send(frame)
        return await self.receive_no_ping()

    async def receive_no_ping(self) -> str | bytes:
        """The next frame that is no ping; those are answered."""
        while (frame := await self.receive()) == "2":
            await self.send("3")
        return frame

    async def connect(self, namespace: str = "") -> str:
        """On a namespace (`/custom,`); its sid."""
        await self.send(f"40{namespace}")
        auth, connected = await self.receive_no_ping(), await self.receive_no_ping()
        assert auth == f'42{namespace}["auth",{{}}]'
        assert isinstance(connected, str) and connected.startswith(f"40{namespace}{{")
        return str(json.loads(connected[2 + len(namespace) :])["sid"])

    async def closed(self) -> int | None:
        """Returns its code, when it is closed; what comes before is left out."""
        try:
            while True:
                await self.receive_no_ping()
        except Closed as error:
            return error.code

    async def alive(self) -> None:
        """The connection works. On the default namespace."""
        await self.send('421234["message-with-ack","alive"]')
        while (frame := await self.receive_no_ping()) != '431234["alive"]':
            assert frame[:2] != "44", frame


class RawSocket(Talk):
    """One websocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def send(self, frame: str | bytes) -> None:
        await (self.socket.send_str(frame) if isinstance(frame, str) else self.socket.send_bytes(frame))

    async def receive(self) -> str | bytes:
        message = await self.socket.receive(timeout=WAIT_S)
        if message.type in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
            data: str | bytes = message.data
            return data
        raise Closed(self.socket.close_code)

    async def open(self) -> dict[str, Any]:
        frame = await self.receive()
        assert isinstance(frame, str) and frame.startswith("0{")
        opened: dict[str, Any] = json.loads(frame[1:])
        return opened


class Polls:
    """A session on long polling."""

    def __init__(self, http: aiohttp.ClientSession, address: str, opened: dict[str, Any]) -> None:
        self._http = http
        self.address = f"{address}&sid={opened['sid']}"
        self.opened = opened
        self.sid = str(opened["sid"])

    @classmethod
    async def open(cls, http: aiohttp.ClientSession, address: str) -> "Polls":
        async with http.get(address) as answer:
            text = await answer.text()
            assert answer.status == 200 and text.startswith("0{")
        return cls(http, address, json.loads(text[1:]))

    async def get(self, **options: Any) -> tuple[int, str]:
        async with asyncio.timeout(WAIT_S), self._http.get(self.address, **options) as answer:
            return answer.status, await answer.text()

    async def post(self, body: str | bytes, **options: Any) -> tuple[int, str]:
        data = body.encode() if isinstance(body, str) else body
        # as a file, because aiohttp warns of what is large otherwise
        async with asyncio.timeout(WAIT_S), self._http.post(self.address, data=BytesIO(data), **options) as answer:
            return answer.status, await answer.text()

    async def packets(self) -> list[str]:
        status, text = await self.get()
        assert status == 200
        return text.split("\x1e")


class PolledSocket(Talk):
    """A session on long polling, used like a websocket. What the server refuses shows in the next poll."""

    def __init__(self, polls: Polls) -> None:
        self.polls = polls
        self._come: deque[str] = deque()

    async def send(self, frame: str | bytes) -> None:
        with suppress(aiohttp.ClientError):
            await self.polls.post(frame if isinstance(frame, str) else f"b{base64.b64encode(frame).decode()}")

    async def receive(self) -> str | bytes:
        if not self._come:
            status, text = await self.polls.get()
            if status != 200:
                raise Closed(None)
            self._come.extend(text.split("\x1e"))
        packet = self._come.popleft()
        if packet == "1":
            raise Closed(None)
        return base64.b64decode(packet[1:]) if packet.startswith("b") else packet
