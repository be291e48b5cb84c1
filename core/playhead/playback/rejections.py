"""Every way to say no, in one table: the same codes in REST problems, Socket.IO acks and the documentation.

A rejection is a value that tells the caller what to do; exceptions are kept for our bugs and for I/O.
"""

from dataclasses import dataclass
from enum import StrEnum

from playhead.playback.state import SessionState


class Code(StrEnum):
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    INVALID = "invalid"
    UNKNOWN_EVENT = "unknown_event"
    TOO_LARGE = "too_large"
    UNSUPPORTED_PROTOCOL = "unsupported_protocol"
    OUT_OF_BOUNDS = "out_of_bounds"
    LOOP_TOO_SHORT = "loop_too_short"
    NO_LOOP = "no_loop"
    CONFLICT = "conflict"
    COMMAND_ID_REUSED = "command_id_reused"
    DEVICE_NOT_CONNECTED = "device_not_connected"
    SESSION_ENDED = "session_ended"
    SCRIPT_NOT_READY = "script_not_ready"
    SCRIPT_FAILED = "script_failed"
    SCRIPT_EXISTS = "script_exists"
    NOT_AUDIO = "not_audio"
    OVERLOADED = "overloaded"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Reason:
    """One row of the table: what went wrong and how to mend it, the HTTP status, whether a repeat may succeed."""

    message: str
    status: int
    retry: bool = False


REASONS: dict[Code, Reason] = {
    Code.UNAUTHORIZED: Reason(
        "The token is missing, malformed, expired or not for this service. Get a new one and connect again.", 401
    ),
    Code.FORBIDDEN: Reason(
        "The token does not allow this. Ask for a token with the scope that is named in the documentation.", 403
    ),
    Code.NOT_FOUND: Reason("There is no such thing for this listener. Check the id.", 404),
    Code.INVALID: Reason("The payload is not valid. See `detail` for the field and the rule.", 422),
    Code.UNKNOWN_EVENT: Reason("The server knows no such event. See docs/protocol.md for the list.", 404),
    Code.TOO_LARGE: Reason("The payload is larger than the limit. Send less.", 413),
    Code.UNSUPPORTED_PROTOCOL: Reason("This server speaks protocol 1. Update the client.", 400),
    Code.OUT_OF_BOUNDS: Reason("The place is outside the script. It must lie between 0 and the duration.", 422),
    Code.LOOP_TOO_SHORT: Reason("The loop is too short. It must be at least 0.25 seconds long.", 422),
    Code.NO_LOOP: Reason("No loop is on. Switch one on first.", 409),
    Code.CONFLICT: Reason("The session has moved on. Take the state in this answer and decide again.", 409),
    Code.COMMAND_ID_REUSED: Reason(
        "This `command_id` named another command before. Give every command an id of its own.", 409
    ),
    Code.DEVICE_NOT_CONNECTED: Reason(
        "That device is not connected. Nothing was changed; choose a connected one.", 409
    ),
    Code.SESSION_ENDED: Reason("The session has ended. Send `play` with the script to start a new one.", 409),
    Code.SCRIPT_NOT_READY: Reason(
        "The script is not measured yet. Try again when its status is `processing` or `ready`.", 409, True
    ),
    Code.SCRIPT_FAILED: Reason("The script could not be prepared. Its `error` says why; upload it again.", 409),
    Code.SCRIPT_EXISTS: Reason("This script id is taken. Choose another one, or leave it out.", 409),
    Code.NOT_AUDIO: Reason("The file cannot be played. See `detail`; upload a complete audio file.", 422),
    Code.OVERLOADED: Reason("A limit is reached. Wait a moment and send the same again.", 503, True),
    Code.UNAVAILABLE: Reason(
        "A store does not answer, and it is not known whether this was done. Send the same again in a moment; with the "
        "same `command_id` it is done once.",
        503,
        True,
    ),
    Code.INTERNAL: Reason("The server failed to answer. The failure is logged; nothing was acknowledged.", 500, True),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A refused command: state unchanged.

    `detail` narrows the table's message down to this case. `state` is the one that won, where knowing it helps.
    `reported_ms` is the place that a refused report claimed; the current place is in `state`.
    `retry_after_ms` is how long to wait before the same again has a chance, where that is known.
    """

    code: Code
    detail: str | None = None
    state: SessionState | None = None
    reported_ms: int | None = None
    retry_after_ms: int | None = None

    @property
    def reason(self) -> Reason:
        return REASONS[self.code]

    @property
    def message(self) -> str:
        return self.detail or self.reason.message
