"""What is known of one session, and where its playhead is at a given server time.

    position(now) = playing ? position + max(0, now - anchored_at) * rate : position
    with a loop [start, end): once past `end` it folds back into the loop;  without: clamped to [0, duration]
    reaching `duration` without a loop ends playback there (playing becomes false)

Times are integer milliseconds: `_ms` alone is a place in the audio, `_at_ms` is server time since the Unix epoch.
The browser's copy of the formula is `player/src/playhead.ts`; both are tested against `tests/vectors/playhead.json`.
"""

import math
from typing import Literal

import msgspec
from msgspec.structs import replace

Mode = Literal["handoff", "together"]
"""`handoff`: one device sounds, the others are remotes. `together`: all connected devices sound in unison."""
Interval = tuple[int, int]
"""Half-open stretch of audio `[start_ms, end_ms)`."""
Order = tuple[int, int]
"""`(epoch, revision)`: which of two states is the later one."""
Slot = tuple[int, int]
"""A quarter of an hour of server time, by its number since the Unix epoch, and the ms that were played in it."""


class Loop(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An A-B loop over `[start_ms, end_ms)`; kept, but without effect, while `enabled` is false."""

    start_ms: int
    end_ms: int
    enabled: bool

    @property
    def length_ms(self) -> int:
        return self.end_ms - self.start_ms


class Media(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The file that a script has: its version, and its length."""

    version: str
    duration_ms: int


class SessionState(msgspec.Struct, frozen=True, kw_only=True, gc=False, array_like=True):
    """One listener's playback of one script, shared by all devices of that listener.

    `(epoch, revision)` orders the states that devices see; every accepted change adds one to `revision`.
    `version` counts every write, also of reports that change nothing a device sees: it is what a commit compares.
    A struct, as a command replaces it several times: 0.2 µs each, where a dataclass of so many fields takes 7.
    It is kept as the list of its fields (`playhead.sessions.states`): a new one goes to the end, with a default.
    """

    session_id: str
    listener_id: str
    script_id: str
    duration_ms: int
    epoch: int
    revision: int
    version: int
    playing: bool
    position_ms: int
    anchored_at_ms: int
    rate: float
    loop: Loop | None = None
    mode: Mode = "handoff"
    active_device_id: str | None = None
    active_connection_id: str | None = None
    """The connection that last played or was the transfer's target; None for a device that acts over REST."""
    heard_ms: int = 0
    """Where the next true report begins to count as listened."""
    heard_at_ms: int = 0
    """Server time at which the sound was at `heard_ms`: bounds what can have been heard since."""
    listened: tuple[Interval, ...] = ()
    """Union of the intervals listened so far: sorted, disjoint, never touching."""
    report_seqs: tuple[tuple[str, int], ...] = ()
    """Highest report number seen per device, newest device last."""
    played_ms: int = 0
    """What was played, repeats included: never more than the time that passed, times the rate."""
    played_slots: tuple[Slot, ...] = ()
    """The latest slots in which something was played, oldest first; each amount counts from the session's start."""
    moved: Order = (0, 0)
    """The latest state in which a device changed the playhead. What the server does by itself does not count."""
    sleep_at_ms: int | None = None
    """Server time at which a playing session pauses."""
    sleep_at_end_of_loop: bool = False
    """Pauses when the loop comes to its end for the next time."""
    absent_since_ms: int | None = None
    """Server time of the sounding device's last sign of life, while it is away."""
    absent_until_ms: int | None = None
    """When it is still away then, the session pauses where it was at `absent_since_ms`."""
    started_at_ms: int = 0
    changed_at_ms: int = 0
    ended_at_ms: int | None = None
    finished: bool = False
    """Playback reached the end of the script, or stopped so near to it that it counts."""
    media_version: str = ""
    """Which file of its script it plays; empty where an earlier release began it: nobody knows."""
    longest_ms: int = 0
    """The longest file that it played before this one; 0: none."""

    @property
    def enabled_loop(self) -> Loop | None:
        return self.loop if self.loop is not None and self.loop.enabled else None

    @property
    def addressed_ms(self) -> int:
        """Length of the longest file that an address was signed for in this session: how long those may last."""
        return max(self.duration_ms, self.longest_ms)

    @property
    def order(self) -> Order:
        """`(epoch, revision)`: a device applies a state only when this is higher than that of the one it shows."""
        return (self.epoch, self.revision)


def position_at(state: SessionState, now_ms: int) -> int:
    """The playhead's place in ms at server time `now_ms`: within `[0, duration_ms]`, an enabled loop folded."""
    if not state.playing:
        return state.position_ms
    place_ms = state.position_ms + round(max(0, now_ms - state.anchored_at_ms) * state.rate)
    loop = state.enabled_loop
    if loop is not None and state.position_ms < loop.end_ms:
        return place_ms if place_ms < loop.end_ms else loop.start_ms + (place_ms - loop.start_ms) % loop.length_ms
    return min(max(place_ms, 0), state.duration_ms)


def when_at(state: SessionState, place_ms: int) -> int:
    """Server time at which a playing session, not folded back before, comes to `place_ms`; rounded up to a whole ms."""
    return state.anchored_at_ms + math.ceil(max(0, place_ms - state.position_ms) / state.rate)


def end_reached(state: SessionState, now_ms: int) -> bool:
    """Whether playback has run into the end of the script by `now_ms`."""
    return state.playing and state.enabled_loop is None and position_at(state, now_ms) >= state.duration_ms


def settled(state: SessionState, now_ms: int) -> SessionState:
    """`state` as it is at `now_ms`: the same, unless playback ran into the end of the script, which stops it there."""
    if not end_reached(state, now_ms):
        return state
    ran_ms = round((state.duration_ms - state.position_ms) / state.rate)
    return replace(
        state,
        playing=False,
        position_ms=state.duration_ms,
        anchored_at_ms=min(now_ms, state.anchored_at_ms + ran_ms),
        finished=True,
    )
