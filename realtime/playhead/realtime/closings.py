"""Why the server ends a connection that could go on: what the client is told in `closing`, just before it goes.

A connection that is cut (it does not read, or was never let in) is told nothing: it would not hear it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class CloseCode(StrEnum):
    TOKEN_EXPIRED = "token_expired"


@dataclass(frozen=True, slots=True)
class Closing:
    """What to do about it, and whether connecting again with the same token may succeed."""

    message: str
    retry: bool


CLOSINGS: dict[CloseCode, Closing] = {
    CloseCode.TOKEN_EXPIRED: Closing("The token has run out. Get a new one and connect again.", retry=False),
}


def closing_payload(code: CloseCode) -> dict[str, Any]:
    """The `closing` event."""
    closing = CLOSINGS[code]
    return {"code": code.value, "message": closing.message, "retry": closing.retry}
