"""The process that keeps server processes up on one port. It serves nothing but `/metrics`, and knows no database.

Owns: listeners, starting, signals. Must not know: when which process is started or ended (`fleet.py`).
How it works: one task per process, which waits for its words on a pipe and for its end, and asks the fleet what to do.
Each process has a session of its own, so that Ctrl-C reaches the supervisor alone; on Linux the kernel ends those of a
supervisor that was killed, elsewhere they see it for themselves.
"""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

import structlog

from playhead.app.development.children import Backoff
from playhead.app.embedded.process import launch_arguments
from playhead.app.machine import metrics_server
from playhead.app.processes import place
from playhead.app.processes.fleet import Effect, Fleet, Retire, Say, Start, Stop
from playhead.app.processes.listeners import BACKLOG_CONNECTIONS, open_listeners
from playhead.realtime.drain import HANDOVER_S_MAX
from playhead.runtime.metric_files import fold_process
from playhead.runtime.metrics import metrics_folder
from playhead.runtime.settings import Settings

log = structlog.get_logger(__name__)

READY_TIMEOUT_S = 60.0
"""For a process that is to take another one's place."""
STOP_MARGIN_S = 7.0
"""What a process needs beyond its drain and its grace: to close sockets, and to tell the store who has gone."""
NOT_STARTED_CODE = 1
"""Stands for the exit code of a process that the system could not start."""
PROGRAM = (sys.executable, "-m", "playhead.app", "serve")
RETIRE = signal.SIGHUP
"""Another process has its listener: it takes no new connections. On SIGTERM it does until it is drained."""


async def supervise(settings: Settings) -> int:
    """Serves with `settings.processes` processes until it is told to stop. Answers the exit code.

    Raises SettingsError when it cannot listen.
    """
    with ExitStack() as held:
        listeners = held.enter_context(
            open_listeners(settings.host, settings.port, settings.processes, BACKLOG_CONNECTIONS)
        )
        metrics = metrics_server(settings)
        held.callback(metrics.stop)
        port = listeners[0][0].getsockname()[1]
        log.info("Starting.", action="starting", host=settings.host, port=port, processes=settings.processes)
        return await _Supervisor(settings, listeners, Backoff()).run()


class _Supervisor:
    def __init__(self, settings: Settings, listeners: Sequence[Sequence[socket.socket]], backoff: Backoff) -> None:
        self._listeners = listeners
        self._fleet = Fleet(settings.processes, backoff)
        self._over: asyncio.Future[None]
        self._running: dict[int, asyncio.subprocess.Process] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._timers: dict[int, list[asyncio.TimerHandle]] = {}
        self._over = asyncio.get_running_loop().create_future()
        self._stop_timeout_s = (
            min(settings.drain_s, settings.shutdown_grace_s) + settings.shutdown_grace_s + STOP_MARGIN_S
        )
        self._environment = {
            **os.environ,
            "PLAYHEAD_PROCESSES": str(settings.processes),
            "PLAYHEAD_PORT": str(listeners[0][0].getsockname()[1]),
        }

    async def run(self) -> int:
        with _signals({signal.SIGTERM: self._stop, signal.SIGINT: self._stop, signal.SIGHUP: self._restart}):
            try:
                self._do(self._fleet.begin())
                await self._over
            finally:
                left = list(self._tasks.values())
                for task in left:
                    task.cancel()
                await asyncio.gather(*left, return_exceptions=True)
        log.info("Stopped.", action="stopped")
        return self._fleet.exit_code

    def _stop(self) -> None:
        log.info("Stopping.", action="stopping")
        self._do(self._fleet.stop())

    def _restart(self) -> None:
        self._do(self._fleet.restart())

    def _do(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Start(slot, process, after_s):
                    task = self._tasks[process] = asyncio.create_task(self._keep(slot, process, after_s))
                    task.add_done_callback(self._check)
                case Retire(process):
                    self._end(process, RETIRE)
                case Stop(process):
                    self._end(process, signal.SIGTERM)
                case Say(text, action, alarming):
                    (log.warning if alarming else log.info)(text, action=action)
        if self._fleet.stopping:
            for process in self._tasks.keys() - self._running.keys():
                self._tasks[process].cancel()
        if self._fleet.over and not self._over.done():
            self._over.set_result(None)

    def _check(self, task: asyncio.Task[None]) -> None:
        """A fault of ours ends everything: a supervisor that half works would be worse than none."""
        if not task.cancelled() and (error := task.exception()) is not None and not self._over.done():
            self._over.set_exception(error)

    async def _keep(self, slot: int, process: int, after_s: float) -> None:
        """One process, from its start to its end."""
        await asyncio.sleep(after_s)
        try:
            running, reading = await self._spawn(slot)
        except OSError as error:
            log.error(f"No process can be started: {error}.", action="process_not_started", slot=slot)
            del self._tasks[process]
            self._do(self._fleet.ended(process, NOT_STARTED_CODE, 0.0))
            return
        started_at_s = _now_s()
        self._running[process] = running
        log.info("A process was started.", action="process_started", slot=slot, pid=running.pid)
        self._do(self._fleet.started(process))
        self._after(process, READY_TIMEOUT_S, lambda: self._do(self._fleet.late(process)))
        listening = asyncio.create_task(self._listen(process, reading))
        try:
            code = await running.wait()
            await listening
        finally:
            listening.cancel()
            await self._gone(process, running)
        self._do(self._fleet.ended(process, code, _now_s() - started_at_s))

    async def _spawn(self, slot: int) -> tuple[asyncio.subprocess.Process, int]:
        """A new process, and the end of its pipe from which its words are read. Raises OSError."""
        listeners = self._listeners[slot]
        reading, report = os.pipe()
        try:
            running = await asyncio.create_subprocess_exec(
                *launch_arguments(PROGRAM, end_with_parent=True),
                stdin=asyncio.subprocess.DEVNULL,
                env={**self._environment, **place.environment(slot, listeners, report)},
                pass_fds=[report, *(listener.fileno() for listener in listeners)],
                start_new_session=True,
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(report)
        return running, reading

    async def _listen(self, process: int, reading: int) -> None:
        """What the process says on its pipe, until it closes it."""
        words = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        pipe = os.fdopen(reading, "rb", buffering=0)
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), pipe)
        try:
            async for line in words:
                if line.strip() == place.SERVING:
                    self._do(self._fleet.serving(process))
                elif line.strip() == place.READY:
                    self._do(self._fleet.ready(process))
        finally:
            transport.close()

    async def _gone(self, process: int, running: asyncio.subprocess.Process) -> None:
        """Never leaves one behind, also when this task is cancelled."""
        if running.returncode is None:
            running.kill()
            await running.wait()
        del self._running[process]
        self._tasks.pop(process, None)
        for timer in self._timers.pop(process, ()):
            timer.cancel()
        fold_process(metrics_folder(), running.pid)

    def _end(self, process: int, number: signal.Signals) -> None:
        """By a signal, and by SIGKILL when that takes too long."""
        running = self._running[process]
        with suppress(ProcessLookupError):
            running.send_signal(number)
        handover_s = HANDOVER_S_MAX if number == RETIRE else 0.0
        self._after(process, handover_s + self._stop_timeout_s, lambda: self._kill(process))

    def _kill(self, process: int) -> None:
        running = self._running[process]
        log.warning("A process did not end in time and is killed.", action="process_killed", pid=running.pid)
        with suppress(ProcessLookupError):
            running.kill()

    def _after(self, process: int, wait_s: float, do: Callable[[], None]) -> None:
        """Unless `process` is gone by then."""
        self._timers.setdefault(process, []).append(asyncio.get_running_loop().call_later(wait_s, do))


def _now_s() -> float:
    return asyncio.get_running_loop().time()


@contextmanager
def _signals(handlers: dict[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number, handler in handlers.items():
        loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)
