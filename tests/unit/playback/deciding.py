"""Commands put to the reducer, ten seconds after the anchor of `make_state()`: the formula then is at 110 s."""

from typing import Any

from playhead.playback.commands import REST_DEVICE_ID, Command, Origin
from playhead.playback.reducer import Decision, reduce
from playhead.playback.rejections import Code, Rejection
from playhead.playback.state import SessionState
from tests.support.states import DURATION_MS, NOW_MS, make_loop, make_state

PHONE = Origin(device_id="phone", connection_id="phone-1", command_id="command")
DESK = Origin(device_id="desk", connection_id="desk-1")
REST = Origin(device_id=REST_DEVICE_ID)
BOTH = {"phone": "phone-1", "desk": "desk-1"}
LOOP = make_loop(90_000, 110_000)
LATER_MS = NOW_MS + 10_000
ENDED_MS = NOW_MS + DURATION_MS
"""Long after the formula has run into the end."""
PAUSED = make_state(playing=False)
FINISHED = make_state(playing=False, position_ms=DURATION_MS, finished=True)


def decide(state: SessionState, command: Command, origin: Origin = PHONE, **options: Any) -> Decision | Rejection:
    return reduce(state, command, origin, **{"now_ms": LATER_MS, "connected": BOTH, **options})


def accepted(state: SessionState, command: Command, origin: Origin = PHONE, **options: Any) -> SessionState:
    decision = decide(state, command, origin, **options)
    assert isinstance(decision, Decision), decision
    return decision.state


def code(state: SessionState, command: Command, origin: Origin = PHONE, **options: Any) -> Code:
    answer = decide(state, command, origin, **options)
    assert isinstance(answer, Rejection), answer
    return answer.code
