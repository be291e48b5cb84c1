"""What the active device says of its sound, and when it is believed (rule 3 of the design).

A place is true when it lies between the last anchored place - 2 s and the formula's place + 2 s: behind the formula
is a stall, not a jump back. With a loop on, any place in it is true. Anything else moves nothing: `conflict`.
A true report re-anchors the playhead only where it differs from the formula by more than 250 ms. One that comes before
an anchor that lies ahead is taken for a sign of life, and no more.

A report that says when its place was measured is judged, credited and anchored as of then; one that does not, as of
now. Handled 800 ms late it would else move the playhead back by 800 ms, away from a sound that was never behind.

    then = the time that it names, not before the anchor, the last report or 10 s ago, and not after now

So it gains nothing: a place within 2 s of the formula then has run on, at the same rate, to within 2 s of it now, and
not to before the anchored place - 2 s; and as `heard_at_ms` does not go back, what is credited from report to report
adds up to no more than the time that passed. It loses nothing either: what only a wrong clock can say counts as of now,
which is a time to come, one more than 2 s before it can be, and one at which the place was not true.
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
REPORT_AGE_MS_MAX = 10_000
"""How late a report may be handled; one that is up to 2 s later counts as so old."""
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


def measured_ms(state: SessionState, report: Report, now_ms: int) -> int:
    """The server time as of which a report counts: when its place was measured, as far as that can be."""
    if report.at_ms is None:
        return now_ms
    earliest_ms = max(state.anchored_at_ms, state.heard_at_ms, now_ms - REPORT_AGE_MS_MAX)
    if report.at_ms < earliest_ms - TRUE_PLACE_TOLERANCE_MS:
        return now_ms
    then_ms = min(max(report.at_ms, earliest_ms), now_ms)
    return now_ms if true_place_ms(state, report.position_ms, then_ms) is None else then_ms


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
    if (refusal := _refusal(state, report, origin)) is not None:
        return _conflict(state, report, refusal)
    if _ahead(state, report, now_ms):
        return _before_anchor(state, report, origin)
    at_ms = measured_ms(state, report, now_ms)
    place_ms = true_place_ms(state, report.position_ms, at_ms)
    if place_ms is None:
        return _conflict(
            state, report, "The reported place is neither where the session was nor where it can be by now."
        )
    return replace(
        _moved(heard_up_to(state, place_ms, at_ms), place_ms, at_ms),
        absent_since_ms=None,
        absent_until_ms=None,
        active_connection_id=origin.connection_id or state.active_connection_id,
        report_seqs=_numbered(state, report, origin),
    )


def _ahead(state: SessionState, report: Report, now_ms: int) -> bool:
    """Whether the anchor lies ahead, as `together` puts it, or did when the place was measured.

    Elsewhere the clock of who looks is a little behind; and one that is far behind is no reason.
    """
    if state.mode != "together" or not state.playing:
        return False
    before_ms = 0 if report.at_ms is None else state.anchored_at_ms - report.at_ms
    return now_ms < state.anchored_at_ms or 0 < before_ms <= TRUE_PLACE_TOLERANCE_MS


def _before_anchor(state: SessionState, report: Report, origin: Origin) -> SessionState:
    """Until then a device goes on as before: where it is says nothing of the state."""
    return replace(state, report_seqs=_numbered(state, report, origin))


def _moved(state: SessionState, place_ms: int, at_ms: int) -> SessionState:
    """The playhead where the report says, if that is worth a revision; stopped, if it has run into the end."""
    if apart_ms(state, place_ms, position_at(state, at_ms)) > REANCHOR_MS:
        at_end = place_ms >= state.duration_ms
        return replace(
            state, position_ms=place_ms, anchored_at_ms=at_ms, playing=state.playing and not at_end, finished=at_end
        )
    return settled(state, at_ms)


def apart_ms(state: SessionState, one_ms: int, other_ms: int) -> int:
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
    if _ahead(state, report, now_ms):
        return _before_anchor(state, report, origin)
    at_ms = measured_ms(state, report, now_ms)
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
    heard = credited(state, way, total_ms(union((), way)), at_ms)
    after = _moved(_left_loop(heard, place_ms), place_ms, at_ms)
    if report.rate is not None and report.rate != state.rate:
        after = replace(after, position_ms=place_ms, anchored_at_ms=at_ms, rate=report.rate)
    return replace(
        after,
        heard_ms=place_ms,
        heard_at_ms=at_ms,
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
