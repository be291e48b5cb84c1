"""Acks that are waited for, and the moment from which a silent connection counts as lost."""

import math
from typing import Any

from playhead.client.core.effects import Effect, Send
from playhead.client.core.requests import ACK_TIMEOUT_MS, Requests


def test_an_ack_reaches_whoever_asked_once() -> None:
    effects: list[Effect] = []
    requests, answers = Requests(effects.append), list[tuple[Any, float]]()
    requests.send(3, "join", {"script_id": "s"}, 100, lambda ack, at_ms: answers.append((ack, at_ms)))
    assert effects == [Send(3, 1, "join", {"script_id": "s"})] and len(requests) == 1
    requests.answered(1, "good", 120)
    requests.answered(1, "again", 130)
    requests.answered(99, "nobody asked", 130)
    assert answers == [("good", 120)] and len(requests) == 0


def test_the_oldest_question_is_overdue_first() -> None:
    requests = Requests(lambda _: None)
    assert requests.overdue_ms == math.inf
    for at_ms in (100, 200):
        requests.send(1, "clock", {}, at_ms, lambda *_: None)
    assert requests.overdue_ms == 100 + ACK_TIMEOUT_MS
    requests.answered(1, {}, 150)
    assert requests.overdue_ms == 200 + ACK_TIMEOUT_MS


def test_what_was_asked_over_a_lost_connection_is_not_answered_by_the_next() -> None:
    answers: list[Any] = []
    requests = Requests(lambda _: None)
    requests.send(1, "seek", {}, 0, lambda ack, _: answers.append(ack))
    requests.drop()
    requests.send(2, "seek", {}, 10, lambda ack, _: answers.append(ack))
    requests.answered(1, "old", 20)
    requests.answered(2, "new", 20)
    assert answers == ["new"]
