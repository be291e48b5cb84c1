"""Claims of several processes in one Valkey: whose they are, also where an answer was lost."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from playhead.cache import CacheUnavailable, Claims, RedisClaims
from playhead.runtime.redis import connect

TTL_S = 300.0
SHORT_TTL_S = 0.05
DEADLINE_S = 5.0
KEY = "audio:claims-of-tests"


@pytest.fixture
async def processes(valkey_url: str) -> AsyncIterator[tuple[Claims, Claims]]:
    client = connect(valkey_url)
    await client.delete(KEY)
    yield RedisClaims(client, DEADLINE_S), RedisClaims(client, DEADLINE_S)
    await client.aclose()


async def test_the_first_has_it_and_the_other_reads_what_for(processes: tuple[Claims, Claims]) -> None:
    one, other = processes
    assert await other.value(KEY) is None
    assert await one.take(KEY, b"\x00 0 5", TTL_S)
    assert not await other.take(KEY, b"0 9", TTL_S)
    assert await one.value(KEY) == await other.value(KEY) == b"\x00 0 5"


async def test_who_asks_again_for_what_it_has_got_has_it_anew(processes: tuple[Claims, Claims]) -> None:
    """As where the answer was lost, and as it goes on with its work."""
    one, other = processes
    assert await one.take(KEY, b"0 5", SHORT_TTL_S)
    assert await one.take(KEY, b"1 5", TTL_S)
    await asyncio.sleep(2 * SHORT_TTL_S)
    assert await other.value(KEY) == b"1 5"


async def test_its_holder_gives_it_up_and_nobody_else(processes: tuple[Claims, Claims]) -> None:
    one, other = processes
    await one.give_up(KEY)
    assert await one.take(KEY, b"0 5", TTL_S)
    await other.give_up(KEY)
    assert await other.value(KEY) == b"0 5"
    await one.give_up(KEY)
    assert await other.take(KEY, b"0 5", TTL_S)


async def test_it_ends_with_its_time(processes: tuple[Claims, Claims]) -> None:
    one, other = processes
    assert await one.take(KEY, b"0 5", SHORT_TTL_S)
    async with asyncio.timeout(DEADLINE_S):
        while not await other.take(KEY, b"0 5", TTL_S):
            await asyncio.sleep(SHORT_TTL_S / 10)


async def test_without_an_answer_in_time_nobody_knows() -> None:
    nobody = connect("redis://127.0.0.1:1")
    claims = RedisClaims(nobody)
    for asked in (claims.take(KEY, b"0 5", TTL_S), claims.value(KEY), claims.give_up(KEY)):
        with pytest.raises(CacheUnavailable):
            await asked
    await nobody.aclose()
