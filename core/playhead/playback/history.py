"""Moves: each discontinuity of the playhead, so that every place can be found and restored.

| what                              | from                        | to                      |
| --------------------------------- | --------------------------- | ----------------------- |
| seek, play at a place, restore    | the place heard before      | the place asked for     |
| loop that ends behind the playhead | the place before           | the loop's start        |
| transfer, end                     | the place                   | the same place          |
| offline batch that is taken       | the place before            | the batch's end         |
| plain report beyond what can have run | the place before        | the place reported      |
| end of the script, long after the last report | the last place heard | the end           |
| conflict: a report or batch that is refused | the session's place | the place reported    |
"""

import msgspec

from playhead.playback.commands import Command, Due, End, Offline, Play, Report, Restore, Seek, SetLoop, Transfer
from playhead.playback.listened import HEARD_TOLERANCE_MS
from playhead.playback.played import ran_ms
from playhead.playback.state import SessionState, position_at

MOVES_MAX = 100
"""Moves of one session that are kept, the oldest forgotten first."""
UNREPORTED_MS = 60_000
"""Who did not report for so long before the end of the script may not have heard it: the last place is kept."""
CONFLICTS_MAX = 10
"""Refused places of one session that are kept beside its moves."""


CONFLICT = "conflict"
"""The cause of a refused place."""


class Move(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One entry. A move is unique by `(epoch, revision)`; a conflict by `(device_id, epoch, revision)` of its base."""

    cause: str
    from_ms: int
    to_ms: int
    device_id: str | None
    at_ms: int
    epoch: int
    revision: int

    @property
    def refused(self) -> bool:
        return self.cause == CONFLICT

    @property
    def entry_id(self) -> str:
        """Names the entry within its session."""
        number = f"{self.epoch}-{self.revision}"
        return f"{CONFLICT}:{number}:{self.device_id}" if self.refused else number

    @property
    def restored_ms(self) -> int:
        """The place that restoring this entry leads back to: what was left, or what was refused."""
        return self.to_ms if self.refused else self.from_ms


def moved_playhead(before: SessionState, after: SessionState, command: Command, from_ms: int, now_ms: int) -> bool:
    """Whether `command` made a discontinuity between the two states. `from_ms`: where the listener was before."""
    match command:
        case Transfer() | End():
            return True
        case Seek() | Restore() | Play() | SetLoop() | Offline():
            return from_ms != position_at(after, now_ms)
        case Report():
            run_ms = ran_ms(before, now_ms) + HEARD_TOLERANCE_MS
            return command.revision is None and position_at(after, now_ms) - before.heard_ms > run_ms
        case Due():
            reached = before.playing and after.position_ms == after.duration_ms
            return reached and ran_ms(before, after.anchored_at_ms) > UNREPORTED_MS * before.rate
        case _:
            return False
