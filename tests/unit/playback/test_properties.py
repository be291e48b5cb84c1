"""What holds of every session and every command, whatever they are."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from playhead.playback.commands import Command, Origin, Play, Renew, Report
from playhead.playback.listened import HEARD_TOLERANCE_MS, total_ms
from playhead.playback.reducer import Decision, reduce
from playhead.playback.rejections import Rejection
from playhead.playback.reports import true_place_ms
from playhead.playback.state import Media, SessionState, position_at, settled
from playhead.sessions.codec import state_payload
from tests.support.states import NOW_MS
from tests.unit.playback.inventing import CONNECTED, broken_rules, commands, medias, origins, places, sessions

moments = st.integers(NOW_MS, NOW_MS + 500_000)


@given(sessions(), st.integers(NOW_MS - 10_000, NOW_MS + 5_000_000))
def test_the_position_is_always_inside_the_script(state: SessionState, now_ms: int) -> None:
    assert 0 <= position_at(state, now_ms) <= state.duration_ms


@given(sessions(), moments)
def test_a_playhead_inside_its_loop_never_gets_out(state: SessionState, now_ms: int) -> None:
    loop = state.enabled_loop
    if loop is not None and loop.start_ms <= state.position_ms:
        assert loop.start_ms <= position_at(state, now_ms) < loop.end_ms


@given(sessions(), moments, st.integers(0, 100_000))
def test_settling_moves_no_playhead(state: SessionState, now_ms: int, later_ms: int) -> None:
    assert position_at(settled(state, now_ms), now_ms + later_ms) == position_at(state, now_ms + later_ms)


@given(sessions(), moments, places)
def test_a_place_that_is_believed_is_where_a_playhead_may_be(state: SessionState, now_ms: int, place_ms: int) -> None:
    believed_ms = true_place_ms(state, place_ms, now_ms)
    if believed_ms is not None:
        assert not broken_rules(replace(state, position_ms=believed_ms, anchored_at_ms=now_ms), now_ms)


@given(sessions(), commands, origins, moments, medias)
def test_every_command_keeps_the_rules(
    state: SessionState, command: Command, origin: Origin, now_ms: int, media: Media | None
) -> None:
    assert not broken_rules(state, now_ms)
    answer = reduce(state, command, origin, now_ms=now_ms, connected=CONNECTED, media=media)
    if isinstance(answer, Decision):
        assert not broken_rules(answer.state, now_ms)
        assert not broken_rules(answer.state, now_ms + 1_000_000)


@given(sessions(), st.sampled_from([Renew(), Play()]), origins, moments, st.integers(-3, 3))
def test_a_file_that_ends_where_the_playhead_is_keeps_the_rules(
    state: SessionState, command: Command, origin: Origin, now_ms: int, further_ms: int
) -> None:
    media = Media(version="f" * 16, duration_ms=max(1, position_at(state, now_ms) + further_ms))
    answer = reduce(state, command, origin, now_ms=now_ms, connected=CONNECTED, media=media)
    assert isinstance(answer, Decision)
    assert not broken_rules(answer.state, now_ms)


def _seen(state: SessionState) -> object:
    """What a device sees of a session, but for its number."""
    return {**state_payload(state), "revision": None, "finished": state.finished}


@given(sessions(), commands, origins, moments)
def test_the_revision_counts_what_devices_see_and_the_version_every_write(
    state: SessionState, command: Command, origin: Origin, now_ms: int
) -> None:
    answer = reduce(state, command, origin, now_ms=now_ms, connected=CONNECTED)
    if not isinstance(answer, Decision):
        return
    after, changed = answer.state, _seen(answer.state) != _seen(state)
    assert answer.published is changed
    assert after.revision == state.revision + changed
    assert after.version == state.version + answer.written
    assert answer.written or after is state
    assert (after.epoch, after.session_id, after.listener_id) == (state.epoch, state.session_id, state.listener_id)


@given(sessions(), commands, origins, moments)
def test_a_refusal_tells_the_state_as_it_is(state: SessionState, command: Command, origin: Origin, now_ms: int) -> None:
    answer = reduce(state, command, origin, now_ms=now_ms, connected=CONNECTED)
    if isinstance(answer, Rejection):
        assert answer.state in (state, settled(state, now_ms))


reports = st.builds(Report, position_ms=places, revision=st.none() | st.integers(0, 30), seq=st.integers(0, 30))


@given(sessions(), reports, origins, moments, st.integers(0, 100_000))
def test_a_report_that_is_sent_again_changes_nothing(
    state: SessionState, report: Report, origin: Origin, now_ms: int, later_ms: int
) -> None:
    first = reduce(state, report, origin, now_ms=now_ms, connected=CONNECTED)
    if isinstance(first, Decision):
        again = reduce(first.state, report, origin, now_ms=now_ms + later_ms, connected=CONNECTED)
        assert isinstance(again, Decision) and again.state is first.state and not again.written


@given(sessions(active_device_id="phone"), places, moments)
def test_a_report_is_credited_what_can_have_run_and_two_seconds(
    state: SessionState, place_ms: int, now_ms: int
) -> None:
    report = Report(position_ms=place_ms, revision=state.revision)
    answer = reduce(state, report, Origin(device_id="phone"), now_ms=now_ms, connected=CONNECTED)
    if isinstance(answer, Decision):
        ran_ms = (now_ms - state.heard_at_ms) * state.rate
        assert total_ms(answer.state.listened) - total_ms(state.listened) <= ran_ms + HEARD_TOLERANCE_MS + 1
