"""Coroutines run where they are called, and become tasks when they wait: neither may notice."""

import asyncio
import contextvars
from typing import Any

import pytest

from playhead.engine import inline

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="outside")


def run(coroutine: Any) -> "asyncio.Task[Any] | None":
    return inline.run(coroutine, asyncio.get_running_loop())


async def test_what_does_not_wait_has_run_when_it_is_called_and_made_no_task() -> None:
    seen, before = [], asyncio.all_tasks()

    async def handler() -> None:
        seen.append(1)

    assert run(handler()) is None
    assert seen == [1] and asyncio.all_tasks() == before


async def test_what_waits_goes_on_as_a_task_with_what_it_waited_for() -> None:
    loop = asyncio.get_running_loop()
    first, second = loop.create_future(), loop.create_future()

    async def handler() -> list[Any]:
        got = [await first]
        await asyncio.sleep(0)
        try:
            await second
        except ValueError as error:
            got.append(str(error))
        return got

    task = run(handler())
    assert task is not None and not task.done()
    first.set_result(1)
    await asyncio.sleep(0)
    second.set_exception(ValueError("two"))
    assert await task == [1, "two"]


async def test_errors_come_out_before_it_waits_and_of_the_task_after() -> None:
    async def fails(wait: bool) -> None:
        if wait:
            await asyncio.sleep(0)
        raise KeyError("x")

    with pytest.raises(KeyError):
        run(fails(False))
    task = run(fails(True))
    assert task is not None
    with pytest.raises(KeyError):
        await task


async def test_a_timeout_that_was_begun_inline_still_strikes() -> None:
    async def handler() -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            return "too late"
        return "never"

    task = run(handler())
    assert task is not None and await task == "too late"


async def test_one_within_another_has_timeouts_of_its_own() -> None:
    ended = asyncio.Event()

    async def inner() -> None:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            ended.set()

    async def outer() -> str:
        run(inner())
        await ended.wait()
        return "not disturbed"

    task = run(outer())
    assert task is not None
    async with asyncio.timeout(5):
        assert await task == "not disturbed"


async def test_a_timeout_that_ends_inline_leaves_nothing_behind() -> None:
    async def handler() -> None:
        async with asyncio.timeout(0):
            pass

    for _ in range(3):
        assert run(handler()) is None
    await asyncio.sleep(0)


async def test_a_task_group_that_was_begun_inline_is_cancelled_by_its_child() -> None:
    async def child() -> None:
        await asyncio.sleep(0)
        raise ValueError("child")

    async def handler() -> str:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(child())
                await asyncio.Event().wait()
        except ExceptionGroup as failed:
            return str(failed.exceptions[0])
        return "never"

    task = run(handler())
    assert task is not None and await task == "child"


async def test_the_task_can_be_cancelled() -> None:
    async def handler() -> None:
        await asyncio.Event().wait()

    task = run(handler())
    assert task is not None
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_who_cancels_itself_is_cancelled_when_it_waits() -> None:
    async def handler() -> None:
        current = asyncio.current_task()
        assert current is not None
        current.cancel()
        await asyncio.Event().wait()

    task = run(handler())
    assert task is not None
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_caller_keeps_its_task_and_its_context() -> None:
    own = asyncio.current_task()

    async def handler(wait: bool) -> str:
        assert asyncio.current_task() is not own
        VARIABLE.set("inside")
        if wait:
            await asyncio.sleep(0)
        return VARIABLE.get()

    assert run(handler(False)) is None
    task = run(handler(True))
    assert asyncio.current_task() is own and VARIABLE.get() == "outside"
    assert task is not None and await task == "inside"


async def test_a_loop_callback_may_run_one_as_well() -> None:
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    async def handler() -> None:
        async with asyncio.timeout(1):
            done.set_result(asyncio.current_task())

    loop.call_soon(run, handler())
    assert isinstance(await done, inline.Standin)


async def test_two_may_wait_for_the_same() -> None:
    shared = asyncio.get_running_loop().create_future()

    async def handler() -> Any:
        return await shared

    tasks = [run(handler()) for _ in range(3)]
    asyncio.get_running_loop().call_later(0.01, shared.set_result, "both")
    assert [await task for task in tasks if task is not None] == ["both"] * 3


async def test_a_deadline_that_has_passed_is_told_as_such_and_everything_is_left_in_order() -> None:
    left = []

    async def handler() -> str:
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError:
            return "too late"
        finally:
            left.append(True)
        return "in time"

    task = run(handler())
    assert task is not None
    assert await task == "too late" and left == [True]
