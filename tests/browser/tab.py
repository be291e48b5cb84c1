"""One tab of the player page, as a test drives it: by what a listener sees and presses.

Owns: where things are on the page (`data-testid`) and the read-only view that the page offers as `window.playhead`.
Places are in ms. Waiting is for conditions of the page, never for time.
"""

import statistics
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from playwright.async_api import Page

POLL_MS = 50
LOOKS_MAX = 5
"""Observations until the sound is on the playhead: a machine that starves a page for a moment makes it fall behind, and
the page tells and mends that within the time of one or two."""

# Both pages run on one machine, so the place minus the machine's clock can be compared between them exactly,
# however long it takes to ask the one after the other.
_SHOWN = """Math.abs(
    Number(document.querySelector('[data-testid=playhead]').dataset.positionMs) - playhead.positionMs()
) <= argument"""
_PHASE = "[playhead.state().revision, playhead.positionMs() - Date.now()]"

_OBSERVE = """
(duration_ms) => new Promise((resolve) => {
  const seen = { positions: [], heard: [], lags: [] };
  const end = performance.now() + duration_ms;
  const look = () => {
    const position = playhead.positionMs();
    const heard = playhead.audio.currentTime * 1000;
    seen.positions.push(position);
    seen.heard.push(heard);
    seen.lags.push(position - heard);
    if (performance.now() < end) requestAnimationFrame(look);
    else resolve(seen);
  };
  look();
})
"""

_DRAG_SLIDER = """
(slider, seconds) => {
  slider.value = String(seconds);
  slider.dispatchEvent(new Event("input"));
  slider.dispatchEvent(new Event("change"));
}
"""


@dataclass(frozen=True, slots=True)
class Observed:
    """What one tab showed and played, frame by frame."""

    positions: list[float]
    heard: list[float]
    lags: list[float]

    @property
    def lag_ms(self) -> float:
        """How far the sound was from the playhead, in the median: a single late frame is the machine's, not ours."""
        return statistics.median(map(abs, self.lags))

    @property
    def folds(self) -> int:
        """How often the shown playhead went back."""
        return sum(later < earlier for earlier, later in zip(self.positions, self.positions[1:], strict=False))


@dataclass(frozen=True, slots=True)
class Tab:
    page: Page

    async def open(self, base_url: str, token: str, device: str, script_id: str) -> None:
        """Opens the page by an invitation in its address and waits until it is in sync."""
        fragment = urlencode({"token": token, "device": device, "script": script_id})
        await self.page.goto(f"{base_url}/#{fragment}")
        await self.in_sync()

    async def connected(self) -> None:
        await self.page.locator('[data-testid="connection"][data-state="connected"]').wait_for()

    async def in_sync(self) -> None:
        await self.connected()
        await self.page.get_by_test_id("play-toggle").wait_for()

    async def press(self, test_id: str) -> None:
        await self.page.get_by_test_id(test_id).click()

    async def drag_to(self, position_ms: int) -> None:
        """Moves the seek bar there, as a pointer would."""
        await self.page.get_by_test_id("seek").evaluate(_DRAG_SLIDER, position_ms / 1000)

    async def wait_until(self, condition: str, argument: Any = None) -> None:
        """Waits until a JavaScript condition over `playhead` (and `argument`) holds in the page."""
        await self.page.wait_for_function(f"(argument) => ({condition})", arg=argument, polling=POLL_MS)

    async def playing(self) -> None:
        await self.wait_until("playhead.state()?.playing === true")

    async def paused(self) -> None:
        await self.wait_until("playhead.state()?.playing === false")

    async def sounding(self) -> None:
        """Waits until sound has really come out for half a second, on the playhead."""
        await self.wait_until("!playhead.audio.paused && playhead.audio.readyState >= 3")
        heard_s = await self.heard_s()
        await self.wait_until("Math.abs(playhead.audio.currentTime - argument) >= 0.5", heard_s)

    async def position_ms(self) -> float:
        return float(await self.page.evaluate("playhead.positionMs()"))

    async def phase(self) -> tuple[int, float]:
        """The revision, and the shown place minus the machine's clock in ms: equal in two tabs that are in sync."""
        revision, phase_ms = await self.page.evaluate(_PHASE)
        return int(revision), float(phase_ms)

    async def shows_its_playhead(self, within_ms: int) -> None:
        """Waits until the place that the page has written down for the last frame is where the playhead is.

        A busy machine may owe it a frame; a page that shows another place never gets there.
        """
        await self.wait_until(_SHOWN, within_ms)

    async def heard_s(self) -> float:
        return float(await self.page.evaluate("playhead.audio.currentTime"))

    async def silent(self) -> bool:
        return bool(await self.page.evaluate("playhead.audio.paused"))

    async def state(self) -> dict[str, Any]:
        state: dict[str, Any] = await self.page.evaluate("playhead.state()")
        return state

    async def device_id(self) -> str:
        return str(await self.page.evaluate("playhead.deviceId"))

    async def observe(self, duration_ms: int) -> Observed:
        """Watches playhead and sound for a while, at every frame."""
        return Observed(**await self.page.evaluate(_OBSERVE, duration_ms))

    async def observe_in_sync(self, duration_ms: int, within_ms: int) -> Observed:
        """The same once the sound is that near to the playhead; an AssertionError if it does not come there."""
        lags_ms = []
        for _ in range(LOOKS_MAX):
            seen = await self.observe(duration_ms)
            if seen.lag_ms <= within_ms:
                return seen
            lags_ms.append(round(seen.lag_ms))
        raise AssertionError(f"the sound stays {lags_ms} ms away from the playhead")
