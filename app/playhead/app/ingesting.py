"""`playhead ingest FILE`: takes in a file of this machine, as an upload over REST would."""

import asyncio
import uuid
from dataclasses import dataclass
from pathlib import Path

from playhead.app.databases import database
from playhead.app.errors import CommandFailed
from playhead.app.machine import check_storage, media_storage, upload_ingest
from playhead.db import Creation, ScriptRepository, Source, Visibility
from playhead.media import media_version, source_key
from playhead.runtime.settings import Settings
from playhead.storage import Storage
from playhead.transcode import Ingest, PrepareQueue, Refusal
from playhead.transcode.probe import ProbeFailed

READ_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalFile:
    """What is taken in, whose it is, and under which id."""

    path: Path
    title: str
    owner_id: str
    script_id: str
    visibility: Visibility


async def ingest_file(settings: Settings, file: LocalFile) -> int:
    """Stores, measures and queues the file, and prints the script's id. Raises CommandFailed and SettingsError."""
    storage = media_storage(settings)
    await check_storage(storage)
    async with database(settings) as opened:
        key = source_key(file.script_id, str(uuid.uuid4()))
        sources = {key}
        try:
            version = await _store(storage, key, file.path)
            source = await _measured(upload_ingest(settings, storage), key, version)
            if isinstance(source, Refusal):
                raise CommandFailed(f"{file.path} cannot be played: {source.reason}")
            sources.add(source.source_key)
            created = await ScriptRepository(opened).create(
                {"sub": file.owner_id},
                script_id=file.script_id,
                title=file.title,
                visibility=file.visibility,
                source=source,
            )
            if created.outcome in (Creation.CREATED, Creation.REPLACED):
                sources.clear()
        finally:
            for stored in sources:
                await storage.delete_prefix(stored)
        if created.outcome in (Creation.EXISTS, Creation.TAKEN):
            raise CommandFailed(f"There is another script {file.script_id}. Choose another --script-id or none.")
        await PrepareQueue(opened.jobs()).enqueue(file.script_id)
    print(file.script_id)
    return 0


async def _measured(ingest: Ingest, key: str, version: str) -> Source | Refusal:
    try:
        return await ingest(key, version)
    except ProbeFailed as error:
        raise CommandFailed(f"The file could not be measured: {error}") from None


async def _store(storage: Storage, key: str, path: Path) -> str:
    """Copies the file into the storage and answers its media version."""
    with await asyncio.to_thread(path.open, "rb") as content:
        async with storage.upload(key) as upload:
            while piece := await asyncio.to_thread(content.read, READ_BYTES):
                await upload.write(piece)
    return media_version(upload.sha256)
