"""The order of commands, and what they wait for."""

import math
from typing import Any

from playhead.client.core.commands import COMMANDS_MAX, RETRIES_MAX, RETRY_MS_MAX, RETRY_MS_MIN
from playhead.client.core.errors import Refused
from playhead.client.core.offline import OfflineLog
from playhead.client.core.prediction import Press
from playhead.client.core.wire import Accepted, Played
from playhead.playback.commands import Pause
from tests.unit.client.core.commanded import PATIENCE_MS, Desk
from tests.unit.client.core.recording import (
    NOW_MS,
    OTHER_SESSION_ID,
    SCRIPT_ID,
    SESSION_ID,
    accepted,
    make_state,
    refused,
    wire,
)


def test_a_command_is_sent_under_its_id_and_its_ack_is_the_answer() -> None:
    desk = Desk()
    desk.add("c-1")
    assert desk.tick() == ["c-1"] and desk.tick() == []
    asked = desk.recorder.asked[0]
    assert (asked.event, asked.payload) == (
        "seek",
        {"session_id": SESSION_ID, "position": 1.0, "command_id": "c-1"},
    )
    after = make_state(revision=6)
    desk.answer(accepted(after))
    assert desk.outcome == Accepted(state=after, server_time=NOW_MS)
    assert desk.recorder.taken == [after] and not desk.commands.busy(SESSION_ID)


def test_commands_of_one_session_go_one_after_the_other_and_sessions_side_by_side() -> None:
    desk = Desk()
    for command_id, lane in (("a-1", SESSION_ID), ("a-2", SESSION_ID), ("b-1", OTHER_SESSION_ID)):
        desk.add(command_id, lane)
    assert desk.tick() == ["a-1", "b-1"]
    desk.answer(accepted(make_state(revision=6)))
    assert desk.tick() == ["a-2"]


def test_nothing_is_sent_without_a_line() -> None:
    desk = Desk()
    desk.add("c-1")
    assert desk.tick(usable=False) == [] and desk.commands.due_ms(usable=False) == PATIENCE_MS
    assert desk.commands.due_ms(usable=True) == -math.inf
    assert desk.tick() == ["c-1"] and desk.commands.due_ms(usable=True) == PATIENCE_MS


def test_a_command_waits_for_what_its_own_session_is_at_and_holds_up_no_other() -> None:
    desk = Desk()
    desk.unknown = {SCRIPT_ID}
    desk.add("a-1")
    desk.add("b-1", OTHER_SESSION_ID)
    assert desk.tick() == ["b-1"] and desk.commands.due_ms(usable=True) == PATIENCE_MS
    desk.unknown = set()
    assert desk.commands.due_ms(usable=True) == -math.inf and desk.tick() == ["a-1"]


def test_a_refusal_is_raised_with_the_state_that_won_and_shows_it() -> None:
    desk = Desk()
    desk.add("c-1")
    desk.tick()
    desk.answer(refused("conflict", state=wire(make_state(revision=9)), reported=3.5))
    assert isinstance(desk.outcome, Refused)
    assert (desk.outcome.code, desk.outcome.message, desk.outcome.retry) == ("conflict", "conflict!", False)
    assert desk.outcome.state == make_state(revision=9) and desk.outcome.reported == 3.5
    assert desk.recorder.taken == [make_state(revision=9)]


def test_a_refusal_that_says_retry_is_followed_by_the_same_again_after_growing_waits() -> None:
    desk = Desk()
    desk.add("c-1")
    now_ms, waits = 0.0, []
    for _ in range(RETRIES_MAX):
        assert desk.tick(now_ms) == ["c-1"]
        desk.answer(refused("overloaded", retry=True), now_ms)
        due_ms = desk.commands.due_ms(usable=True)
        assert desk.tick(due_ms - 1) == []
        waits.append(due_ms - now_ms)
        now_ms = due_ms
    assert waits[:3] == [RETRY_MS_MIN, 2 * RETRY_MS_MIN, 4 * RETRY_MS_MIN] and waits[-1] == RETRY_MS_MAX
    assert desk.tick(now_ms) == ["c-1"]
    desk.answer(refused("overloaded", retry=True), now_ms)
    assert isinstance(desk.outcome, Refused) and desk.outcome.code == "overloaded" and desk.outcome.retry


def test_a_later_command_does_not_overtake_one_that_waits_to_be_sent_again() -> None:
    desk = Desk()
    desk.add("c-1")
    desk.add("c-2")
    desk.tick()
    desk.answer(refused("unavailable", retry=True))
    assert desk.tick(1) == []
    assert desk.tick(RETRY_MS_MIN) == ["c-1"]


def test_the_server_may_ask_for_a_longer_wait() -> None:
    desk = Desk()
    desk.add("c-1")
    desk.tick()
    desk.answer(refused("overloaded", retry=True, retry_after_ms=9_000), 100)
    assert desk.commands.due_ms(usable=True) == 9_100


def test_a_play_is_answered_with_its_stream_and_its_session_is_passed_on() -> None:
    desk = Desk()
    desk.add("c-1", SCRIPT_ID, "play", payload={"script_id": SCRIPT_ID}, answer=Played)
    desk.tick()
    desk.answer(accepted(make_state(), created=True, stream_url="u", stream_expires_at=NOW_MS))
    assert isinstance(desk.outcome, Played) and desk.outcome.stream_url == "u"
    assert desk.played == [make_state()]


def test_the_number_of_commands_under_way_is_bounded() -> None:
    desk = Desk()
    for number in range(COMMANDS_MAX):
        desk.add(f"c-{number}")
    assert desk.recorder.settled == {}
    desk.add("one more")
    outcome = desk.recorder.settled["one more"]
    assert isinstance(outcome, Refused) and outcome.code == "overloaded" and outcome.retry
    assert len(list(desk.commands)) == COMMANDS_MAX


# what was played without a connection


def test_what_was_pressed_while_the_sound_played_on_waits_until_that_is_told() -> None:
    desk = Desk()
    log = OfflineLog(make_state())
    desk.add("before")
    desk.logs.open(log)
    desk.add("meanwhile", behind=log)
    batch: dict[str, Any] = {"event": "offline", "payload": {"script_id": SCRIPT_ID}}
    desk.add("batch 1", **batch)
    desk.add("batch 2", **batch)
    sent = []
    for now_ms in range(3):
        sent += desk.tick(now_ms)
        desk.answer(accepted(make_state(revision=6 + now_ms)), now_ms)
    assert sent == ["before", "batch 1", "batch 2"]
    assert desk.tick(4) == [] and desk.commands.due_ms(usable=True) == PATIENCE_MS
    desk.logs.close(log)
    assert desk.commands.due_ms(usable=True) == -math.inf and desk.tick(4) == ["meanwhile"]


def test_a_log_that_is_told_again_does_not_overtake_a_command_under_way() -> None:
    desk = Desk()
    log = OfflineLog(make_state())
    desk.add("meanwhile", behind=log)
    assert desk.tick() == ["meanwhile"]
    desk.logs.open(log)
    desk.add("batch", event="offline", payload={"script_id": SCRIPT_ID})
    assert desk.tick() == []
    desk.answer(accepted(make_state(revision=6)))
    assert desk.tick() == ["batch"]


# prediction


def test_what_is_under_way_is_predicted_until_a_state_that_it_caused_is_held() -> None:
    desk = Desk()
    first, second = Press(Pause(), NOW_MS), Press(Pause(), NOW_MS + 1)
    desk.add("c-1", press=first)
    desk.add("c-2", press=None)
    desk.add("c-3", press=second)
    assert desk.commands.presses(SESSION_ID) == [first, second]
    assert desk.commands.presses(OTHER_SESSION_ID) == []
    desk.commands.confirm(None)
    desk.commands.confirm("c-1")
    assert desk.commands.presses(SESSION_ID) == [second]
