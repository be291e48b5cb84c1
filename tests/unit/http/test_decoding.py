"""Strict JSON, and every field error listed."""

import asyncio
import json

import pytest
from aiohttp import StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.test_utils import make_mocked_request

from playhead.http.bodies import BookmarkBody, PageFields, ProgressBody, SeekBody, UploadFields
from playhead.http.decoding import (
    BODY_TIMEOUT_S,
    FIELD_ERRORS_MAX,
    Arrival,
    Incomplete,
    InvalidJson,
    Pace,
    read_body,
    strict_json,
    validate,
)
from playhead.http.problems import Problem
from playhead.sessions.requests import PLACE_MAX_S

SESSION_ID = "3f1f2b0e-7c8a-4a43-9a53-0a1d2e3f4a5b"


@pytest.mark.parametrize("value", [{}, {"a": [1, 2.5, None, True, "ä"], "b": {"a": 1}}, [], "text", 1, None])
def test_json_is_what_it_is(value: object) -> None:
    assert strict_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": 1,}', "not JSON"),
        (b'{"a": 01}', "not JSON"),
        (b'{"a": +1}', "not JSON"),
        (b'{"a": "\xff"}', "not JSON"),
        (b"\xff\xfe{\x00}\x00", "not JSON"),
        (b'{"a": 1} {"b": 2}', "not JSON"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b'{"a": Infinity}', "Infinity is no JSON number"),
        (b'{"a": [-Infinity]}', "-Infinity is no JSON number"),
        (b'{"a": 1, "a": 1}', "twice"),
        (b'{"a": {"b": 1, "b": 2}}', "twice"),
        (b"[" * 60_000, "not JSON"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "not JSON"),
    ],
)
def test_what_is_no_strict_json_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(InvalidJson, match=why):
        strict_json(text)


def _refused(model: type, fields: dict[str, object]) -> Problem:
    found = validate(model, fields)
    assert isinstance(found, Problem), found
    assert (found.status, found.code) == (422, "invalid")
    return found


def test_every_field_that_breaks_a_rule_is_listed_and_no_value_is_repeated() -> None:
    found = _refused(ProgressBody, {"session_id": "secret", "position": -1, "playback_rate": "fast", "extra": 1})
    assert [row.field for row in found.errors or ()] == ["session_id", "position", "playback_rate", "extra"]
    assert "secret" not in found.model_dump_json() and "fast" not in found.model_dump_json()


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), float("-inf"), -0.001, PLACE_MAX_S + 1, "1", True, None, [1], {"s": 1}, 1e400]
)
def test_a_place_that_is_no_place_is_refused(value: object) -> None:
    found = _refused(SeekBody, {"session_id": SESSION_ID, "position": value})
    assert [row.field for row in found.errors or ()] == ["position"]


@pytest.mark.parametrize("value", [0.249, 4.001, 0, -1, float("nan"), float("inf"), "1.0", True, None])
def test_a_rate_that_no_device_plays_is_refused(value: object) -> None:
    _refused(ProgressBody, {"session_id": SESSION_ID, "position": 1, "playback_rate": value})


@pytest.mark.parametrize("value", [0.25, 1, 4.0])
def test_rates_up_to_the_limits_are_taken(value: float) -> None:
    found = validate(ProgressBody, {"session_id": SESSION_ID, "position": 1, "playback_rate": value})
    assert isinstance(found, ProgressBody)


def test_the_field_of_a_reserved_word_is_named_as_it_was_sent() -> None:
    found = _refused(SeekBody, {"session_id": SESSION_ID, "position": 1, "from": -1})
    assert [row.field for row in found.errors or ()] == ["from"]


def test_many_errors_are_cut_at_the_limit() -> None:
    fields: dict[str, object] = {f"unknown{number}": 1 for number in range(FIELD_ERRORS_MAX + 10)}
    found = _refused(SeekBody, {"session_id": SESSION_ID, "position": 1, **fields})
    assert len(found.errors or ()) == FIELD_ERRORS_MAX


def test_a_name_as_long_as_the_body_is_not_repeated_whole() -> None:
    found = _refused(SeekBody, {"session_id": SESSION_ID, "position": 1, "x" * 60_000: 1})
    assert len(found.model_dump_json()) < 2_000


@pytest.mark.parametrize("limit", ["1", "200"])
def test_page_sizes_up_to_the_limits_are_taken(limit: str) -> None:
    assert validate(PageFields, {"limit": limit}) == PageFields(limit=int(limit))


@pytest.mark.parametrize("limit", ["0", "201", "-1", "+1", "01", "1_0", " 1", "1.0", "one", "", "\uff19"])
def test_page_sizes_past_the_limits_or_not_in_plain_digits_are_refused(limit: str) -> None:
    _refused(PageFields, {"limit": limit})


@pytest.mark.parametrize(("field", "limit"), [("title", 200), ("note", 4_000)])
def test_a_bookmark_s_text_is_taken_at_its_limit_and_refused_one_past_it(field: str, limit: int) -> None:
    fields: dict[str, object] = {"script_id": SESSION_ID, "position": 1}
    assert isinstance(validate(BookmarkBody, {**fields, field: "ä" * limit}), BookmarkBody)
    _refused(BookmarkBody, {**fields, field: "ä" * (limit + 1)})


@pytest.mark.parametrize("text", ["with\0nul", "lone \ud800 surrogate"])
def test_text_that_cannot_be_stored_is_refused(text: str) -> None:
    _refused(BookmarkBody, {"script_id": SESSION_ID, "position": 1, "title": text})
    _refused(UploadFields, {"title": text})


def test_a_script_s_title_is_stripped_and_never_empty() -> None:
    assert validate(UploadFields, {"title": "  A title "}) == UploadFields(title="A title")
    assert isinstance(validate(UploadFields, {"title": "x" * 300}), UploadFields)
    for title in ("", "   ", "x" * 301):
        _refused(UploadFields, {"title": title})


def test_ids_are_taken_in_their_canonical_form() -> None:
    found = validate(SeekBody, {"session_id": SESSION_ID.upper(), "position": 1})
    assert isinstance(found, SeekBody) and found.session_id == SESSION_ID


def test_a_pace_allows_its_grace_and_then_what_its_rate_needs() -> None:
    assert [Pace(grace_s=30.0, bytes_per_s=1_000).allowed_s(received) for received in (0, 5_000)] == [30.0, 35.0]
    assert [Pace(grace_s=30.0).allowed_s(received) for received in (0, 5_000)] == [30.0, 30.0]


def test_a_body_at_its_pace_is_waited_for_however_long_it_takes() -> None:
    now_s = 0.0
    arrival = Arrival(Pace(grace_s=0.5, bytes_per_s=1_024), lambda: now_s)
    for _ in range(10_000):
        now_s += 1.0
        arrival.took(bytes(1_024))
        assert arrival.wait_s() == 0.5


def test_a_body_below_its_pace_uses_up_its_grace_and_is_late() -> None:
    now_s = 0.0
    arrival = Arrival(Pace(grace_s=0.5, bytes_per_s=1_024), lambda: now_s)
    waits_s = []
    for _ in range(3):
        now_s += 1.25
        arrival.took(bytes(1_024))
        waits_s.append(arrival.wait_s())
    assert waits_s == [0.25, 0.0, -0.25]


def test_however_much_came_before_no_piece_is_waited_for_longer_than_so() -> None:
    arrival = Arrival(Pace(grace_s=1.0, bytes_per_s=1), lambda: 0.0)
    arrival.took(bytes(10_000))
    assert arrival.wait_s() == BODY_TIMEOUT_S


def _request() -> tuple[web.Request, StreamReader]:
    loop = asyncio.get_running_loop()
    protocol = BaseProtocol(loop)
    protocol.connection_made(asyncio.Transport())
    content = StreamReader(protocol, 2**16, loop=loop)
    return make_mocked_request("POST", "/", payload=content), content


async def test_a_body_that_comes_byte_by_byte_must_be_whole_within_its_grace() -> None:
    request, content = _request()
    reading = asyncio.create_task(read_body(request, Pace(grace_s=0.1)))
    async with asyncio.timeout(5):
        while not reading.done():
            content.feed_data(b" ")
            await asyncio.sleep(0.01)
    with pytest.raises(Incomplete):
        await reading


async def test_a_body_within_its_grace_is_read_whole() -> None:
    request, content = _request()
    reading = asyncio.create_task(read_body(request, Pace(grace_s=5.0)))
    for piece in (b"{", b"}"):
        content.feed_data(piece)
        await asyncio.sleep(0)
    content.feed_eof()
    assert await reading == b"{}"
