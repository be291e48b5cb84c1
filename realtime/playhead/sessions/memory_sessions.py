"""The sessions that the store in memory has, by listener, each for its time."""

from collections.abc import Mapping

from playhead.playback.state import SessionState
from playhead.sessions.store import ENDED_TTL_MS, SESSION_TTL_MS
from playhead.sessions.timetable import FORGET_MAX, Expiring

NOTHING: Mapping[str, SessionState] = {}


class _Listener:
    """One listener's sessions and until when each is kept. `first_ms`: before that none is to be forgotten."""

    __slots__ = ("first_ms", "states", "until_ms")

    def __init__(self) -> None:
        self.states: dict[str, SessionState] = {}
        self.until_ms: dict[str, int] = {}
        self.first_ms = 0

    def put(self, state: SessionState, until_ms: int) -> None:
        self.states[state.session_id] = state
        self.until_ms[state.session_id] = until_ms
        self.first_ms = min(self.until_ms.values())

    def forget(self, now_ms: int) -> None:
        for session_id in [key for key, until_ms in self.until_ms.items() if until_ms <= now_ms]:
            del self.states[session_id], self.until_ms[session_id]
        self.first_ms = min(self.until_ms.values(), default=now_ms)


class Sessions:
    """Live ones, and those that have ended a while ago."""

    def __init__(self) -> None:
        self._listeners: Expiring[str, _Listener] = Expiring()

    def of(self, listener_id: str, now_ms: int) -> Mapping[str, SessionState]:
        """The listener's sessions by id, as they are now: not a copy."""
        found = self._listeners.get(listener_id, now_ms)
        if found is None:
            return NOTHING
        if found.first_ms <= now_ms:
            found.forget(now_ms)
        return found.states

    def put(self, listener_id: str, state: SessionState, now_ms: int) -> None:
        """Keeps it from now on for as long as its kind is kept."""
        found = self._listeners.get(listener_id, now_ms) or _Listener()
        found.put(state, now_ms + (SESSION_TTL_MS if state.ended_at_ms is None else ENDED_TTL_MS))
        self._listeners.put(listener_id, found, max(found.until_ms.values()))

    def forget(self, now_ms: int) -> None:
        self._listeners.forget(now_ms, FORGET_MAX)
