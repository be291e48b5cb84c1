import asyncio
import itertools

import pytest
from msgspec.structs import replace

from playhead.db.errors import InvalidValue
from playhead.db.limits import DEVICE_ID_CHARS_MAX
from playhead.db.migrate import Connection
from playhead.db.pool import Database
from playhead.db.scripts import ScriptRepository
from playhead.db.sessions import SessionRepository
from playhead.playback.commands import LOOP_LENGTH_MIN_MS, RATE_MAX, RATE_MIN
from playhead.playback.listened import INTERVALS_MAX
from playhead.playback.state import Loop, SessionState
from tests.integration.db.rows import Store, listener, new_id, session, uploaded


@pytest.fixture
async def script_id(scripts: ScriptRepository) -> str:
    return (await uploaded(scripts)).script_id


def full(script_id: str) -> SessionState:
    """A state in which nothing has its default value, and every time has odd milliseconds."""
    return session(
        script_id,
        epoch=1_700_000_000_001,
        revision=7,
        version=9,
        playing=False,
        rate=1.1,
        loop=Loop(start_ms=1_001, end_ms=13_007, enabled=True),
        mode="together",
        active_device_id="phone",
        active_connection_id="connection",
        heard_ms=1_003,
        heard_at_ms=1_700_000_000_999,
        listened=((0, 1_003), (2_001, 3_600_000)),
        report_seqs=(("z", 3), ("a", 12)),
        played_ms=9_000_000,
        played_slots=((1_888_888, 900_001), (1_888_890, 7)),
        moved=(1_700_000_000_001, 5),
        sleep_at_ms=1_700_000_900_001,
        sleep_at_end_of_loop=True,
        absent_since_ms=1_700_000_000_003,
        absent_until_ms=1_700_000_010_003,
        started_at_ms=1_699_999_999_999,
        changed_at_ms=1_700_000_000_001,
        ended_at_ms=1_700_000_000_003,
        finished=True,
    )


async def test_a_state_comes_back_as_it_was_stored(sessions: SessionRepository, store: Store, script_id: str) -> None:
    for state in (session(script_id), full(script_id)):
        assert await store([state]) == 1
        assert await sessions.get(state.session_id) == state


async def test_times_are_exact_to_the_millisecond(sessions: SessionRepository, store: Store, script_id: str) -> None:
    states = [
        session(script_id, started_at_ms=at_ms, changed_at_ms=at_ms, ended_at_ms=at_ms)
        for at_ms in (0, 1, 999, 1_700_000_000_007, 4_102_444_800_001, 32_503_680_000_003)
    ]
    await store(states)
    assert [await sessions.get(state.session_id) for state in states] == states


async def test_a_later_state_replaces_all_that_changes(
    sessions: SessionRepository, store: Store, script_id: str
) -> None:
    later = full(script_id)
    first = session(script_id, session_id=later.session_id, listener_id=later.listener_id)
    first = replace(first, started_at_ms=later.started_at_ms)
    await store([first])
    assert await store([later]) == 1
    assert await sessions.get(later.session_id) == later
    assert await store([later]) == 0, "the same state again writes nothing"


async def test_an_older_state_never_wins_in_whatever_order_they_arrive(
    sessions: SessionRepository, store: Store, script_id: str
) -> None:
    """Every order of states that differ in epoch, revision and version, each alone and in batches of two."""
    marks = [(1, 5, 9), (1, 6, 2), (2, 0, 1), (2, 0, 2)]
    for batch in (1, 2):
        for order in itertools.permutations(marks):
            base = session(script_id)
            states = [
                replace(base, epoch=epoch, revision=revision, version=version, position_ms=epoch * 100 + revision)
                for epoch, revision, version in order
            ]
            for start in range(0, len(states), batch):
                await store(states[start : start + batch])
            stored = await sessions.get(base.session_id)
            assert stored is not None and (stored.epoch, stored.revision, stored.version) == (2, 0, 2), order


async def test_a_higher_version_does_not_beat_a_higher_revision(store: Store, script_id: str) -> None:
    first = session(script_id, revision=2, version=2)
    await store([first])
    assert await store([replace(first, revision=1, version=99)]) == 0
    assert await store([replace(first, epoch=0, revision=99)]) == 0


async def test_what_was_listened_to_and_played_stays_when_a_later_state_lacks_it(
    sessions: SessionRepository, store: Store, script_id: str
) -> None:
    """The state store may have lost its last seconds, and with them some that are stored."""
    first = session(script_id, listened=((0, 1_000), (5_000, 9_000)), played_ms=5_000)
    lost = replace(first, epoch=2, revision=0, listened=((0, 2_000), (8_000, 10_000)), played_ms=4_000)
    for batches in ([[first], [lost]], [[lost], [first]], [[lost, first]]):
        same_id = new_id()
        for batch in batches:
            await store([replace(state, session_id=same_id) for state in batch])
        merged = replace(lost, session_id=same_id, listened=((0, 2_000), (5_000, 10_000)), played_ms=5_000)
        assert await sessions.get(same_id) == merged


async def test_a_state_takes_no_more_of_its_row_than_a_session_keeps(
    sessions: SessionRepository, store: Store, script_id: str
) -> None:
    """What states have brought to one row, one after the other, may be more than any of them has."""
    first = session(script_id, listened=tuple((n * 1_000, n * 1_000 + 1) for n in range(INTERVALS_MAX)))
    later = replace(first, revision=2, listened=tuple((n * 1_000 + 500, n * 1_000 + 502) for n in range(INTERVALS_MAX)))
    for state in (first, later):
        await store([state])
    assert await sessions.get(first.session_id) == later


async def test_what_was_listened_to_ends_where_the_script_ends_now(
    sessions: SessionRepository, store: Store, script_id: str
) -> None:
    """Also where both states of a session that takes a shorter file over come in one batch."""
    for together in (False, True):
        first = session(script_id, listened=((0, 3_600_000),), media_version="e" * 16)
        taken_over = {"duration_ms": 60_000, "media_version": "f" * 16, "longest_ms": 3_600_000}
        shorter = replace(first, revision=2, listened=(), **taken_over)
        for batch in [[first, shorter]] if together else [[first], [shorter]]:
            await store(batch)
        assert await sessions.get(first.session_id) == replace(shorter, listened=((0, 60_000),))


async def test_of_what_was_listened_to_the_longest_intervals_are_kept_as_many_as_a_session_keeps(
    sessions: SessionRepository, store: Store, script_id: str
) -> None:
    """A state that has forgotten its shortest intervals must not gather them in its row: nor one that comes late."""
    apart_ms, short_ms, long_ms = 100, 10, 20
    many = tuple((start_ms, start_ms + short_ms) for start_ms in range(0, INTERVALS_MAX * apart_ms, apart_ms))
    first = session(script_id, listened=many)
    await store([first])
    assert await sessions.get(first.session_id) == first, "as many as may be are all kept"
    begin_ms = INTERVALS_MAX * apart_ms
    longer = tuple((begin_ms + start_ms, begin_ms + start_ms + long_ms) for start_ms, _ in many[:300])
    for states in ([replace(first, revision=2, listened=longer)], [replace(first, listened=many, version=0)]):
        await store(states)
        stored = await sessions.get(first.session_id)
        assert stored is not None and stored.revision == 2
        assert stored.listened == (*many[: INTERVALS_MAX - len(longer)], *longer)


async def test_a_session_never_changes_hands(sessions: SessionRepository, store: Store, script_id: str) -> None:
    first = session(script_id)
    await store([first])
    assert await store([replace(first, listener_id=new_id(), version=2)]) == 0
    assert await sessions.get(first.session_id) == first


async def test_a_deleted_script_does_not_keep_other_sessions_from_being_stored(
    sessions: SessionRepository, store: Store, script_id: str
) -> None:
    kept, lost = session(script_id), session(new_id())
    assert await store([lost, kept]) == 1
    assert await sessions.get(kept.session_id) == kept
    assert await sessions.get(lost.session_id) is None


async def test_deleting_a_script_takes_its_sessions_with_it(
    sessions: SessionRepository, store: Store, script_id: str, owner: Connection
) -> None:
    state = session(script_id)
    await store([state])
    await owner.execute("delete from audio_scripts where id = $1", script_id)
    assert await sessions.get(state.session_id) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"rate": RATE_MIN - 0.01},
        {"rate": RATE_MAX + 0.01},
        {"rate": float("nan")},
        {"position_ms": -1},
        {"position_ms": 3_600_001},
        {"duration_ms": 0, "position_ms": 0},
        {"loop": Loop(start_ms=0, end_ms=LOOP_LENGTH_MIN_MS - 1, enabled=True)},
        {"loop": Loop(start_ms=3_599_000, end_ms=3_600_001, enabled=False)},
        {"active_device_id": "d" * (DEVICE_ID_CHARS_MAX + 1)},
        {"listened": ((0, 3_600_001),)},
        {"epoch": -1},
        {"epoch": 2**63},
    ],
)
async def test_a_state_that_breaks_the_rules_of_the_core_is_not_stored(
    sessions: SessionRepository, store: Store, script_id: str, changed: dict[str, object]
) -> None:
    state = session(script_id, **changed)
    with pytest.raises(InvalidValue):
        await store([state])
    assert await sessions.get(state.session_id) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"rate": RATE_MIN},
        {"rate": RATE_MAX},
        {"position_ms": 3_600_000},
        {"loop": Loop(start_ms=0, end_ms=LOOP_LENGTH_MIN_MS, enabled=True)},
        {"active_device_id": "d" * DEVICE_ID_CHARS_MAX},
        {"epoch": 2**63 - 1},
    ],
)
async def test_a_state_at_the_limit_is_stored(store: Store, script_id: str, changed: dict[str, object]) -> None:
    assert await store([session(script_id, **changed)]) == 1


async def test_playback_resumes_from_the_last_session_of_that_script(
    sessions: SessionRepository, store: Store, scripts: ScriptRepository, script_id: str
) -> None:
    other = (await uploaded(scripts)).script_id
    listener_id = new_id()
    old = session(script_id, listener_id=listener_id, started_at_ms=1_000, ended_at_ms=2_000)
    new = session(script_id, listener_id=listener_id, started_at_ms=3_000, ended_at_ms=4_000)
    elsewhere = session(other, listener_id=listener_id, started_at_ms=9_000)
    somebody = session(script_id, started_at_ms=9_000)
    await store([new, elsewhere, old, somebody])
    asked = [(listener_id, script_id), (listener_id, other), (somebody.listener_id, script_id), (new_id(), script_id)]
    assert [await sessions.latest(*each) for each in asked] == [new, elsewhere, somebody, None]
    at_once = await asyncio.gather(*(sessions.latest(*each) for each in asked))
    assert at_once == [new, elsewhere, somebody, None]
    assert await asyncio.gather(*(sessions.get(each.session_id) for each in (old, new))) == [old, new]


async def test_sessions_are_listed_latest_started_first_page_by_page(
    sessions: SessionRepository, store: Store, script_id: str
) -> None:
    listener_id = new_id()
    states = [
        session(
            script_id,
            listener_id=listener_id,
            started_at_ms=1_000 * (number // 2),
            ended_at_ms=9_000 if number % 3 else None,
        )
        for number in range(7)
    ]
    await store([*states, session(script_id)])
    ordered = sorted(states, key=lambda state: (state.started_at_ms, state.session_id), reverse=True)
    for live, expected in ((False, ordered), (True, [state for state in ordered if state.ended_at_ms is None])):
        first = await sessions.list_of(listener_id, live=live, limit=2)
        found, cursor = list(first.items), first.next_cursor
        while cursor is not None:
            following = await sessions.list_of(listener_id, live=live, limit=2, cursor=cursor)
            found, cursor = [*found, *following.items], following.next_cursor
        assert found == expected


async def test_a_listener_reads_own_sessions_alone(sessions: SessionRepository, store: Store, script_id: str) -> None:
    claims = listener()
    state = session(script_id, listener_id=claims["sub"])
    await store([state])
    assert await sessions.get(state.session_id, claims=claims) == state
    assert await sessions.get(state.session_id, claims=listener()) is None


async def count_all(database: Database) -> None:
    """Lets the server's connection, which is always the same one here, add up what it has counted so far."""
    async with database.as_service() as connection:
        await connection.execute("select pg_stat_force_next_flush()")


async def test_a_playing_session_is_updated_within_its_page(
    store: Store, database: Database, script_id: str, owner: Connection
) -> None:
    """Reports come every ten seconds of every device that plays: they must not touch the indexes (HOT updates)."""
    count = "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'audio_sessions'"
    await count_all(database)
    before = await owner.fetchrow(count)
    state = session(script_id)
    for version in range(1, 21):
        await store([replace(state, version=version, changed_at_ms=state.changed_at_ms + version)])
    await count_all(database)
    await owner.execute("select pg_stat_clear_snapshot()")
    after = await owner.fetchrow(count)
    assert before is not None and after is not None
    updates = after["n_tup_upd"] - before["n_tup_upd"]
    assert updates == 19
    assert after["n_tup_hot_upd"] - before["n_tup_hot_upd"] >= 0.8 * updates
