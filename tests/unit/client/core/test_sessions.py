"""Which states are taken, whatever order they come in, and what shows that some are missing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.client.core.sessions import SESSIONS_MAX, Sessions, Taken
from tests.unit.client.core.recording import OTHER_SCRIPT_ID, OTHER_SESSION_ID, SCRIPT_ID, SESSION_ID, make_state


@pytest.fixture
def sessions() -> Sessions:
    return Sessions()


def test_the_first_state_of_a_session_is_taken_whatever_its_revision(sessions: Sessions) -> None:
    assert sessions.take(make_state()) is Taken.NEXT
    assert sessions.get(SESSION_ID) == make_state() and sessions.epoch == 7


@pytest.mark.parametrize(
    ("epoch", "revision", "taken"),
    [
        (7, 6, Taken.NEXT),
        (7, 7, Taken.GAP),
        (8, 6, Taken.GAP),
        (8, 1, Taken.GAP),
        (7, 5, Taken.DROPPED),
        (7, 4, Taken.DROPPED),
        (6, 99, Taken.DROPPED),
    ],
)
def test_a_state_is_taken_only_when_it_is_later(sessions: Sessions, epoch: int, revision: int, taken: Taken) -> None:
    sessions.take(make_state())
    state = make_state(epoch=epoch, revision=revision, position=1.0)
    assert sessions.take(state) is taken
    assert (sessions.get(SESSION_ID) == state) is (taken is not Taken.DROPPED)


@given(st.permutations([(7, 5), (7, 6), (7, 6), (7, 9), (8, 2), (8, 3), (6, 50)]))
def test_in_whatever_order_states_come_the_latest_is_held_in_the_end(orders: list[tuple[int, int]]) -> None:
    sessions = Sessions()
    for epoch, revision in orders:
        sessions.take(make_state(epoch=epoch, revision=revision))
    assert sessions.order(SESSION_ID) == (8, 3)
    assert sessions.epoch == 8


def test_the_latest_epoch_is_remembered_also_from_a_state_of_another_session(sessions: Sessions) -> None:
    sessions.take(make_state(epoch=9))
    sessions.take(make_state(session_id=OTHER_SESSION_ID))
    assert sessions.epoch == 9


def test_the_live_session_of_a_script_is_the_one_that_has_not_ended(sessions: Sessions) -> None:
    assert sessions.live(SCRIPT_ID) is None and sessions.order(SESSION_ID) is None
    sessions.take(make_state(ended=True))
    assert sessions.live(SCRIPT_ID) is None
    sessions.take(make_state(session_id=OTHER_SESSION_ID, revision=1))
    sessions.take(make_state(session_id="elsewhere", script_id=OTHER_SCRIPT_ID))
    live = sessions.live(SCRIPT_ID)
    assert live is not None and live.session_id == OTHER_SESSION_ID


def test_a_command_is_for_the_session_that_it_names_or_for_the_live_one_of_its_script(sessions: Sessions) -> None:
    by_script, by_session = {"script_id": SCRIPT_ID}, {"session_id": SESSION_ID}
    assert sessions.order_for(by_script) is None and sessions.order_for(by_session) is None
    assert sessions.script_of(by_script) == SCRIPT_ID and sessions.script_of(by_session) is None
    sessions.take(make_state())
    sessions.take(make_state(session_id=OTHER_SESSION_ID, revision=9, ended=True))
    assert sessions.order_for(by_script) == sessions.order_for(by_session) == (7, 5)
    assert sessions.script_of(by_session) == SCRIPT_ID


def test_the_session_that_changed_longest_ago_is_forgotten_first(sessions: Sessions) -> None:
    for number in range(SESSIONS_MAX):
        sessions.take(make_state(session_id=f"s-{number}"))
    sessions.take(make_state(session_id="s-0", revision=6))
    assert len(list(sessions)) == SESSIONS_MAX
    sessions.take(make_state(session_id="one more"))
    held = {state.session_id for state in sessions}
    assert len(held) == SESSIONS_MAX and "s-0" in held and "s-1" not in held


def test_a_forgotten_session_is_as_if_never_seen(sessions: Sessions) -> None:
    sessions.take(make_state())
    sessions.forget(SESSION_ID)
    sessions.forget(SESSION_ID)
    assert sessions.get(SESSION_ID) is None
    assert sessions.take(make_state(revision=1)) is Taken.NEXT


def test_what_sounds_on_a_device_is_what_plays_there(sessions: Sessions) -> None:
    standing = make_state(active_device="phone", playing=False)
    sessions.take(standing)
    assert sessions.sounding("phone") is standing
    playing = make_state(session_id=OTHER_SESSION_ID, active_device="phone", playing=True)
    sessions.take(playing)
    assert sessions.sounding("phone") is playing and sessions.sounding("desk") is None
    sessions.take(make_state(session_id=OTHER_SESSION_ID, revision=6, active_device="phone", playing=True, ended=True))
    assert sessions.sounding("phone") is standing
