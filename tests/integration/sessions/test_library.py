"""Releases side by side on one Valkey: each calls functions of its own, and what old ones leave is bounded."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from playhead.runtime.redis import ask, connect
from playhead.sessions.keys import PARTITIONS
from playhead.sessions.library import LIBRARIES_MAX, LIBRARY, Library
from playhead.sessions.redis_store import RedisStore
from playhead.sessions.store import StoreUnavailable
from tests.support.sessions import SetClock
from tests.support.states import LISTENER_ID


def release(number: int) -> Library:
    """As one is that answers with its number."""
    return Library(f"redis.register_function('which' .. MARK, function() return {number} end)")


async def which(connection: AbstractConnection, library: Library) -> int:
    return int(await ask(connection, "FCALL", library.function("which"), 0))


async def libraries(connection: AbstractConnection) -> int:
    return len(await ask(connection, "FUNCTION", "LIST", "LIBRARYNAME", "playhead_*"))


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[AbstractConnection]:
    client = connect(url)
    connection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
    try:
        yield connection
    finally:
        await client.connection_pool.release(connection)
        await client.aclose()


@pytest.fixture
async def connection(valkey_url: str) -> AsyncIterator[AbstractConnection]:
    async with connected(valkey_url) as connection:
        await ask(connection, "FUNCTION", "FLUSH")
        yield connection


async def test_each_release_calls_its_own_functions_whoever_came_last(connection: AbstractConnection) -> None:
    old, new = release(1), release(2)
    for library in (old, new, old):
        await library.load(connection)
        await new.load(connection)
        assert (await which(connection, old), await which(connection, new)) == (1, 2)


async def test_one_text_is_one_library(connection: AbstractConnection) -> None:
    for _ in range(3):
        await release(1).load(connection)
    assert await libraries(connection) == 1


async def test_what_many_releases_leave_is_deleted(connection: AbstractConnection) -> None:
    for number in range(LIBRARIES_MAX):
        await release(number).load(connection)
    assert await libraries(connection) == LIBRARIES_MAX
    assert await which(connection, release(0)) == 0
    newest = release(LIBRARIES_MAX)
    await newest.load(connection)
    assert await libraries(connection) == 1
    assert await which(connection, newest) == LIBRARIES_MAX
    with pytest.raises(ResponseError, match="not found"):
        await which(connection, release(0))


async def test_a_store_whose_library_was_deleted_loads_it_again(
    connection: AbstractConnection, valkey_url: str
) -> None:
    store = RedisStore(valkey_url, SetClock())
    try:
        epoch = (await store.live(LISTENER_ID)).epoch
        await ask(connection, "FUNCTION", "DELETE", LIBRARY.name)
        assert (await store.live(LISTENER_ID)).epoch == epoch
        await ask(connection, "FUNCTION", "DELETE", LIBRARY.name)
        with pytest.raises(StoreUnavailable):
            await store.due(0, PARTITIONS)
        assert await store.due(0, PARTITIONS) == ()
    finally:
        await store.stop()
