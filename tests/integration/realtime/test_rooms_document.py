"""The program of docs/rooms.md, as it stands there: two of it on one real Valkey."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import socketio
from prometheus_client.parser import text_string_to_metric_families

from playhead.realtime import sharded_manager
from playhead.realtime.sharded_manager import ShardedManager
from tests.integration.sessions.lines import eventually
from tests.support.sockets import CONNECT_TIMEOUT_S

DOCUMENT = Path(__file__).parents[3] / "docs" / "rooms.md"
ARRIVAL_TIMEOUT_S = 5.0
PING_EVERY_S = 0.05


@pytest.fixture
def managers(monkeypatch: pytest.MonkeyPatch) -> list[ShardedManager]:
    """Those that the program has made. They ping themselves often, as no test waits 10 s."""
    made: list[ShardedManager] = []

    def make(*arguments: Any, **options: Any) -> ShardedManager:
        made.append(ShardedManager(*arguments, **options, ping_every_s=PING_EVERY_S))
        return made[-1]

    monkeypatch.setattr(sharded_manager, "ShardedManager", make)
    return made


@asynccontextmanager
async def running(redis_url: str, port: int) -> AsyncIterator[str]:
    """One process of the document's program, and its address."""
    (program,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    names: dict[str, Any] = {"__name__": "document"}
    exec(compile(program, str(DOCUMENT), "exec"), names)
    task = asyncio.create_task(names["serve"](redis_url, port))
    url = f"http://127.0.0.1:{port}"

    async def listens() -> bool:
        assert not task.done(), task.exception()
        with suppress(aiohttp.ClientError):
            await gauges(url)
            return True
        return False

    await eventually(listens)
    yield url
    task.cancel()
    await asyncio.wait([task])


async def gauges(url: str) -> dict[str, float]:
    async with aiohttp.ClientSession() as http, http.get(f"{url}/metrics") as answer:
        families = text_string_to_metric_families(await answer.text())
    return {sample.name: sample.value for family in families for sample in family.samples}


async def member(stack: AsyncExitStack, url: str) -> tuple[Any, "asyncio.Queue[tuple[Any, ...]]"]:
    """A client in the room `r`, and what it is sent."""
    client, events = socketio.AsyncClient(reconnection=False), asyncio.Queue[tuple[Any, ...]]()
    client.on("*", lambda *event: events.put_nowait(event))
    await client.connect(url, transports=["websocket"], wait_timeout=CONNECT_TIMEOUT_S)
    stack.push_async_callback(client.disconnect)
    await client.call("join", "r")
    return client, events


async def test_the_documents_program_has_rooms_gaps_and_gauges(
    managers: list[ShardedManager], valkey_url: str, free_ports: Callable[[], int]
) -> None:
    async with AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(running(valkey_url, free_ports())) for _ in range(2)]
        (here, _), (_, events) = await member(stack, one), await member(stack, two)
        async with asyncio.timeout(ARRIVAL_TIMEOUT_S):
            await here.call("say", ("r", "hello"))
            assert await events.get() == ("said", "hello")
            managers[1].reopen()
            assert await events.get() == ("resync",)

        async def pinged() -> bool:
            return (await gauges(two)).get("playhead_rooms_ping_seconds", 0) > 0

        await eventually(pinged)
        seen = await gauges(two)
        assert seen["playhead_rooms_connected"] == 1
        assert seen["playhead_rooms_ping_seconds"] < ARRIVAL_TIMEOUT_S
        assert 0 <= seen["playhead_rooms_silent_seconds"] < ARRIVAL_TIMEOUT_S
