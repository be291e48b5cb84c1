"""Signs a stream's address anew before the one that a connection was given (with its `play`) runs out.

The watch shows every connection once a second; one task renews, one connection after the other, as each asks PostgreSQL
whether the listener may still hear the script. Where that has another file by now, the session takes it over: the one
that it plays is kept no longer than its addresses last.
"""

import asyncio
from dataclasses import replace
from typing import Protocol

import structlog

from playhead.db import DatabaseUnavailable, Script
from playhead.playback.rejections import Rejection
from playhead.realtime.connections import Connection, Connections, GivenStream
from playhead.realtime.outbox import Outbox
from playhead.runtime.clock import Clock
from playhead.runtime.tasks import cancelled
from playhead.sessions.answers import Outcome
from playhead.sessions.scripts import Scripts
from playhead.sessions.streams import StreamLinks

log = structlog.get_logger(__name__)

RENEW_BEFORE_MS = 10 * 60 * 1000
"""How long before its end an address is signed anew."""
RETRY_MS = 30_000
"""After so long it is tried again, when that failed."""


class Renewing(Protocol):
    """The use case of it; playhead.sessions.service.SessionService. May raise StoreUnavailable."""

    async def renew(self, listener_id: str, session_id: str, script: Script) -> Outcome | Rejection: ...


class StreamRenewals:
    """Run it with `start`. `look` is cheap; `renew` does one connection."""

    def __init__(
        self,
        connections: Connections,
        scripts: Scripts,
        service: Renewing,
        links: StreamLinks,
        outbox: Outbox,
        clock: Clock,
    ) -> None:
        self._connections = connections
        self._scripts = scripts
        self._service = service
        self._links = links
        self._outbox = outbox
        self._clock = clock
        self._due: dict[str, None] = {}
        """Ids of the connections whose turn has come, each once, in order."""
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._renew_for_ever(), name="stream-renewals")

    async def stop(self) -> None:
        await cancelled(self._task)

    def look(self, connection: Connection, now_ms: int) -> None:
        """Notes the connection if what it was given runs out soon."""
        given = connection.stream
        if given is not None and max(given.expires_at_ms - RENEW_BEFORE_MS, given.retry_at_ms) <= now_ms:
            self._due[connection.connection_id] = None
            self._wanted.set()

    async def _renew_for_ever(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while self._due:
                connection_id = next(iter(self._due))
                connection = self._connections.get(connection_id)
                try:
                    if connection is not None:
                        await self.renew(connection)
                except Exception:
                    log.exception("A stream's address was not renewed.", action="stream_renewal_failed")
                self._due.pop(connection_id)

    async def renew(self, connection: Connection) -> None:
        """Sends `stream` with a newer address; nothing where the session is over, or the script not to be heard."""
        if connection.stream is not None and self._links.has_ended(connection.stream.session_id):
            connection.stream = None
        if connection.stream is None:
            return
        given = connection.stream = replace(connection.stream, retry_at_ms=self._clock.now_ms() + RETRY_MS)
        try:
            script = await self._scripts.get(connection.principal.claims, given.script_id)
        except DatabaseUnavailable as error:
            log.warning("A stream's address waits for PostgreSQL.", action="stream_renewal_waits", error=str(error))
            return
        if connection.stream is not given:
            # a `play` was faster, and gave another one
            return
        if script is None or not await self._takes(connection, given, script):
            connection.stream = None
            return
        link = self._links.link(
            script.script_id,
            script.media_version,
            script.duration_ms,
            listener_id=connection.listener_id,
            session_id=given.session_id,
        )
        connection.stream = replace(
            given, media_version=script.media_version, expires_at_ms=link.expires_at_ms, retry_at_ms=0
        )
        data = {
            "script_id": given.script_id,
            "session_id": given.session_id,
            "stream_url": link.url,
            "expires_at": link.expires_at_ms,
        }
        await self._outbox.send(connection.connection_id, "stream", data)

    async def _takes(self, connection: Connection, given: GivenStream, script: Script) -> bool:
        """Whether the session plays the file that the script has, or does so from now on."""
        if given.media_version in ("", script.media_version):
            return True
        answer = await self._service.renew(connection.listener_id, given.session_id, script)
        return isinstance(answer, Outcome) and answer.state.media_version == script.media_version
