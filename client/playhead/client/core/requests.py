"""Events that were sent and wait for their acks. A missing ack is how a dead connection shows before it breaks."""

import math
from collections.abc import Callable
from typing import Any

from playhead.client.core.effects import Effect, Send
from playhead.client.core.hands import OnAnswer
from playhead.client.core.wire import Payload

ACK_TIMEOUT_MS = 5_000.0
"""After it the connection counts as lost, though it may still say that it is open."""


class Requests:
    """What waits on the current connection. It is answered one after the other: each has its time from its turn on."""

    def __init__(self, out: Callable[[Effect], None]) -> None:
        self._out = out
        self._last = 0
        self._waiting: dict[int, OnAnswer] = {}
        self.overdue_ms = math.inf
        """When the first of them is overdue: local ms, infinite when none waits."""

    def __len__(self) -> int:
        return len(self._waiting)

    def send(self, connection: int, event: str, payload: Payload, now_ms: float, on_answer: OnAnswer) -> None:
        self._last += 1
        if not self._waiting:
            self.overdue_ms = now_ms + ACK_TIMEOUT_MS
        self._waiting[self._last] = on_answer
        self._out(Send(connection, self._last, event, payload))

    def answered(self, request: int, ack: Any, now_ms: float) -> None:
        """Passes an ack on; one that nobody waits for is ignored."""
        first = next(iter(self._waiting), None)
        on_answer = self._waiting.pop(request, None)
        if on_answer is None:
            return
        if request == first:
            self.overdue_ms = now_ms + ACK_TIMEOUT_MS if self._waiting else math.inf
        on_answer(ack, now_ms)

    def drop(self) -> None:
        """The connection is gone: no ack will come any more."""
        self._waiting.clear()
        self.overdue_ms = math.inf
