"""Sound that is moved to a tab with something else or leaves it, and a file that is replaced while it is heard."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest_asyncio
from playwright.async_api import expect

from tests.browser.conftest import OpenTab
from tests.browser.tab import Tab
from tests.browser.test_two_tabs import assert_in_sync
from tests.support.audio import Kind, make
from tests.support.running import uploaded
from tests.support.system import RunningSystem

OTHER = Kind("other.mp3", "-c:a libmp3lame -b:a 64k")
OTHER_S = 60.0
FORMER = Kind("former.mp3", "-c:a libmp3lame -b:a 64k")
FORMER_S = 120.0

_SEGMENT_VERSIONS = r"""
performance.getEntriesByType("resource")
  .map(({ name }) => /\/t\/[^/]+\/([^/]+)\/.*\.m4s/.exec(name)?.[1])
  .filter(Boolean)
"""


@pytest_asyncio.fixture(loop_scope="module")
async def other_script(running_system: RunningSystem, tmp_path: Path) -> str:
    """Another script than the system's, which everybody may hear as well."""
    return await asyncio.to_thread(uploaded, running_system, make(tmp_path, OTHER, OTHER_S))


async def play_on_phone(desk: Tab) -> None:
    device = desk.page.get_by_test_id("device").filter(has_text="Phone")
    await device.get_by_test_id("play-here").click()


async def assert_moved(desk: Tab, phone: Tab, script_id: str) -> None:
    await phone.wait_until("playhead.state()?.script_id === argument", script_id)
    await phone.sounding()
    await desk.wait_until("playhead.audio.paused")
    state = await phone.state()
    assert state["playing"] and state["active_device"] == await phone.device_id()
    await assert_in_sync(desk, phone)


async def test_sound_that_is_moved_to_a_tab_with_another_script_is_heard_there(
    open_tab: OpenTab, token: str, other_script: str
) -> None:
    desk, phone = await open_tab(token, "Desk", script_id=other_script), await open_tab(token, "Phone", server=-1)
    await phone.press("play-toggle")
    await phone.sounding()
    await desk.press("play-toggle")
    await desk.sounding()
    await play_on_phone(desk)
    await assert_moved(desk, phone, other_script)


async def test_sound_that_is_moved_to_a_tab_at_its_library_is_heard_there(
    running_system: RunningSystem, open_tab: OpenTab, token: str
) -> None:
    desk = await open_tab(token, "Desk")
    phone = Tab(await desk.page.context.new_page())
    await phone.page.goto(f"{running_system.base_urls[-1]}/#{urlencode({'token': token, 'device': 'Phone'})}")
    await phone.page.get_by_role("heading", name="Devices").click()
    await desk.press("play-toggle")
    await desk.sounding()
    await play_on_phone(desk)
    await assert_moved(desk, phone, running_system.script_id)


async def test_a_link_to_another_script_that_is_opened_over_a_playing_tab_stops_what_sounded_there(
    open_tab: OpenTab, token: str, other_script: str
) -> None:
    desk, phone = await open_tab(token, "Desk"), await open_tab(token, "Phone", server=-1)
    await desk.press("play-toggle")
    await desk.sounding()
    await phone.playing()
    fragment = urlencode({"token": token, "device": "Desk", "script": other_script})
    await desk.page.evaluate("fragment => { location.hash = fragment }", fragment)
    await desk.page.get_by_test_id("duration").filter(has_text="1:00").wait_for()
    await phone.paused()


async def test_who_signs_out_and_in_again_finds_paused_what_sounded_in_the_tab(open_tab: OpenTab, token: str) -> None:
    desk, phone = await open_tab(token, "Desk"), await open_tab(token, "Phone", server=-1)
    await desk.press("play-toggle")
    await desk.sounding()
    await phone.playing()
    await desk.press("sign-out")
    await desk.page.get_by_test_id("token").fill(token)
    await desk.page.get_by_test_id("sign-in-form").evaluate("form => form.requestSubmit()")
    await desk.connected()
    await phone.paused()


async def test_a_former_file_is_heard_in_every_tab_until_the_next_play_and_the_new_one_from_then_on(
    running_system: RunningSystem, open_tab: OpenTab, token: str, tmp_path: Path
) -> None:
    script_id = await upload(running_system, token, make(tmp_path, FORMER, FORMER_S))
    desk = await open_tab(token, "Desk", script_id=script_id)
    await desk.press("play-toggle")
    await desk.sounding()
    former = (await desk.state())["media_version"]
    assert await upload(running_system, token, make(tmp_path, OTHER, OTHER_S), script_id=script_id) == script_id
    phone = await open_tab(token, "Phone", server=-1, script_id=script_id)
    await phone.page.get_by_test_id("play-here").filter(has_text="Play here").click()
    await phone.sounding()
    # before it knew of the session it may have begun to fetch what is newest
    assert (await phone.page.evaluate(_SEGMENT_VERSIONS))[-1] == former
    await phone.press("play-toggle")
    await phone.paused()
    await phone.press("play-toggle")
    await phone.wait_until("playhead.state().media_version !== argument", former)
    await phone.sounding()
    for tab in (desk, phone):
        await expect(tab.page.get_by_test_id("duration")).to_have_text("1:00")
    assert set(await phone.page.evaluate(_SEGMENT_VERSIONS)) == {former, (await phone.state())["media_version"]}


async def upload(system: RunningSystem, token: str, source: Path, **query: Any) -> str:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "audio/mpeg"}
    url = f"{system.base_url}/api/v1/audio/scripts"
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(url, params=query, data=source.read_bytes()) as reply,
    ):
        assert reply.ok, await reply.text()
        return str((await reply.json())["script_id"])
