"""Why the server ends a connection that could go on: what the client is told in `closing`, just before it goes.

A connection that is cut (it does not read, or was never let in) is told nothing: it would not hear it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from playhead.runtime.limits import FLOOD_FACTOR, FLOOD_S


class CloseCode(StrEnum):
    TOKEN_EXPIRED = "token_expired"
    FLOODING = "flooding"


@dataclass(frozen=True, slots=True)
class Closing:
    """What to do about it; whether connecting again with the same token may succeed, and after how long."""

    message: str
    retry: bool
    retry_after_ms: int | None = None


CLOSINGS: dict[CloseCode, Closing] = {
    CloseCode.TOKEN_EXPIRED: Closing("The token has run out. Get a new one and connect again.", retry=False),
    CloseCode.FLOODING: Closing(
        f"More than {FLOOD_FACTOR} times the events that are allowed came for {FLOOD_S} seconds. Send less.",
        retry=True,
        retry_after_ms=10_000,
    ),
}


def closing_payload(code: CloseCode) -> dict[str, Any]:
    """The `closing` event."""
    closing = CLOSINGS[code]
    payload = {"code": code.value, "message": closing.message, "retry": closing.retry}
    return payload if closing.retry_after_ms is None else {**payload, "retry_after_ms": closing.retry_after_ms}
