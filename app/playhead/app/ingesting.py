"""`playhead ingest FILE`: takes in a file of this machine, as an upload over REST would."""

import asyncio
import uuid
from dataclasses import dataclass
from pathlib import Path

from playhead.app.databases import database
from playhead.app.errors import CommandFailed
from playhead.app.machine import check_storage, media_storage, upload_ingest
from playhead.db import Creation, DatabaseUnavailable, Script, ScriptRepository, Source, Visibility
from playhead.media import media_version, source_key
from playhead.runtime.settings import Settings
from playhead.storage import Storage, Upload
from playhead.transcode import Ingest, PrepareQueue, ProbeFailed, Refusal

READ_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFile:
    """What is taken in, whose it is, and under which id (None: a new one, or that of the same file).

    `title` None: what the file says, else its name.
    """

    path: Path
    title: str | None
    owner_id: str
    script_id: str | None
    visibility: Visibility


async def ingest_file(settings: Settings, file: LocalFile) -> int:
    """Stores, measures and queues the file, and prints the script's id. Raises CommandFailed and SettingsError."""
    storage = media_storage(settings)
    async with database(settings) as opened:
        scripts, script_id = ScriptRepository(opened), file.script_id or str(uuid.uuid4())
        await check_storage(storage, scripts)
        key = source_key(script_id, str(uuid.uuid4()))
        sources = {key}
        try:
            upload = await _store(storage, key, file.path)
            version = media_version(upload.sha256)
            if known := await _known(scripts, file, version, upload.size_bytes):
                print(known.script_id)
                return 0
            source = await _measured(upload_ingest(settings, storage), key, version)
            if isinstance(source, Refusal):
                raise CommandFailed(f"{file.path} cannot be played: {source.reason}")
            sources |= source.keys
            before = await _before(scripts, file)
            try:
                created = await scripts.create(
                    {"sub": file.owner_id},
                    script_id=script_id,
                    title=file.title or source.tags.title or (file.path.stem if before is None else before.title),
                    visibility=file.visibility,
                    source=source,
                    replaces=None if before is None else before.media_version,
                    or_same_file=file.script_id is None,
                )
            except DatabaseUnavailable:
                sources.clear()  # its row may be there all the same
                raise
            if created.outcome in (Creation.CREATED, Creation.REPLACED):
                sources.clear()
        finally:
            for stored in sources:
                await storage.delete_prefix(stored)
        if created.script is None or created.outcome is Creation.EXISTS:
            raise CommandFailed(f"There is another script {script_id}. Choose another --script-id or none.")
        if created.outcome is Creation.TOO_MANY:
            raise CommandFailed(f"The script {script_id} has had too many other files lately. Try again in some hours.")
        script_id = created.script.script_id
        await PrepareQueue(opened.jobs()).enqueue(script_id)
    print(script_id)
    return 0


async def _measured(ingest: Ingest, key: str, version: str) -> Source | Refusal:
    try:
        return await ingest(key, version)
    except ProbeFailed as error:
        raise CommandFailed(f"The file could not be measured: {error}") from None


async def _before(scripts: ScriptRepository, file: LocalFile) -> Script | None:
    """The owner's script that gets another file."""
    found = None if file.script_id is None else await scripts.stored(file.script_id)
    return found if found is not None and found.owner_id == file.owner_id else None


async def _known(scripts: ScriptRepository, file: LocalFile, version: str, size_bytes: int) -> Script | None:
    """What the same file has become before, if no other id is asked for."""
    if file.script_id is not None:
        return None
    return await scripts.same_file(file.owner_id, version, size_bytes, file.visibility)


async def _store(storage: Storage, key: str, path: Path) -> Upload:
    """Copies the file into the storage and answers its size and hash."""
    with await asyncio.to_thread(path.open, "rb") as content:
        async with storage.upload(key) as upload:
            while piece := await asyncio.to_thread(content.read, READ_BYTES):
                await upload.write(piece)
    return upload
