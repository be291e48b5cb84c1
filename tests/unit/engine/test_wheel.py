"""Timers: never early, a tick late at most, each once, whatever is set and unset in between."""

import asyncio
from dataclasses import dataclass, field

from playhead.engine.wheel import TICK_S_MAX, TICK_S_MIN, Wheel

SHORTEST_S = 0.2


@dataclass(eq=False)
class Timer:
    slot: int = 0
    times: list[float] = field(default_factory=list)

    def on_time(self) -> None:
        self.times.append(asyncio.get_running_loop().time())


async def until_due(*timers: Timer) -> None:
    async with asyncio.timeout(5):
        while not all(timer.times for timer in timers):
            await asyncio.sleep(0.001)


def test_a_tick_follows_the_shortest_limit_within_bounds() -> None:
    assert Wheel(SHORTEST_S).tick_s == SHORTEST_S / 20
    assert Wheel(0.001).tick_s == TICK_S_MIN
    assert Wheel(3_600).tick_s == TICK_S_MAX


async def test_a_timer_is_never_early() -> None:
    wheel, now = Wheel(SHORTEST_S), asyncio.get_running_loop().time()
    timers = {delay_s: Timer() for delay_s in (0.0, 0.004, 0.011, 0.05)}
    for delay_s, timer in timers.items():
        wheel.set(timer, delay_s)
    assert len(wheel) == len(timers)
    await until_due(*timers.values())
    for delay_s, timer in timers.items():
        assert len(timer.times) == 1 and timer.times[0] >= now + delay_s
        assert timer.slot == 0
    assert len(wheel) == 0
    wheel.stop()


async def test_setting_again_moves_and_unsetting_forgets() -> None:
    wheel = Wheel(SHORTEST_S)
    moved, unset, last = Timer(), Timer(), Timer()
    now = asyncio.get_running_loop().time()
    for timer in (moved, unset):
        wheel.set(timer, 0.01)
    wheel.set(moved, 0.06)
    wheel.unset(unset)
    wheel.unset(unset)
    wheel.set(last, 0.08)
    await until_due(last)
    assert len(moved.times) == 1 and moved.times[0] >= now + 0.06
    assert unset.times == []
    wheel.stop()


async def test_a_timer_may_set_itself_again_and_unset_its_neighbour() -> None:
    wheel = Wheel(SHORTEST_S)
    neighbour = Timer()

    class Again(Timer):
        def on_time(self) -> None:
            super().on_time()
            wheel.unset(neighbour)
            wheel.set(self if len(self.times) < 3 else last, 0.0)

    again, last = Again(), Timer()
    wheel.set(again, 0.0)
    wheel.set(neighbour, 0.0)
    await until_due(last)
    assert len(again.times) == 3 and neighbour.times == []
    wheel.stop()


async def test_nothing_comes_after_stop() -> None:
    wheel, timer, other = Wheel(SHORTEST_S), Timer(), Timer()
    wheel.set(timer, 0.0)
    wheel.stop()
    second = Wheel(SHORTEST_S)
    second.set(other, 0.05)
    await until_due(other)
    assert timer.times == [] and len(wheel) == 0
    second.stop()
