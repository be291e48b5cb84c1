"""The client around its logic: a network that the test plays, and a clock that the test moves."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from playhead.client import (
    Accepted,
    Client,
    Credited,
    Device,
    FollowingSound,
    OfflineLog,
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
from playhead.client.core.offline import STRETCHES_PER_BATCH
from playhead.client.core.wire import Payload, Refusal, State
from playhead.client.transport import Listener
from tests.unit.client.core.recording import (
    NOW_MS,
    SCRIPT_ID,
    SESSION_ID,
    accepted,
    make_state,
    refused,
    wire,
)

PHONE = Device(id="phone", name="Phone", kind="phone")
CREDITED = {"saved": True, "total_listened": 10.0, "progress_percent": 3.1}


class PlayedTransport:
    """A network on which nothing happens but what the test does."""

    def __init__(self) -> None:
        self.listener: Listener | None = None
        self.opened: list[tuple[int, str, Payload]] = []
        self.sent: asyncio.Queue[tuple[int, int, str, Payload]] = asyncio.Queue()
        self.closed: list[int] = []
        self.down = False

    def open(self, connection: int, url: str, auth: Payload, listener: Listener) -> None:
        self.listener = listener
        self.opened.append((connection, url, auth))

    def send(self, connection: int, request: int, event: str, payload: Payload) -> None:
        if event != "clock":
            self.sent.put_nowait((connection, request, event, payload))

    def close(self, connection: int) -> None:
        self.closed.append(connection)

    async def shutdown(self) -> None:
        self.down = True

    @property
    def told(self) -> Listener:
        assert self.listener is not None, "nothing was opened"
        return self.listener

    async def answer(self, event: str, ack: Any) -> Payload:
        """Waits for the next event, which must be this one, and answers it; answers its payload."""
        connection, request, sent, payload = await asyncio.wait_for(self.sent.get(), 5)
        assert sent == event
        self.told.answered(connection, request, ack)
        return payload


class SetTiming:
    """A clock that stands still until the test moves it."""

    def __init__(self) -> None:
        self.time_ms = float(NOW_MS)
        self._moved = asyncio.Condition()

    def now_ms(self) -> float:
        return self.time_ms

    async def sleep(self, wait_ms: float) -> None:
        until_ms = self.time_ms + wait_ms
        async with self._moved:
            await self._moved.wait_for(lambda: self.time_ms >= until_ms)

    async def advance(self, elapsed_ms: float) -> None:
        await settled()
        async with self._moved:
            self.time_ms += elapsed_ms
            self._moved.notify_all()
        await settled()


async def settled() -> None:
    """Whatever the event loop has to do without anything new is done."""
    for _ in range(20):
        await asyncio.sleep(0)


class World:
    def __init__(self) -> None:
        self.network = PlayedTransport()
        self.timing = SetTiming()

    def client(self, token: str | Callable[[], Awaitable[str]] = "t-1", **options: Any) -> Client:
        network, timing = self.network, self.timing
        return Client(
            options.pop("urls", "one"), token, PHONE, transport=network, timing=timing, chance=lambda: 0.5, **options
        )

    async def connect(self) -> None:
        await settled()
        self.network.told.opened(self.network.opened[-1][0])

    def snapshot(self, state: State | None) -> Payload:
        told = None if state is None else wire(state)
        devices = {"devices": [], "devices_order": {"epoch": 1, "version": 1}}
        return {"ok": True, "state": told, "place": None, **devices, "server_time": NOW_MS}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def phone(world: World) -> AsyncIterator[Client]:
    """Connected, with nothing joined."""
    async with world.client(sound=FollowingSound()) as client:
        await world.connect()
        yield client


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


def offline_log(turns: int = 1) -> OfflineLog:
    log = OfflineLog(make_state())
    for turn in range(turns):
        log.runs(100.0, NOW_MS + turn * 10_000)
        log.stands(110.0, NOW_MS + turn * 10_000 + 10_000)
    return log


async def test_each_batch_goes_on_from_the_state_that_the_one_before_made(world: World, phone: Client) -> None:
    told = asyncio.ensure_future(phone.offline(offline_log(STRETCHES_PER_BATCH + 1)))
    first = await world.network.answer("offline", accepted(make_state(revision=6), **CREDITED))
    second = await world.network.answer("offline", accepted(make_state(revision=7), **CREDITED))
    assert [len(payload["intervals"]) for payload in (first, second)] == [STRETCHES_PER_BATCH, 1]
    assert [payload["base"]["revision"] for payload in (first, second)] == [5, 6]
    answer = await told
    assert isinstance(answer, Credited) and answer.total_listened == 10.0 and answer.state.revision == 7


async def test_a_conflict_is_raised_once_everything_is_credited_and_the_listener_may_insist(
    world: World, phone: Client
) -> None:
    log = offline_log(STRETCHES_PER_BATCH + 1)
    told = asyncio.ensure_future(phone.offline(log))
    conflict = refused("conflict", state=wire(make_state(revision=9, position=7.0)), reported=110.0)
    for _ in range(2):
        payload = await world.network.answer("offline", conflict)
        assert payload["base"]["revision"] == 5
    with pytest.raises(Refused) as raised:
        await told
    assert raised.value.state is not None
    assert (raised.value.state.position, raised.value.reported) == (7.0, 110.0)

    insisted = asyncio.ensure_future(phone.offline(log, mine=True))
    for _ in range(2):
        payload = await world.network.answer("offline", accepted(make_state(revision=10), **CREDITED))
        assert "base" not in payload
    assert (await insisted).state.revision == 10


async def test_another_refusal_ends_it(world: World, phone: Client) -> None:
    told = asyncio.ensure_future(phone.offline(offline_log(STRETCHES_PER_BATCH + 1)))
    await world.network.answer("offline", refused("not_found"))
    with pytest.raises(Refused, match="not_found"):
        await told
