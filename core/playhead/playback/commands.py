"""What a device may ask, and what it may report. Values only: the reducer gives them their meaning."""

from dataclasses import dataclass
from typing import Literal

RATE_MIN = 0.25
RATE_MAX = 4.0
LOOP_LENGTH_MIN_MS = 250

REST_DEVICE_ID = "rest"
"""The device that a REST request without `device_id` acts as: always present for itself, nobody else's speaker."""

EndReason = Literal["ended_by_listener", "idle"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who asks: a device, by one of its connections (None over REST), naming its command (None: unnamed)."""

    device_id: str
    connection_id: str | None = None
    command_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Play:
    """Start or resume, at `position_ms` if given, on `device_id` if given."""

    position_ms: int | None = None
    device_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Stop the sound; `position_ms` is the place that the listener heard."""

    position_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seek:
    """Move the playhead; `from_ms` is the place that the listener heard before."""

    position_ms: int
    from_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SetLoop:
    start_ms: int
    end_ms: int
    enabled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRate:
    rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """Move the sound to `device_id`; place, rate and loop stay."""

    device_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """This connection shows the session no longer; when it is the one that sounds, the sound stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vanished:
    """The server's own: the sounding connection was last heard of at `last_seen_at_ms` and has not come back."""

    connection_id: str
    last_seen_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    reason: EndReason = "ended_by_listener"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Where the sound of the active device is: no command; moves the playhead only within rule 3's bounds.

    `revision` None is a report over plain REST: taken when it goes forward. `seq` makes it idempotent per device.
    """

    position_ms: int
    rate: float | None = None
    revision: int | None = None
    seq: int | None = None


Action = Play | Pause | Seek | SetLoop | SetRate | Transfer | Leave | Vanished | End
Command = Action | Report

COMMAND_NAMES: dict[type[Command], str] = {
    Play: "play",
    Pause: "pause",
    Seek: "seek",
    SetLoop: "loop",
    SetRate: "rate",
    Transfer: "transfer",
    Leave: "leave",
    Vanished: "vanished",
    End: "end",
    Report: "progress",
}
"""The name of each command on every surface, in events and in metrics."""
