"""Why this end closed a session, where the client is to blame; and what the websocket says of it (RFC 6455 7.4.1)."""

from enum import StrEnum

from picows import WSCloseCode


class Ending(StrEnum):
    UNREADABLE = "unreadable"
    """Sent what is no packet."""
    TOO_LARGE = "too_large"
    """Sent a packet past the limit."""
    SLOW_READER = "slow_reader"
    """Did not read what was written."""
    OVERRUN = "overrun"
    """Sent far more than is handled, and did not stop."""


CLOSE_CODES = {
    Ending.UNREADABLE: WSCloseCode.POLICY_VIOLATION,
    Ending.TOO_LARGE: WSCloseCode.MESSAGE_TOO_BIG,
}
"""The others cut the connection: who does not read, or does not stop, would hear no CLOSE."""
