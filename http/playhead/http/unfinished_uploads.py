"""Uploads that come in parts, as they lie in the storage, where every process finds them.

    uploads/<owner>/<upload>/declared    what was said of the file at the beginning
    uploads/<owner>/<upload>/blocks/…    what has arrived
    uploads/<owner>/<upload>/fate        TAKEN or DELETED, whichever was said first: no script of one that is deleted
    uploaded/<owner>/<upload>            what became of it; then the others go

One that nothing was added to for UNFINISHED_KEPT_S is not found any more; a worker removes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from playhead.db import Visibility
from playhead.http.problems import Problem
from playhead.media import uploaded_key, uploads_prefix
from playhead.runtime.clock import Clock
from playhead.storage import UNFINISHED_KEPT_S, Blocks, Storage, StorageFailed

DECLARED, BLOCKS, FATE = "declared", "blocks", "fate"
TAKEN, DELETED = b"taken", b"deleted"
FATE_TRIES = 3
"""More than once only where another process removes what it had said in the same moment."""

Model = TypeVar("Model", bound=BaseModel)


class Declared(BaseModel):
    """What was said of the file at the beginning."""

    model_config = ConfigDict(frozen=True)

    script_id: str
    own_id: bool
    title: str | None
    visibility: Visibility
    size: int
    sha256: str | None
    block_bytes: int
    replaces: str | None = None
    """The media version that the script had then; None: there was no script, or an earlier release noted nothing."""


class Finished(BaseModel):
    """What became of an upload: a script, or a problem that no repetition mends."""

    model_config = ConfigDict(frozen=True)

    declared: Declared
    status: int
    script_id: str | None
    problem: Problem | None


class BecomesScript(Exception):
    """The upload cannot be deleted any more: a script is made of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """An upload that is not whole, or not taken in yet."""

    upload_id: str
    declared: Declared
    blocks: Blocks
    offset_bytes: int
    expires_at_s: float

    @property
    def is_whole(self) -> bool:
        return self.offset_bytes == self.declared.size


class UnfinishedUploads:
    """All of them. Every method may raise StorageFailed."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock

    async def begin(self, owner_id: str, upload_id: str, declared: Declared) -> None:
        await self._storage.put(self._declared_key(owner_id, upload_id), declared.model_dump_json().encode())

    async def find(self, owner_id: str, upload_id: str) -> Unfinished | None:
        key = self._declared_key(owner_id, upload_id)
        declared = _parsed(Declared, await self._storage.get(key))
        if declared is None:
            return None
        prefix = f"{uploads_prefix(owner_id, upload_id)}/{BLOCKS}"
        blocks = Blocks(self._storage, prefix, declared.size, declared.block_bytes)
        arrived = await blocks.arrived()
        begun = await self._storage.stat(key)
        if begun is None:
            return None
        expires_at_s = max(arrived.changed_at_s, begun.modified_at_s) + UNFINISHED_KEPT_S
        if expires_at_s * 1_000 <= self._clock.now_ms():
            return None
        return Unfinished(
            upload_id=upload_id,
            declared=declared,
            blocks=blocks,
            offset_bytes=arrived.size_bytes,
            expires_at_s=expires_at_s,
        )

    async def of(self, owner_id: str) -> Sequence[Unfinished]:
        """All of that owner's, in the order of their ids."""
        prefixes = await self._storage.children(uploads_prefix(owner_id))
        found = [await self.find(owner_id, prefix.rpartition("/")[2]) for prefix in prefixes]
        return [upload for upload in found if upload is not None]

    async def abandon(self, owner_id: str, upload_id: str) -> bool:
        """Forgets it, and what became of it. False: there is no such upload. Raises BecomesScript."""
        there = await self._storage.exists(self._declared_key(owner_id, upload_id))
        if there and await self._fate(owner_id, upload_id, DELETED) != DELETED:
            raise BecomesScript(upload_id)
        deleted = await self._remove(owner_id, upload_id)
        return bool(deleted + await self._storage.delete_prefix(uploaded_key(owner_id, upload_id)))

    async def take(self, owner_id: str, upload_id: str) -> bool:
        """Says that a script is about to be made of it, so that it cannot be deleted. False: it was."""
        first = await self._fate(owner_id, upload_id, TAKEN)
        if first != DELETED and await self._storage.exists(self._declared_key(owner_id, upload_id)):
            return True
        await self.clear(owner_id, upload_id)
        return False

    async def untake(self, owner_id: str, upload_id: str) -> None:
        """No script was made of it, and it may be deleted."""
        await self._storage.delete_prefix(self._fate_key(owner_id, upload_id))

    async def _fate(self, owner_id: str, upload_id: str, word: bytes) -> bytes:
        """Says it, and answers what was said first."""
        key = self._fate_key(owner_id, upload_id)
        for _ in range(FATE_TRIES):
            if await self._storage.put(key, word):
                return word
            if (said := await self._storage.get(key)) is not None:
                return said
        raise StorageFailed(f"{key} was changed again and again")

    async def clear(self, owner_id: str, upload_id: str) -> None:
        """Removes what was still written while the upload was abandoned."""
        if not await self._storage.exists(self._declared_key(owner_id, upload_id)):
            await self._storage.delete_prefix(uploads_prefix(owner_id, upload_id))

    async def finish(self, owner_id: str, upload_id: str, finished: Finished) -> None:
        """Keeps what became of it; the first word stays."""
        await self._storage.put(uploaded_key(owner_id, upload_id), finished.model_dump_json().encode())
        await self._remove(owner_id, upload_id)

    async def _remove(self, owner_id: str, upload_id: str) -> int:
        """What was declared goes first: who looks meanwhile finds all of the blocks, or no upload.

        And it goes before the word: who can say another one must find nothing to make a script of.
        """
        deleted = await self._storage.delete_prefix(self._declared_key(owner_id, upload_id))
        return deleted + await self._storage.delete_prefix(uploads_prefix(owner_id, upload_id))

    async def finished(self, owner_id: str, upload_id: str) -> tuple[Finished, float] | None:
        """What became of it, and when that is forgotten, in seconds since the Unix epoch."""
        key = uploaded_key(owner_id, upload_id)
        finished = _parsed(Finished, await self._storage.get(key))
        kept = await self._storage.stat(key)
        if finished is None or kept is None:
            return None
        return finished, kept.modified_at_s + UNFINISHED_KEPT_S

    def _declared_key(self, owner_id: str, upload_id: str) -> str:
        return f"{uploads_prefix(owner_id, upload_id)}/{DECLARED}"

    def _fate_key(self, owner_id: str, upload_id: str) -> str:
        return f"{uploads_prefix(owner_id, upload_id)}/{FATE}"


def _parsed(model: type[Model], stored: bytes | None) -> Model | None:
    """What another release may have written differently counts as not there."""
    try:
        return None if stored is None else model.model_validate_json(stored)
    except ValidationError:
        return None
