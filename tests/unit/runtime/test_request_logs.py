"""What is left of a library's log record; that nothing of a request is in it is shown on a real server elsewhere."""

import io
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
from aiohttp import web
from aiohttp.http_exceptions import InvalidHeader

from playhead.runtime.request_logs import LINE_INTERVAL_S, HidesBadRequests

SECRET = "Bearer s3cret"


@dataclass
class Log:
    """A logger with the filter, a clock that stands still, and all that was written."""

    logger: logging.Logger
    written: io.StringIO = field(default_factory=io.StringIO)
    now_s: float = 100.0

    def lines(self) -> list[str]:
        return self.written.getvalue().splitlines()


@pytest.fixture
def opened() -> Iterator[Callable[[bool], Log]]:
    loggers: list[logging.Logger] = []

    def open_log(hides_all: bool) -> Log:
        log = Log(logging.Logger("of-this-test"))
        log.logger.addFilter(HidesBadRequests(hides_all, monotonic_s=lambda: log.now_s))
        log.logger.addHandler(logging.StreamHandler(log.written))
        loggers.append(log.logger)
        return log

    yield open_log


def refuse(log: Log, count: int = 1) -> None:
    for _ in range(count):
        log.logger.error("Error handling request from %s", "192.0.2.1", exc_info=InvalidHeader(SECRET))


def test_a_request_that_cannot_be_parsed_is_one_line_without_anything_of_it(opened: Callable[[bool], Log]) -> None:
    log = opened(False)
    refuse(log)
    (line,) = log.lines()
    assert "cannot read was refused" in line
    assert SECRET not in line and "192.0.2.1" not in line


def test_a_flood_of_them_is_one_line_a_second_and_the_next_line_counts_the_others(
    opened: Callable[[bool], Log],
) -> None:
    log = opened(False)
    refuse(log, 1_000)
    log.now_s += LINE_INTERVAL_S * 0.99
    refuse(log)
    assert len(log.lines()) == 1
    log.now_s += LINE_INTERVAL_S * 0.01
    refuse(log)
    log.now_s += LINE_INTERVAL_S
    refuse(log)
    assert [("So were 1000 before it" in line) for line in log.lines()] == [False, True, False]
    assert "So were" not in log.lines()[-1]


def test_an_error_in_our_code_is_logged_whole_also_during_a_flood(opened: Callable[[bool], Log]) -> None:
    log = opened(False)
    refuse(log, 2)
    try:
        raise ZeroDivisionError("our bug")
    except ZeroDivisionError as error:
        log.logger.error("Error handling request from %s", "192.0.2.1", exc_info=error)
    assert "ZeroDivisionError: our bug" in log.lines()[-1]
    assert any("test_an_error_in_our_code" in line for line in log.lines())


def test_an_error_of_ours_that_was_raised_from_the_parsers_keeps_its_frames_and_loses_its_texts(
    opened: Callable[[bool], Log],
) -> None:
    log = opened(False)
    try:
        try:
            raise web.RequestPayloadError(SECRET)
        except web.RequestPayloadError as error:
            raise RuntimeError(f"reading failed: {error}") from error
    except RuntimeError as failure:
        log.logger.error("Error handling request", exc_info=failure)
        assert SECRET in str(failure), "the error itself, which others may hold, is as it was"
    text = log.written.getvalue()
    assert SECRET not in text
    assert "RuntimeError (its text is left out" in text and "RequestPayloadError (its text" in text
    assert "in test_an_error_of_ours" in text


def test_of_the_socket_librarys_exceptions_the_frames_stay_and_no_text(opened: Callable[[bool], Log]) -> None:
    log = opened(True)
    try:
        int(SECRET)
    except ValueError:
        log.logger.exception("message handler error")
    text = log.written.getvalue()
    assert SECRET not in text
    assert text.startswith("message handler error\n") and "int(SECRET)" in text and "ValueError (its text" in text


def test_what_the_socket_library_says_of_a_session_is_not_shown(opened: Callable[[bool], Log]) -> None:
    log = opened(True)
    log.logger.error(f"Invalid session {SECRET}")
    (line,) = log.lines()
    assert "was refused" in line and SECRET not in line
