"""What the parts of a conversation reach each other and the outside with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from playhead.client.core.effects import Effect
from playhead.client.core.wire import Payload, State

OnAnswer = Callable[[Any, float], None]
"""Takes an ack as it came, and the local time. May raise Malformed: the connection is then given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """`chance`: a number in [0, 1). `out`: to the shell. `take`: a state, from wherever it came.

    `ask`: sends an event over the current connection: its name, payload, the local time, what to do with the ack.
    `doubt`: what is held of a session (None: of all of them) may be old, or gone: a snapshot is wanted.
    """

    chance: Callable[[], float]
    out: Callable[[Effect], None]
    take: Callable[[State], None]
    ask: Callable[[str, Payload, float, OnAnswer], None]
    doubt: Callable[[str | None], None]
