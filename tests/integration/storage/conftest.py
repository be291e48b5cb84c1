"""The storages that the contract is run on. A new backend is one more name here."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from playhead.storage import LocalStorage, S3Bucket, S3Limits, S3Storage, SourceCache, Storage
from tests.support.seaweed import ACCESS_KEY, BUCKET, SECRET_KEY, Seaweed, start_seaweed

CACHE_BYTES_MAX = 64 * 1024 * 1024
MakeS3 = Callable[..., S3Storage]


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
    """`s3(limits=…, endpoint=…, …)`: a storage there, with another bucket's fields where they are given."""

    def make(limits: S3Limits | None = None, **changed: object) -> S3Storage:
        return S3Storage(replace(bucket, **changed), SourceCache(tmp_path / "cache", CACHE_BYTES_MAX), limits)  # type: ignore[arg-type]

    return make


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "local":
        return LocalStorage(tmp_path / "root")
    make: MakeS3 = request.getfixturevalue("s3")
    return make()
