"""Devices on two server processes: what one does the other sees, once, and the sender learns it from its ack."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from playhead.app.embedded import EmbeddedValkey
from playhead.playback.commands import End, Origin
from playhead.realtime import convergence
from playhead.sessions.store import Change, Committed
from tests.integration.sessions.lines import eventually
from tests.support.nodes import Node, make_token, start_node
from tests.support.sessions import HeldRows, HeldScripts
from tests.support.sockets import Client
from tests.support.states import LISTENER_ID, OTHER_LISTENER_ID, OTHER_SCRIPT_ID, SCRIPT_ID

SEEKS = 15
"""Of each device at once: so many races one of them can lose to the other before the server gives up."""


@pytest.fixture
async def pair(nodes: tuple[Node, Node]) -> AsyncIterator[tuple[Client, Client]]:
    """The phone on one node and the desk on the other."""
    phone = await Client.open(nodes[0].url, make_token(), "phone")
    desk = await Client.open(nodes[1].url, make_token(), "desk")
    yield phone, desk
    for client in (phone, desk):
        await client.close()


async def play(client: Client, script_id: str = SCRIPT_ID, **fields: Any) -> dict[str, Any]:
    answer = await client.call("play", {"script_id": script_id, **fields})
    assert answer["ok"], answer
    state: dict[str, Any] = answer["state"]
    return state


async def in_sync(*clients: Client) -> None:
    """Everything published so far has arrived: one more event of the first client has, and they come in order."""
    answer = await clients[0].call("join", {"script_id": SCRIPT_ID})
    session_id, rate = answer["state"]["session_id"], answer["state"]["rate"]
    answer = await clients[0].call("rate", {"session_id": session_id, "rate": rate + 0.125})
    revision = answer["state"]["revision"]
    for client in clients[1:]:
        await client.expect_event("state", session_id=session_id, revision=revision)


def states(client: Client) -> list[int]:
    """The revisions that the client was told of in events."""
    return [data["revision"] for event, data in client.events if event == "state"]


async def test_a_command_on_one_node_arrives_on_the_other_and_the_sender_has_only_its_ack(
    pair: tuple[Client, Client],
) -> None:
    phone, desk = pair
    state = await play(phone)
    started = await desk.expect_event("session_started", script_id=SCRIPT_ID)
    assert started["state"] == await desk.expect_event("state", revision=1)
    answer = await desk.call(
        "seek", {"session_id": state["session_id"], "position": 120.5, "command_id": OTHER_SCRIPT_ID}
    )
    seen = await phone.expect_event("state", revision=2)
    assert (seen["position"], seen["cause"]["device_id"], seen["cause"]["command_id"]) == (
        120.5,
        "desk",
        OTHER_SCRIPT_ID,
    )
    assert {**seen, "cause": None} == {**answer["state"], "cause": None}
    await in_sync(phone, desk)
    assert states(phone) == [2] and states(desk) == [1, 3]


async def test_every_device_ends_with_the_same_state(pair: tuple[Client, Client]) -> None:
    phone, desk = pair
    session_id = (await play(phone))["session_id"]
    answers = await asyncio.gather(
        *(
            # each elsewhere: a seek to the place of another one, in the same millisecond, changes nothing
            client.call("seek", {"session_id": session_id, "position": 2.0 * number + index})
            for number in range(SEEKS)
            for index, client in enumerate(pair)
        )
    )
    last = max((answer["state"] for answer in answers), key=lambda state: int(state["revision"]))
    assert last["revision"] == 1 + 2 * SEEKS
    snapshots = [(await client.call("join", {"session_id": session_id}))["state"] for client in pair]
    assert [{**state, "cause": None} for state in snapshots] == [{**last, "cause": None}] * 2
    await in_sync(phone, desk)
    await in_sync(desk, phone)
    for client in pair:
        own = {answer["state"]["revision"] for answer in answers} - set(states(client))
        assert len(own) == SEEKS, "each revision came to each device once: in an ack or in an event"
        assert len(set(states(client))) == len(states(client))


async def test_devices_of_another_listener_see_nothing(pair: tuple[Client, Client], nodes: tuple[Node, Node]) -> None:
    stranger = await Client.open(nodes[1].url, make_token(OTHER_LISTENER_ID), "stranger")
    await play(pair[0])
    await in_sync(*pair)
    await play(stranger)
    await stranger.refute_event("state")
    assert stranger.events == []
    await stranger.close()


async def test_a_node_is_subscribed_only_while_a_device_of_the_listener_is_there(nodes: tuple[Node, Node]) -> None:
    stranger = await Client.open(nodes[1].url, make_token(OTHER_LISTENER_ID))
    client: Any = nodes[0].store.client
    pattern = f"*{OTHER_LISTENER_ID}*"
    assert len(await client.execute_command("PUBSUB", "SHARDCHANNELS", pattern)) == 1
    await stranger.close()

    async def left() -> bool:
        return not await client.execute_command("PUBSUB", "SHARDCHANNELS", pattern)

    await eventually(left)


async def test_everybody_is_told_when_a_device_joins_or_leaves(nodes: tuple[Node, Node]) -> None:
    phone = await Client.open(nodes[0].url, make_token(), "phone", name="My phone")
    desk = await Client.open(nodes[1].url, make_token(), "desk", name="My desk")
    told = await phone.expect_event("devices")
    assert [(row["id"], row["name"]) for row in told["devices"]] == [("phone", "My phone"), ("desk", "My desk")]
    await desk.refute_event("devices")
    answer = await desk.call("join", {"script_id": SCRIPT_ID})
    assert answer["devices"] == told["devices"]
    phone.events.clear()
    await desk.close()
    assert [row["id"] for row in (await phone.expect_event("devices"))["devices"]] == ["phone"]
    await phone.close()


async def test_the_sound_moves_to_a_device_of_the_other_node(pair: tuple[Client, Client]) -> None:
    phone, desk = pair
    session_id = (await play(phone, position=100.0))["session_id"]
    await phone.call("transfer", {"session_id": session_id, "device_id": "desk"})
    moved = await desk.expect_event("state", active_device="desk")
    assert moved["playing"] and moved["position"] >= 100.0
    refused = await phone.call("progress", {"session_id": session_id, "position": 100.0, "revision": moved["revision"]})
    assert refused["error"]["code"] == "conflict"


async def test_a_second_script_on_the_same_device_silences_the_first_for_all(pair: tuple[Client, Client]) -> None:
    phone, desk = pair
    first = await play(phone)
    second = await play(phone, OTHER_SCRIPT_ID)
    for client in pair:
        paused = await client.expect_event("state", session_id=first["session_id"], playing=False)
        assert paused["revision"] == 2
    await desk.expect_event("state", session_id=second["session_id"], playing=True)


async def test_the_end_of_a_session_is_told_on_both_nodes(
    pair: tuple[Client, Client], nodes: tuple[Node, Node]
) -> None:

    session_id = (await play(pair[0]))["session_id"]
    await nodes[1].service.apply(LISTENER_ID, session_id, End(), Origin(device_id="rest"))
    for client in pair:
        ended = await client.expect_event("session_ended", session_id=session_id)
        assert ended["reason"] == "ended_by_listener"
    assert (await pair[1].call("pause", {"session_id": session_id}))["error"]["code"] == "session_ended"


# gaps


async def quietly_moved(node: Node, position_ms: int) -> None:
    """Changes the session without telling anybody: as if the packet had been lost."""
    live = await node.store.live(LISTENER_ID)
    (before,) = live.states
    after = replace(before, position_ms=position_ms, revision=before.revision + 1, version=before.version + 1)
    change = Change(after=after, expected_version=before.version)
    assert await node.store.commit(LISTENER_ID, live.epoch, [change], []) is Committed.DONE


async def test_after_a_gap_every_device_is_sent_the_state_and_the_devices(
    pair: tuple[Client, Client], nodes: tuple[Node, Node]
) -> None:
    await play(pair[0])
    await quietly_moved(nodes[0], 987_000)
    for client in pair:
        client.events.clear()
    assert await nodes[0].store.client.client_kill_filter(_type="pubsub") == 2
    for client in pair:
        seen = await client.expect_event("state", position=987.0)
        assert (seen["revision"], seen["cause"]) == (2, None)
        assert len((await client.expect_event("devices"))["devices"]) == 2


async def test_what_devices_know_from_events_or_from_a_snapshot_is_not_sent_again(
    pair: tuple[Client, Client], nodes: tuple[Node, Node]
) -> None:
    await play(pair[0])
    await in_sync(*pair)
    await pair[0].close()

    async def gone() -> bool:
        return not nodes[0].connections.told(LISTENER_ID).some

    await eventually(gone)
    again = await Client.open(nodes[0].url, make_token(), "phone")
    joined = await again.call("join", {"script_id": SCRIPT_ID})
    for node in nodes:
        known, orders = node.connections.told(LISTENER_ID), await node.service.orders([LISTENER_ID])
        assert orders[LISTENER_ID].sessions == known.all, "all that is live is known"
        await node.realtime._convergence.compare([LISTENER_ID])
        caught_up = node.registry.get_sample_value("playhead_states_caught_up_total", {"cause": "untold"})
        assert caught_up is None
    await again.refute_event("state")
    assert joined["state"]["revision"] == 2
    await again.close()


async def test_a_state_that_the_bus_has_lost_reaches_every_device_all_the_same(
    valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convergence, "COMPARE_INTERVAL_S", 0.05)
    async with start_node(valkey_url, HeldRows(), HeldScripts()) as node:
        phone, desk = [await Client.open(node.url, make_token(), name) for name in ("phone", "desk")]
        await play(phone)
        await quietly_moved(node, 987_000)
        for client in (phone, desk):
            seen = await client.expect_event("state", position=987.0)
            assert (seen["revision"], seen["cause"]) == (2, None)
            await client.refute_event("resync")
        (ending,) = await node.service.live_states(LISTENER_ID)
        over = replace(ending, ended_at_ms=ending.changed_at_ms, version=ending.version + 1)
        change = Change(after=over, expected_version=ending.version)
        assert await node.store.commit(LISTENER_ID, ending.epoch, [change], []) is Committed.DONE
        for client in (phone, desk):
            assert await client.expect_event("resync") == {"reason": "missed"}
            assert (await client.call("join", {"script_id": SCRIPT_ID}))["state"] is None
            await client.close()


async def test_while_the_store_is_down_commands_are_unavailable_and_the_sockets_stay(
    start_valkey: Callable[..., EmbeddedValkey],
) -> None:
    valkey = start_valkey(append_sync="always")
    async with start_node(valkey.url, HeldRows(), HeldScripts()) as node:
        phone = await Client.open(node.url, make_token(), "phone")
        played = await play(phone, position=5.0)
        session_id = played["session_id"]
        valkey.kill()
        for _ in range(2):
            error = (await phone.call("seek", {"session_id": session_id, "position": 1.0}))["error"]
            assert (error["code"], error["retry"]) == ("unavailable", True)
        assert (await phone.call("clock", {"t0": 1}))["ok"]
        valkey.start()
        again = await phone.expect_event("state", session_id=session_id)
        # as a state of the store's new life, later than whatever its old one may have told and lost
        assert again["revision"] == 1 and again["epoch"] > played["epoch"]
        answer = await phone.call("seek", {"session_id": session_id, "position": 2.0})
        assert answer["state"]["revision"] == 2 and answer["state"]["epoch"] == again["epoch"]
        assert phone.connected
        await phone.close()
