"""One device: the real client's conversation, a clock that is wrong, a speaker, and a socket to some node.

What a sounding device plays while its line is down is noted, and told when it is back: if nothing has moved, by its
next report; else as an offline batch, over whose place the listener then decides.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from playhead.client import (
    Credited,
    Joined,
    OfflineLog,
    Refused,
    Status,
    StatusChanged,
    Wish,
)
from playhead.client import (
    Device as DeviceCard,
)
from playhead.client.core import server_time
from playhead.client.core.conversation import Conversation
from playhead.client.core.effects import Close, FetchToken, Open, Send, Settle, Tell
from playhead.client.core.events import Event
from playhead.client.core.wire import Refusal, read
from tests.simulation.chance import Chance
from tests.simulation.loop import VirtualLoop
from tests.simulation.record import Asked
from tests.simulation.sockets import Link
from tests.simulation.sound import Interval, Speaker, Truth

RAW_REQUEST = -1
"""The number of what is sent past the conversation."""


def ask_the_time_less_often() -> None:
    """Half of all that devices send would be questions for the time; one of eight shows the same, and a worse clock."""
    module: Any = server_time
    module.SAMPLES_MAX, module.INTERVAL_MS = 1, 60_000.0


class DeviceClock:
    """A clock that runs forwards, and is right about nothing else: whole ms, so that sums with it are exact."""

    def __init__(self, loop: VirtualLoop, off_ms: int, drift: float) -> None:
        self._loop = loop
        self._off_ms = off_ms
        self._rate = 1 + drift

    def now_ms(self) -> float:
        return float(int(self._loop.now_us * self._rate) // 1000 + self._off_ms)

    def jump(self, by_ms: int) -> None:
        self._off_ms += by_ms


class Surroundings(Protocol):
    """What a device needs of the world."""

    loop: VirtualLoop
    chance: Chance

    def open(self, device: "Device", number: int, url: str, auth: Any) -> Link: ...
    def note(self, who: str, text: str, *values: Any) -> None: ...
    def asked(self, asked: Asked) -> None: ...
    def settled(self, device: "Device", pressed: "Pressed", outcome: object) -> None: ...
    def received(self, device: "Device", event: str, data: Any) -> None: ...


@dataclass(slots=True)
class Pressed:
    """A command that the listener gave on a device."""

    wish: Wish
    at_us: int
    patience_ms: float
    then: Callable[[object], None]


class Device:
    """DeviceEnd of its links, and whatever the client's shell would do."""

    def __init__(
        self,
        world: Surroundings,
        listener_id: str,
        device_id: str,
        urls: list[str],
        truths: dict[str, Truth],
        clock: DeviceClock,
    ) -> None:
        self.world = world
        self.listener_id = listener_id
        self.device_id = device_id
        self.clock = clock
        self.speaker = Speaker(world.loop, device_id, truths, self._played)
        self.talk = Conversation(
            urls,
            DeviceCard(id=device_id, name=device_id),
            chance=world.chance.random,
            new_id=world.chance.uuid,
            sound=self.speaker,
        )
        self.link: Link | None = None
        self.asleep = False
        self.slept = False
        self.disturbed = False
        """Its sleep, its line or its slowness may have kept things from it."""
        self.offline = False
        """Cannot reach anybody."""
        self.pressed: dict[str, Pressed] = {}
        self._alarm_us = -1
        self._log: OfflineLog | None = None
        self._raw: dict[int, Asked] = {}

    @property
    def connected(self) -> bool:
        return self.talk.line.open

    @property
    def last_seq(self) -> int:
        return 0 if self.talk.reporter is None else self.talk.reporter.seq

    def start(self, script_id: str) -> None:
        self.talk.start(self.clock.now_ms())
        self.talk.follow(self.clock.now_ms(), script_id=script_id)
        self._carry_out()

    def close(self) -> None:
        """The app is closed."""
        self.speaker.stand()
        if self._log is not None:
            self.talk.close_log(self._log, self.clock.now_ms())
            self._log = None
        self.talk.stop(self.clock.now_ms())
        self._carry_out()

    def press(
        self, wish: Wish, patience_ms: float = 15_000.0, then: Callable[[object], None] = lambda outcome: None
    ) -> None:
        self.world.note(self.device_id, "presses %s %s", wish.event, wish.payload)
        ask_id = self.talk.press(wish, self.clock.now_ms(), patience_ms=patience_ms)
        self.pressed[ask_id] = Pressed(wish, self.world.loop.now_us, patience_ms, then)
        self._sound()
        self._carry_out()

    def send_raw(self, event: str, payload: Any) -> None:
        """Past the conversation: nonsense, and things that were said before."""
        if self.link is not None and self.talk.line.open:
            self._up(self.link, RAW_REQUEST, event, payload)

    # the line

    def cut(self) -> None:
        if self.link is not None:
            self.link.cut()

    def go_to_sleep(self) -> None:
        """Frozen: nothing is read, and no timer rings."""
        self.asleep = self.slept = self.disturbed = True
        self.speaker.stand()
        if self.link is not None:
            self.link.reading = False

    def wake_up(self) -> None:
        self.asleep = False
        if self.link is not None:
            self.link.read_on()
        self._ring()

    def link_opened(self, link: Link) -> None:
        self._told(link, self.talk.opened)

    def link_refused(self, link: Link, data: Any) -> None:
        self.world.note(self.device_id, "is refused: %s", data)
        refusal = None if data is None else read(Refusal, data)
        self._told(link, lambda number, now_ms: self.talk.open_failed(number, refusal, now_ms))

    def link_closed(self, link: Link) -> None:
        self.world.note(self.device_id, "sees connection %s closed", link.connection_id)
        if self.talk.line.open:
            self._told(link, self.talk.closed)
        else:
            self._told(link, lambda number, now_ms: self.talk.open_failed(number, None, now_ms))

    def link_event(self, link: Link, event: str, data: Any) -> None:
        self.world.received(self, event, data)
        self._told(link, lambda number, now_ms: self.talk.received(number, event, data, now_ms))

    def link_ack(self, link: Link, request: int, answer: dict[str, Any], asked: Asked) -> None:
        self.world.received(self, f"ack of {asked.event}", answer)
        if request == RAW_REQUEST and any(commit.written for commit in asked.commits) and answer.get("state"):
            # its event goes to all others
            self._told(link, lambda number, now_ms: self.talk.received(number, "state", answer["state"], now_ms))
        elif request != RAW_REQUEST:
            self._told(link, lambda number, now_ms: self.talk.answered(number, request, answer, now_ms))

    def _told(self, link: Link, tell: Callable[[int, float], None]) -> None:
        if not self.asleep:
            tell(link.number, self.clock.now_ms())
            self._carry_out()

    # what the conversation wants done

    def _carry_out(self) -> None:
        something = False
        while effects := self.talk.take_effects():
            for effect in effects:
                match effect:
                    case Send(_, request, event, payload):
                        if self.link is not None:
                            self._up(self.link, request, event, payload)
                    case FetchToken():
                        self.world.loop.call_soon(self._fetched)
                    case Open(number, url, auth):
                        self.link = self.world.open(self, number, url, auth)
                    case Close(_):
                        self._close_link()
                    case Tell(event=event):
                        something = True
                        self._hear(event)
                    case Settle(ask_id, outcome):
                        something = True
                        self._settle(ask_id, outcome)
        if something:
            self._sound()
        self._set_alarm()

    def _up(self, link: Link, request: int, event: str, payload: Any) -> None:
        asked = Asked(
            who=link.connection_id,
            event=event,
            device_id=self.device_id,
            payload=payload if isinstance(payload, dict) else {},
            command_id=payload.get("command_id") if isinstance(payload, dict) else None,
            sent_us=self.world.loop.now_us,
        )
        self.world.asked(asked)
        link.up(request, event, payload, asked)

    def _fetched(self) -> None:
        self.talk.take_token(self.listener_id, self.clock.now_ms())
        self._carry_out()

    def _close_link(self) -> None:
        if self.link is not None:
            self.link.close_by_device()
            self.link = None

    def _settle(self, ask_id: str, outcome: object) -> None:
        pressed = self.pressed.pop(ask_id, None)
        if pressed is not None:
            self.world.settled(self, pressed, outcome)
            pressed.then(outcome)

    def _set_alarm(self) -> None:
        wake_at_ms = self.talk.wake_at_ms
        if wake_at_ms == float("inf"):
            self._alarm_us = -1
            return
        loop = self.world.loop
        at_us = loop.now_us + max(1, round((wake_at_ms - self.clock.now_ms()) * 1000))
        if loop.now_us < self._alarm_us <= at_us:
            return
        self._alarm_us = at_us
        loop.at_us(at_us, self._alarmed, at_us)

    def _alarmed(self, at_us: int) -> None:
        if at_us == self._alarm_us and not self.asleep:
            self._ring()

    def _ring(self) -> None:
        self._alarm_us = -1
        self.talk.tick(self.clock.now_ms())
        self._carry_out()

    # the sound

    def _sound(self) -> None:
        """The speaker plays what is shown, with what was just pressed already done."""
        now_ms = self.clock.now_ms()
        shown = [state for row in self.talk.sessions if (state := self.talk.shown(row.session_id)) is not None]
        mine = [
            state
            for state in shown
            if state.playing and not state.ended and (state.active_device == self.device_id or state.mode == "together")
        ]
        if self.asleep or self.talk.line.phase == "idle":
            mine = []
        if mine:
            self.speaker.follow(max(mine, key=lambda state: state.order), self.talk.time.now_ms(now_ms))
        else:
            self.speaker.stand()

    def stall(self, lasts_ms: int) -> None:
        self.world.note(self.device_id, "stalls for %s ms", lasts_ms)
        self.speaker.stall()
        self.world.loop.call_later(lasts_ms / 1000, self._go_on)

    def _go_on(self) -> None:
        if self.speaker.stalled and not self.asleep:
            self.speaker.go_on()
            self.talk.report(self.clock.now_ms())
            self._carry_out()

    # what is played without a line

    def _hear(self, event: Event) -> None:
        match event:
            case StatusChanged(status=Status.RECONNECTING) if self._log is None and self.speaker.running:
                self.speaker.close()
                assert self.speaker.state is not None
                base = self.talk.state(self.speaker.state.session_id)
                if base is not None:
                    self._log = OfflineLog(base)
                    self.talk.open_log(self._log)
            case Joined() if self._log is not None and event.script_id == self._log.base.script_id:
                self._back(self._log)

    def _played(self, way: list[Interval], since_us: int) -> None:
        log = self._log
        if log is None or self.speaker.state is None or self.speaker.state.script_id != log.base.script_id:
            return
        until_ms = round(self.clock.now_ms())
        since_ms = until_ms - (self.world.loop.now_us - since_us) // 1000
        for start_ms, end_ms in way:
            log.runs(start_ms / 1000, since_ms)
            log.stands(end_ms / 1000, until_ms)

    def _back(self, log: OfflineLog) -> None:
        """On line again: whether what was played meanwhile is told by the next report, or has to be told as a batch."""
        sounded = self.speaker.running
        self._sound()
        self.speaker.close()
        self._log = None
        held = self.talk.state(log.base.session_id)
        goes_on = held is not None and held.order == log.base.order and self.speaker.running
        batches = list(log.batches())
        if goes_on or not batches[-1].stretches:
            self.talk.close_log(log, self.clock.now_ms())
            return
        self.press(batches[-1].wish(log.base.script_id, log.base), then=partial(self._answered, log, sounded))

    def _answered(self, log: OfflineLog, sounded: bool, outcome: object) -> None:
        self.talk.close_log(log, self.clock.now_ms())
        chance = self.world.chance
        if isinstance(outcome, Credited) and sounded and chance.happens(0.7):
            self.press(Wish("play", {"session_id": outcome.state.session_id}))
        if isinstance(outcome, Refused) and outcome.code == "conflict" and chance.happens(0.5):
            self.press(list(log.batches())[-1].wish(log.base.script_id, None))
