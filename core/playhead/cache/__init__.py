"""Answers that cost something and are the same for everybody: kept in Redis, in memory while Redis is away.

Owns: where values are kept, for how long, how much of memory, and that one process makes a value once at a time.
Must not know: what the values mean, who may see them (that is checked before anything is looked up here).
How it works: `Cache` asks its own copy (at most 1 s old), then Redis, then whoever makes the value.
"""

from playhead.cache.backend import VALUE_BYTES_MAX, Backend, CacheUnavailable
from playhead.cache.bounded import BoundedMap
from playhead.cache.cache import Cache, Kept
from playhead.cache.claims import Claims, OwnClaims, RedisClaims
from playhead.cache.flights import Flights
from playhead.cache.memory import MemoryBackend
from playhead.cache.redis_backend import RedisBackend

__all__ = [
    "VALUE_BYTES_MAX",
    "Backend",
    "BoundedMap",
    "Cache",
    "CacheUnavailable",
    "Claims",
    "Flights",
    "Kept",
    "MemoryBackend",
    "OwnClaims",
    "RedisBackend",
    "RedisClaims",
]
