"""A script to try things with: two minutes in which one hears, and sees, where one is.

    every second       a beat; the first of ten is longer and louder
    every ten seconds  a whole tone higher

So two devices out of step are heard at once, and a place is recognised by its pitch. Made by ffmpeg and taken in once,
with `playhead ingest`, under an id that never changes.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from playhead.app.development.children import run_to_end

SCRIPT_ID = "73616d70-6c65-4265-8174-000000000001"
TITLE = "Sample: a beat each second"
DURATION_S = 120
LOWEST_HZ = 220
BEAT_S, FIRST_BEAT_S = 0.09, 0.25
COMMAND_TIMEOUT_S = 120.0
READY_TIMEOUT_S = 180.0
POLL_S = 0.25


class SampleFailed(Exception):
    """The sample could not be made. The text says why; everything else works without it."""


def tone_arguments(ffmpeg: str, target: Path) -> list[str]:
    """The ffmpeg command that writes the sample to `target`: FLAC, which every ffmpeg can write, at 48 kHz."""
    pitch_hz = f"{LOWEST_HZ}*pow(2,floor(t/10)/6)"
    beat_s = f"if(lt(mod(t,10),1),{FIRST_BEAT_S},{BEAT_S})"
    loudness = f"if(lt(mod(t,10),1),0.7,0.4)*lt(mod(t,1),{beat_s})*(1-mod(t,1)/({beat_s}))"
    tone = f"aevalsrc='{loudness}*sin(2*PI*mod(t,1)*{pitch_hz})':s=48000:d={DURATION_S}"
    return [ffmpeg, "-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i", tone, "-ac", "2", "-f", "flac", str(target)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Makes sure that the sample is on a server.

    `ingest` is the command that takes a file in, `environment` what it runs with; `folder` is for the file meanwhile.
    """

    server_url: str
    token: str = field(repr=False)
    ingest: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)
    folder: Path

    async def ensure(self, session: aiohttp.ClientSession, say: Callable[[str], None]) -> str:
        """The sample's script id, once its status is `ready`; made and taken in if the server has none.

        Raises SampleFailed.
        """
        if await self._script(session) is None:
            say("Making the sample …")
            await self._make()
        await self._until_ready(session)
        return SCRIPT_ID

    async def _make(self) -> None:
        from playhead.transcode import ProgramsMissing, find_programs  # with much behind it, and needed once

        file = self.folder / "sample.flac"
        try:
            await self._run(tone_arguments(find_programs(self.environment).ffmpeg, file))
            await self._run([*self.ingest, str(file), "--title", TITLE, "--script-id", SCRIPT_ID])
        except ProgramsMissing as error:
            raise SampleFailed(str(error)) from None
        finally:
            file.unlink(missing_ok=True)

    async def _run(self, arguments: Sequence[str]) -> None:
        try:
            code, said = await run_to_end(arguments, self.environment, timeout_s=COMMAND_TIMEOUT_S)
        except TimeoutError:
            raise SampleFailed(f"{arguments[0]} took longer than {COMMAND_TIMEOUT_S:.0f} s.") from None
        if code != 0:
            raise SampleFailed(f"{arguments[0]} ended with exit code {code}:\n{said}")

    async def _until_ready(self, session: aiohttp.ClientSession) -> None:
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                while True:
                    script = await self._script(session) or {}
                    if script.get("status") == "ready":
                        return
                    if script.get("status") == "failed":
                        raise SampleFailed(f"it could not be prepared: {script.get('error')}")
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise SampleFailed(f"it is not ready after {READY_TIMEOUT_S:.0f} s; see the worker's log.") from None

    async def _script(self, session: aiohttp.ClientSession) -> dict[str, Any] | None:
        """What the server knows of the script; None where it has none."""
        url = f"{self.server_url}/api/v1/audio/scripts/{SCRIPT_ID}"
        try:
            async with session.get(url, headers={"Authorization": f"Bearer {self.token}"}) as response:
                if response.status == 404:
                    return None
                if response.status != 200:
                    raise SampleFailed(f"the server answered {response.status}: {await response.text()}")
                found: dict[str, Any] = await response.json()
                return found
        except (aiohttp.ClientError, TimeoutError) as error:
            raise SampleFailed(f"the server does not answer: {error or 'not in time'}") from None
