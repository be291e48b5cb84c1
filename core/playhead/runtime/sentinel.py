"""Which server is the primary, as the sentinels say: asked before each new connection is opened, never remembered.

All sentinels are asked at once, and a majority of them is waited for. Of their answers that of the latest configuration
counts, as a sentinel that was away may name the primary of yesterday; one that is a replica by now is refused by
`redis.refuse_replica`, and the next attempt asks anew. `switches.py` hears when another server has become the primary.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from redis.asyncio.connection import Connection, SSLConnection
from redis.exceptions import ConnectionError as LostConnection
from redis.exceptions import RedisError

from playhead.runtime.redis_urls import Address, SentinelUrl

SENTINEL_TIMEOUT_S = 0.5
"""For a connection to a sentinel, and for each of its answers: all of them are asked at once."""


class NoPrimary(LostConnection):
    """The sentinels name no primary that answers. Wait for their failover, or look at what they say."""


@dataclass(frozen=True, slots=True, order=True)
class Told:
    """What one sentinel says; the greatest of several counts."""

    config_epoch: int
    up: bool
    address: Address


class Sentinels:
    """Those of one service. `options`: redis-py's for the connections to the sentinels themselves, TLS among them."""

    def __init__(self, url: SentinelUrl, connection_class: type[Connection], options: dict[str, Any]) -> None:
        self._url = url
        self.addresses = url.sentinels
        self.service = url.service
        self._connection_class = connection_class
        self._options = options

    async def primary(self) -> Address:
        """Where it is now. Raises NoPrimary."""
        told, errors = await self._ask_all()
        if not told:
            raise NoPrimary(f"No sentinel names a primary of {self.service!r}: {'; '.join(errors)}.")
        best = max(told)
        if not best.up:
            raise NoPrimary(f"The sentinels see the primary of {self.service!r} down.")
        return best.address

    async def _ask_all(self) -> tuple[list[Told], list[str]]:
        """Answers of a majority, or as many as come; and what went wrong with others."""
        told: list[Told] = []
        errors: list[str] = []
        tasks = [asyncio.create_task(self._ask(*address)) for address in self.addresses]
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

    def connection(self, host: str, port: int) -> Connection:
        """To one sentinel; not open yet."""
        return self._connection_class(
            host=host,
            port=port,
            username=self._url.username,
            password=self._url.password,
            protocol=2,
            socket_connect_timeout=SENTINEL_TIMEOUT_S,
            socket_timeout=SENTINEL_TIMEOUT_S,
            socket_keepalive=True,
            **self._options,
        )

    async def _ask(self, host: str, port: int) -> Told:
        connection = self.connection(host, port)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            fields = await self._answer(connection, "SENTINEL", "MASTER", self.service)
            # another one than above while a failover ends
            address = await self._answer(connection, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.service)
        finally:
            await connection.disconnect(nowait=True)
        return told_by(fields, address)

    async def _answer(self, connection: Connection, *command: str) -> Any:
        await connection.send_command(*command, check_health=False)
        answer = await connection.read_response()
        if isinstance(answer, RedisError):
            raise answer
        if not answer:
            raise NoPrimary("a sentinel does not know the service")
        return answer


def told_by(fields: list[bytes], address: list[bytes]) -> Told:
    """Of the fields of SENTINEL MASTER, names and values in turn, and the address that new clients are to have."""
    master = dict(zip(fields[::2], fields[1::2], strict=True))
    host, port = address
    flags = master[b"flags"].split(b",")
    moved = (master[b"ip"], master[b"port"]) != (host, port)
    return Told(
        config_epoch=int(master[b"config-epoch"]),
        up=moved or not {b"s_down", b"o_down"} & set(flags),
        address=(host.decode(), int(port)),
    )


class Led(Connection):
    """A connection to whoever is the primary when it is opened."""

    def __init__(self, *, sentinels: Sentinels, **options: Any) -> None:
        super().__init__(**options)
        self._sentinels = sentinels

    async def connect(self) -> None:
        if not self.is_connected:
            self.host, self.port = await self._sentinels.primary()
        await super().connect()  # type: ignore[no-untyped-call]


class LedSecurely(Led, SSLConnection):
    """The same with TLS."""
