"""A token is replaced on the living connection, and asked for again until that has worked."""

import math

from playhead.client.core.effects import FetchToken
from playhead.client.core.line import Line
from playhead.client.core.renewal import RENEW_RETRY_MS, Renewal
from playhead.client.core.wire import Device
from tests.unit.client.core.recording import NOW_MS, Recorder, refused


class Renewing:
    """A connection on the token `old`, which has been told that it expires."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.line = Line(("one",), Device(id="phone", name="Phone"), self.recorder.hands)
        self.line.start()
        self.line.take_token("old", 0)
        self.line.opened()
        self.recorder.effects.clear()
        self.renewal = Renewal(self.line, self.recorder.hands)
        self.renewal.begin()
        assert self.recorder.effects == [FetchToken()]

    def bring(self, token: str, now_ms: float = 0) -> None:
        assert not self.line.take_token(token, now_ms)
        self.renewal.take_token(token, now_ms)


def test_a_newer_token_is_sent_and_counts_once_the_server_has_taken_it() -> None:
    renewing = Renewing()
    renewing.bring("new")
    assert [(asked.event, asked.payload) for asked in renewing.recorder.asked] == [("auth", {"token": "new"})]
    assert renewing.line.token == "old"
    renewing.recorder.answer({"ok": True, "expires_at": NOW_MS, "server_time": NOW_MS}, 10)
    assert renewing.line.token == "new" and renewing.renewal.due_ms == math.inf
    renewing.bring("newer still")
    assert renewing.recorder.asked == [], "nobody wants it any more"


def test_the_old_token_once_more_is_no_renewal_and_the_app_is_asked_again() -> None:
    renewing = Renewing()
    renewing.bring("old", 1_000)
    assert renewing.recorder.asked == [] and renewing.renewal.due_ms == 1_000 + RENEW_RETRY_MS
    renewing.recorder.effects.clear()
    renewing.renewal.tick(1_000 + RENEW_RETRY_MS - 1)
    assert renewing.recorder.effects == []
    renewing.renewal.tick(1_000 + RENEW_RETRY_MS)
    assert renewing.recorder.effects == [FetchToken()] and renewing.renewal.due_ms == math.inf


def test_a_token_that_the_server_does_not_take_is_replaced_again() -> None:
    renewing = Renewing()
    renewing.bring("forged")
    renewing.recorder.answer(refused("unauthorized"), 2_000)
    assert renewing.line.token == "old" and renewing.renewal.due_ms == 2_000 + RENEW_RETRY_MS


def test_an_app_that_has_no_token_is_asked_again() -> None:
    renewing = Renewing()
    renewing.line.take_no_token(3_000)
    renewing.renewal.again(3_000)
    assert renewing.renewal.due_ms == 3_000 + RENEW_RETRY_MS


def test_with_the_connection_goes_the_need() -> None:
    renewing = Renewing()
    renewing.renewal.again(0)
    renewing.renewal.lost()
    renewing.renewal.again(0)
    renewing.renewal.take_token("new", 0)
    assert renewing.renewal.due_ms == math.inf and renewing.recorder.asked == []
