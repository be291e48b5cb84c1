"""What is sent again and what is not, and how each command ends."""

from typing import Any

import pytest

from playhead.client.core.commands import RETRY_MS_MAX, RETRY_MS_MIN
from playhead.client.core.errors import Refused, Stopped, Unanswered
from tests.unit.client.core.commanded import Desk
from tests.unit.client.core.recording import (
    OTHER_SCRIPT_ID,
    OTHER_SESSION_ID,
    SCRIPT_ID,
    SESSION_ID,
    accepted,
    make_state,
    refused,
)


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


# patience


def test_a_command_that_was_never_sent_is_known_not_to_be_done() -> None:
    desk = Desk()
    desk.add("c-1", give_up_ms=100)
    desk.tick(99, usable=False)
    assert desk.recorder.settled == {}
    desk.tick(100, usable=False)
    assert isinstance(desk.outcome, Unanswered) and not desk.outcome.sent
    assert (desk.outcome.event, "It was not sent" in str(desk.outcome)) == ("seek", True)


@pytest.mark.parametrize("lost", [False, True])
def test_a_command_without_an_answer_may_be_done(lost: bool) -> None:
    desk = Desk()
    desk.add("c-1", give_up_ms=100)
    desk.tick()
    if lost:
        desk.commands.lost()
    desk.tick(100, usable=False)
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
