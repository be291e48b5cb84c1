"""Which primary of a cluster has which of the 16,384 slots, and the way of a command that was sent to another one.

Owns: the map (asked for at first, and again when a server says MOVED or is gone), who is told when it changes, and the
redirections. Must not know: how commands are sent. A command that was redirected has not happened, so that it is sent
again; nothing else is.

Several servers are asked at once and a majority is waited for. Of what they say that of the latest configuration
counts, as one that was away may know the map of yesterday.
"""

import asyncio
import binascii
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from redis.asyncio.connection import AbstractConnection, Connection, parse_url
from redis.exceptions import AskError, ClusterDownError, MovedError, ReadOnlyError, RedisError
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import TimeoutError as LateAnswer

from playhead.runtime.multiplexed import NotSent
from playhead.runtime.redis import ask, info_field
from playhead.runtime.redis_urls import Address, ClusterUrl
from playhead.runtime.tasks import cancelled

log = structlog.get_logger(__name__)

SLOTS = 16_384
REDIRECTIONS_MAX = 4
ASKED_MAX = 5
"""Servers that are asked for the map at once; the others when none of these answers."""
ASK_TIMEOUT_S = 0.5
"""For a connection to one of them, and for each of its answers."""
RENEW_APART_S = 0.1
"""Who asks for the map again sooner gets the one that there is."""
WITH_KEY_COUNT = {"FCALL", "FCALL_RO", "EVAL", "EVALSHA"}
WITH_STREAMS = {"XREAD", "XREADGROUP"}
LOST = (LostConnection, LateAnswer, ClusterDownError, ReadOnlyError, OSError, TimeoutError)
"""Signs that another server may have the slot, or will soon."""

Answer = TypeVar("Answer")
OnChange = Callable[[Set[int]], None]
"""Told of the slots whose primary is another one than before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one server says. `up`: whether it sees a cluster that works, which one that was cut off does not."""

    up: bool
    config_epoch: int
    primaries: list[Address | None]


def slot_of(key: str | bytes) -> int:
    """As the cluster computes it: CRC-16/XMODEM of what stands in the first braces, if anything, else of all."""
    raw = key.encode() if isinstance(key, str) else key
    _, opened, rest = raw.partition(b"{")
    tag, closed, _ = rest.partition(b"}")
    return binascii.crc_hqx(tag if opened and closed and tag else raw, 0) % SLOTS


def slot_of_command(command: Sequence[Any]) -> int:
    """Of its first key: the second part, or the one behind the count of keys, or behind STREAMS. Raises ValueError."""
    name = str(command[0]).upper()
    place = 1
    if name in WITH_KEY_COUNT:
        place = 3
    elif name in WITH_STREAMS:
        place = next(n for n, part in enumerate(command) if part in ("STREAMS", b"STREAMS")) + 1
    if len(command) <= place:
        raise ValueError(f"{name} names no key, so that it is unclear which server is meant.")
    key = command[place]
    return slot_of(key if isinstance(key, str | bytes) else str(key))


class SlotMap:
    """The map of the cluster at `url`, of one event loop. Ended by `aclose`."""

    def __init__(self, url: ClusterUrl) -> None:
        self.url = url
        self._primaries: list[Address | None] = [None] * SLOTS
        self._watchers: list[OnChange] = []
        self._renewing: asyncio.Task[None] | None = None
        self._renewed_s = -RENEW_APART_S
        self.primaries: frozenset[Address] = frozenset()
        """All of them; none before the first answer."""

    def primary(self, slot: int) -> Address | None:
        """None while nobody has said who it is."""
        return self._primaries[slot]

    async def primary_now(self, slot: int) -> Address:
        """Asks where it is not known. Raises NotSent."""
        if (address := self._primaries[slot]) is not None:
            return address
        try:
            await self.renew()
        except LostConnection as error:
            raise NotSent(str(error)) from error
        if (address := self._primaries[slot]) is None:
            raise NotSent("The cluster has no primary for the slot.")
        return address

    def watch(self, watcher: OnChange) -> None:
        self._watchers.append(watcher)

    def put(self, slot: int, address: Address) -> None:
        """One that a server has told of by itself."""
        if self._primaries[slot] == address:
            return
        self._primaries[slot] = address
        self.primaries |= {address}
        for watcher in self._watchers:
            watcher({slot})

    async def renew(self) -> None:
        """Those who want it at the same time share the answer. Raises LostConnection when nobody answers."""
        loop = asyncio.get_running_loop()
        if loop.time() - self._renewed_s < RENEW_APART_S:
            return
        if self._renewing is None or self._renewing.done():
            self._renewing = loop.create_task(self._renew(), name="slot-map")
            self._renewing.add_done_callback(_log_failure)
        await asyncio.shield(self._renewing)

    def renew_soon(self) -> None:
        """Without a wait; what was known is used on until then, and where nobody answers."""
        loop = asyncio.get_running_loop()
        if (self._renewing is None or self._renewing.done()) and loop.time() - self._renewed_s >= RENEW_APART_S:
            self._renewing = loop.create_task(self._renew(), name="slot-map")
            self._renewing.add_done_callback(_log_failure)

    async def follow(self, slot: int, send: Callable[[Address, bool], Awaitable[Answer]]) -> Answer:
        """What `send` answers, which sends a command to that primary; if the second is true, with ASKING before it."""
        address, asking = await self.primary_now(slot), False
        for _ in range(REDIRECTIONS_MAX):
            try:
                return await send(address, asking)
            except AskError as error:
                address, asking = self.redirected(error, address), not isinstance(error, MovedError)
            except LOST:
                # its replica may have its slots by the next call
                self.renew_soon()
                raise
        raise NotSent("The cluster sends the command from one server to the next.")

    def redirected(self, error: AskError, asked: Address) -> Address:
        """Whom it sends to. A server that knows no address of the other means another port of its own."""
        address = (error.host or asked[0], error.port)
        if isinstance(error, MovedError):
            self.put(error.slot_id, address)
            self.renew_soon()
        return address

    async def aclose(self) -> None:
        await cancelled(self._renewing)

    async def _renew(self) -> None:
        known = list(self.primaries | set(self.url.nodes))
        random.shuffle(known)
        told, errors = await self._ask_several(known[:ASKED_MAX])
        if not told and known[ASKED_MAX:]:
            told, errors = await self._ask_several(known[ASKED_MAX:])
        if not told:
            raise LostConnection(f"No server of the cluster answers: {'; '.join(errors)}.")
        self._renewed_s = asyncio.get_running_loop().time()
        self._take(max(told, key=lambda row: (row.up, row.config_epoch)).primaries)

    async def _ask_several(self, addresses: Iterable[Address]) -> tuple[list[Told], list[str]]:
        """Answers of a majority, or as many as come; and what went wrong with others."""
        told: list[Told] = []
        errors: list[str] = []
        tasks = [asyncio.create_task(self._ask(address)) for address in addresses]
        try:
            for answer in asyncio.as_completed(tasks):
                try:
                    told.append(await answer)
                except (RedisError, OSError, TimeoutError) as error:
                    errors.append(f"{type(error).__name__}: {error}")
                if len(told) > len(tasks) // 2:
                    break
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return told, errors

    async def _ask(self, address: Address) -> Told:
        """Replicas know it as well."""
        options: dict[str, Any] = dict(parse_url(self.url.node_url(address)))
        options |= {"socket_connect_timeout": ASK_TIMEOUT_S, "socket_timeout": ASK_TIMEOUT_S}
        connection = options.pop("connection_class", Connection)(**options)
        try:
            await connection.connect()
            info = await ask(connection, "CLUSTER", "INFO")
            rows = await ask(connection, "CLUSTER", "SLOTS")
        finally:
            await connection.disconnect(nowait=True)
        return Told(
            up=info_field(info, "cluster_state") == "ok",
            config_epoch=int(info_field(info, "cluster_current_epoch")),
            primaries=_primaries(rows, address),
        )

    def _take(self, primaries: list[Address | None]) -> None:
        before, self._primaries = self._primaries, primaries
        changed = {slot for slot in range(SLOTS) if primaries[slot] != before[slot]}
        self.primaries = frozenset(address for address in primaries if address is not None)
        if changed:
            log.info("Slots have other primaries.", action="slots_moved", slots=len(changed))
            for watcher in self._watchers:
                watcher(changed)


async def own_slots(connection: AbstractConnection) -> frozenset[int]:
    """Those that the server at the other end has, as it says itself: nobody knows it earlier."""
    own_id = await ask(connection, "CLUSTER", "MYID")
    rows = await ask(connection, "CLUSTER", "SLOTS")
    owned = [range(first, last + 1) for first, last, primary, *_replicas in rows if primary[2] == own_id]
    return frozenset(slot for slots in owned for slot in slots)


def _primaries(rows: Any, asked: Address) -> list[Address | None]:
    """Of what CLUSTER SLOTS answers."""
    primaries: list[Address | None] = [None] * SLOTS
    for first, last, primary, *_replicas in rows:
        # a server that knows no address of its own is where it was asked
        address = ((primary[0] or b"").decode() or asked[0], int(primary[1]))
        primaries[first : last + 1] = [address] * (last + 1 - first)
    return primaries


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.warning("The cluster does not say who has which slot.", action="slots_unknown", error=str(error))
