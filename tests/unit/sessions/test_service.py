"""The use cases: joining instead of doubling, one sound per device, races, and what devices are told."""

import asyncio
from typing import Any

import pytest

from playhead.playback.commands import (
    Command,
    End,
    Leave,
    Origin,
    Pause,
    Play,
    Report,
    Seek,
    SetMode,
    SetRate,
    Transfer,
)
from playhead.playback.rejections import Code, Rejection
from playhead.sessions.answers import Outcome
from playhead.sessions.committing import COMMIT_ATTEMPTS_MAX
from playhead.sessions.service import SessionService
from playhead.sessions.store import LIVE_SESSIONS_MAX
from tests.support.sessions import make_principal, make_script, new_id
from tests.support.states import LISTENER_ID, OTHER_LISTENER_ID, OTHER_SCRIPT_ID, SCRIPT_ID
from tests.unit.sessions.world import DESK, PHONE, REST, World, accepted, make_world, refused


@pytest.fixture
async def world() -> World:
    made = await make_world()
    await made.connect("phone", "desk")
    return made


# one session for all devices


async def test_two_devices_that_press_play_at_once_share_one_session(world: World) -> None:
    answers = await asyncio.gather(
        *(world.play(origin=Origin(device_id=name, connection_id=f"{name}-1")) for name in ("phone", "desk") * 3)
    )
    assert len({answer.state.session_id for answer in answers}) == 1
    assert sum(answer.created for answer in answers) == 1
    (live,) = await world.service.live_states(LISTENER_ID)
    assert (live.playing, live.active_device_id, live.revision) == (True, "phone", 1)
    assert world.events().count("session_started") == 1


async def test_play_on_a_script_that_lives_joins_it(world: World) -> None:
    first = await world.play(position_ms=5_000)
    second = await world.play(origin=DESK)
    assert (second.state.session_id, second.created, second.state.active_device_id) == (
        first.state.session_id,
        False,
        "phone",
    )


async def test_a_session_carries_the_epoch_of_its_commit_and_counts_from_one(world: World) -> None:
    state = (await world.play()).state
    assert (state.epoch, state.revision, state.version) == (world.clock.time_ms, 1, 1)
    state = (await world.apply(state.session_id, Seek(position_ms=1))).state
    assert (state.revision, state.version) == (2, 2)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"status": "failed", "error": "no audio"}, Code.SCRIPT_FAILED),
        ({"status": "queued", "duration_ms": 0}, Code.SCRIPT_NOT_READY),
    ],
)
async def test_a_script_that_cannot_be_played_says_why(world: World, fields: dict[str, Any], code: Code) -> None:
    world.scripts.by_id[SCRIPT_ID] = make_script(**fields)
    assert refused(await world.service.play(make_principal(), SCRIPT_ID, Play(), PHONE)) is code


async def test_a_script_that_is_measured_can_be_played_before_it_is_ready(world: World) -> None:
    world.scripts.by_id[SCRIPT_ID] = make_script(status="queued")
    assert (await world.play()).created


async def test_a_script_that_the_listener_may_not_hear_does_not_exist(world: World) -> None:
    assert refused(await world.service.play(make_principal(), new_id(), Play(), PHONE)) is Code.NOT_FOUND
    assert refused(await world.service.join_script(make_principal(), new_id())) is Code.NOT_FOUND


async def test_a_refused_play_starts_nothing_and_shows_no_session_that_was_not_born(world: World) -> None:
    answer = await world.service.play(make_principal(), SCRIPT_ID, Play(device_id="speaker"), PHONE)
    assert isinstance(answer, Rejection)
    assert (answer.code, answer.state) == (Code.DEVICE_NOT_CONNECTED, None)
    assert await world.service.live_states(LISTENER_ID) == () and world.sent == []


# one sound per device


async def test_play_on_a_device_that_sounds_elsewhere_pauses_the_other_session_in_the_same_commit(world: World) -> None:
    first = (await world.play()).state
    world.clock.advance(4_000)
    commits = world.store.commits
    second = (await world.play(OTHER_SCRIPT_ID)).state
    assert world.store.commits == commits + 1
    found = {state.session_id: state for state in await world.service.live_states(LISTENER_ID)}
    silent = found[first.session_id]
    assert (silent.playing, silent.position_ms, silent.revision, silent.version) == (False, 4_000, 2, 2)
    assert found[second.session_id].playing
    told = [packet for _, packet in world.sent if packet.data.get("session_id") == first.session_id]
    assert told[-1].event == "state" and told[-1].data["playing"] is False
    assert told[-1].skip_connection_id is None


async def test_a_transfer_onto_a_sounding_device_pauses_what_it_played(world: World) -> None:
    first = (await world.play(origin=PHONE, device_id="phone")).state
    second = (await world.play(OTHER_SCRIPT_ID, origin=DESK, device_id="desk")).state
    assert all(state.playing for state in await world.service.live_states(LISTENER_ID))
    await world.apply(second.session_id, Transfer(device_id="phone"))
    playing = {state.session_id: state.playing for state in await world.service.live_states(LISTENER_ID)}
    assert playing == {first.session_id: False, second.session_id: True}


async def test_a_transfer_of_a_paused_session_silences_nobody(world: World) -> None:
    first = (await world.play(device_id="phone")).state
    second = (await world.play(OTHER_SCRIPT_ID, origin=DESK, device_id="desk")).state
    await world.apply(second.session_id, Pause(), DESK)
    await world.apply(second.session_id, Transfer(device_id="phone"), DESK)
    found = {state.session_id: state.playing for state in await world.service.live_states(LISTENER_ID)}
    assert found == {first.session_id: True, second.session_id: False}


async def test_sessions_on_other_devices_and_paused_ones_are_left_alone(world: World) -> None:
    first = (await world.play(device_id="phone")).state
    await world.apply(first.session_id, Pause())
    revision = (await world.service.live_states(LISTENER_ID))[0].revision
    await world.play(OTHER_SCRIPT_ID, device_id="phone")
    found = {state.session_id: state for state in await world.service.live_states(LISTENER_ID)}
    assert found[first.session_id].revision == revision


async def test_play_on_a_session_that_the_store_has_lost_still_silences_the_device(world: World) -> None:
    lost = (await world.play()).state
    await world.apply(lost.session_id, Pause())
    world.flush()
    world.store.begin_another_life(emptied=True)
    sounding = (await world.play(OTHER_SCRIPT_ID)).state
    back = await world.apply(lost.session_id, Play())
    assert back.state.playing
    found = {state.session_id: state.playing for state in await world.service.live_states(LISTENER_ID)}
    assert found == {lost.session_id: True, sounding.session_id: False}


def another_process(world: World) -> SessionService:
    """Its commands are not held up by those that are under way here."""
    return SessionService(world.store, world.rows, world.scripts, world.presence, world.clock, new_id)


async def test_two_processes_that_let_the_same_device_sound_at_once_leave_one_session_playing(world: World) -> None:
    """Neither session is in the other's commit: what is not changed must be compared all the same."""
    first = (await world.play(device_id="phone")).state
    second = (await world.play(OTHER_SCRIPT_ID, origin=DESK, device_id="desk")).state
    await world.apply(second.session_id, Pause(), DESK)
    elsewhere = another_process(world)

    async def sounds_on_the_desk() -> None:
        await elsewhere.apply(LISTENER_ID, second.session_id, Play(device_id="desk"), DESK)

    world.store.step_in = sounds_on_the_desk
    await world.apply(first.session_id, Transfer(device_id="desk"))
    found = {state.session_id: state.playing for state in await world.service.live_states(LISTENER_ID)}
    assert found == {first.session_id: True, second.session_id: False}


async def test_a_session_that_begins_meanwhile_on_the_same_device_is_seen(world: World) -> None:
    elsewhere = another_process(world)

    async def begins() -> None:
        await elsewhere.play(make_principal(), OTHER_SCRIPT_ID, Play(), PHONE)

    world.store.step_in = begins
    mine = (await world.play()).state
    playing = [state.session_id for state in await world.service.live_states(LISTENER_ID) if state.playing]
    assert playing == [mine.session_id]


async def test_together_the_role_of_a_lost_device_does_not_pass_to_one_that_sounds_elsewhere(world: World) -> None:
    first = (await world.play(device_id="phone")).state
    await world.apply(first.session_id, SetMode(mode="together"))
    second = (await world.play(OTHER_SCRIPT_ID, origin=DESK, device_id="desk")).state
    await world.service.device_lost(LISTENER_ID, "phone", "phone-1", world.clock.now_ms(), grace_ms=0)
    await world.presence.detach(LISTENER_ID, "phone-1")
    await world.sweeper.sweep()
    found = {state.session_id: state.playing for state in await world.service.live_states(LISTENER_ID)}
    assert found == {first.session_id: False, second.session_id: True}


# races


async def test_a_lost_race_is_decided_again_on_the_new_state(world: World) -> None:
    session_id = (await world.play()).state.session_id
    world.store.losses_to_come = 2
    commits = world.store.commits
    outcome = await world.apply(session_id, Seek(position_ms=7_000))
    assert (outcome.state.position_ms, outcome.state.revision) == (7_000, 2)
    assert world.store.commits == commits + 3


async def test_commands_at_once_are_all_applied_one_after_the_other(world: World) -> None:
    session_id = (await world.play()).state.session_id
    outcomes = await asyncio.gather(*(world.apply(session_id, Seek(position_ms=ms)) for ms in range(1, 6)))
    assert sorted(outcome.state.revision for outcome in outcomes) == [2, 3, 4, 5, 6]
    (live,) = await world.service.live_states(LISTENER_ID)
    last = max(outcomes, key=lambda outcome: outcome.state.revision)
    assert live == last.state


async def test_of_two_commands_that_expect_the_same_revision_one_is_refused(world: World) -> None:
    session_id = (await world.play()).state.session_id
    answers = await asyncio.gather(
        *(
            world.service.apply(LISTENER_ID, session_id, Seek(position_ms=ms), PHONE, expected_revision=1)
            for ms in (1, 2)
        )
    )
    assert sum(isinstance(answer, Outcome) for answer in answers) == 1
    conflict = next(answer for answer in answers if isinstance(answer, Rejection))
    assert conflict.code is Code.CONFLICT and conflict.state is not None and conflict.state.revision == 2


async def test_a_commit_that_loses_every_race_ends_in_overloaded(world: World) -> None:
    session_id = (await world.play()).state.session_id
    world.store.losses_to_come = 1_000
    commits = world.store.commits
    answer = await world.service.apply(LISTENER_ID, session_id, Pause(), PHONE)
    assert refused(answer) is Code.OVERLOADED and isinstance(answer, Rejection) and answer.reason.retry
    # and one on what was assumed, before any look at the store
    assert world.store.commits == commits + 1 + COMMIT_ATTEMPTS_MAX
    assert len(world.store.journal) == 1


async def test_one_race_before_the_last_still_succeeds(world: World) -> None:
    session_id = (await world.play()).state.session_id
    # the first of them on what was assumed
    world.store.losses_to_come = COMMIT_ATTEMPTS_MAX
    assert not (await world.apply(session_id, Pause())).state.playing


# limits


async def test_past_the_limit_of_live_sessions_play_says_so(world: World) -> None:
    for _ in range(LIVE_SESSIONS_MAX):
        script = make_script(new_id())
        world.scripts.by_id[script.script_id] = script
        await world.play(script.script_id)
    answer = await world.service.play(make_principal(), SCRIPT_ID, Play(), PHONE)
    assert refused(answer) is Code.OVERLOADED and isinstance(answer, Rejection) and "End one" in answer.message


async def test_while_too_much_waits_for_postgresql_commands_are_refused() -> None:
    world = await make_world(journal_length_max=2)
    await world.connect("phone", "desk")
    first = (await world.play()).state
    await world.play(OTHER_SCRIPT_ID, origin=DESK, device_id="desk")
    for answer in (
        await world.service.apply(LISTENER_ID, first.session_id, Pause(), PHONE),
        await world.service.play(make_principal(), SCRIPT_ID, Play(position_ms=5), PHONE),
    ):
        assert refused(answer) is Code.OVERLOADED
    world.flush()
    assert not (await world.apply(first.session_id, Pause())).state.playing


# whose session


@pytest.mark.parametrize("command", [Play(), Pause(), Seek(position_ms=1), End(), Leave(), Report(position_ms=1)])
async def test_another_listeners_session_does_not_exist(world: World, command: Command) -> None:
    session_id = (await world.play()).state.session_id
    world.flush()
    assert refused(await world.service.apply(OTHER_LISTENER_ID, session_id, command, PHONE)) is Code.NOT_FOUND
    assert refused(await world.service.join_session(OTHER_LISTENER_ID, session_id)) is Code.NOT_FOUND
    assert (await world.service.live_states(LISTENER_ID))[0].revision == 1


async def test_a_session_that_nobody_has_does_not_exist(world: World) -> None:
    assert refused(await world.service.apply(LISTENER_ID, new_id(), Pause(), PHONE)) is Code.NOT_FOUND
    assert refused(await world.service.join_session(LISTENER_ID, new_id())) is Code.NOT_FOUND


# what devices are told


async def test_everybody_but_the_sender_is_told_and_the_cause_is_named(world: World) -> None:
    session_id = (await world.play()).state.session_id
    assert world.events() == ["session_started", "state"]
    assert {packet.skip_connection_id for _, packet in world.sent} == {"phone-1"}
    world.sent.clear()
    origin = Origin(device_id="desk", connection_id="desk-1", command_id="c")
    outcome = await world.apply(session_id, Seek(position_ms=5_000), origin)
    ((listener_id, packet),) = world.sent
    assert (listener_id, packet.event, packet.skip_connection_id) == (LISTENER_ID, "state", "desk-1")
    assert (packet.data["position"], packet.data["revision"], packet.data["epoch"]) == (5.0, 2, outcome.state.epoch)
    assert packet.data["cause"] == {"command": "seek", "device_id": "desk", "command_id": "c"}
    assert packet.published_at_ms == outcome.server_time_ms == world.clock.time_ms


async def test_a_change_over_rest_is_told_to_every_device(world: World) -> None:
    session_id = (await world.play()).state.session_id
    world.sent.clear()
    await world.apply(session_id, Seek(position_ms=5_000), REST)
    assert [packet.skip_connection_id for _, packet in world.sent] == [None]


async def test_what_no_device_sees_is_stored_but_not_told(world: World) -> None:
    session_id = (await world.play()).state.session_id
    world.sent.clear()
    world.clock.advance(10_000)
    outcome = await world.apply(session_id, Report(position_ms=10_000, revision=1, seq=1))
    assert world.sent == [] and outcome.state.version == 2
    (live,) = await world.service.live_states(LISTENER_ID)
    assert live.listened == ((0, 10_000),)


async def test_a_command_that_changes_nothing_is_not_even_committed(world: World) -> None:
    session_id = (await world.play()).state.session_id
    world.sent.clear()
    commits = world.store.commits
    outcome = await world.apply(session_id, SetRate(rate=1.0))
    assert (world.store.commits, world.sent, outcome.state.revision) == (commits, [], 1)


async def test_the_end_is_told_to_every_device_with_its_reason(world: World) -> None:
    session_id = (await world.play(position_ms=5_000)).state.session_id
    world.sent.clear()
    await world.apply(session_id, End())
    assert world.events() == ["state", "session_ended"]
    packet = world.sent[1][1]
    ended = {"session_id": session_id, "script_id": SCRIPT_ID, "reason": "ended_by_listener", "position": 5.0}
    assert packet.data == ended
    assert packet.skip_connection_id is None
    await world.apply(session_id, End())
    assert len(world.sent) == 2


async def test_an_ended_session_takes_no_more_commands_and_cannot_be_joined(world: World) -> None:
    session_id = (await world.play()).state.session_id
    await world.apply(session_id, End())
    for command in (Play(), Pause(), Transfer(device_id="desk")):
        answer = await world.service.apply(LISTENER_ID, session_id, command, PHONE)
        assert refused(answer) is Code.SESSION_ENDED
    assert refused(await world.service.join_session(LISTENER_ID, session_id)) is Code.SESSION_ENDED
    assert (await world.play()).state.session_id != session_id


async def test_every_written_state_is_on_its_way_to_postgresql(world: World) -> None:
    first = (await world.play()).state
    second = await world.play(OTHER_SCRIPT_ID)
    world.flush()
    assert world.rows.rows[second.state.session_id] == second.state
    assert world.rows.rows[first.session_id].playing is False


async def test_a_failed_commit_is_not_written(world: World) -> None:
    session_id = (await world.play()).state.session_id
    world.flush()
    world.store.losses_to_come = 1_000
    await world.service.apply(LISTENER_ID, session_id, Pause(), PHONE)
    assert not world.store.journal


async def test_an_accepted_outcome_says_when_it_was_decided(world: World) -> None:
    world.clock.advance(123)
    assert accepted(await world.service.play(make_principal(), SCRIPT_ID, Play(), PHONE)).server_time_ms == (
        world.clock.time_ms
    )
