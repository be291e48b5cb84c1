"""What a client does beside commands: renew its token, leave a server that goes away, report."""

from typing import Any

import pytest

from playhead.client.core import wishes
from playhead.client.core.events import (
    Reported,
)
from playhead.client.core.offline import OfflineLog
from playhead.client.core.renewal import RENEW_RETRY_MS
from playhead.client.core.reports import REPORT_INTERVAL_MS, FollowingSound
from playhead.client.core.requests import ACK_TIMEOUT_MS
from playhead.client.core.server_time import BURST_GAP_MS
from playhead.client.core.wire import Accepted
from tests.unit.client.core.driven import PHONE, Driven
from tests.unit.client.core.recording import (
    NOW_MS,
    OTHER_SCRIPT_ID,
    OTHER_SESSION_ID,
    SCRIPT_ID,
    SESSION_ID,
    accepted,
    caused,
    make_state,
    refused,
)

GOOD = {"saved": True, "total_listened": 1.0, "progress_percent": 2.8}


# tokens


def test_a_token_that_runs_out_is_renewed_over_the_connection(phone: Driven) -> None:
    phone.hear("expiring", {"expires_at": NOW_MS + 60_000})
    phone.bring("t-2")
    assert phone.waiting("auth") == [{"token": "t-2"}]
    phone.answer("auth", {"ok": True, "expires_at": NOW_MS + 3_600_000})
    assert phone.core.line.token == "t-2" and phone.opened[0].auth["token"] == "t-1"


def test_an_app_that_has_no_newer_token_yet_is_asked_again(phone: Driven) -> None:
    phone.hear("expiring", {"expires_at": NOW_MS + 60_000})
    phone.core.take_no_token(phone.now_ms)
    phone.take()
    for _ in range(2):
        phone.advance(BURST_GAP_MS)
        if phone.waiting("clock"):
            phone.answer_clock()
    while phone.now_ms < RENEW_RETRY_MS:
        phone.advance(1_000)
        if phone.waiting("clock"):
            phone.answer_clock()
    assert phone.tokens_wanted == 2


def test_a_connection_that_ends_with_its_token_is_made_anew_with_a_fresh_one(phone: Driven) -> None:
    phone.hear("closing", {"code": "token_expired", "message": "Get a new one.", "retry": False})
    phone.lose()
    phone.advance(phone.core.wake_at_ms - phone.now_ms)
    phone.bring("t-2")
    phone.open()
    assert phone.core.line.open


# a server that goes away


def drain(phone: Driven) -> None:
    """The time to leave is 750 ms from now."""
    phone.answer_clock() if phone.waiting("clock") else None
    phone.hear("draining", {"retry_after_ms": 750})


def test_a_draining_server_answers_what_was_sent_and_gets_nothing_new(phone: Driven) -> None:
    first = phone.press()
    drain(phone)
    phone.advance(750)
    second = phone.press(wishes.seek(SESSION_ID, 30.0))
    assert phone.core.line.open and len(phone.waiting("seek")) == 1
    while phone.waiting("clock"):
        phone.answer_clock()
    phone.answer("seek", accepted(make_state(revision=6, position=20.5)))
    assert phone.closed == [1] and first in phone.settled and second not in phone.settled
    phone.bring("t-1")
    assert [opened.url for opened in phone.opened] == ["one", "two"]
    phone.open()
    phone.snapshot(make_state(revision=6, position=20.5))
    phone.answer("seek", accepted(make_state(revision=7)))
    assert isinstance(phone.settled[second], Accepted)


def test_a_server_that_is_about_to_be_left_gets_no_command_of_any_session(phone: Driven) -> None:
    phone.press()
    drain(phone)
    phone.advance(750)
    phone.press(wishes.pause(OTHER_SESSION_ID))
    assert phone.waiting("pause") == [] and len(phone.waiting("seek")) == 1 and phone.core.line.open


def test_a_draining_server_that_owes_nothing_is_left_in_its_time(phone: Driven) -> None:
    phone.advance(BURST_GAP_MS)
    drain(phone)
    phone.advance(BURST_GAP_MS)
    phone.answer_clock()
    phone.advance(600)
    while phone.waiting("clock") and phone.core.line.open:
        phone.answer_clock()
        phone.advance(BURST_GAP_MS)
    phone.advance(750)
    assert phone.closed == [1] and phone.tokens_wanted == 1


def test_a_draining_server_that_does_not_answer_is_not_awaited_for_ever(phone: Driven) -> None:
    phone.press()
    drain(phone)
    phone.advance(750 + ACK_TIMEOUT_MS)
    assert phone.closed == [1]


# reports


@pytest.fixture
def sounding() -> Driven:
    """As `phone`, with a sound that follows the playhead."""
    driven = Driven(sound=FollowingSound())
    driven.join(make_state(), SCRIPT_ID)
    return driven


def quiet(driven: Driven, elapsed_ms: float) -> None:
    """Lets time pass with a server that answers the questions for its time and nothing else."""
    end_ms = driven.now_ms + elapsed_ms
    while driven.now_ms < end_ms:
        driven.advance(min(end_ms, driven.core.wake_at_ms) - driven.now_ms)
        if driven.waiting("clock"):
            driven.answer_clock()


def test_a_sounding_device_reports_by_the_clock(sounding: Driven) -> None:
    quiet(sounding, REPORT_INTERVAL_MS - 1)
    assert sounding.waiting("progress") == []
    quiet(sounding, 1)
    (report,) = sounding.waiting("progress")
    assert (report["position"], report["revision"], report["seq"]) == (110.0, 5, NOW_MS + 10_000)
    assert report["at"] == NOW_MS + 10_000, "when it was there"
    sounding.answer("progress", accepted(make_state(), **GOOD))
    assert isinstance(sounding.told[-1], Reported)


def test_a_device_without_a_sound_reports_nothing(phone: Driven) -> None:
    phone.core.report(phone.now_ms)
    quiet(phone, 2 * REPORT_INTERVAL_MS)
    assert phone.waiting("progress") == []


def test_a_report_waits_for_the_command_under_way_and_is_made_on_its_revision(sounding: Driven) -> None:
    sounding.press()
    sounding.core.report(sounding.now_ms)
    sounding.take()
    assert sounding.waiting("progress") == []
    sounding.answer("seek", accepted(caused("seek", "phone", position=20.5)))
    (report,) = sounding.waiting("progress")
    assert (report["position"], report["revision"]) == (20.5, 6)


def test_another_script_that_cannot_be_joined_now_stops_neither_commands_nor_reports(sounding: Driven) -> None:
    sounding.core.follow(sounding.now_ms, script_id=OTHER_SCRIPT_ID)
    sounding.take()
    sounding.answer("join", refused("unavailable", retry=True))
    sounding.core.report(sounding.now_ms)
    sounding.take()
    assert len(sounding.waiting("progress")) == 1
    sounding.press()
    assert len(sounding.waiting("seek")) == 1
    sounding.press(wishes.play(script_id=OTHER_SCRIPT_ID))
    assert sounding.waiting("play") == [], "its own has not come"


def test_a_connection_that_answers_one_after_the_other_is_alive(phone: Driven) -> None:
    phone.press()
    for script_id in ("one", "two"):
        phone.core.follow(phone.now_ms, script_id=script_id)
        phone.take()
    phone.advance(3_500)
    phone.answer("seek", accepted(make_state(revision=6)))
    phone.advance(3_500)
    phone.snapshot(None)
    assert phone.closed == []
    phone.advance(ACK_TIMEOUT_MS)
    assert phone.closed == [1]


@pytest.mark.parametrize(("device_id", "reports"), [("desk", 1), ("phone", 0), (None, 1)])
def test_what_others_change_under_the_sound_is_answered_with_a_report(
    sounding: Driven, device_id: str | None, reports: int
) -> None:
    sounding.hear_state(caused("pause", device_id, playing=False))
    assert len(sounding.waiting("progress")) == reports


def test_a_device_that_has_just_got_the_sound_reports_after_its_interval(sounding: Driven) -> None:
    sounding.hear_state(caused("transfer", "phone", active_device="desk"))
    sounding.hear_state(caused("transfer", "desk", revision=7, active_device="phone"))
    assert sounding.waiting("progress") == []
    quiet(sounding, REPORT_INTERVAL_MS)
    assert len(sounding.waiting("progress")) == 1


def test_the_session_that_plays_is_reported_on_not_another_one_that_was_left_here(sounding: Driven) -> None:
    paused = make_state(session_id=OTHER_SESSION_ID, script_id=OTHER_SCRIPT_ID, playing=False)
    sounding.hear_state(paused)
    sounding.core.report(sounding.now_ms)
    sounding.take()
    assert [report["session_id"] for report in sounding.waiting("progress")] == [SESSION_ID]


def test_after_a_reconnect_a_sounding_device_says_at_once_where_it_is(sounding: Driven) -> None:
    sounding.core.report(sounding.now_ms)
    sounding.take()
    sounding.lose()
    sounding.reopen()
    assert sounding.waiting("progress") == [], "not before the snapshot"
    sounding.snapshot(make_state())
    assert [report["seq"] for report in sounding.waiting("progress")] == [NOW_MS + 400]


# playing on without a connection


def test_what_is_pressed_while_the_sound_plays_on_goes_after_the_log_and_only_that(sounding: Driven) -> None:
    other: dict[str, Any] = {
        "session_id": OTHER_SESSION_ID,
        "script_id": OTHER_SCRIPT_ID,
        "active_device": "desk",
    }
    sounding.hear_state(make_state(**other))
    sounding.core.follow(sounding.now_ms, script_id=OTHER_SCRIPT_ID)
    sounding.take()
    sounding.lose()
    log = OfflineLog(make_state())
    sounding.core.open_log(log)
    pressed = sounding.press(wishes.pause(SESSION_ID, position=103.0))
    sounding.press(wishes.pause(OTHER_SESSION_ID))
    sounding.reopen()
    sounding.answer_clock()
    for state in (make_state(), make_state(**other)):
        sounding.snapshot(state)
    assert [pause["session_id"] for pause in sounding.waiting("pause")] == [OTHER_SESSION_ID]
    sounding.answer("pause", accepted(make_state(**other, revision=6)))
    (batch,) = log.batches()
    sounding.press(batch.wish(SCRIPT_ID, log.base))
    sounding.answer("offline", accepted(make_state(revision=6, position=103.0), **GOOD))
    assert sounding.waiting("pause") == sounding.waiting("progress") == [], "another batch may follow"
    sounding.core.close_log(log, sounding.now_ms)
    sounding.take()
    (pause,) = sounding.waiting("pause")
    assert (pause["position"], pause["command_id"]) == (103.0, pressed)
    sounding.answer("pause", accepted(make_state(revision=7, position=103.0, playing=False)))
    assert [report["revision"] for report in sounding.waiting("progress")] == [7]


def test_a_play_of_the_script_waits_for_its_log_also_where_the_session_has_ended(phone: Driven) -> None:
    phone.lose()
    log = OfflineLog(make_state())
    phone.core.open_log(log)
    phone.press(wishes.play(script_id=SCRIPT_ID))
    phone.reopen()
    phone.snapshot(None)
    assert phone.waiting("play") == []
    phone.core.close_log(log, phone.now_ms)
    phone.take()
    assert len(phone.waiting("play")) == 1


def test_the_device_of_the_conversation_is_the_one_that_it_was_made_for(phone: Driven) -> None:
    assert phone.core.device is PHONE and phone.opened[0].auth["device"]["id"] == "phone"
