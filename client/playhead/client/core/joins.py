"""What this device follows, by script or by session, and the snapshots of it: after each connect, and when one is due.

While its snapshot of a fresh connection is missing, no command of a session is sent: it would be decided on an old
state. What cannot be joined holds up no other. A snapshot that is wanted later (a gap, `resync`, a new epoch) holds
nothing up, and does not come more often than once a second.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from playhead.client.core.effects import Settle, Tell
from playhead.client.core.errors import Refused, Stopped
from playhead.client.core.events import Joined, JoinRefused
from playhead.client.core.hands import Hands
from playhead.client.core.sessions import Sessions
from playhead.client.core.wire import Devices, Order, Payload, Snapshot, State, read_answer

REFRESH_GAP_MS = 1_000.0
RETRY_MS = 1_000.0


@dataclass(slots=True, eq=False, kw_only=True)
class Followed:
    """One script or one session. `asks`: who waits for its next snapshot."""

    script_id: str | None
    session_id: str | None
    asks: list[str] = field(default_factory=list)
    due_ms: float = math.inf
    in_flight: bool = False
    fresh: bool = False
    """Its snapshot of this connection has come."""
    answered_ms: float = -math.inf
    known: dict[str, Order] = field(default_factory=dict)
    """The live sessions of the script that were held when the snapshot was asked for."""


class Joins:
    """`see`: takes the connected devices that a snapshot brings."""

    def __init__(self, sessions: Sessions, hands: Hands, see: Callable[[Devices], None]) -> None:
        self._sessions = sessions
        self._hands = hands
        self._see = see
        self._followed: list[Followed] = []

    @property
    def ready(self) -> bool:
        """Whether every snapshot of this connection has come."""
        for one in self._followed:
            if not one.fresh:
                return False
        return True

    def known(self, session_id: str | None, script_id: str | None) -> bool:
        """Whether commands and reports need not wait: a snapshot of either has come, or nobody follows them."""
        own = [one for one in self._followed if self._concerns(one, session_id, script_id)]
        return not own or any(one.fresh for one in own)

    def _concerns(self, one: Followed, session_id: str | None, script_id: str | None) -> bool:
        if one.session_id is None:
            return one.script_id == script_id
        if session_id is not None:
            return one.session_id == session_id
        state = self._sessions.get(one.session_id)
        return state is not None and state.script_id == script_id

    @property
    def due_ms(self) -> float:
        due_ms = math.inf
        for one in self._followed:
            if not one.in_flight and one.due_ms < due_ms:
                due_ms = one.due_ms
        return due_ms

    def follows(self, state: State) -> bool:
        return any(_is_of(one, state) for one in self._followed)

    def follow(self, script_id: str | None, session_id: str | None, ask_id: str | None, now_ms: float) -> None:
        """Follows from now on; `ask_id`: who is to get the snapshot."""
        found = next(
            (one for one in self._followed if (one.script_id, one.session_id) == (script_id, session_id)), None
        )
        if found is None:
            found = Followed(script_id=script_id, session_id=session_id)
            self._followed.append(found)
        if ask_id is not None:
            found.asks.append(ask_id)
        found.due_ms = min(found.due_ms, now_ms)

    def adopt(self, state: State) -> None:
        """Follows the script of a session that this device has just played: its state is as fresh as a snapshot.

        Another live session of that script is one that the server knows no longer: a snapshot tells.
        """
        if not self.follows(state):
            self._followed.append(Followed(script_id=state.script_id, session_id=None, fresh=True))
        if any(_live_of(one, other) for one in self._followed for other in self._sessions if _rival(state, other)):
            self.refresh(-math.inf, state)

    def doubt_rivals(self, state: State, now_ms: float) -> None:
        """A script has one live session: whatever else is held as live has ended unseen, and a snapshot tells."""
        for other in self._sessions:
            if _rival(state, other) and not other.ended:
                self.refresh(now_ms, other)

    def unfollow(self, session_id: str) -> None:
        state = self._sessions.get(session_id)
        for one in tuple(self._followed):
            if one.session_id == session_id or (state is not None and one.script_id == state.script_id):
                self._end(one, Stopped("It is followed no longer."))

    def connected(self, now_ms: float) -> None:
        """Everything is wanted anew; what nobody follows cannot be vouched for any more."""
        for state in self._sessions:
            if not self.follows(state):
                self._sessions.forget(state.session_id)
        for one in self._followed:
            one.due_ms, one.in_flight, one.fresh = now_ms, False, False

    def refresh(self, now_ms: float, state: State | None = None) -> None:
        """Wants new snapshots: of this state's session, or of everything."""
        for one in self._followed:
            if state is None or _is_of(one, state):
                one.due_ms = min(one.due_ms, max(now_ms, one.answered_ms + REFRESH_GAP_MS))

    def tick(self, now_ms: float) -> None:
        for one in tuple(self._followed):
            if not one.in_flight and one.due_ms <= now_ms:
                one.in_flight, one.due_ms = True, math.inf
                one.known = {state.session_id: state.order for state in self._sessions if _live_of(one, state)}
                self._hands.ask("join", self._payload(one), now_ms, partial(self._answered, one))

    def stop(self, error: Exception) -> None:
        for one in self._followed:
            self._settle(one, error)

    def _payload(self, one: Followed) -> Payload:
        target = {"script_id": one.script_id} if one.session_id is None else {"session_id": one.session_id}
        seen = self._seen(one)
        return target if seen is None else {**target, "seen": {"epoch": seen[0], "revision": seen[1]}}

    def _seen(self, one: Followed) -> Order | None:
        if one.session_id is not None:
            return self._sessions.order(one.session_id)
        state = self._sessions.live(one.script_id or "")
        return None if state is None else state.order

    def _answered(self, one: Followed, ack: Any, now_ms: float) -> None:
        answer = read_answer(Snapshot, ack)
        one.in_flight = False
        if one not in self._followed:
            return
        if isinstance(answer, Snapshot):
            self._snapshot(one, answer, now_ms)
            return
        if answer.state is not None:
            self._hands.take(answer.state)
        if answer.retry:
            one.due_ms = now_ms + max(RETRY_MS * (0.5 + self._hands.chance()), answer.retry_after_ms or 0.0)
            return
        if one.session_id is not None and answer.state is None:
            self._sessions.forget(one.session_id)
        self._hands.out(Tell(JoinRefused(script_id=one.script_id, session_id=one.session_id, refusal=answer)))
        self._end(one, Refused(answer))

    def _snapshot(self, one: Followed, answer: Snapshot, now_ms: float) -> None:
        one.fresh, one.answered_ms = True, now_ms
        if answer.epoch is not None:
            self._sessions.epoch = max(self._sessions.epoch, answer.epoch)
        if one.script_id is not None:
            self._forget_others(one, answer.state)
        if answer.state is not None:
            self._hands.take(answer.state)
        self._see(Devices(devices=answer.devices, devices_order=answer.devices_order))
        ids = {"script_id": one.script_id, "session_id": one.session_id}
        self._hands.out(Tell(Joined(**ids, state=answer.state, place=answer.place)))
        self._settle(one, answer)

    def _forget_others(self, one: Followed, state: State | None) -> None:
        """A script has one live session: others have ended unseen, unless something came of them since the question."""
        for session_id, order in one.known.items():
            other = state is None or session_id != state.session_id
            if other and self._sessions.order(session_id) == order:
                self._sessions.forget(session_id)

    def _end(self, one: Followed, error: Exception) -> None:
        self._followed.remove(one)
        self._settle(one, error)

    def _settle(self, one: Followed, outcome: object) -> None:
        asks, one.asks = one.asks, []
        for ask_id in asks:
            self._hands.out(Settle(ask_id, outcome))


def _is_of(one: Followed, state: State) -> bool:
    return one.session_id == state.session_id if one.session_id is not None else one.script_id == state.script_id


def _rival(state: State, other: State) -> bool:
    return other.script_id == state.script_id and other.session_id != state.session_id


def _live_of(one: Followed, state: State) -> bool:
    return one.script_id == state.script_id and not state.ended
