"""Events that were sent and wait for their acks. A missing ack is how a dead connection shows before it breaks."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from playhead.client.core.effects import Effect, Send
from playhead.client.core.hands import OnAnswer
from playhead.client.core.wire import Payload

ACK_TIMEOUT_MS = 5_000.0
"""After it the connection counts as lost, though it may still say that it is open."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    overdue_ms: float
    on_answer: OnAnswer


class Requests:
    """What waits on the current connection."""

    def __init__(self, out: Callable[[Effect], None]) -> None:
        self._out = out
        self._last = 0
        self._waiting: dict[int, _Waiting] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def overdue_ms(self) -> float:
        """When the first of them is overdue: local ms, infinite when none waits."""
        # asked in this order, and all for the same time
        for one in self._waiting.values():
            return one.overdue_ms
        return math.inf

    def send(self, connection: int, event: str, payload: Payload, now_ms: float, on_answer: OnAnswer) -> None:
        self._last += 1
        self._waiting[self._last] = _Waiting(now_ms + ACK_TIMEOUT_MS, on_answer)
        self._out(Send(connection, self._last, event, payload))

    def answered(self, request: int, ack: Any, now_ms: float) -> None:
        """Passes an ack on; one that nobody waits for is ignored."""
        waiting = self._waiting.pop(request, None)
        if waiting is not None:
            waiting.on_answer(ack, now_ms)

    def drop(self) -> None:
        """The connection is gone: no ack will come any more."""
        self._waiting.clear()
