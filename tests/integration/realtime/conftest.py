"""One or two server processes with their Socket.IO servers, on one real Valkey; rows and scripts are in memory."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.support.nodes import Node, start_node
from tests.support.sessions import HeldRows, HeldScripts


@pytest.fixture
def rows() -> HeldRows:
    return HeldRows()


@pytest.fixture
async def nodes(valkey_url: str, rows: HeldRows) -> AsyncIterator[tuple[Node, Node]]:
    async with AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(start_node(valkey_url, rows, HeldScripts(), grace_s=0.1)) for _ in range(2)
        ]
        yield one, two


@pytest.fixture
async def node(valkey_url: str, rows: HeldRows) -> AsyncIterator[Node]:
    async with start_node(valkey_url, rows, HeldScripts(), connections_max=4) as node:
        yield node
