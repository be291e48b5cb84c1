"""What clients may send: each field's limits, and the command that it means in milliseconds."""

import json
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from playhead.db.limits import DURATION_MS_MAX
from playhead.playback.commands import Leave, Pause, Play, Report, Seek, SetLoop, SetRate, Transfer
from playhead.sessions.requests import (
    COUNTER_MAX,
    DEVICE_ID_LENGTH_MAX,
    NAME_LENGTH_MAX,
    PLACE_MAX_S,
    RTT_MS_MAX,
    ClockRequest,
    Device,
    JoinRequest,
    LeaveRequest,
    LoopRequest,
    PauseRequest,
    PlayRequest,
    ProgressRequest,
    RateRequest,
    SeekRequest,
    TransferRequest,
)
from playhead.sessions.validation import PROBLEMS_MAX, explain
from tests.support.states import SCRIPT_ID, SESSION_ID

SESSION = {"session_id": SESSION_ID}
LOOP = {**SESSION, "start": 1, "end": 2, "enabled": True}
GOOD: list[tuple[type[Any], dict[str, Any], object]] = [
    (PlayRequest, {"script_id": SCRIPT_ID}, Play()),
    (PlayRequest, {**SESSION, "position": 1.5, "device_id": "desk"}, Play(position_ms=1_500, device_id="desk")),
    (PauseRequest, SESSION, Pause()),
    (PauseRequest, {**SESSION, "position": 0}, Pause(position_ms=0)),
    (SeekRequest, {**SESSION, "position": 120.5}, Seek(position_ms=120_500)),
    (SeekRequest, {**SESSION, "position": 0.0004, "from": 3.0006}, Seek(position_ms=0, from_ms=3_001)),
    (
        LoopRequest,
        {**SESSION, "start": 1, "end": 2, "enabled": True},
        SetLoop(start_ms=1_000, end_ms=2_000, enabled=True),
    ),
    (RateRequest, {**SESSION, "rate": 4}, SetRate(rate=4.0)),
    (TransferRequest, {**SESSION, "device_id": "rest"}, Transfer(device_id="rest")),
    (LeaveRequest, SESSION, Leave()),
    (ProgressRequest, {**SESSION, "position": 1.0, "revision": 3}, Report(position_ms=1_000, revision=3)),
    (
        ProgressRequest,
        {**SESSION, "position": 1.0, "revision": 3, "seq": 0, "rate": 1.5, "playing": True, "at": 1_767_225_600_000},
        Report(position_ms=1_000, revision=3, seq=0, rate=1.5, at_ms=1_767_225_600_000),
    ),
]


@pytest.mark.parametrize(("model", "payload", "command"), GOOD)
def test_each_request_means_its_command(model: type[Any], payload: dict[str, Any], command: object) -> None:
    assert model.model_validate(payload).command() == command
    assert model.model_validate(json.loads(json.dumps(payload))).command() == command
    named = model.model_validate({**payload, "command_id": SCRIPT_ID.upper(), "expected_revision": 0})
    assert (named.command_id, named.expected_revision) == (SCRIPT_ID, 0)


@pytest.mark.parametrize(("model", "payload", "_command"), GOOD)
def test_a_field_that_is_not_known_is_refused(
    model: type[BaseModel], payload: dict[str, Any], _command: object
) -> None:
    with pytest.raises(ValidationError):
        model.model_validate({**payload, "positon": 1.0})


PLACES = [-0.001, PLACE_MAX_S + 1, float("nan"), float("inf"), float("-inf"), "1.0", None, True, [1.0], {}]
COUNTERS = [-1, COUNTER_MAX + 1, 1.5, "1", True, [1]]
IDS = ["", "no uuid", 3, None, [SESSION_ID], f"{SESSION_ID}0", "x" * 16_000]
DEVICE_IDS = ["", "a b", "ä", "a/b", "x" * (DEVICE_ID_LENGTH_MAX + 1), 3, ["desk"], "a\n", "\x00"]


@pytest.mark.parametrize(
    ("model", "payload", "field", "values"),
    [
        (SeekRequest, {**SESSION, "position": 1.0}, "position", PLACES),
        (SeekRequest, {**SESSION, "position": 1.0}, "from", [value for value in PLACES if value is not None]),
        (PauseRequest, SESSION, "position", [value for value in PLACES if value is not None]),
        (ProgressRequest, {**SESSION, "position": 1.0, "revision": 1}, "revision", [*COUNTERS, None]),
        (ProgressRequest, {**SESSION, "position": 1.0, "revision": 1}, "seq", COUNTERS),
        (ProgressRequest, {**SESSION, "position": 1.0, "revision": 1}, "at", [*COUNTERS, float("nan"), {}]),
        (ProgressRequest, {**SESSION, "position": 1.0, "revision": 1}, "playing", ["yes", 1, 0]),
        (ProgressRequest, {**SESSION, "position": 1.0, "revision": 1}, "rate", [0.2, 4.1, "1", float("nan")]),
        (LoopRequest, LOOP, "enabled", ["true", 1, None]),
        (LoopRequest, LOOP, "start", PLACES),
        (RateRequest, {**SESSION, "rate": 1.0}, "rate", [0.249, 4.01, float("nan"), "1", None, True]),
        (TransferRequest, {**SESSION, "device_id": "desk"}, "device_id", [*DEVICE_IDS, None]),
        (PlayRequest, SESSION, "device_id", DEVICE_IDS),
        (LeaveRequest, SESSION, "session_id", IDS),
        (LeaveRequest, SESSION, "command_id", [value for value in IDS if value is not None]),
        (LeaveRequest, SESSION, "expected_revision", COUNTERS),
        (ClockRequest, {"t0": 1.0}, "t0", ["1", None, float("nan"), float("inf"), True]),
        (ClockRequest, {"t0": 1.0}, "rtt_ms", [-0.1, RTT_MS_MAX + 0.1, float("nan"), float("inf"), "1", True]),
        (JoinRequest, SESSION, "seen", [3, {"epoch": 1}, {"epoch": -1, "revision": 0}, {"epoch": 1, "revision": "1"}]),
        (Device, {"id": "desk", "name": "n", "kind": "phone"}, "id", [*DEVICE_IDS, "rest", None]),
        (Device, {"id": "desk", "name": "n", "kind": "phone"}, "name", ["", "x" * (NAME_LENGTH_MAX + 1), 3, None]),
        (Device, {"id": "desk", "name": "n", "kind": "phone"}, "kind", ["toaster", "", None, 3]),
    ],
)
def test_every_wrong_value_is_refused_with_the_fields_name_and_without_the_value(
    model: type[BaseModel], payload: dict[str, Any], field: str, values: list[object]
) -> None:
    model.model_validate(payload)
    for value in values:
        with pytest.raises(ValidationError) as caught:
            model.model_validate({**payload, field: value})
        told = explain(caught.value)
        assert told.startswith(field)
        assert "x" * 40 not in told and "toaster" not in told


@pytest.mark.parametrize(
    ("model", "payload", "field", "value"),
    [
        (SeekRequest, {**SESSION, "position": 1.0}, "position", PLACE_MAX_S),
        (ProgressRequest, {**SESSION, "position": 1.0, "revision": 1}, "revision", COUNTER_MAX),
        (ProgressRequest, {**SESSION, "position": 1.0, "revision": 1}, "at", COUNTER_MAX),
        (TransferRequest, SESSION, "device_id", "x" * DEVICE_ID_LENGTH_MAX),
        (Device, {"id": "desk", "kind": "phone"}, "name", "x" * NAME_LENGTH_MAX),
        (ClockRequest, {}, "t0", -1e12),
        (ClockRequest, {"t0": 1}, "rtt_ms", RTT_MS_MAX),
        (ClockRequest, {"t0": 1}, "rtt_ms", 0),
    ],
)
def test_at_the_limit_a_value_is_still_taken(
    model: type[BaseModel], payload: dict[str, Any], field: str, value: object
) -> None:
    assert model.model_validate({**payload, field: value})


@pytest.mark.parametrize("model", [PlayRequest, JoinRequest])
def test_a_session_or_a_script_is_named_but_not_both(model: type[BaseModel]) -> None:
    for payload in ({}, {**SESSION, "script_id": SCRIPT_ID}):
        with pytest.raises(ValidationError) as caught:
            model.model_validate(payload)
        assert explain(caught.value) == "give either `session_id` or `script_id`"


@pytest.mark.parametrize("spelling", [SESSION_ID.upper(), f"{{{SESSION_ID}}}", SESSION_ID.replace("-", "")])
def test_every_spelling_of_an_id_is_the_same_session(spelling: str) -> None:
    assert LeaveRequest.model_validate({"session_id": spelling}).session_id == SESSION_ID


def test_an_explanation_names_at_most_ten_problems() -> None:
    with pytest.raises(ValidationError) as caught:
        Device.model_validate({f"unknown-{number}": 1 for number in range(50)})
    assert explain(caught.value).count(";") == PROBLEMS_MAX - 1


def test_every_place_of_the_longest_script_can_be_named() -> None:
    assert PLACE_MAX_S * 1_000 >= DURATION_MS_MAX
