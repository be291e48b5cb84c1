"""Background tasks: how one is ended for certain."""

import asyncio
from typing import Any

CANCEL_AGAIN_S = 0.1


async def cancelled(task: asyncio.Task[Any] | None) -> None:
    """Returns when the task has ended. Its own failure, if it had one, was its own to log.

    Asked until it is heard: before Python 3.12 `asyncio.wait_for`, which redis-py and others write with, loses a
    cancellation that comes in the moment of its success (gh-86296), and the task would go on for ever.
    """
    while task is not None and not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=CANCEL_AGAIN_S)
