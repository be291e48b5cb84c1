"""Two server processes as far as they know, on one real Valkey, and clients of one listener on them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.support.nodes import Node, make_token, start_node
from tests.support.players import Cable, Player
from tests.support.sessions import HeldRows, HeldScripts
from tests.support.states import SCRIPT_ID


@pytest.fixture
async def nodes(valkey_url: str) -> AsyncIterator[tuple[Node, Node]]:
    rows = HeldRows()
    async with AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(start_node(valkey_url, rows, HeldScripts())) for _ in range(2)]
        yield one, two


@pytest.fixture
async def desk(nodes: tuple[Node, Node]) -> AsyncIterator[Player]:
    async with Player(nodes[1].url, make_token(), "desk") as player:
        await player.join(script_id=SCRIPT_ID)
        yield player


@pytest.fixture
async def cable(nodes: tuple[Node, Node]) -> AsyncIterator[Cable]:
    async with Cable(nodes[0].url).plugged_in() as cable:
        yield cable


@pytest.fixture
async def phone(cable: Cable) -> AsyncIterator[Player]:
    """On the other node than the desk, behind the cable."""
    async with Player(cable.url, make_token(), "phone") as player:
        await player.join(script_id=SCRIPT_ID)
        yield player
