"""Commands of one connection are applied in the order in which it sent them, however fast that is."""

import asyncio
import json
from typing import Any

from tests.integration.realtime.raw import open_raw
from tests.support.nodes import Node
from tests.support.states import LISTENER_ID, SCRIPT_ID

COMMANDS = 200


async def test_two_hundred_seeks_without_waiting_are_answered_and_applied_in_order(node: Node) -> None:
    async with open_raw(node.url) as socket:
        session_id = (await socket.call("play", {"script_id": SCRIPT_ID}))["state"]["session_id"]
        for number in range(COMMANDS):
            payload = {"session_id": session_id, "position": number + 0.5}
            await socket.send(f"2{1_000 + number}{json.dumps(['seek', payload])}")
        acks: list[tuple[int, Any]] = []
        while len(acks) < COMMANDS:
            packet = await socket.receive()
            answered, _, rest = packet[1:].partition("[")
            acks.append((int(answered) - 1_000, json.loads("[" + rest)[0]["state"]))
    assert [number for number, _ in acks] == list(range(COMMANDS))
    assert [state["revision"] for _, state in acks] == list(range(2, COMMANDS + 2))
    assert [state["position"] for _, state in acks] == [number + 0.5 for number in range(COMMANDS)]
    (live,) = await node.service.live_states(LISTENER_ID)
    assert (live.position_ms, live.revision) == ((COMMANDS - 1) * 1_000 + 500, COMMANDS + 1)


async def test_a_pause_never_overtakes_the_seek_before_it(node: Node) -> None:
    async with open_raw(node.url) as socket:
        session_id = (await socket.call("play", {"script_id": SCRIPT_ID}))["state"]["session_id"]
        for number in range(30):
            seek = json.dumps(["seek", {"session_id": session_id, "position": number * 10.0}])
            pause = json.dumps(["pause", {"session_id": session_id}])
            await socket.send(f"2{seek}")
            await socket.send(f"2{pause}")
            answer = await socket.call("play", {"session_id": session_id})
            assert number * 10.0 <= answer["state"]["position"] < number * 10.0 + 5.0


async def test_several_sockets_do_not_wait_for_each_other(node: Node) -> None:
    async with open_raw(node.url, "phone") as phone, open_raw(node.url, "desk") as desk:
        session_id = (await phone.call("play", {"script_id": SCRIPT_ID}))["state"]["session_id"]
        for number in range(50):
            await phone.send(f"2{json.dumps(['seek', {'session_id': session_id, 'position': float(number)}])}")
        async with asyncio.timeout(5):
            assert (await desk.call("clock", {"t0": 1}))["ok"]
