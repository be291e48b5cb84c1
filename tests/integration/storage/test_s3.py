"""What only a server behind a network has: keys, rights, a connection that breaks, presigned addresses."""

import asyncio
import time
import traceback
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest

from playhead.storage import PRESIGNED_S_MAX, S3Bucket, S3Limits, S3Storage, StorageFailed, StorageRefused
from tests.support.buckets import MakeS3
from tests.support.seaweed import ACCESS_KEY, SECRET_KEY, Seaweed

SHORT = S3Limits(
    connect_timeout_s=1, request_timeout_s=1, retries_max=2, backoff_first_s=0.05, backoff_max_s=0.1, retry_timeout_s=1
)
PARTS = bytes(range(256)) * 64_000
"""16 MB: three parts and a rest."""
EXPIRY_TIMEOUT_S = 10.0
FOR_EVER = 10**9


@dataclass(slots=True)
class Line:
    """A connection to the server that breaks after `bytes_left` from the client, `breaks` times; then it holds."""

    port: int
    bytes_left: int
    breaks: int
    broken: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if 0 < self.broken < self.breaks == FOR_EVER:
            return  # it is gone
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port)
        back = asyncio.create_task(pass_on(far_reader, writer))
        with suppress(OSError):
            await self._pass_until_it_breaks(reader, far_writer)
        writer.transport.abort()
        far_writer.transport.abort()
        await back

    async def _pass_until_it_breaks(self, reader: asyncio.StreamReader, far: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            if self.broken < self.breaks:
                self.bytes_left -= len(data)
                if self.bytes_left < 0:
                    self.broken += 1
                    return
            far.write(data)
            await far.drain()


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()


Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handle: Handle) -> AsyncIterator[str]:
    """The address of a server that does so with each connection, all of which end with the block."""
    running: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}

    async def handled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        running[writer] = asyncio.current_task()
        try:
            await handle(reader, writer)
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(handled, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for writer in running:
            writer.transport.abort()
        await asyncio.gather(*(task for task in running.values() if task is not None))
        await server.wait_closed()


async def fetched(url: str) -> tuple[int, bytes]:
    def fetch() -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    return await asyncio.to_thread(fetch)


@pytest.mark.parametrize("wrong", [{"secret_access_key": "wrong"}, {"access_key_id": "wrong"}], ids=["secret", "key"])
async def test_wrong_keys_are_refused_with_what_to_do(s3: MakeS3, wrong: dict[str, str]) -> None:
    await s3().put("a", b"x")
    storage = s3(**wrong)
    for operation in (storage.check(), storage.put("b", b"x"), storage.get("a"), storage.exists("a")):
        with pytest.raises(StorageRefused, match="Check the access keys"):
            await operation
    with pytest.raises(StorageRefused, match="Check the access keys"):
        await storage.delete_prefix("a")
    with pytest.raises(StorageRefused, match="Check the access keys"):
        async with storage.upload("b") as upload:
            await upload.write(PARTS)
    assert await s3().get("a") == b"x"
    assert not await s3().exists("b")


async def test_a_missing_bucket_is_refused_with_its_name(s3: MakeS3) -> None:
    with pytest.raises(StorageRefused, match=r"s3://no-such-bucket/.*: there is no such bucket"):
        await s3(name="no-such-bucket").check()


async def test_the_right_keys_pass_the_check(s3: MakeS3) -> None:
    await s3().check()


async def test_no_error_and_no_description_tells_a_key(s3: MakeS3, bucket: S3Bucket, seaweed: Seaweed) -> None:
    told = [repr(s3()), repr(bucket)]
    for storage in (s3(secret_access_key=SECRET_KEY + "x"), s3(SHORT, endpoint="http://127.0.0.1:1")):
        for operation in (storage.check, lambda: storage.put("a", b"x"), lambda: storage.get("a")):  # noqa: B023
            with pytest.raises(StorageFailed) as caught:
                await operation()
            told.append("".join(traceback.format_exception(caught.value)))
    assert not [text for text in told if ACCESS_KEY in text or SECRET_KEY in text or "X-Amz" in text]


async def test_a_server_that_is_away_is_told_within_the_limits(s3: MakeS3) -> None:
    began_s = time.monotonic()
    with pytest.raises(StorageFailed, match="cannot be reached") as caught:
        await s3(SHORT, endpoint="http://127.0.0.1:1").put("a", b"x")
    assert not isinstance(caught.value, StorageRefused), "it may come back"
    assert time.monotonic() - began_s < SHORT.retry_timeout_s + SHORT.request_timeout_s + 1


async def test_a_server_that_takes_everything_and_answers_nothing_is_given_up(s3: MakeS3) -> None:
    async def silent(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while await reader.read(65_536):
                pass

    began_s = time.monotonic()
    async with serving(silent) as endpoint:
        with pytest.raises(StorageFailed, match="in time"):
            await s3(SHORT, endpoint=endpoint).get("a")
    assert time.monotonic() - began_s < SHORT.retry_timeout_s + SHORT.request_timeout_s + 1


async def test_a_connection_that_breaks_is_tried_again(s3: MakeS3, seaweed: Seaweed) -> None:
    broken = Line(port=seaweed.port, bytes_left=300_000, breaks=2)
    async with serving(broken.serve) as endpoint:
        assert await s3(endpoint=endpoint).put("a", bytes(1_000_000))
    assert broken.broken == 2
    assert await s3().get("a") == bytes(1_000_000)


async def test_a_server_that_goes_in_the_middle_of_a_put_leaves_nothing(s3: MakeS3, seaweed: Seaweed) -> None:
    broken = Line(port=seaweed.port, bytes_left=300_000, breaks=FOR_EVER)
    async with serving(broken.serve) as endpoint:
        with pytest.raises(StorageFailed, match="broke off"):
            await s3(SHORT, endpoint=endpoint).put("a", bytes(1_000_000))
    assert broken.broken
    assert await s3().stat("a") is None
    assert await s3().put("a", b"later")
    assert await s3().get("a") == b"later"


async def test_a_server_that_goes_in_the_middle_of_an_upload_leaves_the_older_object(
    s3: MakeS3, seaweed: Seaweed
) -> None:
    await s3().put("a", b"old")
    broken = Line(port=seaweed.port, bytes_left=7_000_000, breaks=FOR_EVER)
    async with serving(broken.serve) as endpoint:
        with pytest.raises(StorageFailed, match="broke off"):
            async with s3(SHORT, endpoint=endpoint).upload("a") as upload:
                for at in range(0, len(PARTS), 1_000_000):
                    await upload.write(PARTS[at : at + 1_000_000])
    assert broken.broken
    assert await s3().get("a") == b"old"


async def test_an_upload_in_parts_is_whole_and_leaves_no_parts(s3: MakeS3, seaweed: Seaweed) -> None:
    before = seaweed.unfinished_uploads()
    async with s3().upload("a") as upload:
        await upload.write(PARTS)
        assert await s3().stat("a") is None
    async with s3().local_file("a") as path:
        assert path.read_bytes() == PARTS
    assert seaweed.unfinished_uploads() == before


async def test_an_upload_that_is_broken_off_removes_its_parts(s3: MakeS3, seaweed: Seaweed) -> None:
    before = seaweed.unfinished_uploads()
    with pytest.raises(ConnectionResetError):
        async with s3().upload("a") as upload:
            await upload.write(PARTS)
            assert seaweed.unfinished_uploads() == before + 1
            raise ConnectionResetError
    assert seaweed.unfinished_uploads() == before


async def test_of_two_writers_in_two_clients_one_wins(s3: MakeS3) -> None:
    for n in range(10):
        bodies = [bytes([n]) * 200_000, bytes([100 + n]) * 200_000]
        won = await asyncio.gather(*(s3().put(f"a/{n}", body) for body in bodies))
        assert sorted(won) == [False, True]
        assert await s3().get(f"a/{n}") == bodies[won.index(True)]


async def test_where_a_server_cannot_write_conditionally_objects_are_whole_and_the_first_is_kept(s3: MakeS3) -> None:
    storage = s3(conditional_put=False)
    assert await storage.put("a", b"first") is True
    assert await storage.put("a", b"second") is False
    assert await storage.get("a") == b"first"
    bodies = [bytes([n]) * 200_000 for n in range(2)]
    assert any(await asyncio.gather(*(storage.put("b", body) for body in bodies)))
    assert await storage.get("b") in bodies


async def test_an_object_and_a_prefix_of_one_name_are_both_deleted(s3: MakeS3) -> None:
    storage = s3()
    for key in ("a", "a/1", "ab"):
        await storage.put(key, b"x")
    assert await storage.delete_prefix("a") == 2
    assert await storage.exists("ab")


async def test_a_prefix_of_the_bucket_is_a_world_of_its_own(s3: MakeS3, bucket: S3Bucket) -> None:
    other = s3(prefix=bucket.prefix + "x")
    await other.put("a", b"other")
    storage: S3Storage = s3()
    await storage.put("a", b"mine")
    assert await storage.delete_prefix("a") == 1
    assert await other.get("a") == b"other"


async def test_anybody_can_fetch_a_presigned_address_until_it_expires(s3: MakeS3) -> None:
    storage = s3()
    await storage.put("a/b", b"sound")
    assert await fetched(await storage.presigned_url("a/b", 60)) == (200, b"sound")
    brief = await storage.presigned_url("a/b", 1)
    deadline = time.monotonic() + EXPIRY_TIMEOUT_S
    while (answer := await fetched(brief))[0] == 200:
        assert time.monotonic() < deadline, "it is still valid"
        await asyncio.sleep(0.1)
    assert answer[0] == 403 and b"sound" not in answer[1]


async def test_a_presigned_address_is_good_for_its_object_alone(s3: MakeS3) -> None:
    storage = s3()
    await storage.put("a", b"one")
    await storage.put("b", b"two")
    url = await storage.presigned_url("a", 60)
    assert (await fetched(url.replace("/a?", "/b?")))[0] == 403


@pytest.mark.parametrize("valid_s", [0, -1, PRESIGNED_S_MAX + 1])
async def test_addresses_past_the_limits_are_not_made(s3: MakeS3, valid_s: int) -> None:
    with pytest.raises(ValueError, match="valid for up to"):
        await s3().presigned_url("a", valid_s)


async def test_an_address_at_the_limit_is_made(s3: MakeS3) -> None:
    assert f"X-Amz-Expires={PRESIGNED_S_MAX}" in (await s3().presigned_url("a", PRESIGNED_S_MAX))
