"""Two tabs of one listener, on two servers where there are two: one playhead, one speaker."""

import pytest_asyncio

from tests.browser.conftest import OpenTab
from tests.browser.tab import Tab

IN_SYNC_MS = 200
LATER_MS = (600, 1_200, 1_800)
LOOKS_MAX = 50


@pytest_asyncio.fixture(loop_scope="module")
async def tabs(open_tab: OpenTab, token: str) -> tuple[Tab, Tab]:
    """Two devices of one listener; the first has been told to play."""
    desk, phone = await open_tab(token, "Desk"), await open_tab(token, "Phone", server=-1)
    await desk.press("play-toggle")
    await desk.sounding()
    await phone.playing()
    return desk, phone


async def assert_in_sync(first: Tab, second: Tab) -> None:
    """Compares what both show of one revision: a change that comes between the two looks is no difference."""
    for _ in range(LOOKS_MAX):
        (revision, phase_ms), (other_revision, other_phase_ms) = await first.phase(), await second.phase()
        if revision == other_revision:
            difference_ms = abs(phase_ms - other_phase_ms)
            assert difference_ms <= IN_SYNC_MS, f"the tabs are {difference_ms:.0f} ms apart"
            return
    raise AssertionError(f"one tab is at revision {revision}, the other at {other_revision}")


async def test_two_tabs_show_the_same_playhead_while_it_plays(tabs: tuple[Tab, Tab]) -> None:
    desk, phone = tabs
    start_ms = await desk.position_ms()
    for later_ms in LATER_MS:
        await desk.wait_until("playhead.positionMs() >= argument", start_ms + later_ms)
        await assert_in_sync(desk, phone)
        await phone.shows_its_playhead(IN_SYNC_MS)


async def test_the_audible_tab_really_plays_on_the_playhead_and_the_other_is_silent(tabs: tuple[Tab, Tab]) -> None:
    desk, phone = tabs
    seen = await desk.observe_in_sync(2_000, IN_SYNC_MS)
    assert seen.heard[-1] - seen.heard[0] >= 1_000
    assert await phone.silent()
    assert await phone.heard_s() == 0


async def test_a_seek_in_one_tab_moves_the_other_and_the_sound(tabs: tuple[Tab, Tab]) -> None:
    desk, phone = tabs
    await phone.drag_to(20_000)
    await desk.wait_until("playhead.positionMs() >= 20000")
    await desk.sounding()
    await assert_in_sync(desk, phone)
    seen = await desk.observe_in_sync(500, IN_SYNC_MS)
    assert min(seen.heard) >= 20_000


async def test_a_pause_in_one_tab_stops_the_sound_of_the_other_at_the_same_place(tabs: tuple[Tab, Tab]) -> None:
    desk, phone = tabs
    await phone.press("play-toggle")
    await desk.paused()
    await desk.wait_until("playhead.audio.paused")
    assert abs(await desk.position_ms() - await phone.position_ms()) <= 1
    assert abs(await desk.heard_s() * 1000 - await phone.position_ms()) <= IN_SYNC_MS


async def test_play_here_moves_the_sound_and_keeps_the_place(tabs: tuple[Tab, Tab]) -> None:
    desk, phone = tabs
    before_ms = await desk.position_ms()
    await phone.page.get_by_test_id("play-here").filter(has_text="Play here").click()
    await phone.sounding()
    await desk.wait_until("playhead.audio.paused")
    assert (await desk.state())["active_device"] == await phone.device_id()
    await assert_in_sync(desk, phone)
    seen = await phone.observe_in_sync(500, IN_SYNC_MS)
    assert min(seen.heard) >= before_ms - IN_SYNC_MS


async def test_a_loop_set_in_one_tab_folds_the_playhead_of_both_and_the_sound(tabs: tuple[Tab, Tab]) -> None:
    desk, phone = tabs
    await phone.press("loop-a")
    start_ms = await phone.position_ms()
    await phone.wait_until("playhead.positionMs() >= argument", start_ms + 1_500)
    await phone.press("loop-b")
    await desk.wait_until("playhead.state().loop?.enabled === true")
    loop = (await desk.state())["loop"]
    first_ms, end_ms = loop["start"] * 1000, loop["end"] * 1000
    for tab in (desk, phone):
        seen = await tab.observe(round(2.5 * (end_ms - first_ms)))
        assert seen.folds >= 2
        assert first_ms <= min(seen.positions) and max(seen.positions) < end_ms
    seen = await desk.observe(round(1.5 * (end_ms - first_ms)))
    assert min(seen.heard) >= first_ms - IN_SYNC_MS and max(seen.heard) <= end_ms + IN_SYNC_MS
    await assert_loop_is_off_after(phone, desk)


async def assert_loop_is_off_after(phone: Tab, desk: Tab) -> None:
    """Switching it off lets playback run on, past the loop's end."""
    await phone.press("loop-toggle")
    await desk.wait_until("playhead.state().loop?.enabled === false")
    await desk.wait_until("playhead.positionMs() > playhead.state().loop.end * 1000")
    await assert_in_sync(desk, phone)


async def test_a_bookmark_of_one_tab_is_found_and_jumped_to_in_another(
    tabs: tuple[Tab, Tab], open_tab: OpenTab, token: str
) -> None:
    desk, _ = tabs
    await desk.drag_to(12_000)
    await desk.page.get_by_test_id("bookmark-title").fill("The door opens")
    await desk.press("bookmark-add")
    await desk.page.get_by_test_id("bookmark").wait_for()
    tablet = await open_tab(token, "Tablet")
    await tablet.page.get_by_test_id("bookmark-jump").filter(has_text="The door opens").click()
    await desk.wait_until("Math.abs(playhead.positionMs() - 12000) < 3000")
    await assert_in_sync(desk, tablet)


async def test_a_bookmark_comes_and_goes_in_every_tab_at_once(tabs: tuple[Tab, Tab]) -> None:
    desk, phone = tabs
    await desk.drag_to(12_000)
    await desk.page.get_by_test_id("bookmark-title").fill("The window closes")
    await desk.press("bookmark-add")
    told = phone.page.get_by_test_id("bookmark").filter(has_text="The window closes")
    await told.wait_for()
    await told.get_by_test_id("bookmark-delete").click()
    await told.wait_for(state="detached")
    await desk.page.get_by_test_id("bookmark").filter(has_text="The window closes").wait_for(state="detached")
