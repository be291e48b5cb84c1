"""What the active device says of its sound, and when it is believed (rule 3 of the design).

A place is true when it lies between the last anchored place - 2 s and the formula's place + 2 s: behind the formula
is a stall, not a jump back. With a loop on, any place in it is true. Anything else moves nothing: `conflict`.
A true report re-anchors the playhead only where it differs from the formula by more than 250 ms.
"""

import math

from msgspec.structs import replace

from playhead.playback.commands import RATE_MAX, RATE_MIN, Origin, Report
from playhead.playback.listened import total_ms, union
from playhead.playback.played import credited, heard_up_to
from playhead.playback.rejections import Code, Rejection
from playhead.playback.state import Interval, SessionState, position_at, settled

TRUE_PLACE_TOLERANCE_MS = 2_000
REANCHOR_MS = 250
REPORTING_DEVICES_MAX = 16
"""Devices whose last report number is remembered; the one that reported longest ago is forgotten first."""


def out_of_bounds(state: SessionState, position_ms: int) -> Rejection | None:
    """The refusal of a place outside the script, None for one inside."""
    if 0 <= position_ms <= state.duration_ms:
        return None
    detail = f"The place must lie between 0 and {state.duration_ms / 1000:g} seconds."
    return Rejection(code=Code.OUT_OF_BOUNDS, state=state, detail=detail)


def rate_refusal(state: SessionState, rate: float) -> Rejection | None:
    """The refusal of a rate that no device can play, None for one that all can."""
    if math.isfinite(rate) and RATE_MIN <= rate <= RATE_MAX:
        return None
    detail = f"The rate must lie between {RATE_MIN:g} and {RATE_MAX:g}."
    return Rejection(code=Code.OUT_OF_BOUNDS, state=state, detail=detail)


def true_place_ms(state: SessionState, reported_ms: int, now_ms: int) -> int | None:
    """The place that the active device may claim at `now_ms`, folded into an enabled loop; None: not believed."""
    if not 0 <= reported_ms <= state.duration_ms:
        return None
    loop = state.enabled_loop
    if loop is not None and loop.start_ms <= reported_ms < loop.end_ms:
        return reported_ms
    if loop is not None and loop.end_ms <= reported_ms <= loop.end_ms + TRUE_PLACE_TOLERANCE_MS:
        return loop.start_ms + (reported_ms - loop.end_ms) % loop.length_ms
    earliest_ms = state.position_ms - TRUE_PLACE_TOLERANCE_MS
    latest_ms = position_at(state, now_ms) + TRUE_PLACE_TOLERANCE_MS
    return reported_ms if earliest_ms <= reported_ms <= latest_ms else None


def reduce_report(state: SessionState, report: Report, origin: Origin, now_ms: int) -> SessionState | Rejection:
    """The session after a report: as `reduce`, which numbers it."""
    if refused := out_of_bounds(state, report.position_ms):
        return refused
    if report.rate is not None and (refused := rate_refusal(state, report.rate)):
        return refused
    if _repeated(state, report, origin):
        return state
    if report.revision is None:
        return _plain_report(state, report, origin, now_ms)
    refusal = _refusal(state, report, origin)
    place_ms = true_place_ms(state, report.position_ms, now_ms)
    if refusal is not None or place_ms is None:
        return _conflict(
            state, report, refusal or "The reported place is neither where the session was nor where it can be by now."
        )
    return replace(
        _moved(heard_up_to(state, place_ms, now_ms), place_ms, now_ms),
        absent_since_ms=None,
        absent_until_ms=None,
        active_connection_id=origin.connection_id or state.active_connection_id,
        report_seqs=_numbered(state, report, origin),
    )


def _moved(state: SessionState, place_ms: int, now_ms: int) -> SessionState:
    """The playhead where the report says, if that is worth a revision; stopped, if it has run into the end."""
    if _apart_ms(state, place_ms, position_at(state, now_ms)) > REANCHOR_MS:
        at_end = place_ms >= state.duration_ms
        return replace(
            state, position_ms=place_ms, anchored_at_ms=now_ms, playing=state.playing and not at_end, finished=at_end
        )
    return settled(state, now_ms)


def _apart_ms(state: SessionState, one_ms: int, other_ms: int) -> int:
    """How far two places are from each other; inside an enabled loop the shorter way round."""
    direct_ms = abs(one_ms - other_ms)
    loop = state.enabled_loop
    if loop is None or not all(loop.start_ms <= place_ms < loop.end_ms for place_ms in (one_ms, other_ms)):
        return direct_ms
    return min(direct_ms, loop.length_ms - direct_ms)


def _plain_report(state: SessionState, report: Report, origin: Origin, now_ms: int) -> SessionState | Rejection:
    """A report without a revision, from an app that knows nothing but REST: taken when it goes forward."""
    if state.active_device_id is not None and origin.device_id != state.active_device_id:
        return _conflict(state, report, "Another device is playing this session.")
    loop = state.enabled_loop
    # in a loop the way leads back to its start, and no further
    heard_ms = state.heard_ms if loop is None else min(state.heard_ms, loop.start_ms)
    latest_ms = max(state.position_ms, heard_ms)
    in_loop = loop is not None and loop.start_ms <= report.position_ms < loop.end_ms
    if not in_loop and report.position_ms < latest_ms - TRUE_PLACE_TOLERANCE_MS:
        return _conflict(state, report, "The reported place lies behind the session's; send `seek` to go back.")
    # a little back is jitter: it is taken, but however often it comes, it leads nowhere
    place_ms = report.position_ms if in_loop else max(report.position_ms, latest_ms)
    way = _way_forward(state, place_ms)
    heard = credited(state, way, total_ms(union((), way)), now_ms)
    after = _moved(_left_loop(heard, place_ms), place_ms, now_ms)
    if report.rate is not None and report.rate != state.rate:
        after = replace(after, position_ms=place_ms, anchored_at_ms=now_ms, rate=report.rate)
    return replace(
        after,
        heard_ms=place_ms,
        heard_at_ms=now_ms,
        report_seqs=_numbered(state, report, origin),
    )


def _way_forward(state: SessionState, place_ms: int) -> tuple[Interval, ...]:
    """What lies between the last place and `place_ms`, over the loop's end where the way leads back into the loop."""
    loop = state.enabled_loop
    back_ms = state.heard_ms - place_ms
    if (
        loop is None
        or back_ms <= TRUE_PLACE_TOLERANCE_MS
        or not loop.start_ms <= place_ms < state.heard_ms < loop.end_ms
    ):
        return ((state.heard_ms, place_ms),)
    return ((state.heard_ms, loop.end_ms), (loop.start_ms, place_ms))


def _left_loop(state: SessionState, place_ms: int) -> SessionState:
    """`state` with its loop switched off if `place_ms` lies behind it: whoever reports that plays on past its end."""
    loop = state.enabled_loop
    if loop is None or place_ms < loop.end_ms:
        return state
    return replace(state, loop=replace(loop, enabled=False))


def _refusal(state: SessionState, report: Report, origin: Origin) -> str | None:
    if origin.device_id != state.active_device_id:
        return "Another device is playing this session."
    if report.revision != state.revision:
        return f"The report belongs to revision {report.revision}; the session is at {state.revision}."
    return None


def _conflict(state: SessionState, report: Report, detail: str) -> Rejection:
    return Rejection(code=Code.CONFLICT, state=state, reported_ms=report.position_ms, detail=detail)


def _repeated(state: SessionState, report: Report, origin: Origin) -> bool:
    """Whether this device's report, or a later one, was taken before."""
    return report.seq is not None and report.seq <= dict(state.report_seqs).get(origin.device_id, -1)


def _numbered(state: SessionState, report: Report, origin: Origin) -> tuple[tuple[str, int], ...]:
    if report.seq is None:
        return state.report_seqs
    others = tuple(row for row in state.report_seqs if row[0] != origin.device_id)
    return (*others, (origin.device_id, report.seq))[-REPORTING_DEVICES_MAX:]
