"""What the parts of a conversation stand on, for tests of one part: everything that it does is recorded."""

from dataclasses import dataclass, field, replace
from typing import Any

from playhead.client.core.effects import Effect, Settle, Tell
from playhead.client.core.events import Event
from playhead.client.core.hands import Hands, OnAnswer
from playhead.client.core.wire import Cause, State

NOW_MS = 1_767_225_600_000
SCRIPT_ID = "33333333-3333-4333-8333-333333333333"
OTHER_SCRIPT_ID = "44444444-4444-4444-8444-444444444444"
SESSION_ID = "55555555-5555-4555-8555-555555555555"
OTHER_SESSION_ID = "66666666-6666-4666-8666-666666666666"

PLAYING = State(
    session_id=SESSION_ID,
    script_id=SCRIPT_ID,
    epoch=7,
    revision=5,
    playing=True,
    position=100.0,
    anchored_at=NOW_MS,
    rate=1.0,
    duration=3600.0,
    active_device="phone",
)
"""An hour's script, at 100 s since NOW_MS, sounding on the phone."""


def make_state(**fields: Any) -> State:
    """`PLAYING` with other fields."""
    return replace(PLAYING, **fields)


def caused(command: str, device_id: str | None, command_id: str | None = None, **fields: Any) -> State:
    """The next state, with its cause."""
    cause = Cause(command=command, device_id=device_id, command_id=command_id)
    return make_state(**{"revision": 6, "cause": cause, **fields})


def wire(state: State) -> dict[str, Any]:
    """The state as JSON carries it."""
    fields: dict[str, Any] = {name: getattr(state, name) for name in State.__dataclass_fields__}
    for name in ("loop", "cause"):
        value = fields[name]
        fields[name] = None if value is None else {key: getattr(value, key) for key in value.__dataclass_fields__}
    return fields


def accepted(state: State, **fields: Any) -> dict[str, Any]:
    """A good ack of a command."""
    return {"ok": True, "state": wire(state), "server_time": NOW_MS, **fields}


def refused(code: str, *, retry: bool = False, **fields: Any) -> dict[str, Any]:
    """A refusal as an ack."""
    return {
        "ok": False,
        "error": {"code": code, "message": f"{code}!", "retry": retry, **fields},
        "server_time": NOW_MS,
    }


@dataclass
class Asked:
    event: str
    payload: dict[str, Any]
    at_ms: float
    on_answer: OnAnswer


@dataclass
class Recorder:
    """Hands that keep what they are given. `chance`: what a throw brings; 0.5 leaves a jittered wait as it is."""

    chance: float = 0.5
    asked: list[Asked] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    taken: list[State] = field(default_factory=list)
    doubted: list[str | None] = field(default_factory=list)

    @property
    def hands(self) -> Hands:
        return Hands(
            chance=lambda: self.chance,
            out=self.effects.append,
            take=self.taken.append,
            ask=self._ask,
            doubt=self.doubted.append,
        )

    def _ask(self, event: str, payload: dict[str, Any], at_ms: float, on_answer: OnAnswer) -> None:
        self.asked.append(Asked(event, payload, at_ms, on_answer))

    def answer(self, ack: Any, at_ms: float) -> None:
        """Answers the oldest question."""
        self.asked.pop(0).on_answer(ack, at_ms)

    @property
    def told(self) -> list[Event]:
        return [effect.event for effect in self.effects if isinstance(effect, Tell)]

    @property
    def settled(self) -> dict[str, object]:
        return {effect.ask_id: effect.outcome for effect in self.effects if isinstance(effect, Settle)}
