"""Objects in a bucket of AWS S3, R2, MinIO, Supabase Storage or whatever speaks S3, through obstore's S3Store.

An object is written with one request, or as a multipart upload that is nothing until it is completed: so nothing
half-written is ever visible. Each request has a time limit, and is repeated after growing pauses when the server
answers 5xx or not at all, within a time limit of its own (`S3Limits`). Errors are told without the server's words:
those quote requests, and with them access keys.
"""

import asyncio
import random
import re
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    GenericError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from playhead.storage.interface import (
    PRESIGNED_S_MAX,
    StorageFailed,
    StorageRefused,
    checked,
)
from playhead.storage.objects import ObjectStorage
from playhead.storage.source_cache import SourceCache

if TYPE_CHECKING:
    from obstore.store import S3Config

PART_BYTES = 5 * 1024 * 1024
"""The least that S3 takes as a part, and R2 wants all of one size; 10,000 of them are more than any source has."""
PARTS_AT_ONCE = 2
"""So an upload holds at most 15 MiB: two parts on their way, one that fills."""
MISSING_BUCKET = "NoSuchBucket"
NOT_IMPLEMENTED = "NotImplemented"
CONFLICT = "ConditionalRequestConflict"
"""Another write, or a deletion, of the same object is under way."""
_WORD = re.compile(r"<Code>(\w{1,64})</Code>")
_REFUSED = re.compile(r"status code: 40[13]\b")
"""Listings have no error of their own for it."""
_REPEATED = re.compile(r"after (\d+) retries, ")
"""How obstore says how often it has repeated a request."""
_STATUS = re.compile(r"\b([45]\d\d) [A-Z][a-z]")


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Bucket:
    """Where the objects are. `endpoint` None: AWS; keys None: as AWS's own programs find them (environment, role).

    `conditional_put` False: for a server that does not know `If-None-Match`. Then `put` looks first and writes
    afterwards: of two that write at once the last one wins, and both are told that they did.
    """

    name: str
    prefix: str = ""
    endpoint: str | None = None
    region: str = "us-east-1"
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    conditional_put: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Limits:
    """Whatever the server does, a request is given up after retry_timeout_s + request_timeout_s, and a `put` after
    retry_timeout_s more."""

    connect_timeout_s: float = 3.0
    request_timeout_s: float = 20.0
    """Of one try: 5 MiB in that time are 2 Mbit/s."""
    retries_max: int = 5
    backoff_first_s: float = 0.1
    backoff_max_s: float = 2.0
    retry_timeout_s: float = 10.0
    """No further try begins after that."""

    def pause_s(self, attempt: int) -> float:
        """The longest pause after a try that failed, counted from 0."""
        return min(self.backoff_max_s, self.backoff_first_s * 2.0**attempt)


class S3Storage(ObjectStorage):
    """The objects of `bucket` below its prefix. `cache` keeps sources on disk for programs that read files.

    Nothing is asked of the server here: `check` does.
    """

    def __init__(self, bucket: S3Bucket, cache: SourceCache, limits: S3Limits | None = None) -> None:
        self._bucket = bucket
        self._cache = cache
        self._limits = limits or S3Limits()
        store = _store(bucket, self._limits)
        super().__init__(store, part_bytes=PART_BYTES, parts_at_once=PARTS_AT_ONCE)
        self._s3 = store

    def __repr__(self) -> str:
        return f"S3Storage({self._place})"

    async def check(self) -> None:
        """Asks for one page of a listing. Raises StorageRefused where keys, rights or bucket are wrong, StorageFailed
        where nobody answers."""
        with self._failures_named(self._place):
            async for _page in obstore.list(self._s3, prefix="check", chunk_size=1):
                return

    async def free_bytes(self) -> int | None:
        return None

    def local_file(self, key: str) -> AbstractAsyncContextManager[Path]:
        return self._cache.held(self, checked(key))

    async def presigned_url(self, key: str, valid_s: int) -> str:
        if not 0 < valid_s <= PRESIGNED_S_MAX:
            raise ValueError(f"an address may be valid for up to {PRESIGNED_S_MAX} s, not {valid_s}")
        with self._failures_named(checked(key)):
            return await obstore.sign_async(self._s3, "GET", key, timedelta(seconds=valid_s))

    async def remove_abandoned(self) -> int:
        """Parts of uploads that were never completed are the bucket's own to remove, by a rule of its life cycle."""
        return 0

    async def _create(self, key: str, body: bytes) -> None:
        if self._bucket.conditional_put:
            await self._create_repeated(key, body)
            return
        if await self.exists(key):
            raise AlreadyExistsError(key)
        await obstore.put_async(self._s3, key, body, use_multipart=False)

    async def _create_repeated(self, key: str, body: bytes) -> None:
        """obstore repeats no conditional write whose connection broke, as its outcome is not known, and takes one that
        met another under way for one that came too late. Here a repetition does no harm: at most it finds the object
        that the try before has made."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._limits.retry_timeout_s
        for attempt in count():
            try:
                return await super()._create(key, body)
            except (GenericError, AlreadyExistsError) as error:
                if not _is_open(error, self._limits.retries_max):
                    raise
                if attempt >= self._limits.retries_max or loop.time() > deadline:
                    raise self._failure(key, error) from None
            await asyncio.sleep(self._limits.pause_s(attempt) * random.uniform(0.5, 1))

    @property
    def _place(self) -> str:
        place = f"s3://{self._bucket.name}/{self._bucket.prefix}".rstrip("/")
        return f"{place} at {self._bucket.endpoint or 'AWS'}"

    def _check_absence(self, error: FileNotFoundError) -> None:
        if MISSING_BUCKET in str(error):
            raise error

    def _failure(self, what: object, error: Exception) -> StorageFailed:
        where = "" if what == self._place else f" in {self._place}"
        told = str(error)
        if MISSING_BUCKET in told:
            return StorageRefused(f"{what}{where}: there is no such bucket. Make it, or correct its name.")
        if isinstance(error, PermissionDeniedError | UnauthenticatedError) or _REFUSED.search(told):
            return StorageRefused(
                f"{what}{where}: the server refuses ({_reason(error)}). Check the access keys, "
                "their right to read, write, list and delete there, and this machine's clock."
            )
        if NOT_IMPLEMENTED in told:
            return StorageRefused(f"{what}{where}: the server cannot write conditionally. Set that off for it.")
        return StorageFailed(f"{what}{where}: {_reason(error)}")


def _is_open(error: Exception, retries_max: int) -> bool:
    """Whether it is not known what became of a conditional write, and obstore has not repeated it in vain itself."""
    told = str(error)
    if isinstance(error, AlreadyExistsError):
        return CONFLICT in told
    repeated = _REPEATED.search(told)
    return _STATUS.search(told) is None and (repeated is None or int(repeated[1]) < retries_max)


def _reason(error: Exception) -> str:
    """A few plain words: the code that S3 answered, the status, or the kind of failure. Never what was asked."""
    told = str(error)
    if code := _WORD.search(told):
        return code[1]
    if status := _STATUS.search(told):
        return f"HTTP {status[1]}"
    if isinstance(error, GenericError):
        slow = "timed out" in told.lower() or "TimedOut" in told
        return "the server does not answer in time" if slow else "the server cannot be reached, or broke off"
    return type(error).__name__


def _store(bucket: S3Bucket, limits: S3Limits) -> S3Store:
    config: S3Config = {"region": bucket.region, "virtual_hosted_style_request": False}
    if bucket.endpoint is not None:
        config["endpoint"] = bucket.endpoint
    if bucket.access_key_id is not None and bucket.secret_access_key is not None:
        config["access_key_id"] = bucket.access_key_id
        config["secret_access_key"] = bucket.secret_access_key
    return S3Store(
        bucket.name,
        prefix=bucket.prefix or None,
        config=config,
        client_options={
            "allow_http": True,
            "connect_timeout": timedelta(seconds=limits.connect_timeout_s),
            "timeout": timedelta(seconds=limits.request_timeout_s),
        },
        retry_config={
            "max_retries": limits.retries_max,
            "retry_timeout": timedelta(seconds=limits.retry_timeout_s),
            "backoff": {
                "init_backoff": timedelta(seconds=limits.backoff_first_s),
                "max_backoff": timedelta(seconds=limits.backoff_max_s),
                "base": 2,
            },
        },
    )
