"""A script in work, as the page shows it and plays it: how far it is, told over the socket, until it is ready."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
from playwright.async_api import Browser, expect
from prometheus_client import CollectorRegistry

from playhead.app.embedded import EmbeddedValkey
from playhead.db import ScriptRepository, open_database, stored_logins
from playhead.runtime.metrics import create_metrics
from playhead.sessions.script_news import ScriptTeller
from playhead.transcode import ToldStatus
from tests.browser.tab import Tab
from tests.support.audio import Kind, make
from tests.support.system import RunningSystem
from tests.support.systems import StartSystem, add_script

SOURCE = Kind("fresh.mp3", "-c:a libmp3lame -b:a 64k")
SOURCE_S = 180.0


@asynccontextmanager
async def worker_by_hand(system: RunningSystem) -> AsyncIterator[ToldStatus]:
    """A worker's words about scripts, without its work."""
    assert system.redis_url is not None
    logins = stored_logins(system.database_url, system.folder)
    teller = ScriptTeller(system.redis_url, create_metrics(CollectorRegistry()), interval_s=0.0)
    async with open_database(logins.app_url, logins.service_url, connections_max=1) as database:
        teller.start()
        try:
            yield ToldStatus(ScriptRepository(database), teller.tell)
        finally:
            await teller.stop()


async def test_a_script_in_work_shows_how_far_it_is_until_it_is_ready(
    chromium: Browser, make_system: StartSystem, start_valkey: Callable[[], EmbeddedValkey]
) -> None:
    system = make_system(start_valkey().url, helper_commands=())
    await asyncio.to_thread(system.start)
    script_id = await add_script(system)
    async with worker_by_hand(system) as worker:
        claimed = await worker.claim(script_id)
        assert claimed is not None
        said: dict[str, Any] = {"attempt": claimed.attempts, "media_version": claimed.script.media_version}
        await worker.progress(script_id, 0.42, **said)
        tab = Tab(await chromium.new_page())
        await tab.open(system.base_url, system.token(str(uuid.uuid4())), "Desk", script_id)
        shown = tab.page.get_by_test_id("preparing")
        await expect(shown).to_have_text("Preparing 42 %")
        await worker.progress(script_id, 0.57, **said)
        await expect(shown).to_have_text("Preparing 57 %")
        await expect(tab.page.get_by_test_id("script")).to_contain_text("preparing 57 %")
        await worker.ready(script_id, **said)
        await expect(shown).to_be_hidden()


async def test_it_is_heard_and_jumped_about_in_before_anything_of_it_is_encoded(
    chromium: Browser, make_system: StartSystem, start_valkey: Callable[[], EmbeddedValkey], tmp_path: Path
) -> None:
    system = make_system(start_valkey().url, helper_commands=())
    await asyncio.to_thread(system.start)
    token = system.token(str(uuid.uuid4()))
    tab = Tab(await chromium.new_page())
    script_id = await uploaded(system, token, make(tmp_path, SOURCE, SOURCE_S))
    await tab.open(system.base_url, token, "Desk", script_id)
    await tab.press("play-toggle")
    await tab.sounding()
    for place_ms in (150_000, 60_000):
        await tab.drag_to(place_ms)
        await tab.wait_until("Math.abs(playhead.audio.currentTime * 1000 - argument) < 5000", place_ms)
        await tab.sounding()


async def uploaded(system: RunningSystem, token: str, source: Path) -> str:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "audio/mpeg"}
    url = f"{system.base_url}/api/v1/audio/scripts"
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(url, params={"title": "Fresh"}, data=BytesIO(source.read_bytes())) as reply,
    ):
        return str((await reply.json())["script_id"])
