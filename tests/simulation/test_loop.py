"""The virtual loop: time jumps, order holds, nothing is forgotten."""

import asyncio
from typing import Any

from tests.simulation.loop import VirtualLoop


def make_loop() -> tuple[VirtualLoop, list[dict[str, Any]]]:
    errors: list[dict[str, Any]] = []
    return VirtualLoop(errors.append), errors


def test_a_sleep_of_hours_takes_no_time_and_ends_at_its_time() -> None:
    loop, _ = make_loop()
    woken: list[float] = []

    async def sleep() -> None:
        await asyncio.sleep(3 * 3600)
        woken.append(loop.time())

    task = loop.create_task(sleep())
    loop.advance(3 * 3_600_000 - 1)
    assert woken == [] and loop.now_ms == 3 * 3_600_000 - 1
    loop.advance(3 * 3_600_000)
    assert woken == [3 * 3600.0] and task.done()
    loop.close()


def test_timers_of_one_moment_run_in_the_order_in_which_they_were_set() -> None:
    loop, _ = make_loop()
    ran: list[int] = []
    for number in (3, 1, 2):
        loop.call_at(5.0, ran.append, number)
    loop.call_later(4.0, ran.append, 0)
    loop.advance(5_000)
    assert ran == [0, 3, 1, 2]
    loop.close()


def test_a_cancelled_timer_does_not_run_and_a_timeout_does() -> None:
    loop, _ = make_loop()
    outcomes: list[str] = []
    loop.call_later(1.0, outcomes.append, "cancelled").cancel()

    async def wait() -> None:
        try:
            async with asyncio.timeout(2.0):
                await loop.create_future()
        except TimeoutError:
            outcomes.append("timed out")

    task = loop.create_task(wait())
    loop.advance(10_000)
    assert outcomes == ["timed out"] and task.done()
    loop.close()


def test_an_exception_of_a_callback_is_told() -> None:
    loop, errors = make_loop()
    loop.call_soon(lambda: 1 // 0)
    loop.advance(1)
    assert isinstance(errors[0]["exception"], ZeroDivisionError)
    loop.close()


def test_the_loops_own_sleep_is_that_of_asyncio_in_fewer_steps() -> None:
    ran: dict[str, list[tuple[str, int]]] = {"asyncio": [], "own": []}
    steps: dict[str, int] = {}
    for kind, woken in ran.items():
        loop, _ = make_loop()

        async def sleeper(
            name: str, wait_ms: int, loop: VirtualLoop = loop, kind: str = kind, woken: list[tuple[str, int]] = woken
        ) -> None:
            for _ in range(3):
                await (asyncio.sleep(wait_ms / 1000) if kind == "asyncio" else loop.sleep(wait_ms * 1000))
                woken.append((name, loop.now_ms))

        tasks = [loop.create_task(sleeper(name, wait_ms)) for name, wait_ms in (("a", 2), ("b", 0), ("c", 3), ("d", 2))]
        loop.advance(20)
        assert all(task.done() for task in tasks)
        steps[kind] = loop.steps
        loop.close()
    assert ran["own"] == ran["asyncio"] and steps["own"] < steps["asyncio"]


def test_whoever_sleeps_can_be_cancelled_once_and_wakes_at_once() -> None:
    loop, errors = make_loop()
    outcomes: list[int] = []

    async def sleep() -> None:
        try:
            await loop.sleep(5_000_000)
        finally:
            outcomes.append(loop.now_ms)

    task = loop.create_task(sleep())
    loop.call_later(1.0, task.cancel)
    loop.call_later(1.0, task.cancel)
    loop.advance(10_000)
    assert outcomes == [1_000] and task.cancelled() and not errors
    loop.close()


def test_a_halted_loop_runs_nothing_any_more() -> None:
    loop, _ = make_loop()
    ran: list[int] = []
    loop.call_later(1.0, loop.halt)
    loop.call_later(2.0, ran.append, 2)
    loop.advance(3_000)
    assert ran == [] and loop.now_ms == 1_000
    loop.cancel_everything()
    loop.close()
