"""Sleep, history and unison, pressed in one of two tabs of one listener: both show it, and the sound does it."""

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.browser.conftest import OpenTab
from tests.browser.tab import Tab
from tests.browser.test_two_tabs import IN_SYNC_MS, assert_in_sync


@pytest_asyncio.fixture(loop_scope="module")
async def tabs(open_tab: OpenTab, token: str) -> tuple[Tab, Tab]:
    """Two devices of one listener; the first has been told to play."""
    desk, phone = await open_tab(token, "Desk"), await open_tab(token, "Phone", server=-1)
    await desk.press("play-toggle")
    await desk.sounding()
    await phone.playing()
    return desk, phone


def chosen(tab: Tab) -> str:
    """What the sleep timer of a tab shows."""
    return "document.querySelector('[data-testid=sleep]').selectedOptions[0].textContent"


async def test_a_sleep_timer_is_set_shown_and_switched_off_in_every_tab(tabs: tuple[Tab, Tab]) -> None:
    desk, phone = tabs
    await phone.page.get_by_test_id("sleep").select_option("15 min")
    for tab in tabs:
        await tab.wait_until(f"{chosen(tab)} === '15 min left'")
    left_ms = await desk.page.evaluate("playhead.state().sleep_at - playhead.serverNowMs()")
    assert 14 * 60_000 < left_ms <= 15 * 60_000
    await desk.page.get_by_test_id("sleep").select_option("Off")
    for tab in tabs:
        await tab.wait_until(f"{chosen(tab)} === 'Off'")
    assert (await phone.state())["sleep_at"] is None


async def test_at_the_end_of_the_loop_the_sound_stops_there(tabs: tuple[Tab, Tab]) -> None:
    desk, phone = tabs
    at_end = phone.page.locator("option[value=loop]")
    assert await at_end.is_disabled()
    await phone.press("loop-a")
    start_ms = await phone.position_ms()
    await phone.wait_until("playhead.positionMs() >= argument", start_ms + 1_500)
    await phone.press("loop-b")
    await expect(at_end).to_be_enabled()
    await phone.page.get_by_test_id("sleep").select_option("End of loop")
    await desk.wait_until(f"playhead.state().sleep_at_end_of_loop || {chosen(desk)} === 'Off'")
    await desk.paused()
    await desk.wait_until("playhead.audio.paused")
    state = await desk.state()
    # whoever goes on hears the loop from its start
    assert state["cause"]["command"] == "sleep" and state["position"] == pytest.approx(state["loop"]["start"], abs=0.3)


async def test_a_place_that_was_left_is_found_in_every_tab_and_gone_back_to(tabs: tuple[Tab, Tab]) -> None:
    desk, phone = tabs
    await phone.page.get_by_test_id("history").locator("summary").press("Space")
    await expect(phone.page.get_by_test_id("no-history")).to_be_visible()
    await desk.press("play-toggle")
    await desk.paused()
    left_ms = await desk.position_ms()
    await desk.drag_to(30_000)
    entry = phone.page.get_by_test_id("history-entry").filter(has_text="Left by a jump · Desk")
    await entry.get_by_test_id("history-restore").click()
    for tab in tabs:
        await tab.wait_until("Math.abs(playhead.positionMs() - argument) <= 1", left_ms)
    await phone.page.get_by_test_id("history-entry").filter(has_text="Left by going back · Phone").wait_for()
    assert await phone.page.get_by_test_id("history-entry").count() == 2


async def test_together_all_tabs_sound_in_unison_and_afterwards_one_alone(tabs: tuple[Tab, Tab]) -> None:
    desk, phone = tabs
    assert await phone.silent()
    await phone.press("together")
    await phone.sounding()
    for tab in tabs:
        await expect(tab.page.get_by_test_id("together")).to_have_attribute("aria-pressed", "true")
        await expect(tab.page.get_by_test_id("whereabouts")).to_have_text("Playing on all devices together")
        await expect(tab.page.locator('[data-testid="device"][data-sounding="true"]')).to_have_count(2)
    await desk.drag_to(20_000)
    for tab in tabs:
        await tab.wait_until("playhead.audio.currentTime > 20.2")
    await assert_in_sync(desk, phone)
    for tab in tabs:
        await tab.observe_in_sync(1_000, IN_SYNC_MS)
    await desk.press("together")
    await phone.wait_until("playhead.audio.paused")
    assert not await desk.silent() and (await desk.state())["playing"]


async def test_together_a_pause_in_one_tab_stops_the_sound_of_all(tabs: tuple[Tab, Tab]) -> None:
    desk, phone = tabs
    await desk.press("together")
    await phone.sounding()
    await phone.press("play-toggle")
    for tab in tabs:
        await tab.wait_until("playhead.audio.paused && playhead.state().playing === false")
    await phone.press("play-toggle")
    for tab in tabs:
        await tab.sounding()
