"""A listener with two players, as far as a load must know: what each was last told, and the seek that is under way."""

import time
import uuid
from dataclasses import dataclass
from typing import Any

from loadtests.holding.device import Device

DURATION_S = 3_600.0
PLACE_S_MAX = 2_400.0
"""Seeks lead no further, so that nothing plays to its end while it is measured."""
Order = tuple[int, int]
Acked = tuple[Order, float]
NEVER: Order = (0, 0)
SAME_PLACE_S = 0.002


@dataclass(slots=True)
class Seek:
    """A command that is under way. It keeps its id however often it is sent."""

    command_id: str
    position_s: float
    sender: Device
    witness: Device
    began_s: float
    measured: bool
    """Whether the witness was there all the time."""
    tries: int = 0
    answered: bool = False
    arrived: bool = False


class Pair:
    """`states`: by the device's place, what it was last told of the session."""

    __slots__ = ("acked", "devices", "paused", "seek", "seq", "session_id", "states")

    def __init__(self) -> None:
        self.devices: tuple[Device, ...] = ()
        self.session_id = ""
        self.states: list[dict[str, Any] | None] = [None, None]
        self.seek: Seek | None = None
        self.acked: Acked = (NEVER, 0.0)
        """The last seek that the server acknowledged: its state's order, and its place in s."""
        self.paused = False
        self.seq = int(time.time() * 1000)

    def take(self, device: Device, state: dict[str, Any]) -> bool:
        """Rule 6: only a later state counts. Whether it was one."""
        known = self.states[device.place]
        if known is not None and order_of(state) <= order_of(known):
            return False
        self.states[device.place] = state
        self.session_id = state["session_id"]
        self.paused = self.paused or not state["playing"]
        return True

    def sounds(self) -> bool:
        """Whether the first device has something to report."""
        state, device = self.states[0], self.devices[0]
        own = self.seek is not None and self.seek.sender is device and not self.seek.answered
        return (
            state is not None
            and device.joined
            and not own
            and bool(state["playing"])
            and state["active_device"] == device.id
        )

    def report(self) -> dict[str, Any]:
        state = self.states[0]
        assert state is not None
        self.seq += 1
        now_s = time.time()
        ran_s = max(0.0, now_s - state["anchored_at"] / 1000) * state["rate"]
        return {
            "session_id": self.session_id,
            "position": round(min(DURATION_S, state["position"] + ran_s), 3),
            "revision": state["revision"],
            "seq": self.seq,
            "at": round(now_s * 1000),
        }

    def begin_seek(self, sender: int, position_s: float) -> Seek:
        self.seek = Seek(
            command_id=str(uuid.uuid4()),
            position_s=position_s,
            sender=self.devices[sender],
            witness=self.devices[1 - sender],
            began_s=time.perf_counter(),
            measured=True,
        )
        return self.seek

    def note_acked(self, state: dict[str, Any]) -> None:
        self.acked = (order_of(state), state["position"])

    @staticmethod
    def lost_acked(snapshot: dict[str, Any] | None, acked: Acked) -> bool:
        """Whether what the server has is without a seek that it had acknowledged before it was asked."""
        order, position_s = acked
        if order == NEVER:
            return False
        if snapshot is None or order_of(snapshot) < order:
            return True
        return order_of(snapshot) == order and abs(snapshot["position"] - position_s) > SAME_PLACE_S


def order_of(state: dict[str, Any]) -> Order:
    return (state["epoch"], state["revision"])
