"""When the client connects, waits, gives up and moves: see the table in `core/line.py`."""

import math
from typing import Any

import pytest

from playhead.client.core.effects import Close, Effect, FetchToken, Open
from playhead.client.core.events import Status, StatusChanged
from playhead.client.core.line import (
    CONNECT_TIMEOUT_MS,
    RECONNECT_MS_MAX,
    RECONNECT_MS_MIN,
    TOKEN_REFUSALS_MAX,
    Line,
    Phase,
)
from playhead.client.core.wire import Device, Refusal
from tests.unit.client.core.recording import Recorder

PHONE = Device(id="phone", name="Phone", kind="phone")
AWAY = Refusal(code="unavailable", message="Later.", retry=True)
BAD_TOKEN = Refusal(code="unauthorized", message="Not this one.")
UNWANTED = Refusal(code="unsupported_protocol", message="Too old.")


class Driven:
    """A line with its effects at hand."""

    def __init__(self, *urls: str) -> None:
        self.recorder = Recorder()
        self.line = Line(urls or ("one",), PHONE, self.recorder.hands)

    def take(self) -> list[Effect]:
        """What it wants done since the last look, its news left out."""
        wanted = (FetchToken, Open, Close)
        effects: list[Effect] = [effect for effect in self.recorder.effects if isinstance(effect, wanted)]
        self.news = [event for event in self.recorder.told if isinstance(event, StatusChanged)]
        self.recorder.effects.clear()
        return effects

    def opening(self, token: str = "t-1", now_ms: float = 0) -> None:
        self.line.start()
        self.line.take_token(token, now_ms)

    def opened(self) -> None:
        self.opening()
        self.line.opened()
        self.take()


def test_it_takes_an_address() -> None:
    with pytest.raises(ValueError, match="at least one server"):
        Line((), PHONE, Recorder().hands)


def test_a_start_asks_for_a_token_and_connects_with_it() -> None:
    driven = Driven("one", "two")
    driven.line.start()
    driven.line.start()
    assert driven.take() == [FetchToken()]
    assert driven.news == [StatusChanged(status=Status.CONNECTING)]
    assert driven.line.take_token("t-1", 100)
    auth = {"token": "t-1", "device": {"id": "phone", "name": "Phone", "kind": "phone"}, "protocol": 1}
    assert driven.take() == [Open(1, "one", auth)]
    driven.line.opened()
    driven.take()
    assert driven.news == [StatusChanged(status=Status.CONNECTED)]
    assert driven.line.open and driven.line.due_ms == math.inf and driven.line.connection == 1


def test_a_token_that_nobody_needs_any_more_opens_nothing() -> None:
    driven = Driven()
    driven.line.start()
    driven.line.stop()
    driven.take()
    assert not driven.line.take_token("t-1", 0)
    driven.line.take_no_token(0)
    assert driven.take() == [] and driven.line.phase is Phase.IDLE


def test_an_app_without_a_token_is_asked_again_after_a_while() -> None:
    driven = Driven()
    driven.line.start()
    driven.line.take_no_token(1_000)
    driven.take()
    assert (driven.line.phase, driven.line.due_ms) == (Phase.WAITING, 1_000 + RECONNECT_MS_MIN)
    driven.line.tick(1_000 + RECONNECT_MS_MIN - 1)
    assert driven.take() == []
    driven.line.tick(1_000 + RECONNECT_MS_MIN)
    assert driven.take() == [FetchToken()]


def test_one_question_for_a_token_at_a_time() -> None:
    driven = Driven()
    driven.opened()
    driven.line.ask_token()
    driven.line.failed(None, 0)
    driven.line.tick(driven.line.due_ms)
    assert driven.take() == [FetchToken(), Close(1)], "the question under way serves the connection as well"
    assert driven.line.take_token("t-2", 500)


def test_waits_double_up_to_a_limit_and_begin_anew_once_a_server_has_answered_all() -> None:
    driven = Driven()
    driven.line.start()
    now_ms, waits = 0.0, []
    for _ in range(6):
        driven.line.take_token("t", now_ms)
        driven.line.failed(None, now_ms)
        waits.append(driven.line.due_ms - now_ms)
        now_ms = driven.line.due_ms
        driven.line.tick(now_ms)
    assert waits == [RECONNECT_MS_MIN * factor for factor in (1, 2, 4, 8)] + [RECONNECT_MS_MAX] * 2
    driven.line.take_token("t", now_ms)
    driven.line.opened()
    driven.line.answered(snapshots=False)
    driven.line.failed(None, now_ms)
    assert driven.line.due_ms - now_ms == RECONNECT_MS_MAX
    driven.line.tick(driven.line.due_ms)
    driven.line.take_token("t", now_ms)
    driven.line.opened()
    driven.line.answered(snapshots=True)
    driven.line.failed(None, now_ms)
    assert driven.line.due_ms - now_ms == RECONNECT_MS_MIN


@pytest.mark.parametrize(("chance", "factor"), [(0.0, 0.5), (0.5, 1.0), (0.999, 1.499)])
def test_waits_are_jittered(chance: float, factor: float) -> None:
    driven = Driven()
    driven.recorder.chance = chance
    driven.opened()
    driven.line.failed(None, 0)
    assert driven.line.due_ms == pytest.approx(RECONNECT_MS_MIN * factor)


def test_a_server_that_says_how_long_to_wait_is_not_asked_before() -> None:
    driven = Driven()
    driven.opening()
    driven.line.failed(Refusal(code="overloaded", message="Full.", retry=True, retry_after_ms=8_000.0), 0)
    assert driven.line.due_ms == 10_000


def test_each_failure_tries_the_next_address() -> None:
    driven = Driven("one", "two", "three")
    driven.opening()
    for _ in range(3):
        driven.line.failed(AWAY, 0)
        driven.line.tick(math.inf)
        driven.line.take_token("t-1", 0)
    opened = [effect.url for effect in driven.take() if isinstance(effect, Open)]
    assert opened == ["one", "two", "three", "one"]


def test_a_handshake_that_takes_too_long_is_given_up() -> None:
    driven = Driven()
    driven.opening(now_ms=50)
    driven.take()
    driven.line.tick(50 + CONNECT_TIMEOUT_MS - 1)
    assert driven.take() == []
    driven.line.tick(50 + CONNECT_TIMEOUT_MS)
    assert driven.take() == [Close(1)] and driven.line.phase is Phase.WAITING
    assert driven.news == [StatusChanged(status=Status.RECONNECTING)]


def test_a_refusal_for_good_ends_it_and_a_start_begins_anew() -> None:
    driven = Driven()
    driven.opening()
    driven.line.failed(UNWANTED, 0)
    driven.take()
    assert (driven.line.phase, driven.line.refusal, driven.line.due_ms) == (Phase.OVER, UNWANTED, math.inf)
    assert driven.news[-1] == StatusChanged(status=Status.REFUSED, refusal=UNWANTED)
    driven.line.start()
    assert driven.take() == [FetchToken()] and driven.line.refusal is None


def test_a_refused_token_is_not_shown_again() -> None:
    driven = Driven()
    driven.opening("t-1")
    driven.line.failed(BAD_TOKEN, 0)
    driven.line.tick(math.inf)
    driven.take()
    driven.line.take_token("t-1", 0)
    assert driven.take() == [] and driven.line.refusal == BAD_TOKEN and driven.line.phase is Phase.OVER


def test_after_a_refused_token_another_one_may_do() -> None:
    driven = Driven()
    driven.opening("t-1")
    driven.line.failed(BAD_TOKEN, 0)
    driven.line.tick(math.inf)
    driven.line.take_token("t-2", 0)
    driven.line.opened()
    assert driven.line.open and driven.line.refusal is None


def test_the_number_of_refused_tokens_in_a_row_is_bounded() -> None:
    driven = Driven()
    driven.line.start()
    for number in range(TOKEN_REFUSALS_MAX):
        assert driven.line.phase is not Phase.OVER
        driven.line.tick(math.inf)
        driven.line.take_token(f"t-{number}", 0)
        driven.line.failed(BAD_TOKEN, 0)
    assert driven.line.phase is Phase.OVER


@pytest.mark.parametrize(
    ("last_word", "phase"),
    [
        (None, Phase.WAITING),
        (Refusal(code="slow_consumer", message="Read faster.", retry=True), Phase.WAITING),
        (Refusal(code="token_expired", message="Get a new one."), Phase.WAITING),
        (Refusal(code="banned", message="Go away."), Phase.OVER),
    ],
)
def test_a_connection_ends_by_the_last_word_of_the_server(last_word: Refusal | None, phase: Phase) -> None:
    driven = Driven()
    driven.opened()
    if last_word is not None:
        driven.line.will_close(last_word)
    driven.line.failed(None, 0)
    assert driven.line.phase is phase and driven.take() == [Close(1)]
    assert driven.news[0].refusal == last_word


def test_a_last_word_is_that_of_one_connection() -> None:
    driven = Driven()
    driven.opened()
    driven.line.will_close(Refusal(code="banned", message="Go away."))
    driven.line.move()
    driven.line.take_token("t-1", 0)
    driven.line.opened()
    driven.line.failed(None, 0)
    assert driven.line.phase is Phase.WAITING


def test_a_draining_server_is_left_at_the_moment_that_it_names() -> None:
    driven = Driven()
    driven.opened()
    assert driven.line.leave_at_ms == math.inf
    driven.line.drain(1_000, 1_000)
    driven.line.drain(9_000, 1_000)
    assert driven.line.leave_at_ms == 2_000


def test_a_move_goes_on_at_once_elsewhere() -> None:
    driven = Driven("one", "two")
    driven.opened()
    driven.line.drain(1_000, 0)
    driven.line.move()
    assert driven.take() == [Close(1), FetchToken()]
    assert driven.news == [StatusChanged(status=Status.RECONNECTING)]
    driven.line.take_token("t-1", 0)
    opened: Any = driven.take()[0]
    assert (opened.url, opened.connection, driven.line.leave_at_ms) == ("two", 2, math.inf)


def test_a_stop_closes_and_says_so_once() -> None:
    driven = Driven()
    driven.opened()
    driven.line.stop()
    driven.line.stop()
    assert driven.take() == [Close(1)] and driven.news == [StatusChanged(status=Status.STOPPED)]
    assert driven.line.due_ms == math.inf
