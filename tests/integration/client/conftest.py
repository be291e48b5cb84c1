"""Two server processes as far as they know, on one real Valkey, and clients of one listener on them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.support.nodes import Node, start_node
from tests.support.sessions import HeldRows, HeldScripts


@pytest.fixture
async def nodes(valkey_url: str) -> AsyncIterator[tuple[Node, Node]]:
    rows = HeldRows()
    async with AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(start_node(valkey_url, rows, HeldScripts())) for _ in range(2)]
        yield one, two
