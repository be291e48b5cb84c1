"""What the worker writes about a script, told to whoever waits for it as well: once it is written, and only then."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from playhead.db import ClaimedScript, Script
from playhead.transcode.worker import ScriptStatus


class ToldStatus:
    """ScriptStatus that tells of the script that was claimed last, and of no other. `tell` must not wait."""

    def __init__(self, scripts: ScriptStatus, tell: Callable[[Script], None]) -> None:
        self._scripts = scripts
        self._tell = tell
        self._claimed: Script | None = None

    async def claim(self, script_id: str) -> ClaimedScript | None:
        claimed = await self._scripts.claim(script_id)
        self._claimed = None if claimed is None else claimed.script
        if claimed is not None:
            self._tell(claimed.script)
        return claimed

    async def progress(self, script_id: str, fraction: float, *, attempt: int, media_version: str) -> bool:
        written = await self._scripts.progress(script_id, fraction, attempt=attempt, media_version=media_version)
        return self._told(written, script_id, progress=fraction)

    async def ready(self, script_id: str, *, attempt: int, media_version: str) -> bool:
        written = await self._scripts.ready(script_id, attempt=attempt, media_version=media_version)
        return self._told(written, script_id, status="ready", progress=1.0)

    async def failed(self, script_id: str, reason: str, *, attempt: int, media_version: str) -> bool:
        written = await self._scripts.failed(script_id, reason, attempt=attempt, media_version=media_version)
        return self._told(written, script_id, status="failed")

    async def give_back(self, script_id: str, *, attempt: int, media_version: str) -> bool:
        return await self._scripts.give_back(script_id, attempt=attempt, media_version=media_version)

    async def unfinished(self) -> tuple[Script, ...]:
        return await self._scripts.unfinished()

    async def stored(self, script_id: str) -> Script | None:
        return await self._scripts.stored(script_id)

    def _told(self, written: bool, script_id: str, **changed: Any) -> bool:
        claimed = self._claimed
        if written and claimed is not None and claimed.script_id == script_id:
            self._claimed = replace(claimed, **changed)
            self._tell(self._claimed)
        return written
