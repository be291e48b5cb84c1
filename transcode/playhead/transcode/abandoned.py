"""Uploads that come in parts, after nobody has gone on with them for a day, and what became of others.

    uploads/<owner>/<upload>     blocks and what was declared, if none of it is younger
    uploaded/<owner>/<upload>    what became of it

Servers find neither any more after UNFINISHED_KEPT_S; MARGIN_S later they are removed, when a part that had begun by
then has written a block, or has been ended for being too slow.
"""

from collections.abc import AsyncIterator

from playhead.media import UPLOADED, UPLOADS
from playhead.storage import UNFINISHED_KEPT_S, InvalidKey, Storage, checked

MARGIN_S = 900.0


async def abandoned_uploads(storage: Storage, now_s: float) -> AsyncIterator[tuple[str, int, int, float]]:
    """The prefix, number of objects, bytes and last change of each that may go. Raises StorageFailed."""
    before_s = now_s - UNFINISHED_KEPT_S - MARGIN_S
    for owner in await storage.children(UPLOADS):
        for prefix in await _children(storage, owner):
            objects = size_bytes = 0
            changed_at_s = 0.0
            async for stored in storage.list(prefix):
                objects += 1
                size_bytes += stored.size_bytes
                changed_at_s = max(changed_at_s, stored.modified_at_s)
            if objects and changed_at_s < before_s:
                yield prefix, objects, size_bytes, changed_at_s
    async for stored in storage.list(UPLOADED):
        if stored.modified_at_s < before_s and _is_key(stored.key):
            yield stored.key, 1, stored.size_bytes, stored.modified_at_s


async def _children(storage: Storage, prefix: str) -> list[str]:
    """What can be asked for: in a bucket there may be anything."""
    if not _is_key(prefix):
        return []
    return [child for child in await storage.children(prefix) if _is_key(child)]


def _is_key(name: str) -> bool:
    try:
        checked(name)
    except InvalidKey:
        return False
    return True
