"""When a process is asked to stop."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PARENT_POLL_S = 0.5


class StopRequest(asyncio.Event):
    """Set when the process is to end. `replaced`: by SIGHUP, with which a supervisor says that another took over.

    `hurried`: set when it is to end soon, by any other signal, also after that one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.replaced = False
        self.hurried = asyncio.Event()

    def replace(self) -> None:
        self.replaced = True
        self.set()

    def hurry(self) -> None:
        self.hurried.set()
        self.set()


@asynccontextmanager
async def stop_requested(*, end_with_parent: bool = False) -> AsyncIterator[StopRequest]:
    """An event that Ctrl-C, SIGTERM or SIGHUP sets; and the end of the process that started us, if that is wanted."""
    stop = StopRequest()
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, stop.replace if number == signal.SIGHUP else stop.hurry)
    watch = asyncio.create_task(_watch_parent(stop)) if end_with_parent else None
    try:
        yield stop
    finally:
        if watch is not None:
            watch.cancel()
        for number in SIGNALS:
            loop.remove_signal_handler(number)


async def _watch_parent(stop: StopRequest) -> None:
    """Sets `stop` when we are handed to another parent, as every system does with orphans."""
    parent_pid = os.getppid()
    while os.getppid() == parent_pid:
        await asyncio.sleep(PARENT_POLL_S)
    stop.hurry()
