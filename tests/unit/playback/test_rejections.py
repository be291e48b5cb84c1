"""The table of refusals: complete, each row says what to do, and some real client has met it."""

from functools import cache
from pathlib import Path

import pytest

from playhead.playback.rejections import REASONS, Code, Rejection

TESTS = Path(__file__).parents[2]


@cache
def said_by_surfaces() -> str:
    files = [path for part in ("http", "realtime") for path in (TESTS / "integration" / part).glob("test_*.py")]
    return "".join(path.read_text() for path in files)


@pytest.mark.parametrize("code", Code)
def test_every_code_has_a_reason_that_says_what_to_do_and_an_error_status(code: Code) -> None:
    reason = REASONS[code]
    assert 400 <= reason.status <= 599
    assert reason.message.endswith(".") and len(reason.message) > 20


@pytest.mark.parametrize("code", Code)
def test_every_code_is_the_answer_of_a_server_in_some_test_of_its_surfaces(code: Code) -> None:
    assert f'"{code}"' in said_by_surfaces()


def test_retrying_helps_exactly_where_the_server_is_the_reason() -> None:
    retried = {code for code, reason in REASONS.items() if reason.retry}
    assert retried == {Code.SCRIPT_NOT_READY, Code.OVERLOADED, Code.UNAVAILABLE, Code.INTERNAL}


def test_a_refusal_says_its_detail_or_else_the_general_message() -> None:
    assert Rejection(code=Code.INVALID).message == REASONS[Code.INVALID].message
    assert Rejection(code=Code.INVALID, detail="position: too large").message == "position: too large"
    assert Rejection(code=Code.NOT_FOUND).reason.status == 404
