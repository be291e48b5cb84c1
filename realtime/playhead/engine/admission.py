"""Who may open a socket on this process now, and when somebody who may not should come back. Pure: time is an argument.

| asked, in this order               | reason         | come back                                           |
| ---------------------------------- | -------------- | --------------------------------------------------- |
| sockets of the process             | `process`      | in FULL_RETRY_MS                                    |
| sockets of the address             | `address`      | in FULL_RETRY_MS                                    |
| arrivals from the address a second | `address_rate` | at a turn that nobody else of it was promised       |
| arrivals at the process a second   | `rate`         | at a turn that nobody else was promised             |
|   (fewer while it is busy: see `strain`)                                                                  |

Nobody has shown a token by then, so nobody can be harmed by who others say they are: only addresses count. Whoever has
shown nothing at all takes a place among HalfOpen, where the oldest makes room for the newest.
"""

import random
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

SECOND_US = 1_000_000
MANY = 1_000_000
FULL_RETRY_MS = 10_000
RETRY_MS_MIN = 1_000
"""Nobody has to come back sooner: Retry-After knows whole seconds."""
RETRY_MS_MAX = 60_000
JITTER = 0.25
"""What is added to each wait, at most, as a share of it."""
PATIENCE_US = 3 * SECOND_US
"""What a stranger has at least, before one who has just come takes its place: a slow line's time to say something."""
CROWDED_SHARE = 0.5
"""Of its pace: a process with no more to spare keeps a crowd waiting, one that was late once or twice does not."""
CROWDED_US = 10 * SECOND_US
"""After somebody was told to come back later for the rate: by then most of a crowd have been told so, or are in."""
ADDRESSES_MAX = 65_536
"""Whose pace is remembered; about 250 bytes each."""


class Reason(StrEnum):
    """Why somebody is not let in, or not kept."""

    PROCESS = "process"
    ADDRESS = "address"
    ADDRESS_RATE = "address_rate"
    RATE = "rate"
    HALF_OPEN = "half_open"
    """Had not shown who it is when its place was needed."""
    DESCRIPTORS = "descriptors"
    """The process has as many connections as it has file descriptors for."""
    REST = "rest"
    """All connections that sockets leave to requests of other kinds are in use."""


MESSAGES = {
    Reason.PROCESS: "This server process has as many sockets as it may have.",
    Reason.ADDRESS: "Your address has as many sockets as it may have.",
    Reason.ADDRESS_RATE: "Too many sockets come from your address at once.",
    Reason.RATE: "Too many sockets come at once.",
    Reason.REST: "This server process has as many connections as it may have.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one process. `connections_max`: of any kind, REST and half-open ones included. `rest_max`: of REST alone.

    What is not set is as much as no process could serve.
    """

    sockets_max: int = MANY
    per_s: int = MANY
    burst: int = MANY
    address_sockets_max: int = MANY
    address_per_s: int = MANY
    address_burst: int = MANY
    half_open_max: int = MANY
    connections_max: int = MANY
    rest_max: int = MANY


@dataclass(frozen=True, slots=True)
class Refusal:
    """Nothing was taken; the same may succeed after `retry_after_ms`."""

    reason: Reason
    retry_after_ms: int

    @property
    def retry_after_s(self) -> int:
        """For HTTP's Retry-After."""
        return -(-self.retry_after_ms // 1_000)

    def payload(self) -> dict[str, object]:
        """As a refused CONNECT has it, beside the reason."""
        message = f"{MESSAGES[self.reason]} Wait `retry_after_ms`, then connect again."
        fields = {"code": "overloaded", "reason": self.reason.value, "message": message, "retry": True}
        return {**fields, "retry_after_ms": self.retry_after_ms}


class Gate:
    """Arrivals at a rate, by the generic cell rate algorithm (ITU-T I.371); who comes too early is promised a turn.

    The promises follow each other at the same rate, so that a crowd that is turned away comes back in a row.
    """

    __slots__ = ("_apart_us", "_burst", "_due_us", "_per_s", "_promised_us", "_slack_us")

    def __init__(self, per_s: int, burst: int) -> None:
        self._per_s = per_s
        self._burst = burst
        self._due_us = 0
        self._promised_us = 0
        self.slow_to(1.0)

    def slow_to(self, share: float) -> None:
        """From now on this share of the rate, and of the burst; promises that were given stand."""
        self._apart_us = int(SECOND_US / (self._per_s * share))
        self._slack_us = self._apart_us * (max(1, int(self._burst * share)) - 1)

    def wait_us(self, now_us: int) -> int:
        """How long until there is room for one; 0: now."""
        return max(0, self._due_us - self._slack_us - now_us)

    def take(self, now_us: int) -> None:
        self._due_us = max(self._due_us, now_us) + self._apart_us

    def promise_us(self, now_us: int, longest_us: int) -> int:
        """How long until a turn that nobody else was promised; past `longest_us` nothing is promised."""
        turn_us = max(self._promised_us, now_us + self.wait_us(now_us)) + self._apart_us
        if turn_us - now_us > longest_us:
            return longest_us
        self._promised_us = turn_us
        return turn_us - now_us

    def is_fresh(self, now_us: int) -> bool:
        """Whether it is as good as a new one."""
        return self._due_us <= now_us and self._promised_us <= now_us


class Admission:
    """What is open here, by address, and how fast more may come. `address` None: only the process's limits hold.

    `on_refused`: told why, whenever somebody was. Times are microseconds of a clock that never runs backwards.
    """

    def __init__(
        self,
        limits: Limits,
        on_refused: Callable[[Reason], None] | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.limits = limits
        self.half_open = HalfOpen(limits.half_open_max, lambda: self.count(Reason.HALF_OPEN))
        self._on_refused = on_refused
        self._chance = chance
        self._sockets = 0
        self._slowed = False
        self._crowded_until_us = 0
        self._by_address: Counter[str] = Counter()
        self._gate = Gate(limits.per_s, limits.burst)
        self._gates: OrderedDict[str, Gate] = OrderedDict()

    def __len__(self) -> int:
        return self._sockets

    def of_address(self, address: str) -> int:
        """Its sockets."""
        return self._by_address.get(address, 0)

    def refusal(self, address: str | None, now_us: int) -> Refusal | None:
        """Why nobody may come from `address` now; None: one may, and `enter` follows at once."""
        found = self._refusal(address, now_us)
        if found is not None:
            self.count(found.reason)
        return found

    def enter(self, address: str | None, now_us: int) -> None:
        """A socket is open from now on, until `leave`."""
        self._sockets += 1
        self._gate.take(now_us)
        if address is not None:
            self._by_address[address] += 1
            self._take_of(address, now_us)

    def leave(self, address: str | None) -> None:
        self._sockets -= 1
        if address is not None:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]

    def slow_to(self, share: float) -> None:
        """The process has only this share of its pace to spare; that of an address is none of its load."""
        self._gate.slow_to(share)
        self._slowed = share <= CROWDED_SHARE

    def crowded(self, now_us: int) -> bool:
        """Whether who leaves now may find more at the door than get in: it takes fewer, or has just refused some."""
        return self._slowed or now_us < self._crowded_until_us

    def count(self, reason: Reason) -> None:
        if self._on_refused is not None:
            self._on_refused(reason)

    def _refusal(self, address: str | None, now_us: int) -> Refusal | None:
        limits = self.limits
        if self._sockets >= limits.sockets_max:
            return self._later(Reason.PROCESS, FULL_RETRY_MS)
        if address is not None:
            if self.of_address(address) >= limits.address_sockets_max:
                return self._later(Reason.ADDRESS, FULL_RETRY_MS)
            gate = self._gates.get(address)
            if gate is not None and gate.wait_us(now_us):
                return self._promised(Reason.ADDRESS_RATE, gate, now_us)
        if self._gate.wait_us(now_us):
            self._crowded_until_us = now_us + CROWDED_US
            return self._promised(Reason.RATE, self._gate, now_us)
        return None

    def _promised(self, reason: Reason, gate: Gate, now_us: int) -> Refusal:
        longest_us = RETRY_MS_MAX * 1_000
        wait_us = gate.promise_us(now_us, longest_us)
        if wait_us == longest_us:  # without a turn of their own, they are at least spread out
            wait_us = round(longest_us * (0.5 + self._chance() / 2))
        return self._later(reason, -(-wait_us // 1_000))

    def _later(self, reason: Reason, wait_ms: int) -> Refusal:
        return Refusal(reason, max(RETRY_MS_MIN, round(wait_ms * (1 + JITTER * self._chance()))))

    def _take_of(self, address: str, now_us: int) -> None:
        gate = self._gates.get(address)
        if gate is None:
            gate = self._gates[address] = Gate(self.limits.address_per_s, self.limits.address_burst)
        gate.take(now_us)
        self._gates.move_to_end(address)
        # those that came longest ago are in front; what is as good as new need not be kept
        while len(self._gates) > ADDRESSES_MAX or next(iter(self._gates.values())).is_fresh(now_us):
            self._gates.popitem(last=False)


class Stranger(Protocol):
    """A connection that has not shown yet who it is."""

    def crowd_out(self) -> None:
        """Ends it at once, and takes it out of HalfOpen."""


class HalfOpen:
    """Strangers, the oldest first. One too many costs the oldest its place.

    Who opens many and says nothing so crowds out its own; who shows at once what it has to show never waits here.
    """

    def __init__(self, most: int, on_crowded_out: Callable[[], None]) -> None:
        self._most = most
        self._on_crowded_out = on_crowded_out
        self._since_us: dict[Stranger, int] = {}

    def __len__(self) -> int:
        return len(self._since_us)

    def __contains__(self, stranger: Stranger) -> bool:
        return stranger in self._since_us

    def room(self, wanted: int, now_us: int) -> int:
        """How many of so many may come now, so that nobody loses its place before its time."""
        free = self._most - len(self._since_us)
        for since_us in self._since_us.values():
            if free >= wanted or since_us + PATIENCE_US > now_us:
                break
            free += 1
        return max(0, min(free, wanted))

    def add(self, stranger: Stranger, now_us: int) -> None:
        self._since_us[stranger] = now_us
        if len(self._since_us) > self._most:
            oldest = next(iter(self._since_us))
            self._on_crowded_out()
            oldest.crowd_out()

    def remove(self, stranger: Stranger) -> None:
        self._since_us.pop(stranger, None)
