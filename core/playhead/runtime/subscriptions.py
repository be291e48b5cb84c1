"""Sharded pub/sub on one connection: the messages of the channels that this process wants, and of no other.

Pub/sub promises nothing: after a lost connection (ours, or one that the server cut off) messages are missing, and the
only sign is that the subscription is confirmed a second time. Each such sign is told to `on_gap`. Calls for one channel
must not overlap: whoever owns the subscriptions sees to that. In a cluster this is the connection to one primary, which
may end subscriptions by itself, and refuse them, when the slot of a channel has moved: see `cluster_subscriptions.py`.
One task reads and one writes; nobody else touches the connection: redis-py's PubSub lets every caller reconnect, and
two at once break each other's.
"""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import groupby

import structlog
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ClusterDownError, MovedError, RedisError, TryAgainError

from playhead.runtime.tasks import cancelled

log = structlog.get_logger(__name__)

CONFIRM_TIMEOUT_S = 2.0
RECONNECT_WAIT_MIN_S = 0.05
RECONNECT_WAIT_MAX_S = 1.0
CHANNELS_PER_COMMAND_MAX = 500
ASK_AGAIN_S = 0.5
"""After a refused subscription: a cluster says of none which channel it was."""

OnMessage = Callable[[str, bytes], Awaitable[None]]
"""Of which channel, and what."""
OnGap = Callable[[str], Awaitable[None]]
"""The channel that messages of may be missing."""
SlotOf = Callable[[str], int]
"""One command may name channels of one slot alone."""
OnSlotMoved = Callable[[MovedError], None]


class NotConfirmed(Exception):
    """The subscription was not confirmed in time; it is still wanted, and made when there is a connection."""


class Subscriptions:
    """Subscriptions on one Valkey/Redis primary. Run them with `start`; end them with `stop`.

    `on_slot_moved`: in a cluster; told when a subscription was refused because another primary has the slot.
    """

    def __init__(
        self,
        client: Redis,
        on_message: OnMessage,
        on_gap: OnGap,
        slot_of: SlotOf = lambda _channel: 0,
        on_slot_moved: OnSlotMoved | None = None,
    ) -> None:
        self._client = client
        self._on_message = on_message
        self._on_gap = on_gap
        self._slot_of = slot_of
        self._on_slot_moved = on_slot_moved
        self._asked: asyncio.Queue[tuple[str, str]] | None = None
        self._wanted: set[str] = set()
        self._confirmed: set[str] = set()
        self._here: set[str] = set()
        """Those that this connection has."""
        self._leaving: Counter[str] = Counter()
        """How many ends of subscriptions have been asked for on this connection and not been answered, by channel."""
        self._again: asyncio.TimerHandle | None = None
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._reopened = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.heard_s = -math.inf
        """When the server last said anything, by the loop's clock; opening a connection counts."""

    @property
    def connected(self) -> bool:
        """Whether messages can arrive."""
        return self._asked is not None

    def own_channels(self, name: str) -> Mapping[str, "Subscriptions"]:
        """A channel of that name for each server, with the connection that it is heard on."""
        return {name: self}

    def confirmed(self, channel: str) -> bool:
        """Whether it has been subscribed to; while a connection is opened anew that counts."""
        return channel in self._confirmed

    def reopen(self) -> None:
        """Another server has the messages, or will soon: the connection is opened anew, and every channel has a gap."""
        self._reopened.set()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="subscriptions")

    async def stop(self) -> None:
        await cancelled(self._task)

    def want(self, channel: str, *, gap_before: bool = False) -> None:
        """Subscribes without waiting: messages arrive from some moment on. Asked once, as a second answer is a gap.

        `gap_before`: something may have been said already, as where it was subscribed to elsewhere, so that the first
        answer is a gap, too.
        """
        if channel not in self._wanted:
            self._wanted.add(channel)
            if gap_before:
                self._confirmed.add(channel)
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
        self._here.discard(channel)
        self._end_wait(channel)
        if self._asked is not None:
            self._leaving[channel] += 1
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
            self._here.clear()
            self._leaving.clear()
            self._asked = asyncio.Queue()
            yield connection
        finally:
            self._asked = None
            if self._again is not None:
                self._again.cancel()
                self._again = None
            await connection.disconnect(nowait=True)
            await pool.release(connection)

    async def _end(self) -> None:
        """Ends the connection when it is asked for."""
        await self._reopened.wait()
        raise ConnectionError("The server is the primary no more.")

    async def _write(self, connection: AbstractConnection) -> None:
        assert self._asked is not None
        asked = [("SSUBSCRIBE", channel) for channel in sorted(self._wanted, key=self._slot_of)]
        while True:
            for (command, _), rows in groupby(asked, key=lambda row: (row[0], self._slot_of(row[1]))):
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
            try:
                message = await connection.read_response(timeout=math.inf, push_request=True, disconnect_on_error=False)
            except (MovedError, ClusterDownError, TryAgainError) as refusal:
                self._refused(refusal)
                continue
            self.heard_s = asyncio.get_running_loop().time()
            if isinstance(message, list) and len(message) == 3:
                kind, channel, data = message
                await self._take(kind.decode(), channel.decode(), data)

    def _refused(self, refusal: RedisError) -> None:
        """A subscription, for now; those that there are go on."""
        if self._on_slot_moved is None:
            raise refusal
        if isinstance(refusal, MovedError):
            for channel in [channel for channel in self._leaving if self._slot_of(channel) == refusal.slot_id]:
                # what was asked to end in that slot is answered so too, and the server ended it by itself
                del self._leaving[channel]
            self._on_slot_moved(refusal)
        if self._again is None:
            self._again = asyncio.get_running_loop().call_later(ASK_AGAIN_S, self._ask_missing)

    def _ask_missing(self) -> None:
        self._again = None
        for channel in sorted(self._wanted - self._here, key=self._slot_of):
            self._ask("SSUBSCRIBE", channel)

    def _left(self, channel: str) -> None:
        """The end of a subscription: asked for, or the server's own, when it has given the slot away."""
        if self._leaving[channel]:
            self._leaving[channel] -= 1
            # a counter keeps what has come to nothing
            if not self._leaving[channel]:
                del self._leaving[channel]
        elif channel in self._wanted:
            self._here.discard(channel)
            # it confirms once more, which is a gap, or says who has the slot
            self._ask("SSUBSCRIBE", channel)

    async def _take(self, kind: str, channel: str, data: object) -> None:
        if kind == "sunsubscribe":
            return self._left(channel)
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
        self._here.add(channel)
        self._end_wait(channel)
        if repeated:
            await self._on_gap(channel)

    def _end_wait(self, channel: str) -> None:
        if (waiting := self._waiting.pop(channel, None)) is not None and not waiting.done():
            waiting.set_result(None)
