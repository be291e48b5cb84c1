"""One tab: signing in, coming back, and what happens when the browser forbids sound."""

import asyncio
import re

import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser.conftest import OpenTab
from tests.browser.tab import Tab
from tests.support.system import RunningSystem

IN_SYNC_MS = 200
MEASURED_WITHIN_S = 30.0


async def test_a_token_that_is_refused_shows_why_and_the_form_again(
    chromium: Browser, running_system: RunningSystem
) -> None:
    page = await chromium.new_page()
    await page.goto(running_system.base_url)
    await page.get_by_test_id("token").fill("not-a-token")
    await page.get_by_test_id("sign-in").click()
    reason = page.get_by_test_id("sign-in-error")
    await reason.wait_for()
    assert "token" in (await reason.inner_text()).lower()
    assert await page.get_by_test_id("token").input_value() == ""
    assert not await page.get_by_test_id("scripts").is_visible()


async def test_a_token_in_the_address_signs_in_and_leaves_the_address_and_the_console(
    chromium: Browser, running_system: RunningSystem, token: str
) -> None:
    page = await chromium.new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    await page.goto(f"{running_system.base_url}/#token={token}&device=Desk")
    await page.get_by_test_id("scripts").wait_for()
    assert "#" not in page.url and token not in page.url
    assert not any(token in line for line in said)


async def test_the_page_runs_no_inline_code_and_asks_nobody_else(open_tab: OpenTab, token: str) -> None:
    tab = await open_tab(token, "Desk")
    await tab.press("play-toggle")
    await tab.sounding()
    origin = await tab.page.evaluate("location.origin")
    asked = await tab.page.evaluate(
        "performance.getEntriesByType('resource').map((entry) => new URL(entry.name).origin)"
    )
    assert set(asked) <= {origin, "null"}
    assert await tab.page.locator("script:not([src]), style, [style]:not(.rail, .rail *)").count() == 0


async def test_pressing_play_goes_on_with_what_was_fetched_before(open_tab: OpenTab, token: str) -> None:
    tab = await open_tab(token, "Desk")
    await tab.wait_until("playhead.audio.readyState >= 2")
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    await tab.press("play-toggle")
    await tab.sounding()
    assert not any(url.endswith("/master.m3u8") for url in asked), "the answer's newer signature began the stream anew"


async def test_a_tab_tells_how_long_its_listener_waited_for_the_first_sound(
    open_tab: OpenTab, running_system: RunningSystem, token: str
) -> None:
    told = "playhead_first_audio_seconds_count"
    before = running_system.metric(told)
    tab = await open_tab(token, "Desk")
    await tab.press("play-toggle")
    await tab.sounding()
    await tab.press("play-toggle")
    await tab.paused()
    assert running_system.metric(told) > before


async def test_the_keys_play_pause_and_seek(open_tab: OpenTab, token: str) -> None:
    tab = await open_tab(token, "Desk")
    await tab.page.keyboard.press("Space")
    await tab.sounding()
    await tab.page.keyboard.press("Space")
    await tab.paused()
    before_ms = await tab.position_ms()
    for _ in range(3):
        await tab.page.keyboard.press("ArrowRight")
    await tab.wait_until("Math.abs(playhead.positionMs() - argument) <= 1", before_ms + 15_000)
    await tab.page.keyboard.press("ArrowLeft")
    await tab.wait_until("Math.abs(playhead.state().position * 1000 - argument) <= 1", before_ms + 10_000)


async def test_a_reloaded_tab_is_the_same_device_and_asks_for_a_tap_instead_of_running_on_in_silence(
    open_tab: OpenTab, token: str
) -> None:
    desk, phone = await open_tab(token, "Desk"), await open_tab(token, "Phone")
    await desk.press("play-toggle")
    await desk.sounding()
    device_id, before_ms = await desk.device_id(), await desk.position_ms()
    await desk.page.reload()
    # Asked from the other tab: whatever a test evaluates in a page counts as the gesture that the browser waits for.
    await phone.paused()
    assert (await phone.state())["cause"]["device_id"] == device_id
    tap = desk.page.get_by_test_id("tap-to-hear")
    await tap.wait_for()
    assert await desk.device_id() == device_id
    await tap.click()
    await desk.sounding()
    await tap.wait_for(state="hidden")
    assert await desk.heard_s() * 1000 >= before_ms - IN_SYNC_MS


async def test_a_duplicated_tab_is_a_device_of_its_own(open_tab: OpenTab, token: str) -> None:
    tab = await open_tab(token, "Desk")
    async with tab.page.context.expect_page() as opened:
        await tab.page.evaluate("void window.open(location.href)")
    copy: Page = await opened.value
    await copy.wait_for_function("() => window.playhead !== undefined")
    assert await copy.evaluate("playhead.deviceId") != await tab.device_id()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_is_wider_than_a_small_phone(open_tab: OpenTab, token: str, scheme: str) -> None:
    tab = await open_tab(token, "Phone")
    await tab.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    await tab.page.set_viewport_size({"width": 320, "height": 640})
    assert await tab.page.evaluate("document.documentElement.scrollWidth") <= 320


async def test_a_loud_script_is_turned_down_by_what_the_server_has_measured(
    chromium: Browser, running_system: RunningSystem, open_tab: OpenTab, token: str
) -> None:
    address = f"{running_system.base_url}/api/v1/audio/stream/{running_system.script_id}"
    asking = await chromium.new_context(extra_http_headers={"Authorization": f"Bearer {token}"})
    async with asyncio.timeout(MEASURED_WITHIN_S):
        while (loudness := (await (await asking.request.get(address)).json())["loudness"]) is None:
            await asyncio.sleep(0.2)
    assert loudness["gain_db"] < -1, "the sample is loud"
    tab = await open_tab(token, "Desk")
    await tab.wait_until("playhead.audio.readyState >= 2")
    assert await tab.page.evaluate("playhead.audio.volume") == pytest.approx(10 ** (loudness["gain_db"] / 20))
    await tab.press("play-toggle")
    await tab.sounding()
    assert await tab.page.evaluate("playhead.audio.volume") == pytest.approx(10 ** (loudness["gain_db"] / 20))
    await asking.close()


async def test_a_link_opens_its_script_though_the_list_does_not_come_and_the_first_answer_is_a_refusal(
    chromium: Browser, running_system: RunningSystem, token: str
) -> None:
    page = await chromium.new_page()
    await page.route(re.compile(r"/scripts\?"), lambda route: route.fulfill(status=503, body="a proxy"))
    await page.route(re.compile(r"/scripts/[^/]+$"), lambda route: route.fulfill(status=503, body="a proxy"), times=1)
    tab = Tab(page)
    await tab.open(running_system.base_url, token, "Desk", running_system.script_id)
    await tab.press("play-toggle")
    await tab.sounding()


async def test_behind_the_form_nothing_sounds_whatever_is_pressed(open_tab: OpenTab, token: str) -> None:
    tab = await open_tab(token, "Desk")
    await tab.press("play-toggle")
    await tab.sounding()
    problem = {"code": "unauthorized", "detail": "The token has expired.", "retry": False}
    await tab.page.route(re.compile(r"/bookmark$"), lambda route: route.fulfill(status=401, json=problem))
    await tab.press("bookmark-add")
    await expect(tab.page.get_by_test_id("sign-in-error")).to_have_text("The token has expired.")
    await tab.page.evaluate("document.activeElement.blur()")
    for _ in range(2):
        await tab.page.keyboard.press("Space")
        assert await tab.silent()
