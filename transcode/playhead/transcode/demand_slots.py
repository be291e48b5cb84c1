"""Turns to wait for: `demand_turns` for tasks."""

import asyncio

from playhead.transcode.demand_turns import Ticket, Turns
from playhead.transcode.precedence import Precedence


class DemandSlots:
    """Turns for at most `slots` runs at once. While there are any, they have precedence over work in advance."""

    def __init__(self, slots: int, precedence: Precedence | None = None) -> None:
        self._turns = Turns(slots)
        self._precedence = precedence
        self._woken: dict[Ticket, asyncio.Future[None]] = {}

    @property
    def idle(self) -> bool:
        """Whether nothing runs or waits."""
        return self._turns.idle

    def is_needed_more_than_by(self, ticket: Ticket) -> bool:
        """Whether somebody waits for a turn who needs it more."""
        return self._turns.is_needed_more_than_by(ticket)

    def has(self, ticket: Ticket) -> bool:
        return self._turns.has(ticket)

    async def take(self, ticket: Ticket) -> None:
        """Returns with a turn, which lasts until `end`."""
        woken = self._woken[ticket] = asyncio.get_running_loop().create_future()
        self._turns.wait(ticket)
        self._begin()
        try:
            await woken
        except asyncio.CancelledError:
            self.end(ticket)
            raise
        finally:
            del self._woken[ticket]

    def end(self, ticket: Ticket) -> None:
        """Harmless where there is no turn."""
        self._turns.leave(ticket)
        self._begin()

    def _begin(self) -> None:
        if self._precedence is not None:
            (self._precedence.give_up if self.idle else self._precedence.claim)()
        for ticket in self._turns.begin():
            woken = self._woken[ticket]
            if not woken.done():  # else its task is being cancelled, and ends the turn at once
                woken.set_result(None)
