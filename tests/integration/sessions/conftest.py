"""The session layer on the real PostgreSQL and Valkey; the database comes migrated, with its real logins."""

from collections.abc import AsyncIterator

import pytest

from playhead.sessions.memory_store import MemoryStore
from tests.integration.db.conftest import database, logins, logins_folder, migrated_template, owner, owner_url
from tests.integration.sessions.lines import Line, durable_line, redis_line
from tests.support.sessions import SetClock
from tests.support.states import NOW_MS

__all__ = ["database", "logins", "logins_folder", "migrated_template", "owner", "owner_url"]


@pytest.fixture(params=["memory", "durable", "redis", "cluster"])
def kind(request: pytest.FixtureRequest) -> str:
    """Each store under the contract: in memory, in memory with its commits in PostgreSQL, in Valkey, in a cluster."""
    if request.param == "durable":
        # here, as a database is prepared without an event loop
        request.getfixturevalue("logins")
    return str(request.param)


@pytest.fixture
async def line(kind: str, request: pytest.FixtureRequest) -> AsyncIterator[Line]:
    clock = SetClock()
    if kind in ("redis", "cluster"):
        url = request.getfixturevalue("valkey_url") if kind == "redis" else request.getfixturevalue("cluster").url
        async with redis_line(url, clock) as line:
            yield line
        return
    if kind == "durable":
        async with durable_line(request.getfixturevalue("logins"), clock) as line:
            yield line
        return

    async def on_packet(listener_id: str, packet: bytes) -> None:
        await line.on_packet(listener_id, packet)

    store = MemoryStore(clock, on_packet, epoch=NOW_MS)
    line = Line(store, store)
    yield line
