"""What the sounding device tells the server: where the sound really is, and when, every ten seconds and when something
changes.

A report waits while a command of its session is under way, so that it is made on the revision after it. It is sent
once: the next one covers what a lost one said. Only one is on its way at a time.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol

from playhead.client.core.commands import GONE
from playhead.client.core.effects import Tell
from playhead.client.core.events import Reported, ReportRefused
from playhead.client.core.hands import Hands
from playhead.client.core.prediction import at, position
from playhead.client.core.wire import Credited, Payload, Refusal, State, read_answer

REPORT_INTERVAL_MS = 10_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """Where the sound is, in seconds, and whether it runs; a stall counts as running.

    `stalled_ms`, `first_audio_ms`: how long it stood still since the last report, and how long the listener waited for
    it, where it has begun since.
    """

    position: float
    playing: bool
    stalled_ms: float | None = None
    first_audio_ms: float | None = None


class Sound(Protocol):
    """What plays on this device."""

    def heard(self, state: State, server_ms: int) -> Heard | None:
        """Where the sound of this session is at that server time; None while nothing of it is loaded."""
        ...


class FollowingSound:
    """A sound that is always where the playhead is: for programs that play nothing, and for tests."""

    def heard(self, state: State, server_ms: int) -> Heard:
        now = at(state, server_ms)
        return Heard(position=position(now, server_ms), playing=now.playing)


class Reporter:
    """Speaks for `sound`. `first_seq`: no number is lower; where server time is higher, that is the number."""

    def __init__(self, sound: Sound, first_seq: int, hands: Hands) -> None:
        self._sound = sound
        self.seq = first_seq - 1
        """Of the last report."""
        self._hands = hands
        self._session_id: str | None = None
        self._wanted = False
        self._in_flight = False
        self._due_ms = math.inf

    @property
    def due_ms(self) -> float:
        """When `tick` has something to do: local ms."""
        return math.inf if self._in_flight else self._due_ms

    def sounds(self, session_id: str | None, now_ms: float) -> None:
        """Which session sounds on this device now, by what the server says; None: none."""
        if session_id != self._session_id:
            self._session_id, self._wanted = session_id, False
            self._due_ms = math.inf if session_id is None else now_ms + REPORT_INTERVAL_MS

    def report(self, now_ms: float) -> None:
        """The sound has started, stopped or stalled, or the session has changed: to be told as soon as may be."""
        if self._session_id is not None:
            self._wanted, self._due_ms = True, now_ms

    def lost(self) -> None:
        """The connection is gone, and with it the ack."""
        self._in_flight = False

    def tick(self, state: State, server_ms: int, now_ms: float) -> None:
        """Reports on the session that sounds here, if it is time to. `state`: as the server has told it last."""
        if now_ms < self.due_ms:
            return
        wanted, self._wanted, self._due_ms = self._wanted, False, now_ms + REPORT_INTERVAL_MS
        heard = self._sound.heard(state, server_ms)
        if heard is None or not (wanted or heard.playing):
            return
        self._in_flight = True
        # above those of an earlier run, whatever this device's clock says now
        self.seq = max(self.seq + 1, server_ms)
        session_id = state.session_id
        payload = _payload(state, heard, server_ms, self.seq)
        self._hands.ask("progress", payload, now_ms, lambda ack, _: self._answered(session_id, ack))

    def _answered(self, session_id: str, ack: Any) -> None:
        self._in_flight = False
        answer = read_answer(Credited, ack)
        if answer.state is not None:
            self._hands.take(answer.state)
        if not isinstance(answer, Refusal):
            self._hands.out(Tell(Reported(session_id=session_id, answer=answer)))
            return
        if answer.retry or answer.code == GONE:
            # it may have been taken all the same: then everybody was told of it but this device
            self._hands.doubt(session_id)
        if not answer.retry:
            self._hands.out(Tell(ReportRefused(session_id=session_id, refusal=answer)))


def _payload(state: State, heard: Heard, server_ms: int, seq: int) -> Payload:
    figures = {"stalled_ms": heard.stalled_ms, "first_audio_ms": heard.first_audio_ms}
    return {
        "session_id": state.session_id,
        "position": min(max(heard.position, 0.0), state.duration),
        "rate": state.rate,
        "playing": state.playing and heard.playing,
        "revision": state.revision,
        "seq": seq,
        "at": server_ms,
        **{name: value for name, value in figures.items() if value is not None},
    }
