"""A real Chromium, and tabs of the player page in it.

Owns: finding the browser, opening tabs, closing everything. `running_system` is the program under test.
A browser is started once a file, so a file's tests and their fixtures share one event loop; each test has a profile
of its own.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from tests.browser.tab import Tab
from tests.support.chromium import CURE, chromium_path
from tests.support.system import RunningSystem

TIMEOUT_MS = 30_000
CLOSE_TIMEOUT_S = 10.0
"""Chromium may never answer where a page is closed while it connects; it ends with the file's browser."""

OpenTab = Callable[..., Awaitable[Tab]]


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            # before the mark of asyncio_mode, which has the function as its scope
            item.add_marker(pytest.mark.asyncio(loop_scope="module"), append=False)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    """The system's Chromium, else the one that Playwright has downloaded; skips with the cure when there is neither."""
    async with async_playwright() as playwright:
        found = chromium_path(playwright)
        if found is None:
            pytest.skip(CURE)
        browser = await playwright.chromium.launch(executable_path=found)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def open_tab(chromium: Browser, running_system: RunningSystem) -> AsyncIterator[OpenTab]:
    """`open_tab(token, device, server=0, script_id=None, first="")`: a tab of the page, signed in, with a script open.

    Default: the system's. `first`: JavaScript that runs before any of the page's. All tabs share one browser
    profile, as tabs do. A script error in any of them fails the test.
    """
    context = await chromium.new_context()
    context.set_default_timeout(TIMEOUT_MS)
    errors: list[str] = []
    context.on("weberror", lambda error: errors.append(str(error.error)))

    async def open_one(token: str, device: str, server: int = 0, script_id: str | None = None, first: str = "") -> Tab:
        tab = Tab(await context.new_page())
        await tab.page.add_init_script(first)
        await tab.open(running_system.base_urls[server], token, device, script_id or running_system.script_id)
        return tab

    yield open_one
    with suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await context.close()
    assert errors == []


@pytest.fixture
def token(running_system: RunningSystem) -> str:
    """A token of a listener that no other test knows."""
    return running_system.token(str(uuid.uuid4()))
