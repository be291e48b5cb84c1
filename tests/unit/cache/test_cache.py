"""Cache: which of its places answers, and what happens while Redis is away. Redis is played by memory here."""

import asyncio

import pytest

from playhead.cache import VALUE_BYTES_MAX, Cache, CacheUnavailable, MemoryBackend
from playhead.cache.cache import AWAY_S, LOCAL_COPY_S

TTL_S = 300.0


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


class Shared(MemoryBackend):
    """A shared place that can go away, and counts how often it was asked."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.away = False
        self.asked = 0

    def _ask(self) -> None:
        self.asked += 1
        if self.away:
            raise CacheUnavailable("away")

    async def get(self, key: str) -> bytes | None:
        self._ask()
        return await super().get(key)

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        self._ask()
        await super().put(key, value, ttl_s)

    async def drop(self, key: str) -> None:
        self._ask()
        await super().drop(key)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shared(clock: Clock) -> Shared:
    return Shared(clock)


@pytest.fixture
def heard() -> list[bool]:
    """What the hook was told, in order."""
    return []


@pytest.fixture
def cache(shared: Shared, clock: Clock, heard: list[bool]) -> Cache:
    return Cache(shared, clock, heard.append)


async def test_what_one_process_puts_another_gets(cache: Cache, shared: Shared, clock: Clock) -> None:
    await cache.put("key", b"value", TTL_S)
    assert await Cache(shared, clock).get("key") == b"value"


async def test_the_own_copy_answers_for_its_time_and_then_asks_again(
    cache: Cache, shared: Shared, clock: Clock
) -> None:
    await shared.put("key", b"old", TTL_S)
    assert await cache.get("key") == b"old"
    await shared.put("key", b"new", TTL_S)
    clock.now_s += LOCAL_COPY_S - 0.001
    assert await cache.get("key") == b"old"
    clock.now_s += 0.001
    assert await cache.get("key") == b"new"


async def test_a_process_that_put_a_value_sees_that_of_another_after_its_own_copy_s_time(
    cache: Cache, shared: Shared, clock: Clock
) -> None:
    await cache.put("key", b"old", TTL_S)
    await shared.put("key", b"new", TTL_S)
    assert await cache.get("key") == b"old"
    clock.now_s += LOCAL_COPY_S
    assert await cache.get("key") == b"new"


async def test_a_value_ends_with_its_time(cache: Cache, clock: Clock) -> None:
    await cache.put("key", b"value", TTL_S)
    clock.now_s += TTL_S - 0.001
    assert await cache.get("key") == b"value"
    clock.now_s += LOCAL_COPY_S
    assert await cache.get("key") is None


async def test_a_short_time_to_live_is_not_lengthened_by_the_own_copy(cache: Cache, clock: Clock) -> None:
    await cache.put("key", b"value", 0.2)
    clock.now_s += 0.2
    assert await cache.get("key") is None


async def test_dropped_it_is_gone_at_once_here_and_in_the_shared_place(cache: Cache, shared: Shared) -> None:
    await cache.put("key", b"value", TTL_S)
    await cache.drop("key")
    assert await cache.get("key") is None
    assert await shared.get("key") is None


async def test_while_redis_is_away_memory_keeps_values_for_their_whole_time(
    cache: Cache, shared: Shared, clock: Clock
) -> None:
    shared.away = True
    await cache.put("key", b"value", TTL_S)
    clock.now_s += TTL_S - 0.001
    assert await cache.get("key") == b"value"
    clock.now_s += 0.001
    assert await cache.get("key") is None


async def test_while_redis_is_away_it_is_asked_once_a_second_at_most(
    cache: Cache, shared: Shared, clock: Clock
) -> None:
    shared.away = True
    for _ in range(5):
        await cache.get("key")
    assert shared.asked == 1
    clock.now_s += AWAY_S
    for _ in range(5):
        await cache.get("key")
    assert shared.asked == 2


async def test_going_away_and_coming_back_is_told_once_each(
    cache: Cache, shared: Shared, clock: Clock, heard: list[bool]
) -> None:
    shared.away = True
    await cache.get("key")
    clock.now_s += AWAY_S
    await cache.put("key", b"value", TTL_S)
    assert (heard, cache.away) == ([True], True)
    shared.away = False
    clock.now_s += AWAY_S
    await cache.get("other")
    await cache.get("other")
    assert (heard, cache.away) == ([True, False], False)


async def test_once_redis_is_back_nothing_that_was_kept_in_memory_meanwhile_is_served(
    cache: Cache, shared: Shared, clock: Clock
) -> None:
    shared.away = True
    await cache.put("key", b"meanwhile", TTL_S)
    shared.away = False
    clock.now_s += AWAY_S
    assert await cache.get("other") is None
    assert await cache.get("key") is None


async def test_also_a_process_that_asks_for_one_value_alone_finds_out_that_redis_is_back(
    cache: Cache, shared: Shared, clock: Clock
) -> None:
    shared.away = True
    await cache.put("key", b"meanwhile", TTL_S)
    shared.away = False
    clock.now_s += AWAY_S
    assert await cache.get("key") is None


async def test_when_redis_may_be_back_it_is_asked_before_anything_is_made_or_answered_from_memory(
    cache: Cache, shared: Shared, clock: Clock
) -> None:
    shared.away = True
    await cache.put("key", b"old", TTL_S)
    shared.away = False
    await shared.put("key", b"new", TTL_S)
    clock.now_s += AWAY_S

    async def make() -> bytes:
        raise AssertionError("it is in Redis")

    assert (await cache.get_or_make("key", TTL_S, make)).value == b"new"


async def test_dropping_while_redis_is_away_forgets_what_memory_has(cache: Cache, shared: Shared) -> None:
    shared.away = True
    await cache.put("key", b"value", TTL_S)
    await cache.drop("key")
    assert await cache.get("key") is None


async def test_without_a_shared_place_memory_is_all_there_is(clock: Clock) -> None:
    cache = Cache(None, clock)
    await cache.put("key", b"value", TTL_S)
    assert (await cache.get("key"), cache.away) == (b"value", False)
    await cache.drop("key")
    assert await cache.get("key") is None


async def test_a_value_is_made_once_for_all_who_ask_at_once(cache: Cache) -> None:
    made = 0

    async def make() -> bytes:
        nonlocal made
        made += 1
        await asyncio.sleep(0)
        return b"value"

    kept = await asyncio.gather(*(cache.get_or_make("key", TTL_S, make) for _ in range(4)))
    assert [row.value for row in kept] == [b"value"] * 4
    assert made == 1
    again = await cache.get_or_make("key", TTL_S, make)
    assert (again.cached, kept[0].cached, made) == (True, False, 1)


async def test_what_fails_to_be_made_is_not_kept(cache: Cache) -> None:
    async def fail() -> bytes:
        raise ValueError("no")

    async def make() -> bytes:
        return b"value"

    with pytest.raises(ValueError, match="no"):
        await cache.get_or_make("key", TTL_S, fail)
    assert not (await cache.get_or_make("key", TTL_S, make)).cached


@pytest.mark.parametrize(("size", "kept"), [(VALUE_BYTES_MAX, True), (VALUE_BYTES_MAX + 1, False)])
async def test_a_value_at_the_limit_is_kept_and_one_past_it_is_not(cache: Cache, size: int, kept: bool) -> None:
    await cache.put("key", bytes(size), TTL_S)
    assert (await cache.get("key") is not None) is kept
