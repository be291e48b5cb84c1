"""Keeping embedded servers up, with a real Valkey that is killed."""

import asyncio
import os
import signal
from collections.abc import Callable

import pytest

from playhead.app.development.children import Backoff, ChildFailed
from playhead.app.development.standing import keep_standing
from playhead.app.embedded import EmbeddedValkey
from playhead.app.embedded.valkey import answers

QUICK = Backoff(first_s=0.001, longest_s=0.002, crashes_max=3)


def kill(valkey: EmbeddedValkey) -> None:
    assert valkey._server is not None
    os.kill(valkey._server.pid, signal.SIGKILL)


class Said:
    """What is told to the person at the terminal; `next` waits for it."""

    def __init__(self) -> None:
        self._texts: asyncio.Queue[str] = asyncio.Queue()

    def __call__(self, text: str) -> None:
        self._texts.put_nowait(text)

    async def next(self) -> str:
        return await asyncio.wait_for(self._texts.get(), 30)


async def test_a_server_that_is_killed_is_back_where_it_was(start_valkey: Callable[..., EmbeddedValkey]) -> None:
    valkey, said = start_valkey(), Said()
    url = valkey.url
    task = asyncio.create_task(keep_standing("Valkey", valkey, backoff=QUICK, say=said))
    kill(valkey)
    told = await said.next()
    assert "Valkey ended with SIGKILL" in told and str(valkey.log_path) in told
    assert "Server initialized" in told and "starts again in 0.001 s" in told
    assert await said.next() == "Valkey is back."
    assert answers(valkey.socket_path) and valkey.url == url
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_server_that_dies_too_often_ends_it_all_with_its_log(
    start_valkey: Callable[..., EmbeddedValkey],
) -> None:
    valkey, said = start_valkey(), Said()
    task = asyncio.create_task(keep_standing("Valkey", valkey, backoff=QUICK, say=said))
    for _ in range(2):
        kill(valkey)
        await said.next()
        assert await said.next() == "Valkey is back."
    kill(valkey)
    with pytest.raises(ChildFailed, match="number 3 in a row") as caught:
        await task
    assert "Server initialized" in str(caught.value)
    assert not answers(valkey.socket_path)


async def test_crashes_after_a_healthy_life_do_not_add_up(start_valkey: Callable[..., EmbeddedValkey]) -> None:
    valkey, said = start_valkey(), Said()
    healthy = Backoff(first_s=0.001, crashes_max=2, healthy_after_s=0.0)
    task = asyncio.create_task(keep_standing("Valkey", valkey, backoff=healthy, say=said))
    for _ in range(3):
        kill(valkey)
        await said.next()
        assert await said.next() == "Valkey is back."
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
