"""Anything at all as an event, through our packets, the real dispatch, handlers and use cases: each is answered as
documented, what is no event of the protocol stores nothing, and everybody is served afterwards."""

import asyncio
import json
import math
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from playhead.auth.media_paths import MediaSigner
from playhead.auth.tokens import TokenVerifier
from playhead.engine.packets import Outgoing
from playhead.engine.sessions import Session
from playhead.playback.rejections import Code
from playhead.playback.state import SessionState
from playhead.realtime.connections import Connections
from playhead.realtime.dispatch import Dispatcher
from playhead.realtime.handlers import EVENTS, Handlers, bind
from playhead.realtime.server import RealtimeServer
from playhead.realtime.wire import MALFORMED_EVENT, PACKET_BYTES_MAX, TOO_LARGE_EVENT
from playhead.runtime.metrics import create_metrics
from playhead.sessions.presence import Presence
from playhead.sessions.service import SessionService
from playhead.sessions.streams import StreamLinks
from tests.support.messages import check_ack
from tests.support.nodes import AUDIENCE, JWT_KEY, ROOMY, make_token
from tests.support.sessions import HeldRows, HeldScripts, SetClock, new_id
from tests.support.states import LISTENER_ID, NOW_MS, OTHER_LISTENER_ID, SCRIPT_ID
from tests.unit.sessions.world import CountingStore

TURNS_MAX = 100
"""Of the loop, for an answer: nothing here waits for anybody."""
NEVER = {
    Code.INVALID, Code.UNKNOWN_EVENT, Code.TOO_LARGE, Code.INTERNAL, Code.UNAVAILABLE, Code.OVERLOADED,
}  # fmt: skip
"""How no event that its model takes may be refused, where all stores are there."""
ON_SESSION: dict[str, dict[str, Any]] = {
    "leave": {},
    "pause": {"position": 5.0},
    "seek": {"position": 5.0, "from": 1.0},
    "loop": {"start": 1.0, "end": 2.0, "enabled": True},
    "rate": {"rate": 1.5},
    "mode": {"mode": "together"},
    "sleep": {"after": 5.0},
    "transfer": {"device_id": "desk"},
    "restore": {"entry_id": "an entry"},
    "end": {},
    "progress": {"position": 1.0, "revision": 1, "seq": 1, "playing": True},
    "join": {"seen": {"epoch": 1, "revision": 1}},
}
STRETCH = {"start": 0.0, "end": 1.0, "started_at": NOW_MS - 5_000, "ended_at": NOW_MS}
GOOD: dict[str, dict[str, Any]] = {
    **{name: {"session_id": "SESSION", **fields} for name, fields in ON_SESSION.items()},
    "play": {"script_id": SCRIPT_ID, "position": 1.0},
    "offline": {"script_id": SCRIPT_ID, "position": 1.0, "intervals": [STRETCH]},
    "clock": {"t0": 1.0, "rtt_ms": 5.0},
    "auth": {"token": "TOKEN"},
}
FIELDS = sorted({name for fields in GOOD.values() for name in fields} | {"command_id", "expected_revision", "base"})

ODD: list[Any] = [
    None, True, False, 0, 1, 5, -1, 1.5, -0.0, 1e308, math.inf, math.nan, 2**53, 2**63, 2**64, 10**400, -(10**400),
    "", "1", "\ud800", "\0", "ü" * 70, "SESSION", SCRIPT_ID, SCRIPT_ID.upper(), "phone", "handoff",
    [], {}, [[]], [None], [STRETCH], {"epoch": NOW_MS, "revision": 1, "session_id": "SESSION"},
]  # fmt: skip

plain = st.sampled_from(ODD) | st.integers() | st.floats() | st.text(max_size=5)
texts = st.sampled_from(FIELDS) | st.text(max_size=5)
values = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=5
)


def one_of(*strategies: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """As `st.one_of`, which would weigh each by the parts that it is made of."""
    return st.sampled_from(strategies).flatmap(lambda strategy: strategy)


def nearly(name: str) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """A good payload, of which a field may be missing, another or one too many."""
    good, own = GOOD[name], sorted(GOOD[name])
    return st.builds(
        lambda without, changes: (name, {key: good[key] for key in own if key != without} | changes),
        st.sampled_from([None, None, *own]),
        st.dictionaries(one_of(st.sampled_from(own), st.sampled_from(FIELDS)), one_of(plain, values), max_size=1),
    )


payloads = one_of(*(nearly(name) for name in GOOD))
names = st.sampled_from([*EVENTS, "connect", "disconnect", "*", "state", TOO_LARGE_EVENT, MALFORMED_EVENT]) | texts
near = payloads.map(json.dumps)
far = st.builds(lambda name, arguments: json.dumps([name, *arguments]), names, st.lists(values, max_size=4))
many = st.builds(
    lambda named, more, count: json.dumps([*named, *[more] * count]), payloads, plain, st.integers(1, 3_000)
)
nested = st.builds(
    lambda depth, opening, closing: (
        f'["seek",{{"session_id":"SESSION","position":{opening * depth}1{closing * depth}}}]'
    ),
    st.integers(1, 3_000),
    st.sampled_from(["[", '{"position":']),
    st.sampled_from(["]", "}"]),
)
broken = st.builds(lambda text, length: text[:length], near, st.integers(0, 60))
nothing = st.sampled_from(["", "{}", "[]", "null", "[null]", '"seek"', "[[]]", "[1,{}]"])
sent = one_of(near, near, near, near, far, many, nested, broken, nothing)


class Server:
    """The server without a network: sessions keep what they would be told."""

    def __init__(self) -> None:
        clock, metrics, scripts = SetClock(), create_metrics(CollectorRegistry()), HeldScripts()
        self.store = CountingStore(clock, self._deliver, epoch=NOW_MS)
        presence = Presence(self.store, clock, connections_max=8)
        service = SessionService(self.store, HeldRows(), scripts, presence, clock, new_id)
        links = StreamLinks(MediaSigner({"kid": "k" * 32}), "https://media.example", clock)
        verifier = TokenVerifier(JWT_KEY, ["HS256"], AUDIENCE)
        connections = Connections(self.store)
        handlers = Handlers(service, presence, scripts, links, verifier, clock, metrics)
        self.realtime = RealtimeServer(
            verifier=verifier,
            connections=connections,
            dispatcher=Dispatcher(bind(handlers), connections, metrics, clock),
            presence=presence,
            service=service,
            scripts=scripts,
            links=links,
            metrics=metrics,
            clock=clock,
            rate=ROOMY,
        )
        self._number = 0

    async def _deliver(self, listener_id: str, packet: bytes) -> None:
        await self.realtime.deliver(listener_id, packet)

    async def open(self, device_id: str, listener_id: str = LISTENER_ID) -> Session:
        session = self.realtime._sio.eio.open({})
        device = {"id": device_id, "name": device_id, "kind": "phone"}
        session.take("40" + json.dumps({"token": make_token(listener_id), "device": device, "protocol": 1}))
        await self._answer(session, b"40{")
        return session

    async def ask(self, session: Session, event: str) -> dict[str, Any]:
        """The ack of an event, which may be any text."""
        self._number += 1
        session.take(f"42{self._number}{event}")
        answer: dict[str, Any] = orjson.loads(await self._answer(session, b"43%d[" % self._number))[0]
        return answer

    async def _answer(self, session: Session, head: bytes) -> bytes:
        for _ in range(TURNS_MAX):
            assert not session.closed, "no event costs anybody the connection"
            for message in session._backlog:
                if isinstance(message, Outgoing) and message.packet.startswith(head):
                    session._backlog.clear()
                    return message.packet[len(head) - 1 :]
            await asyncio.sleep(0)
        raise AssertionError("no answer")

    def states(self) -> Mapping[str, SessionState]:
        return dict(self.store._sessions.of(LISTENER_ID, NOW_MS))


def read(event: str) -> str | Code:
    """The name of an event of the protocol whose payload its model takes; or how anything else is refused."""
    if len(event) > PACKET_BYTES_MAX:
        return Code.TOO_LARGE
    try:
        decoded = orjson.loads(event)
    except orjson.JSONDecodeError:
        return Code.INVALID
    name = decoded[0] if isinstance(decoded, list) and decoded else None
    if name in (TOO_LARGE_EVENT, MALFORMED_EVENT) or not isinstance(name, str):
        return Code.TOO_LARGE if name == TOO_LARGE_EVENT else Code.INVALID
    if name not in EVENTS:
        return Code.UNKNOWN_EVENT
    try:
        _, payload = decoded
        EVENTS[name].model.model_validate(payload)
    except ValueError:
        return Code.INVALID
    return name


async def scenario(events: list[str]) -> None:
    server = Server()
    phone, desk, stranger = [
        await server.open(*who) for who in (("phone",), ("desk",), ("stranger", OTHER_LISTENER_ID))
    ]
    played = await server.ask(phone, json.dumps(["play", GOOD["play"]]))
    token = make_token()
    for event in events:
        text = event.replace('"SESSION"', f'"{played["state"]["session_id"]}"').replace('"TOKEN"', f'"{token}"')
        expected, states, commits = read(text), server.states(), server.store.commits
        answer = await server.ask(phone, text)
        check_ack(expected, answer)
        refused = None if answer["ok"] else Code(answer["error"]["code"])
        if isinstance(expected, Code):
            assert refused is expected and server.store.commits == commits
        else:
            assert refused not in NEVER, answer
        if refused is not None:
            assert server.states() == states
    for session in (phone, desk, stranger):
        assert (await server.ask(session, '["clock",{"t0":1}]'))["t0"] == 1
    assert (await server.ask(stranger, json.dumps(["play", GOOD["play"]])))["state"]["revision"] == 1
    await server.realtime.stop()


def test_the_payloads_that_are_changed_are_good_ones() -> None:
    assert set(GOOD) == set(EVENTS)
    for name, fields in GOOD.items():
        text = json.dumps([name, fields]).replace("SESSION", new_id())
        assert read(text) == name


@pytest.mark.parametrize("name", sorted(GOOD))
def test_each_field_may_hold_anything(name: str) -> None:
    fields = {*GOOD[name], "command_id", "expected_revision", "base", "nobody's"}
    events = [json.dumps([name, {**GOOD[name], field: value}]) for field in sorted(fields) for value in ODD]
    asyncio.run(scenario(events))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(sent, min_size=1, max_size=6))
@example([json.dumps([name, GOOD[name]]) for name in GOOD])
@example(['["seek"' + ",{}" * 2_000 + "]", json.dumps(["seek", "x" * PACKET_BYTES_MAX]), "", "[" * 4_000, "null"])
def test_any_event_is_answered_as_documented_and_a_wrong_one_stores_nothing(events: list[str]) -> None:
    asyncio.run(scenario(events))
