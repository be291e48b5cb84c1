"""`playhead serve`: one process with REST, sockets, media and the player page on one port, metrics on another.

Stops in order on SIGTERM or Ctrl-C: not ready; sockets are told to reconnect elsewhere and served until they have; no
new connections; what is left is closed; requests in flight are answered. What was acknowledged is in the journal.
One of several processes on one port has its listener from a supervisor (`processes`), which serves the metrics too.
"""

import asyncio
import gc
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web

from playhead.app.composition import Core, command_rate, core
from playhead.app.databases import database
from playhead.app.listening import cannot_listen
from playhead.app.machine import (
    check_storage,
    media_storage,
    metrics_server,
    own_metrics,
    precedence,
    scratch_folder,
    upload_ingest,
)
from playhead.app.on_demand import OnDemand, demand_slots
from playhead.app.player_build import source_folder
from playhead.app.processes.listeners import BACKLOG_CONNECTIONS
from playhead.app.processes.place import Place
from playhead.app.signals import StopRequest, stop_requested
from playhead.app.stores import server_clock
from playhead.cache import Cache
from playhead.db import BookmarkRepository, Database, ScriptRepository, Source
from playhead.engine.front import Site
from playhead.http.app import create_app
from playhead.http.health import OK, PROCESS, Check, process_check, run_checks
from playhead.http.services import Services, Unmeasured, Unplayable
from playhead.http.unreadable import Runner
from playhead.realtime.server import RealtimeServer
from playhead.realtime.websocket_only import websocket_only
from playhead.runtime.clock import Clock
from playhead.runtime.metrics import Metrics, Reading, Vitals
from playhead.runtime.settings import Settings, SettingsError, environment_name
from playhead.runtime.tasks import cancelled
from playhead.sessions.announcements import Announcements
from playhead.storage import Storage
from playhead.transcode import Ingest, PrepareQueue, ProbeFailed, Refusal, sweep_scratch

log = structlog.get_logger(__name__)


async def serve(settings: Settings, place: Place | None = None) -> int:
    """Serves until it is told to stop, or must: then 1, when another process has taken its sessions over.

    `place`: where this is one of several processes on one port.
    Raises SettingsError for what is wrong with this machine or its settings, LeaseRefused and CommandFailed where the
    sessions are another process's.
    """
    metrics, storage = own_metrics(), media_storage(settings)
    async with (
        stop_requested(end_with_parent=place is not None) as stop,
        database(settings) as opened,
        server_clock(settings) as clock,
        _core(settings, opened, metrics, clock, storage) as (parts, on_demand),
        _measured(settings, metrics, parts, place),
        swept_scratch(settings),
    ):
        await check_storage(storage, ScriptRepository(opened))
        services = _services(settings, opened, parts, metrics, storage, on_demand)
        app = create_app(services)
        if settings.processes > 1:
            app.middlewares.append(websocket_only(parts.realtime.full))
        parts.realtime.attach(app)
        runner = Runner(
            app,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=settings.shutdown_grace_s,
            auto_decompress=False,  # encoded bodies are refused; aiohttp would decode one before anybody asks for it
        )
        await runner.setup()
        try:
            sites = await _listen(runner, settings, place, parts.realtime)
            gc.freeze()
            log.info("Serving.", action="serving", host=settings.host, port=settings.port)
            async with _reported(place, services.readiness):
                await _first(stop, parts.stores.lost)
            log.info("Stopping.", action="stopping")
            if place is not None and stop.replaced:
                for site in sites:  # the other process takes who comes now
                    site.take_no_more()
            # still listening: balancers must see that it is not ready, and who asks it in the meantime is answered
            await _drained(settings, parts.realtime, stop, parts.stores.lost)
            # sockets first: the runner waits for handlers, and a socket's handler lives as long as the socket
            for site in sites:
                await site.stop()
            await parts.realtime.stop()
        finally:
            await runner.cleanup()
        return 1 if parts.stores.lost.is_set() else 0


async def _drained(settings: Settings, realtime: RealtimeServer, stop: StopRequest, lost: asyncio.Event) -> None:
    """In the time that its operator gives; where another process has taken over, at the pace at which that one can
    take the sockets, as long as nobody asks for more haste, and the sessions are not `lost` to it."""
    drain_s = min(settings.drain_s, settings.shutdown_grace_s)
    if stop.replaced:
        handover_s = realtime.handover_s(settings.process_sockets_per_s)
        leaving = asyncio.create_task(realtime.drain(max(drain_s, handover_s)), name="handover")
        hurried = asyncio.create_task(_first(stop.hurried, lost), name="hurried")
        await asyncio.wait((leaving, hurried), return_when=asyncio.FIRST_COMPLETED)
        await cancelled(hurried)
        if leaving.done():
            return await leaving
        await cancelled(leaving)
    await realtime.drain(drain_s)


@asynccontextmanager
async def _core(
    settings: Settings, opened: Database, metrics: Metrics, clock: Clock, storage: Storage
) -> AsyncIterator[tuple[Core, OnDemand]]:
    """Sessions, and the encoder that makes what they will need."""
    on_demand = OnDemand(ScriptRepository(opened), storage, Preparing(opened).hurry)
    async with (
        core(settings, opened, metrics, clock, on_demand.soon) as parts,
        on_demand.running(demand_slots(settings), parts.stores.claims, metrics, precedence(settings)),
    ):
        yield parts, on_demand


async def _first(*events: asyncio.Event) -> None:
    """Returns when one of them is set."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


async def _listen(
    runner: web.AppRunner, settings: Settings, place: Place | None, realtime: RealtimeServer
) -> Sequence[Site]:
    """Where requests and sockets come in: as the settings say, or at what the supervisor has opened."""
    if place is None:
        sites = [realtime.site(runner, settings.host, settings.port, backlog=BACKLOG_CONNECTIONS)]
    else:
        sites = [realtime.site(runner, listener=each, backlog=BACKLOG_CONNECTIONS) for each in place.listeners]
    try:
        for site in sites:
            await site.start()
    except (OSError, UnicodeError) as error:
        names = {"host_setting": environment_name("host"), "port_setting": environment_name("port")}
        raise SettingsError(cannot_listen(error, settings.host, settings.port, **names)) from None
    return sites


@asynccontextmanager
async def _reported(place: Place | None, readiness: Mapping[str, Check]) -> AsyncIterator[None]:
    """The supervisor is told, where there is one, when this process is ready."""

    async def ready() -> bool:
        return all(answer == OK for answer in (await run_checks(readiness)).values())

    reporting = None if place is None else asyncio.create_task(place.report_ready(ready), name="report_ready")
    try:
        yield
    finally:
        await cancelled(reporting)


@asynccontextmanager
async def _measured(settings: Settings, metrics: Metrics, parts: Core, place: Place | None) -> AsyncIterator[None]:
    """`/metrics` on its own port, unless the supervisor serves it for all its processes; and the vital signs in it."""
    server = metrics_server(settings) if place is None else None
    readings: Sequence[Reading] = [
        (metrics.draining, lambda: parts.realtime.draining),
        (metrics.room.half_open, lambda: parts.realtime.half_open),
        (metrics.room.sockets_max, lambda: parts.realtime.sockets_max),
        (metrics.room.pace, lambda: parts.realtime.pace),
    ]
    vitals = Vitals(metrics, [*readings, *parts.stores.readings])
    metrics.cache_away.set(0)
    vitals.start()
    try:
        yield
    finally:
        await vitals.stop()
        if server is not None:
            await asyncio.to_thread(server.stop)


@asynccontextmanager
async def swept_scratch(settings: Settings) -> AsyncIterator[None]:
    """What killed servers of this machine left where uploads are decoded goes meanwhile: a worker has another disk."""
    sweeping = asyncio.create_task(sweep_scratch(scratch_folder(settings)), name="sweep_scratch")
    try:
        yield
    finally:
        await cancelled(sweeping)


class UploadIngest:
    """Binds the transcoder's measuring to what the REST surface asks for."""

    def __init__(self, ingest: Ingest) -> None:
        self._ingest = ingest

    async def __call__(self, source_key: str, source_bytes: int, media_version: str) -> Source | Unplayable:
        try:
            measured = await self._ingest(source_key, media_version)
        except ProbeFailed as error:
            raise Unmeasured(str(error)) from error
        return Unplayable(measured.reason) if isinstance(measured, Refusal) else measured


class Preparing:
    """The queue for what servers ask of it, opened when they ask first: to load what is behind it takes long."""

    def __init__(self, opened: Database) -> None:
        self._opened = opened
        self._queue: PrepareQueue | None = None

    async def enqueue(self, script_id: str) -> None:
        """A script that is queued already is as good as queued now."""
        await (await self._there()).enqueue(script_id)

    async def hurry(self, script_id: str) -> None:
        await (await self._there()).hurry(script_id)

    async def _there(self) -> PrepareQueue:
        if self._queue is None:
            # beside the loop, where others go on meanwhile; two that are first make one each, and one of them stays
            self._queue = PrepareQueue(await asyncio.to_thread(self._opened.jobs))
        return self._queue


def _services(
    settings: Settings, opened: Database, parts: Core, metrics: Metrics, storage: Storage, on_demand: OnDemand
) -> Services:
    return Services(
        sessions=parts.service,
        listening=parts.listening,
        presence=parts.presence,
        scripts=parts.scripts,
        bookmarks=BookmarkRepository(opened),
        announcements=Announcements(parts.stores.store, parts.clock, metrics),
        storage=storage,
        links=parts.links,
        signer=parts.signer,
        revocations=parts.stores.revocations,
        verifier=parts.verifier,
        cache=Cache(parts.stores.shared_cache, time.monotonic, metrics.cache_away.set),
        metrics=metrics,
        clock=parts.clock,
        new_id=lambda: str(uuid.uuid4()),
        ingest=UploadIngest(upload_ingest(settings, storage)),
        enqueue=Preparing(opened).enqueue,
        on_demand=on_demand,
        store=settings.store,
        readiness={
            PROCESS: process_check(lambda: parts.realtime.draining),
            "postgresql": opened.check,
            **parts.stores.checks,
        },
        upload_bytes_max=settings.upload_bytes_max,
        owner_bytes_max=settings.upload_owner_bytes_max,
        media_base_url=settings.media_base_url,
        rate=command_rate(settings),
        cors_origins=settings.cors_origins,
        player_dir=player_folder(settings),
        asyncapi=_asyncapi,
    )


def _asyncapi() -> Mapping[str, Any]:
    # its models are needed by nobody but who asks for the document
    from playhead.app.asyncapi import asyncapi

    return asyncapi(version("playhead"))


def player_folder(settings: Settings) -> Path | None:
    """Where the built page is: as set, else the repository's."""
    if settings.player_dir is not None:
        return settings.player_dir
    source = source_folder()
    return None if source is None else source / "dist"
