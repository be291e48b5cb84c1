"""From an event to its ack: find the handler, validate the payload, call it, time it, answer.

    {"ok": true, ...} or {"ok": false, "error": {code, message, retry, state?, reported?}}, both with `server_time`

A connection survives every bad payload; nothing is changed by one.
"""

import asyncio
import functools
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import structlog
from pydantic import BaseModel, ValidationError

from playhead.db import DATABASE_AWAY, DatabaseUnavailable
from playhead.playback.rejections import Code, Rejection
from playhead.realtime.connections import Connection, Connections
from playhead.realtime.handlers import Accepted, Answer, Handler
from playhead.realtime.wire import MALFORMED_EVENT, PACKET_BYTES_MAX, TOO_LARGE_EVENT
from playhead.runtime.clock import Clock
from playhead.runtime.metrics import Metrics
from playhead.runtime.seldom import Seldom
from playhead.runtime.time_limit import Overdue, TimeLimit
from playhead.sessions.codec import rejection_payload
from playhead.sessions.store import StoreUnavailable
from playhead.sessions.validation import explain

log = structlog.get_logger(__name__)

HANDLER_TIMEOUT_S = 3.5
"""For all that one event asks of the stores, each of which has limits of its own. A client gives up a connection that
owes it an ack for 5 s, and comes back with more to do for us than it had before: so the ack must be there by then, also
where PostgreSQL takes a second to hear that a statement is wanted no more (`CANCEL_TIMEOUT_S`).

Cancelling a handler leaves nothing half-done. A commit is one step of the store, carried out or not, whoever waits for
it; what must follow one goes on without its handler: see `carry_out` in committing.py, `commit` in memory_store.py.
"""
SETTLED_S = 6.0
"""Then what goes on without its handler is over, but for a listener whose commands wait for each other: longer than the
store has for a commit, in memory too (`KEEP_TIMEOUT_S`)."""
QUESTIONS = ("join", "clock", "auth")
"""Events that change nothing."""
GOING_AWAY = "This server goes away, and nothing was changed. Connect again: another one answers."
TOO_FAST = "This connection sends faster than it may. Wait `retry_after_ms`, then send the same again."


class Dispatcher:
    """Answers every event of every connection of this node."""

    def __init__(
        self,
        table: Mapping[str, tuple[type[BaseModel], Handler]],
        connections: Connections,
        metrics: Metrics,
        clock: Clock,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._table: dict[str, tuple[Callable[[Any], BaseModel], Handler]] = {
            event: (model.__pydantic_validator__.validate_python, handler) for event, (model, handler) in table.items()
        }
        """`model_validate` comes to the same, by way of Python."""
        tallies = metrics.tallies
        self._ack_seconds = tallies.distribution(metrics.ack_seconds.labels("socket"))
        self._answered = functools.cache(lambda *labels: tallies.count(metrics.commands.labels("socket", *labels)))
        self._connections = connections
        self._metrics = metrics
        self._clock = clock
        self._monotonic_ns = monotonic_ns
        self._unavailable = Seldom()
        self._late = Seldom()
        self._limit = TimeLimit(HANDLER_TIMEOUT_S)
        self._settling = False
        self._running = 0
        self._settled = asyncio.Event()
        self.on_unknown: Callable[[str], None] = lambda listener_id: None
        """Called with the listener whose command may have been carried out all the same: who asked is not told of it
        with the others, and an answer that it is not known was all that they got."""

    async def answer(self, connection_id: str, event: str, arguments: tuple[Any, ...]) -> dict[str, Any]:
        """The ack of one event."""
        arrived_s = time.perf_counter()
        answer = await self._answer(connection_id, event, arguments)
        self._ack_seconds.observe(time.perf_counter() - arrived_s)
        result = answer.code.value if isinstance(answer, Rejection) else "ok"
        self._answered(event if event in self._table else "unknown", result).inc()
        if isinstance(answer, Rejection):
            return {"ok": False, "error": rejection_payload(answer), "server_time": self._clock.now_ms()}
        return {"ok": True, "server_time": self._clock.now_ms(), **answer.fields}

    async def settle(self, timeout_s: float) -> None:
        """Begins nothing from now on; returns when what was begun is answered, after `timeout_s` at the latest."""
        self._settling = True
        if not self._running:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._settled.wait()

    async def _answer(self, connection_id: str, event: str, arguments: tuple[Any, ...]) -> Answer:
        connection = self._connections.get(connection_id)
        if connection is None:
            return Rejection(code=Code.UNAUTHORIZED)
        now_ms = self._clock.now_ms()
        if connection.principal.expired(now_ms):
            return Rejection(code=Code.UNAUTHORIZED, detail="The token has expired. Get a new one and connect again.")
        connection.last_packet_at_ms = now_ms
        if wait_us := connection.pace.take(self._monotonic_ns() // 1_000):
            self._metrics.events_limited.inc()
            return Rejection(code=Code.OVERLOADED, detail=TOO_FAST, retry_after_ms=-(-wait_us // 1_000))
        if event == TOO_LARGE_EVENT:
            return Rejection(code=Code.TOO_LARGE, detail=f"A packet may hold {PACKET_BYTES_MAX} characters of JSON.")
        if event == MALFORMED_EVENT:
            return Rejection(code=Code.INVALID, detail="A packet holds the JSON of an event: [name, object].")
        if event not in self._table:
            return Rejection(code=Code.UNKNOWN_EVENT)
        if self._settling:
            return Rejection(code=Code.UNAVAILABLE, detail=GOING_AWAY)
        validate, handler = self._table[event]
        if len(arguments) != 1 or not isinstance(arguments[0], dict):
            return Rejection(code=Code.INVALID, detail="An event carries one JSON object.")
        try:
            request = validate(arguments[0])
        except ValidationError as error:
            return Rejection(code=Code.INVALID, detail=explain(error))
        return await self._handled(handler, connection, request, event)

    async def _handled(self, handler: Handler, connection: Connection, request: BaseModel, event: str) -> Answer:
        self._running += 1
        try:
            answer = await self._limit.run(handler(connection, request))
            self._note(connection, answer, event)
            return answer
        except (StoreUnavailable, DatabaseUnavailable) as error:
            return self._without_store(connection, event, error)
        except Overdue:
            return self._too_late(connection, event)
        except Exception:
            log.exception("A command failed.", action="command_failed", event_name=event)
            return Rejection(code=Code.INTERNAL)
        finally:
            self._running -= 1
            if self._settling and not self._running:
                self._settled.set()

    def _without_store(
        self, connection: Connection, event: str, error: StoreUnavailable | DatabaseUnavailable
    ) -> Rejection:
        if times := self._unavailable.take():
            fields = {"event_name": event, "times": times, "error": str(error)}
            log.warning("A command found no store.", action="command_unavailable", **fields)
        if isinstance(error, StoreUnavailable):
            self.on_unknown(connection.principal.listener_id)
        detail = DATABASE_AWAY if isinstance(error, DatabaseUnavailable) else None
        return Rejection(code=Code.UNAVAILABLE, detail=detail)

    def _too_late(self, connection: Connection, event: str) -> Rejection:
        """It may be done all the same, now or later: the listener's devices are told what has come of it, at once and
        when it is over for certain. A question leaves nothing to be told."""
        if times := self._late.take():
            fields = {"event_name": event, "times": times, "limit_s": self._limit.limit_s}
            log.warning("A command took too long.", action="command_late", **fields)
        if event not in QUESTIONS:
            listener_id = connection.principal.listener_id
            self.on_unknown(listener_id)
            asyncio.get_running_loop().call_later(SETTLED_S, self.on_unknown, listener_id)
        return Rejection(code=Code.UNAVAILABLE)

    def _note(self, connection: Connection, answer: Answer, event: str) -> None:
        """Whatever session the answer tells of, its device knows from now on."""
        if (state := answer.state) is not None:
            joined = event == "join" and isinstance(answer, Accepted)
            self._connections.answered(connection, state.session_id, state.order, state.ended_at_ms is not None, joined)
