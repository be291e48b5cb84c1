"""The Python client, and the reference for clients in other languages: docs/protocol.md says what it must do and why.

Owns: one device's side of the protocol. Must not know: the server; of the project's own code it imports `playback`.
How it works: `core` decides (pure), `client.Client` carries out on asyncio, `socketio_transport` speaks Socket.IO.
"""

from playhead.client.client import Client
from playhead.client.core import wishes
from playhead.client.core.errors import ClientError, Refused, Stopped, Unanswered
from playhead.client.core.events import (
    DevicesChanged,
    Event,
    Joined,
    JoinRefused,
    Prepared,
    Reported,
    ReportRefused,
    ServerEvent,
    SessionEnded,
    SessionStarted,
    StateChanged,
    Status,
    StatusChanged,
)
from playhead.client.core.offline import OfflineLog, Stretch
from playhead.client.core.reports import FollowingSound, Heard, Sound
from playhead.client.core.wire import (
    Accepted,
    Cause,
    ConnectedDevice,
    Credited,
    Device,
    Loop,
    Place,
    Played,
    Refusal,
    Snapshot,
    State,
)
from playhead.client.core.wishes import Wish
from playhead.client.inbox import TooSlow
from playhead.client.transport import Listener, SystemTiming, Timing, Transport

__all__ = [
    "Accepted",
    "Cause",
    "Client",
    "ClientError",
    "ConnectedDevice",
    "Credited",
    "Device",
    "DevicesChanged",
    "Event",
    "FollowingSound",
    "Heard",
    "JoinRefused",
    "Joined",
    "Listener",
    "Loop",
    "OfflineLog",
    "Place",
    "Played",
    "Prepared",
    "Refusal",
    "Refused",
    "ReportRefused",
    "Reported",
    "ServerEvent",
    "SessionEnded",
    "SessionStarted",
    "Snapshot",
    "Sound",
    "State",
    "StateChanged",
    "Status",
    "StatusChanged",
    "Stopped",
    "Stretch",
    "SystemTiming",
    "Timing",
    "TooSlow",
    "Transport",
    "Unanswered",
    "Wish",
    "wishes",
]
