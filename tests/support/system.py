"""The whole program as its users meet it: server processes, a flusher and a worker over real PostgreSQL and Valkey.

Each process is `python -m playhead.app …` with settings of its own. Output goes to files that a failing test can show.
"""

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playhead.auth.tokens import issue
from playhead.db import ensure_logins, migrate
from tests.support.media_files import begin_media

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
COMMAND_TIMEOUT_S = 60.0
POLL_S = 0.05
TOKEN_S = 3600
AUDIENCE = "authenticated"


class ProcessFailed(Exception):
    """A process of the system under test did not do what it should; the text has the end of its log."""


@dataclass
class Process:
    """One process of the system, with a log of its own."""

    name: str
    arguments: tuple[str, ...]
    environment: dict[str, str]
    log_path: Path
    popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log_path.open("ab") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", "playhead.app", *self.arguments], env=self.environment, stdout=log, stderr=log
            )

    @property
    def pid(self) -> int:
        assert self.popen is not None
        return self.popen.pid

    def kill(self) -> None:
        """As a crash: SIGKILL."""
        assert self.popen is not None
        self.popen.kill()
        self.popen.wait(STOP_TIMEOUT_S)

    def ask_to_stop(self) -> None:
        """As an operator: SIGTERM."""
        if self.popen is not None and self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)

    def ended(self) -> int:
        """Waits for its end, and answers the exit code."""
        return 0 if self.popen is None else self.popen.wait(STOP_TIMEOUT_S)

    def stop(self) -> int:
        self.ask_to_stop()
        return self.ended()

    def require_alive(self) -> None:
        if self.popen is not None and self.popen.poll() is not None:
            raise ProcessFailed(f"{self.name} ended with {self.popen.returncode}:\n{self.log()}")

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")[-6000:]


def metric_at(port: int, name: str) -> float:
    """The value of a metric without labels. Raises OSError while nobody listens there."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
        rows = [line.decode().split() for line in response]
    return next(float(row[1]) for row in rows if row[0] == name)


@dataclass
class RunningSystem:
    """Server processes on ports of their own, a flusher and a worker, on one PostgreSQL and one Valkey.

    `redis_url` None: sessions live in the memory of the only server. `helper_commands`: what runs beside the servers.
    """

    folder: Path
    database_url: str
    redis_url: str | None
    ports: tuple[int, ...]
    metrics_ports: tuple[int, ...]
    jwt_key: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    media_key: str = field(default_factory=lambda: secrets.token_urlsafe(32))
    listener_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    script_id: str = ""
    helper_commands: tuple[str, ...] = ("flush", "worker")
    settings: dict[str, str] = field(default_factory=dict)
    """Of every process, by variable; before our own."""
    servers: list[Process] = field(default_factory=list)
    helpers: list[Process] = field(default_factory=list)
    """In the order of `helper_commands`."""

    @property
    def base_urls(self) -> tuple[str, ...]:
        return tuple(f"http://127.0.0.1:{port}" for port in self.ports)

    @property
    def base_url(self) -> str:
        return self.base_urls[0]

    def token(self, listener_id: str | None = None, *, scopes: tuple[str, ...] = (), valid_s: int = TOKEN_S) -> str:
        """A token of `listener_id`; default: the system's own listener."""
        return issue(
            self.jwt_key,
            listener_id=listener_id or self.listener_id,
            audience=AUDIENCE,
            expires_at_s=int(time.time()) + valid_s,
            scopes=scopes,
        )

    def environment(self, port: int = 0, metrics_port: int = 0) -> dict[str, str]:
        """The settings of one process."""
        ours = ("PLAYHEAD_", "REDIS_URL", "DATABASE_URL")
        clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return {
            **clean,
            "PLAYHEAD_DATABASE_URL": self.database_url,
            **({"PLAYHEAD_STORE": "memory"} if self.redis_url is None else {"PLAYHEAD_REDIS_URL": self.redis_url}),
            "PLAYHEAD_DATA_DIR": str(self.folder),
            "PLAYHEAD_PORT": str(port),
            "PLAYHEAD_METRICS_PORT": str(metrics_port),
            "PLAYHEAD_JWT_KEY": self.jwt_key,
            "PLAYHEAD_MEDIA_KEYS": json.dumps({"test": self.media_key}),
            "PLAYHEAD_LOG_FORMAT": "console",
            "PLAYHEAD_SHUTDOWN_GRACE_S": "5",
            "PLAYHEAD_DRAIN_S": "2",
            **self.settings,
        }

    @property
    def flusher(self) -> Process:
        return self.helpers[0]

    def start(self) -> None:
        """Migrates, starts every process and returns when all servers are ready."""
        self.begin()
        for number in range(len(self.servers)):
            self.wait_ready(number)

    def begin(self) -> None:
        """Migrates, and starts every process; returns at once."""
        self._migrate()
        # tests make rows of scripts without files
        begin_media(self.folder)
        for number, (port, metrics_port) in enumerate(zip(self.ports, self.metrics_ports, strict=True)):
            log_path = self.folder / f"server-{number}.log"
            server = Process(f"server {number}", ("serve",), self.environment(port, metrics_port), log_path)
            server.start()
            self.servers.append(server)
        for command in self.helper_commands:
            helper = Process(command, (command,), self.environment(), self.folder / f"{command}.log")
            helper.start()
            self.helpers.append(helper)

    def readiness(self, number: int = 0) -> dict[str, Any]:
        """What `/readyz` of server `number` says, whether or not it is ready."""
        try:
            with urllib.request.urlopen(f"{self.base_urls[number]}/readyz", timeout=5) as response:
                answer: dict[str, Any] = json.load(response)
        except urllib.error.HTTPError as error:
            answer = json.load(error)
            error.close()
        return answer

    def metric(self, name: str, number: int = 0) -> float:
        """The value of a metric without labels."""
        return metric_at(self.metrics_ports[number], name)

    def wait_ready(self, number: int) -> None:
        """Returns when server `number` answers `/readyz` with 200."""
        deadline_s = time.monotonic() + START_TIMEOUT_S
        answer = "nothing"
        while time.monotonic() < deadline_s:
            self.servers[number].require_alive()
            try:
                with urllib.request.urlopen(f"{self.base_urls[number]}/readyz", timeout=2):
                    return
            except urllib.error.HTTPError as error:
                answer = error.read().decode(errors="replace")
                error.close()
            except OSError:
                pass
            time.sleep(POLL_S)
        raise ProcessFailed(f"server {number} is not ready ({answer}):\n{self.servers[number].log()}")

    def stop(self) -> None:
        """All servers at once; the flusher and the others after them, for what servers leave in the journal."""
        for processes in (self.servers, self.helpers):
            for process in processes:
                process.ask_to_stop()
            for process in processes:
                process.ended()

    def playhead(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Runs `playhead` as an operator of this system, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "playhead.app", *arguments],
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
        )

    def logs(self) -> str:
        processes = [*self.servers, *self.helpers]
        return "\n".join(f"--- {process.name}\n{process.log()}" for process in processes)

    def _migrate(self) -> None:
        """As `playhead migrate`, in a thread of this process: to start another one costs ten times the work."""

        async def migrated() -> None:
            await migrate(self.database_url)
            await ensure_logins(self.database_url, self.folder)

        with ThreadPoolExecutor(1) as thread:  # whoever calls may have a loop
            thread.submit(asyncio.run, migrated()).result(START_TIMEOUT_S)
