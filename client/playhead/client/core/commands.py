"""Commands under way: in what order they are sent, when one is sent again, and how each of them ends.

Commands of one session go one after the other, each when the one before is answered: so they are done in the order of
the presses, over every retry and reconnect. Only a log of what was played without a connection goes before the presses
of that time. A command keeps its `command_id` however often it is sent, and the server answers a repeat as it answered
the first: sending again is always safe.

| what comes                     | then                                                                       |
| ------------------------------ | -------------------------------------------------------------------------- |
| a good ack                     | done                                                                       |
| a refusal that says `retry`    | the same again after a jittered wait, RETRIES_MAX times                    |
| another refusal                | `Refused`                                                                  |
| the connection is lost         | the same again after the next join                                         |
| a repeat, in a new epoch       | only if nothing has moved, where what went before may have been done       |
| the caller's patience is over  | `Refused` by the last refusal; `Unanswered` where nobody knows             |
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from playhead.client.core.effects import Settle
from playhead.client.core.errors import Refused, Unanswered
from playhead.client.core.hands import Hands
from playhead.client.core.offline import OfflineLog, OpenLogs
from playhead.client.core.prediction import Press
from playhead.client.core.sessions import Sessions
from playhead.client.core.wire import Accepted, Payload, Played, Refusal, State, read_answer

COMMANDS_MAX = 256
"""Commands that may be under way at once."""
RETRIES_MAX = 10
RETRY_MS_MIN = 250.0
RETRY_MS_MAX = 4_000.0
PERHAPS_DONE = frozenset({"unavailable", "internal"})
"""Refusals of which nobody knows whether the command was carried out all the same; after any other it was not."""
GONE = "not_found"
"""Said of a session that is held here: the server knows it no longer."""
TOO_MANY = Refusal(
    code="overloaded", message="Too many commands wait here for the server. Wait for their answers.", retry=True
)


@dataclass(slots=True, eq=False, kw_only=True)
class Underway:
    """One command. `answer`: what a good ack is read as. `lane`: commands of one lane go one after the other."""

    command_id: str
    event: str
    payload: Payload
    lane: str
    answer: type[Accepted]
    press: Press | None
    give_up_ms: float
    behind: OfflineLog | None = None
    """It was pressed while the sound played on without a connection: that is told first."""
    due_ms: float = -math.inf
    sent_in_epoch: int = 0
    sent_at_revision: int | None = None
    """What was held when it was sent first of all times that may have done it."""
    in_flight: bool = False
    unsure: bool = False
    """It was sent at least once without an answer: it may have been done."""
    perhaps_done: bool = False
    """The same, or an answer was that it is not known."""
    refusals: int = 0
    refusal: Refusal | None = None
    shown: bool = False
    """A state that it caused is held: nothing is left to predict."""
    over: bool = False


class Commands:
    """`logs`: not told yet. `played`: takes the state of a session that this device has just played.

    `known`: whether what a session (its id) or a script (its id) is at now has come over this connection.
    """

    def __init__(
        self,
        sessions: Sessions,
        logs: OpenLogs,
        hands: Hands,
        *,
        played: Callable[[State], None],
        known: Callable[[str | None, str | None], bool],
    ) -> None:
        self._sessions = sessions
        self._hands = hands
        self._played = played
        self._known = known
        self._logs = logs
        self._lanes: dict[str, deque[Underway]] = {}

    def __iter__(self) -> Iterator[Underway]:
        return (command for lane in self._lanes.values() for command in lane)

    def add(self, command: Underway) -> None:
        if sum(1 for _ in self) >= COMMANDS_MAX:
            self._hands.out(Settle(command.command_id, Refused(TOO_MANY)))
            return
        lane = self._lanes.setdefault(command.lane, deque())
        lane.insert(self._turn(command, lane), command)

    def busy(self, lane: str) -> bool:
        return lane in self._lanes

    def presses(self, lane: str) -> list[Press]:
        """What is to be predicted, in order."""
        return [one.press for one in self._lanes.get(lane, ()) if one.press is not None and not one.shown]

    def confirm(self, command_id: str | None) -> None:
        """A state that this command caused is held now; its answer may still be on its way."""
        for command in self:
            if command.command_id == command_id:
                command.shown = True

    def due_ms(self, usable: bool) -> float:
        """When `tick` has something to do: local ms. `usable`: whether there is a line to send over."""
        if not self._lanes:
            return math.inf
        heads = [lane[0] for lane in self._lanes.values() if usable and self._sendable(lane[0])]
        return min([command.due_ms for command in heads] + [command.give_up_ms for command in self], default=math.inf)

    def tick(self, now_ms: float, usable: bool) -> None:
        """Ends those whose time is over, and sends those whose turn it is."""
        if not self._lanes:
            return
        for command in tuple(self):
            if command.give_up_ms <= now_ms:
                self._leave_open(command)
                self._settle(command, self._given_up(command))
        for lane in tuple(self._lanes.values()) if usable else ():
            head = lane[0]
            if self._sendable(head) and head.due_ms <= now_ms:
                self._send(head, now_ms)

    def lost(self) -> None:
        """The connection is gone, and with it the acks of what was sent."""
        for command in self:
            if command.in_flight:
                command.unsure = command.perhaps_done = True
            command.in_flight, command.due_ms = False, -math.inf

    def stop(self, error: Exception) -> None:
        """No command will be answered any more."""
        for command in tuple(self):
            self._settle(command, error)

    def _sendable(self, command: Underway) -> bool:
        if command.in_flight or command.behind in self._logs:
            return False
        return self._known(command.payload.get("session_id"), self._sessions.script_of(command.payload))

    def _turn(self, command: Underway, lane: deque[Underway]) -> int:
        """Its place in the lane: the last; a log is told before what waits for one."""
        waiting = (place for place, other in enumerate(lane) if not other.in_flight and other.behind in self._logs)
        return next(waiting, len(lane)) if command.event == "offline" else len(lane)

    def _send(self, command: Underway, now_ms: float) -> None:
        command.in_flight = True
        payload = {**command.payload, "command_id": command.command_id}
        if (guard := self._guard(command)) is not None:
            payload.setdefault("expected_revision", guard)
        self._hands.ask(command.event, payload, now_ms, lambda ack, at_ms: self._answered(command, ack, at_ms))

    def _guard(self, command: Underway) -> int | None:
        """The revision that a repeat must find in a new epoch: the first answer may be lost there, its effect not."""
        if command.perhaps_done:
            return command.sent_at_revision if self._sessions.epoch > command.sent_in_epoch else None
        # `offline` has its `base` instead
        order = None if command.event == "offline" else self._sessions.order_for(command.payload)
        command.sent_in_epoch = self._sessions.epoch
        command.sent_at_revision = None if order is None else order[1]
        return None

    def _answered(self, command: Underway, ack: Any, now_ms: float) -> None:
        answer = read_answer(command.answer, ack)
        command.in_flight = False
        if answer.state is not None:
            self._hands.take(answer.state)
        if isinstance(answer, Played):
            self._played(answer.state)
        if answer.state is not None and (command.unsure or command.refusals):
            # the first answer, as it was then
            self._hands.doubt(answer.state.session_id)
        if isinstance(answer, Refusal) and answer.code == GONE:
            self._hands.doubt(command.payload.get("session_id"))
        if command.over:
            self._answered_late(command, answer)
        elif not isinstance(answer, Refusal):
            self._settle(command, answer)
        elif answer.retry and command.refusals < RETRIES_MAX:
            command.due_ms = now_ms + self._wait_ms(command, answer)
            command.refusal, command.refusals = answer, command.refusals + 1
            command.perhaps_done = command.perhaps_done or answer.code in PERHAPS_DONE
        else:
            self._leave_open(command)
            self._settle(command, Refused(answer))

    def _answered_late(self, command: Underway, answer: Accepted | Refusal) -> None:
        """Its caller has given it up, and it is not sent again: what it has done, if anything, is asked for."""
        if isinstance(answer, Refusal) and answer.retry:
            self._hands.doubt(command.payload.get("session_id"))

    def _wait_ms(self, command: Underway, refusal: Refusal) -> float:
        wait_ms: float = min(RETRY_MS_MAX, RETRY_MS_MIN * 2**command.refusals) * (0.5 + self._hands.chance())
        return max(wait_ms, refusal.retry_after_ms or 0.0)

    def _given_up(self, command: Underway) -> Exception:
        if command.refusal is not None and not command.unsure and not command.in_flight:
            return Refused(command.refusal)
        return Unanswered(command.event, sent=command.unsure or command.in_flight)

    def _leave_open(self, command: Underway) -> None:
        """It may have been done all the same: then everybody was told of it but this device."""
        if command.refusals:
            self._hands.doubt(command.payload.get("session_id"))

    def _settle(self, command: Underway, outcome: object) -> None:
        command.over = True
        lane = self._lanes[command.lane]
        lane.remove(command)
        if not lane:
            del self._lanes[command.lane]
        self._hands.out(Settle(command.command_id, outcome))
