"""Connects to an address with several hosts: to the first that answers and takes writes.

    host 1 ──────────── silent, as a machine that is off ─────────────────► given up
       host 2 ── a standby: refused                                          each begins HEAD_START_S after the one
          host 3 ── the primary ► used                                       before, or as soon as that one has failed

The driver would try them one after the other, and wait for a silent one until all the time is up.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlencode

import asyncpg

from playhead.runtime.tasks import cancelled
from playhead.runtime.url_parts import split_url

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

HEAD_START_S = 0.2


async def connect(dsn: str | None = None, **options: Any) -> Connection:
    """`asyncpg.connect`, and raises what that raises; of several errors the one that says most."""
    urls = each_host(dsn or "")
    if len(urls) == 1:
        return await asyncpg.connect(dsn, **options)
    return await _first([(host_url, options | {"target_session_attrs": "read-write"}) for host_url in urls])


def each_host(url: str) -> list[str]:
    """A URL for each host of `url`: of `h1:1,h2:2`, or of `?host=/a,/b&port=1,2`."""
    parts = split_url(url)
    if parts.hosts:
        return [replace(parts, hosts=host).url for host in parts.hosts.split(",")]
    options = dict(parse_qsl(parts.query))
    names, ports = options.get("host", "").split(","), options.get("port", "").split(",")
    if len(ports) == 1:
        ports *= len(names)
    if len(names) == 1 or len(ports) != len(names):
        return [url]
    return [
        f"{url.partition('?')[0]}?{urlencode(options | {'host': name, 'port': port}, safe='/')}"
        for name, port in zip(names, ports, strict=True)
    ]


async def _first(waiting: list[tuple[str, dict[str, Any]]]) -> Connection:
    trying: list[asyncio.Task[Connection]] = []
    try:
        while True:
            if waiting:
                url, options = waiting.pop(0)
                trying.append(asyncio.create_task(asyncpg.connect(url, **options), name="connect-to-host"))
            if pending := [task for task in trying if not task.done()]:
                timeout_s = HEAD_START_S if waiting else None
                await asyncio.wait(pending, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            errors = [task.exception() for task in trying if task.done()]
            if None in errors:
                done = next(task for task in trying if task.done() and task.exception() is None)
                trying.remove(done)
                return done.result()
            if len(errors) == len(trying) and not waiting:
                raise min((error for error in errors if error is not None), key=_silence)
    finally:
        await _given_up(trying)


def _silence(error: BaseException) -> int:
    """How little it says: a refused password says more than a standby, and that more than nothing."""
    return 2 if isinstance(error, OSError) else isinstance(error, asyncpg.TargetServerAttributeNotMatched)


async def _given_up(trying: Sequence[asyncio.Task[Connection]]) -> None:
    for task in trying:
        task.cancel()
    for task in trying:
        await cancelled(task)
        if not task.cancelled() and task.exception() is None:
            task.result().terminate()
