"""The order of commands, what is sent again and what is not, and how each command ends."""

import math
from typing import Any

import pytest

from playhead.client.core.commands import COMMANDS_MAX, RETRIES_MAX, RETRY_MS_MAX, RETRY_MS_MIN, Commands, Underway
from playhead.client.core.errors import Refused, Stopped, Unanswered
from playhead.client.core.offline import OfflineLog, OpenLogs
from playhead.client.core.prediction import Press
from playhead.client.core.sessions import Sessions
from playhead.client.core.wire import Accepted, Played, State
from playhead.playback.commands import Pause
from tests.unit.client.core.recording import (
    NOW_MS,
    OTHER_SCRIPT_ID,
    OTHER_SESSION_ID,
    SCRIPT_ID,
    SESSION_ID,
    Recorder,
    accepted,
    make_state,
    refused,
    wire,
)

PATIENCE_MS = 1_000_000.0


class Desk:
    """Commands on a session at revision 5 of epoch 7, and what they send."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.sessions = Sessions()
        self.sessions.take(make_state())
        self.played: list[State] = []
        self.logs = OpenLogs()
        self.commands = Commands(self.sessions, self.logs, self.recorder.hands, self.played.append)

    def add(self, command_id: str, lane: str = SESSION_ID, event: str = "seek", **fields: Any) -> None:
        given: dict[str, Any] = {"session_id": lane, "position": 1.0}
        underway = {"payload": given, "answer": Accepted, "press": None, "give_up_ms": PATIENCE_MS, **fields}
        self.commands.add(Underway(command_id=command_id, event=event, lane=lane, **underway))

    def tick(self, now_ms: float = 0, ready: bool = True) -> list[str]:
        """The ids of the commands that are sent now."""
        before = len(self.recorder.asked)
        self.commands.tick(now_ms, ready)
        return [asked.payload["command_id"] for asked in self.recorder.asked[before:]]

    def answer(self, ack: Any, now_ms: float = 0) -> None:
        self.recorder.answer(ack, now_ms)

    @property
    def outcome(self) -> Any:
        (outcome,) = self.recorder.settled.values()
        return outcome


def test_a_command_is_sent_under_its_id_and_its_ack_is_the_answer() -> None:
    desk = Desk()
    desk.add("c-1")
    assert desk.tick() == ["c-1"] and desk.tick() == []
    asked = desk.recorder.asked[0]
    assert (asked.event, asked.payload) == (
        "seek",
        {"session_id": SESSION_ID, "position": 1.0, "command_id": "c-1"},
    )
    after = make_state(revision=6)
    desk.answer(accepted(after))
    assert desk.outcome == Accepted(state=after, server_time=NOW_MS)
    assert desk.recorder.taken == [after] and not desk.commands.busy(SESSION_ID)


def test_commands_of_one_session_go_one_after_the_other_and_sessions_side_by_side() -> None:
    desk = Desk()
    for command_id, lane in (("a-1", SESSION_ID), ("a-2", SESSION_ID), ("b-1", OTHER_SESSION_ID)):
        desk.add(command_id, lane)
    assert desk.tick() == ["a-1", "b-1"]
    desk.answer(accepted(make_state(revision=6)))
    assert desk.tick() == ["a-2"]


def test_nothing_is_sent_before_the_line_is_ready() -> None:
    desk = Desk()
    desk.add("c-1")
    assert desk.tick(ready=False) == [] and desk.commands.due_ms(ready=False) == PATIENCE_MS
    assert desk.commands.due_ms(ready=True) == -math.inf
    assert desk.tick() == ["c-1"] and desk.commands.due_ms(ready=True) == PATIENCE_MS


def test_a_refusal_is_raised_with_the_state_that_won_and_shows_it() -> None:
    desk = Desk()
    desk.add("c-1")
    desk.tick()
    desk.answer(refused("conflict", state=wire(make_state(revision=9)), reported=3.5))
    assert isinstance(desk.outcome, Refused)
    assert (desk.outcome.code, desk.outcome.message, desk.outcome.retry) == ("conflict", "conflict!", False)
    assert desk.outcome.state == make_state(revision=9) and desk.outcome.reported == 3.5
    assert desk.recorder.taken == [make_state(revision=9)]


def test_a_refusal_that_says_retry_is_followed_by_the_same_again_after_growing_waits() -> None:
    desk = Desk()
    desk.add("c-1")
    now_ms, waits = 0.0, []
    for _ in range(RETRIES_MAX):
        assert desk.tick(now_ms) == ["c-1"]
        desk.answer(refused("overloaded", retry=True), now_ms)
        due_ms = desk.commands.due_ms(ready=True)
        assert desk.tick(due_ms - 1) == []
        waits.append(due_ms - now_ms)
        now_ms = due_ms
    assert waits[:3] == [RETRY_MS_MIN, 2 * RETRY_MS_MIN, 4 * RETRY_MS_MIN] and waits[-1] == RETRY_MS_MAX
    assert desk.tick(now_ms) == ["c-1"]
    desk.answer(refused("overloaded", retry=True), now_ms)
    assert isinstance(desk.outcome, Refused) and desk.outcome.code == "overloaded" and desk.outcome.retry


def test_a_later_command_does_not_overtake_one_that_waits_to_be_sent_again() -> None:
    desk = Desk()
    desk.add("c-1")
    desk.add("c-2")
    desk.tick()
    desk.answer(refused("unavailable", retry=True))
    assert desk.tick(1) == []
    assert desk.tick(RETRY_MS_MIN) == ["c-1"]


def test_the_server_may_ask_for_a_longer_wait() -> None:
    desk = Desk()
    desk.add("c-1")
    desk.tick()
    desk.answer(refused("overloaded", retry=True, retry_after_ms=9_000), 100)
    assert desk.commands.due_ms(ready=True) == 9_100


def test_after_a_lost_connection_what_was_not_answered_is_sent_again_under_the_same_id_and_in_order() -> None:
    desk = Desk()
    for number in range(3):
        desk.add(f"c-{number}")
    desk.tick()
    desk.commands.lost()
    desk.recorder.asked.clear()
    assert desk.tick(50) == ["c-0"]
    assert desk.recorder.asked[0].payload == {"session_id": SESSION_ID, "position": 1.0, "command_id": "c-0"}
    desk.answer(accepted(make_state(revision=6)))
    assert desk.tick(60) == ["c-1"]


def test_the_answer_to_a_repeat_is_as_it_was_the_first_time_and_is_doubted() -> None:
    desk = Desk()
    desk.add("c-1")
    desk.tick()
    desk.commands.lost()
    desk.recorder.asked.clear()
    desk.tick(50)
    desk.answer(accepted(make_state(revision=6)))
    assert desk.recorder.doubted == [SESSION_ID]
    desk.add("c-2")
    desk.tick(60)
    desk.answer(accepted(make_state(revision=7)))
    assert desk.recorder.doubted == [SESSION_ID]


def test_the_answer_after_one_that_said_retry_may_be_the_first_one_and_is_doubted() -> None:
    desk = Desk()
    desk.add("c-1")
    desk.tick()
    desk.answer(refused("unavailable", retry=True), 0)
    desk.tick(RETRY_MS_MAX)
    desk.answer(accepted(make_state(revision=6)))
    assert desk.recorder.doubted == [SESSION_ID]


@pytest.mark.parametrize(
    ("payload", "doubted"), [({"session_id": SESSION_ID}, [SESSION_ID]), ({"script_id": SCRIPT_ID}, [None])]
)
def test_a_command_that_is_given_up_after_it_may_have_been_done_casts_doubt(
    payload: dict[str, str], doubted: list[str | None]
) -> None:
    desk = Desk()
    desk.add("c-1", give_up_ms=100, payload=payload)
    desk.tick()
    desk.answer(refused("unavailable", retry=True), 0)
    desk.tick(100)
    assert desk.recorder.doubted == doubted


@pytest.mark.parametrize(
    ("payload", "doubted"), [({"session_id": SESSION_ID}, [SESSION_ID]), ({"script_id": SCRIPT_ID}, [None])]
)
def test_a_command_whose_answer_says_retry_after_it_was_given_up_casts_doubt(
    payload: dict[str, str], doubted: list[str | None]
) -> None:
    desk = Desk()
    desk.add("c-1", give_up_ms=100, payload=payload)
    desk.tick()
    desk.tick(100)
    assert isinstance(desk.outcome, Unanswered) and desk.recorder.doubted == []
    desk.answer(refused("unavailable", retry=True), 400)
    assert desk.recorder.doubted == doubted
    assert desk.tick(RETRY_MS_MAX) == []


def test_a_command_that_is_refused_for_good_after_it_was_given_up_casts_no_doubt() -> None:
    desk = Desk()
    desk.add("c-1", give_up_ms=100)
    desk.tick()
    desk.tick(100)
    desk.answer(refused("conflict"), 400)
    assert desk.recorder.doubted == []


def test_a_session_that_the_server_does_not_know_is_doubted() -> None:
    desk = Desk()
    desk.add("c-1")
    desk.tick()
    desk.answer(refused("not_found"))
    assert desk.recorder.doubted == [SESSION_ID] and isinstance(desk.outcome, Refused)


def test_a_wait_before_another_try_ends_with_the_connection() -> None:
    desk = Desk()
    desk.add("c-1")
    desk.tick()
    desk.answer(refused("unavailable", retry=True), 0)
    desk.commands.lost()
    assert desk.tick(1) == ["c-1"]


@pytest.mark.parametrize("given", [None, 3])
@pytest.mark.parametrize("target", [{"session_id": SESSION_ID}, {"script_id": SCRIPT_ID}])
def test_in_a_new_epoch_a_repeat_is_done_only_if_nothing_has_moved(target: dict[str, str], given: int | None) -> None:
    # the first answer may be lost with the old life of the store, and what it did may not
    desk = Desk()
    expected = {} if given is None else {"expected_revision": given}
    desk.add("c-1", payload={**target, "position": 1.0, **expected})
    desk.tick()
    desk.commands.lost()
    desk.recorder.asked.clear()
    desk.sessions.take(make_state(epoch=8, revision=6))
    desk.tick(10)
    assert desk.recorder.asked[0].payload["expected_revision"] == (5 if given is None else given)


@pytest.mark.parametrize(
    ("code", "guard"), [("unavailable", 5), ("internal", 5), ("overloaded", None), ("script_not_ready", None)]
)
@pytest.mark.parametrize("lost", [False, True])
def test_in_a_new_epoch_what_was_answered_is_guarded_where_it_may_have_been_done_all_the_same(
    code: str, guard: int | None, lost: bool
) -> None:
    desk = Desk()
    desk.add("c-1")
    desk.tick()
    desk.answer(refused(code, retry=True), 0)
    if lost:
        desk.commands.lost()
    desk.sessions.take(make_state(epoch=8, revision=6))
    desk.tick(RETRY_MS_MIN)
    assert desk.recorder.asked[0].payload.get("expected_revision") == guard


def test_the_guard_is_what_was_held_when_it_was_first_sent_so_that_it_may_have_been_done() -> None:
    desk = Desk()
    desk.add("c-1")
    desk.tick()
    desk.answer(refused("overloaded", retry=True), 0)
    desk.sessions.take(make_state(epoch=8, revision=6))
    for now_ms, epoch, revision in ((RETRY_MS_MIN, 9, 8), (RETRY_MS_MIN + 1, 10, 9)):
        desk.tick(now_ms)
        desk.commands.lost()
        desk.sessions.take(make_state(epoch=epoch, revision=revision))
    desk.tick(RETRY_MS_MIN + 2)
    assert [asked.payload.get("expected_revision") for asked in desk.recorder.asked] == [None, 6, 6]


def test_a_command_that_is_refused_until_the_end_ends_with_the_refusal_though_it_may_have_been_done() -> None:
    desk = Desk()
    desk.add("c-1", give_up_ms=100)
    desk.tick()
    desk.answer(refused("unavailable", retry=True), 0)
    desk.sessions.take(make_state(epoch=8))
    desk.tick(100)
    assert isinstance(desk.outcome, Refused)


def test_what_was_not_sent_before_the_new_epoch_is_sent_as_it_is() -> None:
    desk = Desk()
    desk.add("c-1")
    desk.add("c-2")
    desk.tick()
    desk.sessions.take(make_state(epoch=8))
    desk.answer(accepted(make_state(epoch=8, revision=6)), 20)
    desk.tick(20)
    assert "expected_revision" not in desk.recorder.asked[0].payload


@pytest.mark.parametrize("payload", [{"script_id": OTHER_SCRIPT_ID}, {"session_id": "unknown"}])
def test_a_repeat_for_a_session_that_was_not_known_is_sent_as_it_is(payload: dict[str, Any]) -> None:
    desk = Desk()
    desk.add("c-1", "lane", payload=payload)
    desk.tick()
    desk.commands.lost()
    desk.recorder.asked.clear()
    desk.sessions.take(make_state(epoch=8, script_id=OTHER_SCRIPT_ID, session_id="unknown"))
    desk.tick(10)
    assert "expected_revision" not in desk.recorder.asked[0].payload


def test_a_batch_that_is_told_again_has_its_base_and_no_other_guard() -> None:
    desk = Desk()
    desk.add("c-1", event="offline", payload={"script_id": SCRIPT_ID, "intervals": [], "position": 1.0})
    desk.tick()
    desk.commands.lost()
    desk.recorder.asked.clear()
    desk.sessions.take(make_state(epoch=8))
    desk.tick(10)
    assert "expected_revision" not in desk.recorder.asked[0].payload


def test_a_play_is_answered_with_its_stream_and_its_session_is_passed_on() -> None:
    desk = Desk()
    desk.add("c-1", SCRIPT_ID, "play", payload={"script_id": SCRIPT_ID}, answer=Played)
    desk.tick()
    desk.answer(accepted(make_state(), created=True, stream_url="u", stream_expires_at=NOW_MS))
    assert isinstance(desk.outcome, Played) and desk.outcome.stream_url == "u"
    assert desk.played == [make_state()]


# patience


def test_a_command_that_was_never_sent_is_known_not_to_be_done() -> None:
    desk = Desk()
    desk.add("c-1", give_up_ms=100)
    desk.tick(99, ready=False)
    assert desk.recorder.settled == {}
    desk.tick(100, ready=False)
    assert isinstance(desk.outcome, Unanswered) and not desk.outcome.sent
    assert (desk.outcome.event, "It was not sent" in str(desk.outcome)) == ("seek", True)


@pytest.mark.parametrize("lost", [False, True])
def test_a_command_without_an_answer_may_be_done(lost: bool) -> None:
    desk = Desk()
    desk.add("c-1", give_up_ms=100)
    desk.tick()
    if lost:
        desk.commands.lost()
    desk.tick(100, ready=False)
    assert isinstance(desk.outcome, Unanswered) and desk.outcome.sent and "may have been done" in str(desk.outcome)


def test_a_command_that_is_refused_until_the_end_ends_with_the_refusal() -> None:
    desk = Desk()
    desk.add("c-1", give_up_ms=100)
    desk.tick()
    desk.answer(refused("unavailable", retry=True))
    desk.tick(100)
    assert isinstance(desk.outcome, Refused) and desk.outcome.code == "unavailable"


def test_a_command_that_was_refused_and_then_not_answered_may_be_done() -> None:
    desk = Desk()
    desk.add("c-1", give_up_ms=400)
    desk.tick()
    desk.answer(refused("unavailable", retry=True))
    assert desk.tick(RETRY_MS_MIN) == ["c-1"]
    desk.tick(400)
    assert isinstance(desk.outcome, Unanswered) and desk.outcome.sent


def test_a_late_answer_still_tells_the_state_and_settles_nothing_twice() -> None:
    desk = Desk()
    desk.add("c-1", give_up_ms=100)
    desk.add("c-2")
    desk.tick()
    assert desk.tick(100) == ["c-2"]
    desk.answer(accepted(make_state(revision=6)))
    assert desk.recorder.taken == [make_state(revision=6)] and list(desk.recorder.settled) == ["c-1"]


def test_when_the_client_ends_every_command_is_told() -> None:
    desk = Desk()
    desk.add("c-1")
    desk.add("c-2")
    desk.add("c-3", OTHER_SESSION_ID)
    desk.tick()
    stopped = Stopped("over")
    desk.commands.stop(stopped)
    assert desk.recorder.settled == {"c-1": stopped, "c-2": stopped, "c-3": stopped}
    assert list(desk.commands) == []


def test_the_number_of_commands_under_way_is_bounded() -> None:
    desk = Desk()
    for number in range(COMMANDS_MAX):
        desk.add(f"c-{number}")
    assert desk.recorder.settled == {}
    desk.add("one more")
    outcome = desk.recorder.settled["one more"]
    assert isinstance(outcome, Refused) and outcome.code == "overloaded" and outcome.retry
    assert len(list(desk.commands)) == COMMANDS_MAX


# what was played without a connection


def test_what_was_pressed_while_the_sound_played_on_waits_until_that_is_told() -> None:
    desk = Desk()
    log = OfflineLog(make_state())
    desk.add("before")
    desk.logs.open(log)
    desk.add("meanwhile", behind=log)
    batch: dict[str, Any] = {"event": "offline", "payload": {"script_id": SCRIPT_ID}}
    desk.add("batch 1", **batch)
    desk.add("batch 2", **batch)
    sent = []
    for now_ms in range(3):
        sent += desk.tick(now_ms)
        desk.answer(accepted(make_state(revision=6 + now_ms)), now_ms)
    assert sent == ["before", "batch 1", "batch 2"]
    assert desk.tick(4) == [] and desk.commands.due_ms(ready=True) == PATIENCE_MS
    desk.logs.close(log)
    assert desk.commands.due_ms(ready=True) == -math.inf and desk.tick(4) == ["meanwhile"]


def test_a_log_that_is_told_again_does_not_overtake_a_command_under_way() -> None:
    desk = Desk()
    log = OfflineLog(make_state())
    desk.add("meanwhile", behind=log)
    assert desk.tick() == ["meanwhile"]
    desk.logs.open(log)
    desk.add("batch", event="offline", payload={"script_id": SCRIPT_ID})
    assert desk.tick() == []
    desk.answer(accepted(make_state(revision=6)))
    assert desk.tick() == ["batch"]


# prediction


def test_what_is_under_way_is_predicted_until_a_state_that_it_caused_is_held() -> None:
    desk = Desk()
    first, second = Press(Pause(), NOW_MS), Press(Pause(), NOW_MS + 1)
    desk.add("c-1", press=first)
    desk.add("c-2", press=None)
    desk.add("c-3", press=second)
    assert desk.commands.presses(SESSION_ID) == [first, second]
    assert desk.commands.presses(OTHER_SESSION_ID) == []
    desk.commands.confirm(None)
    desk.commands.confirm("c-1")
    assert desk.commands.presses(SESSION_ID) == [second]
