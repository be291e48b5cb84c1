"""When the sounding device reports, and what becomes of the answers."""

import math
from typing import Any

import pytest

from playhead.client.core.events import Reported, ReportRefused
from playhead.client.core.reports import REPORT_INTERVAL_MS, FollowingSound, Heard, Reporter
from playhead.client.core.wire import Loop, State
from tests.unit.client.core.recording import NOW_MS, SESSION_ID, Recorder, accepted, make_state, refused, wire


class SetSound:
    """A sound that is where the test puts it."""

    def __init__(self) -> None:
        self.now: Heard | None = Heard(position=101.5, playing=True)

    def heard(self, state: State, server_ms: int) -> Heard | None:
        return self.now


class Phone:
    def __init__(self, first_seq: int = 0) -> None:
        self.recorder = Recorder()
        self.sound = SetSound()
        self.reporter = Reporter(self.sound, first_seq, self.recorder.hands)

    def tick(self, now_ms: float, state: State | None = None) -> int:
        """How many reports were sent now."""
        before = len(self.recorder.asked)
        self.reporter.tick(state or make_state(), NOW_MS, now_ms)
        return len(self.recorder.asked) - before


GOOD = {"total_listened": 2.5, "progress_percent": 2.82, "saved": True}


@pytest.mark.parametrize(("first_seq", "first"), [(0, NOW_MS), (NOW_MS + 40, NOW_MS + 40)])
def test_a_report_says_where_the_sound_is_on_which_revision_and_counts_up(first_seq: int, first: int) -> None:
    phone = Phone(first_seq)
    phone.reporter.sounds(SESSION_ID, 0)
    for seq in (first, first + 1):
        phone.reporter.report(0)
        assert phone.tick(0) == 1
        (asked,) = phone.recorder.asked
        assert (asked.event, asked.payload) == (
            "progress",
            {
                "session_id": SESSION_ID,
                "position": 101.5,
                "rate": 1.0,
                "playing": True,
                "revision": 5,
                "seq": seq,
                "at": NOW_MS,
            },
        )
        phone.recorder.answer(accepted(make_state(), **GOOD), 10)


def test_a_report_tells_how_well_it_sounds_where_the_sound_knows() -> None:
    phone = Phone()
    phone.sound.now = Heard(position=101.5, playing=True, stalled_ms=0.0, first_audio_ms=412.5)
    phone.reporter.sounds(SESSION_ID, 0)
    phone.reporter.report(0)
    phone.tick(0)
    (asked,) = phone.recorder.asked
    assert (asked.payload["stalled_ms"], asked.payload["first_audio_ms"]) == (0.0, 412.5)


def test_a_device_that_sounds_reports_every_ten_seconds() -> None:
    phone = Phone()
    assert phone.reporter.due_ms == math.inf and phone.tick(1e6) == 0
    phone.reporter.sounds(SESSION_ID, 1_000)
    assert phone.reporter.due_ms == 1_000 + REPORT_INTERVAL_MS
    assert phone.tick(phone.reporter.due_ms - 1) == 0
    assert phone.tick(1_000 + REPORT_INTERVAL_MS) == 1
    phone.recorder.answer(accepted(make_state(), **GOOD), 11_050)
    assert phone.reporter.due_ms == 1_000 + 2 * REPORT_INTERVAL_MS
    phone.reporter.sounds(SESSION_ID, 15_000)
    assert phone.reporter.due_ms == 1_000 + 2 * REPORT_INTERVAL_MS, "the same session goes on"


def test_a_silent_device_has_nothing_to_say_but_what_it_is_asked_for() -> None:
    phone = Phone()
    phone.sound.now = Heard(position=7.0, playing=False)
    phone.reporter.sounds(SESSION_ID, 0)
    assert phone.tick(REPORT_INTERVAL_MS) == 0
    phone.reporter.report(11_000)
    assert phone.tick(11_000) == 1
    assert phone.recorder.asked[0].payload["playing"] is False


def test_before_anything_is_loaded_nothing_is_said() -> None:
    phone = Phone()
    phone.sound.now = None
    phone.reporter.sounds(SESSION_ID, 0)
    phone.reporter.report(0)
    assert phone.tick(0) == 0 and phone.reporter.due_ms == REPORT_INTERVAL_MS


def test_a_remote_does_not_report() -> None:
    phone = Phone()
    phone.reporter.report(0)
    phone.reporter.sounds(SESSION_ID, 0)
    phone.reporter.sounds(None, 0)
    phone.reporter.report(0)
    assert phone.reporter.due_ms == math.inf


def test_one_report_at_a_time_and_a_lost_one_is_not_waited_for() -> None:
    phone = Phone()
    phone.reporter.sounds(SESSION_ID, 0)
    phone.reporter.report(0)
    assert phone.tick(0) == 1
    phone.reporter.report(5)
    assert phone.reporter.due_ms == math.inf and phone.tick(5) == 0
    phone.reporter.lost()
    assert phone.tick(6) == 1


@pytest.mark.parametrize(("position", "told"), [(-0.5, 0.0), (3600.7, 3600.0)])
def test_a_place_outside_the_script_is_brought_into_it(position: float, told: float) -> None:
    phone = Phone()
    phone.sound.now = Heard(position=position, playing=True)
    phone.reporter.sounds(SESSION_ID, 0)
    phone.reporter.report(0)
    phone.tick(0, make_state(playing=False))
    payload = phone.recorder.asked[0].payload
    assert (payload["position"], payload["playing"]) == (told, False)


def test_what_the_server_makes_of_a_report_is_told() -> None:
    phone = Phone()
    phone.reporter.sounds(SESSION_ID, 0)
    phone.reporter.report(0)
    phone.tick(0)
    moved = make_state(revision=6, position=101.5)
    phone.recorder.answer(accepted(moved, **GOOD), 10)
    assert phone.recorder.taken == [moved]
    (told,) = phone.recorder.told
    assert isinstance(told, Reported) and (told.session_id, told.answer.total_listened) == (SESSION_ID, 2.5)


def test_a_report_that_is_not_believed_is_told_with_both_places() -> None:
    phone = Phone()
    phone.reporter.sounds(SESSION_ID, 0)
    phone.reporter.report(0)
    phone.tick(0)
    phone.recorder.answer(refused("conflict", state=wire(make_state(revision=9)), reported=101.5), 10)
    assert phone.recorder.taken == [make_state(revision=9)]
    (told,) = phone.recorder.told
    assert isinstance(told, ReportRefused) and told.refusal.reported == 101.5
    assert phone.reporter.due_ms == REPORT_INTERVAL_MS


@pytest.mark.parametrize(
    ("ack", "doubted"),
    [
        (refused("not_found"), [SESSION_ID]),
        (refused("unavailable", retry=True), [SESSION_ID]),
        (refused("conflict"), []),
    ],
)
def test_a_report_that_found_no_session_or_may_have_been_taken_casts_doubt(
    ack: dict[str, Any], doubted: list[str]
) -> None:
    phone = Phone()
    phone.reporter.sounds(SESSION_ID, 0)
    phone.reporter.report(0)
    phone.tick(0)
    phone.recorder.answer(ack, 10)
    assert phone.recorder.doubted == doubted


def test_a_report_that_found_no_store_is_covered_by_the_next_one() -> None:
    phone = Phone()
    phone.reporter.sounds(SESSION_ID, 0)
    phone.reporter.report(0)
    phone.tick(0)
    phone.recorder.answer(refused("unavailable", retry=True), 10)
    assert phone.recorder.told == [] and phone.reporter.due_ms == REPORT_INTERVAL_MS


def test_a_following_sound_is_where_the_playhead_is() -> None:
    sound = FollowingSound()
    assert sound.heard(make_state(), NOW_MS + 1_500) == Heard(position=101.5, playing=True)
    looped = make_state(loop=Loop(start=99.0, end=101.0, enabled=True))
    assert sound.heard(looped, NOW_MS + 1_500) == Heard(position=99.5, playing=True)
    assert sound.heard(make_state(), NOW_MS + 3_600_000) == Heard(position=3600.0, playing=False)
