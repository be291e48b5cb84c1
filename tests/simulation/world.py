"""One schedule from its beginning to its end: the parts put together, what goes wrong and when, and the quiet after.

active   devices act at random, calamities come and go
(hours)  everybody is away, and comes back with what was true then
quiet    nothing goes wrong any more; afterwards everything that must hold in the end is held against it
(end)    everybody goes, and the sessions have to end by themselves
"""

from typing import Any

from playhead.playback.history import Move
from playhead.sessions.store import PRESENCE_LEASE_MS
from tests.simulation.calamities import Calamities
from tests.simulation.chance import Chance
from tests.simulation.device import Device, DeviceClock, Pressed
from tests.simulation.fingers import Fingers
from tests.simulation.flusher import FlusherProcess
from tests.simulation.loop import VirtualLoop
from tests.simulation.node import METRICS, Node
from tests.simulation.oracles import Oracles
from tests.simulation.record import Asked, Record, Watcher
from tests.simulation.rest import RestApp
from tests.simulation.rows import Rows
from tests.simulation.schedule import HOUR_MS, Plan
from tests.simulation.sockets import Link
from tests.simulation.sound import Truth
from tests.simulation.trace import Trace
from tests.simulation.valkey import Valkey
from tests.support.sessions import make_script

BASE_MS = 1_767_225_600_000
"""Server time at the beginning."""
QUIET_STEP_MS = 1_000
QUIET_STEPS_MAX = PRESENCE_LEASE_MS // QUIET_STEP_MS + 30
"""Half a minute would do, but for leases of connections that nobody holds and that count at a limit."""
END_MS = 3 * HOUR_MS


class Failed(Exception):
    """A rule was broken. The text says which, in which schedule, and what came before."""


class ServerClock:
    """Server time itself: that of the store."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now_ms(self) -> int:
        return BASE_MS + self._loop.now_us // 1000


class World:
    """Run it with `run`."""

    def __init__(self, plan: Plan, chance: Chance) -> None:
        self.plan = plan
        self.chance = chance
        self.trace = Trace()
        self.failure: str | None = None
        self.loop = VirtualLoop(self._unhandled)
        self.clock = ServerClock(self.loop)
        self.record = Record()
        self.script_ids = [chance.uuid() for _ in plan.durations_ms]
        self.rows = Rows(
            make_script(script_id, duration_ms=duration_ms)
            for script_id, duration_ms in zip(self.script_ids, plan.durations_ms, strict=True)
        )
        self.gone: list[Node | FlusherProcess] = []
        """Processes that died; what they waited for must not be swept up."""
        self.oracles = Oracles(self)
        self.valkey = Valkey(self.clock, self.record, self.oracles, self.rows.sessions, BASE_MS, plan.journal_max)
        self.valkey.on_due = self._due_changed
        self.flushers = [self._flusher() for _ in range(plan.flushers)]
        self.nodes = {f"n{number}": self._node(f"n{number}") for number in range(plan.nodes)}
        self.truths: dict[tuple[str, str], Truth] = {}
        self.devices = [device for number in range(plan.listeners) for device in self._devices_of(number)]
        self._listeners = {device.device_id: device.listener_id for device in self.devices}
        self.fingers = Fingers(chance, self.script_ids, self.history)
        self.rest = RestApp(self)
        self.calamities = Calamities(self)
        self.quiet_at_ms = 0
        self.live_before_the_end: set[str] = set()

    def _node(self, name: str, generation: int = 0) -> Node:
        return Node(
            name,
            generation,
            self.loop,
            self.plan,
            self.chance,
            BASE_MS,
            self.valkey,
            self.rows,
            self.note,
            self._answered,
        )

    def start_node(self, name: str) -> None:
        """A process of that name, after the one before has gone."""
        before = self.nodes[name]
        self.gone.append(before)
        self.nodes[name] = self._node(name, before.generation + 1)
        self.nodes[name].wire.calm = before.wire.calm
        self._due_changed()

    def _flusher(self) -> FlusherProcess:
        return FlusherProcess(self.loop, self.plan, self.chance, self.valkey, self.rows, self.clock, METRICS, self.note)

    def start_flusher(self, number: int) -> None:
        before = self.flushers[number]
        self.gone.append(before)
        self.flushers[number] = self._flusher()
        self.flushers[number].wire.calm = before.wire.calm
        self._something_came()

    def _something_came(self) -> None:
        if self.valkey.waiting():
            for flusher in self.flushers:
                flusher.something_came()

    def _devices_of(self, number: int) -> list[Device]:
        plan, chance = self.plan, self.chance
        listener_id = chance.uuid()
        truths = {script_id: self.truths.setdefault((listener_id, script_id), Truth()) for script_id in self.script_ids}
        found = []
        for count in range(plan.devices):
            off_ms = chance.pick((0, 300, -4_000, 86_400_000, -30 * 86_400_000)) + BASE_MS + plan.clock_shift_ms
            clock = DeviceClock(self.loop, off_ms, chance.pick((0.0, 0.0, 50e-6, -80e-6, 0.004)))
            urls = list(self.nodes)
            chance.shuffle(urls)
            found.append(Device(self, listener_id, f"d{number}{chr(97 + count)}", urls, truths, clock))
        return found

    # the run

    def run(self) -> None:
        """Raises Failed when a rule was broken."""
        Watcher.record = self.record
        try:
            self._play()
        finally:
            Watcher.record = None
            for process in (*self.nodes.values(), *self.flushers, *self.gone):
                process.over = True
            self.loop.cancel_everything()
            self.loop.close()
        if self.failure is not None:
            raise Failed(f"seed {self.plan.seed}: {self.failure}\n{self.plan}\n{self.trace.tail()}")

    def _play(self) -> None:
        for device in self.devices:
            self.loop.call_later(self.chance.ms(0, 2_000) / 1000, device.start, self.chance.pick(self.script_ids))
        self.calamities.begin()
        self._active(self.plan.actions)
        if self.plan.hours_apart:
            self.calamities.everybody_away(self.chance.ms(1, 5) * HOUR_MS)
            self._active(max(3, self.plan.actions // 3))
        self._quiet()
        if self.plan.to_the_end and self.failure is None:
            self._end()

    def _active(self, actions: int) -> None:
        for _ in range(actions):
            # two at once, more often than by chance
            together = self.chance.happens(0.2)
            self._advance(0 if together else self.chance.ms(0, 2 * self.plan.pause_ms))
            self._act()
        self._advance(self.plan.pause_ms)

    def _act(self) -> None:
        device = self.chance.pick(self.devices)
        if device.asleep or self.failure is not None:
            return
        if self.plan.faults.rest and self.chance.happens(self.plan.faults.rest):
            self.rest.act(device)
        elif self.chance.happens(self.plan.faults.nonsense):
            foreign = [
                row.session_id
                for other in self.devices
                if other.listener_id != device.listener_id
                for row in other.talk.sessions
            ]
            self.fingers.nonsense(device, foreign[0] if foreign else None)
        elif device.speaker.running and self.chance.happens(self.plan.faults.stall):
            device.stall(self.chance.ms(200, 9_000))
        else:
            self.fingers.act(device)

    def _advance(self, by_ms: int) -> None:
        self.loop.advance(self.loop.now_us // 1000 + by_ms)

    def _quiet(self) -> None:
        """Everything is mended; then a moment is looked for at which nothing is under way."""
        self.note("world", "is quiet from now on")
        self.calamities.mend_everything()
        self.quiet_at_ms = self.now_ms
        self._advance(self.plan.quiet_ms)
        for _ in range(QUIET_STEPS_MAX):
            if self.failure is not None or self.oracles.apart() is None:
                break
            self._advance(QUIET_STEP_MS)
        if self.failure is None:
            self.oracles.judge_quiet()

    def _end(self) -> None:
        self.live_before_the_end = set(self.valkey.sessions())
        for device in self.devices:
            device.close()
        self._advance(END_MS)
        self.oracles.judge_end()

    def take_apart(self) -> None:
        """Nobody looks at it any more: its parts hold each other, and would wait for the collector otherwise."""
        processes = [*self.nodes.values(), *self.flushers, *self.gone]
        nodes = [process for process in processes if isinstance(process, Node)]
        holding = [part for node in nodes for part in (node.sockets, node.convergence)]
        talks = [device.talk for device in self.devices]
        for commit in self.record.commits:
            commit.asked = None
        for part in (*processes, *holding, *talks, *self.devices, self.valkey, self.oracles, self):
            part.__dict__.clear()

    # what the parts call

    @property
    def now_ms(self) -> int:
        return self.clock.now_ms()

    def note(self, who: str, text: str, *values: Any) -> None:
        self.trace.add(self.loop.now_us, who, text, *values)

    def fail(self, rule: str, text: str) -> None:
        """The first failure counts, and ends the schedule."""
        if self.failure is None:
            self.failure = f"{rule}: {text}"
            self.note("ORACLE", "%s: %s", rule, text)
            self.loop.halt()

    def _unhandled(self, context: dict[str, Any]) -> None:
        self.fail("no exception is ours", f"{context.get('message')} {context.get('exception')!r}")

    def _due_changed(self) -> None:
        due_ms = self.valkey.next_due_ms()
        if due_ms is not None:
            for node in self.nodes.values():
                node.something_is_due(due_ms)
        self._something_came()

    def open(self, device: Device, number: int, url: str, auth: Any) -> Link:
        link = Link(self.loop, self.chance, self.plan.network_ms, device, number, self.plan.faults.ack_lost)
        if self.calamities.calm:
            link.calm_down()
        self.loop.call_later(self.chance.ms(1, 2 * self.plan.network_ms) / 1000, self._reached, device, link, url, auth)
        return link

    def _reached(self, device: Device, link: Link, url: str, auth: Any) -> None:
        if not link.device_open:
            return
        if device.offline:
            link.node_died()
            return
        self.nodes[url].accept(link, auth)

    def asked(self, asked: Asked) -> None:
        self.note(asked.device_id, "asks %s %s over %s", asked.event, asked.payload, asked.who)
        self.fingers.remember(asked.device_id, asked.event, dict(asked.payload))

    def _answered(self, node: Node, link: Link, asked: Asked, answer: dict[str, Any]) -> None:
        if asked.event != "clock":
            self.note(node.name, "answers %s of %s: %s", asked.event, asked.device_id, answer)
        self.oracles.answered(node, asked, answer)

    def settled(self, device: Device, pressed: Pressed, outcome: object) -> None:
        self.note(device.device_id, "%s ends: %s", pressed.wish.event, type(outcome).__name__)
        self.oracles.settled(device, pressed, outcome)

    def received(self, device: Device, event: str, data: Any) -> None:
        self.oracles.received(device, event, data)

    def listener_of(self, device_id: str) -> str:
        """Of a device; whoever asks over REST is named by the listener."""
        return self._listeners.get(device_id, device_id)

    def history(self, session_id: str) -> tuple[Move, ...]:
        """As the use case answers it: what the store has, and what the rows have."""
        entries = {entry.entry_id: entry for entry in self.rows.moves.get(session_id, {}).values()}
        entries.update({entry.entry_id: entry for entry in self.valkey.entries(session_id)})
        return tuple(entries.values())
