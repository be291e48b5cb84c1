"""A connection's token is renewed over the connection itself; nothing else of it changes, and nobody else's will do."""

from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest

from playhead.auth.tokens import LEEWAY_S
from playhead.realtime.stream_renewals import RENEW_BEFORE_MS
from playhead.realtime.watch import EXPIRING_S
from tests.support.nodes import TOKEN_S, AheadClock, Node, make_token, start_node
from tests.support.sessions import HeldRows, HeldScripts
from tests.support.sockets import Client
from tests.support.states import LISTENER_ID, OTHER_LISTENER_ID, SCRIPT_ID


@pytest.fixture
async def phone(node: Node) -> AsyncIterator[Client]:
    client = await Client.open(node.url, make_token(), "phone")
    yield client
    await client.close()


def expires_at_s(node: Node) -> int:
    """When the token ends that the listener's only connection stands on."""
    (connection_id,) = node.connections.of_listener(LISTENER_ID)
    connection = node.connections.get(connection_id)
    assert connection is not None
    return connection.principal.expires_at_s


async def test_a_renewed_connection_outlives_its_first_token(valkey_url: str) -> None:
    clock, token = AheadClock(), make_token(expires_in_s=TOKEN_S)
    async with start_node(valkey_url, HeldRows(), HeldScripts(), clock=clock) as node:
        phone, desk = [await Client.open(node.url, token, device_id) for device_id in ("phone", "desk")]
        clock.advance(TOKEN_S - EXPIRING_S)
        for client in (phone, desk):
            told = await client.expect_event("expiring")
            assert told == {"expires_at": jwt.decode(token, options={"verify_signature": False})["exp"] * 1000}
        newer = make_token(expires_in_s=2 * TOKEN_S)
        renewed = await phone.call("auth", {"token": newer})
        assert renewed["expires_at"] == jwt.decode(newer, options={"verify_signature": False})["exp"] * 1000
        clock.advance(EXPIRING_S + LEEWAY_S + 1)
        closing = await desk.expect_event("closing")
        assert (closing["code"], closing["retry"]) == ("token_expired", False)
        await desk.ended()
        assert desk.end_reason == "server disconnect"
        assert (await phone.call("play", {"script_id": SCRIPT_ID}))["ok"]
        await phone.refute_event("closing")
        await phone.close()


@pytest.mark.parametrize(
    ("token", "says"),
    [
        (make_token(expires_in_s=-60), "expired"),
        (make_token(key="x" * 40), "not valid"),
        (make_token("no uuid"), "UUID"),
        ("a.b.c", "not valid"),
        ("", "token is needed"),
        ("x" * 9_000, "token is needed"),
        (make_token(OTHER_LISTENER_ID, expires_in_s=7_200), "another listener"),
    ],
)
async def test_a_token_that_would_not_be_let_in_renews_nothing(
    node: Node, phone: Client, token: str, says: str
) -> None:
    before_s = expires_at_s(node)
    error = (await phone.call("auth", {"token": token}))["error"]
    assert (error["code"], error["retry"]) == ("unauthorized", False) and says in error["message"]
    assert expires_at_s(node) == before_s
    assert node.connections.of_listener(OTHER_LISTENER_ID) == frozenset()
    assert (await phone.call("play", {"script_id": SCRIPT_ID}))["ok"]


@pytest.mark.parametrize("payload", [{}, {"token": None}, {"token": 1}, {"token": make_token(), "listener": "x"}])
async def test_a_payload_without_a_token_is_invalid_and_never_repeated(
    node: Node, phone: Client, payload: dict[str, Any]
) -> None:
    before_s = expires_at_s(node)
    error = (await phone.call("auth", payload))["error"]
    assert error["code"] == "invalid" and str(payload.get("token", "?")) not in error["message"].split()
    assert expires_at_s(node) == before_s
    counted = {"surface": "socket", "command": "auth", "result": "invalid"}
    node.tallies.flush()
    assert node.registry.get_sample_value("playhead_commands_total", counted) == 1


async def test_a_device_that_played_gets_a_newer_address_before_the_one_it_has_runs_out(valkey_url: str) -> None:
    clock = AheadClock()
    async with start_node(valkey_url, HeldRows(), HeldScripts(), clock=clock) as node:
        token = make_token(expires_in_s=30 * 24 * TOKEN_S)
        phone, desk = [await Client.open(node.url, token, device_id) for device_id in ("phone", "desk")]
        played = await phone.call("play", {"script_id": SCRIPT_ID})
        assert (await desk.call("join", {"script_id": SCRIPT_ID}))["ok"]
        clock.advance((played["stream_expires_at"] - RENEW_BEFORE_MS - clock.now_ms()) / 1000 + 1)
        told = await phone.expect_event("stream", script_id=SCRIPT_ID, session_id=played["state"]["session_id"])
        assert told["expires_at"] > played["stream_expires_at"]
        assert told["stream_url"] != played["stream_url"]
        assert told["stream_url"].split("/t/")[1] == played["stream_url"].split("/t/")[1]
        await desk.refute_event("stream")
        for client in (phone, desk):
            await client.close()
