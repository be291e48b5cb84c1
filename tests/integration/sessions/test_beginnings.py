"""How fast a listener may begin sessions, as each store counts it: the listener's on all servers together."""

import asyncio

import pytest

from playhead.sessions import memory_notes, redis_store
from playhead.sessions.keys import ListenerKeys
from playhead.sessions.memory_store import MemoryStore
from playhead.sessions.redis_store import RedisStore
from tests.integration.sessions.lines import Line, redis_line
from tests.integration.sessions.test_store_contract import neighbour
from tests.support.sessions import SetClock
from tests.support.states import LISTENER_ID

HOUR_MS = 3_600_000
TIMEOUT_S = 20.0


@pytest.fixture
def patch(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Five at once, and one an hour: the time that a test takes is none."""
    for module in (memory_notes, redis_store):
        monkeypatch.setattr(module, "SESSION_BURST", 5)
        monkeypatch.setattr(module, "SESSION_APART_MS", HOUR_MS)
    return monkeypatch


async def test_a_burst_is_counted_and_one_past_it_is_told_to_wait(line: Line, patch: pytest.MonkeyPatch) -> None:
    found = await asyncio.gather(*(line.store.count_beginning(LISTENER_ID) for _ in range(8)))
    assert found[:5] == [0] * 5
    assert all(HOUR_MS - 1_000 * TIMEOUT_S < wait_ms <= HOUR_MS for wait_ms in found[5:]), "what is refused counts not"
    assert await line.store.count_beginning(neighbour()) == 0


async def test_after_that_wait_one_more_may_begin(line: Line, patch: pytest.MonkeyPatch) -> None:
    for module in (memory_notes, redis_store):
        patch.setattr(module, "SESSION_APART_MS", 300)
    async with asyncio.timeout(TIMEOUT_S):
        while not (wait_ms := await line.store.count_beginning(LISTENER_ID)):
            pass
    if isinstance(line.store, MemoryStore):
        assert isinstance(line.store._clock, SetClock)
        line.store._clock.advance(wait_ms - 1)
        assert await line.store.count_beginning(LISTENER_ID) == 1
        line.store._clock.advance(1)
    else:
        await asyncio.sleep(wait_ms / 1_000 + 0.01)
    assert await line.store.count_beginning(LISTENER_ID) == 0


@pytest.mark.parametrize("kind", ["redis", "cluster"])
async def test_two_servers_count_together_and_leave_nothing_for_long(
    kind: str, line: Line, patch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    assert isinstance(line.store, RedisStore)
    assert [await line.store.count_beginning(LISTENER_ID) for _ in range(4)] == [0] * 4
    url = request.getfixturevalue("valkey_url") if kind == "redis" else request.getfixturevalue("cluster").url
    async with redis_line(url, SetClock()) as other:
        assert await other.store.count_beginning(LISTENER_ID) == 0
        assert await other.store.count_beginning(LISTENER_ID) > 0
    assert 0 < await line.store.calls.call("PTTL", ListenerKeys(LISTENER_ID).begun) <= 5 * HOUR_MS
