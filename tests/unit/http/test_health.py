"""Readiness: all parts at once, each by name, no secrets."""

import asyncio

import pytest

from playhead.db import DatabaseUnavailable
from playhead.http.health import NO_ANSWER, OK, NotReady, clock_check, process_check, run_checks
from playhead.runtime.store_clock import UNCERTAINTY_MS_MAX, StoreClock
from tests.support.clocks import Machines, StoreTime


async def _well() -> None:
    return None


async def _wrong_policy() -> None:
    raise NotReady("maxmemory-policy is allkeys-lru; set it to noeviction")


async def _away() -> None:
    raise DatabaseUnavailable("PostgreSQL cannot serve this now: password for user secret is wrong.")


async def _for_ever() -> None:
    await asyncio.Event().wait()


async def test_each_part_is_named_with_what_is_wrong_with_it() -> None:
    found = await run_checks({"a": _well, "b": _wrong_policy})
    assert found == {"a": "ok", "b": "maxmemory-policy is allkeys-lru; set it to noeviction"}


async def test_what_a_part_said_of_itself_is_not_shown() -> None:
    assert await run_checks({"postgresql": _away}) == {"postgresql": NO_ANSWER}


async def test_a_part_that_does_not_answer_holds_nobody_up() -> None:
    assert await run_checks({"a": _for_ever, "b": _well}, timeout_s=0.01) == {"a": NO_ANSWER, "b": "ok"}


async def test_parts_are_asked_at_once() -> None:
    asked = asyncio.Barrier(2)

    async def meet() -> None:
        await asked.wait()

    assert await run_checks({"a": meet, "b": meet}) == {"a": "ok", "b": "ok"}


@pytest.mark.parametrize("going_away", [False, True])
async def test_a_process_that_goes_away_is_not_ready(going_away: bool) -> None:
    found = (await run_checks({"process": process_check(lambda: going_away)}))["process"]
    assert (found != OK and "going away" in found) if going_away else found == OK


class TestClock:
    """A process that does not know server time well enough serves nobody, and says what to do."""

    def setup_method(self) -> None:
        self.machines = Machines()
        self.store = StoreTime(self.machines)
        self.clock = StoreClock(self.store, local_ns=self.machines.local_ns, wall_ns=self.machines.wall_ns)

    async def told(self) -> str:
        return (await run_checks({"clock": clock_check(self.clock)}))["clock"]

    async def test_before_the_first_sample(self) -> None:
        assert await self.told() == "the state store has not told the time yet; see `valkey`"

    @pytest.mark.parametrize(("way_ms", "is_ready"), [(UNCERTAINTY_MS_MAX - 1, True), (UNCERTAINTY_MS_MAX + 1, False)])
    async def test_a_store_that_answers_slowly(self, way_ms: float, is_ready: bool) -> None:
        self.store.out_ms = self.store.back_ms = way_ms
        await self.clock.sample()
        told = await self.told()
        assert (told == OK) is is_ready
        assert is_ready or told.startswith("server time is uncertain by 51 ms, more than 50: ")

    async def test_a_store_that_has_been_away_for_long(self) -> None:
        await self.clock.sample()
        self.machines.advance(495_000)
        assert await self.told() == OK
        self.machines.advance(10_000)
        told = await self.told()
        assert told.startswith("server time is uncertain by 51 ms") and "a shorter way to the store" in told

    @pytest.mark.parametrize(("jump_ms", "off"), [(-3_600_000, "+3600.000 s"), (400, "-0.400 s")])
    async def test_a_clock_that_has_far_to_go(self, jump_ms: float, off: str) -> None:
        await self.clock.sample()
        self.clock.now_ms()
        self.machines.store_jumped_ms = jump_ms
        await self.clock.sample()
        told = await self.told()
        assert told.startswith(f"this process's clock is {off} from server time") and "restart it" in told


async def test_without_parts_everything_is_well() -> None:
    assert await run_checks({}) == {}
