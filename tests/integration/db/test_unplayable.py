"""What uploads leave of an owner: rows of those that could not be played, and how much the files of others have."""

import pytest

from playhead.db import scripts as rows
from playhead.db.limits import FAILED_KEPT_DAYS
from playhead.db.migrate import Connection
from playhead.db.pool import Claims, Database
from playhead.db.scripts import ScriptRepository
from tests.integration.db.rows import SOURCE, listener, new_id, upload, uploaded
from tests.integration.db.test_another_file import replaced


async def _failed(scripts: ScriptRepository, owner: Claims, script_id: str | None = None) -> str:
    script_id = script_id or new_id()
    await scripts.create_failed(owner, script_id=script_id, title="x", visibility="private", error="no audio")
    return script_id


async def _aged(owner: Connection, script_id: str, age: str) -> None:
    moved = f"created_at = created_at - interval '{age}', updated_at = updated_at - interval '{age}'"
    await owner.execute("alter table audio_scripts disable trigger audio_scripts_touch")
    await owner.execute(f"update audio_scripts set {moved} where id = $1", script_id)
    await owner.execute("alter table audio_scripts enable trigger audio_scripts_touch")


async def test_those_of_an_owner_are_counted_for_a_day(scripts: ScriptRepository, owner: Connection) -> None:
    anna = listener()
    ids = [await _failed(scripts, anna) for _ in range(3)]
    await _failed(scripts, listener())
    with_file = await uploaded(scripts, anna)
    await scripts.failed(with_file.script_id, "The worker died.")
    await uploaded(scripts, anna)
    assert await scripts.unplayable_until_s(anna["sub"], 4) is None
    assert await scripts.unplayable_until_s(anna["sub"], 3) == pytest.approx(24 * 3_600, abs=60)
    await _aged(owner, ids[0], "20 hours")
    assert await scripts.unplayable_until_s(anna["sub"], 3) == pytest.approx(4 * 3_600, abs=60)
    assert await scripts.unplayable_until_s(anna["sub"], 2) == pytest.approx(24 * 3_600, abs=60)
    await _aged(owner, ids[0], "4 hours 1 minute")
    assert await scripts.unplayable_until_s(anna["sub"], 3) is None


async def test_they_go_after_some_days_and_nothing_else_does(scripts: ScriptRepository, owner: Connection) -> None:
    anna = listener()
    old, young, again = [await _failed(scripts, anna) for _ in range(3)]
    ready, with_file = await uploaded(scripts, anna), await uploaded(scripts, anna)
    await scripts.failed(with_file.script_id, "The worker died.")
    await _failed(scripts, anna, again)
    for script_id in (old, again, ready.script_id, with_file.script_id):
        await _aged(owner, script_id, f"{FAILED_KEPT_DAYS} days 1 minute")
    await _aged(owner, young, f"{FAILED_KEPT_DAYS} days -1 minute")
    assert await scripts.forget_failed() == 1
    assert await scripts.forget_failed() == 0
    left = [young, again, ready.script_id, with_file.script_id]
    assert {script.script_id for script in await scripts.stored_of([old, *left])} == set(left)
    assert (await upload(scripts, anna, script_id=old)).script is not None, "its id is free"


async def test_so_many_go_at_once(
    scripts: ScriptRepository, owner: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "FAILED_FORGOTTEN_AT_ONCE", 2)
    anna = listener()
    for _ in range(3):
        await _aged(owner, await _failed(scripts, anna), f"{FAILED_KEPT_DAYS + 1} days")
    assert [await scripts.forget_failed() for _ in range(3)] == [2, 1, 0]


async def test_the_service_can_delete_no_other_script(database: Database, scripts: ScriptRepository) -> None:
    anna = listener()
    made, with_file, gone = await uploaded(scripts, anna), await uploaded(scripts, anna), await _failed(scripts, anna)
    await scripts.failed(with_file.script_id, "The worker died.")
    async with database.as_service() as connection:
        await connection.execute("delete from audio_scripts")
    left = await scripts.stored_of([made.script_id, with_file.script_id, gone])
    assert {script.script_id for script in left} == {made.script_id, with_file.script_id}


async def test_what_an_owner_keeps_is_the_sum_of_all_files_that_are_there(
    scripts: ScriptRepository, owner: Connection
) -> None:
    anna, size = listener(), SOURCE.source_bytes
    await uploaded(scripts)
    await _failed(scripts, anna)
    assert await scripts.kept_bytes_of(anna["sub"]) == 0
    first, broken = await uploaded(scripts, anna), await uploaded(scripts, anna, visibility="private")
    await scripts.failed(broken.script_id, "The worker died.")
    assert await scripts.kept_bytes_of(anna["sub"]) == 2 * size
    await replaced(scripts, anna, first, source_bytes=7)
    assert await scripts.kept_bytes_of(anna["sub"]) == 2 * size + 7, "the former one is kept for a while"
    gone = "update audio_former_versions set replaced_at = now() - interval '2 days', kept_until = now()"
    await owner.execute(f"{gone} where script_id = $1", first.script_id)
    assert await scripts.kept_bytes_of(anna["sub"]) == size + 7
