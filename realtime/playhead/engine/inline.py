"""Runs a coroutine where it is called, up to the first thing that it waits for; only then does it become a task.

    run(coroutine)   ended: its value or its error, at once
                     waits: a task that goes on with it

Until then `asyncio.current_task()` is a stand-in, which `asyncio.timeout` and task groups take for the task; when there
is one, what they ask of the stand-in is done to it. Each coroutine has a copy of the context of its own.
"""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any

_enter = asyncio.tasks._enter_task
_leave = asyncio.tasks._leave_task


class Standin:
    """The current task, while there is none.

    `begun`: the task has made its first step. One that is cancelled before that never runs its coroutine, and this has
    run already: so it is cancelled right after.
    """

    __slots__ = ("__weakref__", "_cancelled", "begun", "task")

    def __init__(self) -> None:
        self.task: asyncio.Task[Any] | None = None
        self.begun = False
        self._cancelled = 0

    def cancel(self, msg: Any | None = None) -> bool:
        if self.task is None:
            self._cancelled += 1
        elif self.begun:
            return self.task.cancel(msg)
        else:
            self.task.get_loop().call_soon(self.task.cancel, msg)
        return True

    def cancelling(self) -> int:
        return self._cancelled if self.task is None else self.task.cancelling()

    def uncancel(self) -> int:
        if self.task is not None:
            return self.task.uncancel()
        self._cancelled = max(0, self._cancelled - 1)
        return self._cancelled

    def done(self) -> bool:
        return self.task is not None and self.task.done()

    def get_name(self) -> str:
        return "inline" if self.task is None else self.task.get_name()

    def become(self, task: "asyncio.Task[Any]") -> None:
        """From now on `task` is what it stood for; what was asked of it before is done."""
        self.task = task
        for _ in range(self._cancelled):
            self.cancel()


class _Continued:
    """What is left of a coroutine, and what it waits for. To be awaited once, by the task that goes on with it."""

    __slots__ = ("_coroutine", "_marked", "_standin", "_waits_for")

    def __init__(self, coroutine: Coroutine[Any, Any, Any], waits_for: Any, standin: Standin) -> None:
        self._coroutine = coroutine
        self._standin = standin
        self._waits_for = waits_for
        # a future's mark that it is awaited is for the task's next step: others may await the same one until then
        self._marked = getattr(waits_for, "_asyncio_future_blocking", False)
        if self._marked:
            waits_for._asyncio_future_blocking = False

    def __await__(self) -> Generator[Any, Any, Any]:
        coroutine, waits_for = self._coroutine, self._waits_for
        self._standin.begun = True
        if self._marked:
            waits_for._asyncio_future_blocking = True
        while True:
            try:
                sent = yield waits_for
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:
                step = _thrown(coroutine, error)
            else:
                step = _sent(coroutine, sent)
            if step[0]:
                return step[1]
            waits_for = step[1]


def _sent(coroutine: Coroutine[Any, Any, Any], sent: Any) -> tuple[bool, Any]:
    try:
        return False, coroutine.send(sent)
    except StopIteration as end:
        return True, end.value


def _thrown(coroutine: Coroutine[Any, Any, Any], error: BaseException) -> tuple[bool, Any]:
    try:
        return False, coroutine.throw(error)
    except StopIteration as end:
        return True, end.value


async def _go_on(continued: Awaitable[Any]) -> Any:
    return await continued


_spare: Standin | None = None
"""One that stands for nothing any more. Who waits keeps its own, and one within another has its own."""


def run(
    coroutine: Coroutine[Any, Any, Any],
    loop: asyncio.AbstractEventLoop,
    go_on: Callable[[Awaitable[Any]], Coroutine[Any, Any, Any]] = _go_on,
) -> "asyncio.Task[Any] | None":
    """Runs it until it ends (None) or waits: then the task of `go_on`, which awaits what is left of it.

    Raises what the coroutine raises before it waits.
    """
    global _spare
    standin, _spare = _spare or Standin(), None
    context = contextvars.copy_context()
    as_task: Any = standin
    outer = asyncio.current_task(loop)
    if outer is not None:
        _leave(loop, outer)
    _enter(loop, as_task)
    try:
        waits_for = context.run(coroutine.send, None)
    except StopIteration:
        standin._cancelled, _spare = 0, standin
        return None
    except BaseException:
        standin._cancelled, _spare = 0, standin
        raise
    finally:
        _leave(loop, as_task)
        if outer is not None:
            _enter(loop, outer)
    task = loop.create_task(go_on(_Continued(coroutine, waits_for, standin)), context=context)
    standin.become(task)
    return task
