"""`playhead run`, the first thing that a newcomer does, with nothing but its own embedded servers."""

import asyncio
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

UP = b"Ctrl-C stops everything."
METRICS_PORTS = 3
"""Of a server, a flusher and a worker."""


@asynccontextmanager
async def running(data_dir: Path, port: int, metrics_port: int, store: str) -> AsyncIterator[list[str]]:
    """The links that it prints; stops it in the end, as Ctrl-C does."""
    flags = ["--data-dir", str(data_dir), "--port", str(port), "--metrics-port", str(metrics_port), "--store", store]
    command = [sys.executable, "-m", "playhead.app", "run", *flags]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        printed = await process.stdout.readuntil(UP)
        yield [line.strip() for line in printed.decode().splitlines() if "#token=" in line]
    finally:
        process.send_signal(signal.SIGINT)
        await process.communicate()
    assert process.returncode == 0


async def check_device(session: aiohttp.ClientSession, link: str) -> str:
    """Opens what the link leads to, as the page does; answers the id of the script."""
    parts = urlsplit(link)
    base = f"{parts.scheme}://{parts.netloc}"
    fields = {name: values[0] for name, values in parse_qs(parts.fragment).items()}
    session.headers["Authorization"] = f"Bearer {fields['token']}"
    async with session.get(f"{base}/") as page:
        assert (page.status, page.content_type) == (200, "text/html")
    async with session.get(f"{base}/api/v1/audio/stream/{fields['script']}") as answer:
        stream = await answer.json()
        assert (answer.status, stream["ready"], stream["duration"]) == (200, True, 120.0)
    async with session.get(stream["stream_url"]) as playlist:
        assert (await playlist.text()).startswith("#EXTM3U")
    return fields["script"]


@pytest.mark.timeout(240)  # the first run may have to build the page
async def test_playhead_run_gives_two_devices_a_page_and_a_sample_and_keeps_them(
    run_folder: Path, free_ports: Callable[..., int]
) -> None:
    data_dir = Path(tempfile.mkdtemp(prefix="run-", dir=run_folder))
    seen = []
    for store in ("redis", "memory"):
        async with (
            running(data_dir, free_ports(), free_ports(METRICS_PORTS), store) as links,
            aiohttp.ClientSession() as session,
        ):
            assert len(links) == 2
            seen += [await check_device(session, link) for link in links]
    assert len(set(seen)) == 1
