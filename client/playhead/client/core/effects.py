"""What the logic wants done: values that its shell carries out, in order."""

from dataclasses import dataclass

from playhead.client.core.events import Event
from playhead.client.core.wire import Payload


@dataclass(frozen=True, slots=True)
class FetchToken:
    """Ask the app for a fresh token; then call `token`, or `token_failed`."""


@dataclass(frozen=True, slots=True)
class Open:
    """Connect to `url`; then call `opened` or `open_failed` with the same number, and `closed` once it is over."""

    connection: int
    url: str
    auth: Payload


@dataclass(frozen=True, slots=True)
class Send:
    """Send an event over that connection; call `answered` with its ack, if one comes."""

    connection: int
    request: int
    event: str
    payload: Payload


@dataclass(frozen=True, slots=True)
class Close:
    """Give that connection up. Whatever it still brings is ignored."""

    connection: int


@dataclass(frozen=True, slots=True)
class Tell:
    """Tell the app."""

    event: Event


@dataclass(frozen=True, slots=True)
class Settle:
    """What was asked under `ask_id` has its outcome: an answer, or the exception to raise."""

    ask_id: str
    outcome: object


Effect = FetchToken | Open | Send | Close | Tell | Settle
