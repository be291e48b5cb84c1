"""The state store on Valkey or Redis: one function library, one slot per listener.

Before a connection is used for the first time it is asked for the server's `run_id`. A new one means another life of
the store (restart, failover): the library is loaded and every partition's epoch opened before any command can pass.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any

import orjson
import structlog
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError
from redis.typing import EncodableT, FieldT

from playhead.playback.state import SessionState
from playhead.runtime.clock import Clock
from playhead.runtime.redis import ask, connect
from playhead.sessions.codec import decode_state, encode_state
from playhead.sessions.keys import PARTITIONS, ListenerKeys, epoch_key
from playhead.sessions.store import (
    ENDED_TTL_MS,
    LIVE_SESSIONS_MAX,
    PRESENCE_LEASE_MS,
    SESSION_TTL_MS,
    Change,
    Committed,
    Connection,
    Loaded,
    StoreUnavailable,
)

log = structlog.get_logger(__name__)
LIBRARY = files("playhead.sessions").joinpath("functions.lua").read_text()


@asynccontextmanager
async def unavailable_when_down() -> AsyncIterator[None]:
    """Turns every failure to talk to the store into StoreUnavailable."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise StoreUnavailable(str(error)) from error


class RedisStore:
    """SessionStore on one Valkey/Redis primary."""

    def __init__(self, url: str, clock: Clock) -> None:
        self._clock = clock
        self._opened_run_id: str | None = None
        self._opening = asyncio.Lock()
        self.client: Redis = connect(url, self._open_epochs)

    async def stop(self) -> None:
        await self.client.aclose()

    async def _open_epochs(self, connection: AbstractConnection) -> None:
        info = await ask(connection, "INFO", "server")
        run_id = _run_id(info)
        async with self._opening:  # of many new connections one opens for all
            if run_id == self._opened_run_id:
                return
            await ask(connection, "FUNCTION", "LOAD", "REPLACE", LIBRARY)
            now_ms = self._clock.now_ms()
            for partition in range(PARTITIONS):
                await ask(connection, "FCALL", "open_1", 1, epoch_key(partition), run_id, now_ms)
            if self._opened_run_id is not None:
                log.warning("The state store has started anew; its epoch grows.", action="store_epoch_opened")
            self._opened_run_id = run_id

    async def _function(self, name: str, keys: Sequence[str], args: Sequence[str | bytes | int]) -> Any:
        async with unavailable_when_down():
            try:
                return await self.client.fcall(name, len(keys), *keys, *args)
            except ResponseError as error:
                if "Function not found" not in str(error):
                    raise
                await self.client.function_load(LIBRARY, replace=True)
                return await self.client.fcall(name, len(keys), *keys, *args)

    async def _epoch(self, keys: ListenerKeys, raw: bytes | None) -> int:
        """The partition's epoch; opened here when the store was emptied under us."""
        if raw is None:
            run_id = self._opened_run_id or ""
            raw = await self._function("open_1", [keys.epoch], [run_id, self._clock.now_ms()])
        return int(raw)

    async def load(self, listener_id: str, session_id: str) -> Loaded:
        keys = ListenerKeys(listener_id)
        async with unavailable_when_down(), self.client.pipeline(transaction=False) as pipe:
            pipe.hget(keys.epoch, "epoch")
            pipe.hget(keys.session(session_id), "state")
            epoch, raw = await pipe.execute()
        states = () if raw is None else (decode_state(raw),)
        return Loaded(
            epoch=await self._epoch(keys, epoch),
            states=tuple(state for state in states if state.listener_id == listener_id),
        )

    async def live(self, listener_id: str) -> Loaded:
        keys = ListenerKeys(listener_id)
        prefix, suffix = keys.session("|").split("|")
        epoch, *rows = await self._function("live_1", [keys.epoch, keys.live], [prefix, suffix])
        return Loaded(epoch=await self._epoch(keys, epoch), states=tuple(decode_state(row) for row in rows))

    async def last_ended(self, listener_id: str, script_id: str) -> SessionState | None:
        async with unavailable_when_down():
            session_id: Any = await self.client.get(ListenerKeys(listener_id).ended(script_id))
        if session_id is None:
            return None
        found = (await self.load(listener_id, session_id.decode())).states
        return found[0] if found else None

    async def commit(
        self, listener_id: str, epoch: int, changes: Sequence[Change], packets: Sequence[bytes]
    ) -> Committed:
        keys = ListenerKeys(listener_id)
        prefix, suffix = keys.session("|").split("|")
        ended_prefix = keys.ended("|").split("|")[0]
        names = [keys.epoch, keys.live, *(keys.session(change.after.session_id) for change in changes)]
        fixed = (epoch, keys.channel, SESSION_TTL_MS, ENDED_TTL_MS, LIVE_SESSIONS_MAX, prefix, suffix, ended_prefix)
        rows = [argument for change in changes for argument in _change_arguments(change)]
        return Committed(int(await self._function("commit_1", names, [*fixed, *rows, *packets])))

    async def publish(self, listener_id: str, packet: bytes) -> None:
        async with unavailable_when_down():
            await self.client.spublish(ListenerKeys(listener_id).channel, packet)

    async def hold_connections(self, listener_id: str, connections: Sequence[Connection]) -> None:
        key = ListenerKeys(listener_id).presence
        rows: dict[FieldT, EncodableT] = {row.connection_id: orjson.dumps(row) for row in connections}
        async with unavailable_when_down(), self.client.pipeline(transaction=False) as pipe:
            pipe.hset(key, mapping=rows)
            pipe.pexpire(key, PRESENCE_LEASE_MS * 2)
            await pipe.execute()

    async def drop_connection(self, listener_id: str, connection_id: str) -> None:
        async with unavailable_when_down():
            await self.client.hdel(ListenerKeys(listener_id).presence, connection_id)

    async def connections(self, listener_id: str, now_ms: int) -> tuple[Connection, ...]:
        key = ListenerKeys(listener_id).presence
        async with unavailable_when_down():
            rows = [Connection(**orjson.loads(raw)) for raw in await self.client.hvals(key)]
            dead = [row.connection_id for row in rows if row.expires_at_ms <= now_ms]
            if dead:
                await self.client.hdel(key, *dead)
        alive = (row for row in rows if row.expires_at_ms > now_ms)
        return tuple(sorted(alive, key=lambda row: (row.connected_at_ms, row.connection_id)))


def _run_id(info: bytes | str) -> str:
    text = info.decode() if isinstance(info, bytes) else info
    return next(line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("run_id:"))


def _change_arguments(change: Change) -> tuple[str | bytes | int, ...]:
    state = change.after
    expected = "" if change.expected_version is None else change.expected_version
    ended = 0 if state.ended_at_ms is None else 1
    return (expected, state.session_id, state.script_id, state.version, ended, encode_state(state))
