"""The one way that a command flows: load, reduce, commit; again after a lost race, and once for every `command_id`.

    load sessions (and the kept answer) → reduce (pure) → commit (atomic: compare, set, journal, publish) → answer
    at first on what this process has committed last, without a load, where the commit alone decides: see `assumed.py`
    a lost race: load and reduce again, at most COMMIT_ATTEMPTS_MAX times

Owns: what a commit consists of; what its packets tell is `outcome_packets.py`. Must not know: sockets, requests, what a
command means.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace

import msgspec
import structlog
from msgspec import structs

from playhead.playback.commands import (
    OTHER_SESSION,
    Command,
    Connections,
    Due,
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
    SetRate,
    Transfer,
)
from playhead.playback.deadlines import IDLE_END_MS
from playhead.playback.endings import left_ms
from playhead.playback.history import Move
from playhead.playback.reducer import Cause, Decision, reduce, refused_place
from playhead.playback.rejections import Code, Rejection
from playhead.playback.state import SessionState
from playhead.runtime.clock import Clock
from playhead.runtime.one_at_a_time import OneAtATime
from playhead.runtime.tasks import Outlasting
from playhead.sessions.answers import Outcome, decode_answer, encode_answer, fingerprint
from playhead.sessions.assumed import Assumed
from playhead.sessions.codec import encode_state_packet, encode_told
from playhead.sessions.finding import SessionFinder
from playhead.sessions.journal import OfflineInterval
from playhead.sessions.outcome_packets import packets_of
from playhead.sessions.presence import Presence
from playhead.sessions.reviving import Held, View
from playhead.sessions.scripts import media_of
from playhead.sessions.store import Answer, Change, Committed, SessionStore

log = structlog.get_logger(__name__)

COMMIT_ATTEMPTS_MAX = 20
"""Of two processes that change one listener's sessions all the time, each loses about every second race."""
OUTLASTING_MAX = 4_096
"""Commands under way in a process, of those that go on when nobody waits for them any more."""
LEAD_MS_MIN = 250
LEAD_MS_MAX = 1_000
"""In `together` mode a start is anchored twice the slowest round trip ahead, within these bounds."""
ANCHORED_AHEAD = (Play, Seek, SetRate, Restore)
SOUND_MOVING = (Play, Transfer, Leave, Due)
OWN = (Due, Lost, Renew)
"""What the server does by itself: nobody is there who would ask again, so it has room where others wait."""

GRACE_MS = 10_000
"""How long a sounding device may be away before its session pauses."""
SERVER = Origin(device_id="server")
"""Who asks when the server acts by itself; no device sees it."""

BEGUN_TOO_FAST = "This listener begins new sessions faster than is allowed. Play this one a little later."
Find = Callable[[View], Awaitable[Held | None]]


class Wish(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A command on its way, and all that belongs to it. `session_id` None: all live sessions are loaded."""

    listener_id: str
    session_id: str | None
    target: str
    command: Command
    origin: Origin
    expected_revision: int | None = None
    expected_epoch: int | None = None
    offline: tuple[OfflineInterval, ...] = ()
    base_session_id: str | None = None
    """The session that an offline batch began in."""
    asked: str | None = None
    """What was asked for, where the command is only what it means by now."""

    @property
    def moves_sound(self) -> bool:
        """Whether a device may begin to sound by it: then all of the listener's live sessions matter."""
        return isinstance(self.command, SOUND_MOVING)

    @property
    def mark(self) -> str:
        return fingerprint(self.command, self.target, self.origin, self.asked)


class Committer:
    """Carries wishes out. StoreUnavailable and DatabaseUnavailable pass through."""

    def __init__(self, store: SessionStore, finder: SessionFinder, presence: Presence, clock: Clock) -> None:
        self._store = store
        self._finder = finder
        self._presence = presence
        self._clock = clock
        self._turns = OneAtATime()
        self._outlasting = Outlasting(OUTLASTING_MAX)
        self._assumed = Assumed()

    async def carry_out(self, wish: Wish, find: Find) -> Outcome | Rejection:
        """Applies the wish to the session that `find` names.

        Whoever waits may be cancelled. A commit is then done or not, as a whole, and found under its `command_id`. But
        where a device may begin to sound the look after it must not be missed: that goes on until its end.
        """
        carried_out = self._looked_after(wish, find)
        asked = wish.moves_sound and wish.origin is not SERVER
        return await (self._outlasting.run(carried_out) if asked else carried_out)

    async def _looked_after(self, wish: Wish, find: Find) -> Outcome | Rejection:
        answer = await self._carried_out(wish, find)
        if isinstance(answer, Outcome) and (wish.moves_sound or answer.missed_until_ms is not None):
            state = answer.state
            if state.playing and state.absent_until_ms is None:
                await self._look_for(wish, state, answer.missed_until_ms or 0)
        return answer

    async def answered(self, wish: Wish) -> Outcome | Rejection | None:
        """What was answered to the wish for a session when it came first; None: nothing that is kept."""
        if wish.session_id is None or wish.origin.command_id is None:
            return None
        answer = (await self._store.load(wish.listener_id, wish.session_id, wish.origin.command_id)).answer
        return None if answer is None else decode_answer(answer, wish.mark)

    async def _look_for(self, wish: Wish, state: SessionState, missed_until_ms: int) -> None:
        """Who sounds now may have gone between the look at who is connected and the commit. Who was missed already has
        as long as it had: one whose server went away has more time to come back than others.

        Whoever noticed that found nothing that sounded there, and looks once more when the connection is no longer
        known (see `device_lost` in service.py): one of both sees what the other has done.
        """
        device_id = state.active_device_id
        if device_id is None or device_id in await self._presence.connected(wish.listener_id, wish.origin):
            return
        now_ms = self._clock.now_ms()
        lost = Lost(device_id=device_id, last_seen_at_ms=now_ms, until_ms=max(now_ms + GRACE_MS, missed_until_ms))
        again = Wish(
            listener_id=wish.listener_id,
            session_id=state.session_id,
            target=state.session_id,
            command=lost,
            origin=SERVER,
        )

        async def find(view: View) -> Held | None:
            return view.session(state.session_id)

        await self._carried_out(again, find)

    async def _carried_out(self, wish: Wish, find: Find) -> Outcome | Rejection:
        """One at a time per listener: only other processes are raced, so that a crowd of commands does not fail."""
        if (before := self._turns.take(wish.listener_id)) is not None:
            await before
        try:
            assumed = await self._on_what_is_assumed(wish)
            if assumed is not None:
                return assumed
            for _ in range(COMMIT_ATTEMPTS_MAX):
                view = await self._view(wish)
                if view.answer is not None:
                    return decode_answer(view.answer, wish.mark)
                held = await find(view)
                if held is None:
                    return Rejection(code=Code.NOT_FOUND)
                answer = await self._once(wish, view, held)
                if answer is not None:
                    return answer
        finally:
            self._turns.give(wish.listener_id)
        log.warning("A commit lost every race.", action="commit_contended", session_id=wish.session_id)
        return Rejection(code=Code.OVERLOADED)

    async def _on_what_is_assumed(self, wish: Wish) -> Outcome | None:
        """What the store has taken; None: it has to be looked at."""
        if wish.session_id is None or wish.moves_sound:
            return None
        view = self._assumed.view(wish.listener_id, wish.session_id)
        if view is None:
            return None
        answer = await self._once(wish, view, view.sessions[0], assumed=True)
        if isinstance(answer, Outcome):
            return answer
        self._assumed.forget(wish.listener_id)
        return None

    def _view(self, wish: Wish) -> Awaitable[View]:
        """All live sessions where another one may have to fall silent, else the one that is asked for."""
        command_id = wish.origin.command_id
        if wish.session_id is not None and not wish.moves_sound:
            return self._finder.session(wish.listener_id, wish.session_id, command_id)
        return self._finder.live(wish.listener_id, wish.session_id, command_id)

    async def _once(self, wish: Wish, view: View, held: Held, assumed: bool = False) -> Outcome | Rejection | None:
        """One try; None when somebody else was faster, and where nothing of what is `assumed` would be compared."""
        connected: Connections = {}
        if wish.moves_sound and not held.over:
            connected = await self._presence.connected(wish.listener_id, wish.origin)
        lead_ms = 0
        if held.state.mode == "together" and isinstance(wish.command, ANCHORED_AHEAD):
            lead_ms = await self._lead_ms(wish)
        now_ms = self._clock.now_ms()
        decision = reduce(
            held.state,
            _command(wish, view, held),
            wish.origin,
            now_ms=now_ms,
            connected=connected,
            expected_revision=wish.expected_revision,
            expected_epoch=wish.expected_epoch,
            epoch=view.epoch,
            lead_ms=lead_ms,
            media=None if held.script is None else media_of(held.script),
        )
        if assumed and (isinstance(decision, Rejection) or not decision.written):
            return None
        if isinstance(decision, Rejection):
            return await self._refused(wish, view, held, decision, now_ms)
        if held.created and not decision.written:
            decision = _begun(decision, view.epoch, now_ms)
        outcome = Outcome(
            state=decision.state,
            cause=decision.cause,
            server_time_ms=now_ms,
            published=decision.published,
            told=encode_told(decision.state, decision.cause if decision.published else None),
            created=held.created,
            script=held.script,
            missed_until_ms=held.state.absent_until_ms if decision.state.absent_until_ms is None else None,
        )
        if held.created and (wait_ms := await self._store.count_beginning(wish.listener_id)):
            return Rejection(code=Code.OVERLOADED, detail=BEGUN_TOO_FAST, retry_after_ms=wait_ms)
        rest_until_ms = _rest_until_ms(wish, outcome.state, connected, now_ms)
        committed = await self._write(wish, view, held, decision, outcome, rest_until_ms)
        if committed is Committed.LOST:
            return None
        return _refusal(committed) or decision.refusal or outcome

    async def _lead_ms(self, wish: Wish) -> int:
        rtt_ms = await self._presence.slowest_rtt_ms(wish.listener_id)
        return min(LEAD_MS_MAX, max(LEAD_MS_MIN, 2 * rtt_ms))

    async def _refused(self, wish: Wish, view: View, held: Held, refusal: Rejection, now_ms: int) -> Rejection | None:
        """A place that is not taken goes to the history all the same; that is worth a commit, not a second try."""
        if held.created:
            # of a session that was not born nobody may learn
            return replace(refusal, state=None)
        if not isinstance(wish.command, Report):
            return refusal
        revision = held.state.revision if wish.command.revision is None else wish.command.revision
        entry = refused_place(refusal, (held.state.epoch, revision), wish.origin.device_id, now_ms)
        if entry is None:
            return refusal
        if held.expected_version is None:
            return None
        change = Change(after=held.state, expected_version=held.expected_version, entry=entry)
        committed = await self._store.commit(wish.listener_id, view.epoch, [change], [])
        return None if committed is Committed.LOST else _refusal(committed) or refusal

    async def _write(
        self, wish: Wish, view: View, held: Held, decision: Decision, outcome: Outcome, rest_until_ms: int
    ) -> Committed:
        """Commits what was decided. What changes nothing is committed for what it leaves beside the state."""
        answer = _answer(wish, outcome) if decision.refusal is None else None
        entry = _entry(wish, held, decision, outcome)
        beside = answer or entry or wish.offline or isinstance(wish.command, Due)
        if not decision.written and not beside:
            return Committed.DONE
        if not decision.written and held.expected_version is None:
            # the store does not have this session, so it can keep nothing of it: it has to be brought back first
            return Committed.DONE if isinstance(wish.command, Due) else Committed.LOST
        change = Change(
            after=outcome.state,
            expected_version=held.expected_version,
            entry=entry,
            offline=wish.offline,
            rest_until_ms=rest_until_ms,
            own=isinstance(wish.command, OWN),
        )
        sounds = wish.moves_sound and outcome.state.playing
        others = _others(view, outcome.state, decision.cause, outcome.server_time_ms) if sounds else []
        packets = packets_of(outcome, wish.origin)
        packets += [
            encode_state_packet(row.after, encode_told(row.after, outcome.cause), outcome.server_time_ms)
            for row in others
            if row.written
        ]
        live = len(others) + (held.expected_version is not None) if sounds else None
        committed = await self._store.commit(wish.listener_id, view.epoch, [change, *others], packets, answer, live)
        if committed is Committed.DONE:
            self._assumed.note(view.epoch, outcome.state)
        return committed


def _begun(decision: Decision, epoch: int, now_ms: int) -> Decision:
    """The first state of a new session, of which the command has changed nothing: it begins with it all the same."""
    state = structs.replace(decision.state, epoch=epoch, revision=1, version=1, changed_at_ms=now_ms)
    refusal = None if decision.refusal is None else replace(decision.refusal, state=state)
    return structs.replace(decision, state=state, written=True, published=True, refusal=refusal)


def _rest_until_ms(wish: Wish, state: SessionState, connected: Connections, now_ms: int) -> int:
    """A session that is idle but for devices that look on is looked at again when it could end at the earliest."""
    if not isinstance(wish.command, Due) or state.changed_at_ms + IDLE_END_MS > now_ms:
        return 0
    quiet_since_ms = now_ms if connected else wish.command.left_at_ms or 0
    return max(quiet_since_ms + IDLE_END_MS, wish.command.excused_until_ms or 0)


def _command(wish: Wish, view: View, held: Held) -> Command:
    """The command as it meets this session."""
    match wish.command:
        case Offline(base=base) if base is not None:
            met = held.last if held.created else held.state
            same = met is not None and met.session_id == wish.base_session_id
            return wish.command if same else structs.replace(wish.command, base=OTHER_SESSION)
        case Due() if held.over:
            # it ends now: nobody can come back to it, who is there, or was, is not in it
            return Due()
        case Due() | Leave():
            others = (row.state for row in view.sessions if row.state.session_id != held.state.session_id)
            busy = frozenset(state.active_device_id for state in others if state.playing and state.active_device_id)
            return structs.replace(wish.command, busy=busy)
    return wish.command


def _refusal(committed: Committed) -> Rejection | None:
    if committed is Committed.FULL:
        return Rejection(code=Code.OVERLOADED, detail="Too many sessions are open. End one and play again.")
    return Rejection(code=Code.OVERLOADED) if committed is Committed.BACKLOG else None


def _answer(wish: Wish, outcome: Outcome) -> Answer | None:
    command_id = wish.origin.command_id
    if command_id is None:
        return None
    content = encode_answer(wish.mark, outcome)
    return Answer(session_id=outcome.state.session_id, command_id=command_id, content=content)


def _entry(wish: Wish, held: Held, decision: Decision, outcome: Outcome) -> Move | None:
    """The history's entry: the move; the refused place of a batch; the place left, where a session begins elsewhere."""
    state, now_ms = outcome.state, outcome.server_time_ms
    if decision.refusal is not None and isinstance(wish.command, Offline):
        base = wish.command.base or (state.epoch, state.revision)
        return refused_place(decision.refusal, base, wish.origin.device_id, now_ms)
    if held.last is None or left_ms(held.last) == state.position_ms:
        return decision.move
    return Move(
        cause=decision.cause.command,
        from_ms=min(left_ms(held.last), state.duration_ms),
        to_ms=state.position_ms,
        device_id=wish.origin.device_id,
        at_ms=now_ms,
        epoch=state.epoch,
        revision=state.revision,
    )


def _others(view: View, sounding: SessionState, cause: Cause, now_ms: int) -> list[Change]:
    """The listener's other live sessions. A device can play only one: those that sound on the same one are paused.

    The rest are compared: what somebody else makes of them meanwhile must not sound on that device as well.
    """
    origin = Origin(device_id=cause.device_id or "")
    changes = []
    for held in view.sessions:
        state = held.state
        if state.session_id == sounding.session_id or state.ended_at_ms is not None:
            continue
        if state.playing and state.active_device_id == sounding.active_device_id:
            paused = reduce(state, Pause(), origin, now_ms=now_ms, connected={}, epoch=view.epoch)
            assert isinstance(paused, Decision)
            state = paused.state
        changes.append(Change(after=state, expected_version=held.expected_version))
    return changes
