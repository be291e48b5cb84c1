"""Commands on one session, and what they send, for tests of them: nothing is answered but by the test."""

from typing import Any

from playhead.client.core.commands import Commands, Underway
from playhead.client.core.offline import OpenLogs
from playhead.client.core.sessions import Sessions
from playhead.client.core.wire import Accepted, State
from tests.unit.client.core.recording import (
    SESSION_ID,
    Recorder,
    make_state,
)

PATIENCE_MS = 1_000_000.0


class Desk:
    """Commands on a session at revision 5 of epoch 7, and what they send."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.sessions = Sessions()
        self.sessions.take(make_state())
        self.played: list[State] = []
        self.logs = OpenLogs()
        self.unknown: set[str | None] = set()
        self.commands = Commands(
            self.sessions,
            self.logs,
            self.recorder.hands,
            played=self.played.append,
            known=lambda session_id, script_id: not self.unknown & {session_id, script_id},
        )

    def add(self, command_id: str, lane: str = SESSION_ID, event: str = "seek", **fields: Any) -> None:
        given: dict[str, Any] = {"session_id": lane, "position": 1.0}
        underway = {"payload": given, "answer": Accepted, "press": None, "give_up_ms": PATIENCE_MS, **fields}
        self.commands.add(Underway(command_id=command_id, event=event, lane=lane, **underway))

    def tick(self, now_ms: float = 0, usable: bool = True) -> list[str]:
        """The ids of the commands that are sent now."""
        before = len(self.recorder.asked)
        self.commands.tick(now_ms, usable)
        return [asked.payload["command_id"] for asked in self.recorder.asked[before:]]

    def answer(self, ack: Any, now_ms: float = 0) -> None:
        self.recorder.answer(ack, now_ms)

    @property
    def outcome(self) -> Any:
        (outcome,) = self.recorder.settled.values()
        return outcome
