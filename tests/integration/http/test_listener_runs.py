"""What is encoded for one listener at once is bounded, by whatever addresses it is asked for."""

import asyncio
from urllib.parse import urlsplit

import pytest

from playhead.db import Script
from playhead.media import FIRST_RUNG
from playhead.transcode.demand import LISTENER_RUNS_MAX, Demand
from playhead.transcode.demand_run import RUN_SEGMENTS, DemandRun
from tests.integration.http.world import Caller, World

DEADLINE_S = 10.0


@pytest.fixture
def demand(world: World, monkeypatch: pytest.MonkeyPatch) -> Demand:
    """Encoders that are busy for good."""

    async def busy(_run: DemandRun) -> str:
        await asyncio.Event().wait()
        raise AssertionError

    demand: Demand = world.services.on_demand._demand  # type: ignore[attr-defined]
    monkeypatch.setattr(demand._making, "carry_out", busy)
    monkeypatch.setattr(demand, "_wait_s", DEADLINE_S)
    return demand


class Asking:
    """Segments that are asked for and awaited."""

    def __init__(self, demand: Demand) -> None:
        self._demand = demand
        self._asked: list[asyncio.Task[int]] = []
        self._places = RUN_SEGMENTS  # what a `play` has made beforehand is for everybody

    async def waits(self, caller: Caller, address: str) -> bool:
        """Whether a run is begun for it; False: it is refused at once."""
        runs, place = len(self._demand._tasks), self._places
        self._places += RUN_SEGMENTS
        path = f"{urlsplit(address).path.rpartition('/')[0]}/{FIRST_RUNG.name}/{place}.m4s"

        async def status() -> int:
            return (await caller.get(path)).status

        self._asked.append(asyncio.create_task(status()))
        async with asyncio.timeout(DEADLINE_S / 2):
            while len(self._demand._tasks) == runs and not self._asked[-1].done():
                await asyncio.sleep(0.01)
        assert not self._asked[-1].done() or self._asked[-1].result() == 503
        return not self._asked[-1].done()

    async def end(self) -> None:
        await self._demand.stop()
        await asyncio.gather(*self._asked)


async def _address(caller: Caller, script: Script) -> str:
    return str((await caller.get(f"/stream/{script.script_id}")).json["stream_url"])


async def test_addresses_of_sessions_and_of_none_count_together(world: World, demand: Demand) -> None:
    anna, boris, asking = world.listener(scopes=("scripts:write",)), world.listener(), Asking(demand)
    scripts = [await world.script(anna, visibility="listeners") for _ in range(3)]
    played = [(await anna.play(script.script_id))["stream_url"] for script in scripts[:2]]
    addresses = [*played, *[await _address(anna, script) for script in scripts]]
    begun = [await asking.waits(anna, address) for address in addresses]
    assert begun == [True] * LISTENER_RUNS_MAX + [False] * (len(addresses) - LISTENER_RUNS_MAX)
    assert not await asking.waits(anna, await _address(anna, scripts[0])), "another address of the same listener"
    assert await asking.waits(boris, await _address(boris, scripts[0]))
    assert await asking.waits(boris, (await boris.play(scripts[0].script_id))["stream_url"])
    await asking.end()


async def test_addresses_of_an_earlier_release_count_by_their_session(world: World, demand: Demand) -> None:
    anna, asking = world.listener(), Asking(demand)
    script = await world.script(anna)
    prefix, ends_s = f"/t/{script.script_id}/{script.media_version}/", world.services.clock.now_ms() // 1_000 + 60
    first, second, of_none = (
        world.services.signer.sign(prefix, ends_s, session_id) + "master.m3u8" for session_id in ("1", "2", None)
    )
    assert [await asking.waits(anna, first) for _ in range(5)] == [True] * LISTENER_RUNS_MAX + [False]
    assert await asking.waits(anna, second)
    assert [await asking.waits(anna, of_none) for _ in range(5)] == [True] * 5
    await asking.end()
