"""Problems: every code as RFC 9457 has it, and both places of a refused report."""

import json

import pytest

from playhead.http.problems import (
    HTTP_REASONS,
    PROBLEM_CODE,
    AnyCode,
    FieldError,
    HttpCode,
    Problem,
    problem,
    problem_of,
    reason_of,
    respond,
)
from playhead.playback.rejections import REASONS, Code, Rejection
from playhead.sessions.codec import state_payload
from tests.support.states import NOW_MS, make_state

CODES: tuple[AnyCode, ...] = (*REASONS, *HTTP_REASONS)


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_a_problem_that_says_what_to_do(code: AnyCode) -> None:
    found = problem(code)
    reason = reason_of(code)
    assert (found.type, found.code) == (f"/problems/{code.value}", code.value)
    assert (found.status, found.retry, found.detail) == (reason.status, reason.retry, reason.message)
    assert 400 <= found.status < 600
    assert found.title[0].isupper() and "_" not in found.title


@pytest.mark.parametrize("code", CODES)
def test_a_response_carries_the_problem_and_may_not_be_kept(code: AnyCode) -> None:
    response = respond(problem(code))
    assert response.content_type == "application/problem+json"
    assert response.status == reason_of(code).status
    assert response.headers["Cache-Control"] == "no-store"
    assert response[PROBLEM_CODE] == code.value
    assert isinstance(response.body, bytes)
    assert Problem.model_validate_json(response.body).code == code.value


def test_no_http_code_has_the_name_of_a_code_of_both_surfaces() -> None:
    assert not {code.value for code in HTTP_REASONS} & {code.value for code in REASONS}
    assert set(HTTP_REASONS) == set(HttpCode)


@pytest.mark.parametrize("code", [code for code in CODES if reason_of(code).status in (429, 503)])
def test_a_refusal_for_the_moment_says_when_to_come_back(code: AnyCode) -> None:
    assert respond(problem(code)).headers["Retry-After"] == "1"
    assert reason_of(code).retry


def test_a_missing_token_is_told_the_scheme() -> None:
    assert respond(problem(Code.UNAUTHORIZED)).headers["WWW-Authenticate"] == 'Bearer realm="playhead"'


def test_other_refusals_name_neither_a_scheme_nor_a_time() -> None:
    headers = respond(problem(Code.NOT_FOUND)).headers
    assert "WWW-Authenticate" not in headers and "Retry-After" not in headers


def test_what_a_problem_does_not_say_is_left_out() -> None:
    body = respond(problem(Code.NOT_FOUND)).body
    assert isinstance(body, bytes)
    assert set(Problem.model_validate_json(body).model_dump(exclude_none=True)) == {
        "type",
        "title",
        "status",
        "detail",
        "code",
        "retry",
    }
    assert b"null" not in body


def test_field_errors_are_listed() -> None:
    found = problem(Code.INVALID, "two", [FieldError(field="a", message="x"), FieldError(field="b", message="y")])
    assert [(row.field, row.message) for row in found.errors or ()] == [("a", "x"), ("b", "y")]


def test_a_refused_report_names_both_places_and_the_state_that_won() -> None:
    state = make_state(position_ms=100_000)
    rejection = Rejection(code=Code.CONFLICT, state=state, reported_ms=61_500, detail="Another device is playing.")
    found = problem_of(rejection, NOW_MS + 20_500)
    assert (found.status, found.detail, found.reported) == (409, "Another device is playing.", 61.5)
    assert found.places is not None
    assert (found.places.reported, found.places.current) == (61.5, 120.5)
    assert found.state is not None
    assert found.state.model_dump() == state_payload(state)


def test_a_report_refused_at_0_seconds_still_names_both_places() -> None:
    rejection = Rejection(code=Code.CONFLICT, state=make_state(position_ms=100_000), reported_ms=0)
    found = problem_of(rejection, NOW_MS)
    assert (found.reported, found.places and found.places.current) == (0.0, 100.0)


def test_a_rejection_with_a_state_alone_has_no_places() -> None:
    found = problem_of(Rejection(code=Code.SESSION_ENDED, state=make_state()), NOW_MS)
    assert found.state is not None
    assert (found.places, found.reported) == (None, None)


def test_a_rejection_without_anything_is_its_table_row() -> None:
    assert problem_of(Rejection(code=Code.OVERLOADED), NOW_MS) == problem(Code.OVERLOADED)


def test_a_state_in_a_problem_is_whole_though_members_that_say_nothing_are_left_out() -> None:
    state = make_state(loop=None)
    response = respond(problem_of(Rejection(code=Code.SESSION_ENDED, state=state), NOW_MS))
    assert isinstance(response.body, bytes)
    body = json.loads(response.body)
    assert body["state"] == state_payload(state) and body["state"]["loop"] is None
    assert "places" not in body and "errors" not in body


@pytest.mark.parametrize(("wait_ms", "header"), [(1, "1"), (1_000, "1"), (1_001, "2"), (5_000, "5")])
def test_a_wait_that_is_known_is_told_in_whole_seconds_and_in_the_body(wait_ms: int, header: str) -> None:
    response = respond(problem_of(Rejection(code=Code.OVERLOADED, retry_after_ms=wait_ms), NOW_MS))
    assert response.headers["Retry-After"] == header
    assert isinstance(response.body, bytes) and json.loads(response.body)["retry_after_ms"] == wait_ms
