"""Which server process is started, replaced or ended when: a table of slots and what happened to their processes.

Pure: it knows neither processes nor time. Each call is told what happened and answers what is to be done.

    first start     one process of slot 0; once it serves, all others. One that cannot serve at all ends everything
    a process died  the next one of its slot, later each time; too often in a row ends everything
    rolling restart slot by slot: a successor beside the one that serves, on the same listener; when the successor is
                    ready the old one is retired, and when that has ended the next slot's turn comes
    a successor is  not ready in time, or ends: the restart is given up, and who served before goes on
"""

from dataclasses import dataclass, field

from playhead.app.development.children import Backoff, exit_text


@dataclass(frozen=True, slots=True)
class Start:
    """Start process `process` of `slot` in `after_s`."""

    slot: int
    process: int
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Retire:
    """Tell `process` that another one has its listener: it takes no new connections, and ends when it is drained."""

    process: int


@dataclass(frozen=True, slots=True)
class Stop:
    """End `process` in order."""

    process: int


@dataclass(frozen=True, slots=True)
class Say:
    """Tell the operator."""

    text: str
    action: str
    alarming: bool = False


Effect = Start | Retire | Stop | Say


@dataclass(slots=True)
class _Slot:
    current: int
    successor: int | None = None
    served: bool = False
    """Whether any process of this slot ever did."""
    crashes: int = 0


@dataclass(slots=True)
class Fleet:
    """The processes by number, from 0, never used twice. `exit_code` is what to end with when `over`."""

    processes: int
    backoff: Backoff = field(default_factory=Backoff)
    exit_code: int = 0
    stopping: bool = False
    _slots: list[_Slot] = field(default_factory=list)
    _living: dict[int, int] = field(default_factory=dict)
    """Processes that are started or about to be, with their slots."""
    _started: set[int] = field(default_factory=set)
    _turn: int | None = None
    """The slot whose process is being replaced."""
    _retired: int | None = None
    """The process that was replaced, until it has ended."""
    _again: bool = False
    """A restart was asked for during a restart: whoever was replaced before may have read the old settings."""
    _next: int = 0

    @property
    def over(self) -> bool:
        return self.stopping and not self._living

    @property
    def restarting(self) -> bool:
        return self._turn is not None

    def begin(self) -> list[Effect]:
        return [self._new_slot()]

    def started(self, process: int) -> list[Effect]:
        """It runs now; to be told before anything else of it."""
        self._started.add(process)
        return [Stop(process)] if self.stopping else []

    def serving(self, process: int) -> list[Effect]:
        """It listens."""
        self._slots[self._living[process]].served = True
        if self.stopping or len(self._slots) == self.processes:
            return []
        return [self._new_slot() for _ in range(len(self._slots), self.processes)]

    def ready(self, process: int) -> list[Effect]:
        """It listens, and has all that it needs."""
        number = self._living[process]
        slot = self._slots[number]
        if self.stopping or slot.successor != process:
            return []
        old, slot.current, slot.successor, slot.crashes = slot.current, process, None, 0
        if old not in self._living:
            return self._next_turn()
        self._retired = old
        return [Retire(old)]

    def late(self, process: int) -> list[Effect]:
        """A process that was to be ready by now."""
        number = self._living.get(process)
        if self.stopping or number is None or self._slots[number].successor != process:
            return []
        self._slots[number].successor = None
        return [Stop(process), *self._give_up("is not ready in time")]

    def restart(self) -> list[Effect]:
        """Replace all processes, one after the other."""
        if self.stopping:
            return []
        if self._turn is not None:
            self._again = True
            return []
        if len(self._slots) < self.processes:
            return [Say("Not restarted: it has only just begun to start.", "restart_refused")]
        self._turn = 0
        return [Say("Restarting one process after the other.", "restarting"), *self._replace()]

    def stop(self, exit_code: int = 0) -> list[Effect]:
        """End all processes. Those that have not been started yet never are."""
        if self.stopping:
            return []
        self.stopping, self.exit_code, self._turn = True, exit_code, None
        self._living = {process: slot for process, slot in self._living.items() if process in self._started}
        return [Stop(process) for process in self._living]

    def ended(self, process: int, code: int, lived_s: float) -> list[Effect]:
        """It is gone: with an exit code, or (negative) by a signal."""
        number = self._living.pop(process, None)
        self._started.discard(process)
        if number is None or self.stopping:
            return []
        slot = self._slots[number]
        if process == slot.successor:
            slot.successor = None
            return self._give_up(f"ended with {exit_text(code)}")
        if process == slot.current:
            return self._lost(number, slot, code, lived_s)
        if process != self._retired:
            return []
        self._retired = None
        return self._next_turn()

    def _lost(self, number: int, slot: _Slot, code: int, lived_s: float) -> list[Effect]:
        """One that was to serve on."""
        if not slot.served and code > 0:
            return self.stop(code)  # it has said itself what is wrong
        slot.crashes = 1 if lived_s >= self.backoff.healthy_after_s else slot.crashes + 1
        if slot.crashes >= self.backoff.crashes_max:
            text = f"Process {number} ended {slot.crashes} times in a row, last with {exit_text(code)}. Stopping all."
            return [Say(text, "process_given_up", alarming=True), *self.stop(code if code > 0 else 1)]
        if slot.successor is not None:  # it comes anyway
            return []
        wait_s = self.backoff.wait_s(slot.crashes)
        slot.current = self._number(number)
        text = f"Process {number} ended with {exit_text(code)}; it starts again in {wait_s:g} s."
        return [Say(text, "process_ended", alarming=True), Start(number, slot.current, wait_s)]

    def _replace(self) -> list[Effect]:
        """The successor of the slot whose turn it is."""
        assert self._turn is not None
        slot = self._slots[self._turn]
        if slot.current not in self._started:  # it died just now: the next one is new in any case
            return self._next_turn()
        slot.successor = self._number(self._turn)
        return [Start(self._turn, slot.successor)]

    def _next_turn(self) -> list[Effect]:
        if self._turn is None:
            return []
        self._turn += 1
        if self._turn < self.processes:
            return self._replace()
        self._turn = None
        done = Say("Every process is a new one.", "restarted")
        if self._again:
            self._again = False
            return [done, *self.restart()]
        return [done]

    def _give_up(self, why: str) -> list[Effect]:
        """The restart. Where nobody serves in the slot any more, somebody has to be started."""
        assert self._turn is not None
        number, self._turn, self._again = self._turn, None, False
        text = f"The restart is given up: the new process {number} {why}. The others go on."
        effects: list[Effect] = [Say(text, "restart_given_up", alarming=True)]
        slot = self._slots[number]
        if slot.current not in self._living:
            slot.current = self._number(number)
            effects.append(Start(number, slot.current, self.backoff.wait_s(max(1, slot.crashes))))
        return effects

    def _new_slot(self) -> Start:
        number = len(self._slots)
        process = self._number(number)
        self._slots.append(_Slot(current=process))
        return Start(number, process)

    def _number(self, slot: int) -> int:
        process = self._next
        self._next += 1
        self._living[process] = slot
        return process
