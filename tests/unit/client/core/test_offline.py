"""What was played without a connection: stretches, their order, and the batches that they are told in."""

import json

import pytest

from playhead.client.core.offline import STRETCHES_MAX, STRETCHES_PER_BATCH, OfflineLog, OpenLogs, Stretch
from playhead.sessions.requests import OfflineRequest
from tests.unit.client.core.recording import NOW_MS, OTHER_SCRIPT_ID, SCRIPT_ID, SESSION_ID, make_state

EVENT_CHARACTERS_MAX = 16_384


def test_stretches_are_what_ran_between_a_start_and_a_stop() -> None:
    log = OfflineLog(make_state())
    log.runs(100.0, NOW_MS)
    log.stands(110.0, NOW_MS + 10_000)
    log.runs(500.0, NOW_MS + 11_000)
    log.stands(501.5, NOW_MS + 12_500)
    (batch,) = log.batches()
    assert batch.stretches == (
        Stretch(start=100.0, end=110.0, started_at=NOW_MS, ended_at=NOW_MS + 10_000),
        Stretch(start=500.0, end=501.5, started_at=NOW_MS + 11_000, ended_at=NOW_MS + 12_500),
    )
    assert batch.position == 501.5


def test_what_did_not_run_forwards_is_no_stretch() -> None:
    log = OfflineLog(make_state())
    log.stands(120.0, NOW_MS)
    for end in (100.0, 99.0):
        log.runs(100.0, NOW_MS)
        log.stands(end, NOW_MS + 10)
    (batch,) = log.batches()
    assert batch.stretches == () and batch.position == 99.0


@pytest.mark.parametrize("elapsed_ms", [-3_600_000, -2_500, -1, 0, 149_999, 150_000, 600_000])
def test_a_stretch_in_which_the_clock_was_set_back_is_told_and_believed(elapsed_ms: int) -> None:
    log = OfflineLog(make_state())
    log.runs(100.0, NOW_MS)
    log.stands(700.0, NOW_MS + elapsed_ms)
    log.runs(700.0, NOW_MS + elapsed_ms)
    log.stands(700.0005, NOW_MS + elapsed_ms)
    (batch,) = log.batches()
    request = OfflineRequest.model_validate(batch.wish(SCRIPT_ID, log.base).payload)
    first, second = request.intervals
    assert (first.start, first.end, first.started_at) == (100.0, 700.0, NOW_MS)
    assert first.ended_at == NOW_MS + max(elapsed_ms, 150_000)
    assert (second.started_at, second.ended_at) == (NOW_MS + elapsed_ms, NOW_MS + elapsed_ms + 1)


def test_the_place_is_told_even_where_nothing_sounded() -> None:
    log = OfflineLog(make_state())
    assert [(batch.stretches, batch.position) for batch in log.batches()] == [((), 100.0)]
    log.runs(130.0, NOW_MS)
    assert [batch.position for batch in log.batches()] == [130.0]


def test_a_batch_names_the_state_that_it_went_on_from() -> None:
    log = OfflineLog(make_state())
    log.runs(100.0, NOW_MS)
    log.stands(110.0, NOW_MS + 10_000)
    (batch,) = log.batches()
    wish = batch.wish(SCRIPT_ID, log.base)
    stretch = {"start": 100.0, "end": 110.0, "started_at": NOW_MS, "ended_at": NOW_MS + 10_000}
    base = {"session_id": SESSION_ID, "epoch": 7, "revision": 5}
    assert (wish.event, wish.command) == ("offline", None)
    assert wish.payload == {"script_id": SCRIPT_ID, "intervals": [stretch], "position": 110.0, "base": base}
    assert "base" not in batch.wish(SCRIPT_ID, None).payload


def looped(turns: int) -> OfflineLog:
    log = OfflineLog(make_state())
    for turn in range(turns):
        at_ms = NOW_MS + turn * 12_345
        log.runs(3_000.123, at_ms)
        log.stands(3_012.468, at_ms + 12_345)
    return log


def test_every_batch_fits_into_an_event_and_together_they_are_everything() -> None:
    batches = list(looped(STRETCHES_PER_BATCH * 2 + 1).batches())
    assert [len(batch.stretches) for batch in batches] == [STRETCHES_PER_BATCH, STRETCHES_PER_BATCH, 1]
    assert [batch.position for batch in batches] == [3_012.468] * 3
    payload = {**batches[0].wish(SCRIPT_ID, make_state()).payload, "command_id": SESSION_ID}
    assert len(json.dumps(["offline", payload])) < EVENT_CHARACTERS_MAX


def test_each_batch_ends_where_its_last_stretch_did_and_the_last_one_where_the_sound_stands() -> None:
    log = looped(STRETCHES_PER_BATCH + 1)
    log.stands(5.0, NOW_MS)
    assert [batch.position for batch in log.batches()] == [3_012.468, 5.0]


def test_at_its_limit_the_oldest_is_forgotten_and_counted() -> None:
    log = looped(STRETCHES_MAX)
    assert log.forgotten == 0
    log.runs(1.0, NOW_MS + 10**9)
    log.stands(2.0, NOW_MS + 10**9 + 1_000)
    rows = [stretch for batch in log.batches() for stretch in batch.stretches]
    assert (log.forgotten, len(rows), rows[0].started_at, rows[-1].end) == (1, STRETCHES_MAX, NOW_MS + 12_345, 2.0)


def test_a_log_is_open_until_it_is_told_and_the_latest_of_its_script_counts() -> None:
    logs = OpenLogs()
    first, second, other = (OfflineLog(make_state(script_id=each)) for each in (SCRIPT_ID, SCRIPT_ID, OTHER_SCRIPT_ID))
    for log in (first, second, second, other):
        logs.open(log)
    assert len(logs) == 3 and logs.of(SCRIPT_ID) is second and logs.of(OTHER_SCRIPT_ID) is other
    assert logs.of(None) is None and first in logs and None not in logs
    logs.close(second)
    logs.close(second)
    assert logs.of(SCRIPT_ID) is first and second not in logs
