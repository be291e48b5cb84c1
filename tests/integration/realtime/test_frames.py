"""What is no packet at all: it ends the connection in order, by either transport, and is a line in the log."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
import socketio

from playhead.realtime.server import TRANSPORT_BYTES_MAX
from playhead.runtime.request_logs import HidesBadRequests
from tests.integration.realtime.raw import open_raw
from tests.integration.sessions.lines import eventually
from tests.support.nodes import Node, make_token
from tests.support.sockets import CONNECT_TIMEOUT_S
from tests.support.states import LISTENER_ID

ANSWER_TIMEOUT_S = 10.0
GARBAGE = ["", "x", "0", "9", "bzzz!", "\N{SNOWMAN}", "d=4", "null", "<html>"]


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The records that production would write: the filter is the same."""
    hides = HidesBadRequests(hides_all=True, monotonic_s=lambda: 0.0)
    caplog.handler.addFilter(hides)
    yield caplog
    caplog.handler.removeFilter(hides)


def ended(node: Node, reason: str) -> float:
    return node.registry.get_sample_value("playhead_sockets_ended_total", {"reason": reason}) or 0.0


async def all_gone(node: Node) -> None:
    """Returns when nothing of any connection is left, here or in the store."""

    async def gone() -> bool:
        return not await node.presence.devices(LISTENER_ID) and len(node.connections) == 0

    await eventually(gone)


def check_log(logged: pytest.LogCaptureFixture, refused: int) -> None:
    """Nothing but one line, as no time passes, and no traceback."""
    assert [record.exc_info for record in logged.records if record.levelno >= logging.WARNING] == [None]
    assert refused >= 1 and "was refused; it is not shown" in logged.text


async def test_garbage_on_a_websocket_closes_it_and_leaves_no_ghost(
    node: Node, logged: pytest.LogCaptureFixture
) -> None:
    for text in GARBAGE:
        async with open_raw(node.url) as raw:
            await raw.send_frame(text)
            with pytest.raises(ConnectionError):
                await raw.receive()
        await all_gone(node)
    assert ended(node, "unreadable") == len(GARBAGE)
    check_log(logged, len(GARBAGE))


@asynccontextmanager
async def polling(node: Node) -> AsyncIterator[tuple[aiohttp.ClientSession, str]]:
    """A connection by long polling that has been let in."""
    timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        address = f"{node.url}/socket.io/?EIO=4&transport=polling"
        opened = json.loads((await (await session.get(address)).text())[1:])
        address = f"{address}&sid={opened['sid']}"
        device = {"id": "phone", "name": "Phone", "kind": "phone"}
        await session.post(address, data="40" + json.dumps({"token": make_token(), "device": device, "protocol": 1}))
        assert (await (await session.get(address)).text()).startswith("40{")
        yield session, address


async def test_garbage_in_a_polling_body_is_400_and_closes_the_connection(
    node: Node, logged: pytest.LogCaptureFixture
) -> None:
    bodies = [text.encode() for text in GARBAGE if text] + [b"\xff", b"4\x1e" * 30, b"2probe"]
    for body in bodies:
        async with polling(node) as (session, address):
            waiting = asyncio.create_task(session.get(address))
            async with session.post(address, data=body) as answer:
                assert answer.status == 400, body
            await waiting  # the poll under way ends, too
            async with session.get(address) as later:
                assert later.status == 400
        await all_gone(node)
    assert ended(node, "unreadable") == len(bodies)
    check_log(logged, len(bodies))


async def test_a_body_that_comes_in_parts_is_read_whole(node: Node) -> None:
    async with polling(node) as (session, address):
        packet = json.dumps(["clock", {"t0": 1}])

        async def parts() -> AsyncIterator[bytes]:
            yield b"421" + packet[:5].encode()
            await asyncio.sleep(0.05)
            yield packet[5:].encode()

        headers = {"Content-Length": str(len(packet) + 3)}
        assert (await session.post(address, data=parts(), headers=headers)).status == 200
        assert (await (await session.get(address)).text()).startswith('431[{"ok":true')


class TestTooLarge:
    async def test_a_packet_that_is_just_small_enough_for_the_transport_is_answered(self, node: Node) -> None:
        async with open_raw(node.url) as raw:
            padding = "x" * (TRANSPORT_BYTES_MAX - len('421["clock",""]'))
            answer = await raw.ask(f'["clock","{padding}"]')
            assert answer["error"]["code"] == "too_large"
            assert (await raw.call("clock", {"t0": 1}))["ok"], "the connection goes on"

    async def test_a_byte_more_ends_a_websocket_with_a_reason(self, node: Node) -> None:
        async with open_raw(node.url) as raw:
            await raw.send_frame("4" * (TRANSPORT_BYTES_MAX + 1))
            with pytest.raises(ConnectionError, match="1009"):
                await raw.receive()
        await all_gone(node)
        assert ended(node, "too_large") == 1

    async def test_a_byte_more_ends_a_polling_connection_with_400(self, node: Node) -> None:
        async with polling(node) as (session, address):
            async with session.post(address, data=b"4" * (TRANSPORT_BYTES_MAX + 1)) as answer:
                assert answer.status == 400
        await all_gone(node)
        assert ended(node, "too_large") == 1

    async def test_the_client_is_told_and_connects_again_by_itself(self, node: Node) -> None:
        client = socketio.AsyncClient(reconnection_delay=0.01, randomization_factor=0)
        told: asyncio.Queue[str] = asyncio.Queue()
        connected: asyncio.Queue[None] = asyncio.Queue()
        client.on("disconnect", told.put)
        client.on("connect", lambda: connected.put_nowait(None))
        device = {"id": "phone", "name": "Phone", "kind": "phone"}
        auth = {"token": make_token(), "device": device, "protocol": 1}
        await client.connect(node.url, auth=auth, transports=["websocket"], wait_timeout=CONNECT_TIMEOUT_S)
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            await connected.get()
            await client.emit("clock", "x" * TRANSPORT_BYTES_MAX)
            assert await told.get() == client.reason.TRANSPORT_ERROR
            await connected.get()
            assert (await client.call("clock", {"t0": 1}))["ok"]
        await client.disconnect()
