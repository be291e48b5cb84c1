"""What a listener's devices on one node know of the sessions, every one of them or at least one, and of each other.

| known to | by                                                | compared with the store                              |
| -------- | ------------------------------------------------- | ---------------------------------------------------- |
| all      | what was sent to all of them                      | where it has a later order, that state is sent       |
| some     | the same, and every answer that one of them got   | where it has less, or nothing, they have to ask anew |

Of lists of devices there is one number: the latest order that was sent to all. Who comes begins with a list of its own,
not older than the one that names it.

Of an end nothing is kept but the life of the store that it was told in: a later life may have lost it, and then the
session is live again for everybody who asks. Must not know: sockets, the store.
"""

from collections.abc import Collection
from dataclasses import dataclass, field

from playhead.sessions.store import Order


@dataclass(slots=True)
class Told:
    """The latest order of each live session; the latest epoch in which one of them was told of an end, 0: none; and the
    latest order of the list of devices. What was told is never taken back by what comes late.
    """

    all: dict[str, Order] = field(default_factory=dict)
    some: dict[str, Order] = field(default_factory=dict)
    ended_epoch: int = 0
    devices: Order = (0, 0)

    def tell_all(self, session_id: str, order: Order, ended: bool) -> None:
        """Every device here has the state, or a later one."""
        if ended:
            self._end(order)
            self.forget((session_id,))
        else:
            self.all[session_id] = max(order, self.all.get(session_id, order))
            self.some[session_id] = max(order, self.some.get(session_id, order))

    def tell_one(self, session_id: str, order: Order, ended: bool) -> None:
        """One device has the state; the others may not have heard of it, nor of its end."""
        if ended:
            self._end(order)
        else:
            self.some[session_id] = max(order, self.some.get(session_id, order))

    def tell_devices(self, order: Order) -> None:
        """Every device here has that list, or a later one."""
        self.devices = max(self.devices, order)

    def forget(self, session_ids: Collection[str]) -> bool:
        """These are live no more; whether one of them was not told to have ended up to now."""
        found = [session_id for session_id in session_ids if self.some.pop(session_id, None) is not None]
        for session_id in session_ids:
            self.all.pop(session_id, None)
        return bool(found)

    def go_back(self, session_id: str, order: Order) -> None:
        """The store has lost what was told."""
        self.all[session_id] = self.some[session_id] = order

    def _end(self, order: Order) -> None:
        self.ended_epoch = max(self.ended_epoch, order[0])
