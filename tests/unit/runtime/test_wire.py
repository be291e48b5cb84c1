"""The protocol of a connection that many calls share, without a server: each call gets its own answer or failure."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from itertools import count, cycle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.exceptions import MasterDownError, ReadOnlyError, ResponseError

from playhead.runtime.wire import Call, CallLost, Wire

SOON_S = 0.01
LONG_S = 60.0


class Transport(asyncio.Transport):
    """Keeps what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.aborted = False

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted

    def close(self) -> None:
        self.aborted = True


@dataclass(slots=True)
class Connection:
    """A wire that is open, and what it has told."""

    answer_timeout_s: float = LONG_S
    done: list[Call] = field(default_factory=list)
    ended: list[Wire] = field(default_factory=list)
    writable: list[bool] = field(default_factory=list)
    transport: Transport = field(init=False)
    wire: Wire = field(init=False)

    def __post_init__(self) -> None:
        self.transport = Transport()
        self.wire = Wire(self.answer_timeout_s, self.done.append, lambda: self.writable.append(True), self.ended.append)
        self.wire.begin(asyncio.StreamWriter(self.transport, self.wire, None, asyncio.get_running_loop()))

    def send(self, *wanted: int | None) -> list[asyncio.Future[Any]]:
        """A call for each, in one write."""
        loop = asyncio.get_running_loop()
        calls = [Call(b"PING\r\n", each, loop.create_future(), 0.0) for each in wanted]
        self.wire.send(calls)
        return [call.future for call in calls]


Opened = Callable[..., Connection]


@pytest.fixture
async def opened() -> AsyncIterator[Opened]:
    connections = []

    def open_one(answer_timeout_s: float = LONG_S) -> Connection:
        connections.append(Connection(answer_timeout_s))
        return connections[-1]

    yield open_one
    for connection in connections:
        connection.wire.end("The test is over.")


def failure(future: asyncio.Future[Any]) -> str:
    assert isinstance(future.exception(), CallLost)
    return str(future.exception())


async def test_calls_that_are_sent_together_are_one_write(opened: Opened) -> None:
    connection = opened()
    connection.send(None, None, None)
    assert connection.transport.written == [b"PING\r\n" * 3]


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"+OK\r\n", b"OK"),
        (b":7\r\n", 7),
        (b"$-1\r\n", None),
        (b"_\r\n", None),
        (b"#f\r\n", False),
        (b"$3\r\na\r\n\r\n", b"a\r\n"),
        (b"*2\r\n$1\r\na\r\n*1\r\n:1\r\n", [b"a", [1]]),
    ],
)
async def test_an_answer_is_what_was_on_the_wire(line: bytes, answer: object, opened: Opened) -> None:
    connection = opened()
    (future,) = connection.send(None)
    connection.wire.data_received(line)
    assert future.result() == answer


async def test_an_error_answer_is_its_callers_alone_and_the_connection_stays(opened: Opened) -> None:
    connection = opened()
    before, refused, after = connection.send(None, None, None)
    connection.wire.data_received(b"+1\r\n-WRONGTYPE no\r\n+3\r\n")
    assert isinstance(refused.exception(), ResponseError) and "WRONGTYPE" in str(refused.exception())
    assert (before.result(), after.result(), connection.ended) == (b"1", b"3", [])


async def test_several_commands_of_one_call_fail_with_their_first_error_and_shift_nothing(opened: Opened) -> None:
    connection = opened()
    several, one = connection.send(3, None)
    connection.wire.data_received(b"+1\r\n-ERR first\r\n-ERR second\r\n+4\r\n")
    assert str(several.exception()) == "ERR first" and one.result() == b"4"


@pytest.mark.parametrize("refusal", [b"-READONLY no\r\n", b"-MASTERDOWN no\r\n"])
async def test_a_replica_gets_no_more_calls_but_answers_those_in_flight(refusal: bytes, opened: Opened) -> None:
    connection = opened()
    first, second = connection.send(None, None)
    connection.wire.data_received(refusal)
    assert isinstance(first.exception(), ReadOnlyError | MasterDownError)
    assert connection.ended == [connection.wire] and not connection.transport.aborted
    connection.wire.data_received(b"+old\r\n")
    assert second.result() == b"old" and connection.transport.aborted
    assert connection.ended == [connection.wire], "told once"


async def test_messages_that_nobody_asked_for_are_no_answers(opened: Opened) -> None:
    connection = opened()
    (future,) = connection.send(None)
    connection.wire.data_received(b">2\r\n+invalidate\r\n+x\r\n+mine\r\n")
    assert future.result() == b"mine"


@pytest.mark.parametrize("nonsense", [b"HTTP/1.1 400\r\n", b"+1\r\n+2\r\n+3\r\n"])
async def test_what_is_no_protocol_ends_the_connection(nonsense: bytes, opened: Opened) -> None:
    connection = opened()
    first, _ = connection.send(None, None)
    connection.wire.data_received(nonsense)
    assert connection.transport.aborted and connection.ended == [connection.wire]
    assert first.done() and len(connection.done) == 2


async def test_what_is_in_flight_when_the_connection_is_lost_may_have_happened_and_is_told_so(opened: Opened) -> None:
    connection = opened()
    answered, several, waiting = connection.send(None, 2, None)
    connection.wire.data_received(b"+1\r\n+2\r\n")
    connection.wire.connection_lost(OSError("reset"))
    assert answered.result() == b"1"
    assert "reset" in failure(several) and "reset" in failure(waiting)
    assert len(connection.done) == 3
    connection.wire.eof_received()
    assert connection.ended == [connection.wire] and len(connection.done) == 3


async def test_a_late_answer_ends_the_connection_with_all_that_waits_behind_it(opened: Opened) -> None:
    connection = opened(SOON_S)
    early, late, behind = connection.send(None, None, None)
    connection.wire.data_received(b"+1\r\n")
    await asyncio.wait([late, behind])
    assert early.result() == b"1"
    assert "No answer within" in failure(late) and "No answer within" in failure(behind)
    assert connection.transport.aborted


async def test_the_time_for_an_answer_begins_with_each_call(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    connection, now_s = opened(60.0), [100.0]
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now_s[0])
    connection.send(None)
    connection.wire.data_received(b"+1\r\n")
    now_s[0] = 130.0
    (second,) = connection.send(None)
    for now_s[0] in (160.0, 189.9):
        connection.wire._look_at_oldest()
        assert not second.done()
    now_s[0] = 190.0
    connection.wire._look_at_oldest()
    assert "No answer within 60 s" in failure(second)


async def test_while_the_server_takes_nothing_in_it_is_paused(opened: Opened) -> None:
    connection = opened()
    connection.wire.pause_writing()
    assert connection.wire.paused and connection.writable == []
    connection.wire.resume_writing()
    assert not connection.wire.paused and connection.writable == [True]


async def test_a_connection_that_ended_before_it_was_handed_over_is_refused() -> None:
    wire, transport = Wire(LONG_S, lambda _: None, lambda: None, lambda _: None), Transport()
    wire.connection_lost(None)
    with pytest.raises(CallLost):
        wire.begin(asyncio.StreamWriter(transport, wire, None, asyncio.get_running_loop()))
    assert transport.aborted


# None: a call of one command
WANTED = st.lists(st.none() | st.integers(1, 4), min_size=1, max_size=12)
# how many bytes come, and which call is not waited for any more by then
STEPS = st.lists(st.tuples(st.integers(1, 40), st.none() | st.integers(0, 11)), min_size=1, max_size=30)


@given(wanted=WANTED, first=st.integers(1, 12), steps=STEPS)
def test_each_caller_gets_its_own_answer_whatever_the_chunks_and_whoever_stops_waiting(
    wanted: list[int | None], first: int, steps: list[tuple[int, int | None]]
) -> None:
    async def run() -> None:
        connection = Connection()
        futures = connection.send(*wanted[:first])
        if wanted[first:]:
            futures += connection.send(*wanted[first:])
        expected, stream = answers_to(wanted)
        left = set()
        for size, index in cycle(steps):
            if index is not None and index < len(futures) and futures[index].cancel():
                left.add(index)
            connection.wire.data_received(stream[:size])
            stream = stream[size:]
            if not stream:
                break
        connection.wire.end("The test is over.")
        for index, (future, answer) in enumerate(zip(futures, expected, strict=True)):
            assert future.cancelled() if index in left else future.result() == answer
        assert len(connection.done) == len(wanted), "each is done once, waited for or not"

    asyncio.run(run())


def answers_to(wanted: list[int | None]) -> tuple[list[bytes | list[bytes]], bytes]:
    """What each call is to get, and the stream in which it comes; no two answers are the same."""
    numbers = count()
    expected: list[bytes | list[bytes]] = []
    stream = b""
    for each in wanted:
        mine = [b"answer\r\n%d" % next(numbers) for _ in range(each or 1)]
        expected.append(mine[0] if each is None else mine)
        stream += b"".join(b"$%d\r\n%b\r\n" % (len(answer), answer) for answer in mine)
    return expected, stream
