"""Stands in for the `playhead` command in tests of the supervisor: a server that is ready, a flusher and
a worker that wait.

    stand_in.py serve | flush | worker | ingest FILE …

It notes each start in the data folder (`starts`), and knows the sample once it has been taken in.
"""

import json
import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


def data_dir() -> Path:
    return Path(os.environ["PLAYHEAD_DATA_DIR"])


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        scripts = "/api/v1/audio/scripts/"
        known = not self.path.startswith(scripts) or (data_dir() / "ingested").exists()
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps({"status": "ready"}).encode())

    def log_message(self, *_: object) -> None:
        pass


def main(command: str) -> None:
    with (data_dir() / "starts").open("a") as starts:
        names = sorted(name for name in os.environ if name.startswith("PLAYHEAD_") or name == "DATABASE_URL")
        starts.write(f"{command} {os.getpid()} {' '.join(names)}\n")
    if command == "serve":
        HTTPServer(("127.0.0.1", int(os.environ["PLAYHEAD_PORT"])), Handler).serve_forever()
    if command == "worker" and (data_dir() / "worker-is-broken").exists():
        sys.exit("the worker has no hands")
    if command in ("flush", "worker"):
        signal.pause()
    if command == "ingest":
        (data_dir() / "ingested").write_bytes(Path(sys.argv[2]).read_bytes())


if __name__ == "__main__":
    main(sys.argv[1])
