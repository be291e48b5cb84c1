"""Carries out on asyncio what the conversation wants done, and tells it what has happened. Decides nothing."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from playhead.client.core.conversation import Conversation
from playhead.client.core.effects import Close, Effect, FetchToken, Open, Send, Settle, Tell
from playhead.client.core.errors import Stopped
from playhead.client.core.offline import OfflineLog
from playhead.client.core.wire import Refusal
from playhead.client.inbox import Inbox
from playhead.client.transport import Timing, Transport

log = logging.getLogger(__name__)

FetchTokenFunction = Callable[[], Awaitable[str]]


class Driver:
    """The running side of one client."""

    def __init__(
        self,
        conversation: Conversation,
        transport: Transport,
        timing: Timing,
        token: str | FetchTokenFunction,
        inbox: Inbox,
    ) -> None:
        self._conversation = conversation
        self._transport = transport
        self._timing = timing
        self._token = token
        self._inbox = inbox
        self._asks: dict[str, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._alarm: asyncio.Task[None] | None = None
        self._alarm_at_ms = math.inf
        self._closed = False

    def start(self) -> None:
        self._conversation.start(self._timing.now_ms())
        self._carry_out()

    async def close(self) -> None:
        """Ends everything, and returns when nothing of it is left."""
        if self._closed:
            return
        self._conversation.stop(self._timing.now_ms())
        self._carry_out()
        self._closed = True
        self._inbox.close()
        for task in (self._alarm, *self._tasks):
            if task is not None:
                task.cancel()
        await self._transport.shutdown()

    async def ask(self, begin: Callable[[float], str]) -> Any:
        """Asks something with `begin`, which takes local time and answers what its outcome is settled under."""
        if self._closed:
            raise Stopped("The client is closed.")
        ask_id = begin(self._timing.now_ms())
        future = self._asks[ask_id] = asyncio.get_running_loop().create_future()
        self._carry_out()
        try:
            return await future
        finally:
            del self._asks[ask_id]

    def report(self) -> None:
        self._conversation.report(self._timing.now_ms())
        self._carry_out()

    def open_log(self, log: OfflineLog) -> None:
        self._conversation.open_log(log)

    def close_log(self, log: OfflineLog) -> None:
        self._conversation.close_log(log, self._timing.now_ms())
        self._carry_out()

    def _carry_out(self) -> None:
        """Does what the conversation wants done, and sets the alarm for when it wants to be woken."""
        while effects := self._conversation.take_effects():
            for effect in effects:
                self._do(effect)
        self._set_alarm()

    def _do(self, effect: Effect) -> None:
        match effect:
            case FetchToken():
                self._begin(self._fetch_token())
            case Open(connection, url, auth):
                self._transport.open(connection, url, auth, self)
            case Send(connection, request, event, payload):
                self._transport.send(connection, request, event, payload)
            case Close(connection):
                self._transport.close(connection)
            case Tell(event=told):
                self._inbox.put(told)
            case Settle(ask_id, outcome):
                self._settle(self._asks.get(ask_id), outcome)

    def _settle(self, future: "asyncio.Future[Any] | None", outcome: object) -> None:
        if future is None or future.done():
            return
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="playhead-client")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fetch_token(self) -> None:
        try:
            token = self._token if isinstance(self._token, str) else await self._token()
        except Exception:
            log.warning("No token could be fetched; it is tried again.", exc_info=True)
            self._conversation.take_no_token(self._timing.now_ms())
        else:
            self._conversation.take_token(token, self._timing.now_ms())
        self._carry_out()

    def _set_alarm(self) -> None:
        """An alarm that rings too early does no harm; so one is set anew only to ring earlier."""
        wake_at_ms = self._conversation.wake_at_ms
        if wake_at_ms >= self._alarm_at_ms or self._closed:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at_ms = wake_at_ms
        self._alarm = asyncio.create_task(self._ring(wake_at_ms), name="playhead-client-alarm")

    async def _ring(self, at_ms: float) -> None:
        await self._timing.sleep(max(0.0, at_ms - self._timing.now_ms()))
        self._alarm, self._alarm_at_ms = None, math.inf
        self._conversation.tick(self._timing.now_ms())
        self._carry_out()

    # what the transport tells: see `transport.Listener`

    def opened(self, connection: int) -> None:
        self._conversation.opened(connection, self._timing.now_ms())
        self._carry_out()

    def open_failed(self, connection: int, refusal: Refusal | None) -> None:
        self._conversation.open_failed(connection, refusal, self._timing.now_ms())
        self._carry_out()

    def received(self, connection: int, event: str, data: Any) -> None:
        self._conversation.received(connection, event, data, self._timing.now_ms())
        self._carry_out()

    def answered(self, connection: int, request: int, ack: Any) -> None:
        self._conversation.answered(connection, request, ack, self._timing.now_ms())
        self._carry_out()

    def closed(self, connection: int) -> None:
        self._conversation.closed(connection, self._timing.now_ms())
        self._carry_out()
