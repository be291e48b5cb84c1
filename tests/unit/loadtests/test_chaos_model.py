"""What the faults are judged by: the model counts what lies between acked places, and knows what may be missing."""

import itertools
import uuid
from typing import Any

import pytest
from msgspec.structs import replace

from loadtests.chaos.checks import against_rows, against_store, is_back
from loadtests.chaos.model import HEARD, replay
from loadtests.chaos.record import Asked, Loss, Payload, Record, SessionRecord, order_of
from playhead.playback.state import Interval
from playhead.sessions.codec import state_payload
from playhead.sessions.keys import partition_of
from tests.support.states import LISTENER_ID, NOW_MS, SESSION_ID, make_loop, make_state

EPOCH = 7


class Story:
    """One session, told step by step as clients would have learned it."""

    def __init__(self, **fields: Any) -> None:
        self.record = Record()
        self.state = make_state(epoch=EPOCH, revision=1, played_ms=0, **fields)
        self._seqs = itertools.count(1)
        self.record.told(self._payload("play", None), LISTENER_ID)

    @property
    def session(self) -> SessionRecord:
        return self.record.sessions[SESSION_ID]

    @property
    def heard(self) -> list[Interval]:
        """What the model says was listened to."""
        row, found, at = replay(self.session).listened, [], 0
        while (start := row.find(HEARD, at)) >= 0:
            at = row.find(0, start)
            found.append((start, at))
        return found

    def command(self, event: str, payload: Payload, **fields: Any) -> Asked:
        """An accepted command, and the state that it made."""
        command_id = str(uuid.uuid4())
        self.state = replace(self.state, **{"revision": self.state.revision + 1, **fields})
        asked = self.record.begin(LISTENER_ID, "phone", event, {**payload, "command_id": command_id})
        asked.sends = 1
        self.record.finish(asked, {"ok": True, "state": self._payload(event, command_id)})
        return asked

    def report(self, place_ms: int, total_ms: int, *, sends: int = 1) -> None:
        """A report that was taken and changed nothing that devices see."""
        payload = {"session_id": SESSION_ID, "position": place_ms / 1000, "revision": self.state.revision}
        asked = self.record.begin(LISTENER_ID, "phone", "progress", {**payload, "seq": next(self._seqs)})
        asked.sends = sends
        ack = {"ok": True, "state": {**state_payload(self.state)}, "total_listened": total_ms / 1000}
        self.record.finish(asked, ack)

    def _payload(self, event: str, command_id: str | None) -> Payload:
        cause = {"command": event, "device_id": "phone", "command_id": command_id}
        return {**state_payload(self.state), "cause": cause}


def test_what_lies_between_acked_places_is_heard_and_what_a_jump_skips_is_not() -> None:
    story = Story(position_ms=10_000)
    story.report(12_000, 2_000)
    story.command("seek", {"position": 50.0, "from": 13.0}, position_ms=50_000)
    story.report(51_000, 4_000)
    story.command("rate", {"rate": 2.0}, position_ms=51_500, rate=2.0)
    story.report(52_000, 5_000)
    story.command("pause", {"position": 53.0}, position_ms=53_000, playing=False)
    story.command("play", {}, playing=True)
    assert story.heard == [(10_000, 13_000), (50_000, 53_000)]


def test_the_way_leads_over_the_loops_end() -> None:
    story = Story(position_ms=58_000, loop=make_loop(10_000, 60_000))
    story.report(11_000, 3_000)
    assert story.heard == [(10_000, 11_000), (58_000, 60_000)]


def test_another_loop_after_a_turn_begins_the_way_anew() -> None:
    story = Story(position_ms=190_000, loop=make_loop(60_000, 190_500))
    loop = make_loop(50_000, 200_000)
    asked_ms = NOW_MS + 10_500
    story.command("loop", {}, position_ms=70_000, anchored_at_ms=asked_ms, loop=loop)
    story.report(71_000, 1_000)
    assert story.heard == [(70_000, 71_000)]


def test_a_device_that_lags_more_has_not_been_round_the_loop() -> None:
    story = Story(position_ms=60_000, loop=make_loop(60_000, 190_000))
    story.report(60_200, 200)
    story.command("play", {"device_id": "desk"}, active_device_id="desk")
    story.report(60_100, 200)
    story.report(60_300, 300)
    assert story.heard == [(60_000, 60_300)]


def test_a_place_told_by_a_device_that_does_not_sound_is_not_heard() -> None:
    story = Story(position_ms=10_000, active_device_id="desk")
    story.command("seek", {"position": 50.0, "from": 13.0}, position_ms=50_000)
    assert story.heard == []


@pytest.mark.parametrize(("listened", "wrong"), [(((10_000, 12_000),), 0), (((10_000, 12_001),), 1), ((), 1)])
def test_listened_time_is_right_to_the_millisecond(listened: tuple[Interval, ...], wrong: int) -> None:
    story = Story(position_ms=10_000)
    story.report(12_000, 2_000)
    stored = replace(story.state, listened=listened)
    assert len(against_store(story.session, stored, story.record)) == wrong


def test_a_report_that_was_told_another_sum_is_found() -> None:
    story = Story(position_ms=10_000)
    story.report(12_000, 2_001)
    stored = replace(story.state, listened=((10_000, 12_000),))
    (wrong,) = against_store(story.session, stored, story.record)
    assert "was told 2001 ms, not 2000" in wrong


def test_more_played_than_lies_between_the_places_is_found() -> None:
    story = Story(position_ms=10_000)
    story.report(12_000, 2_000)
    stored = replace(story.state, listened=((10_000, 12_000),), played_ms=2_001)
    (wrong,) = against_store(story.session, stored, story.record)
    assert "played 2001 ms" in wrong


def test_a_revision_that_nobody_was_told_is_a_hole_unless_a_repeated_report_has_made_it() -> None:
    story = Story(position_ms=10_000)
    before = story.state
    story.command("rate", {"rate": 2.0}, rate=2.0, revision=before.revision + 2)
    assert replay(story.session).holes == [2]
    again = Story(position_ms=10_000)
    again.report(12_000, 2_000, sends=2)
    again.command("rate", {"rate": 2.0}, rate=2.0, position_ms=12_000, revision=before.revision + 2)
    assert replay(again.session).holes == []


@pytest.mark.parametrize(("died_after_s", "sends", "wrong"), [(0.0, 2, 0), (0.0, 1, 1), (-1.0, 2, 1), (9.0, 2, 1)])
def test_a_hole_is_excused_by_a_command_whose_answer_the_store_has_lost(
    died_after_s: float, sends: int, wrong: int
) -> None:
    story = Story(position_ms=10_000)
    asked = story.record.begin(LISTENER_ID, "phone", "seek", {"session_id": SESSION_ID, "command_id": "lost"})
    asked.sends, revision = sends, story.state.revision
    story.command("rate", {"rate": 2.0}, rate=2.0, revision=revision + 2)
    story.record.finish(asked, {"ok": False, "error": {"code": "conflict", "message": "", "retry": False}})
    died_at_s = asked.asked_at_s + died_after_s
    story.record.losses.append(Loss(since_s=died_at_s - 2.0, died_at_s=died_at_s, until_s=died_at_s + 0.5, epochs={}))
    told = against_store(story.session, story.state, story.record)
    assert [text for text in told if "nobody was told" in text] == [
        f"{SESSION_ID}: nobody was told of revision 2"
    ] * wrong


def test_a_state_that_was_told_but_is_not_stored_is_found() -> None:
    story = Story(position_ms=10_000)
    stored = story.state
    story.command("seek", {"position": 50.0}, position_ms=50_000)
    assert any(
        "told (7, 2), but stored is (7, 1)" in text for text in against_store(story.session, stored, story.record)
    )


def test_two_states_of_one_revision_contradict_each_other() -> None:
    story = Story(position_ms=10_000)
    story.record.told({**state_payload(story.state), "position": 11.0}, LISTENER_ID)
    assert len(story.record.contradictions) == 1


def test_each_acked_seek_is_in_the_history_once() -> None:
    story = Story(position_ms=10_000)
    story.command("seek", {"position": 50.0}, position_ms=50_000)
    row = {"cause": "seek", "epoch": EPOCH, "revision": 2, "from_ms": 10_000, "to_ms": 50_000}

    def wrong(*history: Payload) -> int:
        return len(against_rows(story.session, story.state, story.state, history, story.record))

    assert wrong(row) == 0
    assert wrong() == 1
    assert wrong({**row, "to_ms": 50_001}) == 1
    assert wrong(row, {**row, "revision": 3}) == 1


@pytest.mark.parametrize(("acked_before_s", "wrong"), [(1.9, 0), (2.1, 1)])
def test_a_lossy_store_is_excused_for_the_last_2_s_alone(acked_before_s: float, wrong: int) -> None:
    story = Story(position_ms=10_000)
    asked = story.command("seek", {"position": 50.0}, position_ms=50_000)
    died_at_s = asked.answered_at_s + acked_before_s
    later = {partition_of(LISTENER_ID): EPOCH + 1}
    story.record.losses.append(
        Loss(since_s=died_at_s - 2.0, died_at_s=died_at_s, until_s=died_at_s + 0.5, epochs=later)
    )
    kept = replace(story.state, epoch=EPOCH + 1, revision=1, position_ms=10_000)
    assert len(against_rows(story.session, kept, kept, (), story.record)) == wrong
    assert len(story.record.lost) == 1 - wrong


def test_what_the_stores_new_life_has_acked_is_not_excused() -> None:
    story = Story(position_ms=10_000)
    asked = story.command("seek", {"position": 50.0}, position_ms=50_000)
    epochs = {partition_of(LISTENER_ID): EPOCH}
    loss = Loss(
        since_s=asked.answered_at_s - 1, died_at_s=asked.answered_at_s, until_s=NOW_MS / 1000 + 9e9, epochs=epochs
    )
    assert asked.made is not None and not loss.excuses(asked.made, asked)


@pytest.mark.parametrize(
    ("stored", "wrong"),
    [
        ({}, False),
        ({"position_ms": 49_999}, True),
        ({"ended_at_ms": None}, True),
        ({"epoch": EPOCH - 1}, True),
    ],
)
def test_an_end_that_the_store_had_lost_need_not_be_told_again_when_its_row_comes_back(
    stored: dict[str, Any], wrong: bool
) -> None:
    story = Story(position_ms=10_000, playing=False)
    story.command("end", {}, ended_at_ms=NOW_MS, position_ms=50_000)
    back = replace(story.state, **{"epoch": EPOCH + 1, **stored})
    found = against_store(story.session, back, story.record)
    assert any("nobody was told its state" in text for text in found) is wrong


def test_a_device_is_back_when_it_shows_the_session_as_late_as_anybody_was_told() -> None:
    story = Story()
    first = story.session.newest
    story.command("seek", {"position": 50.0}, position_ms=50_000)
    newest = order_of(story.session.newest)

    assert is_back(story.session.newest, story.session, newest)
    assert not is_back(first, story.session, newest)
    assert not is_back(None, story.session, newest)
    assert not is_back({**story.session.newest, "session_id": str(uuid.uuid4())}, story.session, newest)


def test_after_the_end_a_device_is_back_when_it_shows_it_no_longer_though_the_next_one_is_at_revision_1() -> None:
    story = Story()
    before = story.session.newest
    story.command("end", {}, ended_at_ms=NOW_MS, playing=False)
    newest = order_of(story.session.newest)

    assert is_back({**before, "session_id": str(uuid.uuid4())}, story.session, newest)
    assert is_back(None, story.session, newest)
    assert not is_back(before, story.session, newest)
