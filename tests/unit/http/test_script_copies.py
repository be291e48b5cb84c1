"""Rows that media are served from: how often PostgreSQL is asked for one, and what holds while it is away."""

import asyncio

import pytest

from playhead.db import DatabaseUnavailable, Script
from playhead.http.script_copies import COPIES_MAX, COPY_MS, TRY_AGAIN_MS, ScriptCopies
from tests.support.sessions import SetClock, make_script
from tests.support.states import OTHER_SCRIPT_ID

SCRIPT = make_script()
OTHER = make_script(OTHER_SCRIPT_ID)


class Rows:
    """Those that PostgreSQL has, `read` so often; `away`: it refuses; `silent`: no answer comes before that is set."""

    def __init__(self, *scripts: Script) -> None:
        self.scripts = {(script.script_id, script.media_version): script for script in scripts}
        self.read = 0
        self.away = False
        self.silent: asyncio.Event | None = None

    async def __call__(self, script_id: str, media_version: str) -> Script | None:
        self.read += 1
        if self.silent is not None:
            await self.silent.wait()
        if self.away:
            raise DatabaseUnavailable("PostgreSQL is away.")
        return self.scripts.get((script_id, media_version))


class Served:
    def __init__(self) -> None:
        self.rows = Rows(SCRIPT, OTHER)
        self.clock = SetClock()
        self.copies = ScriptCopies(self.rows, self.clock)

    async def version(self, script: Script = SCRIPT) -> Script | None:
        return await self.copies.version(script.script_id, script.media_version)

    async def reads(self, script: Script = SCRIPT) -> int:
        """How often PostgreSQL is asked for it now; it is served in any case."""
        before = self.rows.read
        assert await self.version(script) == script
        return self.rows.read - before


@pytest.fixture
def served() -> Served:
    return Served()


async def test_a_row_is_read_once_a_second_however_much_is_asked_for(served: Served) -> None:
    assert await asyncio.gather(*(served.version() for _ in range(20))) == [SCRIPT] * 20
    assert served.rows.read == 1 and await served.reads() == 0
    served.clock.advance(COPY_MS)
    assert await served.reads() == 1


async def test_a_script_that_was_deleted_is_gone_within_a_second(served: Served) -> None:
    await served.version()
    served.rows.scripts.clear()
    served.clock.advance(COPY_MS)
    assert await served.version() is None


async def test_with_postgresql_away_what_was_looked_up_is_served_for_hours_and_nothing_else(served: Served) -> None:
    await served.version()
    served.rows.away = True
    served.clock.advance(36 * 3_600_000)
    assert await served.version() == SCRIPT
    with pytest.raises(DatabaseUnavailable):
        await served.version(OTHER)
    served.rows.away = False
    assert await served.version(OTHER) == OTHER


async def test_postgresql_that_is_away_is_tried_now_and_then_and_when_it_is_back_its_word_counts(
    served: Served,
) -> None:
    for script in (SCRIPT, OTHER):
        await served.version(script)
    served.rows.away = True
    served.clock.advance(COPY_MS)
    assert [await served.reads() for _ in range(3)] == [1, 0, 0]
    assert await served.reads(OTHER) == 0
    served.clock.advance(TRY_AGAIN_MS)
    assert [await served.reads(OTHER), await served.reads()] == [1, 0]
    served.rows.away = False
    served.rows.scripts.clear()
    served.clock.advance(TRY_AGAIN_MS)
    assert [await served.version(), await served.version(OTHER)] == [None, None]


async def test_nobody_waits_for_the_one_who_tries_a_postgresql_that_does_not_answer(served: Served) -> None:
    await served.version()
    served.rows.away = True
    served.clock.advance(COPY_MS)
    await served.version()
    served.rows.silent = asyncio.Event()
    served.clock.advance(TRY_AGAIN_MS)
    tries = asyncio.ensure_future(served.version())
    await asyncio.sleep(0)
    assert await served.reads() == 0 and not tries.done()
    served.rows.silent.set()
    assert await tries == SCRIPT


async def test_so_many_are_kept_and_no_more(served: Served) -> None:
    scripts = [make_script(str(number)) for number in range(COPIES_MAX + 1)]
    served.rows = Rows(*scripts)
    served.copies = ScriptCopies(served.rows, served.clock)
    for script in scripts:
        await served.version(script)
    assert await served.reads(scripts[1]) == 0
    assert await served.reads(scripts[0]) == 1
