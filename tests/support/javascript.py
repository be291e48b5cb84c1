"""Programs of tests on Node with the official Socket.IO client, from the packages of `player/`."""

import asyncio
import json
from pathlib import Path
from typing import Any

from playhead.app.player_build import find_node

PLAYER = Path(__file__).resolve().parents[2] / "player"
CLIENT_TIMEOUT_S = 60.0


async def run_client(script: Path, *arguments: str) -> dict[str, Any]:
    """What `node script PLAYER arguments` saw: its one line of JSON."""
    process = await asyncio.create_subprocess_exec(
        str(find_node().folder / "node"), str(script), str(PLAYER), *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(CLIENT_TIMEOUT_S):
            out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, out.decode()
    seen: dict[str, Any] = json.loads(out)
    return seen
