"""Node.js and the packages of `loadtests/peers`, installed once, as locked."""

import os
import subprocess
from pathlib import Path

from playhead.app.player_build import PlayerBuildError, find_node, install

FOLDER = Path(__file__).parents[1] / "peers"


class NoPeer(Exception):
    """What a peer needs is not on this machine, and cannot be had. The text says what."""


def node_command(*arguments: str) -> list[str]:
    """How to run the peer's server. Raises NoPeer."""
    try:
        node = find_node()
        install(FOLDER, node)
    except (PlayerBuildError, OSError, subprocess.SubprocessError) as error:
        raise NoPeer(str(error)) from None
    program = node.folder / ("node.exe" if os.name == "nt" else "node")
    return [str(program), str(FOLDER / "server.mjs"), *arguments]
