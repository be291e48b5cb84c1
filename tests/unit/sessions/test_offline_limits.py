"""What one listener may tell of what was played offline: how much in a batch, how old, how much in a time."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from playhead.db.limits import DURATION_MS_MAX
from playhead.playback.commands import OFFLINE_INTERVALS_MAX, RATE_MAX, Offline
from playhead.playback.rejections import Code, Rejection
from playhead.runtime.limits import SECOND_US
from playhead.sessions.answers import Outcome
from playhead.sessions.requests import (
    COUNTER_MAX,
    OFFLINE_AGE_MS_MAX,
    OFFLINE_TOLERANCE_MS,
    OFFLINE_TOTAL_MS_MAX,
    PLACE_MAX_S,
    OfflineRequest,
    OfflineStretch,
)
from playhead.sessions.service import OFFLINE_RATE
from playhead.sessions.validation import explain
from tests.support.sessions import make_principal, new_id
from tests.support.states import NOW_MS, SCRIPT_ID
from tests.unit.sessions.world import PHONE, World, make_world

BATCHES = OFFLINE_RATE.burst // OFFLINE_INTERVALS_MAX
APART_MS = SECOND_US // OFFLINE_RATE.per_s // 1_000


def stretch(length_s: float = 1.0, **fields: Any) -> dict[str, Any]:
    told = {"start": 0.0, "end": length_s, "started_at": 0, "ended_at": round(length_s * 1_000)}
    return {**told, **fields}


def request(*stretches: dict[str, Any]) -> OfflineRequest:
    return OfflineRequest.model_validate({"script_id": SCRIPT_ID, "position": 0.0, "intervals": list(stretches)})


def refusal(*stretches: dict[str, Any]) -> str:
    with pytest.raises(ValidationError) as refused:
        request(*stretches)
    return explain(refused.value)


# in a batch


def test_a_batch_holds_as_many_stretches_as_are_allowed_and_not_one_more() -> None:
    assert len(request(*[stretch()] * OFFLINE_INTERVALS_MAX).intervals) == OFFLINE_INTERVALS_MAX
    text = refusal(*[stretch()] * (OFFLINE_INTERVALS_MAX + 1))
    assert "intervals" in text and str(OFFLINE_INTERVALS_MAX) in text


def test_a_batch_holds_as_much_audio_as_can_be_played_in_the_time_that_counts() -> None:
    whole, rest_ms = divmod(OFFLINE_TOTAL_MS_MAX, round(PLACE_MAX_S * 1_000))
    longest = [stretch(PLACE_MAX_S)] * whole
    fits = [stretch(rest_ms / 1_000)] if rest_ms else []
    assert request(*longest, *fits).command().intervals
    text = refusal(*longest, *fits, stretch(0.001))
    assert f"{OFFLINE_TOTAL_MS_MAX // 1_000} seconds" in text


def test_a_stretch_holds_no_more_than_can_be_played_in_its_time() -> None:
    longest_s = (1_000 * RATE_MAX + OFFLINE_TOLERANCE_MS) / 1_000
    assert request(stretch(longest_s, ended_at=1_000)).intervals
    assert "more audio than can be played" in refusal(stretch(longest_s + 0.001, ended_at=1_000))


@pytest.mark.parametrize(("ago_ms", "counts_ms"), [(0, 0), (1, 0), (-1, 1)])
def test_what_is_too_old_counts_as_old_as_is_allowed(ago_ms: int, counts_ms: int) -> None:
    now_ms = NOW_MS
    earliest_ms = now_ms - OFFLINE_AGE_MS_MAX
    told = OfflineStretch(start=0.0, end=1.0, started_at=earliest_ms - ago_ms, ended_at=earliest_ms - ago_ms + 1_000)
    interval = told.interval("phone", now_ms)
    assert interval.started_at_ms == earliest_ms + counts_ms
    assert interval.told_at_ms == earliest_ms - ago_ms, "by which it is known again"


TIMES = st.integers(0, COUNTER_MAX) | st.integers(NOW_MS - 2 * OFFLINE_AGE_MS_MAX, NOW_MS + 10_000)


@given(start_s=st.floats(0, PLACE_MAX_S), length_s=st.floats(0, 3), started_at=TIMES, took_ms=st.integers(-600, 3_000))
@example(start_s=10.0, length_s=1.0, started_at=NOW_MS - 1_000, took_ms=-100)
def test_whatever_is_taken_ends_no_earlier_than_it_began(
    start_s: float, length_s: float, started_at: int, took_ms: int
) -> None:
    """A clock that was set back meanwhile is within the tolerance, but PostgreSQL takes no such row."""
    times = {"started_at": started_at, "ended_at": started_at + took_ms}
    try:
        told = OfflineStretch.model_validate({"start": start_s, "end": start_s + length_s, **times})
    except ValidationError:
        return
    interval = told.interval("phone", NOW_MS)
    assert NOW_MS - OFFLINE_AGE_MS_MAX <= interval.started_at_ms <= interval.ended_at_ms <= NOW_MS
    assert 0 <= interval.start_ms <= interval.end_ms <= DURATION_MS_MAX


# in a time


@pytest.fixture
async def world() -> World:
    return await make_world()


async def tell(world: World, count: int, listener_id: str | None = None) -> Outcome | Rejection:
    batch = Offline(intervals=((0, 1_000),) * count, position_ms=1_000, base=None)
    principal = make_principal() if listener_id is None else make_principal(listener_id)
    return await world.service.offline(principal, SCRIPT_ID, batch, PHONE)


async def tell_all_that_may_be_told(world: World) -> None:
    for _ in range(BATCHES):
        assert isinstance(await tell(world, OFFLINE_INTERVALS_MAX), Outcome)


async def test_a_listener_may_tell_so_many_stretches_at_once_and_one_more_waits(world: World) -> None:
    await tell_all_that_may_be_told(world)
    answer = await tell(world, 1)
    assert isinstance(answer, Rejection)
    assert (answer.code, answer.reason.retry, answer.retry_after_ms) == (Code.OVERLOADED, True, APART_MS)
    world.clock.advance(APART_MS - 1)
    assert isinstance(await tell(world, 1), Rejection)
    world.clock.advance(1)
    assert isinstance(await tell(world, 1), Outcome)


async def test_a_batch_waits_for_all_of_its_stretches_and_is_taken_whole(world: World) -> None:
    await tell_all_that_may_be_told(world)
    journal = len(world.store.journal)
    answer = await tell(world, 50)
    assert isinstance(answer, Rejection) and answer.retry_after_ms == 50 * APART_MS
    assert len(world.store.journal) == journal
    world.clock.advance(50 * APART_MS)
    assert isinstance(await tell(world, 50), Outcome)


async def test_a_batch_without_a_stretch_counts_as_one(world: World) -> None:
    await tell_all_that_may_be_told(world)
    assert isinstance(await tell(world, 0), Rejection)


async def test_what_one_listener_tells_holds_up_no_other(world: World) -> None:
    await tell_all_that_may_be_told(world)
    assert isinstance(await tell(world, OFFLINE_INTERVALS_MAX, new_id()), Outcome)
