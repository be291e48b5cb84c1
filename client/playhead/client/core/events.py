"""What the client tells its app, in the order in which it learned it."""

from dataclasses import dataclass
from enum import StrEnum

from playhead.client.core.wire import ConnectedDevice, Credited, Payload, Place, Refusal, State


class Status(StrEnum):
    """How the line to the server stands."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    """Also while the snapshots of the followed sessions are still on their way."""
    RECONNECTING = "reconnecting"
    REFUSED = "refused"
    """The server does not want this client, and asking again would not help: the end, unless it is started anew."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusChanged:
    """`refusal`: why, where the server has said so."""

    status: Status
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChanged:
    """A later state of a session than the one held: from an event, from an ack of this device, or from a snapshot."""

    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A snapshot has come, first or again. `state` None: `script_id` has no live session, it resumes at `place`."""

    script_id: str | None
    session_id: str | None
    state: State | None
    place: Place | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRefused:
    """What was followed cannot be, and is followed no longer."""

    script_id: str | None
    session_id: str | None
    refusal: Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionStarted:
    session_id: str
    script_id: str
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnded:
    session_id: str
    script_id: str
    reason: str
    position: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicesChanged:
    devices: tuple[ConnectedDevice, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A script that this device has joined is prepared this far, 0 to 1. It can be heard before it is `ready`."""

    script_id: str
    status: str
    progress: float
    duration: float
    media_version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reported:
    """The server has believed a report of this device."""

    session_id: str
    answer: Credited


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportRefused:
    """The server has not believed it; `refusal.state` is where the session is, `refusal.reported` what was said."""

    session_id: str
    refusal: Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerEvent:
    """Any other event of the server: `bookmark`, `stream`, and what later servers add."""

    name: str
    data: Payload


Event = (
    StatusChanged
    | StateChanged
    | Joined
    | JoinRefused
    | SessionStarted
    | SessionEnded
    | DevicesChanged
    | Prepared
    | Reported
    | ReportRefused
    | ServerEvent
)
