"""A client that sends any text at all: Engine.IO and Socket.IO by hand over a bare websocket."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.support.nodes import make_token

ANSWER_TIMEOUT_S = 5.0


class RawSocket:
    """One websocket. `texts` are the Socket.IO packets that came, without those of Engine.IO."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0

    async def send(self, packet: str) -> None:
        """A Socket.IO packet, as it is."""
        await self._socket.send_str(f"4{packet}")

    async def send_frame(self, text: str) -> None:
        """A frame that need not be a packet of Engine.IO."""
        await self._socket.send_str(text)

    async def send_bytes(self, attachment: bytes) -> None:
        await self._socket.send_bytes(attachment)

    async def receive(self) -> str:
        """The next Socket.IO packet."""
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            while True:
                message = await self._socket.receive()
                if message.type is not aiohttp.WSMsgType.TEXT:
                    raise ConnectionError(f"the server closed the connection: {message}")
                if message.data.startswith("4"):
                    return str(message.data[1:])
                if message.data == "2":
                    await self._socket.send_str("3")

    async def ask(self, json_text: str) -> dict[str, Any]:
        """Sends an event, whatever its JSON, and answers its ack; events in between are left out."""
        self._number += 1
        await self.send(f"2{self._number}{json_text}")
        while not (packet := await self.receive()).startswith(f"3{self._number}["):
            pass
        answer: dict[str, Any] = json.loads(packet[len(f"3{self._number}") :])[0]
        return answer

    async def call(self, event: str, payload: object) -> dict[str, Any]:
        return await self.ask(json.dumps([event, payload]))

    @property
    def closed(self) -> bool:
        return self._socket.closed


@asynccontextmanager
async def open_raw(
    url: str, device_id: str = "phone", *, receive_buffer_bytes: int | None = None, **auth: Any
) -> AsyncIterator[RawSocket]:
    """A socket that has been let in. `receive_buffer_bytes`: the kernel's, so that little can wait there unread."""

    def make_socket(address: Any) -> socket.socket:
        made = socket.socket(*address[:3])
        made.setblocking(False)
        if receive_buffer_bytes is not None:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        return made

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=make_socket)) as session:
        address = f"{url.replace('http', 'ws', 1)}/socket.io/?EIO=4&transport=websocket"
        async with session.ws_connect(address) as websocket:
            assert (await websocket.receive_str()).startswith("0")
            raw = RawSocket(websocket)
            device = {"id": device_id, "name": device_id, "kind": "phone"}
            await raw.send("0" + json.dumps({"token": make_token(), "device": device, "protocol": 1, **auth}))
            assert (await raw.receive()).startswith("0{")
            yield raw
