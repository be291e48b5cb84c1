"""What a file says of itself, on the page: artist, picture and chapters; and chapters as places to go to."""

from io import BytesIO
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import expect

from tests.browser.conftest import OpenTab
from tests.support.audio import Kind, ffmpeg, make
from tests.support.system import RunningSystem
from tests.support.tags import ffmetadata, jpeg

SOURCE = Kind("sound.flac", "-c:a flac")
SOURCE_S = 60.0
CHAPTERS = ((0, 20_000, "The road"), (20_000, 45_000, "The inn"), (45_000, 60_000, "The storm"))


@pytest.fixture
def book(tmp_path: Path) -> Path:
    sound, tags, picture, upload = (
        make(tmp_path, SOURCE, SOURCE_S),
        tmp_path / "tags",
        tmp_path / "jpg",
        tmp_path / "b.mp3",
    )
    tags.write_text(ffmetadata("The Book", "Ann Author", CHAPTERS))
    picture.write_bytes(jpeg())
    inputs = ["-i", str(sound), "-i", str(tags), "-i", str(picture)]
    maps = ["-map", "0", "-map", "2", "-map_metadata", "1", "-map_chapters", "1", "-disposition:v", "attached_pic"]
    ffmpeg(*inputs, *maps, "-c:a", "libmp3lame", "-b:a", "64k", "-c:v", "copy", str(upload))
    return upload


async def uploaded(system: RunningSystem, token: str, source: Path) -> str:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "audio/mpeg"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(f"{system.base_url}/api/v1/audio/scripts", data=BytesIO(source.read_bytes())) as reply,
    ):
        assert reply.status == 201, await reply.text()
        return str((await reply.json())["script_id"])


async def test_chapters_are_places_to_go_to_and_the_one_that_is_heard_is_marked_on_every_device(
    running_system: RunningSystem, open_tab: OpenTab, token: str, book: Path
) -> None:
    script_id = await uploaded(running_system, token, book)
    desk, phone = [await open_tab(token, name, script_id=script_id) for name in ("Desk", "Phone")]
    await expect(desk.page.get_by_test_id("script-title")).to_have_text("The Book")
    await expect(desk.page.get_by_test_id("artist")).to_have_text("Ann Author")
    await expect(desk.page.get_by_test_id("cover")).to_be_visible()
    assert (
        await desk.page.get_by_test_id("cover").evaluate("image => image.decode().then(() => image.naturalWidth)") == 32
    )
    jumps = [tab.page.get_by_test_id("chapter-jump") for tab in (desk, phone)]
    await expect(jumps[0]).to_have_text(["0:00The road", "0:20The inn", "0:45The storm"])
    await desk.press("play-toggle")
    await expect(jumps[0].nth(0)).to_have_attribute("aria-current", "true")
    await jumps[0].nth(2).focus()
    await desk.page.keyboard.press("Enter")
    for tab, of_tab in zip((desk, phone), jumps, strict=True):
        await tab.wait_until("Math.abs(playhead.positionMs() - 45000) < 3000")
        await expect(of_tab.nth(2)).to_have_attribute("aria-current", "true")
        await expect(of_tab.nth(0)).not_to_have_attribute("aria-current", "true")
    await phone.page.get_by_role("button", name="Go to The inn at 0:20").click()
    for tab, of_tab in zip((desk, phone), jumps, strict=True):
        await tab.wait_until("Math.abs(playhead.positionMs() - 20000) < 3000")
        await expect(of_tab.nth(1)).to_have_attribute("aria-current", "true")


async def test_what_one_script_says_of_itself_is_gone_with_the_next(
    running_system: RunningSystem, open_tab: OpenTab, token: str, book: Path
) -> None:
    await uploaded(running_system, token, book)
    tab = await open_tab(token, "Desk")
    shown = [tab.page.get_by_test_id(name) for name in ("artist", "cover", "chapters")]
    for part in shown:
        await expect(part).to_be_hidden()
    scripts = tab.page.get_by_test_id("script")
    await scripts.filter(has_text="The Book").click()
    for part in shown:
        await expect(part).to_be_visible()
    await scripts.filter(has_not_text="The Book").first.click()
    for part in shown:
        await expect(part).to_be_hidden()
