"""Handshakes that are refused, hang, or cannot be made; and tokens that run out."""

import asyncio

import pytest

from playhead.auth.tokens import LEEWAY_S
from playhead.client import Status, StatusChanged, Stopped, Unanswered, wishes
from playhead.realtime.watch import EXPIRING_S
from tests.support.nodes import TOKEN_S, AheadClock, Node, make_token, start_node
from tests.support.players import Player
from tests.support.sessions import HeldRows, HeldScripts
from tests.support.states import SCRIPT_ID


async def test_a_token_that_is_not_taken_ends_it_with_the_servers_words(nodes: tuple[Node, Node]) -> None:
    async with Player(nodes[0].url, make_token(expires_in_s=-60)) as phone:
        with pytest.raises(Stopped, match="expired"):
            await phone.join(script_id=SCRIPT_ID)
        told = await phone.expect(StatusChanged, status=Status.REFUSED)
        assert phone.refusal == told.refusal and told.refusal is not None and told.refusal.code == "unauthorized"


async def test_a_stale_token_is_replaced_by_a_fresh_one(nodes: tuple[Node, Node]) -> None:
    tokens = iter((make_token(expires_in_s=-60), make_token()))

    async def fetch() -> str:
        return next(tokens)

    async with Player(nodes[0].url, fetch) as phone:
        assert (await phone.join(script_id=SCRIPT_ID)).state is None


async def test_what_the_server_does_not_take_is_not_tried_again(nodes: tuple[Node, Node]) -> None:
    async with Player(nodes[0].url, make_token(), "not a device id") as phone:
        told = await phone.expect(StatusChanged, status=Status.REFUSED)
        assert told.refusal is not None and told.refusal.code == "invalid" and "device.id" in told.refusal.message


async def test_where_nobody_listens_the_client_goes_on_trying(free_port: int, nodes: tuple[Node, Node]) -> None:
    async with Player(f"http://127.0.0.1:{free_port}", make_token()) as phone:
        with pytest.raises(Unanswered) as unanswered:
            await phone.press(wishes.pause("no session"), patience_ms=300)
        assert not unanswered.value.sent
        await phone.expect(StatusChanged, status=Status.RECONNECTING, refusal=None)
    async with Player([f"http://127.0.0.1:{free_port}", nodes[0].url], make_token()) as phone:
        assert (await phone.join(script_id=SCRIPT_ID)).state is None


async def test_a_server_of_another_kind_is_no_server(nodes: tuple[Node, Node]) -> None:
    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Player([f"http://127.0.0.1:{port}", nodes[0].url], make_token()) as phone:
        assert (await phone.join(script_id=SCRIPT_ID)).state is None


async def test_a_client_can_be_closed_while_a_handshake_hangs() -> None:
    connected = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        async with Player(f"http://127.0.0.1:{port}", make_token()) as phone:
            await connected.wait()
        assert not phone.connected


async def test_a_connection_is_renewed_before_its_token_runs_out(valkey_url: str) -> None:
    clock = AheadClock()
    tokens = [make_token(expires_in_s=TOKEN_S), make_token(expires_in_s=2 * TOKEN_S)]

    async def fetch() -> str:
        return tokens.pop(0)

    async with (
        start_node(valkey_url, HeldRows(), HeldScripts(), clock=clock) as node,
        Player(node.url, fetch) as phone,
    ):
        await phone.join(script_id=SCRIPT_ID)
        clock.advance(TOKEN_S - EXPIRING_S)
        while tokens:
            await phone.play(script_id=SCRIPT_ID)
        # answered after the token that was sent before it
        await phone.play(script_id=SCRIPT_ID)
        clock.advance(EXPIRING_S + LEEWAY_S + 1)
        assert (await phone.play(script_id=SCRIPT_ID)).state.playing
        statuses = [event.status for event in phone.seen if isinstance(event, StatusChanged)]
        assert statuses == [Status.CONNECTING, Status.CONNECTED]


async def test_a_connection_that_ends_with_its_token_comes_back_with_a_fresh_one(valkey_url: str) -> None:
    clock = AheadClock()
    lives_s = [TOKEN_S, 10 * TOKEN_S]

    async def fetch() -> str:
        return make_token(expires_in_s=lives_s.pop(0))

    async with (
        start_node(valkey_url, HeldRows(), HeldScripts(), clock=clock) as node,
        Player(node.url, fetch) as phone,
    ):
        await phone.join(script_id=SCRIPT_ID)
        clock.advance(2 * TOKEN_S)
        await phone.expect(StatusChanged, status=Status.RECONNECTING)
        assert (await phone.play(script_id=SCRIPT_ID)).state.playing
