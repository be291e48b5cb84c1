"""A tab whose line is cut for longer than the server waits for it, while it sounds."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.browser.conftest import OpenTab
from tests.browser.tab import Tab
from tests.support.proxies import Proxy, proxying
from tests.support.system import RunningSystem

BUFFERED_S = 22
"""More than the server waits (10 s), and than two slow cores need to say so."""
NEAR_S = 1.5

_BUFFERED = "playhead.audio.buffered.length && playhead.audio.buffered.end(0) - playhead.audio.currentTime >= argument"
_RECORD = """() => {
  const { audio } = playhead;
  window.heard = { backwards: 0, paused: 0 };
  let last = audio.currentTime;
  setInterval(() => {
    heard.backwards = Math.max(heard.backwards, last - audio.currentTime);
    last = audio.currentTime;
  }, 20);
  audio.addEventListener("pause", () => (heard.paused += 1));
}"""


@asynccontextmanager
async def cut_while_it_sounds(
    system: RunningSystem, open_tab: OpenTab, token: str
) -> AsyncIterator[tuple[Tab, Tab, Proxy, float]]:
    """A tab that sounds on after its line was cut, one that looks on, the line, and where the server has stopped it."""
    phone = await open_tab(token, "Phone", server=-1)
    async with proxying(system.ports[0]) as line:
        desk = Tab(await phone.page.context.new_page())
        await desk.open(f"http://127.0.0.1:{line.port}", token, "Desk", system.script_id)
        await desk.press("play-toggle")
        await desk.sounding()
        await desk.wait_until(_BUFFERED, BUFFERED_S)
        await desk.page.evaluate(_RECORD)
        await phone.playing()
        line.target = None
        line.cut()
        await phone.paused()
        yield desk, phone, line, (await phone.state())["position"]


@pytest.mark.timeout(120)
async def test_a_sound_that_outlives_its_line_goes_on_where_it_is_and_what_was_heard_counts_once(
    running_system: RunningSystem, open_tab: OpenTab, token: str
) -> None:
    async with cut_while_it_sounds(running_system, open_tab, token) as (desk, phone, line, stopped_s):
        lost_s = await desk.heard_s()
        assert lost_s > stopped_s + 5, "it has sounded on meanwhile"
        line.target = running_system.ports[0]
        await phone.playing()
        await desk.sounding()
        assert await desk.page.evaluate("heard.backwards") < 0.05
        assert await desk.page.evaluate("heard.paused") == 0
        await desk.press("play-toggle")
        await phone.paused()
        heard_s = (await phone.state())["position"]
        assert heard_s > lost_s
        assert abs(heard_s - await desk.heard_s()) <= NEAR_S
        listened_s, played_s = await listened(running_system, token)
        assert abs(listened_s - heard_s) <= NEAR_S
        assert abs(played_s - heard_s) <= NEAR_S


@pytest.mark.timeout(120)
async def test_a_sound_that_outlives_its_line_follows_who_has_moved_the_playhead_meanwhile_and_what_was_heard_counts(
    running_system: RunningSystem, open_tab: OpenTab, token: str
) -> None:
    async with cut_while_it_sounds(running_system, open_tab, token) as (desk, phone, line, _):
        await phone.drag_to(50_000)
        await phone.wait_until("playhead.state().position === 50")
        lost_s = await desk.heard_s()
        line.target = running_system.ports[0]
        await desk.wait_until("playhead.audio.paused && playhead.positionMs() === 50000")
        await desk.page.get_by_text("Another device has moved on").wait_for()
        assert (await phone.state())["position"] == 50
        listened_s, _ = await listened(running_system, token)
        assert lost_s - NEAR_S <= listened_s < 50


async def listened(system: RunningSystem, token: str) -> tuple[float, float]:
    """Seconds of the only session that were heard, each once; and that were played, repeats included."""
    headers = {"Authorization": f"Bearer {token}"}
    url = f"{system.base_url}/api/v1/audio/sessions"
    async with aiohttp.ClientSession(headers=headers) as http, http.get(url) as reply:
        (session,) = (await reply.json())["sessions"]
    return session["total_listened"], session["played_seconds"]
