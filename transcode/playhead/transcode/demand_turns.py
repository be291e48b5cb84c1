"""Who encodes next of those that somebody waits for: a table of turns, without a clock and without waiting.

A turn is one segment. Between two of them the encoder stands still and keeps its place in the source, so that a turn
can go to whoever needs it most, and nothing that was begun is lost:

NEWCOMER   hears nothing yet; who asked first
LISTENING  waits for a segment; whose buffer lasts least long
AHEAD      nobody waits for it yet; whose buffer lasts least long, and only while nobody else waits
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum


class Need(IntEnum):
    """How much somebody needs what is to be encoded: the first most."""

    NEWCOMER = 0
    LISTENING = 1
    AHEAD = 2


@dataclass(slots=True, eq=False)
class Ticket:
    """One that waits for a turn, or has it. `due_s`: when its segment is to be heard. Both may change at any time."""

    need: Need
    due_s: float


class Turns:
    """At most `slots` at once."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._running: set[Ticket] = set()
        self._waiting: set[Ticket] = set()

    @property
    def idle(self) -> bool:
        """Whether nothing runs or waits."""
        return not self._running and not self._waiting

    def is_needed_more_than_by(self, ticket: Ticket) -> bool:
        """Whether somebody waits for a turn who needs it more."""
        return any(urgency(other) < urgency(ticket) for other in self._waiting)

    def has(self, ticket: Ticket) -> bool:
        return ticket in self._running

    def wait(self, ticket: Ticket) -> None:
        self._waiting.add(ticket)

    def leave(self, ticket: Ticket) -> None:
        """It waits no more, and has no turn."""
        self._waiting.discard(ticket)
        self._running.discard(ticket)

    def begin(self) -> Sequence[Ticket]:
        """Those whose turn begins now, the neediest first."""
        begun = sorted(self._waiting, key=urgency)[: self._slots - len(self._running)]
        self._waiting.difference_update(begun)
        self._running.update(begun)
        return begun


def urgency(ticket: Ticket) -> tuple[Need, float]:
    """The least goes first."""
    return ticket.need, ticket.due_s
