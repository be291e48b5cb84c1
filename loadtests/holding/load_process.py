"""One load process: `python -m loadtests.holding.load_process`, told what to do on its standard input, a line each.

    {"host": …, "port": …, "sources": […], "script_id": …, "report_every_s": …, "tokens": […]}    first
    {"do": "open", "pairs": 5000, "per_s": 100}                              answered by {"opened": 5000}
    {"do": "seek", "per_s": 100}
    {"do": "end"}                                                            or the end of the input

Every second it writes what it saw in it: {"at_s", "joined", "pairs", "late_ms", "counts", "times_ms"}, and {"full_s"}
when all sockets are joined that should be. Times are of the machine's monotonic clock, which all processes share.
"""

import asyncio
import gc
import json
import sys
import time
from typing import Any

import orjson
import uvloop
from picows import WSError

from loadtests.holding.crowd import Crowd, Target
from loadtests.holding.files import raise_file_limit

TICK_S = 1.0
LINE_BYTES_MAX = 64 * 1024 * 1024
COLLECT = (50_000, 20, 1_000)
"""Thresholds of Python's collector of cycles: never all objects in a run. When thousands of connections come back at
once, to look through what belongs to the others took half of a load process's time, and that from the servers."""


def say(fields: dict[str, Any]) -> None:
    sys.stdout.buffer.write(orjson.dumps(fields) + b"\n")
    sys.stdout.buffer.flush()


async def tell_for_ever(crowd: Crowd) -> None:
    while True:
        await asyncio.sleep(TICK_S)
        counts, crowd.counts = dict(crowd.counts), type(crowd.counts)()
        times_ms = {name: [round(each, 2) for each in found] for name, found in crowd.times_ms.items()}
        crowd.times_ms.clear()
        late_ms, crowd.late_ms = round(crowd.late_ms, 1), 0.0
        seen = {"joined": crowd.joined, "pairs": len(crowd.pairs), "late_ms": late_ms}
        say({"at_s": time.monotonic(), **seen, "counts": counts, "times_ms": times_ms})


def unexpected(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """picows keeps an attempt's error in a future of its own, which nobody looks at once the attempt was given up."""
    if not isinstance(context.get("exception"), WSError | TimeoutError):
        loop.default_exception_handler(context)


async def run() -> None:
    commands = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(unexpected)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    told = json.loads(await commands.readline())
    tokens = told.pop("tokens")
    crowd = Crowd(Target(**told), tokens, lambda: say({"full_s": time.monotonic()}))
    gc.freeze()
    gc.set_threshold(*COLLECT)
    working = [asyncio.create_task(work) for work in (crowd.tick_for_ever(), tell_for_ever(crowd))]
    async for line in commands:
        command = json.loads(line)
        match command["do"]:
            case "open":
                working.append(asyncio.create_task(open_pairs(crowd, command)))
            case "seek":
                crowd.seek(command["per_s"])
            case _:
                break
    for task in working:
        task.cancel()
    crowd.close()


async def open_pairs(crowd: Crowd, command: dict[str, Any]) -> None:
    await crowd.open(command["pairs"], command["per_s"])
    say({"opened": command["pairs"]})


if __name__ == "__main__":
    raise_file_limit()
    uvloop.run(run())
