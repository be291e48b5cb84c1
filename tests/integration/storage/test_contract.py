"""What every storage must do; nothing here knows which one it has."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable

import pytest

from playhead.storage import OBJECT_BYTES_MAX, InvalidKey, ObjectMissing, ObjectTooLarge, Storage
from tests.unit.storage.test_keys import TRAVERSALS

LARGE = bytes(range(256)) * 12_000
"""About 3 MB: more than one part of any backend's buffer here."""


async def listed(storage: Storage, prefix: str) -> list[str]:
    return sorted([found.key async for found in storage.list(prefix)])


async def test_an_object_is_read_back_as_it_was_put(storage: Storage) -> None:
    assert await storage.put("media/a/0.m4s", b"sound")
    assert await storage.get("media/a/0.m4s") == b"sound"
    assert await storage.exists("media/a/0.m4s")


async def test_an_object_that_is_not_there_is_none(storage: Storage) -> None:
    assert await storage.get("media/a/0.m4s") is None
    assert not await storage.exists("media/a/0.m4s")


async def test_the_first_put_wins(storage: Storage) -> None:
    assert await storage.put("a", b"first") is True
    assert await storage.put("a", b"second") is False
    assert await storage.get("a") == b"first"


async def test_of_many_puts_at_once_exactly_one_wins(storage: Storage) -> None:
    bodies = [bytes([n]) * 50_000 for n in range(20)]
    won = await asyncio.gather(*(storage.put("a/b", body) for body in bodies))
    assert sum(won) == 1
    assert await storage.get("a/b") == bodies[won.index(True)]


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0, 1, b"0"),
        (0, 10, b"0123456789"),
        (3, 7, b"3456"),
        (9, 10, b"9"),
        (9, 11, b"9"),
        (0, OBJECT_BYTES_MAX, b"0123456789"),
        (10, 11, b""),
        (1_000, 1_001, b""),
    ],
)
async def test_a_range_is_what_the_object_has_of_it(storage: Storage, start: int, end: int, expected: bytes) -> None:
    await storage.put("a", b"0123456789")
    assert await storage.get_range("a", start, end) == expected


async def test_a_range_of_nothing(storage: Storage) -> None:
    await storage.put("empty", b"")
    assert await storage.get_range("empty", 0, 1) == b""
    assert await storage.get_range("missing", 0, 1) is None


@pytest.mark.parametrize(("start", "end"), [(-1, 1), (1, 1), (2, 1), (-2, -1)])
async def test_what_is_no_range_is_refused(storage: Storage, start: int, end: int) -> None:
    await storage.put("a", b"0123456789")
    with pytest.raises(ValueError, match="no range"):
        await storage.get_range("a", start, end)


async def test_a_range_past_the_size_limit_is_refused(storage: Storage) -> None:
    with pytest.raises(ObjectTooLarge):
        await storage.get_range("a", 0, OBJECT_BYTES_MAX + 1)


async def test_an_object_tells_its_size_and_age_without_being_read(storage: Storage) -> None:
    await storage.put("a/b", b"sound")
    found = await storage.stat("a/b")
    assert found is not None and (found.key, found.size_bytes) == ("a/b", 5)
    assert abs(found.modified_at_s - time.time()) < 60
    assert await storage.stat("a") is None


async def test_the_version_changes_with_the_content(storage: Storage) -> None:
    versions = set()
    for body in (b"one", b"two!"):
        async with storage.upload("a") as upload:
            await upload.write(body)
        found = await storage.stat("a")
        assert found is not None
        versions.add(found.version)
    assert len(versions) == 2


async def test_a_listing_has_what_is_below_the_prefix_and_nothing_beside(storage: Storage) -> None:
    for key in ("m/a/0", "m/a/b/1", "m/ab/2", "m/a.b", "n"):
        await storage.put(key, b"x")
    assert await listed(storage, "m/a") == ["m/a/0", "m/a/b/1"]
    assert await listed(storage, "m") == ["m/a.b", "m/a/0", "m/a/b/1", "m/ab/2"]
    assert await listed(storage, "n") == []
    assert await listed(storage, "nothing") == []


async def test_children_are_what_has_objects_below_it(storage: Storage) -> None:
    for key in ("m/a/0", "m/a/b/1", "m/ab/2", "m/c"):
        await storage.put(key, b"x")
    assert await storage.children("m") == ["m/a", "m/ab"]
    assert await storage.children("m/a") == ["m/a/b"]
    assert await storage.children("nothing") == []


async def test_deleting_a_does_not_take_ab(storage: Storage) -> None:
    for key in ("a/1", "ab/1", "a.b", "a-b/1"):
        await storage.put(key, b"x")
    assert await storage.delete_prefix("a") == 1
    for key in ("ab/1", "a.b", "a-b/1"):
        assert await storage.exists(key)


async def test_an_empty_object_is_an_object(storage: Storage) -> None:
    assert await storage.put("empty", b"")
    assert await storage.get("empty") == b""


async def test_a_folder_is_no_object(storage: Storage) -> None:
    await storage.put("a/b/c", b"x")
    assert not await storage.exists("a/b")
    assert await storage.get("a/b") is None


async def test_deleting_a_prefix_takes_what_is_below_it_and_nothing_beside(storage: Storage) -> None:
    for key in ("media/s/v1/low/0.m4s", "media/s/v1/high/0.m4s", "media/s/v10/low/0.m4s", "media/s/v"):
        await storage.put(key, b"x")
    assert await storage.delete_prefix("media/s/v1") == 2
    assert not await storage.exists("media/s/v1/low/0.m4s")
    assert await storage.exists("media/s/v10/low/0.m4s")
    assert await storage.exists("media/s/v")
    assert await storage.delete_prefix("media/s/v1") == 0


async def test_deleting_by_an_objects_own_name_takes_that_object(storage: Storage) -> None:
    await storage.put("sources/s/v1", b"x")
    await storage.put("sources/s/v10", b"x")
    assert await storage.delete_prefix("sources/s/v1") == 1
    assert not await storage.exists("sources/s/v1")
    assert await storage.exists("sources/s/v10")


async def test_more_objects_than_one_page_of_a_listing_are_deleted(storage: Storage) -> None:
    await asyncio.gather(*(storage.put(f"m/{n}", b"") for n in range(1_100)))
    assert await storage.delete_prefix("m") == 1_100
    assert not await storage.exists("m/1099")


async def test_several_who_delete_the_same_at_once_all_succeed(storage: Storage) -> None:
    await asyncio.gather(*(storage.put(f"m/{n}", b"x") for n in range(20)))
    await asyncio.gather(*(storage.delete_prefix("m") for _ in range(4)))
    assert await listed(storage, "m") == []


async def test_a_deleted_object_can_be_put_again(storage: Storage) -> None:
    await storage.put("m/0", b"old")
    await storage.delete_prefix("m")
    assert await storage.put("m/0", b"new")
    assert await storage.get("m/0") == b"new"


async def test_an_upload_appears_whole_when_its_block_ends(storage: Storage) -> None:
    async with storage.upload("sources/s/v") as upload:
        for at in range(0, len(LARGE), 100_000):
            await upload.write(LARGE[at : at + 100_000])
        assert not await storage.exists("sources/s/v")
    assert upload.size_bytes == len(LARGE)
    assert upload.sha256 == hashlib.sha256(LARGE).hexdigest()
    async with storage.local_file("sources/s/v") as path:
        assert path.read_bytes() == LARGE


async def test_an_upload_of_nothing_is_an_empty_object(storage: Storage) -> None:
    async with storage.upload("a"):
        pass
    assert await storage.get("a") == b""


@pytest.mark.parametrize("body", [b"short", LARGE], ids=["in the buffer", "partly written"])
async def test_an_upload_that_fails_leaves_nothing(storage: Storage, body: bytes) -> None:
    with pytest.raises(ConnectionResetError):
        async with storage.upload("sources/s/v") as upload:
            await upload.write(body)
            raise ConnectionResetError
    assert not await storage.exists("sources/s/v")
    assert await storage.delete_prefix("sources") == 0


async def test_an_upload_that_is_cancelled_leaves_nothing(storage: Storage) -> None:
    written = asyncio.Event()

    async def send() -> None:
        async with storage.upload("sources/s/v") as upload:
            await upload.write(LARGE)
            written.set()
            await asyncio.Event().wait()

    sending = asyncio.create_task(send())
    await written.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert not await storage.exists("sources/s/v")


async def test_an_upload_replaces_an_older_object(storage: Storage) -> None:
    await storage.put("a", b"old")
    async with storage.upload("a") as upload:
        await upload.write(b"new")
        assert await storage.get("a") == b"old"
    assert await storage.get("a") == b"new"


async def test_an_upload_that_fails_keeps_the_older_object(storage: Storage) -> None:
    await storage.put("a", b"old")
    with pytest.raises(ConnectionResetError):
        async with storage.upload("a") as upload:
            await upload.write(LARGE)
            raise ConnectionResetError
    assert await storage.get("a") == b"old"


async def test_a_missing_object_has_no_local_file(storage: Storage) -> None:
    with pytest.raises(ObjectMissing):
        async with storage.local_file("sources/s/v"):
            pass


async def test_an_object_at_the_size_limit_is_taken(storage: Storage) -> None:
    assert await storage.put("a", bytes(OBJECT_BYTES_MAX))
    assert len(await storage.get("a") or b"") == OBJECT_BYTES_MAX


async def test_an_object_past_the_size_limit_is_refused(storage: Storage) -> None:
    with pytest.raises(ObjectTooLarge):
        await storage.put("a", bytes(OBJECT_BYTES_MAX + 1))
    assert not await storage.exists("a")


async def test_a_large_object_is_not_read_into_memory(storage: Storage) -> None:
    async with storage.upload("a") as upload:
        await upload.write(bytes(OBJECT_BYTES_MAX + 1))
    with pytest.raises(ObjectTooLarge):
        await storage.get("a")


@pytest.mark.parametrize("key", TRAVERSALS)
async def test_no_operation_takes_what_is_no_key(storage: Storage, key: str) -> None:
    operations: list[Awaitable[object]] = [
        storage.put(key, b"x"),
        storage.get(key),
        storage.get_range(key, 0, 1),
        storage.stat(key),
        storage.exists(key),
        storage.children(key),
        storage.delete_prefix(key),
        storage.presigned_url(key, 60),
        listed(storage, key),
    ]
    for operation in operations:
        with pytest.raises(InvalidKey):
            await operation
    for opened in (storage.upload, storage.local_file):
        with pytest.raises(InvalidKey):
            async with opened(key):
                pass


async def test_the_free_space_is_known_or_without_a_known_bound(storage: Storage) -> None:
    free_bytes = await storage.free_bytes()
    assert free_bytes is None or free_bytes > 0
