"""Buckets for tests: `s3` makes storages in the run's S3 server, `flaky` stands before it and fails as a test says.

A pytest plugin, switched on in tests/conftest.py.
"""

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from playhead.storage import LocalStorage, S3Bucket, S3Limits, S3Storage, SourceCache, Storage
from tests.support.flaky_bucket import FlakyBucket, flaky_bucket
from tests.support.seaweed import ACCESS_KEY, BUCKET, SECRET_KEY, Seaweed, start_seaweed

CACHE_BYTES_MAX = 64 * 1024 * 1024
MakeS3 = Callable[..., S3Storage]
BRIEF = S3Limits(
    connect_timeout_s=1, request_timeout_s=5, retries_max=3, backoff_first_s=0.02, backoff_max_s=0.2, retry_timeout_s=5
)
"""Of who meets a bucket that is away: told within a second."""


@pytest.fixture(scope="session")
def seaweed(run_folder: Path, free_ports: Callable[[], int]) -> Iterator[Seaweed]:
    """The run's S3 server, started when the first test asks for it."""
    server = start_seaweed(run_folder / "seaweed", free_ports)
    yield server
    server.stop()


@pytest.fixture
def bucket(seaweed: Seaweed) -> S3Bucket:
    """An empty place in the run's bucket."""
    return S3Bucket(
        name=BUCKET,
        prefix=f"tests/{uuid.uuid4()}",
        endpoint=seaweed.endpoint,
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET_KEY,
    )


@pytest.fixture
def s3(bucket: S3Bucket, tmp_path: Path) -> MakeS3:
    """`s3(limits=…, endpoint=…, …)`: a storage there, with another bucket's fields where they are given.

    `cache`: the folder of its sources, which one machine's processes share.
    """

    def make(limits: S3Limits | None = None, *, cache: str = "cache", **changed: object) -> S3Storage:
        return S3Storage(replace(bucket, **changed), SourceCache(tmp_path / cache, CACHE_BYTES_MAX), limits)  # type: ignore[arg-type]

    return make


@pytest.fixture
async def flaky(seaweed: Seaweed) -> AsyncIterator[FlakyBucket]:
    """The run's S3 server behind a proxy that fails nothing yet: `s3(BRIEF, endpoint=flaky.url)`."""
    async with flaky_bucket(seaweed.endpoint) as made:
        yield made


@pytest.fixture(params=["local", "s3"])
def any_storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """Each of the storages that there are. A new backend is one more name here."""
    if request.param == "local":
        return LocalStorage(tmp_path / "root")
    make: MakeS3 = request.getfixturevalue("s3")
    return make()
