"""From an event to its ack: every wrong one is answered by name, and what fails inside is never the client's to see."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from pydantic import BaseModel, ConfigDict
from structlog.testing import capture_logs

from playhead.auth.tokens import LEEWAY_S
from playhead.client.core.requests import ACK_TIMEOUT_MS
from playhead.db import DATABASE_AWAY, DatabaseUnavailable
from playhead.db.limits import CANCEL_TIMEOUT_S
from playhead.playback.rejections import REASONS, Code, Rejection
from playhead.realtime import dispatch
from playhead.realtime.connections import Connection, Connections
from playhead.realtime.dispatch import Dispatcher
from playhead.realtime.handlers import EVENTS, Accepted, Answer, Handlers, bind
from playhead.realtime.told import Told
from playhead.realtime.wire import MALFORMED_EVENT, TOO_LARGE_EVENT
from playhead.runtime.limits import COMMAND_RATE
from playhead.runtime.metrics import create_metrics
from playhead.runtime.redis import ANSWER_TIMEOUT_S
from playhead.sessions.codec import state_payload
from playhead.sessions.group_keeper import KEEP_TIMEOUT_S
from playhead.sessions.memory_store import MemoryStore
from playhead.sessions.requests import Device
from playhead.sessions.store import StoreUnavailable
from tests.support.sessions import SetClock, make_principal
from tests.support.states import LISTENER_ID, NOW_MS, make_state

GOOD = {"place": 1.5}


class Place(BaseModel):
    model_config = ConfigDict(extra="forbid")
    place: float


class Desk:
    """A dispatcher with one event, `go`, whose handler answers or raises what the test says."""

    def __init__(self) -> None:
        self.clock, self.registry = SetClock(), CollectorRegistry()
        self.metrics = create_metrics(self.registry)
        self.elapsed_us = 1_000_000_000
        self.outcome: Answer | Exception = Accepted({"went": True})
        self.requests: list[Any] = []
        self.connections = Connections(MemoryStore(self.clock))
        self.dispatcher = Dispatcher(
            {"go": (Place, self.go), "join": (Place, self.go)},
            self.connections,
            self.metrics,
            self.clock,
            lambda: self.elapsed_us * 1_000,
        )

    async def go(self, connection: Connection, request: Any) -> Answer:
        self.requests.append(request)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    async def send(self, event: str, *arguments: Any) -> dict[str, Any]:
        return await self.dispatcher.answer("c1", event, arguments)

    async def code(self, event: str, *arguments: Any) -> str:
        answer = await self.send(event, *arguments)
        assert answer["ok"] is False and answer["server_time"] == self.clock.time_ms
        found: str = answer["error"]["code"]
        return found

    def counted(self, **labels: str) -> float | None:
        self.metrics.tallies.flush()
        return self.registry.get_sample_value("playhead_commands_total", {"surface": "socket", **labels})

    async def connect(self, connection_id: str) -> None:
        device = Device(id="phone", name="n", kind="phone")
        await self.connections.enter(
            Connection(connection_id=connection_id, principal=make_principal(), device=device, last_packet_at_ms=NOW_MS)
        )


@pytest.fixture
async def desk() -> Desk:
    desk = Desk()
    await desk.connect("c1")
    return desk


async def test_a_good_event_is_answered_with_what_its_handler_says(desk: Desk) -> None:
    assert await desk.send("go", GOOD) == {"ok": True, "went": True, "server_time": NOW_MS}
    assert desk.requests == [Place(place=1.5)]
    assert desk.counted(command="go", result="ok") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        (GOOD, GOOD),
        (None,),
        ("text",),
        ([GOOD],),
        (1,),
        (b"bytes",),
        (True,),
        ({},),
        ({"place": "x"},),
        ({**GOOD, "x": 1},),
    ],
)
async def test_arguments_of_any_other_form_are_invalid_and_reach_no_handler(desk: Desk, arguments: tuple[Any]) -> None:
    assert await desk.code("go", *arguments) == "invalid"
    assert desk.requests == [] and desk.counted(command="go", result="invalid") == 1


@pytest.mark.parametrize(
    ("event", "code"),
    [(TOO_LARGE_EVENT, "too_large"), (MALFORMED_EVENT, "invalid"), ("gone", "unknown_event"), ("", "unknown_event")],
)
async def test_what_is_no_event_of_ours_is_answered_by_its_name(desk: Desk, event: str, code: str) -> None:
    assert await desk.code(event, GOOD) == code
    assert desk.counted(command="unknown", result=code) == 1
    assert desk.counted(command=event, result=code) is None


async def test_a_socket_that_is_not_let_in_gets_nothing(desk: Desk) -> None:
    answer = await desk.dispatcher.answer("stranger", "go", (GOOD,))
    assert answer["error"]["code"] == "unauthorized" and desk.requests == []


@pytest.mark.parametrize(("late_ms", "code"), [(0, None), (1, "unauthorized")])
async def test_a_socket_whose_token_has_run_out_gets_nothing_more(desk: Desk, late_ms: int, code: str | None) -> None:
    desk.clock.time_ms = (make_principal().expires_at_s + LEEWAY_S) * 1000 + late_ms
    answer = await desk.send("go", GOOD)
    assert answer.get("error", {}).get("code") == code
    assert len(desk.requests) == (1 if code is None else 0)


async def test_a_refusal_carries_its_state_and_both_places(desk: Desk) -> None:
    desk.outcome = Rejection(code=Code.CONFLICT, state=make_state(), reported_ms=5_000)
    error = (await desk.send("go", GOOD))["error"]
    assert (error["code"], error["retry"], error["reported"]) == ("conflict", False, 5.0)
    assert error["state"]["revision"] == 5
    assert desk.counted(command="go", result="conflict") == 1


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (StoreUnavailable("secret address"), "unavailable"),
        (DatabaseUnavailable("secret address"), "unavailable"),
        (RuntimeError("secret"), "internal"),
        (KeyError("secret"), "internal"),
    ],
)
async def test_a_failure_inside_is_named_but_not_shown(desk: Desk, failure: Exception, code: str) -> None:
    desk.outcome = failure
    answer = await desk.send("go", GOOD)
    assert (answer["error"]["code"], answer["error"]["retry"]) == (code, True)
    assert "secret" not in str(answer)
    desk.outcome = Accepted({"went": True})
    assert (await desk.send("go", GOOD))["ok"]


async def test_a_listener_is_named_whose_command_may_have_been_carried_out_all_the_same(desk: Desk) -> None:
    unknown: list[str] = []
    desk.dispatcher.on_unknown = unknown.append
    desk.outcome = DatabaseUnavailable("away")
    await desk.send("go", GOOD)
    assert unknown == []
    desk.outcome = StoreUnavailable("away")
    await desk.send("go", GOOD)
    assert unknown == [LISTENER_ID]


async def never(connection: Connection, request: Any) -> Answer:
    await asyncio.Event().wait()
    raise AssertionError


async def test_a_command_that_takes_too_long_is_answered_in_time_and_looked_after_twice(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.dispatcher._limit.limit_s = 0.01
    monkeypatch.setattr(dispatch, "SETTLED_S", 0.05)
    unknown: list[str] = []
    desk.dispatcher.on_unknown = unknown.append
    desk.dispatcher._table["go"] = (Place.model_validate, never)
    with capture_logs() as logs:
        error = (await desk.send("go", GOOD))["error"]
    assert (error["code"], error["retry"], error["message"]) == ("unavailable", True, REASONS[Code.UNAVAILABLE].message)
    assert desk.counted(command="go", result="unavailable") == 1
    assert [(line["action"], line["event_name"], line["times"]) for line in logs] == [("command_late", "go", 1)]
    assert unknown == [LISTENER_ID]
    await desk.dispatcher.settle(600)
    async with asyncio.timeout(5):
        while len(unknown) < 2:
            await asyncio.sleep(0.01)


async def test_a_question_that_takes_too_long_has_changed_nothing(desk: Desk) -> None:
    desk.dispatcher._limit.limit_s = 0.01
    unknown: list[str] = []
    desk.dispatcher.on_unknown = unknown.append
    desk.dispatcher._table["join"] = (Place.model_validate, never)
    assert await desk.code("join", GOOD) == "unavailable" and unknown == []


async def test_a_timeout_that_is_not_the_dispatchers_is_a_failure_of_ours(desk: Desk) -> None:
    desk.outcome = TimeoutError("secret")
    assert await desk.code("go", GOOD) == "internal"


def test_an_ack_comes_before_a_client_gives_the_line_up() -> None:
    assert (dispatch.HANDLER_TIMEOUT_S + CANCEL_TIMEOUT_S) * 1_000 < ACK_TIMEOUT_MS
    assert dispatch.SETTLED_S > max(KEEP_TIMEOUT_S, ANSWER_TIMEOUT_S)


async def test_which_store_is_away_is_told(desk: Desk) -> None:
    desk.outcome = DatabaseUnavailable("secret address")
    assert (await desk.send("go", GOOD))["error"]["message"] == DATABASE_AWAY
    desk.outcome = StoreUnavailable("secret address")
    assert (await desk.send("go", GOOD))["error"]["message"] == REASONS[Code.UNAVAILABLE].message


async def test_every_event_even_a_bad_one_is_a_sign_of_life(desk: Desk) -> None:
    for event, arguments in (("go", (GOOD,)), ("go", ()), ("gone", (GOOD,)), (MALFORMED_EVENT, ())):
        desk.clock.advance(1_000)
        await desk.send(event, *arguments)
        connection = desk.connections.get("c1")
        assert connection is not None and connection.last_packet_at_ms == desk.clock.time_ms


async def test_what_comes_faster_than_it_may_is_refused_by_name_and_reaches_no_handler(desk: Desk) -> None:
    for _ in range(COMMAND_RATE.burst):
        assert (await desk.send("go", GOOD))["ok"]
    desk.clock.advance(1)
    for event, arguments in (("go", (GOOD,)), ("go", ()), ("gone", (GOOD,)), (MALFORMED_EVENT, ())):
        error = (await desk.send(event, *arguments))["error"]
        assert (error["code"], error["retry"], error["retry_after_ms"]) == ("overloaded", True, 20)
        assert "retry_after_ms" in error["message"]
    assert len(desk.requests) == COMMAND_RATE.burst
    assert desk.counted(command="go", result="overloaded") == 2
    assert desk.registry.get_sample_value("playhead_events_limited_total") == 4
    connection = desk.connections.get("c1")
    assert connection is not None and connection.last_packet_at_ms == desk.clock.time_ms
    desk.elapsed_us += 19_500
    assert (await desk.send("go", GOOD))["error"]["retry_after_ms"] == 1
    desk.elapsed_us += 500
    assert (await desk.send("go", GOOD))["ok"]


async def test_one_connection_that_is_too_fast_slows_no_other(desk: Desk) -> None:
    await desk.connect("c2")
    for _ in range(COMMAND_RATE.burst + 1):
        await desk.send("go", GOOD)
    assert (await desk.dispatcher.answer("c2", "go", (GOOD,)))["ok"]
    assert not (await desk.send("go", GOOD))["ok"]


async def test_settling_waits_for_what_was_begun_and_begins_nothing_more(desk: Desk) -> None:
    gate, started = asyncio.Event(), asyncio.Event()

    async def slow(connection: Connection, request: Any) -> Answer:
        started.set()
        await gate.wait()
        return Accepted({"went": True})

    desk.dispatcher._table["go"] = (Place.model_validate, slow)
    begun = asyncio.create_task(desk.send("go", GOOD))
    await started.wait()
    settling = asyncio.create_task(desk.dispatcher.settle(600))
    await asyncio.sleep(0)
    error = (await desk.send("go", GOOD))["error"]
    assert (error["code"], error["retry"]) == ("unavailable", True) and "another one answers" in error["message"]
    assert not settling.done()
    gate.set()
    await settling
    assert begun.done() and (await begun)["ok"], "answered before the wait was over"
    await desk.dispatcher.settle(600)


async def test_settling_ends_with_its_time_and_with_nothing_begun_at_once(desk: Desk) -> None:
    await desk.dispatcher.settle(600)
    desk = Desk()
    await desk.connect("c1")

    async def stuck(connection: Connection, request: Any) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    desk.dispatcher._table["go"] = (Place.model_validate, stuck)
    begun = asyncio.create_task(desk.send("go", GOOD))
    await asyncio.sleep(0)
    await desk.dispatcher.settle(0)
    assert not begun.done()
    begun.cancel()


def test_every_event_of_the_protocol_has_its_handler() -> None:
    assert set(EVENTS) == {
        "join", "leave", "play", "pause", "seek", "loop", "rate", "mode", "sleep", "transfer", "restore", "end",
        "progress", "offline", "clock", "auth",
    }  # fmt: skip
    assert all(callable(getattr(Handlers, event.handler)) for event in EVENTS.values())
    assert callable(bind)


# what a device knows from its answers

STATE = make_state()


@pytest.mark.parametrize(
    "answer",
    [Accepted({"state": state_payload(STATE)}, STATE), Rejection(code=Code.CONFLICT, state=STATE)],
)
async def test_a_session_that_an_answer_tells_of_is_known_here(desk: Desk, answer: Answer) -> None:
    desk.outcome = answer
    await desk.send("go", GOOD)
    assert desk.connections.told(LISTENER_ID) == Told(some={STATE.session_id: STATE.order})
    await desk.send("join", GOOD)
    snapshot = not isinstance(answer, Rejection)
    assert desk.connections.told(LISTENER_ID).all == ({STATE.session_id: STATE.order} if snapshot else {})
    later = replace(STATE, revision=STATE.revision + 1)
    desk.outcome = Accepted({"state": state_payload(later)}, later)
    await desk.send("go", GOOD)
    told = desk.connections.told(LISTENER_ID)
    assert told.all.get(STATE.session_id) != later.order and told.some == {STATE.session_id: later.order}


@pytest.mark.parametrize("refused", [True, False])
async def test_an_end_that_an_answer_tells_of_is_known_by_its_epoch(desk: Desk, refused: bool) -> None:
    over = replace(STATE, ended_at_ms=NOW_MS)
    desk.outcome = Rejection(code=Code.SESSION_ENDED, state=over) if refused else Accepted({}, over)
    await desk.send("go", GOOD)
    assert desk.connections.told(LISTENER_ID) == Told(ended_epoch=STATE.epoch)


@pytest.mark.parametrize("answer", [Accepted({"state": None}), Accepted({}), Rejection(code=Code.NOT_FOUND)])
async def test_an_answer_without_a_session_tells_of_none(desk: Desk, answer: Answer) -> None:
    desk.outcome = answer
    await desk.send("go", GOOD)
    assert desk.connections.told(LISTENER_ID) == Told()
