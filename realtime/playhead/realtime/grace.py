"""When the sounding connection goes away without a word: the session pauses after a grace, where it was last heard of.

A device that is back within the grace, with any connection, plays on. The timers live in this process: a node that dies
takes its own with it.
"""

import asyncio
from dataclasses import dataclass

import structlog

from playhead.db import DatabaseUnavailable
from playhead.playback.commands import Origin, Vanished
from playhead.realtime.connections import Connection
from playhead.sessions.presence import Presence
from playhead.sessions.service import SessionService
from playhead.sessions.store import StoreUnavailable

log = structlog.get_logger(__name__)

GRACE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gone:
    """A device that is waited for, and when it was last heard of."""

    task: asyncio.Task[None]
    last_seen_at_ms: int


class Grace:
    """Waits for devices that went away, and pauses what they left playing."""

    def __init__(self, service: SessionService, presence: Presence, grace_s: float = GRACE_S) -> None:
        self._service = service
        self._presence = presence
        self._grace_s = grace_s
        self._waiting: dict[tuple[str, str], _Gone] = {}

    def begin(self, connection: Connection) -> None:
        """Starts the grace of the device whose connection has just ended; anew, if an earlier one ended before."""
        key = (connection.listener_id, connection.device.id)
        last_seen_at_ms = connection.last_packet_at_ms
        if (earlier := self._waiting.pop(key, None)) is not None:
            earlier.task.cancel()
            last_seen_at_ms = max(last_seen_at_ms, earlier.last_seen_at_ms)
        task = asyncio.create_task(self._wait(*key, last_seen_at_ms), name="grace")
        gone = self._waiting[key] = _Gone(task=task, last_seen_at_ms=last_seen_at_ms)
        task.add_done_callback(lambda _: self._waiting.pop(key) if self._waiting.get(key) is gone else None)

    def stop(self) -> None:
        """Forgets every grace: this node goes away, its devices go on elsewhere."""
        for gone in self._waiting.values():
            gone.task.cancel()

    async def _wait(self, listener_id: str, device_id: str, last_seen_at_ms: int) -> None:
        """Pauses after the grace; while a store is away, again after another one."""
        while True:
            await asyncio.sleep(self._grace_s)
            try:
                return await self._pause_what_it_left(listener_id, device_id, last_seen_at_ms)
            except (StoreUnavailable, DatabaseUnavailable) as error:
                log.warning("A device that vanished is not paused yet.", action="grace_unavailable", error=str(error))

    async def _pause_what_it_left(self, listener_id: str, device_id: str, last_seen_at_ms: int) -> None:
        origin = Origin(device_id=device_id)
        if device_id in await self._presence.connected(listener_id, origin):
            return
        for state in await self._service.live_states(listener_id):
            # by the device, not by its connection: it may have been back, and gone again before it said a word
            if state.playing and state.active_device_id == device_id and state.active_connection_id is not None:
                vanished = Vanished(connection_id=state.active_connection_id, last_seen_at_ms=last_seen_at_ms)
                await self._service.apply(listener_id, state.session_id, vanished, origin)
