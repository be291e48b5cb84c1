"""What clients may send, on both surfaces: the fields, their limits, and the command that each request means.

Seconds become integer milliseconds here, once. A field that is not known is refused, so that a typing error is not
silently another command.
"""

import re
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from playhead.db.limits import DURATION_MS_MAX
from playhead.playback.commands import (
    OFFLINE_INTERVALS_MAX,
    RATE_MAX,
    RATE_MIN,
    REST_DEVICE_ID,
    SLEEP_MS_MAX,
    End,
    Leave,
    Offline,
    Pause,
    Play,
    Report,
    Seek,
    SetLoop,
    SetMode,
    SetRate,
    SetSleep,
    Transfer,
)
from playhead.sessions.codec import milliseconds
from playhead.sessions.journal import OfflineInterval
from playhead.sessions.sound_figures import SoundFigures

PLACE_MAX_S = DURATION_MS_MAX / 1000
"""The end of the longest script."""
DEVICE_ID_LENGTH_MAX = 64
NAME_LENGTH_MAX = 64
COUNTER_MAX = 2**53 - 1
"""Largest integer that JavaScript holds exactly."""
ENTRY_ID_LENGTH_MAX = 120
OFFLINE_AGE_MS_MAX = 90 * 24 * 60 * 60 * 1000
"""Older client times count as so old, and later ones than now as now: no clock of a client decides anything."""
OFFLINE_TOLERANCE_MS = 2_000
OFFLINE_TOTAL_MS_MAX = int(OFFLINE_AGE_MS_MAX * RATE_MAX)
"""Audio in one batch: what can be played in the time that counts."""
RTT_MS_MAX = 60_000
"""Longest round trip that a device may tell; a connection as slow as that would have been given up."""


_CANONICAL = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def _canonical_uuid(text: str) -> str:
    if _CANONICAL.fullmatch(text):
        return text
    try:
        return str(UUID(text))
    except ValueError:
        raise ValueError("must be a UUID") from None


def _not_reserved(device_id: str) -> str:
    if device_id == REST_DEVICE_ID:
        raise ValueError(f"`{REST_DEVICE_ID}` is reserved for requests without a device")
    return device_id


Id = Annotated[str, AfterValidator(_canonical_uuid), WithJsonSchema({"type": "string", "format": "uuid"})]
"""A UUID in text; every spelling of it becomes the same one."""
Seconds = Annotated[float, Field(strict=True, ge=0, le=PLACE_MAX_S, allow_inf_nan=False)]
Rate = Annotated[float, Field(strict=True, ge=RATE_MIN, le=RATE_MAX, allow_inf_nan=False)]
Counter = Annotated[int, Field(strict=True, ge=0, le=COUNTER_MAX)]
Flag = Annotated[bool, Field(strict=True)]
DeviceId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:-]+$", max_length=DEVICE_ID_LENGTH_MAX)]
OwnDeviceId = Annotated[DeviceId, AfterValidator(_not_reserved)]


class Request(BaseModel):
    """What every command may carry."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    command_id: Id | None = Field(None, description="Names this command; it comes back in the cause of the state.")
    expected_revision: Counter | None = Field(None, description="Refuse with `conflict` unless the session is there.")
    expected_epoch: Counter | None = Field(
        None, description="The epoch of that revision: another life of the store may have come to the same number."
    )

    @property
    def expected(self) -> tuple[int | None, int | None]:
        return self.expected_revision, self.expected_epoch


class SessionRequest(Request):
    session_id: Id


class PlayRequest(Request):
    """Resume a session, or play a script: its live session if there is one, else a new one from the stored place."""

    session_id: Id | None = None
    script_id: Id | None = None
    position: Seconds | None = Field(None, description="Where to start; default: where the listener stopped.")
    device_id: DeviceId | None = Field(None, description="The device that shall sound.")

    @model_validator(mode="after")
    def _one_of_both(self) -> "PlayRequest":
        if (self.session_id is None) == (self.script_id is None):
            raise ValueError("give either `session_id` or `script_id`")
        return self

    def command(self) -> Play:
        return Play(position_ms=_optional(self.position), device_id=self.device_id)


class PauseRequest(SessionRequest):
    position: Seconds | None = Field(None, description="The place that the listener heard.")

    def command(self) -> Pause:
        return Pause(position_ms=_optional(self.position))


class SeekRequest(SessionRequest):
    position: Seconds
    from_: Seconds | None = Field(None, alias="from", description="The place that the listener heard before.")

    def command(self) -> Seek:
        return Seek(position_ms=milliseconds(self.position), from_ms=_optional(self.from_))


class LoopRequest(SessionRequest):
    start: Seconds
    end: Seconds
    enabled: Flag

    def command(self) -> SetLoop:
        return SetLoop(start_ms=milliseconds(self.start), end_ms=milliseconds(self.end), enabled=self.enabled)


class RateRequest(SessionRequest):
    rate: Rate

    def command(self) -> SetRate:
        return SetRate(rate=self.rate)


class TransferRequest(SessionRequest):
    device_id: DeviceId

    def command(self) -> Transfer:
        return Transfer(device_id=self.device_id)


class ModeRequest(SessionRequest):
    mode: Literal["handoff", "together"]

    def command(self) -> SetMode:
        return SetMode(mode=self.mode)


class SleepRequest(SessionRequest):
    """Pause by itself: `after` so many seconds, or at the end of the loop; without either, no longer."""

    after: Annotated[float, Field(strict=True, gt=0, le=SLEEP_MS_MAX / 1000, allow_inf_nan=False)] | None = None
    at_end_of_loop: Flag = False

    @model_validator(mode="after")
    def _not_both(self) -> "SleepRequest":
        if self.after is not None and self.at_end_of_loop:
            raise ValueError("give `after` or `at_end_of_loop`, not both")
        return self

    def command(self) -> SetSleep:
        return SetSleep(after_ms=_optional(self.after), at_end_of_loop=self.at_end_of_loop)


class RestoreRequest(SessionRequest):
    """Go back to the place of an entry of the session's history."""

    entry_id: Annotated[str, Field(min_length=1, max_length=ENTRY_ID_LENGTH_MAX)]


class EndRequest(SessionRequest):
    def command(self) -> End:
        return End()


class LeaveRequest(SessionRequest):
    def command(self) -> Leave:
        return Leave()


class ProgressRequest(SessionRequest, SoundFigures):
    """Where the sound of the active device is."""

    position: Seconds
    rate: Rate | None = None
    playing: Flag | None = None
    revision: Counter
    seq: Counter | None = Field(None, description="Counts this device's reports; a repeat changes nothing.")
    at: Counter | None = Field(
        None, description="Server time in ms when the place was measured; default: when it is handled."
    )

    def command(self) -> Report:
        return Report(
            position_ms=milliseconds(self.position),
            rate=self.rate,
            revision=self.revision,
            seq=self.seq,
            at_ms=self.at,
        )


class Seen(BaseModel):
    """The newest state that the device has shown."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epoch: Counter
    revision: Counter


class JoinRequest(BaseModel):
    """Ask for the session as it is: by its id, or the live one of a script."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    session_id: Id | None = None
    script_id: Id | None = None
    seen: Seen | None = None
    command_id: Id | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "JoinRequest":
        if (self.session_id is None) == (self.script_id is None):
            raise ValueError("give either `session_id` or `script_id`")
        return self


class OfflineStretch(BaseModel):
    """One stretch that was played: places in seconds, the client's times in ms since the Unix epoch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: Seconds
    end: Seconds
    started_at: Counter
    ended_at: Counter

    @model_validator(mode="after")
    def _possible(self) -> "OfflineStretch":
        if self.end <= self.start:
            raise ValueError("`end` must lie behind `start`")
        longest_ms = (self.ended_at - self.started_at) * RATE_MAX + OFFLINE_TOLERANCE_MS
        if milliseconds(self.end - self.start) > longest_ms:
            raise ValueError("more audio than can be played between `started_at` and `ended_at`")
        return self

    def interval(self, device_id: str, now_ms: int) -> OfflineInterval:
        earliest_ms = max(0, now_ms - OFFLINE_AGE_MS_MAX)
        started_at_ms = min(max(self.started_at, earliest_ms), now_ms)
        return OfflineInterval(
            device_id=device_id,
            start_ms=milliseconds(self.start),
            end_ms=milliseconds(self.end),
            told_at_ms=self.started_at,
            started_at_ms=started_at_ms,
            # a clock that was set back meanwhile, within the tolerance
            ended_at_ms=min(max(self.ended_at, started_at_ms), now_ms),
        )


class OfflineBase(Seen):
    """The state that the device played on from when its connection went."""

    session_id: Id


class OfflineRequest(BaseModel):
    """What was played without a connection. Without a `base` the `position` is taken whatever happened since."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    script_id: Id
    position: Seconds
    intervals: Annotated[list[OfflineStretch], Field(max_length=OFFLINE_INTERVALS_MAX)]
    base: OfflineBase | None = None
    command_id: Id | None = None

    @model_validator(mode="after")
    def _possible(self) -> "OfflineRequest":
        if sum(milliseconds(row.end - row.start) for row in self.intervals) > OFFLINE_TOTAL_MS_MAX:
            raise ValueError(f"`intervals` may hold {OFFLINE_TOTAL_MS_MAX // 1_000} seconds of audio in all")
        return self

    def command(self) -> Offline:
        base = None if self.base is None else (self.base.epoch, self.base.revision)
        intervals = tuple((milliseconds(row.start), milliseconds(row.end)) for row in self.intervals)
        return Offline(intervals=intervals, position_ms=milliseconds(self.position), base=base)

    @property
    def base_session_id(self) -> str | None:
        return None if self.base is None else self.base.session_id


class ClockRequest(BaseModel):
    """`t0`: the client's clock in ms when it sent this. `rtt_ms`: the ways of its last one, there and back."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    t0: Annotated[float, Field(strict=True, allow_inf_nan=False)]
    rtt_ms: Annotated[float, Field(strict=True, ge=0, le=RTT_MS_MAX, allow_inf_nan=False)] | None = None


class AuthRequest(BaseModel):
    """A newer token of the same listener."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    token: Annotated[str, Field(repr=False)]


class Device(BaseModel):
    """A device as it introduces itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: OwnDeviceId
    name: Annotated[str, Field(min_length=1, max_length=NAME_LENGTH_MAX)]
    kind: Literal["phone", "desktop", "speaker", "browser"]


def _optional(value_s: float | None) -> int | None:
    return None if value_s is None else milliseconds(value_s)
