"""What each event means: one small function per event, bound to its payload model in one table.

Every handler answers a good ack, or a Rejection; `dispatch.py` does the rest.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson
from pydantic import BaseModel

from playhead.auth.tokens import InvalidToken, TokenVerifier
from playhead.playback.commands import Command, Origin
from playhead.playback.rejections import Code, Rejection
from playhead.playback.state import SessionState
from playhead.realtime.connections import Connection, GivenStream
from playhead.realtime.preparations import Preparations
from playhead.runtime.clock import Clock
from playhead.runtime.metrics import Metrics
from playhead.sessions.answers import Outcome
from playhead.sessions.codec import listening_payload, seconds, state_payload
from playhead.sessions.presence import Presence
from playhead.sessions.requests import (
    AuthRequest,
    ClockRequest,
    EndRequest,
    JoinRequest,
    LeaveRequest,
    LoopRequest,
    ModeRequest,
    OfflineRequest,
    PauseRequest,
    PlayRequest,
    ProgressRequest,
    RateRequest,
    RestoreRequest,
    SeekRequest,
    SessionRequest,
    SleepRequest,
    TransferRequest,
)
from playhead.sessions.scripts import Scripts
from playhead.sessions.service import SessionService, Snapshot
from playhead.sessions.streams import StreamLink, StreamLinks, session_stream


class Accepted(msgspec.Struct, frozen=True, gc=False):
    """The fields of a good ack, and the state that they tell, if any."""

    fields: dict[str, Any]
    state: SessionState | None = None


Answer = Accepted | Rejection

ANOTHER_LISTENER = (
    "The token is another listener's. Connect anew to change the listener; this connection goes on as it was."
)


class Handlers:
    """The use cases, spoken over a socket."""

    def __init__(
        self,
        service: SessionService,
        presence: Presence,
        scripts: Scripts,
        links: StreamLinks,
        verifier: TokenVerifier,
        clock: Clock,
        metrics: Metrics,
        preparations: Preparations | None = None,
    ) -> None:
        self._service = service
        self._presence = presence
        self._scripts = scripts
        self._links = links
        self._verifier = verifier
        self._clock = clock
        self._metrics = metrics
        self._preparations = preparations

    async def join(self, connection: Connection, request: JoinRequest) -> Answer:
        listener_id = connection.listener_id
        if request.session_id is not None:
            snapshot = await self._service.join_session(listener_id, request.session_id)
        else:
            snapshot = await self._service.join_script(connection.principal, request.script_id or "")
        if isinstance(snapshot, Rejection):
            return snapshot
        script_id = request.script_id if snapshot.state is None else snapshot.state.script_id
        if self._preparations is not None and script_id is not None:
            self._preparations.join(connection, script_id)
        return Accepted({**_snapshot(snapshot), **await self._presence.present(listener_id)}, snapshot.state)

    async def play(self, connection: Connection, request: PlayRequest) -> Answer:
        origin = _origin(connection, request.command_id)
        command, expected = request.command(), request.expected
        if request.session_id is not None:
            outcome = await self._service.resume(connection.principal, request.session_id, command, origin, *expected)
        else:
            outcome = await self._service.play(
                connection.principal, request.script_id or "", command, origin, *expected
            )
        if isinstance(outcome, Rejection):
            return outcome
        state = outcome.state
        if self._preparations is not None:
            self._preparations.join(connection, state.script_id)
        link = await session_stream(self._scripts, self._links, connection.principal.claims, state, outcome.script)
        if link is not None:
            connection.stream = GivenStream(
                script_id=state.script_id,
                session_id=state.session_id,
                media_version=state.media_version,
                expires_at_ms=link.expires_at_ms,
            )
        return _accepted(outcome, created=outcome.created, **_stream(link))

    async def command(self, connection: Connection, request: Any) -> Answer:
        """pause, seek, loop, rate, mode, sleep, transfer, end: the session after it."""
        outcome = await self._apply(connection, request, request.command())
        return outcome if isinstance(outcome, Rejection) else _accepted(outcome)

    async def leave(self, connection: Connection, request: LeaveRequest) -> Answer:
        outcome = await self._apply(connection, request, request.command())
        if isinstance(outcome, Rejection):
            return outcome
        if self._preparations is not None:
            self._preparations.leave(connection.connection_id, outcome.state.script_id)
        return _accepted(outcome)

    async def progress(self, connection: Connection, request: ProgressRequest) -> Answer:
        outcome = await self._apply(connection, request, request.command())
        if isinstance(outcome, Rejection):
            return outcome
        request.note(self._metrics)
        return _accepted(outcome, saved=True, **listening_payload(outcome.state))

    async def restore(self, connection: Connection, request: RestoreRequest) -> Answer:
        origin, expected = _origin(connection, request.command_id), request.expected
        outcome = await self._service.restore(
            connection.listener_id, request.session_id, request.entry_id, origin, *expected
        )
        return outcome if isinstance(outcome, Rejection) else _accepted(outcome)

    async def offline(self, connection: Connection, request: OfflineRequest) -> Answer:
        now_ms, origin = self._clock.now_ms(), _origin(connection, request.command_id)
        outcome = await self._service.offline(
            connection.principal,
            request.script_id,
            request.command(),
            origin,
            [row.interval(origin.device_id, now_ms) for row in request.intervals],
            request.base_session_id,
        )
        if isinstance(outcome, Rejection):
            return outcome
        return _accepted(outcome, saved=True, **listening_payload(outcome.state))

    async def clock(self, connection: Connection, request: ClockRequest) -> Answer:
        """Server time at arrival (`t1`) and at the answer (`t2`), in ms."""
        arrived_ms = self._clock.now_ms()
        if request.rtt_ms is not None:
            connection.rtt_ms = request.rtt_ms
            self._presence.note_rtt(connection.listener_id, connection.connection_id, round(request.rtt_ms))
        return Accepted({"t0": request.t0, "t1": arrived_ms, "t2": self._clock.now_ms()})

    async def auth(self, connection: Connection, request: AuthRequest) -> Answer:
        """Renews the connection's token, before the old one runs out."""
        try:
            principal = self._verifier.verify(request.token)
        except InvalidToken as error:
            return Rejection(code=Code.UNAUTHORIZED, detail=str(error))
        if principal.listener_id != connection.listener_id:
            return Rejection(code=Code.UNAUTHORIZED, detail=ANOTHER_LISTENER)
        connection.renew(principal)
        return Accepted({"expires_at": principal.expires_at_ms})

    def _apply(
        self, connection: Connection, request: SessionRequest, command: Command
    ) -> Awaitable[Outcome | Rejection]:
        origin = _origin(connection, request.command_id)
        return self._service.apply(connection.listener_id, request.session_id, command, origin, *request.expected)


@dataclass(frozen=True, slots=True)
class Event:
    """One row of the protocol: the payload's model and the handler's name."""

    model: type[BaseModel]
    handler: str


EVENTS: dict[str, Event] = {
    "join": Event(JoinRequest, "join"),
    "leave": Event(LeaveRequest, "leave"),
    "play": Event(PlayRequest, "play"),
    "pause": Event(PauseRequest, "command"),
    "seek": Event(SeekRequest, "command"),
    "loop": Event(LoopRequest, "command"),
    "rate": Event(RateRequest, "command"),
    "mode": Event(ModeRequest, "command"),
    "sleep": Event(SleepRequest, "command"),
    "transfer": Event(TransferRequest, "command"),
    "restore": Event(RestoreRequest, "restore"),
    "end": Event(EndRequest, "command"),
    "progress": Event(ProgressRequest, "progress"),
    "offline": Event(OfflineRequest, "offline"),
    "clock": Event(ClockRequest, "clock"),
    "auth": Event(AuthRequest, "auth"),
}
"""Every event that a client may send."""

Handler = Callable[[Connection, Any], Awaitable[Answer]]


def bind(handlers: Handlers) -> dict[str, tuple[type[BaseModel], Handler]]:
    """The table with its handlers in place."""
    return {name: (event.model, getattr(handlers, event.handler)) for name, event in EVENTS.items()}


def _origin(connection: Connection, command_id: str | None) -> Origin:
    return Origin(device_id=connection.device.id, connection_id=connection.connection_id, command_id=command_id)


def _accepted(outcome: Outcome, **more: Any) -> Accepted:
    told = {"state": orjson.Fragment(outcome.told), "server_time": outcome.server_time_ms}
    return Accepted({**told, **more}, outcome.state)


def _stream(link: StreamLink | None) -> dict[str, Any]:
    if link is None:
        return {"stream_url": None, "stream_expires_at": None}
    return {"stream_url": link.url, "stream_expires_at": link.expires_at_ms}


def _snapshot(snapshot: Snapshot) -> dict[str, Any]:
    place = snapshot.place
    return {
        "state": None if snapshot.state is None else state_payload(snapshot.state),
        "place": place and {"position": seconds(place.position_ms), "finished": place.finished},
        "server_time": snapshot.server_time_ms,
    }
