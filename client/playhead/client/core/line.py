"""The line to the server: when to ask for a token, to connect, to wait, to give up, and to move away from a server.

| phase   | what happens                              | then                                                       |
| ------- | ----------------------------------------- | ---------------------------------------------------------- |
| idle    | `start`                                   | asking                                                     |
| asking  | a token                                   | opening; the token that was refused before: over           |
|         | no token                                  | waiting                                                    |
| opening | the server lets us in                     | open                                                       |
|         | it cannot be reached, or says `retry`     | waiting                                                    |
|         | it refuses the token                      | waiting, for another token                                 |
|         | it refuses for good                       | over                                                       |
| open    | the connection ends                       | as above, by the last word of the server                   |
|         | the time that `draining` gave is over     | asking, at once                                            |
| waiting | its time has come                         | asking                                                     |

A wait doubles from one failure to the next and is jittered, so that a crowd does not come back at one moment. Each
failure tries the next address. What belongs to an earlier connection is ignored, by its number.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum

from playhead.client.core.effects import Close, FetchToken, Open, Tell
from playhead.client.core.events import Status, StatusChanged
from playhead.client.core.hands import Hands
from playhead.client.core.wire import PROTOCOL, Device, Refusal

RECONNECT_MS_MIN = 400.0
RECONNECT_MS_MAX = 5_000.0
CONNECT_TIMEOUT_MS = 10_000.0
TOKEN_REFUSALS_MAX = 3
"""Refused tokens in a row after which the client stops asking its app for another one."""
TOKEN_CODES = frozenset({"unauthorized", "token_expired"})
"""Refusals that another token may mend."""


class Phase(StrEnum):
    IDLE = "idle"
    ASKING = "asking"
    OPENING = "opening"
    OPEN = "open"
    WAITING = "waiting"
    OVER = "over"


class Line:
    """One connection at a time."""

    def __init__(self, urls: Sequence[str], device: Device, hands: Hands) -> None:
        if not urls:
            raise ValueError("give the address of at least one server")
        self._urls = tuple(urls)
        self._device = device
        self._hands = hands
        self.phase = Phase.IDLE
        self.connection = 0
        """The number of the current connection, or of the last one."""
        self.token: str | None = None
        """The one that the server has taken last, or is being shown."""
        self.refusal: Refusal | None = None
        """Why it is over."""
        self._status = Status.STOPPED
        self._token_asked = False
        self._refused_token: str | None = None
        self._token_refusals = 0
        self._failures = 0
        self.due_ms = math.inf
        """When `tick` has something to do: local ms, infinite when there is nothing."""
        self.leave_at_ms = math.inf
        """When this connection is to be left, as the server has asked: local ms, infinite when it has not."""
        self._last_word: Refusal | None = None

    @property
    def open(self) -> bool:
        return self.phase is Phase.OPEN

    def start(self) -> None:
        if self.phase in (Phase.IDLE, Phase.OVER):
            self.refusal, self._refused_token, self._token_refusals, self._failures = None, None, 0, 0
            self._say(Status.CONNECTING)
            self._ask()

    def stop(self) -> None:
        self._drop()
        self.phase, self.due_ms = Phase.IDLE, math.inf
        self._say(Status.STOPPED)

    def ask_token(self) -> None:
        """Asks the app for a token; one question at a time."""
        if not self._token_asked:
            self._token_asked = True
            self._hands.out(FetchToken())

    def take_token(self, token: str, now_ms: float) -> bool:
        """Whether it was needed to connect."""
        self._token_asked = False
        if self.phase is not Phase.ASKING:
            return False
        if token == self._refused_token and self.refusal is not None:
            self._give_up(self.refusal)
            return True
        self.token, self.phase = token, Phase.OPENING
        self.connection += 1
        self.due_ms = now_ms + CONNECT_TIMEOUT_MS
        auth = {"token": token, "device": asdict(self._device), "protocol": PROTOCOL}
        self._hands.out(Open(self.connection, self._urls[0], auth))
        return True

    def take_no_token(self, now_ms: float) -> None:
        self._token_asked = False
        if self.phase is Phase.ASKING:
            self._wait(now_ms, None)

    def opened(self) -> None:
        self.phase, self.due_ms = Phase.OPEN, math.inf
        self.refusal, self._refused_token, self._token_refusals = None, None, 0
        self._say(Status.CONNECTED)

    def answered(self, snapshots: bool) -> None:
        """The server has answered. `snapshots`: all of what this device follows; then the next failure is the first one
        again. One that has too much to do still tells the time, and owes the rest for too long, each time."""
        if snapshots:
            self._failures = 0

    def will_close(self, last_word: Refusal) -> None:
        """The server has said why it will end this connection."""
        self._last_word = last_word

    def drain(self, retry_after_ms: float, now_ms: float) -> None:
        """The server goes away, and has given each of its clients a moment of its own to leave."""
        self.leave_at_ms = min(self.leave_at_ms, now_ms + retry_after_ms)

    def move(self) -> None:
        """Leaves an open connection for another one, at once."""
        self._drop()
        self._next_url()
        self._say(Status.RECONNECTING)
        self._ask()

    def failed(self, refusal: Refusal | None, now_ms: float) -> None:
        """The connection could not be made, or is over. `refusal`: why, where the server has said so."""
        refusal = refusal or self._last_word
        self._drop()
        self._next_url()
        if refusal is None or refusal.retry:
            self._wait(now_ms, refusal)
            return
        self._refused_token, self._token_refusals = self.token, self._token_refusals + 1
        if refusal.code in TOKEN_CODES and self._token_refusals < TOKEN_REFUSALS_MAX:
            self.refusal = refusal
            self._wait(now_ms, refusal)
        else:
            self._give_up(refusal)

    def tick(self, now_ms: float) -> None:
        """Does what its time has come for."""
        if now_ms < self.due_ms:
            return
        if self.phase is Phase.OPENING:
            self.failed(None, now_ms)
        else:
            self._ask()

    def _ask(self) -> None:
        self.phase, self.due_ms = Phase.ASKING, math.inf
        self.ask_token()

    def _wait(self, now_ms: float, refusal: Refusal | None) -> None:
        self.phase = Phase.WAITING
        wait_ms = min(RECONNECT_MS_MAX, RECONNECT_MS_MIN * 2**self._failures) * (0.5 + self._hands.chance())
        if refusal is not None and refusal.retry_after_ms is not None:
            wait_ms = max(wait_ms, refusal.retry_after_ms * (1 + self._hands.chance() / 2))
        self.due_ms = now_ms + wait_ms
        self._failures = min(self._failures + 1, 16)
        self._say(Status.RECONNECTING, refusal)

    def _give_up(self, refusal: Refusal) -> None:
        self.phase, self.due_ms, self.refusal = Phase.OVER, math.inf, refusal
        self._say(Status.REFUSED, refusal)

    def _drop(self) -> None:
        if self.phase in (Phase.OPENING, Phase.OPEN):
            self._hands.out(Close(self.connection))
        self._last_word, self.leave_at_ms = None, math.inf

    def _next_url(self) -> None:
        self._urls = (*self._urls[1:], self._urls[0])

    def _say(self, status: Status, refusal: Refusal | None = None) -> None:
        if status is not self._status:
            self._status = status
            self._hands.out(Tell(StatusChanged(status=status, refusal=refusal)))
