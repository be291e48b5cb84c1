"""The embedded servers while everything runs: one that dies is started again, on the data that it left.

Owns: noticing, restarting with back-off, giving up after a bound. Must not know: how a server is started.
A server that somebody else started is theirs to keep.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from playhead.app.development.children import Backoff, ChildFailed, exit_text
from playhead.app.embedded.process import log_tail

LOOK_INTERVAL_S = 0.2


class Standing(Protocol):
    """An embedded server. It starts again where it was: its URL stays."""

    @property
    def log_path(self) -> Path: ...

    @property
    def exit_code(self) -> int | None:
        """How the process ended that we started; None while it runs."""
        ...

    def start(self) -> None:
        """Raises EmbeddedError."""
        ...


async def keep_standing(name: str, server: Standing, *, backoff: Backoff, say: Callable[[str], None]) -> None:
    """Starts `server` again whenever it ends by itself, until this task is cancelled; stopping it is others' work.

    Raises ChildFailed when it ends too often, EmbeddedError when it does not start.
    """
    clock = asyncio.get_running_loop().time
    crashes, started_at_s = 0, clock()
    while True:
        await asyncio.sleep(LOOK_INTERVAL_S)
        code = server.exit_code
        if code is None:
            continue
        crashes = 1 if clock() - started_at_s >= backoff.healthy_after_s else crashes + 1
        # the log begins anew with the next start
        ended = f"{name} ended with {exit_text(code)}. Its log, {server.log_path}, ends with:"
        tail = log_tail(server.log_path)
        if crashes >= backoff.crashes_max:
            raise ChildFailed(f"{ended}\n{tail}\nThis was number {crashes} in a row.")
        say(f"{ended}\n{tail}\nIt starts again in {backoff.wait_s(crashes):g} s.")
        await asyncio.sleep(backoff.wait_s(crashes))
        # in this thread, though all else waits: the kernel ends a server with the thread that started it
        server.start()
        started_at_s = clock()
        say(f"{name} is back.")
