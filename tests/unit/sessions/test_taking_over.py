"""Time for devices whose server has died: each gets it, whatever becomes of another's."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

import pytest

from playhead.db import DatabaseUnavailable, Ending
from playhead.playback.state import SessionState
from playhead.sessions import taking_over
from playhead.sessions.memory_store import MemoryStore
from playhead.sessions.store import OUTAGE_GRACE_MS, StoreUnavailable
from playhead.sessions.taking_over import AT_ONCE, TakingOver
from tests.support.sessions import SetClock, new_id
from tests.support.states import NOW_MS, make_state


@dataclass(slots=True)
class Devices:
    """Rows of sessions that play, and whose device has been given time. `errors`: what comes first, by session."""

    rows: list[SessionState]
    errors: dict[str, list[Exception]] = field(default_factory=dict)
    excused: dict[str, int] = field(default_factory=dict)

    async def unended(self, limit: int) -> AsyncGenerator[SessionState, None]:
        for row in self.rows[:limit]:
            yield row

    async def endings(self, heard_out_after_ms: int, limit: int) -> tuple[Ending, ...]:
        return ()

    async def excuse(self, state: SessionState, until_ms: int) -> None:
        if self.errors.get(state.session_id):
            raise self.errors[state.session_id].pop(0)
        self.excused[state.session_id] = until_ms


def sounding(count: int) -> Devices:
    rows = [make_state(listener_id=new_id(), session_id=new_id(), playing=True, epoch=7) for _ in range(count)]
    return Devices([row for row in rows if row.playing])


async def give_time(devices: Devices) -> None:
    clock = SetClock()
    taking = TakingOver(MemoryStore(clock), devices, devices, clock)  # type: ignore[arg-type]
    await taking.read(NOW_MS)
    await taking.give_time()


async def test_devices_that_cannot_be_given_time_cost_the_others_nothing() -> None:
    devices = sounding(3 * AT_ONCE)
    broken = [row.session_id for row in devices.rows[: 2 * AT_ONCE]]
    devices.errors = {session_id: [ValueError("a bug")] for session_id in broken}
    await give_time(devices)
    until_ms = NOW_MS + OUTAGE_GRACE_MS
    assert devices.excused == {row.session_id: until_ms for row in devices.rows[2 * AT_ONCE :]}


async def test_while_a_store_is_away_it_is_tried_until_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking_over, "RETRY_INTERVAL_S", 0.0)
    devices = sounding(1)
    devices.errors[devices.rows[0].session_id] = [StoreUnavailable("away"), DatabaseUnavailable("away")]
    await give_time(devices)
    assert len(devices.excused) == 1
