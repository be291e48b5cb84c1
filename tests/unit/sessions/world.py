"""One listener's world in memory: the real service, store, presence and writer, over a set clock and rows in memory."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from playhead.playback.commands import REST_DEVICE_ID, Command, Origin, Play
from playhead.playback.rejections import Code, Rejection
from playhead.playback.state import SessionState
from playhead.sessions.answers import Outcome
from playhead.sessions.codec import Packet, decode_packet
from playhead.sessions.memory_sessions import Sessions
from playhead.sessions.memory_store import MemoryStore
from playhead.sessions.presence import Presence
from playhead.sessions.service import SessionService
from playhead.sessions.store import JOURNAL_LENGTH_MAX, JOURNAL_RESERVE, Answer, Change, Committed
from playhead.sessions.sweeping import Sweeper
from tests.support.sessions import HeldRows, HeldScripts, SetClock, make_principal, new_id
from tests.support.states import LISTENER_ID, NOW_MS, SCRIPT_ID

PHONE = Origin(device_id="phone", connection_id="phone-1")
DESK = Origin(device_id="desk", connection_id="desk-1")
REST = Origin(device_id=REST_DEVICE_ID)


class CountingStore(MemoryStore):
    """A memory store that lets a test step in before a commit, as another process would."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.commits = 0
        self.losses_to_come = 0
        self.step_in: Callable[[], Awaitable[None]] | None = None
        """What another process does before the next commit."""

    @property
    def epoch(self) -> int:
        return self._epoch

    def begin_another_life(self, *, emptied: bool) -> None:
        """As after a restart: another epoch, and either what there was or nothing."""
        self.raise_epoch(0)
        if emptied:
            self._sessions = Sessions()

    def forget_connections(self) -> None:
        self._connections.clear()

    def forget_session(self, session_id: str) -> None:
        for listener_id in self._sessions._listeners:
            found = self._sessions._listeners.get(listener_id, 0)
            if found is not None and found.states.pop(session_id, None) is not None:
                del found.until_ms[session_id]

    def go_back(self, *states: SessionState) -> None:
        """As after a crash that lost the last writes: these sessions as they were, and no others."""
        self._sessions._listeners.pop(states[0].listener_id)
        for state in states:
            self._sessions.put(state.listener_id, state, self._clock.now_ms())

    async def commit(
        self,
        listener_id: str,
        epoch: int,
        changes: Sequence[Change],
        packets: Sequence[bytes],
        answer: Answer | None = None,
        live: int | None = None,
    ) -> Committed:
        self.commits += 1
        if self.losses_to_come:
            self.losses_to_come -= 1
            return Committed.LOST
        if (step_in := self.step_in) is not None:
            self.step_in = None
            await step_in()
        # another task may be faster
        await asyncio.sleep(0)
        return await super().commit(listener_id, epoch, changes, packets, answer, live)


@dataclass(slots=True)
class World:
    """What one server process has, and the packets that its listener was sent."""

    clock: SetClock
    rows: HeldRows
    scripts: HeldScripts
    store: CountingStore
    presence: Presence
    service: SessionService
    sweeper: Sweeper
    sent: list[tuple[str, Packet]] = field(default_factory=list)

    async def connect(self, *device_ids: str, listener_id: str = LISTENER_ID) -> None:
        for device_id in device_ids:
            assert await self.presence.attach(listener_id, f"{device_id}-1", device_id, device_id, "browser")
        self.sent.clear()

    async def play(self, script_id: str = SCRIPT_ID, origin: Origin = PHONE, **options: Any) -> Outcome:
        command = Play(**{name: options.pop(name) for name in ("position_ms", "device_id") if name in options})
        return accepted(await self.service.play(make_principal(), script_id, command, origin, **options))

    async def apply(self, session_id: str, command: Command, origin: Origin = PHONE, **options: Any) -> Outcome:
        return accepted(await self.service.apply(LISTENER_ID, session_id, command, origin, **options))

    def flush(self) -> None:
        """Everything that was journaled becomes rows."""
        self.rows.take(self.store.journal)

    def events(self) -> list[str]:
        return [packet.event for _, packet in self.sent]


async def make_world(journal_length_max: int = JOURNAL_LENGTH_MAX, journal_reserve: int = JOURNAL_RESERVE) -> World:
    clock, rows, scripts = SetClock(), HeldRows(), HeldScripts()

    async def on_packet(listener_id: str, packet: bytes) -> None:
        world.sent.append((listener_id, decode_packet(packet)))

    limits = {"journal_length_max": journal_length_max, "journal_reserve": journal_reserve}
    store = CountingStore(clock, on_packet, epoch=NOW_MS, **limits)
    presence = Presence(store, clock, connections_max=8)
    service = SessionService(store, rows, scripts, presence, clock, new_id)
    world = World(clock, rows, scripts, store, presence, service, Sweeper(store, service, presence, clock))
    await store.subscribe(LISTENER_ID)
    return world


def accepted(answer: Outcome | Rejection) -> Outcome:
    assert isinstance(answer, Outcome), answer
    return answer


def refused(answer: object) -> Code:
    assert isinstance(answer, Rejection), answer
    return answer.code
