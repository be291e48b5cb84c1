"""An event loop whose clock jumps to the next timer: hours pass in milliseconds, and the same way every time.

    run everything that is ready, in order  →  jump to the earliest timer  →  run it  →  …

Time is an integer of microseconds since the loop's beginning. There are no sockets and no threads: whatever would wait
for the world outside is a bug, and waits for ever.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from heapq import heappop, heappush
from typing import Any, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

US_PER_S = 1_000_000
US_PER_MS = 1_000


class _Handle(asyncio.TimerHandle):
    """As asyncio's, without what only its debug mode needs: a schedule makes hundreds of them."""

    __slots__ = ()

    def __init__(self, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None) -> None:
        self._context = copy_context() if context is None else context
        self._callback: Callable[..., object] | None = callback
        self._args: tuple[Any, ...] = args
        self._cancelled = False

    def cancel(self) -> None:
        self._cancelled = True
        self._callback, self._args = None, ()


class _Sleep(_Handle):
    """What a task waits for until its time: as `asyncio.sleep`, whose timer tells a future that tells the loop that it
    may wake the task. Nothing can come between these three, so here the timer wakes the task itself.
    """

    __slots__ = ("_asyncio_future_blocking", "_sleeping_in", "_until_us")

    def __init__(self, loop: "VirtualLoop", until_us: int) -> None:
        self._sleeping_in = loop
        self._until_us = until_us
        self._cancelled = False

    def __await__(self) -> Generator["_Sleep | None", None, None]:
        if self._until_us > self._sleeping_in.now_us:
            self._asyncio_future_blocking = True
            yield self
        else:
            # of no length: everybody else who is ready has their turn first
            yield None

    # what a task asks of whatever it waits for

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._sleeping_in

    def add_done_callback(self, wake: Callable[["_Sleep"], object], *, context: Context) -> None:
        self._callback, self._args, self._context = wake, (self,), context
        self._sleeping_in._at(self._until_us, self)

    def cancel(self, msg: object = None) -> bool:  # type: ignore[override]
        if self._cancelled:
            return False
        self._cancelled = True
        self._sleeping_in.call_soon(self._callback, self, context=self._context)  # type: ignore[arg-type]
        return True

    def result(self) -> None:
        # or it would hold itself
        self._args = ()
        if self._cancelled:
            raise asyncio.CancelledError


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
        soon, timers, steps = self._soon, self._timers, 0
        asyncio._set_running_loop(self)
        try:
            while not self._halted:
                if soon:
                    handle = soon.popleft()
                elif timers and timers[0][0] <= until_us:
                    self.now_us, _, handle = heappop(timers)
                else:
                    break
                if not handle._cancelled:
                    steps += 1
                    try:
                        handle._context.run(handle._callback, *handle._args)  # type: ignore[arg-type]
                    except Exception as error:
                        self._on_error({"message": f"Exception in {handle._callback!r}", "exception": error})
        finally:
            asyncio._set_running_loop(None)
            self.steps += steps
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

    def sleep(self, wait_us: int) -> _Sleep:
        """Await it at once."""
        return _Sleep(self, self.now_us + wait_us)

    def at_us(self, when_us: int, callback: Callable[[Unpack[Ts]], object], *args: *Ts) -> None:
        """As `call_at`, for what is never cancelled."""
        self._timer_count += 1
        heappush(self._timers, (when_us, self._timer_count, _Handle(callback, args, None)))

    # what asyncio asks of a loop

    def create_task(
        self,
        coro: Coroutine[Any, Any, T] | Generator[Any, None, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        # a name, or one is made up for each
        return asyncio.Task(coro, loop=self, name="task" if name is None else str(name), context=context)

    def call_soon(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = _Handle(callback, args, context)
        self._soon.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        wait_us = round(delay * US_PER_S)
        return self._timer(self.now_us + wait_us if wait_us > 0 else self.now_us, callback, args, context)

    def call_at(
        self, when: float, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        when_us = round(when * US_PER_S)
        return self._timer(when_us if when_us > self.now_us else self.now_us, callback, args, context)

    def _timer(
        self, when_us: int, callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
    ) -> asyncio.TimerHandle:
        timer = _Handle(callback, args, context)
        self._at(when_us, timer)
        return timer

    def _at(self, when_us: int, timer: _Handle) -> None:
        # timers of the same moment run in the order in which they were set
        self._timer_count += 1
        heappush(self._timers, (when_us, self._timer_count, timer))

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self._on_error(context)
