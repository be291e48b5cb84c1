"""What the store in memory keeps beside the states, each for its time: answers by command, moves, refused places, and
how fast a listener begins sessions."""

from collections import deque

from playhead.playback.history import CONFLICTS_MAX, MOVES_MAX, Move
from playhead.sessions.store import ANSWER_TTL_MS, ANSWERS_MAX, MOVES_TTL_MS, SESSION_APART_MS, SESSION_BURST, Answer
from playhead.sessions.timetable import FORGET_MAX, Expiring, Fading

_Key = tuple[str, str]
"""The listener's id and the command's."""


class Notes:
    """Bounded per session by ANSWERS_MAX, MOVES_MAX and CONFLICTS_MAX, the oldest forgotten first."""

    def __init__(self) -> None:
        self._answers: Fading[_Key, bytes] = Fading()
        self._answered: Expiring[str, deque[_Key]] = Expiring()
        self._moves: Expiring[str, deque[Move]] = Expiring()
        self._conflicts: Expiring[str, dict[str, Move]] = Expiring()
        self._begun: Expiring[str, int] = Expiring()

    def answer(self, listener_id: str, command_id: str, now_ms: int) -> bytes | None:
        return self._answers.get((listener_id, command_id), now_ms)

    def keep_answer(self, listener_id: str, answer: Answer, now_ms: int) -> None:
        key, until_ms = (listener_id, answer.command_id), now_ms + ANSWER_TTL_MS
        self._answers.put(key, answer.content, until_ms)
        answered = self._answered.get(answer.session_id, now_ms) or deque()
        answered.append(key)
        if len(answered) > ANSWERS_MAX:
            self._answers.pop(answered.popleft())
        self._answered.put(answer.session_id, answered, until_ms)

    def moves(self, session_id: str, now_ms: int) -> tuple[Move, ...]:
        """Moves and refused places, in no order."""
        moves, conflicts = self._moves.get(session_id, now_ms), self._conflicts.get(session_id, now_ms)
        return (*(moves or ()), *(conflicts or {}).values())

    def keep_move(self, session_id: str, move: Move, now_ms: int) -> None:
        until_ms = now_ms + MOVES_TTL_MS
        if not move.refused:
            moves = self._moves.get(session_id, now_ms) or deque(maxlen=MOVES_MAX)
            moves.append(move)
            self._moves.put(session_id, moves, until_ms)
            return
        conflicts = self._conflicts.get(session_id, now_ms) or {}
        conflicts[move.entry_id] = move
        if len(conflicts) > CONFLICTS_MAX:
            del conflicts[min(conflicts, key=lambda entry_id: conflicts[entry_id].at_ms)]
        self._conflicts.put(session_id, conflicts, until_ms)

    def count_beginning(self, listener_id: str, now_ms: int) -> int:
        """As `begin` in functions.lua."""
        due_ms = max(self._begun.get(listener_id, now_ms) or 0, now_ms) + SESSION_APART_MS
        wait_ms = due_ms - SESSION_APART_MS * SESSION_BURST - now_ms
        if wait_ms > 0:
            return wait_ms
        self._begun.put(listener_id, due_ms, due_ms)
        return 0

    def forget(self, now_ms: int) -> None:
        self._answers.forget(now_ms, FORGET_MAX)
        for kept in (self._answered, self._moves, self._conflicts, self._begun):
            kept.forget(now_ms, FORGET_MAX)
