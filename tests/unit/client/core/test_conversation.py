"""The line and the commands of a client, driven by hand: connect, join, command, lose, come back."""

import math
from typing import Any

import pytest

from playhead.client.core import wishes
from playhead.client.core.conversation import PATIENCE_MS, PATIENCE_MS_MAX
from playhead.client.core.errors import Refused, Stopped, Unanswered
from playhead.client.core.events import (
    Status,
    StatusChanged,
)
from playhead.client.core.line import CONNECT_TIMEOUT_MS, RECONNECT_MS_MIN
from playhead.client.core.requests import ACK_TIMEOUT_MS
from playhead.client.core.server_time import BURST_GAP_MS
from playhead.client.core.wire import Accepted, Played, Refusal
from tests.unit.client.core.driven import Driven
from tests.unit.client.core.recording import (
    NOW_MS,
    SCRIPT_ID,
    SESSION_ID,
    accepted,
    caused,
    make_state,
    refused,
    wire,
)

# connecting


def test_after_the_connect_the_time_is_asked_for_first_and_then_what_is_followed() -> None:
    driven = Driven()
    driven.core.follow(0, script_id=SCRIPT_ID)
    driven.take()
    assert driven.tokens_wanted == 0 and driven.sent == []
    driven.start()
    driven.open()
    assert [sent.event for sent in driven.sent] == ["clock", "join"]
    assert driven.told == [StatusChanged(status=Status.CONNECTING), StatusChanged(status=Status.CONNECTED)]


def test_events_of_another_connection_than_the_current_one_are_ignored(phone: Driven) -> None:
    old = phone.connection
    phone.lose()
    phone.reopen()
    phone.core.received(old, "state", wire(make_state(revision=9)), phone.now_ms)
    phone.core.answered(old, 1, accepted(make_state(revision=9)), phone.now_ms)
    phone.core.closed(old, phone.now_ms)
    phone.core.opened(old, phone.now_ms)
    phone.core.open_failed(old, None, phone.now_ms)
    phone.take()
    assert phone.core.line.open and phone.core.state(SESSION_ID) == make_state()


def test_a_handshake_that_fails_is_tried_again_elsewhere() -> None:
    driven = Driven("one", "two")
    driven.start()
    driven.core.open_failed(1, None, 0)
    driven.take()
    driven.reopen()
    assert [opened.url for opened in driven.opened] == ["one", "two"]
    driven.core.open_failed(2, None, driven.now_ms)
    assert driven.core.line.open, "it is open already"


def test_a_handshake_without_an_end_is_given_up() -> None:
    driven = Driven()
    driven.start()
    driven.advance(CONNECT_TIMEOUT_MS)
    assert driven.closed == [1] and driven.core.wake_at_ms == CONNECT_TIMEOUT_MS + RECONNECT_MS_MIN


def test_a_refusal_for_good_ends_everything_and_later_wishes_at_once() -> None:
    driven = Driven()
    first = driven.core.follow(0, script_id=SCRIPT_ID)
    driven.start()
    driven.core.open_failed(1, Refusal(code="unsupported_protocol", message="Too old."), 0)
    driven.take()
    second = driven.press()
    for ask_id in (first, second):
        assert isinstance(driven.settled[ask_id], Stopped) and "Too old." in str(driven.settled[ask_id])
    assert driven.core.wake_at_ms == math.inf


def test_an_app_without_a_token_is_asked_again() -> None:
    driven = Driven()
    driven.core.start(0)
    driven.take()
    driven.core.take_no_token(0)
    driven.take()
    driven.advance(RECONNECT_MS_MIN)
    assert driven.tokens_wanted == 2
    driven.bring("t-2")
    assert driven.opened[0].auth["token"] == "t-2"


def test_a_connection_that_does_not_answer_is_given_up_and_made_anew(phone: Driven) -> None:
    command_id = phone.press()
    phone.advance(ACK_TIMEOUT_MS)
    assert phone.closed == [1] and not phone.core.line.open
    phone.reopen()
    phone.snapshot(make_state())
    assert phone.answer("seek", accepted(make_state(revision=6)))["command_id"] == command_id


@pytest.mark.parametrize("ack", [None, {"ok": True}, {"ok": True, "state": {"revision": "many"}}])
def test_a_connection_that_answers_nonsense_is_given_up(phone: Driven, ack: Any) -> None:
    phone.press()
    phone.answer("seek", ack)
    assert phone.closed == [1] and not phone.core.line.open


def test_while_there_is_nothing_to_do_it_sleeps_until_the_next_question_for_the_time(phone: Driven) -> None:
    assert phone.core.wake_at_ms == BURST_GAP_MS
    phone.advance(BURST_GAP_MS)
    assert phone.core.wake_at_ms == BURST_GAP_MS + ACK_TIMEOUT_MS


def test_the_waits_begin_anew_once_the_snapshots_have_come_and_not_with_the_time_alone(phone: Driven) -> None:
    for _ in range(3):
        phone.lose()
        phone.reopen()
        phone.answer_clock()
    phone.answer("join", refused("unavailable", retry=True))
    phone.lose()
    assert phone.core.wake_at_ms - phone.now_ms == 8 * RECONNECT_MS_MIN
    phone.reopen()
    phone.snapshot(make_state())
    phone.lose()
    assert phone.core.wake_at_ms - phone.now_ms == RECONNECT_MS_MIN


# commands


def test_a_command_acts_at_once_and_is_settled_by_its_ack(phone: Driven) -> None:
    phone.advance(1_000 - BURST_GAP_MS)
    command_id = phone.press()
    shown = phone.core.shown(SESSION_ID)
    assert shown is not None and shown.position == 20.5
    assert phone.core.position(SESSION_ID, phone.now_ms + 500) == 21.0
    assert phone.core.state(SESSION_ID) == make_state()
    after = caused("seek", "phone", command_id, position=20.5)
    phone.answer("seek", accepted(after))
    assert phone.settled[command_id] == Accepted(state=after, server_time=NOW_MS)
    assert phone.core.shown(SESSION_ID) == after


def test_a_refused_command_is_taken_back(phone: Driven) -> None:
    command_id = phone.press()
    won = make_state(revision=6, position=50.0)
    phone.answer("seek", refused("conflict", state=wire(won)))
    assert isinstance(phone.settled[command_id], Refused)
    assert phone.core.shown(SESSION_ID) == won


def test_a_state_of_an_own_command_that_comes_before_its_ack_ends_the_guess(phone: Driven) -> None:
    # on another connection than the one that sent it, this device is told of its own command like any other
    command_id = phone.press()
    after = caused("seek", "phone", command_id, position=20.5, anchored_at=NOW_MS + 77)
    phone.hear_state(after)
    assert phone.core.shown(SESSION_ID) == after and phone.settled == {"id-1": phone.settled["id-1"]}


def test_what_is_not_known_is_not_shown() -> None:
    driven = Driven()
    assert driven.core.shown(SESSION_ID) is None and driven.core.position(SESSION_ID, 0) is None
    driven.start()
    driven.open()
    driven.hear_state(make_state())
    assert driven.core.position(SESSION_ID, 0) is None, "server time is not known"
    driven.press()
    assert driven.core.shown(SESSION_ID) == make_state()


def test_a_lost_ack_is_asked_for_again_after_the_join_under_the_same_id(phone: Driven) -> None:
    command_id = phone.press()
    phone.lose()
    phone.reopen()
    assert phone.waiting("seek") == [], "the snapshot comes first"
    after = make_state(revision=6, position=20.5)
    phone.snapshot(after)
    phone.answer("seek", accepted(after))
    assert phone.settled[command_id] == Accepted(state=after, server_time=NOW_MS)


def test_a_lost_ack_is_asked_for_with_a_guard_when_the_store_has_begun_a_new_life(phone: Driven) -> None:
    phone.press()
    phone.lose()
    phone.reopen()
    phone.snapshot(make_state(revision=6), epoch=9)
    assert phone.waiting("seek")[0]["expected_revision"] == 5


def test_an_expected_revision_is_that_of_the_epoch_in_which_it_was_seen(phone: Driven) -> None:
    phone.lose()
    phone.press(wishes.seek(SESSION_ID, 20.5, expected_revision=5))
    phone.press(wishes.pause(SESSION_ID))
    phone.reopen()
    phone.snapshot(make_state(epoch=9))
    (seek,) = phone.waiting("seek")
    assert (seek["expected_revision"], seek["expected_epoch"]) == (5, 7)
    phone.answer("seek", refused("conflict", state=wire(make_state(epoch=9))))
    (pause,) = phone.waiting("pause")
    assert not pause.keys() & {"expected_revision", "expected_epoch"}


def test_an_expected_revision_of_a_script_is_that_of_its_live_session(phone: Driven) -> None:
    phone.press(wishes.play(script_id=SCRIPT_ID, expected_revision=5))
    (play,) = phone.waiting("play")
    assert (play["expected_revision"], play["expected_epoch"]) == (5, 7)


def test_a_command_waits_for_the_line_no_longer_than_it_may() -> None:
    driven = Driven()
    command_id = driven.press()
    driven.advance(PATIENCE_MS - 1)
    assert driven.settled == {}
    driven.advance(1)
    assert isinstance(driven.settled[command_id], Unanswered)


@pytest.mark.parametrize("patience_ms", [-1, PATIENCE_MS_MAX + 1, math.nan])
def test_a_command_may_not_wait_longer_than_the_server_remembers_it(phone: Driven, patience_ms: float) -> None:
    with pytest.raises(ValueError, match="600000"):
        phone.press(patience_ms=patience_ms)
    assert phone.press(patience_ms=PATIENCE_MS_MAX)


def test_a_play_by_its_script_is_in_line_with_the_commands_of_the_live_session(phone: Driven) -> None:
    phone.press()
    played = phone.press(wishes.play(script_id=SCRIPT_ID, position=5.0))
    assert phone.waiting("play") == []
    shown = phone.core.shown(SESSION_ID)
    assert shown is not None and shown.position == 5.0
    phone.answer("seek", accepted(make_state(revision=6)))
    phone.answer("play", accepted(make_state(revision=7), created=False, stream_url=None, stream_expires_at=None))
    assert isinstance(phone.settled[played], Played)


def test_a_script_that_is_played_without_a_join_is_followed() -> None:
    driven = Driven()
    driven.start()
    driven.open()
    driven.press(wishes.play(script_id=SCRIPT_ID))
    driven.answer("play", accepted(make_state(), created=True, stream_url="u", stream_expires_at=NOW_MS))
    driven.lose()
    driven.reopen()
    assert driven.waiting("join") == [{"script_id": SCRIPT_ID, "seen": {"epoch": 7, "revision": 5}}]


def test_what_is_left_is_not_joined_again(phone: Driven) -> None:
    phone.press(wishes.leave(SESSION_ID))
    phone.answer("leave", accepted(make_state(revision=6, playing=False)))
    phone.lose()
    phone.reopen()
    assert phone.waiting("join") == []


def test_a_stop_leaves_and_tells_whoever_waits(phone: Driven) -> None:
    command_id = phone.press()
    phone.core.stop(phone.now_ms)
    phone.take()
    assert isinstance(phone.settled[command_id], Stopped) and phone.closed == [1]
    assert phone.told[-1] == StatusChanged(status=Status.STOPPED) and phone.core.wake_at_ms == math.inf
