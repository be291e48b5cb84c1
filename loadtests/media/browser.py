"""Chromium with hls.js, in a page of its own: what a listener hears, and when.

The page is the server's own origin, so that nothing but what a player does goes over the wire. Each player has a
profile of its own, so no cache helps it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, Page, async_playwright
from playwright.async_api import Error as PlaywrightError

from loadtests.media.listener import INTO_SEGMENT_S, SEGMENT_S, NotPlayed
from loadtests.media.place import API, Place
from playhead.app.embedded.errors import EmbeddedError
from playhead.app.player_build import PlayerBuildError, run_script, source_folder
from tests.support.chromium import CURE, chromium_path

PAGE = Path(__file__).with_name("page.js")
PLAYER = Path("node_modules", ".cache", "playhead-bench", "player.js")
"""What `npm run bench` makes: hls.js and what the player page tells it."""


class NoBrowser(Exception):
    """There is no Chromium, or no player. The text says what to do."""


@dataclass(frozen=True, slots=True)
class BrowserPlayer:
    """One page. Times in ms; every method raises NotPlayed."""

    page: Page
    token: str

    async def first_sound(self, script_id: str) -> float:
        path = f"{API}/stream/{script_id}?quality=auto"
        return await self._measured("([path, token]) => bench.first(path, token)", [path, self.token])

    async def seek(self, segment: int) -> float:
        return await self._measured("(toS) => bench.seek(toS)", segment * SEGMENT_S + INTO_SEGMENT_S)

    async def settled(self) -> None:
        await self._evaluate("bench.settled()")

    async def _measured(self, expression: str, argument: object) -> float:
        return float(await self._evaluate(expression, argument))

    async def _evaluate(self, expression: str, argument: object = None) -> Any:
        try:
            return await self.page.evaluate(expression, argument)
        except PlaywrightError as error:
            raise NotPlayed(error.message.splitlines()[0]) from None


@dataclass(frozen=True, slots=True)
class Chromium:
    """A browser that runs, and the player that its pages get."""

    browser: Browser
    player_script: Path
    place: Place

    @asynccontextmanager
    async def player(self) -> AsyncIterator[BrowserPlayer]:
        """A page in a profile of its own, which has fetched nothing yet."""
        context = await self.browser.new_context(bypass_csp=True)
        try:
            page = await context.new_page()
            await page.goto(f"{self.place.url}/healthz")
            for script in (self.player_script, PAGE):
                await page.add_script_tag(path=script)
            yield BrowserPlayer(page, self.place.listener_token())
        finally:
            await context.close()


@asynccontextmanager
async def chromium(place: Place) -> AsyncIterator[Chromium]:
    """Chromium before the server. Raises NoBrowser."""
    player_script = await asyncio.to_thread(made_player)
    async with async_playwright() as playwright:
        path = chromium_path(playwright)
        if path is None:
            raise NoBrowser(CURE)
        try:
            browser = await playwright.chromium.launch(executable_path=path)
        except PlaywrightError as error:
            raise NoBrowser(f"Chromium does not start: {error.message.splitlines()[0]}") from None
        try:
            yield Chromium(browser, player_script, place)
        finally:
            await browser.close()


def made_player() -> Path:
    """hls.js with the player page's settings, made anew. Raises NoBrowser."""
    folder = source_folder("player")
    if folder is None:
        raise NoBrowser("needs player/ of the repository, for its hls.js")
    try:
        run_script(folder, "bench")
    except (PlayerBuildError, EmbeddedError) as error:
        raise NoBrowser(str(error)) from None
    return folder / PLAYER
