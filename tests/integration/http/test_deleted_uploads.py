"""An upload that is deleted while it becomes a script: one of both comes first, and who deletes it is told which."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from playhead.db import CreatedScript, Creation, Database, DatabaseUnavailable, ScriptRepository, Source
from playhead.http import Services, Unplayable
from playhead.http.unfinished_uploads import BLOCKS, Declared, Finished, Unfinished, UnfinishedUploads
from playhead.media import uploads_prefix
from playhead.storage import LocalStorage, StorageFailed
from tests.integration.http.resuming import BLOCK_BYTES, another_server, asked, at, begun, owned, put, stored
from tests.integration.http.uploading import files
from tests.integration.http.world import World, new_id
from tests.support.clocks import SystemClock

pytestmark = pytest.mark.usefixtures("small_blocks")

DEADLINE_S = 10.0


class Held:
    """Something that waits where it is until it may go on."""

    def __init__(self) -> None:
        self._reached, self.go_on = asyncio.Event(), asyncio.Event()

    async def reached(self) -> None:
        async with asyncio.timeout(DEADLINE_S):
            await self._reached.wait()

    async def wait(self) -> None:
        self._reached.set()
        async with asyncio.timeout(DEADLINE_S):
            await self.go_on.wait()


class Measuring(Held):
    """The real measuring, which has come to its end."""

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._ingest = services.ingest

    async def __call__(self, source_key: str, source_bytes: int, media_version: str) -> Source | Unplayable:
        measured = await self._ingest(source_key, source_bytes, media_version)
        await self.wait()
        return measured


class Writing(ScriptRepository):
    """Rows that are about to be written; the first time not, where it is told so."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.held = Held()
        self.refusals: list[Creation | Exception] = []

    async def create(self, *positional: Any, **named: Any) -> CreatedScript:
        await self.held.wait()
        if self.refusals:
            refusal = self.refusals.pop()
            if isinstance(refusal, Exception):
                raise refusal
            return CreatedScript(outcome=refusal, script=None)
        return await super().create(*positional, **named)


@asynccontextmanager
async def deleting(world: World, same: bool) -> AsyncIterator[World]:
    """The server that is asked to delete: the one that makes the script, or another one."""
    if same:
        yield world
        return
    async with another_server(world.services) as other:
        yield other


@pytest.mark.parametrize("same", [True, False], ids=["the same server", "another server"])
class TestDeleting:
    @pytest.mark.parametrize("audio", [True, False], ids=["audio", "no audio"])
    async def test_while_it_is_measured_it_goes_and_no_script_appears(
        self, services: Services, mp3: bytes, media_folder: Path, same: bool, audio: bool
    ) -> None:
        measuring, body = Measuring(services), mp3 if audio else b"no audio at all, " * 500
        async with another_server(replace(services, ingest=measuring)) as world, deleting(world, same) as other:
            anna = world.listener()
            upload_id = await begun(anna, body)
            sending = asyncio.create_task(put(anna, upload_id, body))
            await measuring.reached()
            assert (await at(other, anna).delete(f"/uploads/{upload_id}")).status == 204
            measuring.go_on.set()
            reply = await sending
            assert (reply.status, reply.code) == (404, "not_found")
            assert (await anna.get(f"/uploads/{upload_id}")).status == 404
            assert await owned(anna) == []
        assert files(media_folder) == []

    async def test_while_it_is_measured_the_script_that_it_should_replace_stays(
        self, services: Services, mp3: bytes, same: bool
    ) -> None:
        measuring = Measuring(services)
        async with another_server(replace(services, ingest=measuring)) as world, deleting(world, same) as other:
            anna = world.listener()
            before = await world.script(anna)
            upload_id = await begun(anna, mp3, script_id=before.script_id)
            sending = asyncio.create_task(put(anna, upload_id, mp3))
            await measuring.reached()
            assert (await at(other, anna).delete(f"/uploads/{upload_id}")).status == 204
            measuring.go_on.set()
            assert (await sending).status == 404
            assert await world.scripts.stored(before.script_id) == before

    async def test_when_its_script_is_written_it_stays_and_becomes_it(
        self, services: Services, database: Database, mp3: bytes, media_folder: Path, same: bool
    ) -> None:
        writing = Writing(database)
        async with another_server(replace(services, scripts=writing)) as world, deleting(world, same) as other:
            anna = world.listener()
            upload_id = await begun(anna, mp3)
            sending = asyncio.create_task(put(anna, upload_id, mp3))
            await writing.held.reached()
            reply = await at(other, anna).delete(f"/uploads/{upload_id}")
            assert (reply.status, reply.code) == (409, "conflict")
            writing.held.go_on.set()
            made = await sending
            assert (made.status, await owned(anna)) == (201, [made.json["script_id"]])
            assert (await asked(anna, upload_id, len(mp3))).json == made.json
            assert (await at(other, anna).delete(f"/uploads/{upload_id}")).status == 204, "it is forgotten"
            row = await world.scripts.stored(made.json["script_id"])
            assert row is not None and files(media_folder) == [row.source_key]

    @pytest.mark.parametrize(
        ("refusal", "status"),
        [(Creation.TOO_MANY, 204), (DatabaseUnavailable("was it written?"), 409)],
        ids=["none was written", "one may be written"],
    )
    async def test_after_its_script_was_not_written_it_can_be_deleted_where_that_is_certain(
        self,
        services: Services,
        database: Database,
        mp3: bytes,
        media_folder: Path,
        same: bool,
        refusal: Creation | Exception,
        status: int,
    ) -> None:
        writing = Writing(database)
        writing.held.go_on.set()
        writing.refusals = [refusal]
        async with another_server(replace(services, scripts=writing)) as world, deleting(world, same) as other:
            anna = world.listener()
            upload_id = await begun(anna, mp3)
            assert (await put(anna, upload_id, mp3)).status == 503
            assert (await at(other, anna).delete(f"/uploads/{upload_id}")).status == status
            again = await asked(at(other, anna), upload_id, len(mp3))
            assert again.status == (404 if status == 204 else 201)
        assert len(stored(media_folder)) == (0 if status == 204 else 2), "a source in doubt is kept for a day"


class DeletesTheWordFirst(LocalStorage):
    """A storage whose listing begins with the word that the upload is deleted, and that is slow then."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.held = Held()

    async def delete_prefix(self, prefix: str) -> int:
        deleted = 0
        if (
            prefix.startswith("uploads/")
            and not prefix.endswith("/declared")
            and await super().delete_prefix(f"{prefix}/fate")
        ):
            deleted = 1
            await self.held.wait()
        return deleted + await super().delete_prefix(prefix)


async def test_no_script_is_made_when_the_word_has_gone_and_the_rest_goes(
    services: Services, mp3: bytes, media_folder: Path
) -> None:
    measuring, slow = Measuring(services), DeletesTheWordFirst(media_folder)
    async with (
        another_server(replace(services, ingest=measuring)) as world,
        another_server(replace(services, storage=slow)) as deleting,
    ):
        anna = world.listener()
        upload_id = await begun(anna, mp3)
        sending = asyncio.create_task(put(anna, upload_id, mp3))
        await measuring.reached()
        deletion = asyncio.create_task(at(deleting, anna).delete(f"/uploads/{upload_id}"))
        await slow.held.reached()
        measuring.go_on.set()
        assert (await sending).status == 404
        slow.held.go_on.set()
        assert (await deletion).status == 204
        assert await owned(anna) == []
    assert files(media_folder) == []


class DiesDeleting(LocalStorage):
    """A process that ends after its word that it deletes something."""

    async def delete_prefix(self, prefix: str) -> int:
        raise StorageFailed("the process is gone")


async def test_who_dies_while_it_deletes_leaves_nothing_of_which_a_script_is_made(
    services: Services, mp3: bytes, media_folder: Path
) -> None:
    measuring = Measuring(services)
    async with (
        another_server(replace(services, ingest=measuring)) as world,
        another_server(replace(services, storage=DiesDeleting(media_folder))) as dying,
    ):
        anna = world.listener()
        upload_id = await begun(anna, mp3, script_id=new_id())
        sending = asyncio.create_task(put(anna, upload_id, mp3))
        await measuring.reached()
        assert (await at(dying, anna).delete(f"/uploads/{upload_id}")).status == 503
        measuring.go_on.set()
        assert (await sending).status == 404
        assert await owned(anna) == []
        assert (await anna.delete(f"/uploads/{upload_id}")).status == 204, "by who asks again"
    assert files(media_folder) == []


async def _once(piece: bytes) -> AsyncIterator[bytes]:
    yield piece


class LooksBetween(LocalStorage):
    """Removes an upload's blocks before what else is there, as any storage may, and looks at it in between."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.uploads = UnfinishedUploads(self, SystemClock())
        self.seen: list[Unfinished | None] = []

    async def delete_prefix(self, prefix: str) -> int:
        deleted = 0
        if prefix == uploads_prefix("owner", "upload"):
            deleted = await super().delete_prefix(f"{prefix}/{BLOCKS}")
            self.seen.append(await self.uploads.find("owner", "upload"))
        return deleted + await super().delete_prefix(prefix)


@pytest.mark.parametrize("how", ["finished", "deleted"])
async def test_who_looks_while_the_blocks_of_an_upload_go_finds_none_and_not_one_that_begins_anew(
    tmp_path: Path, how: str
) -> None:
    storage = LooksBetween(tmp_path)
    block = b"x" * BLOCK_BYTES
    declared = Declared(
        script_id=new_id(),
        own_id=True,
        title=None,
        visibility="listeners",
        size=len(block),
        sha256=None,
        block_bytes=BLOCK_BYTES,
    )
    await storage.uploads.begin("owner", "upload", declared)
    begun_upload = await storage.uploads.find("owner", "upload")
    assert begun_upload is not None
    await begun_upload.blocks.append(0, _once(block))
    if how == "deleted":
        assert await storage.uploads.abandon("owner", "upload")
    else:
        await storage.uploads.finish(
            "owner", "upload", Finished(declared=declared, status=201, script_id=None, problem=None)
        )
    assert storage.seen == [None]
