"""The contract of cache backends, on memory and on Valkey."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest

from playhead.app.embedded import EmbeddedValkey
from playhead.cache import VALUE_BYTES_MAX, Backend, Cache, CacheUnavailable, MemoryBackend, RedisBackend
from playhead.runtime.redis import connect

TTL_S = 300.0
SHORT_TTL_S = 0.05
DEADLINE_S = 5.0


@pytest.fixture(params=["memory", "redis"])
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    if request.param == "memory":
        yield MemoryBackend(time.monotonic)
        return
    client = connect(request.getfixturevalue("valkey_url"))
    yield RedisBackend(client, timeout_s=DEADLINE_S)
    await client.aclose()


async def _until_gone(backend: Backend, key: str) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while await backend.get(key) is not None:
            await asyncio.sleep(SHORT_TTL_S / 10)


async def test_what_was_put_is_got(backend: Backend) -> None:
    await backend.put("audio:stream:1:low", b"\x00\xffbytes", TTL_S)
    assert await backend.get("audio:stream:1:low") == b"\x00\xffbytes"


async def test_what_was_never_put_is_none(backend: Backend) -> None:
    assert await backend.get("nothing") is None


async def test_an_empty_value_is_a_value(backend: Backend) -> None:
    await backend.put("key", b"", TTL_S)
    assert await backend.get("key") == b""


async def test_a_later_value_takes_the_place_of_the_earlier(backend: Backend) -> None:
    await backend.put("key", b"old", SHORT_TTL_S)
    await backend.put("key", b"new", TTL_S)
    await asyncio.sleep(SHORT_TTL_S * 2)
    assert await backend.get("key") == b"new"


async def test_a_value_ends_with_its_time_and_others_stay(backend: Backend) -> None:
    await backend.put("short", b"value", SHORT_TTL_S)
    await backend.put("long", b"value", TTL_S)
    await _until_gone(backend, "short")
    assert await backend.get("long") == b"value"


async def test_dropped_it_is_gone_and_dropping_again_does_no_harm(backend: Backend) -> None:
    await backend.put("key", b"value", TTL_S)
    await backend.drop("key")
    await backend.drop("key")
    assert await backend.get("key") is None


@pytest.mark.parametrize(("size", "kept"), [(VALUE_BYTES_MAX, True), (VALUE_BYTES_MAX + 1, False)])
async def test_a_value_at_the_limit_is_kept_and_one_past_it_is_not(backend: Backend, size: int, kept: bool) -> None:
    await backend.put("key", bytes(size), TTL_S)
    assert (await backend.get("key") is not None) is kept


async def test_two_processes_share_what_is_in_redis(valkey_url: str) -> None:
    one, other = connect(valkey_url), connect(valkey_url)
    await Cache(RedisBackend(one, DEADLINE_S), time.monotonic).put("key", b"value", TTL_S)
    assert await Cache(RedisBackend(other, DEADLINE_S), time.monotonic).get("key") == b"value"
    for client in (one, other):
        await client.aclose()


async def test_a_server_that_was_killed_is_unavailable_and_the_cache_goes_on_in_memory(
    start_valkey: Callable[..., EmbeddedValkey],
) -> None:
    server = start_valkey()
    client = connect(server.url)
    backend = RedisBackend(client, DEADLINE_S)
    cache = Cache(backend, time.monotonic)
    await cache.put("before", b"value", TTL_S)
    server.kill()
    with pytest.raises(CacheUnavailable):
        await backend.get("before")
    await cache.put("after", b"value", TTL_S)
    assert (await cache.get("after"), cache.away) == (b"value", True)
    await client.aclose()


async def test_a_server_that_does_not_answer_in_time_is_unavailable() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    client = connect(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with pytest.raises(CacheUnavailable):
        await RedisBackend(client, timeout_s=0.05).get("key")
    await client.aclose()
    server.close()
    await server.wait_closed()
