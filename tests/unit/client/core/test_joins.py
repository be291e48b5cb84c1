"""What is followed, when its snapshots are asked for, and what they say about sessions that ended unseen."""

import math
from typing import Any

import pytest

from playhead.client.core.errors import Refused, Stopped
from playhead.client.core.events import Joined, JoinRefused
from playhead.client.core.joins import REFRESH_GAP_MS, RETRY_MS, Joins
from playhead.client.core.sessions import Sessions
from playhead.client.core.wire import ConnectedDevice, Devices, Snapshot, State
from tests.unit.client.core.recording import (
    NOW_MS,
    OTHER_SCRIPT_ID,
    OTHER_SESSION_ID,
    SCRIPT_ID,
    SESSION_ID,
    Recorder,
    make_state,
    refused,
    wire,
)

DESK = ConnectedDevice(id="desk", name="Desk", kind="desktop", connected_at=NOW_MS)


def snapshot(state: State | None, **fields: Any) -> dict[str, Any]:
    devices = [{"id": "desk", "name": "Desk", "kind": "desktop", "connected_at": NOW_MS}]
    told, order = None if state is None else wire(state), {"epoch": 1, "version": 1}
    ack = {"ok": True, "state": told, "place": None, "devices": devices, "devices_order": order}
    return {**ack, "server_time": NOW_MS, **fields}


class Desk:
    def __init__(self) -> None:
        self.recorder = Recorder()
        self.sessions = Sessions()
        self.seen: list[Devices] = []
        self.joins = Joins(self.sessions, self.recorder.hands, self.seen.append)

    def follow(self, ask_id: str | None = "a-1", *, session: bool = False, now_ms: float = 0) -> None:
        script_id, session_id = (None, SESSION_ID) if session else (SCRIPT_ID, None)
        self.joins.follow(script_id, session_id, ask_id, now_ms)

    def tick(self, now_ms: float = 0) -> list[dict[str, Any]]:
        before = len(self.recorder.asked)
        self.joins.tick(now_ms)
        assert all(asked.event == "join" for asked in self.recorder.asked)
        return [asked.payload for asked in self.recorder.asked[before:]]

    def answer(self, ack: Any, now_ms: float = 0) -> None:
        self.recorder.answer(ack, now_ms)


def test_a_script_is_joined_and_the_snapshot_is_told_and_answered() -> None:
    desk = Desk()
    assert desk.joins.ready and desk.joins.due_ms == math.inf
    desk.follow()
    assert not desk.joins.ready
    assert desk.tick() == [{"script_id": SCRIPT_ID}] and desk.tick() == []
    desk.answer(snapshot(make_state()))
    assert (
        desk.joins.ready and desk.recorder.taken == [make_state()] and [told.devices for told in desk.seen] == [(DESK,)]
    )
    assert desk.recorder.told == [Joined(script_id=SCRIPT_ID, session_id=None, state=make_state(), place=None)]
    answer = desk.recorder.settled["a-1"]
    assert isinstance(answer, Snapshot) and answer.state == make_state()


def test_a_script_without_a_session_has_a_place() -> None:
    desk = Desk()
    desk.follow()
    desk.tick()
    desk.answer(snapshot(None, place={"position": 4.5, "finished": False}))
    (joined,) = desk.recorder.told
    assert isinstance(joined, Joined) and joined.place is not None and joined.place.position == 4.5
    assert desk.recorder.taken == []


def test_a_join_tells_the_state_that_is_shown() -> None:
    desk = Desk()
    desk.sessions.take(make_state())
    desk.follow()
    desk.follow("a-2", session=True)
    seen = {"epoch": 7, "revision": 5}
    assert desk.tick() == [{"script_id": SCRIPT_ID, "seen": seen}, {"session_id": SESSION_ID, "seen": seen}]


def test_a_session_is_joined_by_its_id_and_touches_no_other_of_its_script() -> None:
    desk = Desk()
    desk.sessions.take(make_state(session_id=OTHER_SESSION_ID))
    desk.follow(session=True)
    assert desk.tick() == [{"session_id": SESSION_ID}]
    desk.answer(snapshot(make_state()))
    assert desk.recorder.told == [Joined(script_id=None, session_id=SESSION_ID, state=make_state(), place=None)]
    assert desk.recorder.taken == [make_state()] and desk.sessions.get(OTHER_SESSION_ID) is not None


def test_two_who_follow_the_same_share_one_snapshot() -> None:
    desk = Desk()
    desk.follow("a-1")
    desk.follow("a-2")
    desk.follow(None)
    assert len(desk.tick()) == 1
    desk.answer(snapshot(None))
    assert set(desk.recorder.settled) == {"a-1", "a-2"}


def test_one_who_joins_while_a_snapshot_is_on_its_way_gets_that_one() -> None:
    desk = Desk()
    desk.follow("a-1")
    desk.tick()
    desk.follow("a-2", now_ms=5)
    assert desk.joins.due_ms == math.inf
    desk.answer(snapshot(None), 10)
    assert set(desk.recorder.settled) == {"a-1", "a-2"}


def test_after_a_reconnect_everything_followed_is_joined_again_before_the_line_is_ready() -> None:
    desk = Desk()
    desk.follow()
    desk.tick()
    desk.answer(snapshot(None))
    assert desk.joins.ready
    desk.joins.connected(500)
    assert not desk.joins.ready
    assert desk.tick(500) == [{"script_id": SCRIPT_ID}]
    desk.recorder.asked.clear()
    desk.joins.connected(900)
    assert len(desk.tick(900)) == 1, "the answer of the lost connection will not come"
    desk.answer(snapshot(None), 950)
    assert desk.joins.ready


def test_a_reconnect_forgets_what_nobody_follows_here() -> None:
    desk = Desk()
    desk.follow()
    desk.sessions.take(make_state())
    desk.sessions.take(make_state(session_id=OTHER_SESSION_ID, script_id=OTHER_SCRIPT_ID))
    desk.joins.connected(0)
    assert [state.session_id for state in desk.sessions] == [SESSION_ID]


def test_sessions_of_the_script_that_the_snapshot_does_not_have_have_ended() -> None:
    desk = Desk()
    desk.sessions.take(make_state())
    desk.sessions.take(make_state(session_id="elsewhere", script_id=OTHER_SCRIPT_ID))
    desk.sessions.take(make_state(session_id="over", ended=True))
    desk.follow()
    desk.tick()
    desk.answer(snapshot(make_state(session_id=OTHER_SESSION_ID, revision=1)))
    assert {state.session_id for state in desk.sessions} == {"elsewhere", "over"}


def test_the_session_of_the_snapshot_is_kept() -> None:
    desk = Desk()
    desk.sessions.take(make_state())
    desk.follow()
    desk.tick()
    desk.answer(snapshot(make_state()))
    assert desk.sessions.get(SESSION_ID) is not None


def test_a_session_that_was_heard_of_after_the_question_outlives_an_older_snapshot() -> None:
    desk = Desk()
    desk.sessions.take(make_state())
    desk.follow()
    desk.tick()
    desk.sessions.take(make_state(revision=6))
    desk.sessions.take(make_state(session_id=OTHER_SESSION_ID, revision=1))
    desk.answer(snapshot(None))
    assert {state.session_id for state in desk.sessions} == {SESSION_ID, OTHER_SESSION_ID}


def test_a_snapshot_names_the_life_of_the_store() -> None:
    desk = Desk()
    desk.follow()
    desk.tick()
    desk.answer(snapshot(None, epoch=9))
    assert desk.sessions.epoch == 9


def test_a_join_that_may_be_repeated_is_and_holds_commands_up_until_then() -> None:
    desk = Desk()
    desk.follow()
    desk.tick()
    desk.answer(refused("unavailable", retry=True), 100)
    assert not desk.joins.ready and desk.joins.due_ms == 100 + RETRY_MS and desk.recorder.told == []
    assert desk.tick(100 + RETRY_MS - 1) == []
    assert len(desk.tick(100 + RETRY_MS)) == 1
    desk.answer(refused("overloaded", retry=True, retry_after_ms=7_000), 2_000)
    assert desk.joins.due_ms == 9_000


def test_a_script_that_cannot_be_joined_now_holds_up_its_own_alone() -> None:
    desk = Desk()
    desk.follow()
    desk.tick()
    desk.answer(snapshot(make_state()))
    desk.sessions.take(make_state())
    desk.joins.follow(OTHER_SCRIPT_ID, None, None, 0)
    desk.tick()
    desk.answer(refused("unavailable", retry=True))
    assert desk.joins.known(SESSION_ID, SCRIPT_ID) and desk.joins.known(None, SCRIPT_ID)
    assert desk.joins.known("never heard of", None)
    assert not desk.joins.known(OTHER_SESSION_ID, OTHER_SCRIPT_ID) and not desk.joins.known(None, OTHER_SCRIPT_ID)
    assert not desk.joins.ready


@pytest.mark.parametrize("by_session_comes", [True, False])
def test_of_a_session_that_is_followed_twice_one_snapshot_is_enough(by_session_comes: bool) -> None:
    desk = Desk()
    desk.sessions.take(make_state())
    desk.follow()
    desk.follow("a-2", session=True)
    desk.tick()
    assert not desk.joins.known(SESSION_ID, SCRIPT_ID) and not desk.joins.known(None, SCRIPT_ID)
    acks = [refused("unavailable", retry=True), snapshot(make_state())]
    for ack in acks if by_session_comes else reversed(acks):
        desk.answer(ack)
    assert desk.joins.known(SESSION_ID, SCRIPT_ID) and desk.joins.known(None, SCRIPT_ID)


def test_a_session_that_is_followed_before_it_is_known_holds_up_its_own_commands() -> None:
    desk = Desk()
    desk.follow(session=True)
    assert not desk.joins.known(SESSION_ID, None)
    assert desk.joins.known(None, SCRIPT_ID) and desk.joins.known(OTHER_SESSION_ID, SCRIPT_ID)


def test_what_cannot_be_joined_is_told_and_followed_no_longer() -> None:
    desk = Desk()
    desk.follow(session=True)
    desk.tick()
    ended = make_state(revision=8, ended=True)
    desk.answer(refused("session_ended", state=wire(ended)))
    assert desk.recorder.taken == [ended] and desk.joins.ready
    (told,) = desk.recorder.told
    assert isinstance(told, JoinRefused) and (told.session_id, told.refusal.code) == (SESSION_ID, "session_ended")
    error = desk.recorder.settled["a-1"]
    assert isinstance(error, Refused) and error.code == "session_ended"
    desk.joins.connected(0)
    assert desk.tick() == []


def test_a_script_that_is_not_there_is_refused_without_a_state() -> None:
    desk = Desk()
    desk.follow()
    desk.tick()
    desk.answer(refused("not_found"))
    assert desk.recorder.taken == [] and isinstance(desk.recorder.settled["a-1"], Refused)


# snapshots that are wanted later


@pytest.mark.parametrize("whole", [True, False])
def test_a_refresh_asks_again_and_holds_nothing_up(whole: bool) -> None:
    desk = Desk()
    desk.follow()
    desk.tick()
    desk.answer(snapshot(make_state()), 1_000)
    desk.joins.refresh(5_000, None if whole else make_state())
    assert desk.joins.ready and desk.joins.due_ms == 5_000
    assert len(desk.tick(5_000)) == 1 and desk.joins.ready


def test_refreshes_come_at_most_once_a_second() -> None:
    desk = Desk()
    desk.follow()
    desk.tick()
    desk.answer(snapshot(make_state()), 1_000)
    for now_ms in (1_100.0, 1_200.0):
        desk.joins.refresh(now_ms)
    assert desk.joins.due_ms == 1_000 + REFRESH_GAP_MS


def test_a_refresh_of_another_session_asks_for_nothing() -> None:
    desk = Desk()
    desk.follow()
    desk.tick()
    desk.answer(snapshot(None), 0)
    desk.joins.refresh(9_000, make_state(session_id=OTHER_SESSION_ID, script_id=OTHER_SCRIPT_ID))
    assert desk.joins.due_ms == math.inf


# following


def test_a_session_that_this_device_has_played_is_followed_by_its_script() -> None:
    desk = Desk()
    desk.joins.adopt(make_state())
    desk.joins.adopt(make_state())
    assert desk.joins.follows(make_state()) and desk.joins.ready and desk.tick() == []
    desk.joins.connected(0)
    assert desk.tick() == [{"script_id": SCRIPT_ID}]


@pytest.mark.parametrize("followed", [True, False])
def test_a_second_live_session_of_a_script_that_was_just_played_is_doubted(followed: bool) -> None:
    """A script has one: the other has ended, or the store has lost it, and nobody has told."""
    desk = Desk()
    if followed:
        desk.joins.adopt(make_state())
    lost, played = make_state(), make_state(session_id=OTHER_SESSION_ID)
    desk.sessions.take(lost)
    desk.sessions.take(played)
    desk.joins.adopt(played)
    assert desk.joins.ready and [payload["script_id"] for payload in desk.tick()] == [SCRIPT_ID]
    desk.answer(snapshot(played))
    assert [state.session_id for state in desk.sessions] == [OTHER_SESSION_ID]


@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("session", [True, False])
def test_what_another_live_session_of_its_script_has_followed_is_asked_for(session: bool, ended: bool) -> None:
    desk = Desk()
    desk.sessions.take(make_state(ended=ended))
    desk.follow(session=session)
    desk.tick()
    desk.answer(snapshot(make_state(ended=ended)))
    rival = make_state(session_id=OTHER_SESSION_ID)
    desk.sessions.take(rival)
    desk.joins.doubt_rivals(rival, 500)
    assert desk.joins.due_ms == (math.inf if ended else REFRESH_GAP_MS)


def test_a_session_that_cannot_be_joined_is_not_shown_any_more() -> None:
    desk = Desk()
    desk.sessions.take(make_state())
    desk.follow(session=True)
    desk.tick()
    desk.answer(refused("not_found"))
    assert desk.sessions.get(SESSION_ID) is None


@pytest.mark.parametrize("ack", [refused("not_found"), snapshot(make_state(revision=9))])
def test_the_answer_to_what_was_left_meanwhile_is_nobodys(ack: dict[str, Any]) -> None:
    desk = Desk()
    desk.sessions.take(make_state())
    desk.follow()
    desk.tick()
    desk.joins.unfollow(SESSION_ID)
    desk.answer(ack)
    assert desk.joins.ready and desk.recorder.told == [] and desk.recorder.taken == []


@pytest.mark.parametrize("session", [True, False])
def test_what_is_left_is_not_joined_again(session: bool) -> None:
    desk = Desk()
    desk.sessions.take(make_state())
    desk.follow(session=session)
    desk.joins.follow(OTHER_SCRIPT_ID, None, None, 0)
    desk.joins.unfollow(SESSION_ID)
    assert isinstance(desk.recorder.settled["a-1"], Stopped)
    assert desk.tick() == [{"script_id": OTHER_SCRIPT_ID}]


def test_leaving_a_session_that_is_not_known_leaves_the_others() -> None:
    desk = Desk()
    desk.follow()
    desk.joins.unfollow(OTHER_SESSION_ID)
    assert desk.tick() == [{"script_id": SCRIPT_ID}]


def test_when_the_client_ends_whoever_waits_for_a_snapshot_is_told() -> None:
    desk = Desk()
    desk.follow()
    stopped = Stopped("over")
    desk.joins.stop(stopped)
    desk.joins.stop(stopped)
    assert desk.recorder.settled == {"a-1": stopped}
