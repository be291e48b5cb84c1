"""Ending a background task, even one in which a cancellation was lost; and threads that are not left behind."""

import asyncio
import threading

import pytest

from playhead.runtime.tasks import Outlasting, cancelled, in_thread


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


class TestThreads:
    async def test_it_answers_and_raises_what_the_function_does(self) -> None:
        assert await in_thread(int, "2a", base=16) == 42
        with pytest.raises(ValueError, match="x"):
            await in_thread(int, "x")

    @pytest.mark.parametrize("failing", [False, True])
    async def test_who_is_cancelled_again_and_again_is_told_when_the_thread_has_ended(self, failing: bool) -> None:
        begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

        def work() -> None:
            begun.set()
            assert go_on.wait(10)
            ended.set()
            if failing:
                raise OSError("it broke")

        task = asyncio.create_task(in_thread(work))
        assert await asyncio.to_thread(begun.wait, 10)
        for _ in range(3):
            task.cancel()
            await asyncio.wait([task], timeout=0.02)
            assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended.is_set()


class TestOutlasting:
    async def test_it_answers_and_raises_what_the_work_does(self) -> None:
        async def fails() -> None:
            raise ValueError("x")

        outlasting = Outlasting(1)
        assert await outlasting.run(asyncio.sleep(0, "done")) == "done"
        with pytest.raises(ValueError, match="x"):
            await outlasting.run(fails())

    async def test_so_much_goes_on_when_nobody_waits_any_more_and_no_more(self) -> None:
        may_end, ended = asyncio.Event(), []

        async def work(number: int) -> None:
            await may_end.wait()
            ended.append(number)
            raise OSError("nobody hears of it")

        outlasting = Outlasting(2)
        asking = [asyncio.create_task(outlasting.run(work(number))) for number in range(3)]
        await asyncio.sleep(0)
        for task in asking:
            task.cancel()
        await asyncio.wait(asking)
        may_end.set()
        for _ in range(3):
            await asyncio.sleep(0)
        assert ended == [0, 1]
        with pytest.raises(OSError, match="nobody"):
            await outlasting.run(work(3))
