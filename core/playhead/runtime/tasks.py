"""Background tasks and threads: how one is ended for certain, and how one is kept from ending with who asked for it."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

CANCEL_AGAIN_S = 0.1


async def cancelled(task: asyncio.Task[Any] | None) -> None:
    """Returns when the task has ended. Its own failure, if it had one, was its own to log.

    Asked until it is heard: before Python 3.12 `asyncio.wait_for`, which redis-py and others write with, loses a
    cancellation that comes in the moment of its success (gh-86296), and the task would go on for ever.
    """
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=CANCEL_AGAIN_S)


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As asyncio.to_thread, but the thread has ended also when this is cancelled.

    So what the function uses, such as an open file, may be closed as soon as this has returned or raised. Only for what
    soon comes to an end: nothing stops a thread.
    """
    working = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        while not working.done():
            with suppress(asyncio.CancelledError):  # asked again; the first one is passed on
                await asyncio.wait([working])
        if not working.cancelled():
            working.exception()  # looked at: nobody waits for it any more
        raise


class Outlasting:
    """Work that goes on when whoever asked for it is cancelled.

    `most`: so much at once, and what is more ends with who asked; None: where what asks is limited itself.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._under_way: set[asyncio.Task[Any]] = set()

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What it answers or raises."""
        if self._most is not None and len(self._under_way) >= self._most:
            return await work
        task = asyncio.ensure_future(work)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            # whoever asked has been told; an error that nobody waits for any more is no news
            task.exception()
