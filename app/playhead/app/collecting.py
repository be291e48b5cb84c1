"""`playhead gc`: removes from the storage what no script needs, as the worker does every hour; or only shows it."""

from playhead.app.databases import database
from playhead.app.errors import CommandFailed
from playhead.app.machine import check_storage, media_storage
from playhead.db import ScriptRepository
from playhead.runtime.settings import Settings
from playhead.transcode import Collector, GarbageRefused


async def collect(settings: Settings, *, grace_s: float, dry_run: bool, even_if_most: bool) -> int:
    """Prints what goes, one a line. Raises SettingsError, CommandFailed, StorageFailed and DatabaseUnavailable."""
    storage = media_storage(settings)
    objects = size_bytes = 0
    refused = None
    async with database(settings) as opened:
        scripts = ScriptRepository(opened)
        await check_storage(storage, scripts)
        collector = Collector(storage, scripts, grace_s=grace_s)
        try:
            async for found in collector.round(None, dry_run=dry_run, even_if_most=even_if_most):
                print(f"{found.key}\t{found.objects} objects\t{found.size_bytes} bytes", flush=True)
                objects += found.objects
                size_bytes += found.size_bytes
        except GarbageRefused as error:
            refused = error
    if dry_run:
        print(f"Would remove {objects} objects with {size_bytes} bytes.", *([] if refused is None else [refused]))
        return 0
    files = await storage.remove_abandoned()
    print(f"Removed {objects} objects with {size_bytes} bytes, and {files} unfinished files.")
    if refused is not None:
        raise CommandFailed(str(refused))
    return 0
