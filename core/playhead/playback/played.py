"""Played time: what ran, repeats included, and in which quarter of an hour; never more than the clock allows.

    played <= time since the sound was at `heard_ms`, times the rate
    in a loop the way from one place to another may lead over its end any number of times: the time tells how often

The union of what was heard is `listened.py`; that one cannot grow by hearing a passage twice, this one does.
"""

from msgspec.structs import replace

from playhead.playback.listened import HEARD_TOLERANCE_MS, heard_between, union
from playhead.playback.state import Interval, Loop, SessionState, Slot

SLOT_MS = 15 * 60 * 1000
"""Every time zone's midnight falls between two slots."""
SLOTS_MAX = 12
"""Slots that a state carries. What ran for longer without a word is counted in the oldest of them."""


def ran_until_ms(state: SessionState, now_ms: int) -> int:
    """Server time up to which the sound can have run: a playhead that stands has been standing since its anchor."""
    return now_ms if state.playing else min(now_ms, state.anchored_at_ms)


def ran_ms(state: SessionState, now_ms: int) -> int:
    """How much audio can have run, at most, since the sound was at `heard_ms`."""
    return round(max(0, ran_until_ms(state, now_ms) - state.heard_at_ms) * state.rate)


def way_ms(from_ms: int, to_ms: int, loop: Loop | None, run_ms: int) -> int:
    """How much audio lies on the way from one place to the other, when at most `run_ms` of it can have run.

    0 for a jump. In a loop: the longest way that the time allows, with a tolerance.
    """
    longest_ms, direct_ms = run_ms + HEARD_TOLERANCE_MS, to_ms - from_ms
    if loop is not None and from_ms < loop.end_ms and loop.start_ms <= to_ms < loop.end_ms:
        direct_ms += (longest_ms - direct_ms) // loop.length_ms * loop.length_ms
    return direct_ms if 0 <= direct_ms <= longest_ms else 0


def heard_up_to(state: SessionState, place_ms: int, now_ms: int) -> SessionState:
    """`state` with what was heard from `heard_ms` to `place_ms`, which is where the sound is at `now_ms`."""
    loop, run_ms = state.enabled_loop, ran_ms(state, now_ms)
    heard = heard_between(state.heard_ms, place_ms, loop, run_ms)
    way = way_ms(state.heard_ms, place_ms, loop, run_ms)
    return replace(credited(state, heard, way, now_ms), heard_ms=place_ms, heard_at_ms=now_ms)


def credited(state: SessionState, heard: tuple[Interval, ...], played_ms: int, now_ms: int) -> SessionState:
    """`state` with these intervals listened to, and as much of `played_ms` as can have run up to `now_ms`."""
    bounded_ms = min(played_ms, ran_ms(state, now_ms))
    slots = _slots(state.played_slots, ran_until_ms(state, now_ms), bounded_ms, state.rate)
    return replace(
        state,
        listened=union(state.listened, heard),
        played_ms=state.played_ms + bounded_ms,
        played_slots=slots,
    )


def _slots(slots: tuple[Slot, ...], until_ms: int, played_ms: int, rate: float) -> tuple[Slot, ...]:
    """Spreads `played_ms`, which ran at `rate` and ended at `until_ms`, over the slots that it ran in."""
    amounts, left_ms, end_ms = dict(slots), played_ms, until_ms
    for steps_left in reversed(range(SLOTS_MAX)):
        if left_ms <= 0:
            break
        number = (end_ms - 1) // SLOT_MS
        room_ms = round((end_ms - number * SLOT_MS) * rate)
        part_ms = min(left_ms, room_ms) if steps_left else left_ms
        amounts[number] = amounts.get(number, 0) + part_ms
        left_ms -= part_ms
        end_ms = number * SLOT_MS
    return tuple(sorted(amounts.items())[-SLOTS_MAX:])
