"""A script gets another file while its listeners have sessions of it: when those take it over, and what they keep."""

import pytest

from playhead.auth.revocations import ended
from playhead.playback.commands import End, Pause, Play, Seek, SetLoop, Transfer
from playhead.playback.rejections import Code, Rejection
from playhead.playback.state import SessionState
from playhead.sessions.service import Snapshot
from tests.support.sessions import make_principal, make_script, new_id
from tests.support.states import DURATION_MS, LISTENER_ID, MEDIA_VERSION, NOW_MS, SCRIPT_ID, make_state
from tests.unit.sessions.world import DESK, PHONE, World, accepted, make_world, refused

NEWER, SHORT_MS = "f" * 16, 60_000


@pytest.fixture
async def world() -> World:
    made = await make_world()
    await made.connect("phone", "desk")
    return made


def replace_file(world: World, duration_ms: int = SHORT_MS, media_version: str = NEWER) -> None:
    world.scripts.by_id[SCRIPT_ID] = make_script(duration_ms=duration_ms, media_version=media_version)


def media(state: SessionState) -> tuple[str, int]:
    return state.media_version, state.duration_ms


async def resumed(world: World, session_id: str) -> SessionState:
    return accepted(await world.service.resume(make_principal(), session_id, Play(), PHONE)).state


async def test_a_session_begins_with_the_file_that_the_script_has(world: World) -> None:
    assert media((await world.play()).state) == (MEDIA_VERSION, DURATION_MS)


async def test_what_sounds_goes_on_with_its_file_whatever_else_is_done(world: World) -> None:
    session_id = (await world.play(position_ms=100_000)).state.session_id
    replace_file(world)
    for command in (Seek(position_ms=200_000), Transfer(device_id="desk"), Pause()):
        assert media((await world.apply(session_id, command)).state) == (MEDIA_VERSION, DURATION_MS)
    snapshot = await world.service.join_script(make_principal(), SCRIPT_ID)
    assert isinstance(snapshot, Snapshot) and snapshot.state is not None
    assert media(snapshot.state) == (MEDIA_VERSION, DURATION_MS), "to join is a question, and changes nothing"


@pytest.mark.parametrize("by", ["script", "session"])
async def test_the_next_play_takes_the_new_file_over_and_everybody_is_told(world: World, by: str) -> None:
    before = (await world.play(position_ms=10_000)).state
    await world.apply(before.session_id, SetLoop(start_ms=5_000, end_ms=90_000, enabled=True))
    await world.apply(before.session_id, Pause())
    replace_file(world)
    world.sent.clear()
    after = (await world.play()).state if by == "script" else await resumed(world, before.session_id)
    assert (after.session_id, media(after)) == (before.session_id, (NEWER, SHORT_MS))
    assert after.loop is not None and (after.position_ms, after.loop.end_ms) == (10_000, SHORT_MS)
    [(_, packet)] = world.sent
    assert (packet.data["duration"], packet.data["media_version"]) == (60.0, NEWER)


@pytest.mark.parametrize("by", ["script", "session"])
async def test_a_play_says_which_script_it_has_looked_up(world: World, by: str) -> None:
    session_id = (await world.play()).state.session_id
    replace_file(world)
    answer = world.play() if by == "script" else world.service.resume(make_principal(), session_id, Play(), PHONE)
    script = accepted(await answer).script
    assert script is not None and script.media_version == NEWER


async def test_a_race_for_the_session_is_decided_again_with_the_new_file(world: World) -> None:
    before = (await world.play(position_ms=100_000)).state
    replace_file(world)
    world.store.losses_to_come = 1
    after = (await world.play()).state
    assert (media(after), after.position_ms, after.version) == ((NEWER, SHORT_MS), 0, before.version + 1)


async def test_an_expected_revision_is_held_to_also_where_a_file_would_be_taken_over(world: World) -> None:
    before = (await world.play()).state
    replace_file(world)
    answer = await world.service.play(make_principal(), SCRIPT_ID, Play(), PHONE, before.revision + 1, before.epoch)
    assert refused(answer) is Code.CONFLICT
    [state] = await world.service.live_states(LISTENER_ID)
    assert media(state) == (MEDIA_VERSION, DURATION_MS)


async def test_without_postgresql_a_session_goes_on_with_its_file(world: World) -> None:
    session_id = (await world.play()).state.session_id
    await world.apply(session_id, Pause())
    replace_file(world)
    world.scripts.down = True
    assert media(await resumed(world, session_id)) == (MEDIA_VERSION, DURATION_MS)


async def test_a_script_that_failed_with_its_new_file_leaves_the_session_its_own(world: World) -> None:
    session_id = (await world.play()).state.session_id
    world.scripts.by_id[SCRIPT_ID] = make_script(media_version="", duration_ms=0, status="failed", error="no audio")
    assert media(await resumed(world, session_id)) == (MEDIA_VERSION, DURATION_MS)


async def test_nobody_resumes_a_session_of_another_or_of_none(world: World) -> None:
    other = make_principal(new_id())
    session_id = (await world.play()).state.session_id
    for listener, asked in ((other, session_id), (make_principal(), new_id())):
        assert refused(await world.service.resume(listener, asked, Play(), PHONE)) is Code.NOT_FOUND


@pytest.mark.parametrize(("place_ms", "begins_ms"), [(59_999, 59_999), (60_000, 0), (100_000, 0)])
async def test_a_stored_place_behind_the_new_end_begins_at_0(world: World, place_ms: int, begins_ms: int) -> None:
    ended = make_state(playing=False, position_ms=place_ms, epoch=NOW_MS - 1, ended_at_ms=NOW_MS)
    world.rows.keep(ended)
    replace_file(world)
    snapshot = await world.service.join_script(make_principal(), SCRIPT_ID)
    assert isinstance(snapshot, Snapshot) and snapshot.place is not None
    assert (snapshot.place.position_ms, snapshot.place.finished) == (begins_ms, False)
    state = (await world.play()).state
    assert (state.position_ms, media(state)) == (begins_ms, (NEWER, SHORT_MS))


async def test_a_place_of_the_former_file_in_the_history_is_restored_to_the_new_end(world: World) -> None:
    session_id = (await world.play(position_ms=200_000)).state.session_id
    await world.apply(session_id, Seek(position_ms=10_000))
    replace_file(world)
    await world.play(origin=DESK)
    entries = await world.service.history(LISTENER_ID, session_id)
    assert not isinstance(entries, Rejection)
    [entry] = [entry for entry in entries if entry.from_ms == 200_000]
    restored = accepted(await world.service.restore(LISTENER_ID, session_id, entry.entry_id, PHONE)).state
    assert (restored.position_ms, restored.playing) == (SHORT_MS, False)


async def test_a_session_that_is_to_be_renewed_takes_the_new_file_over_and_sounds_on(world: World) -> None:
    before = (await world.play(position_ms=10_000)).state
    replace_file(world)
    after = accepted(await world.service.renew(LISTENER_ID, before.session_id, make_script(media_version=NEWER))).state
    assert (after.media_version, after.playing, after.active_device_id) == (NEWER, True, "phone")
    [(_, packet)] = world.sent[-1:]
    assert (packet.event, packet.data["cause"]["device_id"]) == ("state", None)


async def test_the_addresses_of_a_longer_former_file_stay_revoked_as_long_as_they_may_last(world: World) -> None:
    session_id = (await world.play()).state.session_id
    replace_file(world)
    await world.play()
    state = (await world.apply(session_id, End())).state
    assert state.ended_at_ms is not None
    until_s = ended(session_id, state.ended_at_ms, DURATION_MS).until_s
    assert world.store.revocations.until_s(session_id) == until_s
