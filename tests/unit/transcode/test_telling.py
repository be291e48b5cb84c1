"""What is written of a script is told, as it was written; what was not written is not."""

from typing import Any

from playhead.db import ClaimedScript, Script
from playhead.transcode import ToldStatus
from tests.support.sessions import make_script
from tests.support.states import OTHER_SCRIPT_ID, SCRIPT_ID

FIRST: dict[str, Any] = {"attempt": 1, "media_version": "0123456789abcdef"}


class Rows:
    """Writes everything, unless another attempt has taken over; has one script to claim."""

    def __init__(self) -> None:
        self.overtaken = False
        self.script: Script | None = make_script(status="processing", progress=0.5)

    async def claim(self, script_id: str) -> ClaimedScript | None:
        return None if self.script is None else ClaimedScript(script=self.script, attempts=1)

    async def progress(self, script_id: str, fraction: float, *, attempt: int, media_version: str) -> bool:
        return not self.overtaken

    async def ready(self, script_id: str, *, attempt: int, media_version: str) -> bool:
        return not self.overtaken

    async def failed(self, script_id: str, reason: str, *, attempt: int, media_version: str) -> bool:
        return not self.overtaken

    async def give_back(self, script_id: str, *, attempt: int, media_version: str) -> bool:
        return not self.overtaken

    async def unfinished(self) -> tuple[Script, ...]:
        return (make_script(OTHER_SCRIPT_ID),)

    async def stored(self, script_id: str) -> Script | None:
        return make_script(script_id)


def begin() -> tuple[Rows, ToldStatus, list[tuple[str, str, float]]]:
    rows, told = Rows(), list[tuple[str, str, float]]()
    status = ToldStatus(rows, lambda script: told.append((script.script_id, script.status, script.progress)))
    return rows, status, told


async def test_each_step_is_told_as_it_was_written() -> None:
    _, status, told = begin()
    assert await status.claim(SCRIPT_ID)
    assert await status.progress(SCRIPT_ID, 0.75, **FIRST)
    assert await status.ready(SCRIPT_ID, **FIRST)
    assert told == [(SCRIPT_ID, "processing", 0.5), (SCRIPT_ID, "processing", 0.75), (SCRIPT_ID, "ready", 1.0)]


async def test_a_failure_is_told_with_how_far_it_came() -> None:
    _, status, told = begin()
    await status.claim(SCRIPT_ID)
    await status.progress(SCRIPT_ID, 0.75, **FIRST)
    assert await status.failed(SCRIPT_ID, "why", **FIRST)
    assert told[-1] == (SCRIPT_ID, "failed", 0.75)


async def test_what_an_overtaken_attempt_says_is_not_told() -> None:
    rows, status, told = begin()
    await status.claim(SCRIPT_ID)
    rows.overtaken = True
    assert not await status.progress(SCRIPT_ID, 0.75, **FIRST)
    assert not await status.ready(SCRIPT_ID, **FIRST)
    assert not await status.failed(SCRIPT_ID, "why", **FIRST)
    assert told == [(SCRIPT_ID, "processing", 0.5)]


async def test_nothing_is_told_of_what_could_not_be_claimed_or_is_given_back() -> None:
    rows, status, told = begin()
    assert await status.give_back(SCRIPT_ID, **FIRST)
    rows.script = None
    assert await status.claim(SCRIPT_ID) is None
    assert await status.ready(SCRIPT_ID, **FIRST)
    assert told == []
    assert [script.script_id for script in await status.unfinished()] == [OTHER_SCRIPT_ID]
