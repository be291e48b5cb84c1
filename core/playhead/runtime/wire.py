"""One connection to Valkey or Redis that many calls share: written in batches, answered in order.

Owns: the calls in flight on one opened connection, which answer is whose, and what becomes of them when it is lost.
Must not know: how a connection is opened, or what is called. `multiplexed.py` has both.

    state       takes calls   ends when
    open        yes           it is lost, or an answer is late
    retired     no            its last call is answered, or as above
    ended       no            all that was in flight has failed with CallLost
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from hiredis import ProtocolError, PushNotification, Reader
from redis.exceptions import (
    AskError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as LostConnection

NOTHING = object()
REFUSALS: dict[str, type[RedisError]] = {
    "READONLY": ReadOnlyError,
    "MASTERDOWN": MasterDownError,
    "LOADING": BusyLoadingError,
    "CLUSTERDOWN": ClusterDownError,
}
"""Error answers, by their first word, that mean more than a command that went wrong."""
REDIRECTIONS: dict[str, type[AskError]] = {"MOVED": MovedError, "ASK": AskError}


class CallLost(LostConnection):
    """The call was sent and nobody knows whether it has happened."""


class Call:
    """One command, or several that are sent together, waiting for as many answers. Times are the loop's, in seconds."""

    __slots__ = ("answers", "deadline_s", "each", "future", "packed", "size", "wanted")

    def __init__(
        self, packed: bytes, wanted: int | None, future: asyncio.Future[Any], deadline_s: float, each: bool = False
    ) -> None:
        self.packed = packed
        self.size = len(packed)
        self.wanted = wanted
        """How many answers make the list that is the result; None: the only answer is the result."""
        self.each = each
        """Whether an error stands in the list like any answer; else it is the result."""
        self.future = future
        self.answers: list[Any] = []
        self.deadline_s = deadline_s

    def take(self, answer: Any) -> bool:
        """The next answer; whether it was the last. Whoever has stopped waiting is told nothing."""
        if self.wanted is not None:
            self.answers.append(answer)
            if len(self.answers) < self.wanted:
                return False
            errors = () if self.each else (answer for answer in self.answers if isinstance(answer, RedisError))
            answer = next(iter(errors), self.answers)
        if not self.future.done():
            if isinstance(answer, RedisError):
                self.future.set_exception(answer)
            else:
                self.future.set_result(answer)
        return True

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


class Wire(asyncio.Protocol):
    """Protocol of one connection.

    `on_done` is told of each call that needs no more; `on_writable` when more may be written after a pause; `on_end`
    once, when no call is taken any more.
    """

    def __init__(
        self,
        answer_timeout_s: float,
        on_done: Callable[[Call], None],
        on_writable: Callable[[], None],
        on_end: Callable[["Wire"], None],
    ) -> None:
        self._answer_timeout_s = answer_timeout_s
        self._on_done = on_done
        self._on_writable = on_writable
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._reader = Reader(replyError=refusal, notEnoughData=NOTHING)
        self._in_flight: deque[Call] = deque()
        self._writer: asyncio.StreamWriter | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._retired = False
        self._ended = False
        self.paused = False
        """Whether the server takes in less than is written: write no more until `on_writable`."""
        self.answered = False
        """Whether it has ever answered a call."""

    @property
    def ended(self) -> bool:
        return self._ended

    def begin(self, writer: asyncio.StreamWriter) -> None:
        """The connection is open, and what was asked while it was being opened is answered."""
        self._writer = writer
        if self._ended:
            writer.transport.abort()
            raise CallLost("The server has closed the connection.")

    def send(self, calls: Sequence[Call]) -> None:
        """All in one write. Each has the whole time for its answer from here on."""
        assert self._writer is not None and not self._retired
        deadline_s = self._loop.time() + self._answer_timeout_s
        for call in calls:
            call.deadline_s = deadline_s
        self._in_flight.extend(calls)
        self._writer.transport.write(calls[0].packed if len(calls) == 1 else b"".join([call.packed for call in calls]))
        for call in calls:
            call.packed = b""
        if self._timer is None:
            self._timer = self._loop.call_at(deadline_s, self._look_at_oldest)

    def data_received(self, data: bytes) -> None:
        reader, in_flight = self._reader, self._in_flight
        reader.feed(data)
        try:
            while (answer := reader.gets()) is not NOTHING:
                if type(answer) is PushNotification:
                    continue
                if not in_flight:
                    raise ProtocolError("an answer that nobody has asked for")
                if type(answer) in (ReadOnlyError, MasterDownError):
                    self.retire()
                if in_flight[0].take(answer):
                    self._on_done(in_flight.popleft())
                    self.answered = True
        except ProtocolError as error:
            self.end(f"The server does not speak the protocol: {error}.")
        self._close_when_done()

    def retire(self) -> None:
        """Takes no more calls, and is closed when those in flight have their answers."""
        if not self._retired:
            self._retired = True
            self._on_end(self)

    def end(self, why: str) -> None:
        """Closes at once: what is in flight fails."""
        if self._ended:
            return
        self._ended = True
        self.retire()
        if self._timer is not None:
            self._timer.cancel()
        if self._writer is not None:
            self._writer.transport.abort()
        lost = list(self._in_flight)
        self._in_flight.clear()
        for call in lost:
            self._on_done(call)
            call.fail(CallLost(why))

    def _close_when_done(self) -> None:
        if self._retired and not self._in_flight:
            self.end("The connection was closed.")

    def _look_at_oldest(self) -> None:
        """One timer for all: answers come in order, so that only the oldest call can be the latest."""
        self._timer = None
        if not self._in_flight:
            return
        oldest_s = self._in_flight[0].deadline_s
        if oldest_s <= self._loop.time():
            # later calls wait behind this one, and a server that hangs looks the same as one that is gone
            self.end(f"No answer within {self._answer_timeout_s:g} s.")
        else:
            self._timer = self._loop.call_at(oldest_s, self._look_at_oldest)

    def eof_received(self) -> None:
        self.end("The server has closed the connection.")

    def connection_lost(self, error: Exception | None) -> None:
        self.end(f"The connection is lost: {error or 'closed'}.")

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self._on_writable()


def refusal(text: str) -> RedisError:
    """The error that redis-py would raise for an error answer, where the difference is of use to somebody."""
    word, _, rest = text.partition(" ")
    if (redirection := REDIRECTIONS.get(word)) is not None:
        return redirection(rest)
    kind = REFUSALS.get(word)
    return ResponseError(text) if kind is None else kind(text)
