"""Calls to Valkey or Redis from many tasks over one connection, all of one turn of the loop in one write.

Owns: the connection (opened when it is needed, left for another, opened anew with back-off), the calls that wait to be
written, and the limits on what is under way. Must not know: what is called.

A call costs no task, lock or pool of connections, and calls are carried out in the order in which they were made.
Nothing is sent twice. A call fails with NotSent when it has not happened, with CallLost when it may have happened, and
with whatever error the server answers. Not for commands that block the connection, nor for pub/sub.
"""

import asyncio
import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import structlog
from hiredis import pack_command as hiredis_pack
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import RedisError

from playhead.runtime import redis
from playhead.runtime.redis import OnConnect, connect, take_over
from playhead.runtime.tasks import cancelled
from playhead.runtime.wire import Call, Wire

log = structlog.get_logger(__name__)

CALLS_MAX = 8_192
"""Calls under way at once: at 100,000 a second this is 80 ms of the server's work."""
BYTES_MAX = 32 * 1024 * 1024
"""Of all calls under way, as they are sent."""
RECONNECT_WAIT_MIN_S = 0.02
RECONNECT_WAIT_MAX_S = 0.5

Part = str | bytes | int | float

# its stub has the type of a tuple of one
pack: Callable[[Sequence[Part]], bytes] = cast(Any, hiredis_pack)


class NotSent(LostConnection):
    """The call has not happened: it was never written."""


class Overloaded(NotSent):
    """More is under way than the limits allow."""


class Multiplexed:
    """A client of the primary at `url`, of one event loop. `on_connect` as in `redis.connect`. Ended by `aclose`.

    A call waits `answer_timeout_s` to be written, and from then on as long for its answer.
    """

    def __init__(
        self,
        url: str,
        on_connect: OnConnect | None = None,
        *,
        answer_timeout_s: float | None = None,
        calls_max: int = CALLS_MAX,
        bytes_max: int = BYTES_MAX,
    ) -> None:
        self._opener = connect(url, on_connect)
        self._answer_timeout_s = redis.ANSWER_TIMEOUT_S if answer_timeout_s is None else answer_timeout_s
        self._calls_max = calls_max
        self._bytes_max = bytes_max
        self._unsent: list[Call] = []
        self._wire: Wire | None = None
        self._wires: set[Wire] = set()
        self._opening: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._writing = False
        self._closed = False
        self._wait_s = 0.0
        self._not_before_s = 0.0
        self.calls_under_way = 0
        self.bytes_under_way = 0

    @property
    def connected(self) -> bool:
        """Whether there is a connection now; without a call none is opened."""
        return self._wire is not None

    def call(self, *command: Part) -> asyncio.Future[Any]:
        """One command; its answer as it is on the wire: bytes, int, None or a list of these."""
        return self._put(pack(command), None)

    async def call_beside(self, _key: str, *command: Part) -> Any:
        """One command without a key, at the server that has this one: here there is one."""
        return await self.call(*command)

    def calls(self, commands: Iterable[Sequence[Part]]) -> asyncio.Future[list[Any]]:
        """Several, one after the other, no transaction; all answers in order. Fails with the first error of them."""
        return self._put_all(commands, each=False)

    def answers(self, commands: Iterable[Sequence[Part]]) -> asyncio.Future[list[Any]]:
        """As `calls`, but an error of one stands in its place in the list."""
        return self._put_all(commands, each=True)

    def leave(self) -> None:
        """Whoever has the address by now is asked from here on; what is in flight is still answered by the old one."""
        if self._wire is not None:
            self._wire.retire()

    async def aclose(self) -> None:
        self._closed = True
        await cancelled(self._opening)
        for wire in list(self._wires):
            wire.end("This process has closed the connection.")
        self._fail_unsent("The client is closed.")
        await self._opener.aclose()

    def _put_all(self, commands: Iterable[Sequence[Part]], *, each: bool) -> asyncio.Future[list[Any]]:
        packed = [pack(tuple(command)) for command in commands]
        if not packed:
            raise ValueError("There is no command to call.")
        return self._put(b"".join(packed), len(packed), each)

    def _put(self, packed: bytes, wanted: int | None, each: bool = False) -> asyncio.Future[Any]:
        if self._closed:
            raise NotSent("The client is closed.")
        if self.calls_under_way >= self._calls_max or self.bytes_under_way + len(packed) > self._bytes_max:
            raise Overloaded("Too many calls to the server are under way.")
        loop = asyncio.get_running_loop()
        call = Call(packed, wanted, loop.create_future(), loop.time() + self._answer_timeout_s, each)
        self.calls_under_way += 1
        self.bytes_under_way += call.size
        self._unsent.append(call)
        if self._wire is None:
            self._need_wire()
        elif not self._writing:
            self._writing = True
            loop.call_soon(self._write)
        return call.future

    def _done(self, call: Call) -> None:
        self.calls_under_way -= 1
        self.bytes_under_way -= call.size

    def _write(self) -> None:
        """All that has come since the last time, unless nobody waits for it any more."""
        self._writing = False
        if self._wire is None or self._wire.paused or not self._unsent:
            return
        calls, self._unsent = self._unsent, []
        if wanted := self._still_wanted(calls):
            self._wire.send(wanted)

    def _still_wanted(self, calls: list[Call]) -> list[Call]:
        for call in calls:
            if call.future.done():
                self._done(call)
        return [call for call in calls if not call.future.done()]

    def _need_wire(self) -> None:
        loop = asyncio.get_running_loop()
        if self._opening is None and not self._closed:
            self._opening = loop.create_task(self._open(), name="redis-wire")
        if self._timer is None:
            self._timer = loop.call_at(self._unsent[0].deadline_s, self._look_at_unsent)

    def _look_at_unsent(self) -> None:
        """One timer for all that wait while there is no connection."""
        self._timer = None
        now_s = asyncio.get_running_loop().time()
        late = [call for call in self._unsent if call.deadline_s <= now_s]
        self._unsent = self._unsent[len(late) :]
        self._fail(late, f"No connection within {self._answer_timeout_s:g} s.")
        if self._wire is None and self._unsent:
            self._need_wire()

    async def _open(self) -> None:
        """One attempt. What waits for it fails with it; the next call begins the next one."""
        loop = asyncio.get_running_loop()
        wire = Wire(self._answer_timeout_s, self._done, self._write, self._ended)
        try:
            await asyncio.sleep(max(0.0, self._not_before_s - loop.time()))
            wire.begin(await take_over(self._opener, wire))
        except Exception as error:
            self._opening = None
            self._back_off()
            if not isinstance(error, RedisError | OSError | TimeoutError):
                log.exception("The connection to the state store failed.", action="wire_failed")
            self._fail_unsent(str(error) or type(error).__name__)
            return
        self._opening = None
        self._wires = {wire, *(each for each in self._wires if not each.ended)}
        self._wire = wire
        self._write()

    def _ended(self, wire: Wire) -> None:
        """That one takes no more calls: the next has to be written on another."""
        if not wire.answered:
            self._back_off()
        else:
            self._wait_s = 0.0
        if self._wire is wire:
            self._wire = None
            if self._unsent:
                self._need_wire()

    def _back_off(self) -> None:
        """Each process waits its own share of time, so that not all come back at once."""
        self._wait_s = min(RECONNECT_WAIT_MAX_S, max(RECONNECT_WAIT_MIN_S, 2 * self._wait_s))
        self._not_before_s = asyncio.get_running_loop().time() + self._wait_s * random.uniform(0.5, 1.0)

    def _fail_unsent(self, why: str) -> None:
        unsent, self._unsent = self._unsent, []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._fail(unsent, why)

    def _fail(self, calls: list[Call], why: str) -> None:
        for call in calls:
            self._done(call)
            call.fail(NotSent(why))
