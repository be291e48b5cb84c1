"""`playhead run`: everything on this machine under one supervisor, for development and for a first look.

Owns: the order of starting and stopping, and what the person at the terminal reads.
Must not know: how a server, a flusher or a worker does its work; they are child processes with settings of their own.
How it works: lock the data folder → ports → PostgreSQL, Valkey → migrate → player page → servers, flusher, worker →
sample → links, until Ctrl-C, SIGTERM, the end of our parent, or a child that does not stay up; then the same backwards.
"""

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import aiohttp

from playhead.app import player_build
from playhead.app.development.backing import start_backing
from playhead.app.development.children import ChildFailed, keep_running, run_to_end
from playhead.app.development.invitation import invitations, listener_token
from playhead.app.development.keys import DevelopmentKeys, KeysDamaged, development_keys
from playhead.app.development.options import DevelopmentOptions
from playhead.app.development.plan import (
    METRICS_PORT_SETTING,
    PORT_SETTING,
    PlanImpossible,
    addresses,
    children,
    common_environment,
    metrics_ports,
)
from playhead.app.development.ports import CannotListen, require_free
from playhead.app.development.sample import Sample, SampleFailed
from playhead.app.development.standing import Standing, keep_standing
from playhead.app.embedded import EmbeddedError
from playhead.app.embedded.process import exclusive
from playhead.app.player_build import source_folder, up_to_date
from playhead.app.signals import stop_requested
from playhead.db import DatabaseUnavailable, LoginError, MigrationError
from playhead.runtime.settings import SettingsError, load

READY_POLL_S = 0.05
READY_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 5.0
STOP_MARGIN_S = 5.0
"""What a child gets beyond its own grace before it is killed."""

CAUSES = (
    EmbeddedError,
    MigrationError,
    LoginError,
    DatabaseUnavailable,
    SettingsError,
    PlanImpossible,
    CannotListen,
    KeysDamaged,
    ChildFailed,
)
"""What can be wrong with this machine or its settings: told in a sentence, without a traceback."""


async def supervise(options: DevelopmentOptions) -> int:
    """Runs until it is told to stop. Answers the exit code: 0 after an orderly stop, 1 with the cause on stderr."""
    try:
        await _Supervisor(options).run()
    except CAUSES as error:
        print(f"playhead: {error}", file=sys.stderr)
        return 1
    return 0


class _Supervisor:
    def __init__(self, options: DevelopmentOptions) -> None:
        self._options = options
        self._settings = load(**options.given_settings())
        self._data_dir = self._settings.data_dir.resolve()
        self._places = addresses(self._settings, options.servers)
        self._started_at_s = time.monotonic()

    async def run(self) -> None:
        """Works until it is told to stop, and cleans up; raises what is wrong with this machine or its settings."""
        async with stop_requested(end_with_parent=True) as stop:
            work, stopped = asyncio.create_task(self._work()), asyncio.create_task(stop.wait())
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            if not work.done():
                say("Stopping …")
                work.cancel()
            with suppress(asyncio.CancelledError):
                await work
            say("Stopped.")

    async def _work(self) -> None:
        with ExitStack() as held:
            self._lock_data_dir(held)
            self._require_ports()
            keys = development_keys(self._data_dir)
            say("Starting PostgreSQL …" if self._settings.store == "memory" else "Starting PostgreSQL and Valkey …")
            backing = await start_backing(self._settings, self._data_dir, held)
            player_dir = await self._player_dir()
            common = common_environment(self._settings, self._data_dir, backing, keys, player_dir)
            empty_metrics(Path(common["PLAYHEAD_METRICS_DIR"]))
            await self._serve(common, keys, backing.embedded)

    def _lock_data_dir(self, held: ExitStack) -> None:
        lock_path = self._data_dir / "run.lock"
        try:
            self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            held.enter_context(exclusive(lock_path, timeout_s=0))
        except EmbeddedError:
            raise EmbeddedError(
                f"playhead already runs with {self._data_dir} (process {lock_path.read_text().strip()}). "
                "Stop it, or choose another folder with --data-dir or PLAYHEAD_DATA_DIR."
            ) from None
        except OSError as error:
            raise EmbeddedError(
                f"The data folder {self._data_dir} cannot be used: {error.strerror}. "
                "Make it writable, or choose another one with --data-dir or PLAYHEAD_DATA_DIR."
            ) from None
        lock_path.write_text(f"{os.getpid()}\n")

    def _require_ports(self) -> None:
        host, metrics_host = self._settings.host, self._settings.metrics_host
        for place in self._places:
            require_free(host, place.port, host_setting="PLAYHEAD_HOST", port_setting=PORT_SETTING)
        for port in metrics_ports(self._settings, self._options.servers):
            require_free(metrics_host, port, host_setting="PLAYHEAD_METRICS_HOST", port_setting=METRICS_PORT_SETTING)

    async def _player_dir(self) -> Path | None:
        """The folder of the page: given, or made from the checkout. Without a page the API still runs."""
        source = source_folder()
        if self._settings.player_dir is not None or source is None:
            return self._settings.player_dir
        if not up_to_date(source):
            say("Making the player page …")
            code, said = await run_to_end([sys.executable, "-m", player_build.__name__], os.environ)
            if code != 0:
                say(f"There is no player page: {said}")
                return None
        return source / "dist"

    async def _serve(self, common: Mapping[str, str], keys: DevelopmentKeys, embedded: Mapping[str, Standing]) -> None:
        """Keeps everything up until cancelled. Raises ChildFailed or EmbeddedError when something does not stay up."""
        logs = self._data_dir / "logs"
        started = children(self._settings, self._options.program, self._places, os.environ, common, logs)
        stop_timeout_s = self._settings.shutdown_grace_s + STOP_MARGIN_S
        try:
            async with asyncio.TaskGroup() as group:
                for child in started:
                    group.create_task(
                        keep_running(child, stop_timeout_s=stop_timeout_s, backoff=self._options.backoff, say=say)
                    )
                for name, server in embedded.items():
                    group.create_task(keep_standing(name, server, backoff=self._options.backoff, say=say))
                group.create_task(self._welcome(started[-1].environment, keys))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _welcome(self, environment: Mapping[str, str], keys: DevelopmentKeys) -> None:
        """Once the servers answer: the sample, then where everything is."""
        timeout = aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            for place in self._places:
                await until_ready(session, place.local_url)
            token = listener_token(self._settings, keys)
            script_id = None
            if token is not None and self._options.sample:
                script_id = await self._sample(session, token, environment)
        say(f"Up after {time.monotonic() - self._started_at_s:.1f} s.")
        print(self._text(token, script_id), flush=True)

    async def _sample(self, session: aiohttp.ClientSession, token: str, environment: Mapping[str, str]) -> str | None:
        sample = Sample(
            server_url=self._places[0].local_url,
            token=token,
            ingest=(*self._options.program, "ingest"),
            environment=environment,
            folder=self._data_dir,
        )
        try:
            return await sample.ensure(session, say)
        except SampleFailed as error:
            say(f"There is no sample: {error}")
            return None

    def _text(self, token: str | None, script_id: str | None) -> str:
        first = self._places[0]
        rows = [("player", f"{place.public_url}/") for place in self._places]
        rows += [
            ("API", f"{first.public_url}/api/v1/audio"),
            ("metrics", f"http://{self._settings.metrics_host}:{first.metrics_port}/metrics"),
            ("data", str(self._data_dir)),
            ("logs", str(self._data_dir / "logs")),
        ]
        lines = [f"  {name:<8} {value}" for name, value in rows]
        if token is None:
            lines += ["", "Tokens are signed elsewhere (PLAYHEAD_JWT_ALGORITHMS): sign in with one of yours."]
        else:
            lines += ["", "One listener, two devices. Open each link in a window of its own:"]
            for invitation in invitations(token, self._places, script_id):
                lines += ["", f"  {invitation.device}", f"  {invitation.link}"]
        return "\n".join(["", *lines, "", "Ctrl-C stops everything.", ""])


def empty_metrics(folder: Path) -> None:
    """Without this prometheus-client would count the processes of the last run on."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.glob("*.db"):
        file.unlink()


async def until_ready(session: aiohttp.ClientSession, url: str) -> None:
    """Returns when the server at `url` says that it is ready. Raises ChildFailed when that takes too long."""
    answer = "no answer"
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            while True:
                try:
                    async with session.get(f"{url}/readyz") as response:
                        if response.status == 200:
                            return
                        answer = await response.text()
                except (aiohttp.ClientError, TimeoutError) as error:
                    answer = str(error) or "no answer"
                await asyncio.sleep(READY_POLL_S)
    except TimeoutError:
        raise ChildFailed(f"The server at {url} is not ready after {READY_TIMEOUT_S:.0f} s: {answer}") from None


def say(text: str) -> None:
    """Says it, where anybody can hear: whoever closes the terminal wants all to be ended as well."""
    with suppress(OSError):
        print(f"playhead: {text}", file=sys.stderr, flush=True)
