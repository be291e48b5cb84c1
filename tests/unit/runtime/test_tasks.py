"""Ending a background task, even one in which a cancellation was lost."""

import asyncio

from playhead.runtime.tasks import cancelled


async def test_a_task_ends_even_when_something_in_it_swallows_the_first_cancellation() -> None:
    swallowed = asyncio.Event()

    async def stubborn() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            swallowed.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await cancelled(task)
    assert swallowed.is_set() and task.cancelled()


async def test_a_task_that_is_over_or_never_was_is_no_trouble() -> None:
    await cancelled(None)

    async def quick() -> None:
        return

    task = asyncio.create_task(quick())
    await task
    await cancelled(task)
