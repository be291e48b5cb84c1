"""Stream addresses: signed per request, and never a reason to take back a command that was accepted."""

import asyncio
import gc
from collections.abc import Mapping
from typing import Any

import pytest

from playhead.auth.media_paths import VALID_BEYOND_DURATION_S, MediaSigner
from playhead.db import DatabaseUnavailable, Script
from playhead.sessions import scripts as looking_up
from playhead.sessions.scripts import LOOK_UP_TIMEOUT_S
from playhead.sessions.streams import StreamLinks, session_stream
from tests.support.sessions import make_script
from tests.support.states import make_state

NOW_MS = 1_800_000_000_000
SIGNER = MediaSigner({"first": "k" * 32})
CLAIMS = {"sub": "7b0c7c3e-3f0e-4f0c-9a55-0d2c5a1f6a11"}


class FixedClock:
    def now_ms(self) -> int:
        return NOW_MS


class Scripts:
    def __init__(self, found: Any) -> None:
        self._found = found

    async def get(self, claims: Mapping[str, str], script_id: str) -> Script | None:
        if isinstance(self._found, Exception):
            raise self._found
        found: Script | None = self._found
        return found


def links() -> StreamLinks:
    return StreamLinks(SIGNER, "https://media.example", FixedClock())


def test_a_link_is_valid_for_the_duration_and_twelve_hours() -> None:
    link = links().link("script", "version", 3_600_000, listener_id="anna")
    assert link.expires_at_s == NOW_MS // 1000 + 3_600 + VALID_BEYOND_DURATION_S
    prefix, _, rest = link.url.removeprefix("https://media.example/p/").partition("/")
    assert rest == "t/script/version/master.m3u8"
    claims = SIGNER.verify(prefix, f"/{rest}", NOW_MS // 1000)
    assert claims.expires_at_s == link.expires_at_s
    assert claims.listener is not None and claims.session_id is None


@pytest.mark.parametrize("found", [None, DatabaseUnavailable("away")])
async def test_a_play_is_answered_without_a_stream_when_the_script_cannot_be_looked_up(found: object) -> None:
    assert await session_stream(Scripts(found), links(), CLAIMS, make_state()) is None


async def test_what_the_command_has_looked_up_is_not_looked_up_again() -> None:
    state, nobody = make_state(), Scripts(DatabaseUnavailable("away"))
    link = await session_stream(nobody, links(), CLAIMS, state, make_script(media_version=state.media_version))
    assert link is not None and state.script_id in link.url
    assert await session_stream(nobody, links(), CLAIMS, state, make_script(media_version="f" * 16)) is None


class LateScripts:
    """PostgreSQL as it hangs: each look-up answers, or fails, when the test says so."""

    def __init__(self) -> None:
        self.answers: list[asyncio.Future[Script | None]] = []

    async def get(self, claims: Mapping[str, str], script_id: str) -> Script | None:
        self.answers.append(asyncio.get_running_loop().create_future())
        return await self.answers[-1]


async def test_a_play_does_not_wait_for_a_database_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert LOOK_UP_TIMEOUT_S < 0.5
    monkeypatch.setattr(looking_up, "LOOK_UP_TIMEOUT_S", 0.01)
    scripts, complaints = LateScripts(), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    async with asyncio.timeout(5):
        assert await session_stream(scripts, links(), CLAIMS, make_state()) is None
    late = scripts.answers.pop()
    assert not late.cancelled(), "to cancel would mean to wait for the driver"
    late.set_exception(DatabaseUnavailable("at last"))
    del late
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()  # of an error that nobody looked at asyncio complains now
    assert complaints == []
