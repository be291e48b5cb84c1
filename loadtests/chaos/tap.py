"""What goes over a client's connection, in both directions: the reference client's own transport, listened in on.

The client repeats a command until it is answered, but sends a report once. Whether a report was counted whose answer
was lost nobody could say, so reports are sent from here, over the client's connection, and again under their `seq`.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from loadtests.chaos.record import Asked, Payload, Record
from playhead.client import Listener, Refusal
from playhead.client.socketio_transport import SocketIoTransport

ACK_TIMEOUT_S = 5.0
"""As long as the client waits before it gives a connection up."""


class Lost(Exception):
    """The connection is over, or does not answer: whatever was asked may have been done."""


class Tap:
    """Transport of one device. `on_join` is called with every snapshot of a fresh connection, `on_loss` at its end.

    `loses_ack` is asked for every answer to a command or a report: whether the connection breaks before it arrives.
    """

    def __init__(
        self,
        listener_id: str,
        device_id: str,
        record: Record,
        *,
        on_join: Callable[[], None],
        on_loss: Callable[[], None],
        loses_ack: Callable[[], bool],
    ) -> None:
        self._inner = SocketIoTransport()
        self._listener_id = listener_id
        self._device_id = device_id
        self._record = record
        self._on_join = on_join
        self._on_loss = on_loss
        self._loses_ack = loses_ack
        self._listener: Listener | None = None
        self._connection = 0
        self._own = 0
        self._reports: dict[int, asyncio.Future[Payload]] = {}
        self._joins: set[int] = set()
        self._sent: dict[int, Asked] = {}
        self._commands: dict[str, Asked] = {}
        self.url = ""

    # towards the server

    def open(self, connection: int, url: str, auth: Payload, listener: Listener) -> None:
        self._listener, self._connection, self.url = listener, connection, url
        self._inner.open(connection, url, auth, self)

    def send(self, connection: int, request: int, event: str, payload: Payload) -> None:
        if event == "join":
            self._joins.add(request)
        elif "command_id" in payload:
            self._sent[request] = self._command(event, payload)
        self._inner.send(connection, request, event, payload)

    def close(self, connection: int) -> None:
        self._inner.close(connection)
        self._over()

    async def shutdown(self) -> None:
        self._over()
        await self._inner.shutdown()

    def drop(self) -> None:
        """Breaks the connection without a word, as a lost network does: what is on its way may or may not arrive."""
        found = self._inner._connections.get(self._connection)
        websocket = None if found is None else found._sio.eio.ws
        connection = None if websocket is None else websocket._response.connection
        if connection is not None and connection.transport is not None:
            connection.transport.abort()

    async def report(self, payload: Payload) -> Payload:
        """Sends a report; its ack. Raises Lost."""
        self._own -= 1
        request, answer = self._own, asyncio.get_running_loop().create_future()
        self._reports[request] = answer
        try:
            self._inner.send(self._connection, request, "progress", payload)
            async with asyncio.timeout(ACK_TIMEOUT_S):
                ack: Payload = await answer
                return ack
        except TimeoutError:
            raise Lost("There is no answer.") from None
        finally:
            self._reports.pop(request, None)

    def _command(self, event: str, payload: Payload) -> Asked:
        command_id = payload["command_id"]
        asked = self._commands.get(command_id)
        if asked is None:
            asked = self._commands[command_id] = self._record.begin(self._listener_id, self._device_id, event, payload)
        asked.sends += 1
        return asked

    def given_up(self, command_id: str, ack: Payload) -> None:
        """The client has sent it often enough: the last answer stands."""
        if (asked := self._commands.pop(command_id, None)) is not None:
            self._record.finish(asked, ack)

    # from the server

    def opened(self, connection: int) -> None:
        assert self._listener is not None
        self._listener.opened(connection)

    def open_failed(self, connection: int, refusal: Refusal | None) -> None:
        assert self._listener is not None
        if refusal is not None:
            self._record.refused(refusal.code)
        self._listener.open_failed(connection, refusal)

    def received(self, connection: int, event: str, data: Any) -> None:
        assert self._listener is not None
        if event == "state":
            self._record.told(data, self._listener_id)
        elif event == "session_started":
            self._record.told(data["state"], self._listener_id)
        self._listener.received(connection, event, data)

    def answered(self, connection: int, request: int, ack: Any) -> None:
        assert self._listener is not None
        if (request < 0 or request in self._sent) and self._loses_ack():
            self.drop()
            return
        if request < 0:
            self._reported(connection, request, ack)
            return
        if request in self._sent:
            self._answered(self._sent.pop(request), ack)
        joined = request in self._joins
        self._joins.discard(request)
        if joined and ack["ok"] and ack["state"] is not None:
            self._record.told(ack["state"], self._listener_id)
        self._listener.answered(connection, request, ack)
        if joined and ack["ok"]:
            self._on_join()

    def closed(self, connection: int) -> None:
        assert self._listener is not None
        self._over()
        self._listener.closed(connection)

    def _answered(self, asked: Asked, ack: Payload) -> None:
        if not ack["ok"] and ack["error"]["retry"]:
            self._record.refused(ack["error"]["code"], asked)
            return
        del self._commands[asked.payload["command_id"]]
        self._record.finish(asked, ack)

    def _reported(self, connection: int, request: int, ack: Payload) -> None:
        answer = self._reports.get(request)
        if answer is not None and not answer.done():
            answer.set_result(ack)
        state = ack.get("state") if ack["ok"] else ack["error"].get("state")
        if state is not None and self._listener is not None:
            # the client did not ask, so to it this is news like any other
            self._listener.received(connection, "state", state)

    def _over(self) -> None:
        self._sent.clear()
        self._joins.clear()
        for answer in self._reports.values():
            if not answer.done():
                answer.set_exception(Lost("The connection ended."))
        self._on_loss()
