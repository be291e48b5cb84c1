"""Answers: the shape of a state is that of Socket.IO, and what they compute."""

from datetime import UTC, datetime

from playhead.http.answers import State, StateAnswer, session_answer, state_answer, summary_answer
from playhead.playback.reducer import Cause
from playhead.sessions.codec import state_payload
from tests.support.states import NOW_MS, make_loop, make_state


def test_a_state_has_exactly_the_fields_that_it_has_on_socket_io() -> None:
    assert set(State.model_fields) == set(state_payload(make_state()))


def test_a_state_keeps_every_value() -> None:
    state = make_state(loop=make_loop(90_000, 110_000))
    cause = Cause(command="loop", device_id="phone", command_id="c")
    answer = state_answer(state, cause, NOW_MS + 5)
    assert isinstance(answer, StateAnswer)
    assert answer.model_dump() == {**state_payload(state, cause), "server_time": NOW_MS + 5}


def test_a_session_says_where_its_sound_is_now() -> None:
    answer = session_answer(make_state(position_ms=100_000), [], NOW_MS + 20_500)
    assert (answer.position, answer.current_position, answer.progress_percent) == (100.0, 120.5, 3.35)


def test_a_summary_says_what_a_session_came_to() -> None:
    state = make_state(
        playing=False,
        position_ms=120_500,
        listened=((0, 60_000), (100_000, 120_500)),
        started_at_ms=1_700_000_000_123,
        ended_at_ms=1_700_000_300_000,
    )
    answer = summary_answer(state)
    assert (answer.position, answer.total_listened, answer.progress_percent) == (120.5, 80.5, 3.35)
    assert answer.started_at == datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC)
    assert answer.ended_at.isoformat() == "2023-11-14T22:18:20+00:00"
