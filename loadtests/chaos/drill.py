"""Kill, look, and go on: every fault is followed by the checks of everything, while nobody presses anything.

traffic → kill → all goes on → quiet → the state store and every device → PostgreSQL, if the journal is empty → traffic
at the end the journal must become empty, and everything is checked once more
"""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random

import aiohttp

from loadtests.chaos.build import make_traffic
from loadtests.chaos.faults import Faults
from loadtests.chaos.inspection import Inspector
from loadtests.chaos.record import Record
from loadtests.chaos.system import System
from loadtests.chaos.traffic import Plan, Traffic

GLANCE_S = 0.2
"""How long a look waits for the journal: after some kills it is empty only when a dead flusher's batch is claimed."""


@dataclass(slots=True, kw_only=True)
class Drill:
    """Traffic on a running system, and who kills and checks it. Made by `drilling`."""

    system: System
    traffic: Traffic
    record: Record
    inspector: Inspector
    faults: Faults
    rows_checked: int = 0
    """Looks that found the journal empty."""

    async def run(self, kinds: Iterable[str]) -> list[str]:
        """Kills one after the other; answers what the looks found wrong, after the first kill that broke something."""
        for kind in kinds:
            if wrong := await self.kill(kind):
                return wrong
        return await self.end()

    async def kill(self, kind: str) -> list[str]:
        """One kill, and what the look after it found wrong."""
        await self.faults.kill(kind)
        wrong = await self.look()
        return [f"after kill {len(self.faults.done)}, {kind}: {text}" for text in wrong]

    async def look(self) -> list[str]:
        """What is wrong now."""
        await self.traffic.quiet()
        wrong = await self.inspector.check_store()
        if await self.inspector.flushed(GLANCE_S):
            wrong += await self.inspector.check_rows()
            self.rows_checked += 1
        self.traffic.resume()
        return wrong

    async def end(self) -> list[str]:
        """What is wrong when all is quiet and flushed."""
        await self.traffic.quiet()
        if not await self.inspector.flushed():
            return ["the journal does not become empty"]
        wrong = [*await self.inspector.check_store(), *await self.inspector.check_rows()]
        if dead := await self.inspector.dead_letters():
            wrong.append(f"{dead} entries are in the dead letters")
        if failed := self.record.refusals.get("internal"):
            wrong.append(f"{failed} commands were answered `internal`")
        return wrong


@asynccontextmanager
async def drilling(system: System, plan: Plan) -> AsyncIterator[Drill]:
    """Traffic by `plan`, begun; ended with the block."""
    record = Record()
    async with aiohttp.ClientSession() as http:
        traffic = make_traffic(system, plan, record, http)
        inspector = Inspector(system, traffic, record)
        faults = Faults(system, traffic, inspector, record, Random(plan.seed))
        try:
            await traffic.start()
            yield Drill(system=system, traffic=traffic, record=record, inspector=inspector, faults=faults)
        finally:
            await traffic.stop()
