"""A server process's place among several: its slot, the listener that it was given, and how it says that it is ready.

Owns: what the supervisor and its processes tell each other, by variables, inherited descriptors and a pipe.
Must not know: what a server does.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

SLOT = "PLAYHEAD_PROCESS_SLOT"
LISTENERS = "PLAYHEAD_PROCESS_LISTENERS"
"""Descriptors of sockets that listen, separated by commas."""
REPORT = "PLAYHEAD_PROCESS_REPORT"
"""Descriptor of a pipe for the two words that follow."""
SERVING, READY = b"serving", b"ready"
READY_POLL_S, READY_POLL_S_MAX = 0.05, 5.0
"""Between looks at what a server needs: the first, and twice as long each time, up to the second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """`slot` counts from 0. The sockets stay open in the supervisor, whatever becomes of this process."""

    slot: int
    listeners: Sequence[socket.socket]
    report: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Place | None":
        """None: this process was not started by a supervisor."""
        if SLOT not in environment:
            return None
        descriptors = [int(text) for text in environment[LISTENERS].split(",")]
        report = int(environment[REPORT])
        for descriptor in (*descriptors, report):
            os.set_inheritable(descriptor, False)  # ffmpeg has no use for them
        return cls(
            slot=int(environment[SLOT]),
            listeners=[socket.socket(fileno=descriptor) for descriptor in descriptors],
            report=report,
        )

    async def report_ready(self, ready: Callable[[], Awaitable[bool]]) -> None:
        """Says that this process serves, and as soon as `ready` answers so, that it is ready."""
        self._say(SERVING)
        wait_s = READY_POLL_S
        while not await ready():
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, READY_POLL_S_MAX)
        self._say(READY)
        os.close(self.report)

    def _say(self, word: bytes) -> None:
        with suppress(BrokenPipeError):  # the supervisor is gone, and this process is told so in another way
            os.write(self.report, word + b"\n")


def environment(slot: int, listeners: Sequence[socket.socket], report: int) -> dict[str, str]:
    """What a process of `slot` is told."""
    return {
        SLOT: str(slot),
        LISTENERS: ",".join(str(listener.fileno()) for listener in listeners),
        REPORT: str(report),
    }
