"""A session whose script has got another file: how it takes that over.

| what                      | with the new file                                                          |
| ------------------------- | -------------------------------------------------------------------------- |
| place within it           | stays                                                                      |
| place behind its end      | its end: there it is finished, and `play` starts at 0                      |
| the same, inside a loop   | the start of that loop, which goes on                                      |
| loop that reaches over it | ends with it; one that would be shorter than 0.25 s, or lies behind, goes  |
| what was listened to      | stays listened to, up to its end                                           |

It happens when the script is played the next time; until then the session goes on with the file that it has.
"""

from msgspec.structs import replace

from playhead.playback.commands import LOOP_LENGTH_MIN_MS
from playhead.playback.listened import within
from playhead.playback.state import Loop, Media, SessionState, position_at


def taken_over(state: SessionState, media: Media | None, now_ms: int) -> SessionState:
    """`state` with the file that its script has now; the same where it has that one, or nobody knows (None)."""
    if media is None or media.version == state.media_version:
        return state
    place_ms, end_ms = position_at(state, now_ms), media.duration_ms
    after = replace(
        state,
        media_version=media.version,
        duration_ms=end_ms,
        longest_ms=max(state.longest_ms, state.duration_ms),
        position_ms=place_ms,
        # an anchor ahead (`together`) stays where it is
        anchored_at_ms=max(now_ms, state.anchored_at_ms) if state.playing else state.anchored_at_ms,
        loop=_cut(state.loop, end_ms),
        listened=within(state.listened, end_ms),
        heard_ms=min(state.heard_ms, end_ms),
    )
    if place_ms < end_ms:
        return after
    if (loop := after.enabled_loop) is not None:
        return replace(after, position_ms=loop.start_ms, heard_ms=loop.start_ms, heard_at_ms=after.anchored_at_ms)
    return replace(
        after,
        playing=False,
        position_ms=end_ms,
        anchored_at_ms=now_ms,
        finished=True,
        heard_ms=end_ms,
        heard_at_ms=now_ms,
    )


def _cut(loop: Loop | None, end_ms: int) -> Loop | None:
    if loop is None or min(loop.end_ms, end_ms) - loop.start_ms < LOOP_LENGTH_MIN_MS:
        return None
    return replace(loop, end_ms=min(loop.end_ms, end_ms))
