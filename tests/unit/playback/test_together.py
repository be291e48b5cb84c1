"""Together: every change of the playhead is anchored a little in the future, so that all devices can be there."""

import pytest
from msgspec.structs import replace

from playhead.playback.commands import (
    Command,
    Leave,
    Pause,
    Play,
    Report,
    Restore,
    Seek,
    SetLoop,
    SetMode,
    SetRate,
    Transfer,
)
from playhead.playback.rejections import Code
from playhead.playback.state import position_at
from tests.support.states import make_state
from tests.unit.playback.deciding import BOTH, DESK, LATER_MS, PAUSED, PHONE, accepted, code

LEAD_MS = 300
TOGETHER = make_state(mode="together")


def test_the_mode_is_a_change_that_devices_see() -> None:
    after = accepted(make_state(), SetMode(mode="together"), DESK)
    assert (after.mode, after.revision, after.playing) == ("together", 6, True)
    assert accepted(after, SetMode(mode="together")) is after


@pytest.mark.parametrize("command", [Seek(position_ms=5_000), Restore(position_ms=5_000), Play(position_ms=5_000)])
def test_a_jump_begins_when_the_lead_is_over(command: Command) -> None:
    after = accepted(TOGETHER, command, PHONE, lead_ms=LEAD_MS)
    assert (after.position_ms, after.anchored_at_ms) == (5_000, LATER_MS + LEAD_MS)
    assert position_at(after, LATER_MS) == position_at(after, LATER_MS + LEAD_MS) == 5_000
    assert position_at(after, LATER_MS + LEAD_MS + 100) == 5_100


def test_another_rate_begins_where_the_old_one_has_come_to_by_then() -> None:
    after = accepted(TOGETHER, SetRate(rate=2.0), PHONE, lead_ms=LEAD_MS)
    assert (after.position_ms, after.anchored_at_ms) == (110_300, LATER_MS + LEAD_MS)


def test_nobody_waits_for_a_pause_for_a_seek_in_a_paused_session_or_in_the_other_mode() -> None:
    assert accepted(TOGETHER, Pause(), DESK, lead_ms=LEAD_MS).anchored_at_ms == LATER_MS
    paused = accepted(make_state(mode="together", playing=False), Seek(position_ms=5_000), lead_ms=LEAD_MS)
    assert paused.anchored_at_ms == LATER_MS
    assert accepted(make_state(), Seek(position_ms=5_000), lead_ms=LEAD_MS).anchored_at_ms == LATER_MS
    assert accepted(PAUSED, Play(), lead_ms=LEAD_MS).anchored_at_ms == LATER_MS


def test_what_is_heard_counts_from_the_anchor() -> None:
    after = accepted(TOGETHER, Seek(position_ms=5_000), PHONE, lead_ms=LEAD_MS)
    heard = accepted(after, Report(position_ms=6_000, revision=6), PHONE, now_ms=LATER_MS + LEAD_MS + 1_000)
    assert (heard.played_ms, heard.listened) == (1_000, ((5_000, 6_000),))


def test_when_the_sounding_connection_leaves_another_device_goes_on_in_its_role() -> None:
    after = accepted(TOGETHER, Leave(), PHONE, connected={**BOTH, "rest": None})
    assert (after.playing, after.active_device_id, after.active_connection_id) == (True, "desk", "desk-1")
    assert (after.revision, after.position_ms) == (TOGETHER.revision + 1, TOGETHER.position_ms)
    assert accepted(TOGETHER, Leave(), DESK) is TOGETHER


@pytest.mark.parametrize(
    ("connected", "busy"), [({"phone": "phone-2", "rest": None}, frozenset()), (BOTH, frozenset({"desk"}))]
)
def test_when_the_last_device_that_sounds_leaves_the_sound_stops(
    connected: dict[str, str | None], busy: frozenset[str]
) -> None:
    after = accepted(TOGETHER, Leave(busy=busy), PHONE, connected=connected)
    assert (after.playing, after.position_ms, after.active_device_id) == (False, 110_000, "phone")
    paused = make_state(mode="together", playing=False)
    assert accepted(paused, Leave(), PHONE) is paused


SOUGHT = accepted(TOGETHER, Seek(position_ms=5_000), DESK, lead_ms=LEAD_MS)
"""The desk has sought; until the lead is over the phone sounds where it was."""


@pytest.mark.parametrize("rate", [None, 2.0])
@pytest.mark.parametrize("revision", [SOUGHT.revision, None])
def test_a_report_before_the_anchor_is_no_conflict_and_moves_nothing(rate: float | None, revision: int | None) -> None:
    before_ms = LATER_MS + 100
    report = Report(position_ms=110_100, rate=rate, revision=revision, seq=1)
    told = accepted(SOUGHT, report, PHONE, now_ms=before_ms)
    assert told == replace(SOUGHT, version=SOUGHT.version + 1, changed_at_ms=before_ms, report_seqs=(("phone", 1),))
    assert accepted(told, report, PHONE, now_ms=before_ms) is told
    assert code(SOUGHT, Report(position_ms=110_100, revision=revision), DESK, now_ms=before_ms) is Code.CONFLICT
    assert code(SOUGHT, Report(position_ms=110_100, revision=5), PHONE, now_ms=before_ms) is Code.CONFLICT


@pytest.mark.parametrize(
    ("command", "position_ms"),
    [
        (SetLoop(start_ms=0, end_ms=50_000, enabled=True), 5_000),
        (SetLoop(start_ms=1_000, end_ms=4_000, enabled=True), 1_000),
        (SetRate(rate=2.0), 5_000),
        (Transfer(device_id="desk"), 5_000),
        (SetMode(mode="handoff"), 5_000),
    ],
)
def test_no_command_pulls_an_anchor_nearer_that_lies_ahead(command: Command, position_ms: int) -> None:
    after = accepted(SOUGHT, command, DESK, now_ms=LATER_MS + 100, lead_ms=100)
    assert (after.position_ms, after.anchored_at_ms) == (position_ms, LATER_MS + LEAD_MS)
    assert after.heard_at_ms == LATER_MS + LEAD_MS
