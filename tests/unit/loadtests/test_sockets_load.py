"""The load on sockets: what is said to each kind of server, what is counted, and that commands take turns."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
import socketio
from aiohttp import web

from loadtests.bench_cluster import goals, saturation, table
from loadtests.sockets import bare_server
from loadtests.sockets.clients import Load, LoadFailed, Record
from loadtests.sockets.spoken import PeerSpoken, PlayheadSpoken, Seat, Spoken, listener_id
from playhead.auth.tokens import TokenVerifier
from playhead.engine.front import Site
from playhead.engine.socket_server import SocketServer

KEY = "a key that is long enough to be taken for tests"
SCRIPT_ID = "5c1f2a4e-1f0b-4a57-9a3a-2f0a6b1f7c55"
SPOKEN = PlayheadSpoken(KEY, SCRIPT_ID)


def fields(packet: bytes) -> Any:
    return orjson.loads(packet)[1]


def test_a_device_of_playhead_comes_with_a_token_of_its_listener() -> None:
    auth = orjson.loads(SPOKEN.auth(Seat(7, 1)))
    principal = TokenVerifier(KEY, ["HS256"], "authenticated").verify(auth["token"])
    assert principal.listener_id == listener_id(7) != listener_id(8)
    assert auth["device"]["id"] != orjson.loads(SPOKEN.auth(Seat(7, 0)))["device"]["id"]


@pytest.mark.parametrize("spoken", [PeerSpoken(), SPOKEN, SPOKEN.playing()])
def test_a_commands_number_comes_back_and_its_place_is_another_one_each_time(spoken: Spoken) -> None:
    commands = [spoken.command(b"a-session", number) for number in (1, 2, 3, 4_095)]
    assert len({fields(command)["position"] for command in commands}) == 4
    assert [spoken.number(b'["state",%s]' % orjson.dumps(fields(command))) for command in commands] == [1, 2, 3, 4_095]
    assert spoken.number(b'["state",{"cause":null}]') == -1


def test_what_has_arrived_is_told_apart_whichever_comes_first() -> None:
    record = Record(numbered=True, began_s=dict.fromkeys(range(1, 6), 0.0))
    record.note_answer(1, refused=False)
    record.note_delivery(1)
    record.note_delivery(2)
    record.note_answer(2, refused=False)
    record.note_answer(3, refused=False)
    record.note_answer(4, refused=True)
    record.note_delivery(99)
    assert (record.answered, record.refused, record.arrived) == (4, 1, 2)
    assert (len(record.answer_ms), len(record.delivery_ms)) == (4, 2)
    figures = saturation("node_window_1", record, seconds=2.0)
    assert (figures["node_window_1_arrived"], figures["node_window_1_commands_per_s"]) == (0.6667, 2)


def test_the_goals_between_two_nodes_are_those_of_what_was_measured() -> None:
    figures = {
        "node_cpu_us_per_command": 100.0,
        "playhead_cpu_us_per_command": 70.0,
        "playhead_window_1_arrived": 1.0,
        "playhead_window_1_delivery_p95_ms": 99.9,
        "playhead_window_8_arrived": 0.9999,
        "playhead_window_8_delivery_p95_ms": 100.0,
        "foreign_messages": 1.0,
    }
    assert {name: goal.met for name, goal in goals(figures).items()} == {
        "vs_node_per_command": True,
        "window_1_arrived": True,
        "window_1_delivery_p95_ms": True,
        "window_8_arrived": False,
        "window_8_delivery_p95_ms": False,
        "foreign_messages": False,
    }
    assert goals({"node_cpu_us_per_command": 100.0}) == {} and len(table({}).splitlines()) == 2
    del figures["node_cpu_us_per_command"]
    row = "| playhead | 70 µs | - | - | - | 100.00% / 99.99% | 99.9 ms / 100 ms |"
    assert table(figures).splitlines()[2:] == [row]


@dataclass
class Rooms:
    """A server of the peers' kind: rooms, and what was sent to it by whom."""

    port: int = 0
    refuses: bool = False
    at_once: int = 0
    most_at_once: int = 0
    seeks: list[str] = field(default_factory=list)


@asynccontextmanager
async def serving(rooms: Rooms) -> AsyncIterator[Rooms]:
    sio = SocketServer(async_handlers=True)
    by_sid: dict[str, str] = {}

    async def connect(sid: str, _environ: Any, auth: dict[str, str]) -> None:
        if rooms.refuses:
            raise socketio.exceptions.ConnectionRefusedError("full")
        by_sid[sid] = auth["room"]
        await sio.enter_room(sid, auth["room"])

    async def seek(sid: str, data: dict[str, Any]) -> dict[str, Any]:
        rooms.seeks.append(by_sid[sid])
        rooms.at_once += 1
        rooms.most_at_once = max(rooms.most_at_once, rooms.at_once)
        await asyncio.sleep(0.001)
        rooms.at_once -= 1
        await sio.emit("state", {"t": data["t"]}, room=by_sid[sid], skip_sid=sid)
        return {"ok": True}

    sio.on("connect", connect)
    sio.on("seek", seek)
    app = web.Application()
    sio.attach(app)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await Site(runner, sio.eio, "127.0.0.1", 0).start()
    rooms.port = runner.addresses[0][1]
    try:
        yield rooms
    finally:
        await sio.shutdown()
        await runner.cleanup()


async def test_as_many_commands_are_under_way_as_asked_for_and_every_sender_gets_its_turn() -> None:
    async with serving(Rooms()) as rooms:
        load = Load([rooms.port], PeerSpoken())
        await load.connect([Seat(room, place) for room in range(6) for place in (0, 1)])
        record = await load.run(0.2, under_way=2, numbered=True)
        await load.arrivals()
        assert rooms.most_at_once == 2 and set(rooms.seeks) == {f"r{room}" for room in range(6)}
        assert record.answered == record.arrived == record.delivered == len(rooms.seeks) > 6
        assert (record.refused, record.lost) == (0, 0)
        load.close()


async def test_the_bare_peer_answers_each_command_and_tells_all_others_of_the_room() -> None:
    runner = web.AppRunner(bare_server.application(), shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    load = Load([runner.addresses[0][1]], PeerSpoken())
    try:
        await load.connect([Seat(room, place) for room, places in ((0, 3), (1, 2)) for place in range(places)])
        for under_way in (1, 2):
            record = await load.run(0.1, under_way, numbered=True)
            await load.arrivals()
            assert record.answered > 2 and (record.refused, record.lost, record.undelivered) == (0, 0, set())
            rooms = record.delivered / record.answered
            assert 1 < rooms < 2, "one other in the one room, two in the other"
    finally:
        load.close()
        await runner.cleanup()


async def test_a_client_that_is_not_let_in_says_why() -> None:
    async with serving(Rooms(refuses=True)) as rooms:
        load = Load([rooms.port], PeerSpoken())
        with pytest.raises(LoadFailed, match="full"):
            await load.connect([Seat(0, 0)])
        load.close()
