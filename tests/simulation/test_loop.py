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


def test_a_halted_loop_runs_nothing_any_more() -> None:
    loop, _ = make_loop()
    ran: list[int] = []
    loop.call_later(1.0, loop.halt)
    loop.call_later(2.0, ran.append, 2)
    loop.advance(3_000)
    assert ran == [] and loop.now_ms == 1_000
    loop.cancel_everything()
    loop.close()
