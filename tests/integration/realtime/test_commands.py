"""The commands beside play, pause and seek, as a player sends them: two devices on two servers."""

from typing import Any

import pytest

from tests.support.nodes import Node, make_token
from tests.support.sessions import new_id
from tests.support.sockets import Client
from tests.support.states import DURATION_MS, LISTENER_ID, SCRIPT_ID


async def opened(nodes: tuple[Node, Node]) -> tuple[Client, Client, str]:
    """A phone that plays from 50 s on, a desk that looks on, and their session."""
    phone = await Client.open(nodes[0].url, make_token(), "phone")
    desk = await Client.open(nodes[1].url, make_token(), "desk")
    state = (await phone.call("play", {"script_id": SCRIPT_ID, "position": 50.0}))["state"]
    await desk.expect_event("state", revision=1)
    return phone, desk, state["session_id"]


async def close(*clients: Client) -> None:
    for client in clients:
        await client.close()


async def refused(client: Client, event: str, payload: dict[str, Any]) -> str:
    answer = await client.call_with(event, payload)
    assert not answer["ok"]
    return str(answer["error"]["code"])


async def test_a_command_that_is_sent_again_is_done_once_even_by_another_server(nodes: tuple[Node, Node]) -> None:
    phone, desk, session_id = await opened(nodes)
    seek = {"session_id": session_id, "position": 77.0, "command_id": new_id()}
    first = await phone.call("seek", seek)
    again = await Client.open(nodes[1].url, make_token(), "phone")
    second = await again.call("seek", {**seek, "expected_revision": 1})
    assert second["state"] == first["state"]
    await desk.expect_event("state", revision=2)
    await desk.refute_event("state", revision=3)
    assert await refused(again, "seek", {**seek, "position": 78.0}) == "command_id_reused"
    await close(phone, again, desk)


async def test_a_late_report_counts_as_of_the_time_that_it_names(nodes: tuple[Node, Node]) -> None:
    phone, desk, session_id = await opened(nodes)
    begun = (await desk.call("join", {"session_id": session_id}))["state"]
    told = {"session_id": session_id, "position": 51.0, "revision": 1, "at": begun["anchored_at"]}
    assert await refused(phone, "progress", {**told, "at": 1.5}) == "invalid"
    moved = (await phone.call("progress", told))["state"]
    assert (moved["revision"], moved["position"], moved["anchored_at"]) == (2, 51.0, begun["anchored_at"])
    assert moved["cause"]["command"] == "progress"
    await close(phone, desk)


async def test_a_revision_of_another_life_of_the_store_is_a_conflict(nodes: tuple[Node, Node]) -> None:
    phone, desk, session_id = await opened(nodes)
    state = (await phone.call("seek", {"session_id": session_id, "position": 7.0}))["state"]
    seek = {"session_id": session_id, "position": 8.0, "expected_revision": state["revision"]}
    answer = await phone.call_with("seek", {**seek, "expected_epoch": state["epoch"] - 1})
    assert (answer["error"]["code"], answer["error"]["state"]) == ("conflict", {**state, "cause": None})
    other = {"expected_epoch": state["epoch"] + 1}
    entry_id = f"{state['epoch']}-{state['revision']}"
    for event, payload in (
        ("play", {"session_id": session_id}),
        ("play", {"script_id": state["script_id"]}),
        ("restore", {"session_id": session_id, "entry_id": entry_id}),
    ):
        assert await refused(phone, event, {**payload, **other}) == "conflict"
    assert (await phone.call("seek", {**seek, "expected_epoch": state["epoch"]}))["ok"]
    await close(phone, desk)


async def test_sleep_is_seen_by_all_and_pauses_when_its_time_comes(nodes: tuple[Node, Node]) -> None:
    phone, desk, session_id = await opened(nodes)
    answer = await desk.call("sleep", {"session_id": session_id, "after": 0.2})
    asked = answer["state"]
    assert asked["sleep_at"] - answer["server_time"] == 200
    assert (await phone.expect_event("state", revision=2))["sleep_at"] == asked["sleep_at"]
    for client in (phone, desk):
        paused = await client.expect_event("state", playing=False)
        assert (paused["cause"]["command"], paused["cause"]["device_id"]) == ("sleep", None)
        assert paused["sleep_at"] is None
        assert paused["position"] == 50.0 + (asked["sleep_at"] - asked["anchored_at"]) / 1000
    await close(phone, desk)


async def test_sleep_at_the_end_of_the_loop_needs_a_loop(nodes: tuple[Node, Node]) -> None:
    phone, desk, session_id = await opened(nodes)
    sleep = {"session_id": session_id, "at_end_of_loop": True}
    assert await refused(desk, "sleep", sleep) == "no_loop"
    await desk.call("loop", {"session_id": session_id, "start": 40.0, "end": 90.0, "enabled": True})
    state = (await desk.call("sleep", sleep))["state"]
    assert state["sleep_at_end_of_loop"] and state["sleep_at"] > state["anchored_at"]
    state = (await phone.call("sleep", {"session_id": session_id}))["state"]
    assert (state["sleep_at"], state["sleep_at_end_of_loop"]) == (None, False)
    await close(phone, desk)


async def test_together_a_start_lies_ahead_of_every_device(nodes: tuple[Node, Node]) -> None:
    phone, desk, session_id = await opened(nodes)
    assert (await desk.call("mode", {"session_id": session_id, "mode": "together"}))["state"]["mode"] == "together"
    answer = await desk.call("seek", {"session_id": session_id, "position": 10.0})
    assert answer["state"]["anchored_at"] - answer["server_time"] == pytest.approx(250, abs=200)
    seen = await phone.expect_event("state", revision=3)
    assert (seen["anchored_at"], seen["position"]) == (answer["state"]["anchored_at"], 10.0)
    await close(phone, desk)


async def test_a_place_of_the_history_is_restored_for_all(nodes: tuple[Node, Node]) -> None:
    phone, desk, session_id = await opened(nodes)
    await desk.call("seek", {"session_id": session_id, "position": 0.0})
    entries = await nodes[0].service.history(LISTENER_ID, session_id)
    assert isinstance(entries, tuple)
    restore = {"session_id": session_id, "entry_id": entries[0].entry_id}
    state = (await phone.call("restore", restore))["state"]
    assert state["position"] == entries[0].from_ms / 1000 >= 50.0
    assert (await desk.expect_event("state", revision=3))["cause"]["command"] == "restore"
    assert await refused(phone, "restore", {**restore, "entry_id": "1-1"}) == "not_found"
    await close(phone, desk)


async def test_a_session_that_is_ended_tells_every_device(nodes: tuple[Node, Node]) -> None:
    phone, desk, session_id = await opened(nodes)
    assert (await desk.call("end", {"session_id": session_id}))["state"]["ended"]
    for client in (phone, desk):
        assert (await client.expect_event("session_ended"))["reason"] == "ended_by_listener"
    assert await refused(phone, "play", {"session_id": session_id}) == "session_ended"
    assert (await phone.call("play", {"script_id": SCRIPT_ID}))["created"]
    await close(phone, desk)


def batch(state: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Ten seconds that were heard without a connection, from 50 s on."""
    began = state["anchored_at"]
    stretch = {"start": 50.0, "end": 60.0, "started_at": began, "ended_at": began + 10_000}
    base = {name: state[name] for name in ("session_id", "epoch", "revision")}
    return {"script_id": SCRIPT_ID, "position": 60.0, "intervals": [stretch], "base": base, **fields}


async def test_what_was_heard_offline_is_credited_once_and_becomes_the_place(nodes: tuple[Node, Node]) -> None:
    phone, desk, session_id = await opened(nodes)
    paused = (await phone.call("pause", {"session_id": session_id}))["state"]
    first = await phone.call("offline", batch(paused))
    assert (first["state"]["position"], first["saved"], first["total_listened"]) == (60.0, True, 10.0)
    await desk.expect_event("state", position=60.0)
    again = await phone.call("offline", batch(paused))
    assert again["total_listened"] == 10.0
    await close(phone, desk)


async def test_an_offline_batch_that_was_overtaken_tells_both_places(nodes: tuple[Node, Node]) -> None:
    phone, desk, session_id = await opened(nodes)
    paused = (await phone.call("pause", {"session_id": session_id}))["state"]
    await desk.call("seek", {"session_id": session_id, "position": 7.0})
    answer = await phone.call_with("offline", batch(paused))
    assert (answer["ok"], answer["error"]["code"]) == (False, "conflict")
    assert (answer["error"]["reported"], answer["error"]["state"]["position"]) == (60.0, 7.0)
    (live,) = await nodes[0].service.live_states(LISTENER_ID)
    assert (live.position_ms, live.listened) == (7_000, ((50_000, 60_000),))
    chosen = await phone.call("offline", batch(paused, base=None))
    assert chosen["state"]["position"] == 60.0
    await close(phone, desk)


BEYOND_S = DURATION_MS / 1000 + 1


@pytest.mark.parametrize(
    ("event", "fields", "code"),
    [
        ("sleep", {"after": 0}, "invalid"),
        ("sleep", {"after": -1.0}, "invalid"),
        ("sleep", {"after": 86_401.0}, "invalid"),
        ("sleep", {"after": 5.0, "at_end_of_loop": True}, "invalid"),
        ("mode", {"mode": "alone"}, "invalid"),
        ("mode", {}, "invalid"),
        ("restore", {}, "invalid"),
        ("restore", {"entry_id": "x" * 121}, "invalid"),
        ("end", {"reason": "idle"}, "invalid"),
        ("lost", {}, "unknown_event"),
        ("due", {}, "unknown_event"),
    ],
)
async def test_what_makes_no_sense_is_named_and_changes_nothing(
    nodes: tuple[Node, Node], event: str, fields: dict[str, Any], code: str
) -> None:
    phone, desk, session_id = await opened(nodes)
    assert await refused(desk, event, {"session_id": session_id, **fields}) == code
    (live,) = await nodes[0].service.live_states(LISTENER_ID)
    assert live.revision == 1
    await close(phone, desk)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"position": BEYOND_S}, "out_of_bounds"),
        ({"intervals": [{"start": 50.0, "end": 50.0, "started_at": 1, "ended_at": 2}]}, "invalid"),
        ({"intervals": [{"start": 50.0, "end": 95.0, "started_at": 1_000, "ended_at": 11_000}]}, "invalid"),
        ({"intervals": [{"start": 0.0, "end": 1.0, "started_at": 5_000, "ended_at": 1_000}]}, "invalid"),
        ({"intervals": [{"start": 0.0, "end": 1.0, "started_at": -1, "ended_at": 1_000}]}, "invalid"),
        ({"script_id": "99999999-9999-4999-8999-999999999999"}, "not_found"),
        ({"base": {"epoch": 1, "revision": 1}}, "invalid"),
    ],
)
async def test_a_batch_that_cannot_be_true_is_refused_whole(
    nodes: tuple[Node, Node], change: dict[str, Any], code: str
) -> None:
    phone, desk, session_id = await opened(nodes)
    paused = (await phone.call("pause", {"session_id": session_id}))["state"]
    assert await refused(phone, "offline", batch(paused, **change)) == code
    (live,) = await nodes[0].service.live_states(LISTENER_ID)
    assert (live.listened, live.revision) == ((), 2)
    await close(phone, desk)


async def test_times_of_a_client_decide_nothing(nodes: tuple[Node, Node]) -> None:
    """Far past and far future are brought within bounds: what is credited is the audio."""
    phone, desk, session_id = await opened(nodes)
    paused = (await phone.call("pause", {"session_id": session_id}))["state"]
    for number, began in enumerate((0, 2**53 - 20_000)):
        stretch = {"start": 100.0 * number, "end": 100.0 * number + 10, "started_at": began, "ended_at": began + 10_000}
        await phone.call("offline", batch(paused, intervals=[stretch], base=None, position=5.0))
    (live,) = await nodes[0].service.live_states(LISTENER_ID)
    assert live.listened == ((0, 10_000), (100_000, 110_000))
    await close(phone, desk)
