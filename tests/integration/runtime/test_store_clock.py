"""Server time from a real Valkey: processes whose own clocks are hours apart agree, also while it is away and back."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from playhead.app.embedded import EmbeddedValkey
from playhead.runtime import redis as connections
from playhead.runtime.store_clock import RedisTime, StoreClock, TimeUnavailable

HOUR_NS = 3_600 * 10**9
WHOLE_MS = 1
"""Answers are cut to whole milliseconds."""


def local_ms() -> float:
    return time.monotonic_ns() / 1e6


def wall_ms() -> float:
    """The wall clock of this machine, on which Valkey runs too."""
    return time.time_ns() / 1e6


@asynccontextmanager
async def clock_of_a_machine(url: str, local_ahead_ns: int = 0, wall_ahead_ns: int = 0) -> AsyncIterator[StoreClock]:
    """A process's clock, on a machine whose monotonic and wall clocks are that far ahead of ours."""
    clock = StoreClock(
        RedisTime(url),
        local_ns=lambda: time.monotonic_ns() + local_ahead_ns,
        wall_ns=lambda: time.time_ns() + wall_ahead_ns,
    )
    await clock.start()
    try:
        yield clock
    finally:
        await clock.stop()


def assert_agreed(*clocks: StoreClock) -> None:
    """That no two are further apart than they say. Each is read between two readings of the first one."""
    first = clocks[0]
    for other in clocks[1:]:
        before_ms, read_ms, after_ms = first.now_ms(), other.now_ms(), first.now_ms()
        allowed_ms = first.uncertainty_ms + other.uncertainty_ms + WHOLE_MS
        assert before_ms - allowed_ms <= read_ms <= after_ms + allowed_ms


async def test_processes_whose_clocks_are_hours_apart_agree(valkey_url: str) -> None:
    async with AsyncExitStack() as stack:
        clocks = [
            await stack.enter_async_context(clock_of_a_machine(valkey_url, local, wall))
            for local, wall in ((0, 0), (5 * HOUR_NS, -7 * HOUR_NS), (-3 * HOUR_NS, 2 * HOUR_NS))
        ]
        assert_agreed(*clocks)
        for clock in clocks:
            assert clock.certain and clock.correction_ms == 0, "all eight came before anybody asked"
            before_ms, read_ms, after_ms = wall_ms(), clock.now_ms(), wall_ms()
            off_ms = clock.uncertainty_ms + WHOLE_MS
            assert before_ms - off_ms <= read_ms <= after_ms + off_ms, "Valkey's machine is ours"
        assert clocks[1].wall_offset_ms == pytest.approx(-7 * HOUR_NS / 1e6, abs=1_000)


async def test_time_goes_on_through_a_restart_of_the_store_and_never_back(
    start_valkey: Callable[..., EmbeddedValkey],
) -> None:
    valkey = start_valkey()
    async with clock_of_a_machine(valkey.url, HOUR_NS, -HOUR_NS) as one, clock_of_a_machine(valkey.url) as two:
        told: list[tuple[int, int]] = []
        is_over = False

        async def tell() -> None:
            while not is_over:
                told.append((one.now_ms(), two.now_ms()))
                await asyncio.sleep(0)

        telling = asyncio.create_task(tell())
        await asyncio.to_thread(valkey.kill)
        for clock in (one, two):
            await clock.sample()
            assert clock.certain
        assert_agreed(one, two)
        await asyncio.to_thread(valkey.start)
        async with AsyncExitStack() as stack:
            for _ in range(8):
                await one.sample()
                await two.sample()
                assert_agreed(one, two)
            fresh = await stack.enter_async_context(clock_of_a_machine(valkey.url, -HOUR_NS, HOUR_NS))
            assert_agreed(fresh, one, two)
        is_over = True
        await telling
    assert len(told) > 100
    for readings in zip(*told, strict=True):
        assert list(readings) == sorted(readings)


async def test_a_process_that_starts_before_its_store_knows_the_time_once_it_is_there(
    start_valkey: Callable[..., EmbeddedValkey],
) -> None:
    valkey = start_valkey()
    valkey.stop()
    async with clock_of_a_machine(valkey.url, 0, 5 * 10**6) as late:
        assert not late.certain
        valkey.start()
        await late.sample()
        async with clock_of_a_machine(valkey.url) as other:
            assert_agreed(late, other)


@pytest.mark.parametrize("turns", range(12))
async def test_a_question_that_was_given_up_leaves_no_answer_for_the_next_one(valkey_url: str, turns: int) -> None:
    source = RedisTime(valkey_url)
    try:
        await source.ask(local_ms)
        given_up = asyncio.create_task(source.ask(local_ms))
        for _ in range(turns):
            await asyncio.sleep(0)
        given_up.cancel()
        with suppress(asyncio.CancelledError):
            await given_up
        before_ms = wall_ms()
        trip = await source.ask(local_ms)
        # Valkey runs on our machine: an answer to the question before would be older
        assert before_ms - 0.01 <= trip.t1_ms <= wall_ms()
    finally:
        await source.stop()


async def test_a_store_that_does_not_answer_in_time_is_away_and_then_back(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "ANSWER_TIMEOUT_S", 0.05)
    source, other = RedisTime(valkey_url), connections.connect(valkey_url)
    try:
        await source.ask(local_ms)
        await other.client_pause(300)
        with pytest.raises(TimeUnavailable):
            await source.ask(local_ms)
        trip = None
        while trip is None:
            before_ms = wall_ms()
            with suppress(TimeUnavailable):
                trip = await source.ask(local_ms)
        assert before_ms - 0.01 <= trip.t1_ms <= wall_ms()
    finally:
        await other.aclose()
        await source.stop()
