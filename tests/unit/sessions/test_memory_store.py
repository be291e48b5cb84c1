"""What the contract suite does not show of the store in memory: when it forgets."""

from dataclasses import replace

import pytest

from playhead.sessions.memory_store import MemoryStore
from playhead.sessions.store import ENDED_TTL_MS, SESSION_TTL_MS, Change, Committed
from tests.support.sessions import SetClock
from tests.support.states import LISTENER_ID, NOW_MS, SCRIPT_ID, SESSION_ID, make_state


@pytest.mark.parametrize(("ended_at_ms", "ttl_ms"), [(None, SESSION_TTL_MS), (NOW_MS, ENDED_TTL_MS)])
async def test_a_session_is_forgotten_when_its_time_is_over(ended_at_ms: int | None, ttl_ms: int) -> None:
    clock = SetClock()
    store = MemoryStore(clock)
    first = Change(after=make_state(version=1), expected_version=None)
    assert await store.commit(LISTENER_ID, 1, [first], [b"nobody listens"]) is Committed.DONE
    clock.advance(1_000)
    second = Change(after=replace(first.after, version=2, ended_at_ms=ended_at_ms), expected_version=1)
    assert await store.commit(LISTENER_ID, 1, [second], []) is Committed.DONE
    clock.advance(ttl_ms - 1)
    assert len((await store.load(LISTENER_ID, SESSION_ID)).states) == 1
    clock.advance(1)
    assert (await store.load(LISTENER_ID, SESSION_ID)).states == (await store.live(LISTENER_ID)).states == ()
    assert await store.last_ended(LISTENER_ID, SCRIPT_ID) is None
