"""How much the page fetches before it is heard: what is not encoded yet costs the server's cores, and others wait."""

import time

from playwright.async_api import Request

from playhead.media import OUTPUT_RATE_HZ, SEGMENT_SAMPLES
from tests.browser.conftest import OpenTab

AHEAD_S = 30.0
QUIET_S = 2.5
SEGMENTS = 11
"""Of the sample, a minute of sound."""


async def test_half_a_minute_is_fetched_ahead_and_no_more(open_tab: OpenTab, token: str) -> None:
    tab = await open_tab(token, "Desk")
    fetched, last_s = set[int](), time.monotonic()

    def note(request: Request) -> None:
        nonlocal last_s
        name = request.url.rsplit("/", 1)[-1]
        if name.endswith(".m4s") and name.removesuffix(".m4s").isdecimal():
            fetched.add(int(name.removesuffix(".m4s")))
            last_s = time.monotonic()

    tab.page.on("request", note)
    await tab.press("play-toggle")
    await tab.sounding()
    while time.monotonic() < last_s + QUIET_S:
        await tab.page.wait_for_timeout(100)
    heard_s = await tab.heard_s()
    enough = int((heard_s + AHEAD_S) * OUTPUT_RATE_HZ / SEGMENT_SAMPLES) + 1
    assert max(fetched) <= min(enough, SEGMENTS - 2), (heard_s, sorted(fetched))
