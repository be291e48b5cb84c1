"""What a device may ask, and what it may report. Values only: the reducer gives them their meaning."""

from collections.abc import Mapping

import msgspec

from playhead.playback.state import Interval, Mode, Order

SLEEP_MS_MAX = 24 * 60 * 60 * 1000
OFFLINE_INTERVALS_MAX = 1_000
RATE_MIN = 0.25
RATE_MAX = 4.0
LOOP_LENGTH_MIN_MS = 250

REST_DEVICE_ID = "rest"
"""The device that a REST request without `device_id` acts as: always present for itself, nobody else's speaker."""

Connections = Mapping[str, str | None]
"""The listener's connected devices: device id to the id of its newest connection (None where it has none: REST)."""


class Origin(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Who asks: a device, by one of its connections (None over REST), naming its command (None: unnamed)."""

    device_id: str
    connection_id: str | None = None
    command_id: str | None = None


class Play(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Start or resume, at `position_ms` if given, on `device_id` if given."""

    position_ms: int | None = None
    device_id: str | None = None


class Pause(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Stop the sound; `position_ms` is the place that the listener heard."""

    position_ms: int | None = None


class Seek(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Move the playhead; `from_ms` is the place that the listener heard before."""

    position_ms: int
    from_ms: int | None = None


class SetLoop(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    start_ms: int
    end_ms: int
    enabled: bool


class SetRate(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    rate: float


class Transfer(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Move the sound to `device_id`; place, rate and loop stay."""

    device_id: str


class Leave(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """This connection plays the session no more: if it sounds, or is the sounding device's newest, the sound stops.

    In `together` another device goes on, if one is left that sounds; not one of `busy`, as in `Due`.
    """

    busy: frozenset[str] = frozenset()


class SetMode(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    mode: Mode


class SetSleep(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Pause after `after_ms` of server time, or when the loop ends for the next time; neither: no longer."""

    after_ms: int | None = None
    at_end_of_loop: bool = False


class Restore(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Go back to a place of the history: a seek that is told apart from other seeks."""

    position_ms: int


OTHER_SESSION: Order = (-1, -1)
"""The `base` of a batch that began in another session: older than whatever happened in this one."""


class Offline(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a device played without a connection: credited always, its end the place if no other moved or sounds.

    `base` is the state that it started from; None: the listener's answer to a conflict, its end is the place.
    """

    intervals: tuple[Interval, ...]
    position_ms: int
    base: Order | None


class Lost(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The server's own: the sounding device has no connection any more. It has until `until_ms` to come back.

    `last_seen_at_ms`: the last packet of the connection that ended last; None: nobody knows. A later report counts too.
    """

    device_id: str
    last_seen_at_ms: int | None
    until_ms: int


class Due(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The server's own: a deadline may have passed. `left_at_ms`: when the listener's last device went.

    `excused_until_ms`: until then no device can be blamed for being away; the servers themselves were.
    `busy`: devices that sound in another session; the role of one that is away is not passed to them.
    """

    left_at_ms: int | None = None
    excused_until_ms: int | None = None
    busy: frozenset[str] = frozenset()


class Renew(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The server's own: the address of what is played ends. The session goes on with its script's present file."""


class End(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The session is over; the next `play` of the script starts another one."""


class Report(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where the sound of the active device is: no command; moves the playhead only within rule 3's bounds.

    `revision` None is a report over plain REST: taken when it goes forward. `seq` makes it idempotent per device.
    `at_ms`: server time at which the sound was there, as the device reckons it; None: when the report is handled.
    """

    position_ms: int
    rate: float | None = None
    revision: int | None = None
    seq: int | None = None
    at_ms: int | None = None


Asked = Play | Pause | Seek | SetLoop | SetRate | SetMode | SetSleep | Transfer | Restore | Leave | End
"""What a device may ask for."""
Command = Asked | Report | Offline | Lost | Due | Renew

COMMAND_NAMES: dict[type[Command], str] = {
    Play: "play",
    Pause: "pause",
    Seek: "seek",
    SetLoop: "loop",
    SetRate: "rate",
    Transfer: "transfer",
    SetMode: "mode",
    SetSleep: "sleep",
    Restore: "restore",
    Leave: "leave",
    End: "end",
    Report: "progress",
    Offline: "offline",
    Lost: "lost",
    Due: "due",
    Renew: "renew",
}
"""The name of each command on every surface, in events and in metrics."""
