"""What a caller of the client can be told instead of an answer. Each text says what is known, and what to do."""

from playhead.client.core.wire import Refusal, State


class ClientError(Exception):
    """Whatever the client raises by itself."""


class Refused(ClientError):
    """The server said no. Nothing of the command was done; `state` is the one that won, where knowing it helps."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(f"{refusal.code}: {refusal.message}")
        self.code = refusal.code
        self.message = refusal.message
        self.retry = refusal.retry
        self.state: State | None = refusal.state
        self.reported = refusal.reported
        """The place that a refused report or offline batch claimed, in seconds."""


class Unanswered(ClientError):
    """No answer came in time. `sent`: it may have been done all the same; the next state tells."""

    def __init__(self, event: str, sent: bool) -> None:
        known = (
            "It may have been done all the same; look at the state." if sent else "It was not sent; nothing was done."
        )
        super().__init__(f"The server did not answer `{event}` in time. {known}")
        self.event = event
        self.sent = sent


class Stopped(ClientError):
    """The client was closed, or the server does not want it: see `Client.refusal`."""
