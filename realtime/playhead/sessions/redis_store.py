"""The state store on Valkey or Redis: one function library, one slot per listener.

On each new connection the epochs of the server's partitions are opened before any command can pass: see `epochs.py`.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import orjson
import structlog
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from playhead.playback.history import Move
from playhead.playback.state import SessionState
from playhead.runtime.clock import Clock
from playhead.runtime.cluster import ClusterCalls
from playhead.runtime.cluster_redis import ClusterRedis
from playhead.runtime.multiplexed import Multiplexed, Part
from playhead.runtime.redis import REFUSED_BY_REPLICA, connect, leave_server, sentinels_of
from playhead.runtime.redis_clients import Calls
from playhead.runtime.redis_urls import Address, cluster_url
from playhead.runtime.slots import SlotMap
from playhead.runtime.switches import Switches
from playhead.sessions.epochs import Epochs, partitions_there
from playhead.sessions.failures import FAILURES
from playhead.sessions.keys import (
    PARTITIONS,
    SESSION,
    ListenerKeys,
    deadlines_key,
    epoch_key,
    partition_of,
)
from playhead.sessions.library import LIBRARY, is_lacking
from playhead.sessions.redis_commits import commit_arguments, commit_keys
from playhead.sessions.redis_deadlines import item_of, member_of
from playhead.sessions.states import decode_state
from playhead.sessions.store import (
    DUE_CLAIM_MS,
    DUE_SEEN_MAX,
    JOURNAL_LENGTH_MAX,
    JOURNAL_RESERVE,
    LEASE_DOUBTFUL_MS,
    LEFT_TTL_MS,
    PRESENCE_LEASE_MS,
    SESSION_APART_MS,
    SESSION_BURST,
    Answer,
    Change,
    Committed,
    Connection,
    DueSession,
    LapsedConnection,
    Loaded,
    Orders,
    Present,
    StoreUnavailable,
)

log = structlog.get_logger(__name__)


class RedisStore:
    """SessionStore on one Valkey/Redis primary, or on all of a cluster."""

    def __init__(
        self,
        url: str,
        clock: Clock,
        journal_length_max: int = JOURNAL_LENGTH_MAX,
        journal_reserve: int = JOURNAL_RESERVE,
    ) -> None:
        self._clock = clock
        self._journal_length_max = journal_length_max
        self._journal_reserve = journal_reserve
        self._epochs = Epochs(clock, LIBRARY)
        self._silent = False
        """Whether some partitions do not answer, while others do."""
        cluster = cluster_url(url)
        self._slots = None if cluster is None else SlotMap(cluster)
        self.client: Redis
        """For whoever needs connections of its own, or commands now and then; the store itself does not use it."""
        self.calls: Calls
        if self._slots is None:
            self.client, self.calls = connect(url, self._greet), Multiplexed(url, self._greet)
        else:
            self.client, self.calls = ClusterRedis(self._slots), ClusterCalls(self._slots, self._greet_primary)
        self.on_moved: Callable[[], None] = lambda: None
        """Called when the server turns out to be no primary any more, and when another one answers than before: who
        still listens to the old one may hear nothing any more. Not in a cluster, whose subscriptions see to that."""
        sentinels = sentinels_of(url)
        self._switches = None if sentinels is None else Switches(sentinels, self._leave)

    async def stop(self) -> None:
        if self._switches is not None:
            await self._switches.stop()
        await self.calls.aclose()
        await self.client.aclose()
        if self._slots is not None:
            await self._slots.aclose()

    async def _leave(self) -> None:
        """Another server is the primary by now."""
        self.calls.leave()
        self.on_moved()
        await leave_server(self.client)

    async def _greet(self, connection: AbstractConnection) -> None:
        if self._switches is not None:
            self._switches.start()
        if await self._epochs.open(connection):
            self.calls.leave()
            self.on_moved()

    async def _greet_primary(self, _address: Address, connection: AbstractConnection) -> None:
        await self._epochs.open(connection, await partitions_there(connection))

    async def _call(self, *command: Part) -> Any:
        """The answer of one command. Raises StoreUnavailable."""
        try:
            return await self.calls.call(*command)
        except FAILURES as error:
            raise await self._unavailable(error) from error

    async def _calls(self, *commands: Sequence[Part]) -> list[Any]:
        """The answers of several, as they are sent together. Raises as `_call` does."""
        try:
            return await self.calls.calls(commands)
        except FAILURES as error:
            raise await self._unavailable(error) from error

    async def _answers(self, commands: Sequence[Sequence[Part]]) -> list[Any]:
        """Those that there are: in a cluster a primary that is away keeps nothing from the others' partitions. Raises
        StoreUnavailable when nobody answers."""
        try:
            answers = await self.calls.answers(commands)
            lacking = [command for command, answer in zip(commands, answers, strict=True) if is_lacking(answer)]
            if lacking:
                await self._load_beside(str(lacking[0][3]))  # for the next call
        except FAILURES as error:
            raise await self._unavailable(error) from error
        errors = [answer for answer in answers if isinstance(answer, Exception)]
        if len(errors) == len(answers):
            raise await self._unavailable(errors[0]) from errors[0]
        if errors and not self._silent:
            log.warning("Some partitions do not answer.", action="partitions_silent", error=str(errors[0]))
        self._silent = bool(errors)
        return [answer for answer in answers if not isinstance(answer, Exception)]

    async def _unavailable(self, error: Exception) -> StoreUnavailable:
        if isinstance(error, REFUSED_BY_REPLICA) and self._slots is None:
            self.on_moved()
            await leave_server(self.client)
        return StoreUnavailable(str(error))

    async def _function(self, name: str, keys: Sequence[str], args: Sequence[str | bytes | int]) -> Any:
        try:
            return await self.calls.call("FCALL", LIBRARY.function(name), len(keys), *keys, *args)
        except ResponseError as error:
            if not is_lacking(error):
                raise await self._unavailable(error) from error
        except FAILURES as error:
            raise await self._unavailable(error) from error
        try:
            await self._load_beside(keys[0])
        except FAILURES as error:
            raise await self._unavailable(error) from error
        return await self._call("FCALL", LIBRARY.function(name), len(keys), *keys, *args)

    async def _load_beside(self, key: str) -> None:
        """Where that key is. Raises what the connection raises."""
        await self.calls.call_beside(key, "FUNCTION", "LOAD", "REPLACE", LIBRARY.source)

    async def _epoch(self, keys: ListenerKeys, raw: bytes | None) -> int:
        """The partition's epoch; opened here when the store was emptied under us."""
        if raw is None:
            run_id = self._epochs.run_id(keys.partition)
            raw = await self._function("open", [keys.epoch], [run_id, self._clock.now_ms()])
        return int(raw)

    async def outgrow(self, epoch: int) -> None:
        """Sessions have lived elsewhere, in epochs up to that one: whatever is here now is of an older life."""
        for partition in range(PARTITIONS):
            await self._function("raise", [epoch_key(partition)], [epoch + 1])

    async def load(self, listener_id: str, session_id: str, command_id: str | None = None) -> Loaded:
        keys = ListenerKeys(listener_id)
        asked: list[Sequence[Part]] = [("HGET", keys.epoch, "epoch"), ("HGET", keys.session(session_id), "state")]
        if command_id is not None:
            asked.append(("GET", keys.answer(command_id)))
        epoch, raw, *answers = await self._calls(*asked)
        states = () if raw is None else (decode_state(raw),)
        return Loaded(
            epoch=await self._epoch(keys, epoch),
            states=tuple(state for state in states if state.listener_id == listener_id),
            answer=answers[0] if answers else None,
        )

    async def live(self, listener_id: str, command_id: str | None = None) -> Loaded:
        keys = ListenerKeys(listener_id)
        names = [keys.epoch, keys.live, *([] if command_id is None else [keys.answer(command_id)])]
        epoch, answer, *rows = await self._function("live", names, [SESSION, keys.suffix])
        states = tuple(decode_state(row) for row in rows)
        return Loaded(epoch=await self._epoch(keys, epoch), states=states, answer=answer)

    async def orders(self, listener_ids: Sequence[str]) -> Mapping[str, Orders]:
        """One call of the function for each partition that the listeners are in."""
        by_epoch: dict[str, list[ListenerKeys]] = defaultdict(list)
        for listener_id in listener_ids:
            keys = ListenerKeys(listener_id)
            by_epoch[keys.epoch].append(keys)
        found: dict[str, Orders] = {}
        for name, listeners in by_epoch.items():
            names = [name, *(key for keys in listeners for key in (keys.live, keys.presence_version))]
            raw, *rows = await self._function("orders", names, [SESSION, listeners[0].suffix])
            epoch = await self._epoch(listeners[0], raw)
            found.update({keys.listener_id: _orders(epoch, row) for keys, row in zip(listeners, rows, strict=True)})
        return found

    async def count_beginning(self, listener_id: str) -> int:
        return int(await self._function("begin", [ListenerKeys(listener_id).begun], [SESSION_APART_MS, SESSION_BURST]))

    async def last_ended(self, listener_id: str, script_id: str) -> SessionState | None:
        session_id = await self._call("GET", ListenerKeys(listener_id).ended(script_id))
        if session_id is None:
            return None
        found = (await self.load(listener_id, session_id.decode())).states
        return found[0] if found else None

    async def moves(self, listener_id: str, session_id: str) -> tuple[Move, ...]:
        keys = ListenerKeys(listener_id)
        moves, conflicts = await self._calls(
            ("LRANGE", keys.moves(session_id), 0, -1), ("HVALS", keys.conflicts(session_id))
        )
        return tuple(Move(**orjson.loads(raw)) for raw in (*moves, *conflicts))

    async def commit(
        self,
        listener_id: str,
        epoch: int,
        changes: Sequence[Change],
        packets: Sequence[bytes],
        answer: Answer | None = None,
        live: int | None = None,
    ) -> Committed:
        keys = ListenerKeys(listener_id)
        reserve = self._journal_reserve if any(change.own for change in changes) else 0
        names = commit_keys(keys, changes, answer)
        told = commit_arguments(keys, epoch, self._journal_length_max + reserve, changes, answer, live)
        return Committed(int(await self._function("commit", names, [*told, *packets])))

    async def publish(self, listener_id: str, packet: bytes) -> None:
        await self._call("SPUBLISH", ListenerKeys(listener_id).channel, packet)

    async def hold_connections(self, listener_id: str, connections: Sequence[Connection]) -> None:
        keys = ListenerKeys(listener_id)
        names = [keys.presence, keys.deadlines, keys.presence_version]
        await self._function("hold", names, self._held_arguments(listener_id, connections))

    async def enter(self, listener_id: str, connection: Connection, now_ms: int) -> Present:
        keys = ListenerKeys(listener_id)
        names = [keys.presence, keys.deadlines, keys.presence_version, keys.epoch]
        answer = await self._function("enter", names, self._held_arguments(listener_id, [connection]))
        return await self._present(keys, answer, now_ms)

    def _held_arguments(self, listener_id: str, connections: Sequence[Connection]) -> list[str | bytes | int]:
        """Those of `hold` in functions.lua."""
        rows: list[str | bytes | int] = [PRESENCE_LEASE_MS * 2, LEFT_TTL_MS, self._clock.now_ms() + LEASE_DOUBTFUL_MS]
        for row in connections:
            lease = f"c|{listener_id}|{row.connection_id}"
            rows += (row.connection_id, msgspec.json.encode(row), row.expires_at_ms, lease)
        return rows

    async def drop_connection(
        self, listener_id: str, connection_id: str, now_ms: int, lapsed_by_ms: int | None = None
    ) -> bool:
        keys = ListenerKeys(listener_id)
        names = [keys.presence, keys.deadlines, keys.left, keys.presence_version]
        only = "" if lapsed_by_ms is None else lapsed_by_ms
        return bool(await self._function("drop", names, [connection_id, listener_id, now_ms, LEFT_TTL_MS, only]))

    async def connections(self, listener_id: str, now_ms: int) -> tuple[Connection, ...]:
        return _alive(await self._call("HVALS", ListenerKeys(listener_id).presence), now_ms)

    async def present(self, listener_id: str, now_ms: int) -> Present:
        keys = ListenerKeys(listener_id)
        names = [keys.epoch, keys.presence, keys.presence_version]
        return await self._present(keys, await self._function("present", names, []), now_ms)

    async def _present(self, keys: ListenerKeys, answer: Sequence[bytes], now_ms: int) -> Present:
        epoch, version, *rows = answer
        return Present(order=(await self._epoch(keys, epoch), int(version)), connections=_alive(rows, now_ms))

    async def left_at_ms(self, listener_id: str) -> int | None:
        raw = await self._call("GET", ListenerKeys(listener_id).left)
        return None if raw is None else int(raw)

    async def due(self, now_ms: int, limit: int) -> tuple[DueSession | LapsedConnection, ...]:
        found: list[DueSession | LapsedConnection] = []
        call, asked = ("FCALL", LIBRARY.function("due"), 1), list(range(PARTITIONS))
        # those that may have more are asked again for what the others have left of the limit
        while asked:
            share = max(1, (limit - len(found)) // len(asked))
            bounds = (now_ms, now_ms + DUE_CLAIM_MS, share, DUE_SEEN_MAX)
            answers = await self._answers([(*call, deadlines_key(partition), *bounds) for partition in asked])
            taken = [[item_of(member) for member in members] for members in answers]
            found += [item for items in taken for item in items]
            full = [partition_of(items[0].listener_id) for items in taken if len(items) == share]
            asked = full[: max(0, limit - len(found))]
        return tuple(found)

    async def forget_due(self, item: DueSession | LapsedConnection) -> None:
        await self._call("ZREM", ListenerKeys(item.listener_id).deadlines, member_of(item))


_connection_decoder = msgspec.json.Decoder(Connection)


def _alive(rows: Sequence[bytes], now_ms: int) -> tuple[Connection, ...]:
    """Those whose lease has not run out, oldest first."""
    connections = [_connection_decoder.decode(raw) for raw in rows]
    alive = (row for row in connections if row.expires_at_ms > now_ms)
    return tuple(sorted(alive, key=lambda row: (row.connected_at_ms, row.connection_id)))


def _orders(epoch: int, row: Sequence[bytes]) -> Orders:
    """Of `version of presence, session id, epoch, revision, session id, …`."""
    triples = zip(row[1::3], row[2::3], row[3::3], strict=True)
    sessions = {session_id.decode(): (int(lived), int(revision)) for session_id, lived, revision in triples}
    return Orders(sessions=sessions, present=(epoch, int(row[0])))
