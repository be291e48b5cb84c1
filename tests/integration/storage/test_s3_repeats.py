"""What a server fails at for a while, or breaks off, is repeated with pauses and within limits; nothing comes short."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from playhead.storage import S3Limits, S3Storage, StorageFailed, StorageRefused
from playhead.storage import s3 as s3_module
from tests.support.buckets import BRIEF, MakeS3
from tests.support.flaky_bucket import (
    GONE,
    INTERNAL_ERROR,
    SLOW_DOWN,
    Answer,
    Asked,
    BreakOff,
    Fault,
    FlakyBucket,
    always,
    first,
    well,
)

BODY = random.Random(1).randbytes(1_000_000)
CONFLICT = Answer(409, "ConditionalRequestConflict")
KEY, OTHER = "sources/a", "sources/b"
MANY = 1_000


@pytest.fixture
async def storage(s3: MakeS3, flaky: FlakyBucket) -> S3Storage:
    """With an object, BODY, called KEY."""
    await s3().put(KEY, BODY)
    return s3(BRIEF, endpoint=flaky.url)


async def file_of(storage: S3Storage) -> bytes:
    async with storage.local_file(KEY) as path:
        return path.read_bytes()


async def uploaded(storage: S3Storage) -> bytes | None:
    async with storage.upload(OTHER) as upload:
        await upload.write(BODY)
    return await storage.get(OTHER)


async def listed(storage: S3Storage) -> list[str]:
    return [found.key async for found in storage.list("sources")]


Operation = Callable[[S3Storage], Awaitable[object]]
READS: dict[str, tuple[Operation, object]] = {
    "get": (lambda storage: storage.get(KEY), BODY),
    "get_range": (lambda storage: storage.get_range(KEY, 1, 999_999), BODY[1:999_999]),
    "local_file": (file_of, BODY),
}
REQUESTS = {"exists": "HEAD", "put": "PUT", "upload": "PUT", "delete_prefix": "POST"}
"""What the others do with GET."""
OPERATIONS: dict[str, tuple[Operation, object]] = {
    **READS,
    "exists": (lambda storage: storage.exists(KEY), True),
    "list": (listed, [KEY]),
    "children": (lambda storage: storage.children("sources"), []),
    "put": (lambda storage: storage.put(OTHER, BODY), True),
    "upload": (uploaded, BODY),
    "delete_prefix": (lambda storage: storage.delete_prefix(KEY), 1),
}


@pytest.mark.parametrize("fault", [SLOW_DOWN, INTERNAL_ERROR], ids=lambda fault: fault.code)
@pytest.mark.parametrize("name", OPERATIONS)
async def test_what_the_server_fails_at_twice_is_done_the_third_time(
    storage: S3Storage, flaky: FlakyBucket, name: str, fault: Fault
) -> None:
    operation, expected = OPERATIONS[name]
    request = REQUESTS.get(name, "GET")
    flaky.rule = first(2, fault, method=request)
    assert await operation(storage) == expected
    assert flaky.failed == 2
    assert min(flaky.pauses_s(request)[:2]) >= BRIEF.backoff_first_s


@pytest.mark.parametrize("fault", [SLOW_DOWN, INTERNAL_ERROR], ids=lambda fault: fault.code)
@pytest.mark.parametrize("name", ["get", "put", "exists", "list"])
async def test_what_the_server_fails_at_for_good_is_given_up_after_the_last_repetition(
    storage: S3Storage, flaky: FlakyBucket, name: str, fault: Answer
) -> None:
    flaky.rule = always(fault)
    # an answer to HEAD has no body to name the reason in
    with pytest.raises(StorageFailed, match=f"HTTP {fault.status}" if name == "exists" else fault.code) as told:
        await OPERATIONS[name][0](storage)
    assert not isinstance(told.value, StorageRefused), "it may do better soon"
    assert len(flaky.asked) == 1 + BRIEF.retries_max
    flaky.rule = well
    assert await OPERATIONS[name][0](storage) == OPERATIONS[name][1]


@pytest.mark.parametrize("fault", [GONE, BreakOff(reset=True)], ids=["closed", "reset"])
@pytest.mark.parametrize("name", ["get", "put", "exists", "list"])
async def test_what_nobody_answers_is_asked_for_no_oftener(
    storage: S3Storage, flaky: FlakyBucket, name: str, fault: Fault
) -> None:
    flaky.rule = always(fault)
    with pytest.raises(StorageFailed, match="cannot be reached, or broke off"):
        await OPERATIONS[name][0](storage)
    assert len(flaky.asked) == 1 + BRIEF.retries_max


async def test_pauses_begin_with_the_first_and_grow(s3: MakeS3, flaky: FlakyBucket) -> None:
    flaky.rule = always(SLOW_DOWN)
    limits = replace(BRIEF, retries_max=9, backoff_first_s=0.03, backoff_max_s=1.0)
    with pytest.raises(StorageFailed, match="SlowDown"):
        await s3(limits, endpoint=flaky.url).get(KEY)
    pauses_s = flaky.pauses_s()
    assert len(pauses_s) == limits.retries_max
    assert min(pauses_s) >= limits.backoff_first_s
    # each is drawn from the first to twice the one before: that all stay near the first is a matter of 0.2^8
    assert max(pauses_s) > 1.2 * limits.backoff_first_s


@pytest.mark.parametrize(
    ("name", "fault"),
    [("get", SLOW_DOWN), ("put", SLOW_DOWN), ("put", CONFLICT)],
    ids=["get", "put", "put that meets another"],
)
async def test_no_further_try_begins_after_the_time_for_repetitions(
    s3: MakeS3, flaky: FlakyBucket, name: str, fault: Fault
) -> None:
    flaky.rule = always(fault)
    limits = replace(BRIEF, retries_max=MANY, backoff_first_s=0.04, backoff_max_s=0.04, retry_timeout_s=0.2)
    with pytest.raises(StorageFailed):
        await OPERATIONS[name][0](s3(limits, endpoint=flaky.url))
    shortest_s = limits.backoff_first_s / 2
    assert len(flaky.asked) <= 2 + limits.retry_timeout_s / shortest_s


async def test_a_write_that_meets_another_one_under_way_is_repeated_until_it_is_known_who_won(
    storage: S3Storage, flaky: FlakyBucket, s3: MakeS3
) -> None:
    """AWS answers so where the other one may yet fail, or be a deletion."""
    flaky.rule = first(2, CONFLICT)
    assert await storage.put(OTHER, BODY) is True
    assert await s3().get(OTHER) == BODY
    flaky.rule = first(2, CONFLICT)
    assert await storage.put(OTHER, b"too late") is False
    assert await s3().get(OTHER) == BODY


async def test_a_write_that_meets_others_for_good_has_failed_and_its_pauses_are_bounded(
    storage: S3Storage, flaky: FlakyBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept_s: list[float] = []

    async def noted(delay_s: float) -> None:
        slept_s.append(delay_s)

    limits = S3Limits(retries_max=6)
    monkeypatch.setattr(storage, "_limits", limits)
    monkeypatch.setattr(s3_module, "random", SimpleNamespace(uniform=lambda _low, high: high))
    own_asyncio = SimpleNamespace(sleep=noted, get_running_loop=asyncio.get_running_loop)
    monkeypatch.setattr(s3_module, "asyncio", own_asyncio)
    flaky.rule = always(CONFLICT, method="PUT")
    with pytest.raises(StorageFailed, match="ConditionalRequestConflict"):
        await storage.put(OTHER, BODY)
    assert slept_s == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0]
    assert flaky.failed == 1 + limits.retries_max


@pytest.mark.parametrize("lost", [BreakOff(done=True), BreakOff(done=True, reset=True)], ids=["closed", "reset"])
async def test_a_write_whose_answer_was_lost_is_repeated_and_finds_its_own_object(
    storage: S3Storage, flaky: FlakyBucket, s3: MakeS3, lost: Fault
) -> None:
    flaky.rule = first(1, lost, method="PUT")
    assert await storage.put(OTHER, BODY) is False
    assert (flaky.failed, flaky.count("PUT")) == (1, 2)
    assert await s3().get(OTHER) == BODY


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("after_bytes", [0, 300_000, len(BODY) - 10])
@pytest.mark.parametrize("name", READS)
async def test_a_body_that_breaks_off_is_fetched_further_and_whole(
    storage: S3Storage, flaky: FlakyBucket, name: str, after_bytes: int, reset: bool
) -> None:
    operation, expected = READS[name]
    flaky.rule = first(2, BreakOff(after_bytes, reset=reset), method="GET")
    assert await operation(storage) == expected
    assert flaky.failed == 2


@pytest.mark.parametrize(
    "fault", [BreakOff(1_000), BreakOff(1_000, reset=True), GONE], ids=["closed", "reset", "before any answer"]
)
@pytest.mark.parametrize("name", READS)
async def test_a_body_that_breaks_off_each_time_has_failed_and_is_whole_when_the_server_is_back(
    storage: S3Storage, flaky: FlakyBucket, tmp_path: Path, name: str, fault: Fault
) -> None:
    operation, expected = READS[name]
    flaky.rule = always(fault, method="GET")
    with pytest.raises(StorageFailed, match="broke off"):
        await operation(storage)
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.name != "turn"] == []
    flaky.rule = well
    assert await operation(storage) == expected


@pytest.mark.parametrize("name", READS)
async def test_of_an_object_that_is_replaced_while_it_is_fetched_no_mixture_is_read(
    storage: S3Storage, flaky: FlakyBucket, s3: MakeS3, name: str
) -> None:
    newer = bytes(len(BODY))

    async def replaced(asked: Asked) -> Fault | None:
        if asked.method != "GET":
            return None
        if flaky.failed == 0:
            return BreakOff(300_000)
        async with s3().upload(KEY) as upload:
            await upload.write(newer)
        return None

    flaky.rule = replaced
    with pytest.raises(StorageFailed):
        await READS[name][0](storage)
    assert flaky.count("GET") == 2
    flaky.rule = well
    assert await storage.get(KEY) == newer
