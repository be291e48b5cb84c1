"""A script in work, as the page shows it: how far it is, told over the socket, until it is ready."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from playwright.async_api import Browser, expect
from prometheus_client import CollectorRegistry

from playhead.app.embedded import EmbeddedValkey
from playhead.db import ScriptRepository, open_database, stored_logins
from playhead.runtime.metrics import create_metrics
from playhead.sessions.script_news import ScriptTeller
from playhead.transcode import ToldStatus
from tests.browser.tab import Tab
from tests.support.system import RunningSystem
from tests.support.systems import StartSystem, add_script


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
        await worker.claim(script_id)
        await worker.progress(script_id, 0.42)
        tab = Tab(await chromium.new_page())
        await tab.open(system.base_url, system.token(str(uuid.uuid4())), "Desk", script_id)
        shown = tab.page.get_by_test_id("preparing")
        await expect(shown).to_have_text("Preparing 42 %")
        await worker.progress(script_id, 0.57)
        await expect(shown).to_have_text("Preparing 57 %")
        await expect(tab.page.get_by_test_id("script")).to_contain_text("preparing 57 %")
        await worker.ready(script_id)
        await expect(shown).to_be_hidden()
