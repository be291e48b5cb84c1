"""Who has room beside whom: probes beside sessions, requests of other kinds beside sockets."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest

from playhead.engine import admission
from playhead.engine.admission import Reason
from tests.integration.engine.conftest import Engine, StartGuarded
from tests.integration.engine.raw import PolledSocket
from tests.integration.engine.test_hostile_clients import bare, until


async def test_a_probe_that_is_crowded_out_leaves_its_session_to_long_polling(
    guarded: StartGuarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "PATIENCE_US", 0)
    server = await guarded(half_open_max=1)
    polls = await server.engine.polls()
    await PolledSocket(polls).connect()
    probing = await server.engine.websocket(f"&sid={polls.sid}")
    await probing.send("2probe")
    assert await probing.receive() == "3probe"
    (await bare(server.engine))[0].close()
    await probing.closed()
    await server.engine.sio.emit("message", "after")
    assert await polls.packets() == ['42["message","after"]']
    await upgraded_again(server.engine, polls.sid)


async def upgraded_again(engine: Engine, sid: str) -> None:
    raw = await engine.websocket(f"&sid={sid}")
    await raw.send("2probe")
    assert await raw.receive() == "3probe"
    await raw.send("5")
    await raw.alive()


async def test_requests_of_other_kinds_have_what_sockets_leave_to_them(guarded: StartGuarded) -> None:
    server = await guarded(rest_max=2)
    url = f"{server.engine.url}/echo"
    connector = aiohttp.TCPConnector(force_close=False, limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:

        async def held() -> AsyncIterator[bytes]:
            yield b"x"
            await done.wait()

        done = asyncio.Event()
        requests = [asyncio.create_task(http.post(url, data=held())) for _ in range(2)]
        await until(lambda: len(server.engine.site._http.connections) == 2)  # type: ignore[union-attr]
        async with server.engine.http.post(url, data=b"x") as answer:
            assert (answer.status, (await answer.json())["reason"]) == (503, "rest")
            assert answer.headers["Retry-After"] == "1"
        await (await server.engine.connected()).alive()
        done.set()
        for request in requests:
            assert (await request).status == 200
    assert server.refused == [Reason.REST]
    await until(lambda: not server.engine.site._http.connections)  # type: ignore[union-attr]
    async with server.engine.http.post(url, data=b"x") as answer:
        assert answer.status == 200


async def test_who_polls_for_a_socket_has_connections_beside_those_of_rest(guarded: StartGuarded) -> None:
    server = await guarded(rest_max=1)
    talks = [PolledSocket(await server.engine.polls()) for _ in range(3)]
    for talk in talks:
        await talk.connect()
    await asyncio.gather(*(talk.alive() for talk in talks))
    assert server.refused == []
