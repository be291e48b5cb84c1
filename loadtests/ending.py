"""A benchmark that is told to end: what it has started is ended first, whoever tells it.

Python's own handling of Ctrl-C does that for `asyncio.run`; SIGTERM would end the process at once, and leave servers
and encoders behind.
"""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(work: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run`, which both signals end by cancelling `work`; then the exit code is that of the signal.

    A second signal changes nothing, so that what was begun is ended in order.
    """
    told: list[int] = []

    async def cancellable() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def tell(number: int) -> None:
            if not told:
                told.append(number)
                task.cancel()

        for number in SIGNALS:
            loop.add_signal_handler(number, tell, number)
        return await work

    try:
        return asyncio.run(cancellable())
    except asyncio.CancelledError:
        raise SystemExit(128 + told[0]) from None
