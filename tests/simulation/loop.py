"""An event loop whose clock jumps to the next timer: hours pass in milliseconds, and the same way every time.

    run everything that is ready, in order  →  jump to the earliest timer  →  run it  →  …

Time is an integer of microseconds since the loop's beginning. There are no sockets and no threads: whatever would wait
for the world outside is a bug, and waits for ever.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, TypeVarTuple, Unpack

Ts = TypeVarTuple("Ts")

US_PER_S = 1_000_000
US_PER_MS = 1_000


class _Handle(asyncio.TimerHandle):
    """As asyncio's, without what only its debug mode needs: a schedule makes a thousand of them."""

    __slots__ = ()

    def __init__(
        self,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        loop: asyncio.AbstractEventLoop,
        context: Context | None,
        when_s: float,
    ) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None
        self._when = when_s
        self._scheduled = False


class VirtualLoop(asyncio.BaseEventLoop):
    """Drive it with `advance`; `halt` ends the drive from inside."""

    def __init__(self, on_error: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self.now_us = 0
        self.steps = 0
        """Callbacks run so far: what a schedule costs."""
        self._on_error = on_error
        self._soon: deque[_Handle] = deque()
        self._timers: list[tuple[int, int, _Handle]] = []
        self._timer_count = 0
        self._halted = False

    def time(self) -> float:
        return self.now_us / US_PER_S

    @property
    def now_ms(self) -> int:
        return self.now_us // US_PER_MS

    def halt(self) -> None:
        """Nothing runs any more."""
        self._halted = True

    def advance(self, to_ms: int) -> None:
        """Runs everything that is due up to `to_ms`, which then is the time."""
        until_us = to_ms * US_PER_MS
        soon, timers = self._soon, self._timers
        asyncio._set_running_loop(self)
        try:
            while not self._halted:
                if soon:
                    handle = soon.popleft()
                elif timers and timers[0][0] <= until_us:
                    self.now_us, _, handle = heapq.heappop(timers)
                else:
                    break
                if not handle._cancelled:
                    self.steps += 1
                    try:
                        handle._context.run(handle._callback, *handle._args)
                    except Exception as error:
                        self._on_error({"message": f"Exception in {handle._callback!r}", "exception": error})
        finally:
            asyncio._set_running_loop(None)
        if not self._halted:
            self.now_us = max(self.now_us, until_us)

    def cancel_everything(self) -> None:
        """Ends every task, as far as it lets itself be ended without time passing; forgets every timer."""
        self._halted = False
        self._timers.clear()
        for task in asyncio.all_tasks(self):
            # a task that still waits is one of a process that is dead
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            task.cancel()
        self.advance(self.now_ms)
        self._timers.clear()
        self._soon.clear()

    # what asyncio asks of a loop

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = _Handle(callback, args, self, context, self.now_us / US_PER_S)
        self._soon.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self._timer(self.now_us + round(max(0.0, delay) * US_PER_S), callback, args, context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return self._timer(max(self.now_us, round(when * US_PER_S)), callback, args, context)

    def _timer(
        self, when_us: int, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> asyncio.TimerHandle:
        timer = _Handle(callback, args, self, context, when_us / US_PER_S)
        # timers of the same moment run in the order in which they were set
        self._timer_count += 1
        heapq.heappush(self._timers, (when_us, self._timer_count, timer))
        return timer

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self._on_error(context)
