"""A command that is sent again under its id: answered as the first time, applied once."""

import asyncio

import pytest
from msgspec.structs import replace

from playhead.playback.commands import Command, End, Origin, Pause, Play, Report, Seek, SetRate
from playhead.playback.history import CONFLICTS_MAX
from playhead.playback.rejections import Code, Rejection
from playhead.sessions.answers import Outcome
from playhead.sessions.codec import listening_payload, state_payload
from playhead.sessions.store import ANSWER_TTL_MS
from tests.support.sessions import make_principal
from tests.support.states import LISTENER_ID, OTHER_LISTENER_ID, OTHER_SCRIPT_ID, SCRIPT_ID
from tests.unit.sessions.world import DESK, PHONE, World, accepted, make_world, refused

NAMED = replace(PHONE, command_id="11111111-0000-4000-8000-000000000000")


@pytest.fixture
async def world() -> World:
    made = await make_world()
    await made.connect("phone", "desk")
    return made


def told(outcome: Outcome) -> object:
    """What a client is answered."""
    return (
        state_payload(outcome.state, outcome.cause_of_state),
        outcome.server_time_ms,
        outcome.created,
        listening_payload(outcome.state),
    )


async def test_a_command_sent_again_gets_the_first_answer_and_changes_nothing(world: World) -> None:
    session_id = (await world.play()).state.session_id
    first = await world.apply(session_id, Seek(position_ms=5_000), NAMED)
    await world.apply(session_id, Seek(position_ms=9_000), DESK)
    world.sent.clear()
    world.clock.advance(1_000)
    again = await world.apply(session_id, Seek(position_ms=5_000), NAMED)
    assert told(again) == told(first)
    (live,) = await world.service.live_states(LISTENER_ID)
    assert (live.revision, live.position_ms, world.sent) == (3, 9_000, [])


async def test_a_late_pause_that_had_nothing_to_do_does_not_stop_what_plays_now(world: World) -> None:
    session_id = (await world.play()).state.session_id
    await world.apply(session_id, Pause(), DESK)
    await world.apply(session_id, Pause(), NAMED)
    await world.play(origin=DESK)
    assert not (await world.apply(session_id, Pause(), NAMED)).state.playing
    (live,) = await world.service.live_states(LISTENER_ID)
    assert live.playing


async def test_a_play_that_began_a_session_begins_it_once(world: World) -> None:
    first = await world.play(origin=NAMED)
    again = await world.play(origin=NAMED)
    assert first.created and told(again) == told(first)
    assert len(await world.service.live_states(LISTENER_ID)) == 1


async def test_even_when_the_session_has_ended_since(world: World) -> None:
    first = await world.play(origin=NAMED)
    await world.apply(first.state.session_id, End(), DESK)
    assert told(await world.play(origin=NAMED)) == told(first)
    assert await world.service.live_states(LISTENER_ID) == ()


async def test_two_that_come_at_once_are_one(world: World) -> None:
    session_id = (await world.play()).state.session_id
    answers = await asyncio.gather(*(world.apply(session_id, Seek(position_ms=5_000), NAMED) for _ in range(8)))
    assert len({repr(told(answer)) for answer in answers}) == 1
    (live,) = await world.service.live_states(LISTENER_ID)
    assert live.revision == 2


@pytest.mark.parametrize(
    ("command", "origin"),
    [
        (Seek(position_ms=5_001), NAMED),
        (Seek(position_ms=5_000, from_ms=1), NAMED),
        (SetRate(rate=2.0), NAMED),
        (Seek(position_ms=5_000), replace(DESK, command_id=NAMED.command_id)),
    ],
)
async def test_an_id_that_named_another_command_is_refused(world: World, command: Command, origin: Origin) -> None:
    session_id = (await world.play()).state.session_id
    await world.apply(session_id, Seek(position_ms=5_000), NAMED)
    answer = await world.service.apply(LISTENER_ID, session_id, command, origin)
    assert refused(answer) is Code.COMMAND_ID_REUSED
    assert (await world.service.live_states(LISTENER_ID))[0].revision == 2


async def test_an_id_belongs_to_its_session_and_to_its_listener(world: World) -> None:
    await world.play(origin=NAMED)
    other = await world.service.play(make_principal(), OTHER_SCRIPT_ID, Play(), NAMED)
    assert refused(other) is Code.COMMAND_ID_REUSED
    theirs = await world.service.play(make_principal(OTHER_LISTENER_ID), SCRIPT_ID, Play(), NAMED)
    assert accepted(theirs).created


async def test_what_the_caller_expected_is_no_part_of_the_command(world: World) -> None:
    session_id = (await world.play()).state.session_id
    first = await world.apply(session_id, Seek(position_ms=5_000), NAMED, expected_revision=1)
    assert told(await world.apply(session_id, Seek(position_ms=5_000), NAMED, expected_revision=2)) == told(first)


async def test_a_refusal_is_judged_anew(world: World) -> None:
    session_id = (await world.play()).state.session_id
    command = Seek(position_ms=5_000)
    assert refused(await world.service.apply(LISTENER_ID, session_id, command, NAMED, 7)) is Code.CONFLICT
    assert (await world.apply(session_id, command, NAMED)).state.position_ms == 5_000


async def test_an_answer_is_kept_for_ten_minutes(world: World) -> None:
    session_id = (await world.play()).state.session_id
    first = await world.apply(session_id, Seek(position_ms=5_000), NAMED)
    world.clock.advance(ANSWER_TTL_MS - 1)
    assert told(await world.apply(session_id, Seek(position_ms=5_000), NAMED)) == told(first)
    world.clock.advance(1)
    assert (await world.apply(session_id, Seek(position_ms=5_000), NAMED)).state.revision == 3


# going back to an entry of the history


async def refused_place(world: World, place_ms: int) -> str:
    """The desk's report is refused: of one base its latest place is kept, under one id."""
    (state,) = await world.service.live_states(LISTENER_ID)
    world.clock.advance(1_000)
    stale = Report(position_ms=place_ms, revision=1)
    assert refused(await world.service.apply(LISTENER_ID, state.session_id, stale, DESK)) is Code.CONFLICT
    entries = await world.service.history(LISTENER_ID, state.session_id)
    assert not isinstance(entries, Rejection)
    (entry,) = [entry for entry in entries if entry.refused]
    assert entry.to_ms == place_ms
    return entry.entry_id


async def test_a_restore_sent_again_gets_the_first_answer_though_the_entry_leads_elsewhere_by_now(world: World) -> None:
    session_id = (await world.play()).state.session_id
    entry_id = await refused_place(world, 130_000)
    first = accepted(await world.service.restore(LISTENER_ID, session_id, entry_id, NAMED))
    assert first.state.position_ms == 130_000
    assert await refused_place(world, 140_000) == entry_id
    again = accepted(await world.service.restore(LISTENER_ID, session_id, entry_id, NAMED))
    assert told(again) == told(first)
    (live,) = await world.service.live_states(LISTENER_ID)
    assert live.revision == first.state.revision


async def test_the_same_when_the_entry_has_left_the_history_and_while_postgresql_is_away(world: World) -> None:
    session_id = (await world.play()).state.session_id
    entry_id = await refused_place(world, 130_000)
    first = accepted(await world.service.restore(LISTENER_ID, session_id, entry_id, NAMED))
    world.flush()
    for number in range(CONFLICTS_MAX):
        world.clock.advance(1_000)
        late = Report(position_ms=1, revision=100 + number)
        assert refused(await world.service.apply(LISTENER_ID, session_id, late, DESK)) is Code.CONFLICT
    unnamed = await world.service.restore(LISTENER_ID, session_id, entry_id, PHONE)
    assert refused(unnamed) is Code.NOT_FOUND
    for away in (False, True):
        world.rows.down = away
        again = accepted(await world.service.restore(LISTENER_ID, session_id, entry_id, NAMED))
        assert told(again) == told(first)


async def test_two_restores_that_come_at_once_are_one(world: World) -> None:
    session_id = (await world.play()).state.session_id
    entry_id = await refused_place(world, 130_000)
    restores = (world.service.restore(LISTENER_ID, session_id, entry_id, NAMED) for _ in range(4))
    answers = [accepted(answer) for answer in await asyncio.gather(*restores)]
    assert len({repr(told(answer)) for answer in answers}) == 1
    (live,) = await world.service.live_states(LISTENER_ID)
    assert live.revision == 2


async def test_the_id_of_a_restore_belongs_to_its_entry(world: World) -> None:
    session_id = (await world.play()).state.session_id
    entry_id = await refused_place(world, 130_000)
    await world.apply(session_id, Seek(position_ms=130_000), DESK)
    entries = await world.service.history(LISTENER_ID, session_id)
    assert not isinstance(entries, Rejection)
    (moved,) = [entry.entry_id for entry in entries if not entry.refused]
    accepted(await world.service.restore(LISTENER_ID, session_id, entry_id, NAMED))
    answer = await world.service.restore(LISTENER_ID, session_id, moved, NAMED)
    assert refused(answer) is Code.COMMAND_ID_REUSED
    assert refused(await world.service.apply(LISTENER_ID, session_id, Pause(), NAMED)) is Code.COMMAND_ID_REUSED
