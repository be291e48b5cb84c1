"""Other people's readers of HLS, on a URL: hls-parser in its strict mode, and ffprobe. Each answers what it found.

They run beside the event loop, for the server that they ask is usually in it.
"""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from playhead.app.player_build import find_node, install
from tests.support.audio import FFPROBE

HLS_PARSER = Path(__file__).parent / "hls_parser"


class Refused(Exception):
    """A reader does not take what is there. The text is the reader's."""


async def hls_parser(url: str) -> Any:
    """What hls-parser reads in strict mode: `independent`, and of each of `variants` what check.mjs picks."""
    node = find_node()
    await asyncio.to_thread(install, HLS_PARSER, node)
    program = node.folder / ("node.exe" if os.name == "nt" else "node")
    return json.loads(await _run(str(program), str(HLS_PARSER / "check.mjs"), url))


async def packets(url: str) -> Any:
    """The audio stream of a playlist as ffprobe reads it to its end: codec, rate, channels, number of packets."""
    entries = "stream=codec_name,profile,sample_rate,channels,nb_read_packets"
    select = ["-select_streams", "a:0", "-count_packets", "-show_entries", entries]
    return json.loads(await _run(FFPROBE, "-v", "error", *select, "-of", "json", url))["streams"][0]


async def _run(*command: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    if process.returncode != 0 or errors:
        raise Refused(errors.decode(errors="replace"))
    return output
