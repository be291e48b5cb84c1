"""Who may hear a file that gave way to another one: whoever writes it down, this release or the one before."""

from pathlib import Path

import pytest

from playhead.db.migrate import MIGRATIONS, Connection, migrate, owner_connection
from playhead.db.script_rows import SOURCE_COLUMNS, Visibility
from playhead.db.scripts import ScriptRepository
from tests.integration.db.rows import listener, new_id, uploaded
from tests.integration.db.test_another_file import replaced

NOTED = "20261127000100_former_visibility.sql"
_KEPT = ", ".join((*SOURCE_COLUMNS, "integrated_lufs", "true_peak_dbtp"))
KEEP_AS_BEFORE = f"""
insert into audio_former_versions (script_id, {_KEPT}, kept_until)
select id, {_KEPT}, now() + interval '13 hours' from audio_scripts where id = $1
"""
KEEP_LONGER_AS_BEFORE = f"""
with former as (delete from audio_former_versions where script_id = $1 returning *)
insert into audio_former_versions (script_id, {_KEPT}, replaced_at, kept_until)
select script_id, {_KEPT}, replaced_at, kept_until from former
"""
"""As the release before this one wrote them, which may run beside it."""


@pytest.mark.parametrize("visibility", ["private", "listeners"])
@pytest.mark.parametrize("now", ["private", "listeners"])
async def test_it_stays_as_it_was_also_when_it_is_kept_longer(
    scripts: ScriptRepository, visibility: Visibility, now: Visibility
) -> None:
    owner = listener()
    first = await uploaded(scripts, owner, visibility=visibility)
    await replaced(scripts, owner, first, visibility=now)
    for _ in range(2):
        [former] = await scripts.former_versions(first.script_id)
        version = await scripts.version(first.script_id, first.media_version)
        assert version == former.script
        assert former.script.visibility == visibility
        await scripts.keep_former_longer(first.script_id)


@pytest.mark.parametrize("visibility", ["private", "listeners"])
async def test_what_the_release_before_keeps_is_noted_for_it(
    scripts: ScriptRepository, owner: Connection, visibility: Visibility
) -> None:
    script = await uploaded(scripts, visibility=visibility)
    await owner.execute(KEEP_AS_BEFORE, script.script_id)
    await owner.execute("update audio_scripts set visibility = 'listeners' where id = $1", script.script_id)
    assert await _noted(owner, script.script_id) == visibility
    await owner.execute(KEEP_LONGER_AS_BEFORE, script.script_id)
    assert await _noted(owner, script.script_id) == "private", "nobody knows any more"


async def test_of_those_that_are_there_it_is_what_the_script_s_is(postgres_url: str, tmp_path: Path) -> None:
    for path in sorted(MIGRATIONS.glob("*.sql")):
        if path.name < NOTED:
            (tmp_path / path.name).write_text(path.read_text())
    await migrate(postgres_url, folder=tmp_path)
    async with owner_connection(postgres_url) as owner:
        ids: dict[str, str] = {visibility: new_id() for visibility in ("private", "listeners")}
        for visibility, script_id in ids.items():
            await owner.execute(
                f"""
                insert into audio_scripts (id, owner_id, title, visibility, {", ".join(SOURCE_COLUMNS)})
                values ($1, $1, 'A script', $2, 'a source', 1, 'mp3', 44100, 1, 0, 1, 1, '0123456789abcdef')
                """,
                script_id,
                visibility,
            )
            await owner.execute(KEEP_AS_BEFORE, script_id)
        assert NOTED in await migrate(postgres_url)
        assert {visibility: await _noted(owner, script_id) for visibility, script_id in ids.items()} == {
            "private": "private",
            "listeners": "listeners",
        }
        forced = "select bool_and(relforcerowsecurity) from pg_class where relname = any($1)"
        assert await owner.fetchval(forced, ["audio_scripts", "audio_former_versions"])


async def _noted(owner: Connection, script_id: str) -> str:
    noted: str = await owner.fetchval("select visibility from audio_former_versions where script_id = $1", script_id)
    return noted
