"""Sharded pub/sub on one connection: the messages of the channels that this process wants, and of no other.

Pub/sub promises nothing: after a lost connection (ours, or one that the server cut off) messages are missing, and the
only sign is that the subscription is confirmed a second time. Each such sign is told to `on_gap`. Calls for one channel
must not overlap: whoever owns the subscriptions sees to that.
One task reads and one writes; nobody else touches the connection: redis-py's PubSub lets every caller reconnect, and
two at once break each other's.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import groupby

import structlog
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from playhead.runtime.tasks import cancelled

log = structlog.get_logger(__name__)

CONFIRM_TIMEOUT_S = 2.0
RECONNECT_WAIT_MIN_S = 0.05
RECONNECT_WAIT_MAX_S = 1.0
CHANNELS_PER_COMMAND_MAX = 500

OnMessage = Callable[[str, bytes], Awaitable[None]]
"""Of which channel, and what."""
OnGap = Callable[[str], Awaitable[None]]
"""The channel that messages of may be missing."""


class NotConfirmed(Exception):
    """The subscription was not confirmed in time; it is still wanted, and made when there is a connection."""


class Subscriptions:
    """Subscriptions on one Valkey/Redis primary. Run them with `start`; end them with `stop`."""

    def __init__(self, client: Redis, on_message: OnMessage, on_gap: OnGap) -> None:
        self._client = client
        self._on_message = on_message
        self._on_gap = on_gap
        self._asked: asyncio.Queue[tuple[str, str]] | None = None
        self._wanted: set[str] = set()
        self._confirmed: set[str] = set()
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._reopened = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.heard_s = -math.inf
        """When the server last said anything, by the loop's clock; opening a connection counts."""

    @property
    def connected(self) -> bool:
        """Whether messages can arrive."""
        return self._asked is not None

    def reopen(self) -> None:
        """Another server has the messages, or will soon: the connection is opened anew, and every channel has a gap."""
        self._reopened.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="subscriptions")

    async def stop(self) -> None:
        await cancelled(self._task)

    def want(self, channel: str) -> None:
        """Subscribes without waiting: messages arrive from some moment on. Asked once, as a second answer is a gap."""
        if channel not in self._wanted:
            self._wanted.add(channel)
            self._ask("SSUBSCRIBE", channel)

    async def subscribe(self, channel: str) -> None:
        """Returns when every later message will arrive. Raises NotConfirmed."""
        if channel in self._confirmed:
            return
        waiting = self._waiting.setdefault(channel, asyncio.get_running_loop().create_future())
        self.want(channel)
        try:
            await asyncio.wait_for(asyncio.shield(waiting), CONFIRM_TIMEOUT_S)
        except TimeoutError as error:
            raise NotConfirmed("The subscription was not confirmed in time.") from error

    def unsubscribe(self, channel: str) -> None:
        self._wanted.discard(channel)
        self._confirmed.discard(channel)
        self._end_wait(channel)
        self._ask("SUNSUBSCRIBE", channel)

    def _ask(self, command: str, channel: str) -> None:
        """To be written, where there is a connection; a new one begins with every subscription that is wanted then."""
        if self._asked is not None:
            self._asked.put_nowait((command, channel))

    async def _run(self) -> None:
        """Listens for ever: a lost connection is opened anew, with every subscription that is wanted."""
        wait_s = RECONNECT_WAIT_MIN_S
        while True:
            try:
                async with self._opened() as connection:
                    wait_s = RECONNECT_WAIT_MIN_S
                    await self._serve(connection)
            except (RedisError, OSError) as lost:
                log.warning("No subscription to the state store.", action="bus_lost", error=str(lost))
            except Exception:
                # deaf is worse than noisy: whatever goes wrong with one connection, the next one is listened to
                log.exception("The subscription to the state store failed.", action="bus_failed")
            await asyncio.sleep(wait_s)
            wait_s = min(RECONNECT_WAIT_MAX_S, wait_s * 2)

    async def _serve(self, connection: AbstractConnection) -> None:
        """Reads and writes until one of both fails, and raises why.

        Not a TaskGroup: it asks a task to end once, and a writer that loses that (see `cancelled`) would be waited for
        for ever, with nobody listening.
        """
        tasks = [asyncio.create_task(part) for part in (self._write(connection), self._read(connection), self._end())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                await cancelled(task)
            errors = [task.exception() for task in tasks if not task.cancelled()]
        raise next((error for error in errors if error is not None), ConnectionError("The connection has ended."))

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[AbstractConnection]:
        """A new connection of the client's pool, with a queue for what is asked on it; closed at the end."""
        pool = self._client.connection_pool
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            # one that lay in the pool may lead to a server that is the primary no more
            await connection.disconnect(nowait=True)
            await connection.connect()
            # what was asked of an earlier one, or came with this one, does not count
            self._reopened.clear()
            self.heard_s = asyncio.get_running_loop().time()
            self._asked = asyncio.Queue()
            yield connection
        finally:
            self._asked = None
            await connection.disconnect(nowait=True)
            await pool.release(connection)

    async def _end(self) -> None:
        """Ends the connection when it is asked for."""
        await self._reopened.wait()
        raise ConnectionError("The server is the primary no more.")

    async def _write(self, connection: AbstractConnection) -> None:
        assert self._asked is not None
        asked = [("SSUBSCRIBE", channel) for channel in self._wanted]
        while True:
            for command, rows in groupby(asked, key=lambda row: row[0]):
                channels = [channel for _, channel in rows]
                for first in range(0, len(channels), CHANNELS_PER_COMMAND_MAX):
                    some = channels[first : first + CHANNELS_PER_COMMAND_MAX]
                    await connection.send_command(command, *some, check_health=False)
            asked = [await self._asked.get()]
            while not self._asked.empty():
                asked.append(self._asked.get_nowait())

    async def _read(self, connection: AbstractConnection) -> None:
        while True:
            # without a limit: silence is no failure
            message = await connection.read_response(timeout=math.inf, push_request=True, disconnect_on_error=False)
            self.heard_s = asyncio.get_running_loop().time()
            if isinstance(message, list) and len(message) == 3:
                kind, channel, data = message
                await self._take(kind.decode(), channel.decode(), data)

    async def _take(self, kind: str, channel: str, data: object) -> None:
        if channel not in self._wanted:
            return
        try:
            if kind == "smessage" and isinstance(data, bytes):
                await self._on_message(channel, data)
            elif kind == "ssubscribe":
                await self._subscribed(channel)
        except Exception:
            # one message that cannot be delivered must not cost the others their connection
            log.exception("A packet of the state store was not delivered.", action="packet_undelivered")

    async def _subscribed(self, channel: str) -> None:
        """A first confirmation ends a wait; any further one means that messages may have been lost before it."""
        repeated = channel in self._confirmed
        self._confirmed.add(channel)
        self._end_wait(channel)
        if repeated:
            await self._on_gap(channel)

    def _end_wait(self, channel: str) -> None:
        if (waiting := self._waiting.pop(channel, None)) is not None and not waiting.done():
            waiting.set_result(None)
