"""What travels between a device and the server, as values: places in float seconds, times in server ms since the epoch.

Reading is strict about what it needs and blind to the rest: a newer server may add fields. Malformed is for what is not
of the protocol; whoever reads it knows no more than before.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter, ValidationError

PROTOCOL = 1

Order = tuple[int, int]
"""`(epoch, revision)`: which of two states is the later one."""
Mode = Literal["handoff", "together"]
Kind = Literal["phone", "desktop", "speaker", "browser"]
Payload = dict[str, Any]
Read = TypeVar("Read")


class Malformed(ValueError):
    """What arrived is not of this protocol."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """An A-B loop over `[start, end)`, in seconds; without effect while `enabled` is false."""

    start: float
    end: float
    enabled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why a state is what it is. `device_id` None: the server did it by itself."""

    command: str
    device_id: str | None = None
    command_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """One session as every device of its listener shows it. `cause` None: a snapshot, or nothing has changed."""

    session_id: str
    script_id: str
    epoch: int
    revision: int
    playing: bool
    position: float
    anchored_at: int
    rate: float
    duration: float
    loop: Loop | None = None
    mode: Mode = "handoff"
    active_device: str | None = None
    sleep_at: int | None = None
    sleep_at_end_of_loop: bool = False
    ended: bool = False
    cause: Cause | None = None
    media_version: str | None = None
    """The file that is played; the script may have another one by now. None: the server does not know it yet."""

    @property
    def order(self) -> Order:
        """A state is shown only when this is higher than that of the one shown before."""
        return (self.epoch, self.revision)


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """This device, as it introduces itself. `id` is made once and kept; letters, digits, `_.:-`, at most 64."""

    id: str
    name: str
    kind: Kind = "desktop"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectedDevice:
    """A device of the listener that is connected now, since `connected_at`."""

    id: str
    name: str
    kind: str
    connected_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicesOrder:
    """Which of two lists of devices is the later one."""

    epoch: int
    version: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a script without a live session resumes; a `finished` one starts at 0."""

    position: float
    finished: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A named "no". `retry`: the same may be sent again, after `retry_after_ms` where the server says so."""

    code: str
    message: str
    retry: bool = False
    state: State | None = None
    reported: float | None = None
    retry_after_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The answer of `join`. `state` None: the script has no live session, and `place` is where it resumes.

    `epoch`: the life of the state store that answers, where the server tells it.
    """

    state: State | None
    place: Place | None
    devices: tuple[ConnectedDevice, ...]
    devices_order: DevicesOrder
    server_time: int
    epoch: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The answer of a command: the session after it."""

    state: State
    server_time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Played(Accepted):
    """The answer of `play`. `stream_url` is null while the database is away: ask for the stream over REST then."""

    created: bool
    stream_url: str | None
    stream_expires_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Credited(Accepted):
    """The answer of `progress` and `offline`: seconds of the script listened to so far; how far it is, in percent."""

    total_listened: float
    progress_percent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockAnswer:
    """Server time when the question arrived (`t1`) and when it was answered (`t2`)."""

    t0: float
    t1: float
    t2: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTaken:
    """The answer of `auth`: the connection now lives until then."""

    expires_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Devices:
    """The event `devices`; a snapshot has the same."""

    devices: tuple[ConnectedDevice, ...]
    devices_order: DevicesOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class Draining:
    """The event `draining`: this server process goes away in that time."""

    retry_after_ms: float


def _made(kind: type[Any]) -> Callable[[Any], Any]:
    return TypeAdapter(kind).validator.validate_python


_reader: Callable[[Any], Callable[[Any], Any]] = cache(_made)
"""Made once per kind: making one takes a millisecond."""


def read(kind: type[Read], data: Any) -> Read:
    """`data` as one of these values. Raises Malformed."""
    try:
        reader: Callable[[Any], Read] = _reader(kind)
        return reader(data)
    except ValidationError as error:
        raise Malformed(f"not a {kind.__name__}: {error.error_count()} fields are not as documented") from None


def read_answer(kind: type[Read], ack: Any) -> Read | Refusal:
    """An ack: the good answer as `kind`, or the refusal in it. Raises Malformed."""
    if not isinstance(ack, dict) or not isinstance(ack.get("ok"), bool):
        raise Malformed("not an ack: there is no `ok`")
    return read(kind, ack) if ack["ok"] else read(Refusal, ack.get("error"))
