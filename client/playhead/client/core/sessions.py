"""The latest state of each session that this device knows. States may come twice, late, in any order, from anywhere.

    a state is taken   when its (epoch, revision) is higher than that of the one held; else it is dropped
    something was lost when the revision jumps, or the epoch grows: the states are whole, but ask for a snapshot

Bounded: of the sessions that nobody follows here, the one that changed longest ago is forgotten first.
"""

from collections.abc import Iterator
from enum import Enum

from playhead.client.core.wire import Order, Payload, State

SESSIONS_MAX = 64
"""As many live sessions as a listener may have."""


class Taken(Enum):
    """What became of a state."""

    DROPPED = "dropped"
    """The one held is as late, or later."""
    NEXT = "next"
    GAP = "gap"
    """Taken, and states between it and the one held have not come."""


class Sessions:
    """States by session. `epoch`: the latest life of the state store that was heard of."""

    def __init__(self) -> None:
        self._states: dict[str, State] = {}
        self.epoch = 0

    def __iter__(self) -> Iterator[State]:
        return iter(tuple(self._states.values()))

    def get(self, session_id: str) -> State | None:
        return self._states.get(session_id)

    def live(self, script_id: str) -> State | None:
        """The session of that script that has not ended; the latest, should there be two."""
        found = [state for state in self._states.values() if state.script_id == script_id and not state.ended]
        return max(found, key=lambda state: state.order, default=None)

    def sounding(self, device_id: str) -> State | None:
        """The session whose sound is on that device: the one that plays, else the one that changed longest ago."""
        found = None
        for state in self._states.values():
            here = state.active_device == device_id and not state.ended
            if here and (found is None or (state.playing and not found.playing)):
                found = state
        return found

    def order(self, session_id: str) -> Order | None:
        state = self._states.get(session_id)
        return None if state is None else state.order

    def order_for(self, payload: Payload) -> Order | None:
        """Of the session that a command is for: the one that it names, or the live one of the script that it names."""
        if (session_id := payload.get("session_id")) is not None:
            return self.order(session_id)
        live = self.live(payload.get("script_id", ""))
        return None if live is None else live.order

    def script_of(self, payload: Payload) -> str | None:
        """The script that a command is for; None where it names a session that is not held."""
        if (session_id := payload.get("session_id")) is None:
            return payload.get("script_id")
        state = self.get(session_id)
        return None if state is None else state.script_id

    def pinned(self, payload: Payload) -> Payload:
        """An expected revision with the epoch that it is of: the command may be sent in a later one."""
        order = self.order_for(payload)
        if order is None or "expected_revision" not in payload:
            return payload
        return {"expected_epoch": order[0], **payload}

    def take(self, state: State) -> Taken:
        """Holds the state if it is the later one."""
        self.epoch = max(self.epoch, state.epoch)
        held = self._states.get(state.session_id)
        if held is not None and state.order <= held.order:
            return Taken.DROPPED
        self._states.pop(state.session_id, None)
        self._states[state.session_id] = state
        if len(self._states) > SESSIONS_MAX:
            del self._states[next(iter(self._states))]
        follows = held is None or (state.epoch == held.epoch and state.revision == held.revision + 1)
        return Taken.NEXT if follows else Taken.GAP

    def forget(self, session_id: str) -> None:
        self._states.pop(session_id, None)
