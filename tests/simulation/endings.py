"""Oracles of what must hold in the end: convergence, what was acked, deadlines, listened time, what ends by itself."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from msgspec.structs import replace

from playhead.playback.commands import REST_DEVICE_ID, Offline, Pause, Report, Seek
from playhead.playback.deadlines import IDLE_END_MS
from playhead.playback.history import CONFLICTS_MAX, MOVES_MAX
from playhead.playback.state import SessionState
from playhead.sessions.codec import state_payload
from tests.simulation import model
from tests.simulation.record import Commit, Record

if TYPE_CHECKING:
    from tests.simulation.device import Device
    from tests.simulation.world import World

OVERDUE_MS = 15_000


def latest_states(world: "World") -> dict[str, SessionState]:
    """Every session as it is now: the store's state, its row where that is later or all there is."""
    found = dict(world.rows.sessions)
    for session_id, state in world.valkey.sessions().items():
        row = found.get(session_id)
        if row is None or (state.order, state.version) >= (row.order, row.version):
            found[session_id] = state
    return found


def sounding_twice(world: "World", listener_id: str) -> list[SessionState]:
    """Sessions of the listener that sound on one device.

    What only a row has sounds nowhere until it is brought back. Nor does what the store has from an earlier life, while
    it could not be compared with its row: whoever takes it over will find what sounds by then, and is judged for it.
    """
    epoch, here = world.valkey.epoch, world.valkey.sessions()
    ids = [state.session_id for state in here.values() if state.listener_id == listener_id and state.epoch == epoch]
    if len(ids) < 2:
        return []
    rows = latest_states(world)
    mine = [rows[session_id] for session_id in ids]
    sounding = [row for row in mine if row.playing and not row.ended_at_ms]
    speakers = [row.active_device_id for row in sounding]
    return [row for row in sounding if speakers.count(row.active_device_id) > 1]


# rule 1


def apart(world: "World") -> str | None:
    """What is not yet the same everywhere; None when everything is."""
    if world.valkey.waiting():
        return "the journal is not empty"
    for device in world.devices:
        same = [other for other in world.devices if other.listener_id == device.listener_id]
        if not device.connected and sum(other.connected for other in same) >= world.plan.connections_max:
            # it is told so, and asks again and again
            continue
        if not device.connected or device.pressed or not device.talk._joins.ready:
            return f"{device.device_id} is not connected and joined, or waits for {list(device.pressed)}"
        if device.link is None or device.link.connection_id not in world.valkey.held_connections():
            return f"{device.device_id} is connected, and the store does not know it"
    for session_id, state in world.valkey.sessions().items():
        row = world.rows.sessions.get(session_id)
        if row is None or _behind(row, state):
            return f"the store has {state}, and PostgreSQL {row}"
    if world.now_ms < world.quiet_at_ms + OVERDUE_MS and any(_missed(world)):
        # whoever tried it while things went wrong tries again after a while
        return "a deadline is not met"
    return next((text for device in world.devices if (text := _device_apart(world, device)) is not None), None)


def _behind(row: SessionState, state: SessionState) -> bool:
    """Whether the row is not what the store has; a store that went back may be behind its row, which then holds."""
    if (row.order, row.version) > (state.order, state.version):
        return False
    # what was listened to in a stretch that the store has lost stays in the row
    heard = not model.outside(state.listened, model.union(row.listened)) and row.played_ms >= state.played_ms
    return not heard or replace(row, epoch=state.epoch, listened=state.listened, played_ms=state.played_ms) != state


def _device_apart(world: "World", device: "Device") -> str | None:
    if not device.connected:
        return None
    here = world.valkey.sessions()
    live = {
        state.session_id: state
        for state in latest_states(world).values()
        if state.listener_id == device.listener_id
        and state.ended_at_ms is None
        # a row that nobody has touched for so long is over, though nobody was there to write it
        and (state.session_id in here or world.now_ms - state.changed_at_ms < IDLE_END_MS)
        # nor is one brought back that another session of its script has followed: the store has lost its end alone
        and (state.session_id in here or not _followed(world, state))
    }
    if (text := _devices_differ(world, device)) is not None:
        return text
    for shown in device.talk.sessions:
        if not device.talk._joins.follows(shown):
            continue
        state = live.pop(shown.session_id, None)
        if state is None:
            if not shown.ended:
                return f"{device.device_id} shows {shown} as live"
            continue
        payload = state_payload(state)
        if shown.order != state.order or model.seen_by(shown) != model.seen_of(payload):
            return f"{device.device_id} shows {shown}, and the session is {state}"
    followed = {one.script_id for one in device.talk._joins._followed}
    for state in live.values():
        if state.script_id in followed and state.session_id in world.valkey.sessions():
            return f"{device.device_id} follows {state.script_id} and does not know of {state}"
    return None


def _devices_differ(world: "World", device: "Device") -> str | None:
    """The list of devices, in the order of the store: where one is turned away at the limit again and again, it counts
    up without a difference."""
    order, device_ids = world.valkey.devices_of(device.listener_id)
    listed = device.talk._device_list
    turned_away = any(other.listener_id == device.listener_id and not other.connected for other in world.devices)
    if [row.id for row in listed.devices] != device_ids or (listed._order != order and not turned_away):
        return (
            f"{device.device_id} shows {listed.devices} of {listed._order}, and the store has {device_ids} of {order}"
        )
    return None


def _followed(world: "World", row: SessionState) -> bool:
    """Whether another session of the script began after it in the life of the store that the row is from, or in one in
    which it ended after it was taken over there.

    One begins only where none is live: the store knew then of the end that it has lost with the journal since. Where
    another begins in a later life, the row has to be brought back instead, and this excuses nothing; unless a flusher
    alone had the row in hand when the store was lost, and wrote it when the other had begun.
    """
    made_by = world.record.commit_of(row)
    late = made_by is not None and made_by.lost is not None and not made_by.covered
    commits = [commit.after for commit in world.record.commits]
    ends = {state.epoch for state in commits if state.session_id == row.session_id and state.ended_at_ms is not None}
    then = {state.session_id for state in commits if state.epoch in {row.epoch, *ends}}
    return any(
        (late or other.session_id in then)
        and other.session_id != row.session_id
        and (other.listener_id, other.script_id) == (row.listener_id, row.script_id)
        and other.started_at_ms > row.started_at_ms
        for other in latest_states(world).values()
    )


def _judge_limits(world: "World") -> None:
    """Rule 5: no listener holds more than the limit; a store that has forgotten who is there cannot count them."""
    if world.record.losses:
        return
    for listener_id in {device.listener_id for device in world.devices}:
        here = [device for device in world.devices if device.listener_id == listener_id and device.connected]
        if len(here) > world.plan.connections_max:
            world.fail("rule 5", f"{listener_id} has {len(here)} connections")


def judge_quiet(world: "World") -> None:
    for judge in (
        _judge_converged,
        _judge_limits,
        _judge_acked,
        _judge_history,
        _judge_speakers,
        _judge_deadlines,
        _judge_listened,
    ):
        if world.failure is None:
            judge(world)


def _judge_converged(world: "World") -> None:
    text = apart(world)
    if text is not None:
        world.fail("rule 1", text)


# rule 2


def _lineage(record: Record, states: dict[str, SessionState]) -> set[int]:
    """The commits that today's states are made of."""
    found: set[int] = set()
    for state in states.values():
        commit = record.commit_of(state)
        while commit is not None and commit.index not in found:
            found.add(commit.index)
            commit = commit.parent
    return found


def _judge_acked(world: "World") -> None:
    states = latest_states(world)
    lineage = _lineage(world.record, states)
    for at_us, asked, payload in world.record.acked:
        for commit in asked.commits:
            if commit.index in lineage or not commit.written:
                continue
            text = _excused(world, commit)
            if text is not None:
                world.fail("rule 2", f"{asked.event} {asked.payload}, acked at {at_us / 1e6}: {text}; {payload}")


def _excused(world: "World", commit: Commit) -> str | None:
    """Why it is wrong that the commit is not part of the session any more; None: the store may have lost it."""
    if commit.lost is None:
        return "it is lost, and the store has lost nothing"
    if commit.covered and not world.rows.away_count:
        return f"it is lost, and PostgreSQL had it when the store lost it: {commit.lost}"
    if world.valkey.epoch <= commit.after.epoch:
        return f"it is lost, and the epoch has not grown: {world.valkey.epoch}"
    return None


# rule 3


def _judge_history(world: "World") -> None:
    """Every entry that was committed can be found, but for those that had to make room."""
    for session_id in world.rows.sessions:
        entries = world.history(session_id)
        ids = {entry.entry_id for entry in entries}
        full = {
            refused: sum(entry.refused is refused for entry in entries) >= most
            for refused, most in ((False, MOVES_MAX), (True, CONFLICTS_MAX))
        }
        for commit in world.record.commits:
            entry = commit.entry
            if commit.after.session_id != session_id or entry is None or commit.lost is not None:
                continue
            if entry.entry_id not in ids and not full[entry.refused]:
                world.fail("rule 3", f"{entry} is not in the history of {session_id}")


# devices


def _judge_speakers(world: "World") -> None:
    """Whatever could not be compared before: at rest no device sounds in two sessions."""
    for listener_id in {device.listener_id for device in world.devices}:
        both = sounding_twice(world, listener_id)
        if both:
            world.fail("section 4", f"a device sounds in two sessions, and nobody does anything: {both}")


# deadlines


def _judge_deadlines(world: "World") -> None:
    """Whoever died with it in hand: what had to be done is done."""
    now_ms = world.now_ms
    late = world.valkey.overdue(now_ms - OVERDUE_MS)
    if late:
        world.fail("section 4", f"overdue: {late}")
    for state in world.valkey.sessions().values():
        if state.ended_at_ms is None and not world.valkey.has_deadline(state):
            world.fail("section 4", f"nobody will look at {state} again")
    for state in _missed(world):
        world.fail("section 4", f"a deadline was missed: {state}")


def _missed(world: "World") -> Iterator[SessionState]:
    """Live sessions whose time has come long ago."""
    late_ms = world.now_ms - OVERDUE_MS
    for state in world.valkey.sessions().values():
        if state.ended_at_ms is not None:
            continue
        at_end = state.playing and not (state.loop and state.loop.enabled)
        # the sleep and the end of a sounding device that is away wait for it, unless others sound as well
        here = {each.device_id for each in world.devices if each.connected and each.listener_id == state.listener_id}
        alone = state.mode == "handoff" or not here - {state.active_device_id}
        waits = state.absent_until_ms is not None and alone
        ran_out = at_end and not waits and model.place_at(state, late_ms) >= state.duration_ms
        sleep_ms = None if waits else state.sleep_at_ms
        if ran_out or any(moment is not None and moment < late_ms for moment in (sleep_ms, state.absent_until_ms)):
            yield state


# rule 4


def _judge_listened(world: "World") -> None:
    """Listened time lies within what the playhead ran over, and what devices say that they played without a line."""
    states = latest_states(world)
    for (listener_id, script_id), truth in world.truths.items():
        mine = [row for row in states.values() if (row.listener_id, row.script_id) == (listener_id, script_id)]
        claimed = _claimed(world, listener_id, script_id)
        listened = [interval for row in mine for interval in row.listened]
        extra = model.outside(listened, model.union(claimed, model.HEARD_MS + 500))
        if extra:
            world.fail("rule 4", f"listened to {extra}, where nothing can have played")
        if world.plan.hears_true:
            for device in world.devices:
                device.speaker.close()
            slack_ms = world.plan.hearing_slack_ms
            extra = model.outside(listened, model.union(truth.intervals, slack_ms))
            # a device that was told to play for a moment may have been told too late
            if any(end_ms - start_ms > slack_ms for start_ms, end_ms in extra):
                world.fail("rule 4", f"listened to {extra}, which no device has played: {model.union(truth.intervals)}")


def _claimed(world: "World", listener_id: str, script_id: str) -> list[model.Interval]:
    """What the formula ran over while it was true, and what was told afterwards."""
    claimed: list[model.Interval] = []
    for commit in world.record.commits:
        state, step = commit.after, commit.step
        if step is None or (state.listener_id, state.script_id) != (listener_id, script_id):
            continue
        # the later of both: what was decided in the past of another node's clock ran from its own anchor
        since_ms = min(step.before.anchored_at_ms, step.before.heard_at_ms)
        claimed += model.path(step.before, since_ms, step.now_ms)
        # a sound that is told to stand may have run on for a moment, and says so
        claimed.append((step.before.heard_ms, step.before.heard_ms))
        match step.command:
            case Offline(intervals=intervals):
                claimed += intervals
            case Report(revision=None, position_ms=place_ms):
                claimed.append((step.before.heard_ms, place_ms))
            case Report() if (loop := step.before.loop) is not None and loop.enabled:
                # any place in a loop is true, and the way to it may lead over its end
                claimed.append((loop.start_ms, loop.end_ms))
            case Seek(from_ms=int()) | Pause(position_ms=int()) if (loop := step.before.loop) and loop.enabled:
                # what is told may run ahead of the clock, and over the loop's end
                if model.place_at(step.before, step.now_ms) + model.HEARD_MS >= loop.end_ms:
                    claimed.append((loop.start_ms, loop.start_ms))
    return claimed


# the end of everything


def judge_end(world: "World") -> None:
    """All devices are gone for three hours: everything has ended by itself, and nothing is left to do."""
    for session_id, row in world.rows.sessions.items():
        # what an app plays over REST alone runs to its end, however slowly
        late = row.active_device_id == REST_DEVICE_ID and world.now_ms - row.changed_at_ms < IDLE_END_MS
        if row.ended_at_ms is None and session_id in world.live_before_the_end and not late:
            world.fail("section 4", f"a session did not end by itself: {row}")
    left = world.valkey.overdue(world.now_ms)
    if left:
        world.fail("section 4", f"left to do after everything has ended: {left}")
    if world.valkey.held_connections():
        world.fail("section 4", f"connections that nobody holds: {world.valkey.held_connections()}")
