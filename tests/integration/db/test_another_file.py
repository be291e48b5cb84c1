"""Another file for a script that stands: which upload may, what becomes of the former file, and who is heard of it."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from playhead.db.limits import FORMER_VERSIONS_MAX
from playhead.db.migrate import Connection
from playhead.db.pool import Claims
from playhead.db.script_rows import Creation, Script, StoredParts
from playhead.db.script_uploads import KEPT_BEYOND_DURATION_S
from playhead.db.scripts import ScriptRepository
from tests.integration.db.rows import listener, new_id, upload, uploaded

OTHER = "f" * 16


class TestAnotherFile:
    """An upload that is to replace the file which the script had when it began."""

    async def test_it_takes_the_place_of_the_one_that_was_seen_and_that_one_is_kept(
        self, scripts: ScriptRepository
    ) -> None:
        owner = listener()
        first = await uploaded(scripts, owner)
        await scripts.claim(first.script_id)
        await scripts.ready(first.script_id)
        made = await replaced(scripts, owner, first)
        assert (made.status, made.progress, made.media_version) == ("queued", 0.0, OTHER)
        assert (made.created_at, made.owner_id) == (first.created_at, first.owner_id)
        [former] = await scripts.former_versions(first.script_id)
        kept_s = (former.kept_until - datetime.now(UTC)).total_seconds()
        assert kept_s == pytest.approx(first.duration_ms / 1_000 + KEPT_BEYOND_DURATION_S, abs=60)
        version = await scripts.version(first.script_id, first.media_version)
        assert version == former.script
        assert version is not None and (version.status, version.source_key) == ("ready", first.source_key)
        assert (version.source_samples, version.source_start_s) == (first.source_samples, first.source_start_s)
        assert await scripts.version(first.script_id, OTHER) == made
        assert await scripts.version(first.script_id, "1" * 16) is None

    async def test_of_two_that_saw_the_same_file_one_wins(self, scripts: ScriptRepository) -> None:
        owner = listener()
        first = await uploaded(scripts, owner)
        answers = await asyncio.gather(
            *(
                upload(
                    scripts, owner, script_id=first.script_id, replaces=first.media_version, media_version=digit * 16
                )
                for digit in "abcd"
            )
        )
        outcomes = [answer.outcome for answer in answers]
        assert (outcomes.count(Creation.REPLACED), outcomes.count(Creation.EXISTS)) == (1, 3)
        standing = await scripts.stored(first.script_id)
        assert standing == next(answer.script for answer in answers if answer.outcome is Creation.REPLACED)

    async def test_what_cannot_be_played_replaces_nothing(self, scripts: ScriptRepository) -> None:
        owner = listener()
        first = await uploaded(scripts, owner)
        failed = await scripts.create_failed(
            owner, script_id=first.script_id, title="x", visibility="private", error="no audio"
        )
        assert (failed.outcome, failed.script) == (Creation.EXISTS, first)

    async def test_a_word_for_the_former_file_is_not_heard(self, scripts: ScriptRepository) -> None:
        owner = listener()
        first = await uploaded(scripts, owner)
        await scripts.claim(first.script_id)
        await replaced(scripts, owner, first)
        await scripts.claim(first.script_id)
        said: dict[str, Any] = {"attempt": 1, "media_version": first.media_version}
        assert not await scripts.progress(first.script_id, 0.9, **said)
        assert not await scripts.ready(first.script_id, **said)
        assert not await scripts.failed(first.script_id, "It went wrong.", **said)
        assert not await scripts.give_back(first.script_id, **said)
        assert await scripts.ready(first.script_id, **{**said, "media_version": OTHER})

    async def test_the_first_file_again_is_former_no_more(self, scripts: ScriptRepository) -> None:
        owner = listener()
        first = await uploaded(scripts, owner)
        second = await replaced(scripts, owner, first)
        third = await upload(scripts, owner, script_id=first.script_id, replaces=OTHER, source_key="sources/again")
        assert third.outcome is Creation.REPLACED and third.script is not None
        versions = [former.script.media_version for former in await scripts.former_versions(first.script_id)]
        assert versions == [second.media_version]
        assert await scripts.version(first.script_id, first.media_version) == third.script

    async def test_a_cancelled_one_is_kept_too_and_one_without_a_source_is_not(self, scripts: ScriptRepository) -> None:
        owner = listener()
        first = await uploaded(scripts, owner)
        await scripts.failed(first.script_id, "Cancelled.")
        await replaced(scripts, owner, first)
        assert len(await scripts.former_versions(first.script_id)) == 1
        script_id = new_id()
        await scripts.create_failed(owner, script_id=script_id, title="x", visibility="private", error="no audio")
        assert (await upload(scripts, owner, script_id=script_id)).outcome is Creation.REPLACED
        assert await scripts.former_versions(script_id) == ()

    async def test_so_many_are_kept_and_no_more(self, scripts: ScriptRepository, owner: Connection) -> None:
        anna = listener()
        standing = await uploaded(scripts, anna)
        for number in range(FORMER_VERSIONS_MAX):
            standing = await replaced(scripts, anna, standing, media_version=f"{number:016x}")
        more = await upload(
            scripts, anna, script_id=standing.script_id, replaces=standing.media_version, media_version=OTHER
        )
        assert (more.outcome, more.script) == (Creation.TOO_MANY, standing)
        await _kept_for_long(owner, standing.script_id, versions=1)
        await replaced(scripts, anna, standing)
        assert len(await scripts.former_versions(standing.script_id)) == FORMER_VERSIONS_MAX

    async def test_after_its_time_nobody_has_it_any_more(self, scripts: ScriptRepository, owner: Connection) -> None:
        anna = listener()
        first = await uploaded(scripts, anna)
        await replaced(scripts, anna, first, source_key="sources/two")
        parts = (await scripts.stored_parts([first.script_id]))[first.script_id]
        assert parts == StoredParts(
            versions=frozenset((first.media_version, OTHER)), keys=frozenset(("sources/one", "sources/two"))
        )
        await _kept_for_long(owner, first.script_id, versions=1)
        assert await scripts.version(first.script_id, first.media_version) is None
        assert await scripts.former_versions(first.script_id) == ()
        parts = (await scripts.stored_parts([first.script_id]))[first.script_id]
        assert parts == StoredParts(versions=frozenset((OTHER,)), keys=frozenset(("sources/two",)))
        assert await scripts.forget_former() >= 1
        assert await scripts.forget_former() == 0

    async def test_those_that_are_kept_can_be_kept_for_as_long_as_one_that_is_replaced_now(
        self, scripts: ScriptRepository, owner: Connection
    ) -> None:
        anna = listener()
        first = await uploaded(scripts, anna)
        second = await replaced(scripts, anna, first)
        await _kept_for_long(owner, first.script_id, versions=1)
        await replaced(scripts, anna, second, media_version="e" * 16)
        moved = "replaced_at = replaced_at - interval '5 hours', kept_until = kept_until - interval '5 hours'"
        await owner.execute(f"update audio_former_versions set {moved} where script_id = $1", first.script_id)
        [before] = await scripts.former_versions(first.script_id)
        for _ in range(2):
            await scripts.keep_former_longer(first.script_id)
            [after] = await scripts.former_versions(first.script_id)
            assert after.script == before.script and after.script.media_version == OTHER, "which of them was kept still"
            kept_s = (after.kept_until - before.kept_until).total_seconds()
            assert kept_s == pytest.approx(5 * 3_600, abs=60)
        await scripts.keep_former_longer(new_id())


async def replaced(scripts: ScriptRepository, owner: Claims, script: Script, **changed: Any) -> Script:
    fields = {"media_version": OTHER, **changed}
    made = await upload(scripts, owner, script_id=script.script_id, replaces=script.media_version, **fields)
    assert made.outcome is Creation.REPLACED and made.script is not None
    return made.script


async def _kept_for_long(database_owner: Connection, script_id: str, versions: int) -> None:
    """As if so many of its former versions, the oldest, had been kept for long enough."""
    await database_owner.execute(
        """
        update audio_former_versions
        set replaced_at = now() - interval '2 days', kept_until = now() - interval '1 second'
        where (script_id, media_version) in (
            select script_id, media_version from audio_former_versions
            where script_id = $1 order by replaced_at limit $2
        )
        """,
        script_id,
        versions,
    )
