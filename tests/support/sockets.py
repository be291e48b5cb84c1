"""A device of a listener, as tests drive it: a real Socket.IO client that remembers every event it was sent.

`expect_event` waits for an event with certain fields (also one that came already), `refute_event` says that none came
until the server has answered everything sent before.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import jwt
import socketio
import socketio.exceptions

from tests.support.messages import check_ack, check_event

CONNECT_TIMEOUT_S = 15.0
"""The library's own second is short on a machine whose cores other tests use as well."""
EXPECT_TIMEOUT_S = 15.0
CALL_TIMEOUT_S = 5.0
END_TIMEOUT_S = 15.0


class Client:
    """One connected device. Open it with `open`, end it with `close`."""

    def __init__(self, client: socketio.AsyncClient, listener_id: str, device_id: str) -> None:
        self.listener_id = listener_id
        self.device_id = device_id
        self.events: list[tuple[str, Any]] = []
        self._client = client
        self.end_reason: str | None = None
        self.undocumented: Exception | None = None
        """What is wrong with an event that is not as documented; told when the client is used next."""
        self._arrived = asyncio.Condition()
        self._ended = asyncio.Event()
        client.on("*", self._take)
        client.on("disconnect", self._disconnected)

    @classmethod
    async def open(
        cls, url: str, token: str, device_id: str = "phone", name: str = "Phone", **connect: Any
    ) -> "Client":
        """Connects by websocket. Raises socketio.exceptions.ConnectionError when the server refuses."""
        claims = jwt.decode(token, options={"verify_signature": False})
        client = cls(socketio.AsyncClient(reconnection=False), claims["sub"], device_id)
        device = {"id": device_id, "name": name, "kind": "phone"}
        auth = {"token": token, "device": device, "protocol": 1}
        try:
            how = {"auth": auth, "transports": ["websocket"], "wait_timeout": CONNECT_TIMEOUT_S, **connect}
            await client._client.connect(url, **how)
        except BaseException:
            await client.abandon()
            raise
        return client

    @property
    def connected(self) -> bool:
        return bool(self._client.connected)

    def _require_documented(self) -> None:
        if self.undocumented is not None:
            raise AssertionError("an event is not as documented") from self.undocumented

    async def close(self) -> None:
        self._require_documented()
        await self._client.disconnect()
        await self._client.shutdown()

    async def abandon(self) -> None:
        """Lets go of a connection in whatever state it is."""
        with suppress(socketio.exceptions.SocketIOError, ConnectionError):
            await self._client.shutdown()
        # which the library leaves open where it could not connect
        if self._client.eio.http is not None:
            await self._client.eio.http.close()

    async def ended(self, timeout_s: float = END_TIMEOUT_S) -> None:
        """Returns when the connection is over; `end_reason` then says how it ended."""
        await asyncio.wait_for(self._ended.wait(), timeout_s)
        await self._client.shutdown()

    async def _disconnected(self, reason: str) -> None:
        self.end_reason = reason
        self._ended.set()

    async def drop(self) -> None:
        """Ends the TCP connection without a word, as a lost network does."""
        self._client.eio.ws._response.connection.transport.abort()

    def local_port(self) -> int:
        """Its end of the TCP connection."""
        port: int = self._client.eio.ws._response.connection.transport.get_extra_info("sockname")[1]
        return port

    async def call(self, event: str, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Sends an event and answers its ack."""
        answer: dict[str, Any] = await self._client.call(event, payload, timeout=CALL_TIMEOUT_S)
        check_ack(event, answer)
        self._require_documented()
        return answer

    async def call_with(self, event: str, *arguments: Any) -> dict[str, Any]:
        """Sends an event with any number of arguments, and answers its ack."""
        answer: dict[str, Any] = await self._client.call(event, arguments, timeout=CALL_TIMEOUT_S)
        return answer

    async def expect_event(self, name: str, timeout_s: float = EXPECT_TIMEOUT_S, **fields: Any) -> dict[str, Any]:
        """The first event of that name whose data has these fields."""
        try:
            async with asyncio.timeout(timeout_s), self._arrived:
                while (found := self._find(name, fields)) is None:
                    await self._arrived.wait()
                return found
        except TimeoutError:
            raise AssertionError(f"{self.device_id} saw no {name} with {fields}, but {self.events}") from None

    async def refute_event(self, name: str, **fields: Any) -> None:
        """No such event has come. A round trip to the server first, so that what was under way has arrived."""
        await self.call("clock", {"t0": 0})
        assert self._find(name, fields) is None, f"{self.device_id} saw {name} with {fields}"

    def _find(self, name: str, fields: Mapping[str, Any]) -> dict[str, Any] | None:
        for event, data in self.events:
            if event == name and fields.items() <= data.items():
                found: dict[str, Any] = data
                return found
        return None

    async def _take(self, event: str, data: Any) -> None:
        try:
            check_event(event, data)
        except (KeyError, ValueError) as error:
            self.undocumented = error
        async with self._arrived:
            self.events.append((event, data))
            self._arrived.notify_all()
