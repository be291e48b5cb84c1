"""What the server tells of its own accord, and what becomes of it."""

from typing import Any

import pytest

from playhead.client.core import wishes
from playhead.client.core.events import (
    DevicesChanged,
    Prepared,
    ServerEvent,
    SessionEnded,
    SessionStarted,
    StateChanged,
)
from playhead.client.core.server_time import BURST_GAP_MS
from tests.unit.client.core.driven import Driven
from tests.unit.client.core.recording import (
    NOW_MS,
    OTHER_SCRIPT_ID,
    OTHER_SESSION_ID,
    SCRIPT_ID,
    SESSION_ID,
    make_state,
    refused,
    wire,
)

# states


def test_states_are_taken_by_their_order_wherever_they_come_from(phone: Driven) -> None:
    phone.hear_state(make_state(revision=7, position=7.0))
    phone.hear_state(make_state(revision=6, position=6.0))
    phone.hear_state(make_state(revision=7, position=0.0))
    assert phone.told == [StateChanged(state=make_state(revision=7, position=7.0))]
    assert phone.core.state(SESSION_ID) == make_state(revision=7, position=7.0)


def test_after_a_gap_a_snapshot_is_asked_for(phone: Driven) -> None:
    phone.advance(5_000 - BURST_GAP_MS)
    phone.hear_state(make_state(revision=6))
    assert phone.waiting("join") == []
    phone.hear_state(make_state(revision=8))
    assert [payload["seen"] for payload in phone.waiting("join")] == [{"epoch": 7, "revision": 8}]


def test_of_two_live_sessions_of_a_script_a_snapshot_tells_which_is_over(phone: Driven) -> None:
    """The end of the first one was lost on its way."""
    phone.advance(5_000)
    begun = make_state(session_id=OTHER_SESSION_ID, revision=1)
    phone.hear_state(begun)
    assert len(phone.waiting("join")) == 1
    phone.snapshot(begun)
    assert phone.core.state(SESSION_ID) is None and phone.core.state(OTHER_SESSION_ID) == begun
    phone.advance(5_000)
    assert phone.waiting("join") == []


def test_a_session_that_follows_one_that_has_ended_asks_for_nothing(phone: Driven) -> None:
    phone.advance(5_000)
    phone.hear_state(make_state(revision=6, ended=True))
    phone.hear_state(make_state(session_id=OTHER_SESSION_ID, revision=1))
    assert phone.waiting("join") == []


def test_a_gap_that_an_own_command_will_fill_is_none(phone: Driven) -> None:
    phone.advance(4_000)
    phone.press()
    phone.hear_state(make_state(revision=7))
    assert phone.waiting("join") == []


def test_a_new_epoch_makes_every_snapshot_due(phone: Driven) -> None:
    phone.core.follow(phone.now_ms, script_id=OTHER_SCRIPT_ID)
    phone.take()
    phone.snapshot(None)
    phone.advance(2_000)
    phone.hear_state(make_state(epoch=8, revision=6))
    assert [payload["script_id"] for payload in phone.waiting("join")] == [SCRIPT_ID, OTHER_SCRIPT_ID]


def test_a_session_that_the_server_knows_no_longer_is_asked_for_and_forgotten(phone: Driven) -> None:
    phone.advance(2_000)
    phone.press()
    phone.answer("seek", refused("not_found"))
    phone.snapshot(None)
    assert phone.core.state(SESSION_ID) is None


def test_what_nobody_follows_is_forgotten_when_it_is_doubted(phone: Driven) -> None:
    phone.hear_state(make_state(session_id=OTHER_SESSION_ID, script_id=OTHER_SCRIPT_ID))
    phone.press(wishes.seek(OTHER_SESSION_ID, 1.0))
    phone.answer("seek", refused("not_found"))
    assert phone.core.state(OTHER_SESSION_ID) is None
    phone.press(wishes.seek("never heard of", 1.0))
    phone.answer("seek", refused("not_found"))
    assert phone.waiting("join") == []


def test_a_play_that_may_have_been_done_and_is_given_up_makes_every_snapshot_due(phone: Driven) -> None:
    phone.advance(2_000)
    phone.press(wishes.play(script_id=OTHER_SCRIPT_ID), patience_ms=100)
    phone.answer("play", refused("unavailable", retry=True))
    phone.advance(200)
    assert [payload["script_id"] for payload in phone.waiting("join")] == [SCRIPT_ID]


def test_a_play_that_was_given_up_before_its_answer_came_makes_every_snapshot_due(phone: Driven) -> None:
    phone.advance(2_000)
    phone.press(wishes.play(script_id=OTHER_SCRIPT_ID), patience_ms=100)
    phone.advance(200)
    assert phone.waiting("join") == []
    phone.answer("play", refused("unavailable", retry=True))
    assert [payload["script_id"] for payload in phone.waiting("join")] == [SCRIPT_ID]


def test_a_resync_makes_every_snapshot_due(phone: Driven) -> None:
    phone.advance(2_000)
    phone.hear("resync", {})
    assert len(phone.waiting("join")) == 1
    phone.snapshot(make_state(revision=9))
    assert phone.core.state(SESSION_ID) == make_state(revision=9)


@pytest.mark.parametrize("data", [None, {"session_id": SESSION_ID}])
def test_an_event_that_cannot_be_read_is_made_up_for_by_a_snapshot(phone: Driven, data: Any) -> None:
    phone.advance(2_000)
    phone.hear("state", data)
    assert len(phone.waiting("join")) == 1 and phone.core.line.open


# other events


def devices(version: int, *ids: str, epoch: int = 7) -> dict[str, Any]:
    rows = [{"id": each, "name": each, "kind": "desktop", "connected_at": NOW_MS} for each in ids]
    return {"devices": rows, "devices_order": {"epoch": epoch, "version": version}}


def test_the_devices_are_told_when_they_change(phone: Driven) -> None:
    for _ in range(2):
        phone.hear("devices", devices(2, "desk"))
    (told,) = phone.told
    assert isinstance(told, DevicesChanged) and told.devices == phone.core.devices
    assert [device.id for device in phone.core.devices] == ["desk"]


@pytest.mark.parametrize(("version", "epoch"), [(6, 7), (7, 7), (9, 6)])
def test_a_list_of_devices_that_comes_late_is_dropped_whether_as_an_event_or_in_a_snapshot(
    phone: Driven, version: int, epoch: int
) -> None:
    phone.hear("devices", devices(7, "desk"))
    phone.told.clear()
    late = devices(version, "desk", "gone", epoch=epoch)
    phone.hear("devices", late)
    phone.advance(2_000)
    phone.hear("resync", {"reason": "gap"})
    phone.snapshot(None, **late)
    assert [device.id for device in phone.core.devices] == ["desk"]
    assert not any(isinstance(event, DevicesChanged) for event in phone.told)
    phone.hear("devices", devices(1, "phone", epoch=8))
    assert [device.id for device in phone.core.devices] == ["phone"]


def test_a_session_that_starts_elsewhere_is_told_and_known(phone: Driven) -> None:
    state = make_state(session_id=OTHER_SESSION_ID, script_id=OTHER_SCRIPT_ID, revision=1)
    phone.hear("session_started", {"session_id": OTHER_SESSION_ID, "script_id": OTHER_SCRIPT_ID, "state": wire(state)})
    started = SessionStarted(session_id=OTHER_SESSION_ID, script_id=OTHER_SCRIPT_ID, state=state)
    assert phone.told == [started, StateChanged(state=state)]


@pytest.mark.parametrize(("held_ended", "asked"), [(False, 1), (True, 0)])
def test_the_end_of_a_session_is_told_and_its_last_state_asked_for_if_it_is_missing(
    phone: Driven, held_ended: bool, asked: int
) -> None:
    phone.advance(2_000)
    if held_ended:
        phone.hear_state(make_state(revision=6, ended=True))
    phone.told.clear()
    ids = {"session_id": SESSION_ID, "script_id": SCRIPT_ID}
    phone.hear("session_ended", {**ids, "reason": "idle", "position": 12.5})
    assert phone.told == [SessionEnded(**ids, reason="idle", position=12.5)]
    assert len(phone.waiting("join")) == asked


def test_the_end_of_a_session_that_is_not_known_is_only_told(phone: Driven) -> None:
    phone.advance(2_000)
    fields = {"session_id": OTHER_SESSION_ID, "script_id": OTHER_SCRIPT_ID, "reason": "idle", "position": 0.0}
    phone.hear("session_ended", fields)
    assert len(phone.told) == 1 and phone.waiting("join") == []


def test_events_that_this_client_does_not_know_are_passed_on(phone: Driven) -> None:
    phone.hear("bookmark", {"bookmark_id": "b-1"})
    assert phone.told == [ServerEvent(name="bookmark", data={"bookmark_id": "b-1"})]


def test_how_far_a_script_is_prepared_is_told(phone: Driven) -> None:
    data: dict[str, Any] = {
        "script_id": SCRIPT_ID,
        "status": "processing",
        "progress": 0.25,
        "duration": 60.0,
        "media_version": "v",
    }
    phone.hear("prepare", {**data, "new": 1})
    assert phone.told == [Prepared(**data)]
