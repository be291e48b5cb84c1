"""Whether there are files to miss: asked of a database that holds nothing yet."""

from playhead.db.scripts import ScriptRepository
from tests.integration.db.rows import listener, new_id, uploaded


async def test_files_are_known_of_once_there_is_one_that_can_be_heard(scripts: ScriptRepository) -> None:
    await scripts.create_failed(listener(), script_id=new_id(), title="No sound", visibility="private", error="None.")
    assert not await scripts.any_source()
    await uploaded(scripts)
    assert await scripts.any_source()
