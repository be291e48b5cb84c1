"""What travels over a socket, as models: the handshake, every event's good ack, every event of the server.

What clients send is in `playhead.sessions.requests`, bound to its handlers in `playhead.realtime.handlers.EVENTS`.
These models document the other direction; tests hold them against everything that real servers answer.
"""

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, Field

from playhead.http.answers import BookmarkAnswer, DeviceAnswer, PrepareAnswer, State
from playhead.playback.rejections import Code

MS = "Server time in ms since the Unix epoch."


class RefusalMessage(BaseModel):
    """A named "no". `retry`: the same may be sent again, and succeed."""

    code: Code
    message: str = Field(description="What is wrong and what to do, in a sentence for people.")
    retry: bool
    state: State | None = Field(None, description="The session as it is, where knowing it helps to decide.")
    reported: float | None = Field(None, description="The place that a refused report claimed, in seconds.")
    retry_after_ms: int | None = Field(None, description="Not before.")


class RefusalAck(BaseModel):
    """The ack of an event that was refused: nothing was changed."""

    ok: Literal[False]
    error: RefusalMessage
    server_time: int = Field(description=MS)


class Ack(BaseModel):
    """The ack of an event that was accepted."""

    ok: Literal[True]
    server_time: int = Field(description=f"When it was decided. {MS}")


class StateAck(Ack):
    """The session after a command."""

    state: State


class PlaceMessage(BaseModel):
    """Where a script without a live session resumes; a finished one starts at 0."""

    position: float
    finished: bool


class DevicesOrder(BaseModel):
    """Of two lists of devices the one with the higher `(epoch, version)` is the later one."""

    epoch: int
    version: int


class JoinAck(Ack):
    """A snapshot. `state` null: the script has no live session; then `place`, if the listener ever played it."""

    state: State | None
    place: PlaceMessage | None
    devices: list[DeviceAnswer]
    devices_order: DevicesOrder


class PlayAck(StateAck):
    """The session that plays, and where its sound is."""

    created: bool = Field(description="Whether the session is a new one.")
    stream_url: str | None = Field(description="An HLS playlist; null while the database is away.")
    stream_expires_at: int | None = Field(description=MS)


class CreditAck(StateAck):
    """A report that was believed, or an offline batch that was taken."""

    saved: Literal[True]
    total_listened: float = Field(description="Seconds of the script that were heard, each counted once.")
    progress_percent: float = Field(description="100 x position / duration, two decimals.")


class ClockAck(Ack):
    """Server time when the question arrived and when it was answered."""

    t0: float = Field(description="As it was sent.")
    t1: int = Field(description=MS)
    t2: int = Field(description=MS)


class AuthAck(Ack):
    """The connection stands on the new token."""

    expires_at: int = Field(description=MS)


class SessionStartedEvent(BaseModel):
    """A new session of the listener; the `state` event follows."""

    session_id: str
    script_id: str
    state: State


class SessionEndedEvent(BaseModel):
    """A session is over; the `state` event with `ended` came before."""

    session_id: str
    script_id: str
    reason: str
    position: float


class DevicesEvent(BaseModel):
    """A device came, went or changed: all that are connected, oldest first. A list that is not later is dropped."""

    devices: list[DeviceAnswer]
    devices_order: DevicesOrder


class BookmarkEvent(BaseModel):
    """A bookmark was changed over REST. Of two changes the later `updated_at` holds; a deleted one stays deleted."""

    action: Literal["created", "changed", "deleted"]
    bookmark: BookmarkAnswer


class StreamEvent(BaseModel):
    """The address that a `play` was answered with runs out: the same media under a newer token."""

    script_id: str
    session_id: str
    stream_url: str
    expires_at: int = Field(description=MS)


class ResyncEvent(BaseModel):
    """Something may have been missed that this server cannot send by itself: ask for a snapshot."""

    reason: Literal["gap", "missed", "store_behind"]


class ExpiringEvent(BaseModel):
    """The connection's token runs out: send a newer one with `auth`."""

    expires_at: int = Field(description=MS)


class DrainingEvent(BaseModel):
    """This server process goes away: connect again after that time, which is another one for every connection."""

    retry_after_ms: int


class ClosingEvent(BaseModel):
    """The server is about to end this connection. `retry` false: not again with the same token."""

    code: str
    message: str
    retry: bool
    retry_after_ms: int | None = Field(None, description="Not before.")


@dataclass(frozen=True, slots=True)
class ClientEvent:
    """One row: what it asks for, and the model of its good ack."""

    summary: str
    ack: type[Ack]


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One row: when it comes, the model of its data, and to whom it goes."""

    summary: str
    model: type[BaseModel]
    to: Literal["listener", "connection"] = "listener"


CLIENT_EVENTS: dict[str, ClientEvent] = {
    "join": ClientEvent("Follow a session, or the live one of a script: a snapshot.", JoinAck),
    "leave": ClientEvent("Follow it no longer; the sound of this connection stops.", StateAck),
    "play": ClientEvent("Resume a session, or a script: its live session, else a new one.", PlayAck),
    "pause": ClientEvent("Stop the sound.", StateAck),
    "seek": ClientEvent("Move the playhead.", StateAck),
    "loop": ClientEvent("Set an A-B loop, and switch it on or off.", StateAck),
    "rate": ClientEvent("Play faster or slower.", StateAck),
    "mode": ClientEvent("Let one device sound, or all of them in unison.", StateAck),
    "sleep": ClientEvent("Let the server pause by itself, or no longer.", StateAck),
    "transfer": ClientEvent("Move the sound to another connected device.", StateAck),
    "restore": ClientEvent("Go back to the place of an entry of the history.", StateAck),
    "end": ClientEvent("End the session; the next `play` of the script starts another one.", StateAck),
    "progress": ClientEvent("Report where the sound of the active device is.", CreditAck),
    "offline": ClientEvent("Tell what was played without a connection.", CreditAck),
    "clock": ClientEvent("Ask for server time.", ClockAck),
    "auth": ClientEvent("Put a newer token under this connection.", AuthAck),
}
"""Every event that a client may send."""

SERVER_EVENTS: dict[str, ServerEvent] = {
    "state": ServerEvent("A session has changed.", State),
    "session_started": ServerEvent("The listener has a new session.", SessionStartedEvent),
    "session_ended": ServerEvent("A session is over.", SessionEndedEvent),
    "devices": ServerEvent("A device came, went or changed.", DevicesEvent),
    "bookmark": ServerEvent("A bookmark was made, changed or deleted.", BookmarkEvent),
    "prepare": ServerEvent("A script that this connection has joined is this far.", PrepareAnswer, "connection"),
    "resync": ServerEvent("Something may have been missed: ask for a snapshot.", ResyncEvent),
    "stream": ServerEvent("The address of the stream runs out; here is a newer one.", StreamEvent, "connection"),
    "expiring": ServerEvent("The token of this connection runs out.", ExpiringEvent, "connection"),
    "draining": ServerEvent("This server process goes away.", DrainingEvent, "connection"),
    "closing": ServerEvent("The server is about to end this connection.", ClosingEvent, "connection"),
}
"""Every event that the server may send."""
