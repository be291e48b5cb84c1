"""Processes killed with SIGKILL under the traffic of real clients: nothing acked is lost, nothing is counted twice.

What is checked after each kill is in `loadtests/chaos/checks.py`. One system for all tests here: each brings listeners
of its own.
"""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from loadtests.chaos.drill import Drill, drilling
from loadtests.chaos.system import System, running
from loadtests.chaos.traffic import Plan

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(240),
    # a connection that a client had begun when it was given up: seen once, on a busy machine
    pytest.mark.filterwarnings("ignore:Exception ignored in. <function Connection.__del__"),
]

LISTENERS = 5
HURRY = 0.2
"""The clients' waits are jittered, and here at the short end: a test need not be kind to the servers."""
ALWAYS = (
    *("server", "flusher_in_batch", "valkey", "postgres", "server", "flusher_after_commit", "valkey"),
    *("flusher_in_batch", "server", "postgres", "flusher_after_commit", "valkey", "server"),
)
EVERYSEC = (
    *("valkey", "valkey_tail", "server", "valkey_tail_quiet", "flusher_in_batch"),
    *("valkey_tail", "postgres", "valkey_tail_quiet"),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(run_folder: Path) -> AsyncIterator[System]:
    async with running(Path(tempfile.mkdtemp(prefix="faults-", dir=run_folder)), "always") as started:
        yield started


def explained(wrong: list[str], drill: Drill) -> str:
    return "\n".join([*wrong[:10], drill.record.stories(wrong), drill.system.logs()])


async def test_no_kill_loses_what_was_acked_when_the_store_syncs_always(system: System) -> None:
    async with drilling(system, Plan(seed=1, listeners=LISTENERS, hurry=HURRY)) as drill:
        wrong = await drill.run(ALWAYS)
        assert wrong == [], explained(wrong, drill)
        # the faults have met traffic, and the checks had something to look at
        assert drill.record.resent > 0 and drill.rows_checked > 0
        assert drill.record.losses == []


async def test_a_store_that_syncs_every_second_loses_the_last_2_s_at_most_and_says_so(system: System) -> None:
    await system.sync_valkey("everysec")
    async with drilling(system, Plan(seed=2, listeners=LISTENERS, hurry=HURRY)) as drill:
        wrong = await drill.run(EVERYSEC)
        assert wrong == [], explained(wrong, drill)
        assert drill.record.resent > 0
