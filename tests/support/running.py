"""The fixture `running_system`: the whole program, started once a run, with a script to listen to.

A pytest plugin, switched on in tests/conftest.py. Tests share it: each takes a listener of its own, and one that stops
a server starts it again.
"""

import json
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from playhead.app.embedded import EmbeddedValkey
from playhead.auth.tokens import UPLOAD_SCOPE
from tests.support.audio import Kind, make
from tests.support.postgres import Databases
from tests.support.system import POLL_S, ProcessFailed, RunningSystem

SAMPLE = Kind("sample.mp3", "-c:a libmp3lame -b:a 128k")
SAMPLE_S = 60.0
READY_TIMEOUT_S = 120.0
"""For a minute of sound behind a few others, on a machine whose cores all the other tests use as well."""
API = "/api/v1/audio"


@pytest.fixture(scope="session")
def running_system(databases: Databases, run_folder: Path, free_ports: Callable[[], int]) -> Iterator[RunningSystem]:
    """Two servers and a worker, ready, and a minute of sound that every listener may hear (`script_id`)."""
    folder = Path(tempfile.mkdtemp(prefix="system-", dir=run_folder))
    database_url = databases.create()
    with EmbeddedValkey(folder / "valkey") as valkey:
        system = RunningSystem(
            folder=folder,
            database_url=database_url,
            redis_url=valkey.url,
            ports=(free_ports(), free_ports()),
            metrics_ports=(free_ports(), free_ports()),
        )
        try:
            system.start()
            system.script_id = uploaded(system, make(folder, SAMPLE, SAMPLE_S))
            yield system
        finally:
            system.stop()
    databases.drop(database_url)


def uploaded(system: RunningSystem, path: Path) -> str:
    """The script's id once it is ready."""
    token = system.token(str(uuid.uuid4()), scopes=(UPLOAD_SCOPE,))
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "audio/mpeg"}
    request = urllib.request.Request(f"{system.base_url}{API}/scripts?title=Sample", path.read_bytes(), headers)
    with urllib.request.urlopen(request) as response:
        script_id = str(json.load(response)["script_id"])
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline_s:
        look = urllib.request.Request(f"{system.base_url}{API}/scripts/{script_id}", headers=headers)
        with urllib.request.urlopen(look) as response:
            status = json.load(response)["status"]
        if status == "ready":
            return script_id
        if status == "failed":
            break
        time.sleep(POLL_S)
    raise ProcessFailed(f"the sample is not ready:\n{system.logs()}")
