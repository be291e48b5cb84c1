"""What is known of the sound of a device that is away: how it went until the device was last heard of, and no more.

| who asks, while the sounding device is away   | its playhead                                                         |
| --------------------------------------------- | -------------------------------------------------------------------- |
| that device, back again                       | goes on as the formula says: it may have played on from its buffer   |
| another one, which lets it sound or rest      | goes back to where the device was last heard of                      |
| another one, which changes rate or loop       | changes from where the device was last heard of                      |

In `together` the other devices sound on, so everybody knows where the playhead is.
"""

from msgspec.structs import replace

from playhead.playback.commands import Connections
from playhead.playback.state import SessionState, position_at, settled


def known_until_ms(state: SessionState, device_id: str, connected: Connections, now_ms: int) -> int:
    """Server time up to which it is known how the sound went, when `device_id` asks."""
    active = state.active_device_id
    if state.absent_since_ms is None or state.mode == "together" or device_id == active or active in connected:
        return now_ms
    return min(now_ms, state.absent_since_ms)


def gone_back(state: SessionState, known_ms: int, now_ms: int) -> SessionState:
    """`state` as it was known last, told from `now_ms`: nobody has heard what the formula ran over since."""
    if known_ms == now_ms or not state.playing:
        return state
    known = settled(state, known_ms)
    if not known.playing:
        return known
    # what was not heard has not run either
    heard_at_ms = max(state.heard_at_ms, min(now_ms, state.heard_at_ms + now_ms - known_ms))
    return replace(known, position_ms=position_at(known, known_ms), anchored_at_ms=now_ms, heard_at_ms=heard_at_ms)
