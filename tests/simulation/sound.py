"""What really comes out of a device's speaker: the truth that no server knows, and that listened time is held against.

A sound runs from a place at a rate, folds back in a loop, stands at the end of the script, and stalls at times.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from playhead.client import Heard, State
from playhead.client.core.prediction import milliseconds, position
from tests.simulation.loop import VirtualLoop

Interval = tuple[int, int]
APART_MS = 150
"""A sound that is so near to where it should be is left alone."""


@dataclass(slots=True)
class Truth:
    """What was played of one script to one listener, by all devices together."""

    intervals: list[Interval] = field(default_factory=list)
    played_ms: int = 0

    def add(self, start_ms: int, end_ms: int) -> None:
        if end_ms > start_ms:
            self.intervals.append((start_ms, end_ms))
            self.played_ms += end_ms - start_ms


class Speaker:
    """The sound of one device; `truths` by script. `on_played` is told what has run, and since when."""

    def __init__(
        self,
        loop: VirtualLoop,
        device_id: str,
        truths: dict[str, Truth],
        on_played: Callable[[list[Interval], int], None],
    ) -> None:
        self._loop = loop
        self._on_played = on_played
        self._device_id = device_id
        self._truths = truths
        self.state: State | None = None
        """What it plays by."""
        self.running = False
        self.stalled = False
        self._place_ms = 0
        self._since_us = 0

    # what it is told

    def follow(self, state: State | None, server_ms: int | None) -> None:
        """Plays as `state` says, or stands."""
        if state is None or server_ms is None or not self._sounds(state):
            self.stand()
            return
        if state.anchored_at > server_ms and self._plays_session(state):
            # until the anchor it goes on as before
            self._loop.call_later((state.anchored_at - server_ms) / 1000, self._at_anchor, state)
            return
        self._run(state, milliseconds(position(state, server_ms)))

    def _at_anchor(self, state: State) -> None:
        held = self.state
        if held is not None and self.running and held.session_id == state.session_id and held.order < state.order:
            self._run(state, milliseconds(state.position))

    def _plays_session(self, state: State) -> bool:
        return self.running and self.state is not None and self.state.session_id == state.session_id

    def _sounds(self, state: State) -> bool:
        here = state.mode == "together" or state.active_device == self._device_id
        return state.playing and here and not state.ended

    def _run(self, state: State, target_ms: int) -> None:
        if self._plays_session(state) and abs(self.place_ms() - target_ms) <= APART_MS:
            target_ms = self.place_ms()
        self.close()
        self.state, self.running, self.stalled = state, True, False
        self._place_ms, self._since_us = target_ms, self._loop.now_us

    def stand(self) -> None:
        self.close()
        self.running = self.stalled = False

    def stall(self) -> None:
        """It stands still, and does not know it."""
        if self.running and not self.stalled:
            self.close()
            self.stalled = True

    def go_on(self) -> None:
        """After a stall, from where it stood."""
        if self.running and self.stalled:
            self.stalled, self._since_us = False, self._loop.now_us

    # where it is

    def heard(self, state: State, server_ms: int) -> Heard | None:
        if self.state is None or self.state.session_id != state.session_id:
            return None
        return Heard(position=self.place_ms() / 1000, playing=self.running)

    def place_ms(self) -> int:
        if not self.running or self.stalled:
            return self._place_ms
        return self._way()[0]

    def _way(self) -> tuple[int, list[Interval], int]:
        """Where the sound is, what it has played since `_since_us`, and how much of it more than once."""
        state = self.state
        assert state is not None
        elapsed_ms = (self._loop.now_us - self._since_us) / 1000
        place_ms, left_ms = self._place_ms, round(elapsed_ms * state.rate)
        loop = state.loop if state.loop is not None and state.loop.enabled else None
        if loop is None or place_ms >= milliseconds(loop.end):
            end_ms = min(place_ms + left_ms, milliseconds(state.duration))
            return end_ms, [(place_ms, end_ms)], 0
        start_ms, stop_ms = milliseconds(loop.start), milliseconds(loop.end)
        if place_ms + left_ms < stop_ms:
            return place_ms + left_ms, [(place_ms, place_ms + left_ms)], 0
        rounds, rest_ms = divmod(left_ms - (stop_ms - place_ms), stop_ms - start_ms)
        way = [(place_ms, stop_ms), *[(start_ms, stop_ms)] * min(rounds, 1), (start_ms, start_ms + rest_ms)]
        return start_ms + rest_ms, way, max(0, rounds - 1) * (stop_ms - start_ms)

    def close(self) -> None:
        """Notes what was played so far."""
        if not self.running or self.stalled:
            return
        assert self.state is not None
        truth = self._truths[self.state.script_id]
        self._place_ms, way, more_ms = self._way()
        for start_ms, end_ms in way:
            truth.add(start_ms, end_ms)
        truth.played_ms += more_ms
        self._on_played(way, self._since_us)
        self._since_us = self._loop.now_us
