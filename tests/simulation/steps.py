"""Oracles of every single commit: order, place, history, listened time. What is judged is what the store has taken."""

from collections.abc import Callable
from itertools import pairwise

from msgspec.structs import replace

from playhead.playback.commands import (
    Due,
    End,
    Leave,
    Lost,
    Offline,
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
from playhead.playback.state import SessionState
from playhead.sessions.store import Change
from tests.simulation import model
from tests.simulation.record import Commit, Step

Fail = Callable[[str, str], None]
REPEAT_WINDOW_MS = 10 * 60 * 1000
ANSWERS_KEPT = 128
ROUNDING_MS = 2


def judge_commit(commit: Commit, current: SessionState | None, change: Change, epoch: int, fail: Fail) -> None:
    """`current`: the session as the store had it before."""
    step = commit.step
    if not change.written:
        if current is None or current.version != change.expected_version:
            fail("rule 2", f"something was kept beside a state that it was not decided on: {current}")
        return
    if step is None:
        _judge_taken_over(commit, epoch, fail)
        return
    _judge_race(step, current, change, fail)
    _judge_order(step, epoch, fail)
    _judge_bounds(commit.after, fail)
    _judge_listened(step, fail)
    _judge_place(commit, step, fail)
    _judge_absence(step, fail)


def _judge_taken_over(commit: Commit, epoch: int, fail: Fail) -> None:
    """Rule 2: into a new epoch a session goes as it was; one that the store had lost may be paused for it."""
    before, after, parent = commit.before, commit.after, commit.parent
    # what only a flusher had in hand when the store lost it may come to its row too late
    late = parent is not None and parent.lost is not None and not parent.covered
    same = before is not None and _looks(before) == _looks(after)
    if before is None or (same and after.epoch == before.epoch == epoch):
        fail("rule 2", f"a state that nobody decided was stored: {after}, after {before}")
    elif after.epoch != epoch:
        fail("rule 1", f"{before} was taken over as {after} into epoch {epoch}")
    elif after.version <= before.version and late:
        return
    elif after.version <= before.version:
        fail("rule 2", f"{before} was lost when {after} was taken over")
    elif not same and (not before.playing or after.playing or after.revision != before.revision + 1):
        # all that may become of it is that it is paused, where another session sounds on its device
        fail("rule 3", f"{before} was changed when it was taken over: {after}")


def _judge_race(step: Step, current: SessionState | None, change: Change, fail: Fail) -> None:
    """Rule 2: nothing is overwritten that the decision has not seen."""
    before = step.before
    if change.expected_version is None:
        if current is not None:
            fail("rule 2", f"a session was begun over another one: {current}")
        return
    if current is None:
        fail("rule 2", f"a commit expected version {change.expected_version} of a session that is not there")
        return
    same = (before.revision, before.version) == (current.revision, current.version)
    row_wins = (before.order, before.version) > (current.order, current.version)
    if not same and not row_wins:
        fail("rule 2", f"a change that the decision had not seen was overwritten: {current} by one made of {before}")


def _judge_order(step: Step, epoch: int, fail: Fail) -> None:
    """Rule 1: a state that looks different has a higher order; nothing else has."""
    before, after = step.before, step.decision.state
    if after.epoch != epoch:
        fail("rule 1", f"a state of epoch {after.epoch} was committed in epoch {epoch}")
    if after.version != before.version + 1 or after.revision not in (before.revision, before.revision + 1):
        fail("rule 1", f"numbers jump from {before.revision}/{before.version} to {after.revision}/{after.version}")
    if _looks(before) != _looks(after) and after.revision == before.revision:
        fail("rule 1", f"two states look different at one revision: {before} and {after}")
    if before.ended_at_ms is not None:
        fail("rule 2", f"an ended session was changed: {after}")


def _looks(state: SessionState) -> tuple[object, ...]:
    return (
        state.playing,
        state.position_ms,
        state.anchored_at_ms,
        state.rate,
        state.loop,
        state.mode,
        state.active_device_id,
        state.sleep_at_ms,
        state.sleep_at_end_of_loop,
        state.ended_at_ms,
    )


def _judge_bounds(state: SessionState, fail: Fail) -> None:
    inside = 0 <= state.position_ms <= state.duration_ms and 0 <= state.heard_ms <= state.duration_ms
    loop = state.loop
    if loop is not None:
        inside = inside and 0 <= loop.start_ms < loop.end_ms <= state.duration_ms
        inside = inside and loop.end_ms - loop.start_ms >= 250
    if not inside or not 0.25 <= state.rate <= 4:
        fail("rule 3", f"a state is out of bounds: {state}")


def _judge_place(commit: Commit, step: Step, fail: Fail) -> None:
    """Rule 3: the place moves only as the command may move it, and a jump is in the history."""
    before, after, now_ms = step.before, commit.after, step.now_ms
    # where both are anchored ahead, they are compared at the anchor
    at_ms = max(now_ms, after.anchored_at_ms) if after.playing else now_ms
    allowed = _places(step, at_ms)
    found_ms = model.place_at(after, at_ms)
    if allowed is None:
        fail("rule 3", f"{step.command} of {step.origin.device_id} was believed, on {before} at {now_ms}")
        return
    if not any(model.apart_ms(after, found_ms, place_ms) <= slack_ms for place_ms, slack_ms in allowed):
        fail(
            "rule 3",
            f"{step.command} of {step.origin.device_id} moved the place to {found_ms}, allowed: {allowed}"
            f", from {before} to {after} at {now_ms}",
        )
    _judge_history(commit, step, at_ms, found_ms, fail)


def _places(step: Step, at_ms: int) -> list[tuple[int, int]] | None:
    """Where the playhead may be after the step, each with its slack; None: the step must not have been accepted."""
    before, now_ms = step.before, step.now_ms
    stays = [(model.place_at(before, at_ms), ROUNDING_MS), (model.place_at(before, now_ms), ROUNDING_MS)]
    stays += [(place_ms, ROUNDING_MS) for place_ms in _last_heard_places(step, at_ms)]
    match step.command:
        case Report() as report:
            return _report_places(step, report, stays)
        case Seek(position_ms=place_ms) | Restore(position_ms=place_ms):
            return [(place_ms, 0)]
        case Pause(position_ms=place_ms):
            heard = place_ms is not None and step.origin.device_id == before.active_device_id and before.playing
            true = heard and model.believable(before, place_ms or 0, now_ms)
            return _told(before, place_ms or 0) if true else stays
        case Play(position_ms=place_ms):
            if place_ms is not None:
                return [(place_ms, 0)]
            return [*stays, *([(0, 0)] if before.finished or stays[1][0] >= before.duration_ms else [])]
        case Offline() as batch:
            return [(batch.position_ms, 0)] if _may_move(step, batch) and step.decision.refusal is None else stays
        case SetLoop(start_ms=start_ms, end_ms=end_ms, enabled=True) if stays[1][0] >= end_ms:
            return [*stays, (start_ms, 0)]
        case Due():
            return [*stays, *_due_places(before)]
        case SetLoop() | SetRate() | SetMode() | SetSleep() | Transfer() | Leave() | End() | Lost() | Renew():
            return stays


def _may_move(step: Step, batch: Offline) -> bool:
    """Whether the end of a batch may become the place: not where another device is, or was, after its base."""
    before = step.before
    if batch.base is None:
        return True
    if before.active_device_id is not None and before.active_device_id != step.origin.device_id:
        return not before.playing and batch.base >= before.moved and batch.base[1] >= before.revision
    return batch.base >= before.moved


def _last_heard_places(step: Step, at_ms: int) -> list[int]:
    """Where the sound was when its device was last heard of, and where another rate or loop leads from there.

    So it is for every other device, as long as nobody has noticed that it is back.
    """
    before, after = step.before, step.decision.state
    since_ms = before.absent_since_ms
    if since_ms is None or before.mode == "together" or step.origin.device_id == before.active_device_id:
        return []
    place_ms = model.place_at(before, since_ms)
    anchor_ms = max(since_ms, before.anchored_at_ms)
    changed = replace(before, position_ms=place_ms, anchored_at_ms=anchor_ms, rate=after.rate, loop=after.loop)
    return [place_ms, model.place_at(changed, at_ms)]


def _report_places(step: Step, report: Report, stays: list[tuple[int, int]]) -> list[tuple[int, int]] | None:
    before, device_id = step.before, step.origin.device_id
    if report.seq is not None and report.seq <= dict(before.report_seqs).get(device_id, -1):
        return stays
    ahead = before.mode == "together" and before.playing and step.now_ms < before.anchored_at_ms
    if report.revision is None and ahead:
        return stays
    if report.revision is None:
        in_loop = model.in_loop(before, report.position_ms)
        loop = before.loop
        heard_ms = min(before.heard_ms, loop.start_ms) if loop is not None and loop.enabled else before.heard_ms
        latest_ms = max(before.position_ms, heard_ms)
        if not in_loop and report.position_ms < latest_ms - model.TRUE_MS:
            return None
        # a little back is jitter, and leads nowhere
        held = [] if in_loop or report.position_ms >= latest_ms else [*stays, (latest_ms, model.REANCHOR_MS)]
        return [(report.position_ms, model.REANCHOR_MS), *held]
    if device_id != before.active_device_id or report.revision != before.revision:
        return None
    if ahead:
        return stays
    early = report.at_ms is not None and before.mode == "together" and report.at_ms < before.anchored_at_ms
    true = model.believable(before, report.position_ms, step.now_ms)
    if not true:
        return stays if early else None
    told = [place_ms for place_ms, _ in _told(before, report.position_ms)]
    told += [_by_now(step, report, place_ms) for place_ms in told]
    return [*(stays if early else []), *((place_ms, model.REANCHOR_MS + ROUNDING_MS) for place_ms in told)]


def _by_now(step: Step, report: Report, place_ms: int) -> int:
    """Where a sound has come by now that was there when the report says so."""
    before, now_ms = step.before, step.now_ms
    told_ms = now_ms if report.at_ms is None else report.at_ms
    at_ms = min(now_ms, max(told_ms, now_ms - model.LATE_MS, before.anchored_at_ms, before.heard_at_ms))
    return model.place_at(replace(before, position_ms=place_ms, anchored_at_ms=at_ms), now_ms)


def _told(before: SessionState, place_ms: int) -> list[tuple[int, int]]:
    """A place that is true; behind the end of a loop it is told as the place in it."""
    loop = before.loop
    if loop is not None and loop.enabled and loop.end_ms <= place_ms <= loop.end_ms + model.TRUE_MS:
        return [(loop.start_ms + (place_ms - loop.end_ms) % (loop.end_ms - loop.start_ms), 0), (place_ms, 0)]
    return [(place_ms, 0)]


def _due_places(before: SessionState) -> list[tuple[int, int]]:
    """Where the server stops the sound by itself."""
    moments = [before.sleep_at_ms, before.absent_since_ms]
    places = [(model.place_at(before, moment), ROUNDING_MS) for moment in moments if moment is not None]
    if before.loop is not None and before.sleep_at_end_of_loop:
        # a whole ms of server time is up to four of audio
        places += [(before.loop.start_ms, 4 + ROUNDING_MS), (before.loop.end_ms, 4 + ROUNDING_MS)]
    return places


def _judge_history(commit: Commit, step: Step, at_ms: int, found_ms: int, fail: Fail) -> None:
    """A jump that a device makes has an entry, from where it was to where it is."""
    command = step.command
    if isinstance(command, Report | Due | Lost | Pause) or step.before.version == 0:
        return
    left_ms = model.place_at(step.before, at_ms)
    if command.__class__ is Play and not step.before.playing and command.position_ms is None and found_ms == left_ms:
        return
    heard = _last_heard_places(step, at_ms)
    places = [left_ms, model.place_at(step.before, step.now_ms), *heard]
    if isinstance(command, Seek) and command.from_ms is not None:
        # where the listener was is what they heard, if that is true
        places.append(command.from_ms)
    jumped = all(model.apart_ms(step.before, place_ms, found_ms) > ROUNDING_MS for place_ms in places)
    if not jumped and not isinstance(command, Transfer | End):
        return
    entry = commit.entry
    if entry is None:
        if jumped:
            fail("rule 3", f"a jump from {left_ms} to {found_ms} by {command} is not in the history")
        return
    near = isinstance(command, Seek) and command.from_ms is not None
    if entry.to_ms != commit.after.position_ms and not entry.refused:
        fail("rule 3", f"the history says {entry}, and the place is {commit.after.position_ms}")
    apart_ms = min(model.apart_ms(step.before, entry.from_ms, place_ms) for place_ms in (left_ms, *heard))
    if not near and not entry.refused and apart_ms > _slack_ms(step, at_ms):
        fail("rule 3", f"the history says {entry}, and the place left was {left_ms}")


def _slack_ms(step: Step, at_ms: int) -> int:
    """What the sound runs on until an anchor that lies ahead."""
    return ROUNDING_MS + round(4 * max(0, at_ms - step.now_ms))


def _judge_absence(step: Step, fail: Fail) -> None:
    """Rule 2: a device that is given up was there when it reported; what it said then was acknowledged."""
    before, since_ms = step.before, step.decision.state.absent_since_ms
    if since_ms is not None and since_ms != before.absent_since_ms and since_ms < min(step.now_ms, before.heard_at_ms):
        fail("rule 2", f"{step.command} takes back what was reported at {before.heard_at_ms}: away since {since_ms}")


_TOLD = ("listened", "played_ms", "heard_ms", "heard_at_ms", "position_ms", "anchored_at_ms", "playing")
"""What a report can change."""


def _judge_listened(step: Step, fail: Fail) -> None:
    """Rule 4: nothing is taken back, and no more is credited than the time allows."""
    before, after = step.before, step.decision.state
    lost = model.outside(before.listened, model.union(after.listened))
    if lost:
        fail("rule 4", f"listened time was taken back: {lost}")
    heard_ms = model.total_ms(after.listened) - model.total_ms(before.listened)
    played_ms = after.played_ms - before.played_ms
    until_ms = step.now_ms if before.playing else min(step.now_ms, before.anchored_at_ms)
    ran_ms = round(max(0, until_ms - before.heard_at_ms) * before.rate)
    if isinstance(step.command, Report) and step.command.seq is not None:
        known = dict(before.report_seqs).get(step.origin.device_id, -1)
        # that it comes at all is a sign of life, and ends an absence
        told = any(getattr(before, name) != getattr(after, name) for name in _TOLD)
        if step.command.seq <= known and told:
            fail("rule 4", f"{step.command} of {step.origin.device_id} was taken, and number {known} before")
    match step.command:
        case Offline(intervals=intervals):
            if heard_ms > model.total_ms(model.union(intervals)) or played_ms > max(0, heard_ms):
                fail("rule 4", f"a batch credited {heard_ms} and {played_ms} for {intervals}")
        case Report(revision=None):
            if played_ms > ran_ms:
                fail("rule 4", f"{played_ms} ms were played in {ran_ms}")
        case _:
            if heard_ms > ran_ms + model.HEARD_MS or played_ms > ran_ms or played_ms < 0:
                fail("rule 4", f"{step.command} credited {heard_ms} and {played_ms} ms where {ran_ms} can have run")


def judge_once(commits: list[Commit], fail: Fail) -> None:
    """Rule 4: of the changes under one `command_id`, all but the last have been lost by the store.

    Two nodes may both find that there is nothing to change, and both say so.
    """
    commits = [commit for commit in commits if commit.written]
    for earlier, later in pairwise(commits):
        kept = (later.at_us - earlier.at_us) / 1000 < REPEAT_WINDOW_MS and later.index - earlier.index < ANSWERS_KEPT
        if earlier.lost is None and kept:
            fail("rule 4", f"a command was applied twice: {earlier.key} and {later.key} under {later.command_id}")
