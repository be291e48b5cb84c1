"""What a press will do, by the server's own rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.client.core.prediction import Press, at, position, predict
from playhead.client.core.wire import Loop
from playhead.playback.commands import (
    Command,
    End,
    Leave,
    Pause,
    Play,
    Seek,
    SetLoop,
    SetMode,
    SetRate,
    SetSleep,
    Transfer,
)
from tests.unit.client.core.recording import NOW_MS, make_state

LATER_MS = NOW_MS + 10_000
LOOP = Loop(start=10.0, end=22.0, enabled=True)


def test_without_a_press_the_state_is_what_it_is() -> None:
    state = make_state()
    assert predict(state, (), "phone", {}) is state


@pytest.mark.parametrize(
    ("command", "fields"),
    [
        (Pause(), {"playing": False, "position": 110.0}),
        (Seek(position_ms=20_500), {"position": 20.5}),
        (SetRate(rate=2.0), {"position": 110.0, "rate": 2.0}),
        (SetLoop(start_ms=10_000, end_ms=22_000, enabled=True), {"position": 10.0, "loop": LOOP}),
        (Transfer(device_id="desk"), {"position": 110.0, "active_device": "desk"}),
        (Play(position_ms=5_000, device_id="desk"), {"position": 5.0, "active_device": "desk"}),
        (Leave(), {"playing": False, "position": 110.0}),
        (SetMode(mode="together"), {"anchored_at": NOW_MS, "mode": "together"}),
        (SetSleep(after_ms=60_000), {"anchored_at": NOW_MS, "sleep_at": LATER_MS + 60_000}),
        (End(), {"playing": False, "position": 110.0, "ended": True}),
    ],
)
def test_a_press_shows_at_once_what_the_server_will_answer(command: Command, fields: dict[str, object]) -> None:
    shown = predict(make_state(), [Press(command, LATER_MS)], "phone", {"desk": ""})
    assert shown == make_state(**{"anchored_at": LATER_MS, **fields})


def test_presses_add_up_in_their_order() -> None:
    presses = [Press(Seek(position_ms=50_000), NOW_MS + 1_000), Press(Pause(), NOW_MS + 3_000)]
    shown = predict(make_state(), presses, "phone", {})
    assert (shown.position, shown.playing, shown.anchored_at) == (52.0, False, NOW_MS + 3_000)
    assert shown.order == make_state().order, "a guess has no revision of its own"


def test_a_press_that_would_be_refused_predicts_nothing() -> None:
    state = make_state()
    presses = [Press(Seek(position_ms=99_000_000), LATER_MS), Press(Transfer(device_id="gone"), LATER_MS)]
    assert predict(state, presses, "phone", {}) is state


def test_a_remotes_leave_stops_nobody() -> None:
    assert predict(make_state(), [Press(Leave(), LATER_MS)], "desk", {}).playing


def test_a_seek_out_of_the_loop_switches_it_off_and_a_paused_loop_is_kept() -> None:
    looped = make_state(position=15.0, loop=LOOP)
    assert predict(looped, [Press(Pause(), NOW_MS)], "phone", {}).loop == LOOP
    sought = predict(looped, [Press(Seek(position_ms=30_000), LATER_MS)], "phone", {})
    assert sought.loop == Loop(start=10.0, end=22.0, enabled=False)


def test_a_sleep_at_the_end_of_the_loop_moves_with_the_playhead() -> None:
    looped = make_state(position=15.0, loop=LOOP)
    asleep = predict(looped, [Press(SetSleep(at_end_of_loop=True), NOW_MS)], "phone", {})
    assert (asleep.sleep_at_end_of_loop, asleep.sleep_at) == (True, NOW_MS + 7_000)
    sought = predict(asleep, [Press(Seek(position_ms=20_000), NOW_MS)], "phone", {})
    assert (sought.sleep_at_end_of_loop, sought.sleep_at) == (True, NOW_MS + 2_000)
    assert not predict(sought, [Press(SetSleep(), NOW_MS)], "phone", {}).sleep_at_end_of_loop


def test_a_session_that_has_ended_takes_no_press() -> None:
    over = make_state(playing=False, ended=True)
    assert predict(over, [Press(Play(), LATER_MS)], "phone", {}) is over


def test_a_finished_script_starts_at_its_beginning() -> None:
    finished = make_state(playing=False, position=3600.0)
    shown = predict(finished, [Press(Play(), LATER_MS)], "phone", {})
    assert (shown.playing, shown.position) == (True, 0.0)


def test_the_place_follows_the_formula() -> None:
    assert position(make_state(rate=1.5), LATER_MS) == 115.0
    assert position(make_state(playing=False), LATER_MS) == 100.0
    assert position(make_state(position=15.0, loop=LOOP), LATER_MS) == 13.0
    assert position(make_state(anchored_at=LATER_MS), NOW_MS) == 100.0, "not before its anchor"


def test_at_the_end_of_the_script_playback_has_stopped() -> None:
    state = make_state(position=3_599.0)
    assert at(state, NOW_MS + 999) is state
    over = at(state, NOW_MS + 5_000)
    assert (over.playing, over.position) == (False, 3600.0)


@given(st.integers(0, 3_600_000), st.floats(0.25, 4.0), st.integers(0, 10**7))
def test_the_place_stays_within_the_script(position_ms: int, rate: float, elapsed_ms: int) -> None:
    state = make_state(position=position_ms / 1000, rate=rate)
    assert 0.0 <= position(state, NOW_MS + elapsed_ms) <= state.duration
