from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from playhead.db.sessions import latest_of_each
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
    lambda session_id, epoch, revision, version: replace(
        BASE, session_id=session_id, epoch=epoch, revision=revision, version=version
    ),
    st.sampled_from("abc"),
    st.integers(0, 2),
    st.integers(0, 2),
    st.integers(0, 2),
)


@given(st.lists(STATES))
def test_of_each_session_the_latest_state_is_kept_ordered_by_id(states: list[SessionState]) -> None:
    kept = latest_of_each(states)
    assert [state.session_id for state in kept] == sorted({state.session_id for state in states})
    for state in kept:
        mark = (state.epoch, state.revision, state.version)
        assert mark == max((s.epoch, s.revision, s.version) for s in states if s.session_id == state.session_id)
