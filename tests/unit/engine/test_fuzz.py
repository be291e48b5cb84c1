"""Anything at all through decoder and dispatch: a session takes it, or is over for a reason; another one goes on."""

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from socketio.packet import Packet

from playhead.engine.endings import Ending
from playhead.engine.packets import Unreadable
from playhead.engine.sessions import Session
from playhead.engine.socket_server import ATTACHMENTS_MAX, SocketServer

BYTES_MAX = 10_000
PONG_OF_OTHER = '4399["alive"]'

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
placeholders = st.builds(lambda number: {"_placeholder": True, "num": number}, st.integers(-2, 3) | st.text(max_size=2))
names = st.sampled_from(["echo", "waits", "fails", "connect", "disconnect", "*", "nobody's", ""])
namespaces = st.sampled_from(["", "/,", "/custom,", "/none,", "/custom", "/,?x,"])
acks = st.sampled_from(["", "0", "7", "9" * 30, "-1", "²"])
packets = st.builds(
    lambda kind, count, namespace, ack, name, arguments: (
        f"4{kind}{count}{namespace}{ack}{json.dumps([name, *arguments])}"
    ),
    st.sampled_from("0123456789a"),
    st.sampled_from(["", "0-", "1-", "2-", f"{ATTACHMENTS_MAX + 1}-", "99999999999-", "x-"]),
    namespaces,
    acks,
    names,
    st.lists(values | placeholders, max_size=3),
)
frames = st.one_of(
    packets,
    st.sampled_from(
        ["40", "41", "40/custom,", "3", "1", "2", "5", "6", "", "4", "42[]", "43[]", "45", "42" + "[" * 5_000]
    ),
    st.text(max_size=30),
    st.text(max_size=30).map(lambda text: f"42{text}"),
    st.binary(max_size=30),
)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Its log would be long."""
    logger = logging.getLogger("engineio.server")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


class Server:
    """Without a network: sessions keep what they would be told."""

    def __init__(self, packet_class: type[Packet]) -> None:
        self.ended: list[Ending] = []
        self.sio = SocketServer(
            async_handlers=False,
            max_http_buffer_size=BYTES_MAX,
            namespaces=["/custom"],
            on_ended=self.ended.append,
            serializer=packet_class,
        )
        self.handled = 0

        async def connect(sid: str, environ: Any, auth: Any) -> None:
            self.handled += 1

        async def echo(sid: str, *data: Any) -> tuple[Any, ...]:
            self.handled += 1
            return data

        async def waits(sid: str, *data: Any) -> None:
            await asyncio.sleep(0)
            self.handled += 1

        async def fails(sid: str, *data: Any) -> None:
            raise RuntimeError("a bug")

        for name, handler in {"connect": connect, "echo": echo, "waits": waits, "fails": fails}.items():
            self.sio.on(name, handler)

    def open(self) -> Session:
        session = self.sio.eio.open({})
        session.take("40")
        session._backlog.clear()
        return session

    async def feed(self, session: Session, frame: str | bytes) -> None:
        try:
            session.take(frame)
        except Unreadable:
            session.end("transport error", Ending.UNREADABLE)
        if session._turns is not None and session._turns.busy:
            await asyncio.sleep(0)


async def scenario(sent: list[str | bytes], packet_class: type[Packet] = Packet) -> None:
    server = Server(packet_class)
    session, other = server.open(), server.open()
    for frame in sent:
        await server.feed(session, frame)
    for _ in range(3 * len(sent) + 3):
        await asyncio.sleep(0)
    for pending in server.sio._binary_packet.values():
        assert len(pending.attachments) < pending.attachment_count <= ATTACHMENTS_MAX
    if session.closed:
        assert session.sid not in server.sio.eio.sockets and session.sid not in server.sio.environ
        assert session.sid not in server.sio._binary_packet
        assert all(eio_sid != session.sid for _, eio_sid in server.sio.manager.get_participants("/", None))
    assert not other.closed
    other.take('4299["echo","alive"]')
    (answer,) = other._backlog
    assert not isinstance(answer, str) and answer.packet.decode() == PONG_OF_OTHER
    await server.sio.shutdown()


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.lists(frames, max_size=8))
@example(['452-["echo",{"_placeholder":true,"num":0}]', b"x", b"y", '421["echo"]'])
@example(['42["waits"]', '42["echo"]', "1", '42["echo"]'])
@example(['451-["waits",{"_placeholder":true,"num":0}]', "1", b"x"])
def test_any_frames_are_taken_or_end_their_session_alone(sent: list[str | bytes]) -> None:
    asyncio.run(scenario(sent))
