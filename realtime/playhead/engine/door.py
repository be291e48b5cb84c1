"""A listening socket: takes connections while there is room for strangers, and lets the others wait with the kernel.

    room for a stranger → taken, at most ACCEPTED_AT_ONCE in a turn
    else                → looked at again after SHUT_S

Who waits with the kernel costs nothing, and has sent what it asks for by the time it is taken. To take more than can
be heard, and close the oldest for the newest, makes all of a crowd come back without having been heard.
"""

import asyncio
import errno
import socket
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

ACCEPTED_AT_ONCE = 64
"""Connections that are taken before everything else on this process has its turn."""
SHUT_S = 0.05
RETRY_S = 1.0
"""After the system had no room for another connection."""
NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Door:
    """`protocol`: of each connection. `room`: of so many, how many may be taken now.

    `listening` is closed with `close`, whoever opened it.
    """

    def __init__(
        self,
        listening: socket.socket,
        backlog: int,
        protocol: Callable[[], asyncio.Protocol],
        room: Callable[[int], int],
    ) -> None:
        self._listening = listening
        self._backlog = backlog
        self._protocol = protocol
        self._room = room
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._taken: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        self._listening.setblocking(False)
        self._listening.listen(self._backlog)
        self._loop.add_reader(self._listening.fileno(), self._take)

    def close(self) -> None:
        """Takes none any more; harmless when repeated."""
        if self._pause is not None:
            self._pause.cancel()
        elif self._listening.fileno() >= 0:
            self._loop.remove_reader(self._listening.fileno())
        self._pause = None
        self._listening.close()

    def _take(self) -> None:
        under_way = len(self._taken)  # they have no place yet
        room = self._room(ACCEPTED_AT_ONCE + under_way) - under_way
        if room <= 0:
            self._shut_for(SHUT_S)
            return
        for _ in range(room):
            try:
                connection, _address = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise
                log.error("The system has no room for another connection.", action="accept_failed", error=str(error))
                self._shut_for(RETRY_S)
                return
            task = self._loop.create_task(self._connect(connection))
            self._taken.add(task)
            task.add_done_callback(self._taken.discard)

    async def _connect(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        try:
            await self._loop.connect_accepted_socket(self._protocol, connection)
        except OSError:  # it has gone already
            connection.close()

    def _shut_for(self, wait_s: float) -> None:
        self._loop.remove_reader(self._listening.fileno())
        self._pause = self._loop.call_later(wait_s, self._look_again)

    def _look_again(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listening.fileno(), self._take)
