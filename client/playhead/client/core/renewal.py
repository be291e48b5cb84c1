"""A token that runs out is replaced on the living connection: `expiring` comes, the app is asked, `auth` is sent."""

import math
from collections.abc import Callable
from typing import Any

from playhead.client.core.hands import Hands
from playhead.client.core.line import Line
from playhead.client.core.wire import Refusal, TokenTaken, read_answer

RENEW_RETRY_MS = 10_000.0
"""After it the app is asked again, when it had no newer token, or the server did not take it."""


class Renewal:
    def __init__(self, line: Line, hands: Hands) -> None:
        self._line = line
        self._hands = hands
        self._wanted = False
        self.due_ms = math.inf
        """When to ask again: local ms."""

    def begin(self) -> None:
        self._wanted = True
        self._line.ask_token()

    def lost(self) -> None:
        """The next connection is made with a fresh token anyway."""
        self._wanted, self.due_ms = False, math.inf

    def tick(self, now_ms: float) -> None:
        if self.due_ms <= now_ms:
            self.due_ms = math.inf
            self._line.ask_token()

    def take_token(self, token: str, now_ms: float) -> None:
        if not self._wanted:
            return
        if token == self._line.token:
            self.again(now_ms)
        else:
            self._hands.ask("auth", {"token": token}, now_ms, self._taken_by(token))

    def again(self, now_ms: float) -> None:
        """There is no newer token yet."""
        if self._wanted:
            self.due_ms = now_ms + RENEW_RETRY_MS

    def _taken_by(self, token: str) -> Callable[[Any, float], None]:
        def answered(ack: Any, now_ms: float) -> None:
            if isinstance(read_answer(TokenTaken, ack), Refusal):
                self.again(now_ms)
            else:
                self._wanted, self._line.token = False, token

        return answered
