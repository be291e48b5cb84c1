"""What an app does with the client."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from playhead.client import (
    Accepted,
    Client,
    FollowingSound,
    Played,
    Refused,
    Snapshot,
    StateChanged,
    Status,
    StatusChanged,
    Stopped,
    Unanswered,
    wishes,
)
from playhead.client.core.line import RECONNECT_MS_MIN
from playhead.client.core.wire import Payload, Refusal, State
from tests.unit.client.conftest import PHONE, PlayedTransport, World, settled
from tests.unit.client.core.recording import (
    NOW_MS,
    SCRIPT_ID,
    SESSION_ID,
    accepted,
    make_state,
    refused,
    wire,
)


async def test_a_client_connects_with_its_token_and_leaves_nothing_behind(world: World) -> None:
    before = asyncio.all_tasks()
    async with world.client() as client:
        await world.connect()
        assert client.connected and client.device is PHONE and client.devices == () and client.refusal is None
        assert world.network.opened[0][1:] == (
            "one",
            {"token": "t-1", "device": {"id": "phone", "name": "Phone", "kind": "phone"}, "protocol": 1},
        )
    await client.close()
    await settled()
    assert world.network.closed == [1] and world.network.down and asyncio.all_tasks() == before


async def test_a_join_is_answered_with_the_snapshot(world: World, phone: Client) -> None:
    joining = asyncio.ensure_future(phone.join(script_id=SCRIPT_ID))
    assert await world.network.answer("join", world.snapshot(make_state())) == {"script_id": SCRIPT_ID}
    snapshot = await joining
    assert isinstance(snapshot, Snapshot) and snapshot.state == make_state()
    assert phone.live(SCRIPT_ID) == phone.state(SESSION_ID) == phone.shown(SESSION_ID) == make_state()


SPELLED_ID = "abcdef01-2345-4789-8abc-def012345678"
SPELLINGS = [SPELLED_ID.upper(), SPELLED_ID.replace("-", ""), f"{{{SPELLED_ID}}}"]


@pytest.mark.parametrize("script_id", SPELLINGS)
async def test_a_script_is_known_by_its_id_in_any_spelling(world: World, phone: Client, script_id: str) -> None:
    state = make_state(script_id=SPELLED_ID)
    joining = asyncio.ensure_future(phone.join(script_id=script_id))
    assert await world.network.answer("join", world.snapshot(state)) == {"script_id": SPELLED_ID}
    await joining
    assert phone.live(script_id) == state
    pressed = [asyncio.ensure_future(phone.play(script_id=script_id)), asyncio.ensure_future(phone.pause(SESSION_ID))]
    ack = accepted(state, created=False, stream_url=None, stream_expires_at=None)
    for event in ("play", "pause"):
        await settled()
        assert world.network.sent.qsize() == 1, "one after the other"
        assert (await world.network.answer(event, ack)).get("script_id", SPELLED_ID) == SPELLED_ID
    await asyncio.gather(*pressed)


@pytest.mark.parametrize("session_id", SPELLINGS)
async def test_a_session_is_known_by_its_id_in_any_spelling(world: World, phone: Client, session_id: str) -> None:
    state = make_state(session_id=SPELLED_ID)
    joining = asyncio.ensure_future(phone.join(session_id=session_id))
    await world.network.answer("join", world.snapshot(state))
    await joining
    world.network.tell_time()
    seeking = asyncio.ensure_future(phone.seek(session_id, 500.0))
    await settled()
    shown = phone.shown(session_id)
    assert shown is not None and (shown.position, phone.position(session_id)) == (500.0, 500.0)
    assert phone.state(session_id) == state
    assert (await world.network.answer("seek", accepted(state)))["session_id"] == SPELLED_ID
    await seeking


@pytest.mark.parametrize("ids", [{}, {"session_id": SESSION_ID, "script_id": SCRIPT_ID}])
async def test_a_join_names_a_session_or_a_script(phone: Client, ids: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="either"):
        await phone.join(**ids)


EVERY_COMMAND: list[tuple[str, Callable[[Client], Awaitable[Any]], Payload]] = [
    ("play", lambda client: client.play(session_id=SESSION_ID, position=1.0), {"position": 1.0}),
    ("pause", lambda client: client.pause(SESSION_ID, position=1.0), {"position": 1.0}),
    ("seek", lambda client: client.seek(SESSION_ID, 2.0, heard=1.0), {"position": 2.0, "from": 1.0}),
    ("loop", lambda client: client.loop(SESSION_ID, 1.0, 2.0), {"start": 1.0, "end": 2.0, "enabled": True}),
    ("rate", lambda client: client.rate(SESSION_ID, 2.0), {"rate": 2.0}),
    ("transfer", lambda client: client.transfer(SESSION_ID, "desk"), {"device_id": "desk"}),
    ("mode", lambda client: client.mode(SESSION_ID, "together"), {"mode": "together"}),
    ("sleep", lambda client: client.sleep(SESSION_ID, after=60.0), {"after": 60.0}),
    ("restore", lambda client: client.restore(SESSION_ID, "7-5"), {"entry_id": "7-5"}),
    ("leave", lambda client: client.leave(SESSION_ID), {}),
    ("end", lambda client: client.end(SESSION_ID), {}),
    ("pause", lambda client: client.press(wishes.pause(SESSION_ID)), {}),
]


@pytest.mark.parametrize(("event", "command", "fields"), EVERY_COMMAND, ids=[row[0] for row in EVERY_COMMAND])
async def test_every_command_is_sent_and_answered(
    world: World, phone: Client, event: str, command: Callable[[Client], Awaitable[Any]], fields: Payload
) -> None:
    pressed = asyncio.ensure_future(command(phone))
    ack = accepted(make_state(), created=False, stream_url=None, stream_expires_at=None)
    payload = await world.network.answer(event, ack)
    assert len(payload.pop("command_id")) == 36
    assert payload == {"session_id": SESSION_ID, **fields}
    answer = await pressed
    assert isinstance(answer, Played if event == "play" else Accepted) and answer.state == make_state()


async def test_a_refusal_is_raised(world: World, phone: Client) -> None:
    pressed = asyncio.ensure_future(phone.seek(SESSION_ID, 9_999.0))
    await world.network.answer("seek", refused("out_of_bounds"))
    with pytest.raises(Refused, match="out_of_bounds: out_of_bounds!"):
        await pressed


async def test_a_caller_that_does_not_wait_any_more_is_not_in_the_way(world: World, phone: Client) -> None:
    pressed = asyncio.ensure_future(phone.seek(SESSION_ID, 1.0))
    await settled()
    pressed.cancel()
    await settled()
    await world.network.answer("seek", accepted(make_state()))
    assert phone.state(SESSION_ID) == make_state()


async def test_patience_is_the_clients_or_the_commands(world: World) -> None:
    async with world.client(patience_ms=5_000) as client:
        first = asyncio.ensure_future(client.pause(SESSION_ID))
        second = asyncio.ensure_future(client.press(wishes.pause("other"), patience_ms=1_000))
        await world.timing.advance(1_000)
        with pytest.raises(Unanswered):
            await second
        await world.timing.advance(3_999)
        assert not first.done()
        await world.timing.advance(1)
        with pytest.raises(Unanswered):
            await first


async def test_events_reach_callbacks_and_readers(world: World, phone: Client) -> None:
    seen: list[State] = []
    phone.on(StateChanged, lambda event: seen.append(event.state))
    events = phone.events()
    world.network.told.received(1, "state", wire(make_state()))
    assert seen == [make_state()] and await anext(events) == StateChanged(state=make_state())
    await phone.close()
    assert [event async for event in events] == [StatusChanged(status=Status.STOPPED)]


async def test_the_place_is_known_with_server_time(world: World) -> None:
    class Clocked(PlayedTransport):
        def send(self, connection: int, request: int, event: str, payload: Payload) -> None:
            if event == "clock":
                answer = {"ok": True, "t0": payload["t0"], "t1": NOW_MS + 5_000, "t2": NOW_MS + 5_000}
                asyncio.get_running_loop().call_soon(self.told.answered, connection, request, answer)

    world.network = Clocked()
    async with world.client() as client:
        assert client.server_ms is None and client.position(SESSION_ID) is None
        await world.connect()
        world.network.told.received(1, "state", wire(make_state()))
        await settled()
        assert [client.server_ms, client.position(SESSION_ID)] == [NOW_MS + 5_000, 105.0]


async def test_after_a_clock_that_was_set_back_reports_are_numbered_above_the_earlier_ones(world: World) -> None:
    seqs: list[int] = []
    for local_ms in (NOW_MS, NOW_MS - 86_400_000):
        world.timing.time_ms = float(local_ms)
        async with world.client(sound=FollowingSound()) as client:
            await world.connect()
            world.network.tell_time(len(seqs))
            world.network.told.received(world.network.opened[-1][0], "state", wire(make_state()))
            client.report()
            seqs.append((await world.network.answer("progress", refused("conflict")))["seq"])
    assert seqs == [NOW_MS, NOW_MS + 1]


async def test_a_report_is_sent_when_the_sound_has_changed(world: World, phone: Client) -> None:
    # server time is known from nothing yet: no report can be made before
    phone.report()
    await settled()
    assert world.network.sent.empty()


# tokens


async def test_the_app_is_asked_for_a_token_for_each_connection(world: World) -> None:
    tokens = iter(("t-1", "t-2"))

    async def fetch() -> str:
        return next(tokens)

    async with world.client(fetch, urls=["one", "two"]) as client:
        await world.connect()
        world.network.told.closed(1)
        assert not client.connected
        await world.timing.advance(RECONNECT_MS_MIN)
        assert [(url, auth["token"]) for _, url, auth in world.network.opened] == [("one", "t-1"), ("two", "t-2")]


async def test_an_app_that_fails_to_bring_a_token_is_asked_again(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[int] = []

    async def fetch() -> str:
        asked.append(1)
        if len(asked) == 1:
            raise OSError("the identity provider is away")
        return "t-2"

    with caplog.at_level(logging.WARNING):
        async with world.client(fetch):
            await settled()
            assert world.network.opened == [] and "No token" in caplog.text
            await world.timing.advance(RECONNECT_MS_MIN)
            assert world.network.opened[0][2]["token"] == "t-2"


async def test_a_client_that_is_not_let_in_says_why(world: World) -> None:
    async with world.client() as client:
        pressed = asyncio.ensure_future(client.pause(SESSION_ID))
        await settled()
        world.network.told.open_failed(1, Refusal(code="unsupported_protocol", message="Too old."))
        with pytest.raises(Stopped, match="Too old"):
            await pressed
        assert client.refusal is not None and client.refusal.code == "unsupported_protocol"


async def test_a_closed_client_refuses_at_once(phone: Client) -> None:
    await phone.close()
    with pytest.raises(Stopped, match="closed"):
        await phone.pause(SESSION_ID)


# what was played without a connection
