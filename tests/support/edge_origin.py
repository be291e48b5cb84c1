"""A playhead server for the tests of edge/, with one script of two minutes whose segments are all there.

    python -m tests.support.edge_origin

Prints one line of JSON: where it answers, its keys, a listener's token, and signed prefixes (good, by the second key,
expired, of another script). Ends when its standard input does.
"""

import json
import os
import socket
import sys
import tempfile
import time
import urllib.request
import uuid
from pathlib import Path

from playhead.app.embedded import EmbeddedPostgres, EmbeddedValkey
from playhead.app.embedded.postgres_programs import find_postgres
from playhead.auth.media_paths import MediaSigner, media_prefix
from tests.support.audio import Kind, make
from tests.support.postgres import Databases
from tests.support.running import API, uploaded
from tests.support.system import RunningSystem

SAMPLE = Kind("sample.mp3", "-c:a libmp3lame -b:a 64k")
SAMPLE_S = 120.0
KEYS = {"new": "a media key for tests, the one that signs", "old": "a media key for tests, the one before"}
THIRD_KEY = "a media key for tests, which the server does not have"
VALID_S = 3_600


def _free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def _media_version(system: RunningSystem) -> str:
    """From the stream's address: `/p/<token>/t/<script_id>/<media_version>/master.m3u8`."""
    headers = {"Authorization": f"Bearer {system.token()}"}
    request = urllib.request.Request(f"{system.base_url}{API}/stream/{system.script_id}", headers=headers)
    with urllib.request.urlopen(request) as response:
        address: str = json.load(response)["stream_url"]
    return address.split("/")[-2]


def announcement(system: RunningSystem) -> dict[str, object]:
    version, now_s = _media_version(system), int(time.time())
    prefix = media_prefix(system.script_id, version)
    signer = MediaSigner(KEYS)
    return {
        "url": system.base_url,
        "keys": KEYS,
        "third_key": THIRD_KEY,
        "listener_token": system.token(),
        "script_id": system.script_id,
        "media_version": version,
        "signed": {
            "good": signer.sign(prefix, now_s + VALID_S),
            "other": signer.sign(prefix, now_s + 2 * VALID_S, session_id="another listener's"),
            "second_key": MediaSigner({"old": KEYS["old"]}).sign(prefix, now_s + VALID_S),
            "third_key": MediaSigner({"third": THIRD_KEY}).sign(prefix, now_s + VALID_S),
            "expired": signer.sign(prefix, now_s - 1),
            "unknown_script": signer.sign(media_prefix(str(uuid.uuid4()), version), now_s + VALID_S),
            "unknown_version": signer.sign(media_prefix(system.script_id, "0" * 16), now_s + VALID_S),
        },
    }


def main() -> None:
    with (
        tempfile.TemporaryDirectory(prefix="playhead-edge-") as name,
        EmbeddedPostgres(Path(name) / "postgres", settings={"fsync": "off"}) as postgres,
        EmbeddedValkey(Path(name) / "valkey") as valkey,
    ):
        folder = Path(name)
        port, metrics_port = _free_ports(2)
        system = RunningSystem(
            folder=folder,
            database_url=Databases(postgres, find_postgres(os.environ)).create(),
            redis_url=valkey.url,
            ports=(port,),
            metrics_ports=(metrics_port,),
            helper_commands=("worker",),
            settings={"PLAYHEAD_MEDIA_KEYS": json.dumps(KEYS)},
        )
        try:
            system.start()
            system.script_id = uploaded(system, make(folder, SAMPLE, SAMPLE_S))
            print(json.dumps(announcement(system)), flush=True)
            sys.stdin.read()
        finally:
            system.stop()


if __name__ == "__main__":
    main()
