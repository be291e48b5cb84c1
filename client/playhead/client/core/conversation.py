"""One device's conversation with the server: the whole logic of a client, without network, clock or chance.

    what happened   start, take_token, opened, received, answered, closed …   goes in, with the local time
    what to do      `take_effects()`: ask for a token, open, send, close, tell the app, settle a question
    when to come    `wake_at_ms`: call `tick` then, at the latest

Local time is in ms, from any origin, and does not run backwards. Whoever carries the effects out does so in order.
"""

from collections.abc import Callable, Sequence
from typing import Any

from playhead.client.core.commands import Commands, Underway
from playhead.client.core.device_list import DeviceList
from playhead.client.core.effects import Effect, Tell
from playhead.client.core.errors import Stopped
from playhead.client.core.events import StateChanged
from playhead.client.core.hands import Hands, OnAnswer
from playhead.client.core.joins import Joins
from playhead.client.core.line import Line, Phase
from playhead.client.core.news import News
from playhead.client.core.offline import OfflineLog, OpenLogs
from playhead.client.core.prediction import Press, position, predict
from playhead.client.core.renewal import Renewal
from playhead.client.core.reports import Reporter, Sound
from playhead.client.core.requests import ACK_TIMEOUT_MS, Requests
from playhead.client.core.server_time import ServerTime
from playhead.client.core.sessions import Sessions, Taken
from playhead.client.core.wire import (
    Accepted,
    ConnectedDevice,
    Credited,
    Device,
    Malformed,
    Payload,
    Played,
    Refusal,
    State,
)
from playhead.client.core.wishes import Wish

PATIENCE_MS = 15_000.0
"""How long a command waits for a broken line to come back, where its caller does not say."""
PATIENCE_MS_MAX = 600_000.0
"""The server knows a command that is sent again for so long."""
ANSWERS: dict[str, type[Accepted]] = {"play": Played, "offline": Credited}
"""What a good ack of these is read as; of any other command: Accepted."""


class Conversation:
    """`chance`: a number in [0, 1). `new_id`: a UUID. `first_seq`: the lowest number of a report."""

    def __init__(
        self,
        urls: Sequence[str],
        device: Device,
        *,
        chance: Callable[[], float],
        new_id: Callable[[], str],
        sound: Sound | None = None,
        first_seq: int = 0,
    ) -> None:
        self.device = device
        self._new_id = new_id
        self._now_ms = 0.0
        self._effects: list[Effect] = []
        hands = Hands(chance=chance, out=self._effects.append, take=self._take, ask=self._ask, doubt=self._doubt)
        self.line = Line(urls, device, hands)
        self.sessions = Sessions()
        self.time = ServerTime(hands)
        self._requests = Requests(hands.out)
        self._renewal = Renewal(self.line, hands)
        self._device_list = DeviceList(hands)
        self._joins = Joins(self.sessions, hands, self._device_list.see)
        self._news = News(self.line, self.sessions, self._device_list, self._joins, self._renewal, hands)
        self._logs = OpenLogs()
        self._commands = Commands(self.sessions, self._logs, hands, played=self._joins.adopt, known=self._joins.known)
        self.reporter = None if sound is None else Reporter(sound, first_seq, hands)

    # what to do, and when

    def take_effects(self) -> list[Effect]:
        """What is to be done since the last call, in order."""
        effects = self._effects.copy()
        self._effects.clear()
        return effects

    @property
    def wake_at_ms(self) -> float:
        """Local time at which `tick` has something to do, if nothing happens before; infinite when it never has."""
        line, usable, reporter = self.line, self._usable, self.reporter
        at_ms = min(line.due_ms, self._commands.due_ms(usable))
        if line.open:
            at_ms = min(at_ms, self._requests.overdue_ms, self._leave_ms)
        if usable:
            at_ms = min(at_ms, self._renewal.due_ms, self.time.due_ms, self._joins.due_ms)
        if reporter is not None and reporter.due_ms < at_ms and self._reportable() is not None:
            at_ms = reporter.due_ms
        return at_ms

    # what is known

    @property
    def devices(self) -> tuple[ConnectedDevice, ...]:
        """The listener's connected devices."""
        return self._device_list.devices

    def state(self, session_id: str) -> State | None:
        """The latest state that the server has told."""
        return self.sessions.get(session_id)

    def shown(self, session_id: str) -> State | None:
        """The same with this device's commands under way applied: what to show, and to sound."""
        state = self.sessions.get(session_id)
        if state is None:
            return None
        presses = self._commands.presses(session_id)
        if not presses:
            return state
        return predict(state, presses, self.device.id, {device.id: "" for device in self.devices})

    def position(self, session_id: str, now_ms: float) -> float | None:
        """Where the playhead is now, in seconds; None while the session or server time is not known."""
        state, server_ms = self.shown(session_id), self.time.now_ms(now_ms)
        return None if state is None or server_ms is None else position(state, server_ms)

    # what the app wants

    def start(self, now_ms: float) -> None:
        """Connects, and stays connected until `stop`."""
        self.line.start()
        self.tick(now_ms)

    def stop(self, now_ms: float) -> None:
        """Leaves. What still waits for an answer is told that none will come."""
        self._now_ms = now_ms
        self._lost()
        self.line.stop()
        self._end("The client was closed.")

    def follow(self, now_ms: float, *, script_id: str | None = None, session_id: str | None = None) -> str:
        """Joins a script or a session, now and after every reconnect; answers what the snapshot is settled under."""
        ask_id = self._new_id()
        self._joins.follow(script_id, session_id, ask_id, now_ms)
        self._after_line(now_ms)
        return ask_id

    def press(self, wish: Wish, now_ms: float, *, patience_ms: float = PATIENCE_MS) -> str:
        """Sends a command, again where needed, for `patience_ms`; answers the id that it is settled under."""
        if not 0 <= patience_ms <= PATIENCE_MS_MAX:
            raise ValueError(f"a command may wait between 0 and {PATIENCE_MS_MAX:g} ms")
        lane, server_ms = self._lane(wish.payload), self.time.now_ms(now_ms)
        command_id = self._new_id()
        self._commands.add(
            Underway(
                command_id=command_id,
                event=wish.event,
                payload=self.sessions.pinned(wish.payload),
                lane=lane,
                answer=ANSWERS.get(wish.event, Accepted),
                press=None if wish.command is None or server_ms is None else Press(wish.command, server_ms),
                give_up_ms=now_ms + patience_ms,
                behind=None if wish.event == "offline" else self._logs.of(self.sessions.script_of(wish.payload)),
            )
        )
        if wish.event == "leave":
            self._joins.unfollow(lane)
        self._after_line(now_ms)
        return command_id

    def report(self, now_ms: float) -> None:
        """The sound has started, stopped or stalled on this device: tells the server as soon as may be."""
        if self.reporter is not None:
            self.reporter.report(now_ms)
        self.tick(now_ms)

    def open_log(self, log: OfflineLog) -> None:
        """What is played from now on is told by `offline`: no report is sent before, nor a command that comes now."""
        self._logs.open(log)

    def close_log(self, log: OfflineLog, now_ms: float) -> None:
        """It is told, or given up."""
        self._logs.close(log)
        self.tick(now_ms)

    # what happened

    def take_token(self, token: str, now_ms: float) -> None:
        if not self.line.take_token(token, now_ms) and self.line.open:
            self._renewal.take_token(token, now_ms)
        self._after_line(now_ms)

    def take_no_token(self, now_ms: float) -> None:
        """The app has none at the moment."""
        self.line.take_no_token(now_ms)
        self._renewal.again(now_ms)
        self.tick(now_ms)

    def opened(self, connection: int, now_ms: float) -> None:
        if connection == self.line.connection and self.line.phase is Phase.OPENING:
            self.line.opened()
            self.time.connected(now_ms)
            self._joins.connected(now_ms)
            if self.reporter is not None:
                self.reporter.report(now_ms)
            self.tick(now_ms)

    def open_failed(self, connection: int, refusal: Refusal | None, now_ms: float) -> None:
        """`refusal`: what the server said; None: it could not be reached."""
        if connection == self.line.connection and self.line.phase is Phase.OPENING:
            self.line.failed(refusal, now_ms)
            self._after_line(now_ms)

    def closed(self, connection: int, now_ms: float) -> None:
        """The connection has ended."""
        if self._current(connection):
            self._broken(now_ms)

    def received(self, connection: int, event: str, data: Any, now_ms: float) -> None:
        """An event of the server. One that is not as documented is as good as lost: a snapshot makes up for it."""
        if not self._current(connection):
            return
        self._now_ms = now_ms
        try:
            self._news.hear(event, data, now_ms)
        except Malformed:
            self._joins.refresh(now_ms)
        self.tick(now_ms)

    def answered(self, connection: int, request: int, ack: Any, now_ms: float) -> None:
        """An ack. One that is not as documented is as good as none: the connection is given up."""
        if not self._current(connection):
            return
        self._now_ms = now_ms
        try:
            self._requests.answered(request, ack, now_ms)
        except Malformed:
            self._broken(now_ms)
            return
        self.line.answered(self._joins.ready)
        self.tick(now_ms)

    def tick(self, now_ms: float) -> None:
        """Does everything whose time has come. Harmless when nothing has."""
        self._now_ms = now_ms
        self.line.tick(now_ms)
        if self.line.open and self._requests.overdue_ms <= now_ms:
            self._broken(now_ms)
            return
        if self.line.open and self._leave_ms <= now_ms:
            self._lost()
            self.line.move()
        usable = self._usable
        if usable:
            self._renewal.tick(now_ms)
            self.time.tick(now_ms)
        self._commands.tick(now_ms, usable)
        if usable:
            # after the commands: one that is given up may want a snapshot
            self._joins.tick(now_ms)
        reporter = self.reporter
        if reporter is not None and reporter.due_ms <= now_ms and (found := self._reportable()) is not None:
            reporter.tick(*found, now_ms)

    # how the parts go together

    @property
    def _usable(self) -> bool:
        """Whether anything new may be sent: a connection that is about to be left only brings its acks."""
        return self.line.open and self._now_ms < self.line.leave_at_ms

    @property
    def _leave_ms(self) -> float:
        """When to leave a server that goes away: its acks are awaited, but not for ever."""
        return self.line.leave_at_ms + (ACK_TIMEOUT_MS if len(self._requests) else 0.0)

    def _current(self, connection: int) -> bool:
        return self.line.open and connection == self.line.connection

    def _ask(self, event: str, payload: Payload, now_ms: float, on_answer: OnAnswer) -> None:
        self._requests.send(self.line.connection, event, payload, now_ms, on_answer)

    def _take(self, state: State) -> None:
        """A state from an event, an ack or a snapshot."""
        epoch, sounding = self.sessions.epoch, self.sessions.sounding(self.device.id)
        taken = self.sessions.take(state)
        if state.cause is not None:
            self._commands.confirm(state.cause.command_id)
        if taken is Taken.DROPPED:
            return
        self._effects.append(Tell(StateChanged(state=state)))
        if self.sessions.epoch > epoch > 0:
            self._joins.refresh(self._now_ms)
        elif taken is Taken.GAP and not self._commands.busy(state.session_id):
            self._joins.refresh(self._now_ms, state)
        if not state.ended:
            self._joins.doubt_rivals(state, self._now_ms)
        if self.reporter is not None:
            self._report_on(self.reporter, state, sounding)

    def _doubt(self, session_id: str | None) -> None:
        """Asks for what is held of the session anew; nobody can vouch for it where it is not followed."""
        held = None if session_id is None else self.sessions.get(session_id)
        if held is not None and not self._joins.follows(held):
            self.sessions.forget(held.session_id)
        elif held is not None or session_id is None:
            self._joins.refresh(self._now_ms, held)

    def _report_on(self, reporter: Reporter, state: State, before: State | None) -> None:
        """What somebody else has changed under the sound of this device, the sound has to answer for."""
        now = self.sessions.sounding(self.device.id)
        reporter.sounds(None if now is None else now.session_id, self._now_ms)
        same = now is state and before is not None and before.session_id == state.session_id
        if same and (state.cause is None or state.cause.device_id != self.device.id):
            reporter.report(self._now_ms)

    def _reportable(self) -> tuple[State, int] | None:
        """The session to report on, and server time, if a report may be sent now."""
        state = self.sessions.sounding(self.device.id)
        if state is None or not self._usable or self._logs or self._commands.busy(state.session_id):
            return None
        if not self._joins.known(state.session_id, state.script_id):
            return None
        server_ms = self.time.now_ms(self._now_ms)
        return None if server_ms is None else (state, server_ms)

    def _lane(self, payload: Payload) -> str:
        """Commands of one session share a lane, also a `play` that names its script."""
        if (session_id := payload.get("session_id")) is not None:
            return str(session_id)
        script_id = str(payload["script_id"])
        live = self.sessions.live(script_id)
        return script_id if live is None else live.session_id

    def _broken(self, now_ms: float) -> None:
        """The connection is lost, or as good as lost."""
        self._lost()
        self.line.failed(None, now_ms)
        self._after_line(now_ms)

    def _lost(self) -> None:
        self._requests.drop()
        self.time.disconnected()
        self._renewal.lost()
        self._commands.lost()
        if self.reporter is not None:
            self.reporter.lost()

    def _after_line(self, now_ms: float) -> None:
        if self.line.phase is Phase.OVER:
            self._refused()
        self.tick(now_ms)

    def _refused(self) -> None:
        assert self.line.refusal is not None
        self._end(f"The server does not let this client in: {self.line.refusal.message}")

    def _end(self, message: str) -> None:
        self._commands.stop(Stopped(message))
        self._joins.stop(Stopped(message))
