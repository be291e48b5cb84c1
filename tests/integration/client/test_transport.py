"""The transport by itself: what it tells its listener, in order, and that nothing is left of it."""

import asyncio
from typing import Any

from playhead.client.core.wire import Refusal
from playhead.client.socketio_transport import SocketIoTransport
from tests.support.nodes import Node, make_token
from tests.support.states import SCRIPT_ID

TIMEOUT_S = 10.0


class Heard:
    """Everything that a transport tells, in order."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()

    def opened(self, connection: int) -> None:
        self.told.put_nowait(("opened", connection))

    def open_failed(self, connection: int, refusal: Refusal | None) -> None:
        self.told.put_nowait(("open_failed", connection, refusal))

    def received(self, connection: int, event: str, data: Any) -> None:
        self.told.put_nowait(("received", connection, event, data))

    def answered(self, connection: int, request: int, ack: Any) -> None:
        self.told.put_nowait(("answered", connection, request, ack))

    def closed(self, connection: int) -> None:
        self.told.put_nowait(("closed", connection))

    async def next(self) -> tuple[Any, ...]:
        return await asyncio.wait_for(self.told.get(), TIMEOUT_S)

    async def until(self, kind: str) -> list[tuple[Any, ...]]:
        """Everything up to the next of that kind."""
        told = [await self.next()]
        while told[-1][0] != kind:
            told.append(await self.next())
        return told


def auth(token: str) -> dict[str, Any]:
    return {"token": token, "device": {"id": "phone", "name": "Phone", "kind": "phone"}, "protocol": 1}


async def test_it_opens_answers_in_order_and_closes_by_the_server(nodes: tuple[Node, Node]) -> None:
    transport, heard = SocketIoTransport(), Heard()
    transport.open(7, nodes[0].url, auth(make_token()), heard)
    assert await heard.next() == ("opened", 7)
    for number in range(20):
        transport.send(7, number, "clock", {"t0": number})
    for number in range(20):
        kind, connection, request, ack = await heard.next()
        assert (kind, connection, request, ack["t0"]) == ("answered", 7, number, number)
    await nodes[0].realtime.stop()
    assert await heard.next() == ("closed", 7)
    transport.send(7, 99, "clock", {"t0": 1})
    await transport.shutdown()
    assert heard.told.empty()


async def test_a_refusal_is_told_in_the_servers_words(nodes: tuple[Node, Node]) -> None:
    transport, heard = SocketIoTransport(), Heard()
    transport.open(1, nodes[0].url, auth("a.b.c"), heard)
    kind, connection, refusal = await heard.next()
    assert (kind, connection, refusal.code, refusal.retry) == ("open_failed", 1, "unauthorized", False)
    await transport.shutdown()


async def test_a_closed_connection_tells_nothing_any_more_and_the_others_go_on(nodes: tuple[Node, Node]) -> None:
    transport, heard = SocketIoTransport(), Heard()
    transport.open(1, nodes[0].url, auth(make_token()), heard)
    assert await heard.next() == ("opened", 1)
    transport.send(1, 1, "join", {"script_id": SCRIPT_ID})
    transport.close(1)
    transport.close(1)
    transport.send(1, 2, "join", {"script_id": SCRIPT_ID})
    transport.open(2, nodes[1].url, auth(make_token()), heard)
    told = await heard.until("opened")
    transport.send(2, 3, "clock", {"t0": 1})
    told += await heard.until("answered")
    assert {row[1] for row in told} == {2}
    await transport.shutdown()


async def test_a_shutdown_ends_what_is_open_and_what_is_opening(nodes: tuple[Node, Node]) -> None:
    before = asyncio.all_tasks()
    transport, heard = SocketIoTransport(), Heard()
    transport.open(1, nodes[0].url, auth(make_token()), heard)
    assert await heard.next() == ("opened", 1)
    transport.open(2, nodes[1].url, auth(make_token()), heard)
    await transport.shutdown()
    assert {task.get_name() for task in asyncio.all_tasks() - before if "client" in task.get_name()} == set()
    while not heard.told.empty():
        assert (await heard.next())[0] == "received", "the end of neither is told"
