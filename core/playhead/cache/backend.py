"""The contract of a place that keeps values for a while: memory and Redis, under one test suite."""

from typing import Protocol

VALUE_BYTES_MAX = 256 * 1024
"""Larger values are not kept: they would be made faster than they are fetched, and push out everything else."""


class CacheUnavailable(Exception):
    """The cache does not answer. Make the value; nothing is wrong with it."""


class Backend(Protocol):
    """Bytes by key, each with a time to live. Every method may raise CacheUnavailable."""

    async def get(self, key: str) -> bytes | None:
        """The value, unless its time is over or it was never put, dropped or pushed out."""
        ...

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        """Keeps `value` for `ttl_s` seconds in place of what was there; one over VALUE_BYTES_MAX is not kept."""
        ...

    async def drop(self, key: str) -> None: ...
