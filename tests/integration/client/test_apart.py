"""A device that plays on without a connection; what a server does by itself; and the rest of what a device may ask."""

import pytest

from playhead.client import OfflineLog, Refused
from tests.support.players import Player
from tests.support.states import SCRIPT_ID


async def played_apart(phone: Player) -> OfflineLog:
    """The phone has heard [100, 160) and then [400, 430), a minute and a half ago, by its own clock."""
    answer = await phone.play(script_id=SCRIPT_ID, position=100.0)
    began_ms = answer.state.anchored_at - 90_000
    log = OfflineLog(answer.state)
    log.runs(100.0, began_ms)
    log.stands(160.0, began_ms + 60_000)
    log.runs(400.0, began_ms + 60_000)
    log.stands(430.0, began_ms + 90_000)
    return log


async def test_what_was_heard_apart_is_credited_and_its_end_is_the_place(phone: Player, desk: Player) -> None:
    log = await played_apart(phone)
    answer = await phone.offline(log)
    assert (answer.state.position, answer.total_listened) == (430.0, 90.0)
    assert (await desk.expect_state(position=430.0)).revision == answer.state.revision


async def test_a_batch_that_is_told_twice_counts_once(phone: Player) -> None:
    log = await played_apart(phone)
    first = await phone.offline(log)
    again = await phone.offline(log, mine=True)
    assert (again.total_listened, again.state.position) == (first.total_listened, 430.0)


async def test_where_somebody_moved_the_playhead_meanwhile_the_listener_chooses(phone: Player, desk: Player) -> None:
    log = await played_apart(phone)
    moved = await desk.seek(log.base.session_id, 12.0)
    with pytest.raises(Refused) as refused:
        await phone.offline(log)
    assert refused.value.code == "conflict" and refused.value.state is not None
    assert (refused.value.state.revision, refused.value.reported) == (moved.state.revision, 430.0)
    assert refused.value.state.position == 12.0 and phone.state(log.base.session_id) == moved.state

    chosen = await phone.offline(log, mine=True)
    assert (chosen.state.position, chosen.total_listened) == (430.0, 90.0)
    assert (await desk.expect_state(position=430.0)).revision == chosen.state.revision


async def test_a_timer_that_one_device_sets_is_seen_by_the_other_and_taken_off_by_it(
    phone: Player, desk: Player
) -> None:
    session_id = (await phone.play(script_id=SCRIPT_ID)).state.session_id
    set_ = await phone.sleep(session_id, after=900.0)
    assert set_.state.sleep_at is not None
    assert (await desk.expect_state(sleep_at=set_.state.sleep_at)).cause is not None
    await desk.sleep(session_id)
    assert (await phone.expect_state(revision=set_.state.revision + 1)).sleep_at is None


async def test_in_unison_a_jump_lies_a_little_ahead_on_every_device(phone: Player, desk: Player) -> None:
    session_id = (await phone.play(script_id=SCRIPT_ID, position=5.0)).state.session_id
    assert (await phone.mode(session_id, "together")).state.mode == "together"
    sought = await desk.seek(session_id, 50.0)
    assert sought.state.anchored_at >= sought.server_time + 250
    seen = await phone.expect_state(revision=sought.state.revision)
    assert (seen.anchored_at, seen.position) == (sought.state.anchored_at, 50.0)


async def test_what_the_history_does_not_have_cannot_be_restored(phone: Player) -> None:
    session_id = (await phone.play(script_id=SCRIPT_ID)).state.session_id
    with pytest.raises(Refused, match="not_found"):
        await phone.restore(session_id, "no such entry")


async def test_a_session_that_is_ended_takes_no_command_and_the_next_play_begins_another(
    phone: Player, desk: Player
) -> None:
    first = await phone.play(script_id=SCRIPT_ID, position=50.0)
    ended = await desk.end(first.state.session_id)
    assert ended.state.ended
    await phone.expect_state(ended=True)
    with pytest.raises(Refused) as refused:
        await phone.pause(first.state.session_id)
    assert refused.value.code == "session_ended"
    second = await phone.play(script_id=SCRIPT_ID)
    assert second.created and second.state.session_id != first.state.session_id
    live = phone.live(SCRIPT_ID)
    assert live is not None and live.session_id == second.state.session_id
