"""A socket that sends far more than anybody needs: it is told so, and neither the others nor the memory suffer."""

import asyncio
import json
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import psutil
import pytest

from playhead.runtime.limits import COMMAND_RATE
from tests.integration.realtime.raw import RawSocket, open_raw
from tests.support.bare_http import READABLE, SECRET, UNREADABLE, bare_http
from tests.support.sockets import Client
from tests.support.system import RunningSystem
from tests.support.systems import StartSystem

FLOOD = 10_000
GROWTH_BYTES_MAX = 16 * 1024**2
UNREAD_MAX = 2_000_000
"""Events after which a socket that reads nothing must have been cut, whatever the kernel's buffers hold."""
RECEIVE_BUFFER_BYTES = 4_096
COUNTED_S = 10.0


@pytest.fixture
async def flooder(running_system: RunningSystem) -> AsyncIterator[RawSocket]:
    """A socket on the first server, of a listener of its own."""
    async with open_raw(running_system.base_url, token=running_system.token(str(uuid.uuid4()))) as socket:
        yield socket


async def flood(socket: RawSocket, answers: list[Any], session_id: str, count: int = FLOOD) -> None:
    """Sends `count` seeks as fast as it goes, and collects the acks as they come."""

    async def send() -> None:
        for number in range(count):
            payload = {"session_id": session_id, "position": number % 50 + 0.5}
            await socket.send(f"2{10_000 + number}{json.dumps(['seek', payload])}")
            if number % 10 == 0:
                # or all of them lie in the kernel before the other clients of this process have their turn
                await asyncio.sleep(0)

    sending = asyncio.create_task(send())
    while len(answers) < count:
        packet = await socket.receive()
        if packet.startswith("3"):
            answers.append(json.loads(packet[packet.index("[") :])[0])
    await sending


async def test_ten_thousand_commands_in_a_row_hold_up_nobody_and_each_is_answered(
    running_system: RunningSystem, flooder: RawSocket
) -> None:
    played = await flooder.call("play", {"script_id": running_system.script_id})
    session_id = played["state"]["session_id"]
    desk = await Client.open(running_system.base_url, running_system.token(str(uuid.uuid4())), device_id="desk")
    theirs = (await desk.call("play", {"script_id": running_system.script_id}))["state"]["session_id"]

    answers: list[Any] = []
    flooding = asyncio.create_task(flood(flooder, answers, session_id))
    for number in range(3):
        assert (await desk.call("seek", {"session_id": theirs, "position": float(number)}))["ok"]
    assert len(answers) < FLOOD, "the others were served while the flood was on"
    await flooding

    taken = [answer["state"]["revision"] for answer in answers if answer["ok"]]
    refused = [answer["error"] for answer in answers if not answer["ok"]]
    assert taken == list(range(2, len(taken) + 2)) and len(taken) >= COMMAND_RATE.burst - 1
    assert {(error["code"], error["retry"]) for error in refused} == {("overloaded", True)}
    assert all(error["retry_after_ms"] > 0 for error in refused)
    # not disconnected: served again in a moment
    after = await served(flooder, "join", {"session_id": session_id})
    assert after["state"]["revision"] == taken[-1]
    await desk.close()


@pytest.mark.parametrize("burst", [1, 3])
async def test_how_fast_a_socket_may_send_is_what_the_settings_say(make_system: StartSystem, burst: int) -> None:
    settings = {"PLAYHEAD_CONNECTION_EVENTS_PER_S": "1", "PLAYHEAD_CONNECTION_EVENTS_BURST": str(burst)}
    system = make_system(None, helper_commands=(), settings=settings)
    await asyncio.to_thread(system.start)
    async with open_raw(system.base_url, token=system.token()) as socket:
        began_s = time.monotonic()
        for _ in range(burst):
            assert (await socket.call("clock", {"t0": 0}))["ok"]
        refused = (await socket.call("clock", {"t0": 0}))["error"]
        # one a second: the next is due a second after the first, and some of that has passed
        elapsed_ms = (time.monotonic() - began_s) * 1_000
        assert refused["code"] == "overloaded"
        assert 1_000 - elapsed_ms - 1 <= refused["retry_after_ms"] <= 1_000
        assert (await served(socket, "clock", {"t0": 0}))["ok"]


async def test_how_fast_a_listener_may_ask_over_rest_is_what_the_settings_say(make_system: StartSystem) -> None:
    burst = 3
    settings = {"PLAYHEAD_CONNECTION_EVENTS_PER_S": "1", "PLAYHEAD_CONNECTION_EVENTS_BURST": str(burst)}
    system = make_system(None, helper_commands=(), settings=settings)
    await asyncio.to_thread(system.start)
    headers, url = {"Authorization": f"Bearer {system.token()}"}, f"{system.base_url}/api/v1/audio/scripts"
    async with aiohttp.ClientSession(headers=headers) as session:
        began_s, answered = time.monotonic(), 0
        while True:
            async with session.get(url) as answer:
                if answer.status != 200:
                    break
                answered += 1
        assert burst <= answered <= burst + time.monotonic() - began_s
        assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
        await asyncio.sleep(float(answer.headers["Retry-After"]))
        async with session.get(url) as answer:
            assert answer.status == 200


def exported(system: RunningSystem) -> list[str]:
    """The rows of `/metrics`."""
    with urllib.request.urlopen(f"http://127.0.0.1:{system.metrics_ports[0]}/metrics", timeout=5) as response:
        return list(response.read().decode().splitlines())


async def test_a_head_that_cannot_be_read_is_refused_and_its_secrets_are_in_no_log(make_system: StartSystem) -> None:
    system = make_system(None, helper_commands=())
    await asyncio.to_thread(system.start)
    for sent, status, code in UNREADABLE.values():
        async with bare_http(system.ports[0]) as client:
            await client.send(READABLE)
            assert (await client.answer()).status == 200
            await client.send(sent)
            answer = await client.answer()
            assert (answer.status, answer.json["code"]) == (status, code)
            assert SECRET.encode() not in answer.body
            assert await client.ended() == b""
    statuses = Counter(status for _, status, _ in UNREADABLE.values())
    row = 'playhead_http_requests_total{method="other",route="unreadable",status="%d"} %.1f'
    async with asyncio.timeout(COUNTED_S):
        while [one for one in statuses.items() if row % one not in await asyncio.to_thread(exported, system)]:
            await asyncio.sleep(0.05)
    log = system.servers[0].log_path.read_text()
    assert SECRET not in log and "was refused; it is not shown" in log and "Traceback" not in log, log


async def served(socket: RawSocket, event: str, payload: object) -> dict[str, Any]:
    """The good ack of an event that is sent again, after as long as the refusal says, while it comes too fast."""
    while not (answer := await socket.call(event, payload))["ok"]:
        assert answer["error"]["code"] == "overloaded"
        await asyncio.sleep(answer["error"]["retry_after_ms"] / 1000)
    return answer


def memory_bytes(running_system: RunningSystem) -> int:
    return int(psutil.Process(running_system.servers[0].pid).memory_info().rss)


async def test_a_flood_leaves_nothing_in_the_server_s_memory(running_system: RunningSystem, flooder: RawSocket) -> None:
    played = await flooder.call("play", {"script_id": running_system.script_id})
    session_id = played["state"]["session_id"]
    await flood(flooder, [], session_id)
    before_bytes = memory_bytes(running_system)
    for _ in range(3):
        await flood(flooder, [], session_id)
    assert memory_bytes(running_system) - before_bytes < GROWTH_BYTES_MAX


async def test_a_flooder_that_reads_no_answer_is_cut_before_it_fills_the_memory(running_system: RunningSystem) -> None:
    token = running_system.token(str(uuid.uuid4()))
    async with open_raw(running_system.base_url, token=token, receive_buffer_bytes=RECEIVE_BUFFER_BYTES) as flooder:
        before_bytes = memory_bytes(running_system)
        with pytest.raises(ConnectionError):
            for sent in range(UNREAD_MAX):
                await flooder.send(f'2{sent}["clock",{{"t0":1}}]')
        assert memory_bytes(running_system) - before_bytes < GROWTH_BYTES_MAX
