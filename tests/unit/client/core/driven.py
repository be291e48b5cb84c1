"""A conversation with a server that the test plays, on a clock that the test moves."""

from typing import Any

from playhead.client.core import wishes
from playhead.client.core.conversation import Conversation
from playhead.client.core.effects import Close, FetchToken, Open, Send, Settle, Tell
from playhead.client.core.events import Event
from playhead.client.core.reports import Sound
from playhead.client.core.wire import Device, State
from playhead.client.core.wishes import Wish
from tests.unit.client.core.recording import NOW_MS, SESSION_ID, wire

PHONE = Device(id="phone", name="Phone", kind="phone")
AHEAD_MS = NOW_MS
"""The server's clock at the local time 0."""
TICKS_MAX = 1_000
SEEK = wishes.seek(SESSION_ID, 20.5)


class Driven:
    """Every effect is taken at once; what was sent waits in `sent` until it is answered."""

    def __init__(self, *urls: str, sound: Sound | None = None) -> None:
        self.now_ms = 0.0
        self.chance = 0.5
        self._ids = 0
        self.core = Conversation(urls or ("one",), PHONE, chance=lambda: self.chance, new_id=self._new_id, sound=sound)
        self.sent: list[Send] = []
        self.opened: list[Open] = []
        self.closed: list[int] = []
        self.told: list[Event] = []
        self.settled: dict[str, Any] = {}
        self.tokens_wanted = 0

    def _new_id(self) -> str:
        self._ids += 1
        return f"id-{self._ids}"

    def take(self) -> "Driven":
        """Takes what the conversation wants done; fails when it would be woken for nothing, again and again."""
        for effect in self.core.take_effects():
            match effect:
                case Send():
                    self.sent.append(effect)
                case Open():
                    self.opened.append(effect)
                case Close(connection):
                    self.closed.append(connection)
                    self.sent = [sent for sent in self.sent if sent.connection != connection]
                case Tell(event):
                    self.told.append(event)
                case Settle(ask_id, outcome):
                    assert ask_id not in self.settled, "settled twice"
                    self.settled[ask_id] = outcome
                case FetchToken():
                    self.tokens_wanted += 1
        assert self.core.wake_at_ms > self.now_ms, "it wants to be woken for what it has just done"
        return self

    def advance(self, elapsed_ms: float) -> None:
        """Lets time pass, waking the conversation whenever it wants."""
        end_ms = self.now_ms + elapsed_ms
        for _ in range(TICKS_MAX):
            if self.core.wake_at_ms > end_ms:
                self.now_ms = end_ms
                return
            self.now_ms = max(self.now_ms, self.core.wake_at_ms)
            self.core.tick(self.now_ms)
            self.take()
        raise AssertionError("it is woken without an end")

    # the app and the network

    @property
    def connection(self) -> int:
        return self.core.line.connection

    def start(self, token: str = "t-1") -> None:
        self.core.start(self.now_ms)
        self.take()
        self.bring(token)

    def bring(self, token: str) -> None:
        """The app brings the token that it was asked for."""
        assert self.tokens_wanted, "no token is wanted"
        self.tokens_wanted = 0
        self.core.take_token(token, self.now_ms)
        self.take()

    def open(self) -> None:
        self.core.opened(self.connection, self.now_ms)
        self.take()

    def lose(self) -> None:
        """The connection breaks; the next one is made as soon as the client wants it."""
        self.core.closed(self.connection, self.now_ms)
        self.take()

    def reopen(self) -> None:
        self.advance(self.core.wake_at_ms - self.now_ms)
        self.bring("t-1")
        self.open()

    def hear(self, event: str, data: Any) -> None:
        self.core.received(self.connection, event, data, self.now_ms)
        self.take()

    def hear_state(self, state: State) -> None:
        self.hear("state", wire(state))

    def waiting(self, event: str) -> list[dict[str, Any]]:
        """The payloads of events that were sent and not answered."""
        return [sent.payload for sent in self.sent if sent.event == event]

    def answer(self, event: str, ack: Any) -> dict[str, Any]:
        """Answers the oldest event of that name; answers its payload."""
        sent = next(sent for sent in self.sent if sent.event == event)
        self.sent.remove(sent)
        self.core.answered(sent.connection, sent.request, ack, self.now_ms)
        self.take()
        return sent.payload

    def answer_clock(self) -> None:
        server_ms = AHEAD_MS + self.now_ms
        (payload,) = self.waiting("clock")
        self.answer("clock", {"ok": True, "t0": payload["t0"], "t1": server_ms, "t2": server_ms})

    def snapshot(self, state: State | None, **fields: Any) -> None:
        told = None if state is None else wire(state)
        ack: dict[str, Any] = {
            "ok": True,
            "state": told,
            "place": None,
            "devices": [],
            "devices_order": {"epoch": 0, "version": 1},
            "server_time": NOW_MS,
        }
        ack.update(fields)
        self.answer("join", ack)

    def join(self, state: State | None, script_id: str) -> None:
        """Connected, on server time, with the script joined."""
        self.start()
        self.open()
        self.answer_clock()
        self.core.follow(self.now_ms, script_id=script_id)
        self.take()
        self.snapshot(state)
        self.told.clear()

    def press(self, wish: Wish = SEEK, **options: Any) -> str:
        """The listener presses something on this device; answers the id of the command."""
        command_id = self.core.press(wish, self.now_ms, **options)
        self.take()
        return command_id
