"""A crowd of listeners on simulated cores, who take turns as `demand_turns` says; to compare ways of encoding.

Listeners come evenly within ARRIVE_S, each to a place of its own, fetch one segment after the other until BUFFER_S are
in hand, and then as they are played. Times are what ffmpeg took of a core on a machine with two (see decision 21).
Nothing waits for real: time is a number, chance a seed.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from playhead.transcode.demand_making import SEGMENT_S
from playhead.transcode.demand_turns import Need, Ticket, Turns, urgency

ARRIVE_S = 10.0
BUFFER_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Seconds of a core. `start_s`: until an encoder has found its place and its pace."""

    start_s: float
    segment_s: float


TWOLOOP = Costs(start_s=0.25, segment_s=0.13)
FAST = Costs(start_s=0.08, segment_s=0.09)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How it is encoded: `encoders` that stand still at most, `turn_segments` made before somebody else's turn."""

    costs: Costs
    encoders: int
    turn_segments: int = 1


@dataclass(slots=True, eq=False)
class _Listener:
    number: int
    came_s: float
    ticket: Ticket
    first_s: float | None = None
    """How long until the first sound."""
    played_until_s: float = 0.0
    stood_still_s: float = 0.0
    ahead: int = 0
    """Segments that are made and not fetched."""
    waits: bool = False


@dataclass(slots=True)
class Seen:
    first_s: list[float] = field(default_factory=list)
    stood_still_s: list[float] = field(default_factory=list)
    made: int = 0
    started: int = 0


class CrowdOnCores:
    """`cores`: how much of the machine's is there for encoders."""

    def __init__(self, way: Way, listeners: int, cores: float, slots: int = 2) -> None:
        self._way = way
        self._pace = cores / slots
        self._turns = Turns(slots)
        self._order = count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._kept: dict[Ticket, None] = {}
        self._owner: dict[Ticket, _Listener] = {}
        self._now_s = 0.0
        self.seen = Seen()
        self._listeners = [
            _Listener(number, number * ARRIVE_S / listeners, Ticket(Need.NEWCOMER, 0.0)) for number in range(listeners)
        ]
        for each in self._listeners:
            self._owner[each.ticket] = each
            each.ticket.due_s = each.came_s
            self._at(each.came_s, lambda each=each: self._ask(each))  # type: ignore[misc]

    def run(self, until_s: float) -> Seen:
        while self._events and self._events[0][0] <= until_s:
            self._now_s, _, act = heapq.heappop(self._events)
            act()
        for each in self._listeners:
            first_s = until_s - each.came_s if each.first_s is None else each.first_s
            self.seen.first_s.append(first_s)
            dry_s = 0.0 if each.first_s is None else max(0.0, until_s - each.played_until_s)
            self.seen.stood_still_s.append(each.stood_still_s + dry_s)
        return self.seen

    def _at(self, at_s: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at_s, next(self._order), act))

    def _ask(self, listener: _Listener) -> None:
        if listener.ahead:
            listener.ahead -= 1
            self._hear(listener)
            return
        listener.waits = True
        self._turns.wait(listener.ticket)
        self._begin()

    def _begin(self) -> None:
        for ticket in self._turns.begin():
            start_s = 0.0 if ticket in self._kept else self._started(ticket)
            costs = self._way.costs
            for n in range(1, self._way.turn_segments + 1):
                self._at(self._now_s + (start_s + n * costs.segment_s) / self._pace, self._maker(ticket, n))

    def _started(self, ticket: Ticket) -> float:
        """A new encoder, for which the one that is needed last may have to end."""
        if len(self._kept) >= self._way.encoders > 0:
            del self._kept[max(self._kept, key=urgency)]
        if self._way.encoders:
            self._kept[ticket] = None
        self.seen.started += 1
        return self._way.costs.start_s

    def _maker(self, ticket: Ticket, number: int) -> Callable[[], None]:
        def made() -> None:
            listener = self._owner[ticket]
            self.seen.made += 1
            if number == self._way.turn_segments:
                self._turns.leave(ticket)
            if listener.waits:
                listener.waits = False
                self._hear(listener)
            else:
                listener.ahead += 1
            self._begin()

        return made

    def _hear(self, listener: _Listener) -> None:
        """A segment more; the first one starts the sound."""
        if listener.first_s is None:
            listener.first_s, listener.played_until_s = self._now_s - listener.came_s, self._now_s
        listener.stood_still_s += max(0.0, self._now_s - listener.played_until_s)
        listener.played_until_s = max(self._now_s, listener.played_until_s) + SEGMENT_S
        listener.ticket.need, listener.ticket.due_s = Need.LISTENING, listener.played_until_s
        wait_s = max(0.0, listener.played_until_s - self._now_s - (BUFFER_S - SEGMENT_S))
        self._at(self._now_s + wait_s, lambda: self._ask(listener))
