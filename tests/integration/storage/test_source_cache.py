"""Copies of sources: fetched once, kept while used, bounded, whichever process asks."""

import asyncio
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from playhead.storage import LocalStorage, ObjectMissing, SourceCache, StorageFailed, source_cache
from playhead.storage.source_cache import FETCH_BYTES

ASKS_SLOWLY = """
import asyncio, sys
from pathlib import Path
from playhead.storage import LocalStorage, SourceCache

class Slow(LocalStorage):
    async def get_range(self, key, start, end):
        with open(sys.argv[3], "a") as told:
            told.write("x")
        print("begun", flush=True)
        await asyncio.sleep(float(sys.argv[4]))
        return await super().get_range(key, start, end)

async def main():
    async with SourceCache(Path(sys.argv[2]), 10_000, reserve_bytes=0).held(Slow(Path(sys.argv[1])), "a") as path:
        assert path.read_bytes() == bytes(5)

asyncio.run(main())
"""


class Counted(LocalStorage):
    """A storage that knows what was read of it, and can be made to fail or to wait."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.ranges: list[tuple[str, int, int]] = []
        self.failing = False
        self.going_on = asyncio.Event()
        self.going_on.set()

    async def get_range(self, key: str, start: int, end: int) -> bytes | None:
        self.ranges.append((key, start, end))
        await self.going_on.wait()
        if self.failing:
            raise StorageFailed("gone")
        return await super().get_range(key, start, end)

    async def put_of(self, key: str, size_bytes: int) -> None:
        await self.put(key, bytes(size_bytes))

    def fetches(self, key: str) -> int:
        return sum(1 for fetched, start, _ in self.ranges if fetched == key and start == 0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def origin(tmp_path: Path) -> Counted:
    return Counted(tmp_path / "origin")


@pytest.fixture
def cache(folder: Path) -> SourceCache:
    return SourceCache(folder, 1_000, room_timeout_s=0.2, reserve_bytes=0)


def kept(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name != "turn"]


async def use(cache: SourceCache, origin: Counted, key: str, at_s: float | None = None) -> None:
    async with cache.held(origin, key) as path:
        assert path.read_bytes() == await origin.get(key)
        if at_s is not None:
            os.utime(path, (at_s, at_s))


async def test_of_many_who_ask_at_once_one_fetches(cache: SourceCache, origin: Counted, folder: Path) -> None:
    await origin.put_of("a", 100)
    await asyncio.gather(*(use(cache, origin, "a") for _ in range(20)))
    assert origin.fetches("a") == 1
    assert len(kept(folder)) == 1


async def test_a_large_source_comes_in_ranges_and_whole(folder: Path, origin: Counted) -> None:
    body = os.urandom(FETCH_BYTES * 2 + 1)
    async with origin.upload("a") as upload:
        await upload.write(body)
    async with SourceCache(folder, 10**9, reserve_bytes=0).held(origin, "a") as path:
        assert path.read_bytes() == body
    assert max(end - start for _, start, end in origin.ranges) == FETCH_BYTES


async def test_what_was_used_longest_ago_makes_room(cache: SourceCache, origin: Counted) -> None:
    for key in "abc":
        await origin.put_of(key, 400)
    await use(cache, origin, "a", at_s=1_000)
    await use(cache, origin, "b", at_s=2_000)
    await use(cache, origin, "a", at_s=3_000)
    await use(cache, origin, "c")
    await use(cache, origin, "a")
    assert origin.fetches("a") == 1
    await use(cache, origin, "b")
    assert origin.fetches("b") == 2


async def test_using_it_makes_it_young(cache: SourceCache, origin: Counted, folder: Path) -> None:
    await origin.put_of("a", 10)
    await use(cache, origin, "a", at_s=1_000)
    await use(cache, origin, "a")
    [path] = kept(folder)
    assert path.stat().st_mtime > 1_000_000


@pytest.mark.parametrize(("second_bytes", "together"), [(600, True), (601, False)])
async def test_it_never_holds_more_than_it_may(
    cache: SourceCache, origin: Counted, folder: Path, second_bytes: int, together: bool
) -> None:
    await origin.put_of("a", 400)
    await origin.put_of("b", second_bytes)
    await use(cache, origin, "a")
    await use(cache, origin, "b")
    assert len(kept(folder)) == (2 if together else 1)


async def test_what_is_used_stays_and_whoever_finds_no_room_is_told(
    cache: SourceCache, origin: Counted, folder: Path
) -> None:
    await origin.put_of("a", 800)
    await origin.put_of("b", 900)
    async with cache.held(origin, "a") as path:
        with pytest.raises(StorageFailed, match="in use"):
            await use(cache, origin, "b")
        assert path.read_bytes() == bytes(800)
    assert origin.fetches("b") == 0
    await use(cache, origin, "b")
    assert not path.exists()


async def test_whoever_waits_for_room_gets_it(folder: Path, origin: Counted) -> None:
    cache = SourceCache(folder, 1_000, reserve_bytes=0)
    await origin.put_of("a", 800)
    await origin.put_of("b", 900)
    async with cache.held(origin, "a"):
        waiting = asyncio.create_task(use(cache, origin, "b"))
        await asyncio.sleep(0.1)
        assert not waiting.done()
    await asyncio.wait_for(waiting, 10)


async def test_room_is_reserved_before_it_is_filled(cache: SourceCache, origin: Counted, folder: Path) -> None:
    await origin.put_of("a", 800)
    await origin.put_of("b", 300)
    origin.going_on.clear()
    both = [asyncio.create_task(use(cache, origin, "a"))]
    while not origin.ranges:
        await asyncio.sleep(0.01)
    both.append(asyncio.create_task(use(cache, origin, "b")))
    await asyncio.sleep(0.1)
    assert origin.fetches("b") == 0
    assert sum(path.stat().st_size for path in kept(folder)) <= 1_000
    origin.going_on.set()
    await asyncio.wait_for(asyncio.gather(*both), 10)


async def test_a_source_that_can_never_fit_is_refused_at_once(cache: SourceCache, origin: Counted) -> None:
    await origin.put_of("a", 1_000)
    await use(cache, origin, "a")
    await origin.put_of("b", 1_001)
    with pytest.raises(StorageFailed, match="at most 1000"):
        await use(cache, origin, "b")
    await use(cache, origin, "a")
    assert origin.fetches("a") == 1, "nothing went for it"


async def test_a_fetch_that_fails_leaves_nothing_and_the_next_one_tries_anew(
    cache: SourceCache, origin: Counted, folder: Path
) -> None:
    await origin.put_of("a", 100)
    origin.failing = True
    with pytest.raises(StorageFailed, match="gone"):
        await use(cache, origin, "a")
    assert kept(folder) == []
    origin.failing = False
    await use(cache, origin, "a")


async def test_a_fetch_that_is_cancelled_leaves_nothing(cache: SourceCache, origin: Counted, folder: Path) -> None:
    await origin.put_of("a", 100)
    origin.going_on.clear()
    asking = asyncio.create_task(use(cache, origin, "a"))
    while not origin.ranges:
        await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert kept(folder) == []


@pytest.mark.parametrize("amid", ["_made_room", "_write_at"])
async def test_no_thread_of_a_cancelled_fetch_touches_the_next_one_s_file(
    folder: Path, origin: Counted, monkeypatch: pytest.MonkeyPatch, amid: str
) -> None:
    """The number of its descriptor is soon another file's."""
    cache = SourceCache(folder, 1_000, reserve_bytes=0)
    within, go_on, ended = threading.Event(), threading.Event(), threading.Event()
    owner = SourceCache if amid == "_made_room" else source_cache
    real = getattr(owner, amid)

    def held_up(*args: Any) -> Any:
        if within.is_set():
            return real(*args)
        within.set()
        assert go_on.wait(10)
        try:
            return real(*args)
        finally:
            ended.set()

    monkeypatch.setattr(owner, amid, held_up)
    await origin.put("a", b"a" * 900)
    await origin.put("b", b"b" * 100)
    cancelled = asyncio.create_task(use(cache, origin, "a"))
    assert await asyncio.to_thread(within.wait, 10)
    cancelled.cancel()
    await asyncio.wait([cancelled], timeout=0.05)
    origin.going_on.clear()
    asking = asyncio.create_task(use(cache, origin, "b"))
    while not origin.fetches("b"):
        await asyncio.sleep(0.01)
    go_on.set()
    assert await asyncio.to_thread(ended.wait, 10)
    origin.going_on.set()
    await asyncio.wait([asking, cancelled])
    assert asking.result() is None and cancelled.cancelled()
    assert [file.stat().st_size for file in kept(folder)] == [100]


async def test_who_makes_room_elsewhere_holds_up_no_thread(folder: Path, origin: Counted) -> None:
    """Another process has the turn and is stopped, say."""
    cache = SourceCache(folder, 1_000, reserve_bytes=0)
    await origin.put_of("a", 100)
    turn = os.open(folder / source_cache.TURN, os.O_RDWR | os.O_CREAT)
    fcntl.flock(turn, fcntl.LOCK_EX)
    async with asyncio.timeout(5):
        asking = asyncio.create_task(use(cache, origin, "a"))
        await asyncio.wait([asking], timeout=0.1)
        asking.cancel()
        await asyncio.wait([asking])
        assert kept(folder) == []
        asking = asyncio.create_task(use(cache, origin, "a"))
        await asyncio.wait([asking], timeout=0.1)
        assert not asking.done()
        os.close(turn)
        await asking


async def test_a_source_that_was_replaced_is_fetched_anew(cache: SourceCache, origin: Counted) -> None:
    await origin.put_of("a", 100)
    await use(cache, origin, "a")
    async with origin.upload("a") as upload:
        await upload.write(bytes(99) + b"x")
    await use(cache, origin, "a")
    assert origin.fetches("a") == 2


async def test_a_source_that_is_replaced_while_it_is_read_is_not_kept(
    cache: SourceCache, origin: Counted, folder: Path
) -> None:
    await origin.put_of("a", 100)
    origin.going_on.clear()
    asking = asyncio.create_task(use(cache, origin, "a"))
    while not origin.ranges:
        await asyncio.sleep(0.01)
    async with origin.upload("a") as upload:
        await upload.write(bytes(99) + b"x")
    origin.going_on.set()
    with pytest.raises(StorageFailed, match="changed"):
        await asking
    assert kept(folder) == []


async def test_an_empty_source_is_an_empty_file(cache: SourceCache, origin: Counted) -> None:
    await origin.put_of("a", 0)
    await use(cache, origin, "a")


async def test_a_missing_source_is_missing_even_if_it_was_there(cache: SourceCache, origin: Counted) -> None:
    await origin.put_of("a", 1)
    await use(cache, origin, "a")
    await origin.delete_prefix("a")
    with pytest.raises(ObjectMissing):
        await use(cache, origin, "a")


def start(origin: Counted, folder: Path, told: Path, takes_s: float) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", ASKS_SLOWLY, str(origin._root), str(folder), str(told), str(takes_s)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


async def test_two_processes_fetch_once(folder: Path, origin: Counted, tmp_path: Path) -> None:
    await origin.put_of("a", 5)
    running = [start(origin, folder, tmp_path / "told", 0.5) for _ in range(2)]
    for each in running:
        assert await asyncio.to_thread(each.wait, 30) == 0
        each.communicate()
    assert (tmp_path / "told").read_text() == "x"


async def test_who_dies_while_it_fetches_keeps_nobody_waiting(
    cache: SourceCache, origin: Counted, folder: Path, tmp_path: Path
) -> None:
    await origin.put_of("a", 5)
    dying = start(origin, folder, tmp_path / "told", 60)
    assert dying.stdout is not None
    assert await asyncio.to_thread(dying.stdout.readline) == b"begun\n"
    waiting = asyncio.create_task(use(cache, origin, "a"))
    await asyncio.sleep(0.2)
    assert origin.fetches("a") == 0
    dying.kill()
    await asyncio.wait_for(waiting, 10)
    assert origin.fetches("a") == 1
    dying.communicate()


async def test_what_a_killed_process_left_makes_room(cache: SourceCache, origin: Counted, folder: Path) -> None:
    (folder / "left.part").write_bytes(bytes(900))
    await origin.put_of("a", 500)
    await use(cache, origin, "a")
    assert [path.suffix for path in kept(folder)] == [".source"]


async def test_the_disk_keeps_its_reserve(folder: Path, origin: Counted) -> None:
    await origin.put_of("a", 10)
    with pytest.raises(StorageFailed, match="disk full"):
        await use(SourceCache(folder, 1_000, room_timeout_s=0.1, reserve_bytes=2**62), origin, "a")
    assert origin.fetches("a") == 0
    assert kept(folder) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageFailed, match="cannot be used"):
        SourceCache(tmp_path / "file", 1_000)
