"""Finding a Chromium that playwright can drive."""

import shutil
from pathlib import Path

from playwright.async_api import Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CURE = "needs Chromium: `apt install chromium`, or `python -m playwright install chromium`"


def chromium_path(playwright: Playwright) -> str | None:
    """The system's, else the one that playwright has downloaded; None where there is neither."""
    found = next(filter(None, map(shutil.which, NAMES)), None) or playwright.chromium.executable_path
    return found if Path(found).exists() else None
