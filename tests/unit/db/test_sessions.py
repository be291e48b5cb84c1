from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from playhead.db.sessions import merged
from playhead.playback.listened import union
from playhead.playback.state import SessionState

BASE = SessionState(
    session_id="",
    listener_id="listener",
    script_id="script",
    duration_ms=1_000,
    epoch=1,
    revision=1,
    version=1,
    playing=False,
    position_ms=0,
    anchored_at_ms=0,
    rate=1.0,
)
STATES = st.builds(
    lambda session_id, order, version, heard, played_ms: replace(
        BASE,
        session_id=session_id,
        epoch=order[0],
        revision=order[1],
        version=version,
        listened=union((), heard),
        played_ms=played_ms,
    ),
    st.sampled_from("abc"),
    st.tuples(st.integers(0, 2), st.integers(0, 2)),
    st.integers(0, 2),
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=4),
    st.integers(0, 3),
)


@given(st.lists(STATES))
def test_what_any_state_has_listened_to_and_played_is_kept(states: list[SessionState]) -> None:
    for state in merged(states):
        same = [other for other in states if other.session_id == state.session_id]
        heard = {ms for other in same for start_ms, end_ms in other.listened for ms in range(start_ms, end_ms)}
        assert {ms for start_ms, end_ms in state.listened for ms in range(start_ms, end_ms)} == heard
        assert state.played_ms == max(other.played_ms for other in same)


def test_what_was_heard_of_a_longer_file_is_kept_up_to_the_end_of_the_one_that_took_its_place() -> None:
    longer = replace(BASE, session_id="a", listened=((0, 10), (400, 900)))
    shorter = replace(BASE, session_id="a", revision=2, duration_ms=500, media_version="f" * 16, listened=((20, 30),))
    [state] = merged([longer, shorter])
    assert state.listened == ((0, 10), (20, 30), (400, 500))


@given(st.lists(STATES))
def test_of_each_session_the_latest_state_is_kept_ordered_by_id(states: list[SessionState]) -> None:
    kept = merged(states)
    assert [state.session_id for state in kept] == sorted({state.session_id for state in states})
    for state in kept:
        mark = (state.epoch, state.revision, state.version)
        assert mark == max((s.epoch, s.revision, s.version) for s in states if s.session_id == state.session_id)
