"""The same file of one owner at the same moment: one script, and nobody waits for ever."""

import asyncio
from collections import Counter

import pytest

from playhead.db.errors import DatabaseUnavailable
from playhead.db.limits import CANCEL_TIMEOUT_S, COMMAND_TIMEOUT_S
from playhead.db.migrate import Connection
from playhead.db.script_rows import Creation
from playhead.db.scripts import ScriptRepository
from tests.integration.db.rows import SOURCE, listener, upload

AT_ONCE, ROUNDS = 4, 25
HOLD = "select pg_advisory_xact_lock(hashtextextended('same file' || $1::text || $2::text, 0))"
WAITING = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"


async def test_of_many_at_once_one_is_made_and_the_others_find_it(scripts: ScriptRepository) -> None:
    for _ in range(ROUNDS):
        owner = listener()
        uploads = [upload(scripts, owner, title=f"Number {number}", or_same_file=True) for number in range(AT_ONCE)]
        made = await asyncio.gather(*uploads)
        assert Counter(one.outcome for one in made) == {Creation.CREATED: 1, Creation.UNCHANGED: AT_ONCE - 1}
        [script] = {one.script for one in made}
        assert script is not None and await scripts.stored(script.script_id) == script


async def test_another_owner_an_own_id_other_listeners_and_another_file_make_another_script(
    scripts: ScriptRepository,
) -> None:
    owner = listener()
    made = [
        await upload(scripts, owner, or_same_file=True),
        await upload(scripts, listener(), or_same_file=True),
        await upload(scripts, owner),
        await upload(scripts, owner, visibility="private", or_same_file=True),
        await upload(scripts, owner, source_bytes=SOURCE.source_bytes + 1, or_same_file=True),
        await upload(scripts, owner, media_version="f" * 16, or_same_file=True),
    ]
    assert {one.outcome for one in made} == {Creation.CREATED}


async def test_a_script_that_failed_is_no_such_script(scripts: ScriptRepository) -> None:
    owner = listener()
    first = await upload(scripts, owner, or_same_file=True)
    assert first.script is not None
    await scripts.failed(first.script.script_id, "It went wrong.")
    again = await upload(scripts, owner, or_same_file=True)
    assert again.outcome is Creation.CREATED
    assert (await upload(scripts, owner, or_same_file=True)).script == again.script


async def test_a_turn_that_does_not_come_is_waited_for_as_long_as_any_lock_and_by_nobody_else(
    scripts: ScriptRepository, owner: Connection
) -> None:
    anna = listener()
    async with owner.transaction():
        await owner.execute(HOLD, anna["sub"], SOURCE.media_version)
        async with asyncio.timeout(4 * (COMMAND_TIMEOUT_S + CANCEL_TIMEOUT_S)):
            waiting = asyncio.create_task(upload(scripts, anna, or_same_file=True))
            for who, version in ((listener(), SOURCE.media_version), (anna, "f" * 16)):
                made = await upload(scripts, who, media_version=version, or_same_file=True)
                assert made.outcome is Creation.CREATED
            assert not waiting.done()
            with pytest.raises(DatabaseUnavailable):
                await waiting
        assert await owner.fetchval(WAITING) == 0
    assert (await upload(scripts, anna, or_same_file=True)).outcome is Creation.CREATED
