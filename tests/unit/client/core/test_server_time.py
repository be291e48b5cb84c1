"""When server time is asked for, and what is made of the answers."""

import math

import pytest

from playhead.client.core.server_time import BURST_GAP_MS, INTERVAL_MS, RTT_MS_MAX, ServerTime
from playhead.client.core.wire import Malformed
from tests.unit.client.core.recording import NOW_MS, Recorder, refused

AHEAD_MS = 5_000


def answer(recorder: Recorder, at_ms: float, ahead_ms: float = AHEAD_MS, took_ms: float = 0.0) -> None:
    """Answers the question so that each way took half of the time that the server did not take."""
    t0 = recorder.asked[0].payload["t0"]
    middle = (t0 + at_ms) / 2 + ahead_ms
    times = {"t0": t0, "t1": middle - took_ms / 2, "t2": middle + took_ms / 2}
    recorder.answer({"ok": True, **times, "server_time": NOW_MS}, at_ms)


def test_before_the_first_answer_nothing_is_known() -> None:
    time = ServerTime(Recorder().hands)
    assert (time.now_ms(0), time.uncertainty_ms(0), time.due_ms) == (None, math.inf, math.inf)


def test_a_connection_begins_with_eight_questions_and_goes_on_every_ten_seconds() -> None:
    recorder = Recorder()
    time = ServerTime(recorder.hands)
    time.connected(100)
    at_ms, gaps = 100.0, []
    for _ in range(10):
        time.tick(time.due_ms)
        assert time.due_ms == math.inf, "one question at a time"
        at_ms = recorder.asked[0].at_ms + 20
        answer(recorder, at_ms)
        gaps.append(time.due_ms - at_ms)
    assert gaps == [BURST_GAP_MS] * 7 + [INTERVAL_MS] * 3
    assert time.now_ms(at_ms) == at_ms + AHEAD_MS
    assert time.uncertainty_ms(at_ms) == pytest.approx(11, abs=0.2)


def test_nothing_is_asked_before_its_time_nor_without_a_connection() -> None:
    recorder = Recorder()
    time = ServerTime(recorder.hands)
    time.tick(5)
    time.connected(100)
    time.tick(99)
    time.disconnected()
    time.tick(1e9)
    assert recorder.asked == []


def test_each_question_tells_how_long_the_way_of_the_one_before_took() -> None:
    recorder = Recorder()
    time = ServerTime(recorder.hands)
    time.connected(0)
    time.tick(0)
    assert recorder.asked[0].payload == {"t0": 0}
    answer(recorder, 80, took_ms=50)
    time.tick(80 + BURST_GAP_MS)
    assert recorder.asked[0].payload == {"t0": 140, "rtt_ms": 30.0}
    answer(recorder, 140 + RTT_MS_MAX + 1)
    time.tick(1e6)
    assert recorder.asked[0].payload["rtt_ms"] == RTT_MS_MAX


def test_a_refused_question_is_asked_again() -> None:
    recorder = Recorder()
    time = ServerTime(recorder.hands)
    time.connected(0)
    time.tick(0)
    recorder.answer(refused("unavailable", retry=True), 20)
    assert (time.now_ms(20), time.due_ms) == (None, 20 + BURST_GAP_MS)


def test_a_malformed_answer_is_passed_on_as_such() -> None:
    recorder = Recorder()
    time = ServerTime(recorder.hands)
    time.connected(0)
    time.tick(0)
    with pytest.raises(Malformed):
        recorder.answer({"ok": True, "t0": "now"}, 20)


def test_another_connection_begins_anew_and_until_its_first_answer_the_old_time_holds() -> None:
    recorder = Recorder()
    time = ServerTime(recorder.hands)
    time.connected(0)
    time.tick(0)
    answer(recorder, 2)
    time.disconnected()
    time.connected(10_000)
    assert time.now_ms(10_000) == 10_000 + AHEAD_MS
    time.tick(10_000)
    # a worse sample than the old one, which a mere addition would not prefer
    answer(recorder, 10_040, ahead_ms=AHEAD_MS + 5)
    assert time.now_ms(10_040) == 10_040 + AHEAD_MS + 5
