"""A primary, its replica and three sentinels over them, all real: these promote the replica when the primary dies."""

import asyncio
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
import redis.asyncio

from playhead.app.embedded import EmbeddedValkey
from playhead.app.embedded.valkey import find_valkey

SERVICE = "playhead"
SENTINELS = 3
DOWN_AFTER_MS = 500
READY_S = 60.0
POLL_S = 0.05
LOGIN = "default:s3cret"
PASSWORD = "s3cret"


@dataclass(slots=True)
class Guarded:
    """The two servers, by their ports, and the sentinels."""

    primary: EmbeddedValkey
    replica: EmbeddedValkey
    ports: tuple[int, int]
    sentinel_ports: tuple[int, ...]
    processes: list[subprocess.Popen[bytes]]

    @property
    def url(self) -> str:
        """What a user writes."""
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinel_ports)
        return f"redis+sentinel://{LOGIN}@{hosts}/{SERVICE}/0"

    async def heard(self, count: int) -> None:
        """Returns when so many listen to each sentinel for switches."""
        async with asyncio.timeout(READY_S):
            for port in self.sentinel_ports:
                async with redis.asyncio.Redis(port=port) as sentinel:
                    while len(await sentinel.client_list(_type="pubsub")) < count:
                        await asyncio.sleep(POLL_S)


@contextmanager
def guarded(
    start_valkey: Callable[..., EmbeddedValkey], free_ports: Callable[[], int], folder: Path
) -> Iterator[Guarded]:
    """Returns when all know each other, and the replica has what the primary has."""
    ports = (free_ports(), free_ports())
    settings = {"masterauth": PASSWORD, "repl-diskless-sync-delay": "0"}
    primary = start_valkey(append_sync="always", settings={"port": str(ports[0]), **settings})
    replica = start_valkey(
        append_sync="always", settings={"port": str(ports[1]), "replicaof": f"127.0.0.1 {ports[0]}", **settings}
    )
    for server in (primary, replica):
        # later than its start, which asks without a password whether it is there
        with redis.Redis.from_url(server.url) as client:
            client.config_set("requirepass", PASSWORD)
    _wait_for(lambda: _linked(replica), "the replica does not reach its primary")
    with ExitStack() as stack:
        sentinel_ports = tuple(free_ports() for _ in range(SENTINELS))
        processes = []
        for port in sentinel_ports:
            process = _start(port, ports[0], folder)
            stack.callback(_end, process)
            processes.append(process)
        found = Guarded(primary, replica, ports, sentinel_ports, processes)
        _wait_for(lambda: all(map(_knows, found.sentinel_ports)), "the sentinels do not find each other")
        yield found


def _start(port: int, primary_port: int, folder: Path) -> subprocess.Popen[bytes]:
    """A sentinel keeps what it learns in its configuration file."""
    path = folder / f"sentinel-{port}.conf"
    path.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\n"
        f"sentinel monitor {SERVICE} 127.0.0.1 {primary_port} {SENTINELS // 2 + 1}\n"
        f"sentinel auth-pass {SERVICE} {PASSWORD}\n"
        f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}\n"
        f"sentinel failover-timeout {SERVICE} 5000\n"
    )
    with (folder / f"sentinel-{port}.log").open("ab") as log:
        return subprocess.Popen([find_valkey(os.environ), path, "--sentinel"], stdout=log, stderr=log)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _wait_for(condition: Callable[[], bool], failure: str) -> None:
    deadline_s = time.monotonic() + READY_S
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError(failure)
        time.sleep(POLL_S)


def _linked(replica: EmbeddedValkey) -> bool:
    with redis.Redis.from_url(replica.url, password=PASSWORD) as client:
        told: Any = client.info("replication")
        return bool(told["master_link_status"] == "up")


def _knows(port: int) -> bool:
    with closing(redis.Redis(port=port, socket_timeout=2)) as sentinel:
        try:
            fields: Any = sentinel.execute_command("SENTINEL", "MASTER", SERVICE)  # type: ignore[no-untyped-call]
        except (redis.exceptions.RedisError, OSError):
            return False
    told = {str(name): str(value) for name, value in _pairs(fields)}
    return (told["num-slaves"], told["num-other-sentinels"], told["flags"]) == ("1", str(SENTINELS - 1), "master")


def _pairs(fields: Any) -> Iterator[tuple[str, Any]]:
    rows = fields.items() if isinstance(fields, dict) else zip(fields[::2], fields[1::2], strict=True)
    for name, value in rows:
        yield _text(name), _text(value)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
