"""The page while a server has too much to do: a segment that cannot be made in time is 503 with `Retry-After`.

The answers are put in between browser and server, as the origin gives them.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from playwright.async_api import Route

from tests.browser.conftest import OpenTab
from tests.browser.tab import Tab
from tests.browser.test_native import WITHOUT_MSE

RETRY_AFTER_S = 1
LATE_S = 1.5
"""How much later than it was told a player may ask: half a second at random, the rest is the machine's."""
HELD_S = 4.0
"""How long the origin keeps an asker waiting before it says so."""
PLACE_MS = 48_000
SEGMENT = "8.m4s"
"""Of that place: farther than a player fetches ahead."""
_WATCH_TROUBLES = """
window.troubles = [];
new MutationObserver((changes) => {
  for (const change of changes) for (const toast of change.addedNodes) troubles.push(toast.textContent);
}).observe(document.querySelector("[data-testid=toasts]"), { childList: true });
"""


@dataclass
class Busy:
    """A server that puts a segment off as often as `holds_s` has entries, each time after so many seconds."""

    holds_s: list[float]
    rungs: list[str] = field(default_factory=list)
    """Of each request for it, in order."""
    waits_s: list[float] = field(default_factory=list)
    """From each refusal to the next request for it."""
    refused_at_s: float | None = None

    async def answer(self, route: Route) -> None:
        self.rungs.append(route.request.url.split("/")[-2])
        if self.refused_at_s is not None:
            self.waits_s.append(time.monotonic() - self.refused_at_s)
            self.refused_at_s = None
        if not self.holds_s:
            await route.continue_()
            return
        await asyncio.sleep(self.holds_s.pop(0))
        self.refused_at_s = time.monotonic()
        headers = {
            "Retry-After": str(RETRY_AFTER_S),
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Expose-Headers": "Retry-After",
        }
        await route.fulfill(status=503, headers=headers, content_type="application/problem+json", body="{}")


@asynccontextmanager
async def busy(tab: Tab, *holds_s: float) -> AsyncIterator[Busy]:
    server = Busy(list(holds_s))
    await tab.page.evaluate(_WATCH_TROUBLES)
    await tab.page.route(f"**/{SEGMENT}", server.answer)
    yield server
    await tab.page.unroute_all(behavior="wait")


@pytest.mark.parametrize("holds_s", [(0.0,) * 5, (HELD_S,) * 2], ids=["at once", "after 4 s"])
async def test_a_segment_that_is_put_off_is_asked_for_again_when_it_is_told_and_in_the_same_rung(
    open_tab: OpenTab, token: str, holds_s: tuple[float, ...]
) -> None:
    tab = await open_tab(token, "Desk")
    async with busy(tab, *holds_s) as server:
        await tab.press("play-toggle")
        await tab.sounding()
        await tab.drag_to(PLACE_MS)
        await tab.wait_until("playhead.audio.currentTime * 1000 >= argument", PLACE_MS)
        await tab.sounding()
    assert len(set(server.rungs)) == 1, server.rungs
    assert len(server.waits_s) == len(holds_s)
    assert all(RETRY_AFTER_S <= wait_s < RETRY_AFTER_S + LATE_S for wait_s in server.waits_s), server.waits_s
    assert await tab.page.evaluate("troubles") == []


async def test_the_browser_s_own_player_plays_on_where_it_was_once_a_segment_that_was_put_off_is_there(
    open_tab: OpenTab, token: str
) -> None:
    tab = await open_tab(token, "Desk", first=WITHOUT_MSE)
    async with busy(tab, *(0.0,) * 3) as server:
        await tab.press("play-toggle")
        await tab.sounding()
        await tab.drag_to(PLACE_MS)
        await tab.wait_until("playhead.audio.currentTime * 1000 >= argument", PLACE_MS)
        await tab.playing()
        await tab.sounding()
    assert (await tab.page.evaluate("playhead.audio.src")).endswith("/master.m3u8")
    assert server.holds_s == [], "it was put off as often as it was meant to be"
    assert await tab.page.evaluate("troubles") == []
