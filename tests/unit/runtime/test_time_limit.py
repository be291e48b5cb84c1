"""Work that is cancelled when its time is over, and nothing else with it."""

import asyncio

import pytest

from playhead.engine import inline
from playhead.runtime.time_limit import Overdue, TimeLimit

SHORT_S = 0.02


async def never() -> None:
    await asyncio.Event().wait()


async def test_it_answers_and_raises_what_the_work_does() -> None:
    async def fails() -> None:
        raise ValueError("x")

    limit = TimeLimit(SHORT_S)
    assert await limit.run(asyncio.sleep(0, "done")) == "done"
    with pytest.raises(ValueError, match="x"):
        await limit.run(fails())
    assert len(limit) == 0


async def test_each_is_overdue_after_its_own_time_and_goes_on_with_something_else() -> None:
    limit, loop, tooks_s = TimeLimit(0.1), asyncio.get_running_loop(), []

    async def work(after_s: float) -> None:
        await asyncio.sleep(after_s)
        began_s = loop.time()
        with pytest.raises(Overdue):
            await limit.run(never())
        tooks_s.append(loop.time() - began_s)
        await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await asyncio.gather(work(0), work(0.08), limit.run(asyncio.sleep(0.02)))
        await work(0)
    assert [0.1 <= took_s for took_s in tooks_s] == [True] * 3 and len(limit) == 0


async def test_whoever_is_cancelled_by_somebody_else_as_well_is_cancelled() -> None:
    limit, late = TimeLimit(SHORT_S), asyncio.Event()

    async def work() -> None:
        try:
            await never()
        except asyncio.CancelledError:
            late.set()
            # as where cleaning up takes a while
            await never()

    for moment in ("before", "after"):
        task = asyncio.create_task(limit.run(work()))
        await asyncio.sleep(0)
        if moment == "after":
            await late.wait()
        task.cancel()
        if moment == "before":
            await late.wait()
            late.clear()
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(limit) == 0


async def test_work_that_ends_in_its_own_way_when_it_is_cancelled_leaves_no_cancellation_behind() -> None:
    async def stubborn() -> str:
        try:
            await never()
        except asyncio.CancelledError:
            return "done"
        raise AssertionError

    assert await TimeLimit(SHORT_S).run(stubborn()) == "done"
    task = asyncio.current_task()
    assert task is not None and task.cancelling() == 0


async def test_work_that_began_before_it_was_a_task_is_cancelled_as_well() -> None:
    ended: list[str] = []

    async def handled() -> None:
        with pytest.raises(Overdue):
            await TimeLimit(SHORT_S).run(never())
        await asyncio.sleep(0)
        ended.append("went on")

    task = inline.run(handled(), asyncio.get_running_loop())
    assert task is not None
    async with asyncio.timeout(5):
        await task
    assert ended == ["went on"]
