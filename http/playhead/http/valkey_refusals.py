"""Why a Valkey that answers refuses whatever is written: no room, no replica, no disk. Told in a sentence each.

It says so itself with each refusal (OOM, NOREPLICAS, MISCONF); whoever asks whether it can serve wants to know before.
"""

from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

SECTIONS = ("memory", "persistence", "replication")
LIMITS = ("min-replicas-to-write", "save", "stop-writes-on-bgsave-error")
"""What INFO does not tell, and is asked for only where it matters: the login may not be allowed to."""

Told = dict[str, Any]
"""Fields of INFO by name, and the settings of LIMITS as far as they were asked for."""


async def told_by(server: Redis) -> Told:
    """What `refusal_of` needs. Raises RedisError, or OSError, when the server does not answer."""
    info: Told = await server.info(*SECTIONS)
    if "min_slaves_good_slaves" in info or info.get("rdb_last_bgsave_status") == "err":
        try:
            info |= {str(name): value for name, value in (await server.config_get(*LIMITS)).items()}
        except ResponseError:
            pass
    return info


def refusal_of(told: Mapping[str, Any]) -> str | None:
    """None: it takes what is written."""
    return _full(told) or _without_replicas(told) or _without_a_disk(told)


def _full(told: Mapping[str, Any]) -> str | None:
    limit = int(told.get("maxmemory", 0))
    used = int(told.get("used_memory", 0)) - int(told.get("mem_not_counted_for_evict", 0))
    if not limit or used < limit:
        return None
    return (
        f"it is full (maxmemory {limit} bytes) and refuses what is to be kept; raise maxmemory, and if the journal is "
        "what fills it, see that a flusher runs and that PostgreSQL answers it"
    )


def _without_replicas(told: Mapping[str, Any]) -> str | None:
    """`min_slaves_good_slaves` is there where one is asked for at least, and a lag for it."""
    if "min_slaves_good_slaves" not in told:
        return None
    good, asked = int(told["min_slaves_good_slaves"]), told.get("min-replicas-to-write")
    if good >= int(asked or 1):
        return None
    return (
        f"{good} of its replicas keep up, min-replicas-to-write asks for {asked or 'more'}, and so it refuses what is "
        "to be kept; bring replicas back"
    )


def _without_a_disk(told: Mapping[str, Any]) -> str | None:
    if told.get("aof_last_write_status") == "err":
        return (
            "it cannot write its append-only file and refuses what is to be kept; its log says why: make room on its "
            "disk, and it goes on by itself"
        )
    stops = told.get("save") and told.get("stop-writes-on-bgsave-error") == "yes"
    if told.get("rdb_last_bgsave_status") == "err" and stops:
        return (
            "it could not save its snapshot and refuses what is to be kept; its log says why: make room, or set "
            'save "", as the append-only file is what counts'
        )
    return None
