"""Sessions and commands for property tests, and what is true of every session at any time."""

from itertools import pairwise
from typing import Any

from hypothesis import strategies as st
from msgspec.structs import replace

from playhead.playback.commands import (
    LOOP_LENGTH_MIN_MS,
    RATE_MAX,
    RATE_MIN,
    REST_DEVICE_ID,
    Command,
    Due,
    End,
    Leave,
    Lost,
    Offline,
    Origin,
    Pause,
    Play,
    Renew,
    Report,
    Restore,
    Seek,
    SetLoop,
    SetMode,
    SetRate,
    SetSleep,
    Transfer,
)
from playhead.playback.listened import union
from playhead.playback.state import Media, SessionState, position_at
from tests.support.states import MEDIA_VERSION, NOW_MS, make_loop, make_state

DURATION_MAX_MS = 200_000
DEVICES = ("phone", "desk")
CONNECTED = {"phone": "phone-1", "desk": "desk-1"}

places = st.integers(-10, DURATION_MAX_MS + 10)
rates = st.floats(RATE_MIN, RATE_MAX) | st.sampled_from([RATE_MIN, 1.0, RATE_MAX])
origins = st.sampled_from(
    [
        *(
            Origin(device_id=device_id, connection_id=f"{device_id}-{number}")
            for device_id in DEVICES
            for number in (1, 2)
        ),
        Origin(device_id="phone"),
        Origin(device_id=REST_DEVICE_ID),
    ]
)
medias = st.none() | st.builds(
    Media, version=st.sampled_from([MEDIA_VERSION, "f" * 16]), duration_ms=st.integers(1, 2 * DURATION_MAX_MS)
)
"""What the script has now."""
counters = st.integers(0, 30)
commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(Play, position_ms=st.none() | places, device_id=st.none() | st.sampled_from([*DEVICES, "speaker"])),
    st.builds(Pause, position_ms=st.none() | places),
    st.builds(Seek, position_ms=places, from_ms=st.none() | places),
    st.builds(SetLoop, start_ms=places, end_ms=places, enabled=st.booleans()),
    st.builds(SetRate, rate=rates | st.just(float("nan"))),
    st.builds(Transfer, device_id=st.sampled_from([*DEVICES, "speaker"])),
    st.builds(Leave),
    st.builds(SetMode, mode=st.sampled_from(["handoff", "together"])),
    st.builds(SetSleep, after_ms=st.none() | st.integers(-1, 100_000), at_end_of_loop=st.booleans()),
    st.builds(Restore, position_ms=places),
    st.builds(
        Offline,
        intervals=st.lists(st.tuples(places, places), max_size=4).map(tuple),
        position_ms=places,
        base=st.none() | st.tuples(st.just(7), st.integers(0, 30)),
    ),
    st.builds(
        Lost,
        device_id=st.sampled_from([*DEVICES, "speaker"]),
        last_seen_at_ms=st.none() | st.integers(0, 2 * NOW_MS),
        until_ms=st.integers(NOW_MS, NOW_MS + 600_000),
    ),
    st.builds(Due, left_at_ms=st.none() | st.integers(0, NOW_MS)),
    st.builds(Renew),
    st.builds(End),
    st.builds(
        Report, position_ms=places, rate=st.none() | rates, revision=st.none() | counters, seq=st.none() | counters
    ),
)


@st.composite
def sessions(draw: st.DrawFn, /, **fields: Any) -> SessionState:
    """Any session that can be: the rules that `broken_rules` checks hold of it."""
    duration_ms = draw(st.integers(LOOP_LENGTH_MIN_MS, DURATION_MAX_MS))
    inside = st.integers(0, duration_ms)
    position_ms, finished, loop = draw(inside), False, None
    if draw(st.booleans()):
        start_ms = draw(st.integers(0, duration_ms - LOOP_LENGTH_MIN_MS))
        end_ms = draw(st.integers(start_ms + LOOP_LENGTH_MIN_MS, duration_ms))
        loop = make_loop(start_ms, end_ms, enabled=position_ms < end_ms and draw(st.booleans()))
    playing = position_ms < duration_ms and draw(st.booleans())
    if not playing:
        finished = position_ms == duration_ms or draw(st.booleans())
    state = make_state(
        duration_ms=duration_ms,
        position_ms=position_ms,
        playing=playing,
        finished=finished,
        loop=loop,
        rate=draw(rates),
        revision=draw(counters),
        heard_ms=draw(inside),
        heard_at_ms=NOW_MS + draw(st.integers(-DURATION_MAX_MS, 0)),
        listened=union([], draw(st.lists(st.tuples(inside, inside), max_size=4))),
        mode=draw(st.sampled_from(["handoff", "together"])),
        moved=(7, draw(counters)),
        sleep_at_ms=draw(st.none() | st.integers(NOW_MS, NOW_MS + 400_000)),
        active_device_id=draw(st.sampled_from([*DEVICES, REST_DEVICE_ID, None])),
        report_seqs=draw(st.sampled_from([(), (("phone", 10),), (("desk", 3), ("phone", 20))])),
    )
    if playing and draw(st.booleans()):
        since_ms = NOW_MS + draw(st.integers(0, 400_000))
        state = replace(state, absent_since_ms=since_ms, absent_until_ms=since_ms + draw(st.integers(0, 90_000)))
    return replace(state, **fields)


def broken_rules(state: SessionState, now_ms: int) -> list[str]:
    """Which of the rules that hold of every session this one breaks; none, unless something is wrong."""
    loop, place_ms = state.loop, position_at(state, now_ms)
    bounds_ms = (0, state.duration_ms)
    rules = {
        "the position is inside the script": bounds_ms[0] <= place_ms <= bounds_ms[1],
        "so is its anchor": bounds_ms[0] <= state.position_ms <= bounds_ms[1],
        "what was heard last is inside the script": bounds_ms[0] <= state.heard_ms <= bounds_ms[1],
        "an enabled loop lies ahead of the playhead or around it": state.enabled_loop is None
        or place_ms < state.enabled_loop.end_ms,
        "a loop lies inside the script": loop is None or 0 <= loop.start_ms < loop.end_ms <= state.duration_ms,
        "a loop has its shortest length": loop is None or loop.length_ms >= LOOP_LENGTH_MIN_MS,
        "what plays has neither ended nor finished": not state.playing or not (state.ended_at_ms or state.finished),
        "the rate can be played": RATE_MIN <= state.rate <= RATE_MAX,
        "anchors are not in the future": state.anchored_at_ms <= now_ms,
        "times are not negative": state.heard_at_ms >= 0,
        "what was listened to is inside the script": all(
            0 <= start_ms < end_ms <= state.duration_ms for start_ms, end_ms in state.listened
        ),
        "what was listened to is sorted and apart": all(
            end_ms < next_ms for (_, end_ms), (next_ms, _) in pairwise(state.listened)
        ),
        "only a playing session waits for a device": state.playing or state.absent_until_ms is None,
        "an absence has a beginning and an end": (state.absent_since_ms is None) is (state.absent_until_ms is None),
        "only a loop can be slept at the end of": state.enabled_loop is not None or not state.sleep_at_end_of_loop,
        "what was played lies in slots, each once": len(dict(state.played_slots)) == len(state.played_slots),
        "each device is counted once": len(dict(state.report_seqs)) == len(state.report_seqs),
    }
    return [rule for rule, holds in rules.items() if not holds]
