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


def asked(*times_ms: float) -> Requests:
    requests = Requests(lambda _: None)
    for at_ms in times_ms:
        requests.send(1, "clock", {}, at_ms, lambda *_: None)
    return requests


def test_a_question_is_overdue_some_time_after_it_was_asked_or_after_the_answer_before_it() -> None:
    assert Requests(lambda _: None).overdue_ms == math.inf
    requests = asked(100, 200)
    assert requests.overdue_ms == 100 + ACK_TIMEOUT_MS
    requests.answered(1, {}, 3_600)
    assert requests.overdue_ms == 3_600 + ACK_TIMEOUT_MS
    requests.answered(2, {}, 7_100)
    assert requests.overdue_ms == math.inf
    requests.send(1, "clock", {}, 9_000, lambda *_: None)
    assert requests.overdue_ms == 9_000 + ACK_TIMEOUT_MS
    requests.drop()
    assert requests.overdue_ms == math.inf


def test_an_answer_out_of_turn_gives_the_one_before_it_no_more_time() -> None:
    requests = asked(100, 200, 300)
    requests.answered(2, {}, 3_000)
    assert requests.overdue_ms == 100 + ACK_TIMEOUT_MS
    requests.answered(1, {}, 4_000)
    assert requests.overdue_ms == 4_000 + ACK_TIMEOUT_MS


def test_what_an_answer_leads_to_may_be_asked_at_once() -> None:
    requests = Requests(lambda _: None)
    requests.send(1, "join", {}, 0, lambda _, at_ms: requests.send(1, "join", {}, at_ms, lambda *_: None))
    requests.answered(1, {}, 2_000)
    assert requests.overdue_ms == 2_000 + ACK_TIMEOUT_MS


def test_what_was_asked_over_a_lost_connection_is_not_answered_by_the_next() -> None:
    answers: list[Any] = []
    requests = Requests(lambda _: None)
    requests.send(1, "seek", {}, 0, lambda ack, _: answers.append(ack))
    requests.drop()
    requests.send(2, "seek", {}, 10, lambda ack, _: answers.append(ack))
    requests.answered(1, "old", 20)
    requests.answered(2, "new", 20)
    assert answers == ["new"]
