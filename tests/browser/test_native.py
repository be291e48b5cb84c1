"""The page in a browser that plays HLS by itself and has no Media Source Extensions.

Real Chromium, from whose page they are taken away before anything of ours runs: its own player fetches and plays.
"""

from tests.browser.conftest import OpenTab

IN_SYNC_MS = 200
WITHOUT_MSE = "for (const name of ['MediaSource', 'ManagedMediaSource', 'WebKitMediaSource']) delete globalThis[name];"


async def test_the_browser_s_own_player_sounds_on_the_playhead_after_play_seek_and_move(
    open_tab: OpenTab, token: str
) -> None:
    desk = await open_tab(token, "Desk", first=WITHOUT_MSE)
    phone = await open_tab(token, "Phone", server=-1)
    await desk.press("play-toggle")
    await desk.sounding()
    assert (await desk.page.evaluate("playhead.audio.src")).endswith("/master.m3u8")
    await desk.observe_in_sync(1_000, IN_SYNC_MS)
    await phone.drag_to(30_000)
    await desk.wait_until("playhead.audio.currentTime >= 30")
    await desk.sounding()
    assert min((await desk.observe_in_sync(1_000, IN_SYNC_MS)).heard) >= 30_000
    await phone.page.get_by_test_id("play-here").filter(has_text="Play here").click()
    await phone.sounding()
    await desk.wait_until("playhead.audio.paused")
