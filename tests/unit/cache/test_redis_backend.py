"""What becomes of a cancellation while Redis is asked."""

import asyncio
from contextlib import suppress

import pytest

from playhead.cache.redis_backend import answered_in_time

TIMEOUT_S = 5.0


@pytest.mark.parametrize("fails", [False, True], ids=["which answers", "which fails"])
async def test_a_cancellation_that_the_client_loses_ends_its_caller_all_the_same(fails: bool) -> None:
    asked = asyncio.Event()

    async def ask() -> None:
        async with answered_in_time(TIMEOUT_S):
            asked.set()
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            if fails:
                raise OSError

    asking = asyncio.create_task(ask())
    await asked.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_who_is_cancelled_can_still_ask_before_it_ends() -> None:
    begun, answered = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            async with answered_in_time(TIMEOUT_S):
                await asyncio.sleep(0)
            answered.set()

    working = asyncio.create_task(work())
    await begun.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert answered.is_set()
