"""When the store is asked for the time, and what becomes of the clock when it does not answer."""

import asyncio
import math

import pytest
from structlog.testing import capture_logs

from playhead.playback.clock_offset import DRIFT_MAX, SAMPLES_MAX
from playhead.runtime import store_clock
from playhead.runtime.store_clock import RETRY_INTERVAL_S, SAMPLE_INTERVAL_S, UNCERTAINTY_MS_MAX, StoreClock, WallTime
from tests.support.clocks import STORE_MS, Machines, StoreTime

HOUR_MS = 3_600_000


class Sleeps:
    """Real time passes when the test says so: `pass_one` lets the clock's pause be over, and says how long it was."""

    def __init__(self, machines: Machines) -> None:
        self._machines = machines
        self._begun: asyncio.Queue[tuple[float, asyncio.Event]] = asyncio.Queue()

    async def __call__(self, pause_s: float) -> None:
        over = asyncio.Event()
        self._begun.put_nowait((pause_s, over))
        await over.wait()

    async def pass_one(self) -> float:
        """Ends the pause that is on or comes next; returns when the next one has begun."""
        pause_s, over = await self._begun.get()
        self._machines.advance(pause_s * 1000)
        over.set()
        self._begun.put_nowait(await self._begun.get())
        return pause_s


class Process:
    """A clock under test, with its machines and its store."""

    def __init__(self, wall_ahead_ms: float = 0.0, drift: float = 0.0) -> None:
        self.machines = Machines(wall_ahead_ms, drift)
        self.store = StoreTime(self.machines)
        self.sleeps = Sleeps(self.machines)
        self.clock = StoreClock(
            self.store, local_ns=self.machines.local_ns, wall_ns=self.machines.wall_ns, sleep=self.sleeps
        )

    @property
    def off_ms(self) -> float:
        return self.clock.now_ms() - self.machines.store_ms


async def test_eight_samples_at_the_start_and_then_one_every_ten_seconds() -> None:
    process = Process(wall_ahead_ms=HOUR_MS)
    await process.clock.start()
    assert process.store.asked == SAMPLES_MAX
    assert abs(process.off_ms) <= 1 and process.clock.certain
    assert [await process.sleeps.pass_one() for _ in range(5)] == [SAMPLE_INTERVAL_S] * 5
    assert process.store.asked == SAMPLES_MAX + 5
    await process.clock.stop()
    assert process.store.stopped


async def test_after_a_jump_eight_samples_are_taken_anew() -> None:
    process = Process()
    await process.clock.start()
    process.machines.store_jumped_ms = HOUR_MS
    with capture_logs() as logs:
        await process.sleeps.pass_one()
    assert process.store.asked == 2 * SAMPLES_MAX
    assert abs(process.off_ms) <= 1
    assert [(row["action"], row["by_ms"]) for row in logs] == [("server_time_jumped", HOUR_MS)]
    await process.clock.stop()


async def test_a_store_that_is_away_at_the_start_is_asked_every_second() -> None:
    process = Process(wall_ahead_ms=7_000)
    process.store.down = True
    with capture_logs() as logs:
        await process.clock.start()
        assert (process.clock.uncertainty_ms, process.clock.certain) == (math.inf, False)
        assert process.clock.now_ms() == STORE_MS + 7_000
        assert [await process.sleeps.pass_one() for _ in range(3)] == [RETRY_INTERVAL_S] * 3
        process.store.down = False
        assert await process.sleeps.pass_one() == RETRY_INTERVAL_S
    assert process.store.asked == 4 + SAMPLES_MAX
    assert math.isfinite(process.clock.uncertainty_ms)
    assert [row["action"] for row in logs] == ["server_time_away", "server_time_back"], "each is told once"
    await process.clock.stop()


async def test_while_the_store_is_away_time_goes_on_less_certain_every_second() -> None:
    process = Process()
    await process.clock.start()
    before_ms = process.clock.uncertainty_ms
    process.store.down = True
    await process.sleeps.pass_one()
    for _ in range(100):
        assert await process.sleeps.pass_one() == RETRY_INTERVAL_S
    assert process.clock.uncertainty_ms == pytest.approx(before_ms + 11, abs=0.1)
    assert abs(process.off_ms) <= 1 and process.clock.certain
    process.machines.advance(400_000)
    assert not process.clock.certain
    process.store.down = False
    await process.sleeps.pass_one()
    assert process.clock.certain and process.store.asked == SAMPLES_MAX + 101 + 1
    await process.clock.stop()


async def test_a_clock_that_is_not_certain_enough_asks_again_soon() -> None:
    process = Process()
    process.store.out_ms = process.store.back_ms = UNCERTAINTY_MS_MAX + 1
    await process.clock.start()
    assert await process.sleeps.pass_one() == RETRY_INTERVAL_S
    process.store.out_ms = process.store.back_ms = 1
    assert await process.sleeps.pass_one() == RETRY_INTERVAL_S
    assert await process.sleeps.pass_one() == SAMPLE_INTERVAL_S
    await process.clock.stop()


async def test_while_the_loop_is_late_the_clock_stays_right_and_the_process_ready() -> None:
    """By 400 ms for five minutes: a good sample from before is worth more than any of these."""
    process = Process(drift=DRIFT_MAX / 4)
    await process.clock.start()
    process.store.back_ms = 400
    for _ in range(30):
        assert await process.sleeps.pass_one() == SAMPLE_INTERVAL_S, "nor does it ask any sooner"
        assert process.clock.certain
        assert abs(process.off_ms) <= 1 + process.clock.uncertainty_ms
    assert abs(process.off_ms) <= 10
    process.store.back_ms = 0.1
    await process.sleeps.pass_one()
    process.machines.advance(1_000)
    assert abs(process.off_ms) <= 1.5 and process.clock.uncertainty_ms < 1
    await process.clock.stop()


@pytest.mark.parametrize(("way_ms", "certain"), [(UNCERTAINTY_MS_MAX - 0.1, True), (UNCERTAINTY_MS_MAX + 0.1, False)])
async def test_at_the_limit_it_may_still_serve(way_ms: float, certain: bool) -> None:
    process = Process()
    process.store.out_ms = process.store.back_ms = way_ms
    await process.clock.sample()
    # the best sample is the last one, so that its age is next to nothing
    assert process.clock.certain is certain


async def test_a_store_that_never_answers_does_not_hold_up_a_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_clock, "START_WAIT_S", 0.01)
    process = Process()
    for_ever = asyncio.Event()

    async def ask(_local_ms: object) -> None:
        await for_ever.wait()

    monkeypatch.setattr(process.store, "ask", ask)
    with capture_logs() as logs:
        await process.clock.start()
    assert [row["action"] for row in logs] == ["server_time_away"]
    await process.clock.stop()


async def test_a_failure_that_nobody_foresaw_does_not_end_the_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process()
    await process.clock.start()

    async def ask(_local_ms: object) -> None:
        raise ValueError("a bug")

    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(process.store, "ask", ask)
        await process.sleeps.pass_one()
    assert [row["action"] for row in logs] == ["server_time_failed"]
    await process.sleeps.pass_one()
    assert process.store.asked == SAMPLES_MAX + 1
    await process.clock.stop()


async def test_the_machines_wall_clock_is_watched_and_not_followed() -> None:
    process = Process()
    await process.clock.start()
    process.machines.wall_jumped_ms = -HOUR_MS
    assert process.clock.wall_offset_ms == pytest.approx(-HOUR_MS, abs=0.1)
    assert abs(process.off_ms) <= 1
    assert process.clock.correction_ms == 0
    await process.clock.stop()


async def test_without_a_store_the_machines_wall_clock_is_followed_and_its_step_back_stops_nothing() -> None:
    """On a clock that stood still a true report would be refused, and a device would play on alone for an hour."""
    machines = Machines(wall_ahead_ms=HOUR_MS)
    sleeps = Sleeps(machines)
    clock = StoreClock(WallTime(machines.wall_ns), local_ns=machines.local_ns, wall_ns=machines.wall_ns, sleep=sleeps)
    await clock.start()
    assert abs(clock.now_ms() - machines.wall_ns() // 10**6) <= 1 and clock.certain
    machines.wall_jumped_ms = -HOUR_MS
    await sleeps.pass_one()
    assert clock.correction_ms < 0
    for _ in range(20):
        before_ms = clock.now_ms()
        machines.advance(10_000)
        assert 9_000 <= clock.now_ms() - before_ms <= 10_000
        await sleeps.pass_one()
    machines.wall_jumped_ms = 0
    await sleeps.pass_one()
    assert abs(clock.wall_offset_ms) < 0.1, "forwards it follows at once: the machine may have slept"
    await clock.stop()


async def test_a_clock_that_was_never_started_can_be_stopped() -> None:
    process = Process()
    await process.clock.stop()
    assert process.store.stopped
