"""A start is mostly imports: what a server does not need until somebody asks for it is loaded then."""

import subprocess
import sys

LATER = {"pgqueuer": "the queue's first job", "playhead.app.asyncapi": "the document's first reader"}


def test_a_server_starts_without_what_it_needs_later() -> None:
    program = "import sys, playhead.app.cli, playhead.app.serving; print('\\n'.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "playhead.transcode.queue" in loaded
    assert [name for name in LATER if name in loaded] == []
