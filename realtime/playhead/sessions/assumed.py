"""What this process has committed last: the next command is decided on it without a look at the store.

The commit compares the version of the session, its epoch, and that no answer is kept under the command's id; so what is
decided on a state that is not the store's any more comes to nothing, and is decided again after a look. That protects
what is committed, and nothing else: a refusal, or an answer that writes nothing, is never given on an assumption.
Commands that let a device sound look at all of the listener's sessions, and at who is connected, in any case. Must not
know: the store, what a command means.
"""

from playhead.cache.bounded import BoundedMap
from playhead.playback.state import SessionState
from playhead.sessions.reviving import Held, View

ASSUMED_MAX = 20_000
"""Listeners of whom a process keeps the session that it has committed last, about 1.5 KB each; the one that was used
longest ago goes first."""


class Assumed:
    """Of each listener the live session that was committed last here, in the epoch of its commit."""

    def __init__(self, entries_max: int = ASSUMED_MAX) -> None:
        self._states: BoundedMap[str, SessionState] = BoundedMap(entries_max, entries_max, lambda _state: 1)

    def __len__(self) -> int:
        return len(self._states)

    def view(self, listener_id: str, session_id: str) -> View | None:
        """The session alone, as the store most likely has it."""
        state = self._states.get(listener_id)
        if state is None or state.session_id != session_id:
            return None
        held = Held(state=state, expected_version=state.version)
        return View(epoch=state.epoch, sessions=(held,))

    def note(self, epoch: int, state: SessionState) -> None:
        """It has been committed under `epoch`."""
        if state.ended_at_ms is None and state.epoch == epoch:
            self._states.put(state.listener_id, state)
        else:
            self._states.drop(state.listener_id)

    def forget(self, listener_id: str) -> None:
        """Somebody else has changed it, or nobody knows what the store has."""
        self._states.drop(listener_id)
