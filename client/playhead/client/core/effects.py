"""What the logic wants done: values that its shell carries out, in order.

Structs, as each thing that happens makes a few: a frozen dataclass takes three times as long to make.
"""

from msgspec import Struct

from playhead.client.core.events import Event
from playhead.client.core.wire import Payload


class FetchToken(Struct, frozen=True):
    """Ask the app for a fresh token; then call `token`, or `token_failed`."""


class Open(Struct, frozen=True):
    """Connect to `url`; then call `opened` or `open_failed` with the same number, and `closed` once it is over."""

    connection: int
    url: str
    auth: Payload


class Send(Struct, frozen=True):
    """Send an event over that connection; call `answered` with its ack, if one comes."""

    connection: int
    request: int
    event: str
    payload: Payload


class Close(Struct, frozen=True):
    """Give that connection up. Whatever it still brings is ignored."""

    connection: int


class Tell(Struct, frozen=True):
    """Tell the app."""

    event: Event


class Settle(Struct, frozen=True):
    """What was asked under `ask_id` has its outcome: an answer, or the exception to raise."""

    ask_id: str
    outcome: object


Effect = FetchToken | Open | Send | Close | Tell | Settle
