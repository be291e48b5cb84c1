"""A listener's phone on one node, a store that can be away, and what the node sends."""

import asyncio
from typing import Any

from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from playhead.playback.state import SessionState
from playhead.realtime.connections import Connection, Connections
from playhead.realtime.convergence import Convergence
from playhead.runtime.metrics import create_metrics
from playhead.sessions.codec import told_devices, told_state
from playhead.sessions.presence import Presence
from playhead.sessions.requests import Device
from playhead.sessions.service import SessionService
from playhead.sessions.store import Change, Committed, StoreUnavailable
from tests.support.sessions import HeldRows, HeldScripts, SetClock, make_principal, new_id
from tests.support.states import LISTENER_ID, NOW_MS, OTHER_LISTENER_ID, OTHER_SCRIPT_ID, OTHER_SESSION_ID, make_state
from tests.unit.sessions.world import CountingStore

FIRST = make_state(epoch=NOW_MS, revision=1, version=1)
SECOND = replace(FIRST, session_id=OTHER_SESSION_ID, script_id=OTHER_SCRIPT_ID)


class Store(CountingStore):
    """A memory store that can be away, counts what it is asked, and lets a test step in between two questions."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.down = False
        self.asked: list[tuple[str, ...]] = []
        self.meanwhile: SessionState | None = None

    async def live(self, *arguments: Any) -> Any:
        if self.down:
            raise StoreUnavailable("away")
        return await super().live(*arguments)

    async def orders(self, listener_ids: Any) -> Any:
        self.asked.append(tuple(listener_ids))
        return await super().orders(listener_ids)


class Desk:
    """The listener's phone on this node, and what is sent to all of the listener's sockets."""

    def __init__(self) -> None:
        self.registry, self.clock = CollectorRegistry(), SetClock()
        clock = self.clock
        self.sent: list[tuple[str, str, dict[str, Any]]] = []
        self.store = Store(clock, epoch=NOW_MS)
        presence = Presence(self.store, clock, connections_max=8)
        service = SessionService(self.store, HeldRows(), HeldScripts(), presence, clock, new_id)
        self.presence = presence
        self.connections = Connections(self.store)
        metrics = create_metrics(self.registry)
        self.convergence = Convergence(self.connections, service, presence, self, metrics)  # type: ignore[arg-type]

    async def tell(self, listener_id: str, event: str, data: dict[str, Any]) -> None:
        self.sent.append((listener_id, event, data))
        await asyncio.sleep(0)

    async def connect(self, connection_id: str = "c1", listener_id: str = LISTENER_ID) -> Connection:
        connection = Connection(
            connection_id=connection_id,
            principal=make_principal(listener_id),
            device=Device(id="phone", name="n", kind="phone"),
            last_packet_at_ms=NOW_MS,
        )
        await self.connections.enter(connection)
        return connection

    async def comes(self, device_id: str, *, told: bool) -> dict[str, Any]:
        """Another device of the listener connects elsewhere; `told`: the event arrives here."""
        assert await self.presence.attach(LISTENER_ID, f"{device_id}-1", device_id, device_id, "phone")
        devices = await self.presence.present(LISTENER_ID)
        if told:
            self.convergence.delivered(LISTENER_ID, None, told_devices(devices))
        return devices

    async def quietly(self, state: SessionState, expected_version: int | None = None) -> SessionState:
        """Commits it, and its packet is lost."""
        change = Change(after=state, expected_version=expected_version)
        assert await self.store.commit(state.listener_id, NOW_MS, [change], []) is Committed.DONE
        return state

    async def told(self, state: SessionState, expected_version: int | None = None) -> SessionState:
        """Commits it, and its packet arrives."""
        await self.quietly(state, expected_version)
        self.convergence.delivered(state.listener_id, told_state(state))
        return state

    async def answered(self, state: SessionState) -> None:
        """One of two connections here was answered with it."""
        phone = self.connections.get("c1")
        assert phone is not None
        await self.connect("c2")
        self.connections.answered(phone, state.session_id, state.order, state.ended_at_ms is not None, joined=False)

    async def compare(self) -> list[tuple[str, str, int]]:
        """Who was sent which state then: listener, session, revision; or what else, but for lists of devices."""
        self.sent.clear()
        await self.convergence.compare([LISTENER_ID, OTHER_LISTENER_ID])
        return [
            (listener_id, data["session_id"], data["revision"]) if event == "state" else (listener_id, event, 0)
            for listener_id, event, data in self.sent
            if event != "devices"
        ]

    async def compare_devices(self) -> list[dict[str, Any]]:
        """The lists of devices that were sent then."""
        await self.compare()
        return [data for _, event, data in self.sent if event == "devices"]

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"playhead_{name}_total", labels) or 0.0


def following(state: SessionState, **fields: Any) -> SessionState:
    return replace(state, revision=state.revision + 1, version=state.version + 1, **fields)
