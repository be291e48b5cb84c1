"""Each limit on who may open a socket, at it and one past it, over real connections."""

import asyncio
import socket
from pathlib import Path

import aiohttp
import pytest
import socketio

from playhead.engine import front
from playhead.engine.admission import FULL_RETRY_MS, RETRY_MS_MIN, Reason
from playhead.engine.socket_server import REFUSED_MAX
from tests.integration.engine.conftest import StartGuarded, start_engine
from tests.integration.engine.raw import WAIT_S, RawSocket
from tests.integration.engine.test_hostile_clients import bare, until
from tests.support.javascript import run_client

RETURNING = Path(__file__).with_name("returning.mjs")
PHONE, DESK = {"X-Forwarded-For": "192.0.2.1"}, {"X-Forwarded-For": "192.0.2.2"}
QUIET_S = 0.2
"""Long enough for what should not happen."""


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_at_the_limit_of_the_process_the_next_one_is_told_when_to_come_back(
    guarded: StartGuarded, transport: str
) -> None:
    server = await guarded(sockets_max=2)
    first, second = await server.engine.connected(), await server.engine.connected()
    status, body, wait_s = await server.answer(transport)
    assert (status, body["code"], body["reason"], body["retry"]) == (503, "overloaded", "process", True)
    assert FULL_RETRY_MS <= body["retry_after_ms"] <= 1_000 * wait_s
    await first.socket.close()
    await until(lambda: len(server.engine.sio.eio.admission) == 1)
    await (await server.engine.connected()).alive()
    await second.alive()
    assert server.refused == [Reason.PROCESS]


async def test_sessions_on_long_polling_count_as_well(guarded: StartGuarded) -> None:
    server = await guarded(sockets_max=1)
    polls = await server.engine.polls()
    assert (await server.answer())[0] == 503
    await polls.post("1")
    await server.engine.connected()


@pytest.mark.parametrize("anew", [False, True])
async def test_a_session_that_changes_to_a_websocket_counts_once(guarded: StartGuarded, anew: bool) -> None:
    """Over a connection that it has polled on before, or a new one."""
    server = await guarded(sockets_max=1)
    polls = await server.engine.polls()
    async with aiohttp.ClientSession() as http:
        address = f"{server.engine.path}websocket&sid={polls.sid}"
        raw = RawSocket(await (http if anew else server.engine.http).ws_connect(address))
        await upgraded(raw)
        assert (len(server.engine.sio.eio.admission), server.half_open, server.refused) == (1, 0, [])
        await raw.socket.close()
        await until(lambda: len(server.engine.sio.eio.admission) == 0)


async def upgraded(raw: RawSocket) -> None:
    await raw.send("2probe")
    assert await raw.receive() == "3probe"
    await raw.send("5")
    await raw.connect()
    await raw.alive()


async def test_at_the_limit_of_an_address_others_are_let_in(guarded: StartGuarded) -> None:
    server = await guarded(address_sockets_max=2)
    phones = [await server.engine.connected(headers=PHONE) for _ in range(2)]
    status, body, _ = await server.answer(headers=PHONE)
    assert (status, body["reason"]) == (503, "address")
    await server.engine.connected(headers=DESK)
    await phones[0].socket.close()
    await until(lambda: server.engine.sio.eio.admission.of_address("192.0.2.1") == 1)
    await server.engine.connected(headers=PHONE)


async def test_a_network_of_ipv6_is_one_address(guarded: StartGuarded) -> None:
    server = await guarded(address_sockets_max=1)
    first = await server.engine.connected(headers={"X-Forwarded-For": "2001:db8::1"})
    assert (await server.answer(headers={"X-Forwarded-For": "2001:db8::2"}))[1]["reason"] == "address"
    other = await server.engine.connected(headers={"X-Forwarded-For": "2001:db8:0:1::1"})
    for raw in (first, other):
        await raw.alive()


async def test_a_peer_that_is_no_trusted_proxy_counts_as_itself_whatever_it_says(guarded: StartGuarded) -> None:
    server = await guarded(trusted_proxies=("10.0.0.0/8",), address_sockets_max=1)
    phone = await server.engine.connected(headers=PHONE)
    assert (await server.answer(headers=DESK))[1]["reason"] == "address"
    await phone.alive()


async def test_a_proxy_that_tells_no_address_is_not_limited_as_one(guarded: StartGuarded) -> None:
    server = await guarded(address_sockets_max=1, address_burst=1)
    for raw in [await server.engine.connected() for _ in range(3)]:
        await raw.alive()


@pytest.mark.parametrize(
    ("limits", "headers", "reason"),
    [({"per_s": 1, "burst": 2}, {}, "rate"), ({"address_per_s": 1, "address_burst": 2}, PHONE, "address_rate")],
)
async def test_past_a_burst_the_next_one_is_promised_a_turn(
    guarded: StartGuarded, limits: dict[str, int], headers: dict[str, str], reason: str
) -> None:
    server = await guarded(**limits)
    for _ in range(2):
        await server.engine.connected(headers=headers)
    waits = []
    for transport in ("websocket", "polling"):
        status, body, _ = await server.answer(transport, headers)
        assert (status, body["reason"]) == (503, reason)
        waits.append(body["retry_after_ms"])
    assert RETRY_MS_MIN <= waits[0] < waits[1], "each has a turn of its own"
    async with server.engine.http.post(f"{server.engine.url}/echo", data=b"rest") as answer:
        assert answer.status == 200, "REST is not meant"


async def test_what_is_no_handshake_costs_no_turn(guarded: StartGuarded) -> None:
    server = await guarded(per_s=1, burst=1)
    for query in ("EIO=3&transport=websocket", "EIO=4&transport=smoke"):
        async with server.engine.http.get(
            f"{server.engine.url}/socket.io/?{query}", headers={"Upgrade": "x"}
        ) as answer:
            assert answer.status == 400
    await server.engine.connected()


async def closed(made: socket.socket, timeout_s: float = WAIT_S) -> bool:
    """Whether the other end has closed it, or does so soon."""
    try:
        return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(made, 1), timeout_s) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


async def asked(made: socket.socket, loop: asyncio.AbstractEventLoop) -> bytes:
    """How a request is answered that asks for nothing."""
    await loop.sock_sendall(made, b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await asyncio.wait_for(loop.sock_recv(made, 1_000), WAIT_S)
    made.close()
    return answer


async def test_connections_that_say_nothing_make_room_for_the_newest_and_nobody_else_waits_for_them(
    guarded: StartGuarded,
) -> None:
    server = await guarded(half_open_max=3)
    silent = [(await bare(server.engine))[0] for _ in range(3)]
    await until(lambda: server.half_open == 3)
    assert server.refused == []
    speaking = await server.engine.connected()
    assert await closed(silent[0])
    assert server.refused == [Reason.HALF_OPEN]
    assert server.half_open == 2
    await speaking.alive()
    for made in silent:
        made.close()
    await until(lambda: server.half_open == 0)


async def test_a_crowd_that_is_slow_to_speak_waits_with_the_kernel_and_is_heard_to_the_last(
    guarded: StartGuarded,
) -> None:
    crowd, most = 40, 8
    server = await guarded(half_open_max=most)
    silent = [await bare(server.engine) for _ in range(crowd)]
    await until(lambda: server.half_open == most)
    await asyncio.sleep(QUIET_S)
    assert (server.refused, server.half_open) == ([], most)
    answers = await asyncio.gather(*(asked(*each) for each in silent))
    assert [answer[:12] for answer in answers] == [b"HTTP/1.1 404"] * crowd
    assert server.refused == []


async def test_a_door_that_closes_while_it_waits_takes_nobody_any_more(guarded: StartGuarded) -> None:
    server = await guarded(half_open_max=1)
    taken, left = [(await bare(server.engine))[0] for _ in range(2)]
    await until(lambda: server.half_open == 1)
    server.engine.site.take_no_more()
    assert await closed(left)
    assert not await closed(taken, timeout_s=QUIET_S)
    for made in (taken, left):
        made.close()


async def test_a_session_counts_as_half_open_until_it_is_connected_to_a_namespace(guarded: StartGuarded) -> None:
    server = await guarded(half_open_max=2)
    known = await server.engine.connected()
    assert server.half_open == 0
    strangers = [(await server.engine.opened())[0] for _ in range(2)]
    refused = strangers[1]
    await refused.send("40/nowhere,")
    assert str(await refused.receive()).startswith("44/nowhere,")
    assert server.half_open == 2
    await server.engine.opened()
    await strangers[0].closed()
    await known.alive()
    # the third came over a connection that was half-open itself, before its session was
    assert server.refused[0] is Reason.HALF_OPEN and server.half_open <= 2


async def test_websockets_that_never_probe_are_half_open(guarded: StartGuarded) -> None:
    server = await guarded(half_open_max=3)
    polls = await server.engine.polls()
    await polls.post("40")
    await polls.packets()
    await until(lambda: server.half_open == 0)
    probing = [await server.engine.websocket(f"&sid={polls.sid}") for _ in range(3)]
    await server.engine.opened()
    await probing[0].closed()
    assert Reason.HALF_OPEN in server.refused and server.half_open <= 3


@pytest.mark.parametrize("method", [b"GET /socket.io/", b"POST /echo", b"OPTIONS *"])
async def test_a_head_that_does_not_come_is_not_waited_for(
    guarded: StartGuarded, monkeypatch: pytest.MonkeyPatch, method: bytes
) -> None:
    monkeypatch.setattr(front, "HEAD_TIMEOUT_S", 0.1)
    async with start_engine() as engine:
        made, loop = await bare(engine)
        await loop.sock_sendall(made, method + b" HTTP/1.1\r\nHost: x\r\n")
        assert await closed(made)
        assert len(engine.sio.eio.admission.half_open) == 0
        made.close()


async def test_where_descriptors_run_out_idle_connections_of_rest_make_room_and_one_past_them_is_closed(
    guarded: StartGuarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "TIGHT", 1)
    server = await guarded(connections_max=4)
    sockets = [await server.engine.connected() for _ in range(2)]
    idle, loop = await bare(server.engine)
    await loop.sock_sendall(idle, b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await loop.sock_recv(idle, 1_000)).startswith(b"HTTP/1.1 404")
    silent = (await bare(server.engine))[0]
    assert await closed(idle)
    await until(lambda: server.half_open == 1)
    last = (await bare(server.engine))[0]
    await until(lambda: server.half_open == 2)
    past = (await bare(server.engine))[0]
    assert await closed(past)
    assert server.refused == [Reason.DESCRIPTORS]
    for raw in sockets:
        await raw.alive()
    for made in (idle, silent, last, past):
        made.close()


async def test_the_python_client_of_the_library_comes_back_until_it_is_let_in(guarded: StartGuarded) -> None:
    server = await guarded(per_s=1, burst=1)
    first = await server.engine.connected()
    client = socketio.AsyncClient(reconnection_delay=0.2, reconnection_delay_max=0.4)
    connected = asyncio.Event()
    client.on("connect", connected.set)
    with pytest.raises(socketio.exceptions.ConnectionError):
        await client.connect(server.engine.url, transports=["websocket"])
    await client.connect(server.engine.url, transports=["websocket"], retry=True)
    await asyncio.wait_for(connected.wait(), WAIT_S)
    assert Reason.RATE in server.refused
    await client.disconnect()
    await client.shutdown()
    await first.alive()


async def test_a_head_of_two_requests_is_answered_twice(guarded: StartGuarded) -> None:
    """Every byte that came with the head is passed on."""
    server = await guarded()
    made, loop = await bare(server.engine)
    request = b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n"
    await loop.sock_sendall(made, request[:20])
    await loop.sock_sendall(made, request[20:] + request)
    data = b""
    async with asyncio.timeout(WAIT_S):
        while data.count(b"HTTP/1.1 404") < 2:
            data += await loop.sock_recv(made, 4_096)
    made.close()


async def test_a_session_that_is_refused_again_and_again_is_ended(guarded: StartGuarded) -> None:
    server = await guarded()
    raw, _ = await server.engine.opened()
    for _ in range(REFUSED_MAX):
        await raw.send("40/nowhere,")
        assert str(await raw.receive()).startswith("44/nowhere,")
    await raw.closed()
    patient, _ = await server.engine.opened()
    for _ in range(REFUSED_MAX - 1):
        await patient.send("40/nowhere,")
        assert str(await patient.receive()).startswith("44/nowhere,")
    await patient.connect()
    await patient.alive()
    assert not server.engine.sio._refused.keys() - {next(iter(server.engine.sio.eio.sockets))}


async def test_the_official_client_comes_back_until_it_is_let_in(guarded: StartGuarded) -> None:
    server = await guarded(per_s=1, burst=1)
    first = await server.engine.connected()
    seen = await run_client(RETURNING, server.engine.url)
    assert seen["errors"] == ["websocket error"] * server.refused.count(Reason.RATE)
    await first.alive()
