"""A real Chromium, and tabs of the player page in it.

Owns: finding the browser, opening tabs, closing everything. `running_system` is the program under test.
"""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from playwright.async_api import Browser, async_playwright

from tests.browser.tab import Tab
from tests.support.chromium import CURE, chromium_path
from tests.support.system import RunningSystem

TIMEOUT_MS = 15_000

OpenTab = Callable[..., Awaitable[Tab]]


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    """The system's Chromium, else the one that Playwright has downloaded; skips with the cure when there is neither."""
    async with async_playwright() as playwright:
        found = chromium_path(playwright)
        if found is None:
            pytest.skip(CURE)
        browser = await playwright.chromium.launch(executable_path=found)
        yield browser
        await browser.close()


@pytest.fixture
async def open_tab(chromium: Browser, running_system: RunningSystem) -> AsyncIterator[OpenTab]:
    """`open_tab(token, device, server=0)`: a tab of the page, signed in, with the system's script open.

    All tabs share one browser profile, as tabs do. A script error in any of them fails the test.
    """
    context = await chromium.new_context()
    context.set_default_timeout(TIMEOUT_MS)
    errors: list[str] = []
    context.on("weberror", lambda error: errors.append(str(error.error)))

    async def open_one(token: str, device: str, server: int = 0) -> Tab:
        tab = Tab(await context.new_page())
        await tab.open(running_system.base_urls[server], token, device, running_system.script_id)
        return tab

    yield open_one
    await context.close()
    assert errors == []


@pytest.fixture
def token(running_system: RunningSystem) -> str:
    """A token of a listener that no other test knows."""
    return running_system.token(str(uuid.uuid4()))
