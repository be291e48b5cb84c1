"""Real servers for tests: one PostgreSQL and one Valkey per run, started when the first test asks for them.

`postgres_url` and `valkey_url` give each test an empty database. A test that kills a server, or changes its settings,
starts its own with `start_postgres` or `start_valkey`. Folders and sockets are unique to the run, so runs do not meet.
"""

import gc
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
import structlog

from playhead.app.embedded import EmbeddedPostgres, EmbeddedValkey
from playhead.app.embedded.postgres_programs import find_postgres
from tests.support.clusters import Cluster, cluster_in
from tests.support.postgres import Databases

PORTS_IN_A_ROW_MAX = 8
GC_THRESHOLDS = (50_000, 20, 100)
"""A worker holds some hundred thousand objects that stay: thousands of tests, and all that they import. Looking
through objects for cycles was a twentieth of all CPU of a run, servers included."""

pytest_plugins = [
    "tests.support.skips",
    "tests.support.examples",
    "tests.support.running",
    "tests.support.systems",
    "tests.support.buckets",
]


def pytest_configure() -> None:
    """Tracebacks in the log without the values of variables: structlog's own take a third of a second each."""
    gc.set_threshold(*GC_THRESHOLDS)
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain])


@pytest.fixture(scope="session")
def run_folder() -> Iterator[Path]:
    """A folder of this run for servers' data; short, unlike pytest's, and removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="playhead-tests-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_server(run_folder: Path) -> Iterator[EmbeddedPostgres]:
    """The run's PostgreSQL. Without fsync, which only a machine's crash can tell; commits are synchronous."""
    with EmbeddedPostgres(run_folder / "postgres", settings={"fsync": "off"}) as server:
        yield server


@pytest.fixture(scope="session")
def databases(postgres_server: EmbeddedPostgres) -> Databases:
    """Makes and drops databases on the run's PostgreSQL, also from a template."""
    return Databases(postgres_server, find_postgres(os.environ))


@pytest.fixture
def postgres_url(databases: Databases) -> Iterator[str]:
    """The superuser's DSN of an empty database, dropped after the test. Roles are the server's, not the database's."""
    url = databases.create()
    yield url
    databases.drop(url)


@pytest.fixture(scope="session")
def valkey_server(run_folder: Path) -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey(run_folder / "valkey", append_sync="no") as server:
        yield server


@pytest.fixture
def valkey_url(valkey_server: EmbeddedValkey) -> str:
    """The URL of the run's Valkey, emptied: no keys, no functions, no scripts."""
    with redis.Redis.from_url(valkey_server.url) as client:
        client.flushall()
        client.function_flush()
        client.script_flush()
    return valkey_server.url


@pytest.fixture(scope="session")
def run_cluster(run_folder: Path, free_ports: Callable[[], int]) -> Iterator[Cluster]:
    with cluster_in(run_folder / "cluster", free_ports) as cluster:
        yield cluster


@pytest.fixture
def cluster(run_cluster: Cluster) -> Cluster:
    """The run's cluster, whole again and emptied. A test may kill its servers and move its slots."""
    run_cluster.heal()
    run_cluster.clear()
    return run_cluster


@pytest.fixture
def start_postgres(run_folder: Path) -> Iterator[Callable[..., EmbeddedPostgres]]:
    """`start_postgres(**options)`: a PostgreSQL of this test alone, which it may `kill()` and `start()` again."""
    with ExitStack() as servers:

        def start(**options: Any) -> EmbeddedPostgres:
            folder = Path(tempfile.mkdtemp(prefix="pg-", dir=run_folder))
            return servers.enter_context(EmbeddedPostgres(folder / "data", **options))

        yield start


@pytest.fixture
def start_valkey(run_folder: Path) -> Iterator[Callable[..., EmbeddedValkey]]:
    """`start_valkey(**options)`: a Valkey of this test alone, which it may `kill()` and `start()` again."""
    with ExitStack() as servers:

        def start(**options: Any) -> EmbeddedValkey:
            folder = Path(tempfile.mkdtemp(prefix="vk-", dir=run_folder))
            return servers.enter_context(EmbeddedValkey(folder / "data", **options))

        yield start


@pytest.fixture(scope="session")
def free_ports() -> Callable[..., int]:
    """`free_ports()`: a TCP port on 127.0.0.1 that nobody listens on, another one at each call; `free_ports(3)`: the
    first of three in a row.

    Test processes that run beside each other take different ones.
    """
    given: set[int] = set()
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    mine = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))

    def take(in_a_row: int = 1) -> int:
        while True:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port: int = probe.getsockname()[1]
            row = range(port, port + in_a_row)
            # by rows, as Linux gives odd ports alone to whoever asks for any
            mine_alone = all(each // PORTS_IN_A_ROW_MAX % processes == mine for each in row)
            if mine_alone and given.isdisjoint(row) and all(map(_is_free, row)):
                given.update(row)
                return port

    return take


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@pytest.fixture
def free_port(free_ports: Callable[[], int]) -> int:
    return free_ports()


def _loggers() -> list[logging.Logger]:
    named = (logging.getLogger(name) for name in list(logging.root.manager.loggerDict))
    return [logging.root, *named]


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A test that runs a command in this process sets logging up for good: undone, so that others can listen."""
    config, handlers = structlog.get_config(), logging.root.handlers[:]
    before = {logger.name: (logger.level, logger.filters[:]) for logger in _loggers()}
    yield
    structlog.configure(**config)
    logging.root.handlers = handlers
    for logger in _loggers():
        level, logger.filters = before.get(logger.name, (logger.level, logger.filters))
        if level != logger.level:
            logger.setLevel(level)
