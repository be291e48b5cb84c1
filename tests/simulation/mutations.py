"""The code broken on purpose, once for each way that a rule could be: some schedule must break that very rule.

A mutation names the rule that its oracle must find broken: `python -m tests.simulation.run mutated 1000`.
"""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from playhead.client.core import sessions as client_sessions
from playhead.playback import deadlines, played, reducer, reports, transitions
from playhead.playback.commands import Lost, Seek
from playhead.playback.rejections import Rejection
from playhead.playback.state import SessionState
from playhead.realtime.convergence import Convergence
from playhead.sessions import committing, finding, memory_notes, memory_store, reviving
from playhead.sessions.presence import Presence
from playhead.sessions.store import Change, Committed, Connection, Loaded
from tests.simulation import sockets
from tests.simulation.schedule import Calamity, CalamityKind, Faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """`broken`: what the code no longer does. `place`: what is put where, while it is `applied`.

    `from_seed`: where it was found, and the search begins; what changes the simulation moves that, and the search takes
    longer (`python -m tests.simulation.run mutated 1500` tells anew). `plan`: what is different in them, where
    the rule matters so seldom that nobody would find it.
    """

    rule: str
    broken: str
    place: tuple[Any, str, Any]
    from_seed: int = 1
    plan: Mapping[str, Any] = field(default_factory=dict)

    @contextmanager
    def applied(self) -> Iterator[None]:
        owner, name, value = self.place
        before = getattr(owner, name)
        setattr(owner, name, value)
        try:
            yield
        finally:
            setattr(owner, name, before)


async def _nothing(*_arguments: Any) -> None:
    return None


def _take_any(self: client_sessions.Sessions, state: Any) -> client_sessions.Taken:
    """As if a client applied whatever comes."""
    self._states[state.session_id] = state
    return client_sessions.Taken.NEXT


async def _without_its_row(self: reviving.Reviver, stored: SessionState) -> SessionState:
    return stored


def _same_revision(*arguments: Any) -> Any:
    decision = _decide(*arguments)
    return replace(decision, state=replace(decision.state, revision=arguments[0].revision))


async def _not_taken_over(self: reviving.Reviver, listener_id: str, loaded: Loaded) -> reviving.View:
    held = [
        reviving.Held(
            state=state if state.epoch == loaded.epoch else await self._newest(state) or state,
            expected_version=state.version,
        )
        for state in loaded.states
    ]
    return reviving.View(epoch=loaded.epoch, sessions=tuple(held), answer=loaded.answer)


async def _end_before_rows(self: finding.SessionFinder, listener_id: str, script_id: str) -> SessionState | None:
    ended = await self._store.last_ended(listener_id, script_id)
    return ended or await self._archive.latest(listener_id, script_id)


async def _back_all_the_same(self: reviving.Reviver, listener_id: str, row: SessionState, *others: Any) -> Any:
    """As if it did not matter that somebody else was faster: the next commit says what it is for."""
    back = await _bring_back(self, listener_id, row, *others)
    return back or reviving.Held(state=row, expected_version=None)


def _fits_any(known: dict[str, SessionState], change: Any) -> bool:
    return change.expected_version is None or change.after.session_id in known


async def _not_written(self: committing.Committer, wish: committing.Wish, *arguments: Any) -> Committed:
    return Committed.DONE if isinstance(wish.command, Seek) else await _write(self, wish, *arguments)


def _not_silenced(view: reviving.View, sounding: SessionState, *_arguments: Any) -> list[Change]:
    """The other live sessions, as they are."""
    return [
        Change(after=held.state, expected_version=held.expected_version)
        for held in view.sessions
        if held.state.session_id != sounding.session_id and held.state.ended_at_ms is None
    ]


def _as_they_were(live: Any, taken: Any, _now_ms: int) -> list[Change]:
    changes = [Change(after=taken.get(one.session_id, one), expected_version=one.version) for one in live]
    return sorted(changes, key=lambda change: not change.written)


async def _due_and_forgotten(self: memory_store.MemoryStore, now_ms: int, limit: int) -> Any:
    """As if what one process takes were taken from all others for ever."""
    return tuple(self._due.take(now_ms, limit))


async def _attach_anyway(
    self: Presence, listener_id: str, connection_id: str, device_id: str, name: str, kind: str
) -> bool:
    self.connections_max = 1_000
    attached: bool = await _attach(self, listener_id, connection_id, device_id, name, kind)
    return attached


async def _drop_at_once(self: Presence, listener_id: str, row: Connection) -> None:
    await self.drop(listener_id, row.connection_id)


async def _emit_and_wait(self: sockets.SocketServer, event: str, data: Any, **options: Any) -> None:
    """As if a write waited for whoever does not read."""
    members = self._rooms.get(options.get("room") or "", ())
    while any(not link.reading for key in list(members) if (link := self._links.get(key)) is not None):
        await self._wire.pause(100, 100)
    await _emit(self, event, data, **options)


def _room_as_for_others(self: memory_store.MemoryStore, _changes: Any) -> bool:
    return self._journal_length < self._journal_length_max


def _no_refusal(_committed: Committed) -> Rejection | None:
    return None


def _lost_as_its_connection_was(state: SessionState, command: Lost, now_ms: int) -> SessionState:
    lost = _reduce_lost(state, command, now_ms)
    if command.last_seen_at_ms is None or lost is state:
        return lost
    return replace(lost, absent_since_ms=min(now_ms, max(command.last_seen_at_ms, state.anchored_at_ms)))


_decide = reducer._decide
_reduce_lost = deadlines.reduce_lost
_bring_back: Callable[..., Awaitable[reviving.Held | None]] = reviving.Reviver.bring_back
_write = committing.Committer._write
_attach: Callable[..., Awaitable[bool]] = Presence.attach
_emit: Callable[..., Awaitable[None]] = sockets.SocketServer.emit

_FORGETFUL: dict[str, Any] = {
    "nodes": 2,
    "listeners": 1,
    "durations_ms": (300_000,),
    "actions": 60,
    "pause_ms": 600,
    "faults": Faults(),
    "hours_apart": False,
    "to_the_end": False,
}
"""One listener who asks for much while the same thing goes wrong all the time."""


def _again_and_again(kind: CalamityKind, loses_ms: int = 0) -> tuple[Calamity, ...]:
    return tuple(
        Calamity(kind=kind, at_ms=at_ms, lasts_ms=200, loses_ms=loses_ms) for at_ms in range(3_000, 63_000, 4_000)
    )


def _both_away(
    every_ms: int, *, store_ms: int, database_ms: int, database_after_ms: int, loses_ms: int = 0
) -> tuple[Calamity, ...]:
    """The store fails over again and again, and so long as its sessions have to be compared PostgreSQL is away."""
    found = []
    for at_ms in range(10_000, 80_000, every_ms):
        found.append(Calamity(kind="store_failover", at_ms=at_ms, lasts_ms=store_ms, loses_ms=loses_ms))
        found.append(Calamity(kind="database_away", at_ms=at_ms + database_after_ms, lasts_ms=database_ms))
    return tuple(sorted(found, key=lambda calamity: calamity.at_ms))


MUTATIONS: dict[str, Mutation] = {
    "client-takes-any-state": Mutation(
        rule="rule 1",
        from_seed=28,
        broken="a client applies every state, also an older one",
        place=(client_sessions.Sessions, "take", _take_any),
    ),
    "nothing-is-compared": Mutation(
        rule="rule 1",
        from_seed=25,
        broken="a node never compares what it has told with what the store has",
        place=(Convergence, "compare", _nothing),
    ),
    "devices-are-not-compared": Mutation(
        rule="rule 1",
        from_seed=25,
        broken="a node never compares the list of devices that it has told with the store's",
        place=(Convergence, "_compare_devices", _nothing),
    ),
    "revision-stands-still": Mutation(
        rule="rule 1",
        broken="an accepted change has the revision of the state before",
        place=(reducer, "_decide", _same_revision),
    ),
    "no-new-order-in-a-new-epoch": Mutation(
        rule="rule 1",
        from_seed=423,
        broken="a session keeps its old order when the store has lost what came after it",
        place=(reviving.Reviver, "take_over", _not_taken_over),
    ),
    "versions-are-not-compared": Mutation(
        rule="rule 2",
        broken="a commit overwrites what it has not seen",
        place=(memory_store, "_fits", _fits_any),
    ),
    "end-hides-a-later-row": Mutation(
        rule="rule 1",
        broken="an end that the store knows hides a later session that is left as a row alone",
        place=(finding.SessionFinder, "last", _end_before_rows),
        from_seed=5_400_348,
        plan=_FORGETFUL | {"devices": 2, "calamities": _again_and_again("store_failover", loses_ms=3_000)},
    ),
    "row-is-not-asked": Mutation(
        rule="rule 2",
        from_seed=154,
        broken="in a new epoch the store is believed, though PostgreSQL knows more",
        place=(reviving.Reviver, "_newest", _without_its_row),
    ),
    "acked-before-it-is-stored": Mutation(
        rule="rule 2",
        broken="a seek is answered, and not written",
        place=(committing.Committer, "_write", _not_written),
    ),
    "stale-report-is-believed": Mutation(
        rule="rule 3",
        broken="a report counts from any device and at any revision",
        place=(reports, "_refusal", lambda state, report, origin: None),
    ),
    "any-place-is-true": Mutation(
        rule="rule 3",
        broken="a report may put the playhead anywhere",
        place=(reports, "true_place_ms", lambda state, reported_ms, now_ms: reported_ms),
    ),
    "refused-place-is-lost": Mutation(
        rule="rule 3",
        broken="the place of a refused report does not go to the history",
        place=(committing, "refused_place", lambda *arguments: None),
    ),
    "stale-batch-is-believed": Mutation(
        rule="rule 3",
        from_seed=2_129,
        broken="what a device tells of the time without a line throws back another one that sounds",
        place=(transitions, "_moved_since", lambda state, base, origin: base < state.moved),
    ),
    "older-connection-is-believed": Mutation(
        rule="rule 2",
        from_seed=72,
        broken="a device was last heard of over the connection that ended last, whatever it reported over another",
        place=(reducer, "reduce_lost", _lost_as_its_connection_was),
    ),
    "jump-is-not-in-the-history": Mutation(
        rule="rule 3",
        broken="a seek leaves no entry",
        place=(reducer, "moved_playhead", lambda *arguments: False),
    ),
    "answers-are-not-kept": Mutation(
        rule="rule 4",
        broken="a command that is sent again is applied again",
        place=(memory_notes.Notes, "keep_answer", lambda *arguments: None),
    ),
    "report-numbers-are-ignored": Mutation(
        rule="rule 4",
        from_seed=97,
        broken="a report that was taken before is taken again",
        place=(reports, "_repeated", lambda *arguments: False),
    ),
    "time-does-not-bound-listening": Mutation(
        rule="rule 4",
        broken="more is credited than can have run",
        place=(played, "ran_ms", lambda state, now_ms: 3_600_000),
    ),
    "limit-of-connections-is-not-kept": Mutation(
        rule="rule 5",
        from_seed=143,
        broken="a listener may connect as often as they like",
        place=(Presence, "attach", _attach_anyway),
    ),
    "limit-is-answered-as-success": Mutation(
        rule="rule 2",
        from_seed=570,
        broken="at the journal's limit a command is acked, and dropped",
        place=(committing, "_refusal", _no_refusal),
    ),
    "slow-device-holds-up-others": Mutation(
        rule="rule 6",
        from_seed=68,
        broken="a write waits until a slow device has read",
        place=(sockets.SocketServer, "emit", _emit_and_wait),
    ),
    "deadline-dies-with-its-process": Mutation(
        rule="section 4",
        from_seed=322,
        broken="what one process has taken to look at is nobody else's any more",
        place=(memory_store.MemoryStore, "due", _due_and_forgotten),
        plan=_FORGETFUL
        | {
            "devices": 2,
            "durations_ms": (20_000,),
            "pause_ms": 2_000,
            "store_ms": 150,
            "calamities": tuple(
                Calamity(kind="node_killed", at_ms=at_ms, lasts_ms=2_000, which=at_ms // 3_000)
                for at_ms in range(3_000, 63_000, 3_000)
            ),
        },
    ),
    "deadlines-have-no-reserve": Mutation(
        rule="section 4",
        from_seed=508,
        broken="what the server does by itself waits for room in a journal that others have filled",
        place=(memory_store.MemoryStore, "_has_room", _room_as_for_others),
        plan=_FORGETFUL
        | {
            "nodes": 3,
            "devices": 3,
            "listeners": 2,
            "durations_ms": (20_000, 3_600_000),
            "pause_ms": 1_000,
            "journal_max": 2,
            "calamities": _both_away(15_000, store_ms=6_000, database_ms=12_000, database_after_ms=-2_000),
        },
    ),
    "others-play-on": Mutation(
        rule="section 4",
        broken="what a device begins to play does not silence what it has played before",
        place=(committing, "_others", _not_silenced),
    ),
    "late-sessions-play-on": Mutation(
        rule="section 4",
        broken="a session that is taken over late plays on beside what its device plays by then",
        place=(reviving, "_together", _as_they_were),
        plan=_FORGETFUL
        | {
            "nodes": 3,
            "devices": 1,
            "durations_ms": (3_600_000, 3_600_000),
            "store_ms": 20,
            "pause_ms": 2_000,
            "calamities": _both_away(20_000, store_ms=1_000, database_ms=8_000, database_after_ms=500, loses_ms=2_000),
        },
    ),
    "lost-sessions-are-compared-once": Mutation(
        rule="section 4",
        broken="a lost session that others were faster to change comes back beside what its device plays by then",
        place=(reviving.Reviver, "bring_back", _back_all_the_same),
        from_seed=5_400_348,
        plan=_FORGETFUL
        | {
            "nodes": 3,
            "devices": 3,
            "durations_ms": (300_000, 300_000),
            "store_ms": 150,
            "calamities": _again_and_again("store_emptied"),
        },
    ),
    "refused-connection-goes-unseen": Mutation(
        rule="section 4",
        from_seed=4,
        broken="a connection that was not let in goes, and nobody looks whether its device was missed meanwhile",
        place=(Presence, "_end", _drop_at_once),
        plan=_FORGETFUL
        | {
            "devices": 1,
            "actions": 8,
            "durations_ms": (3_600_000,),
            "faults": Faults(store_after=0.1),
            "calamities": _again_and_again("device_cut"),
            "to_the_end": True,
            "quiet_ms": 1_000,
        },
    ),
    "sessions-do-not-end": Mutation(
        rule="section 4",
        broken="an idle session does not end",
        place=(deadlines, "ended", lambda state, now_ms: state),
    ),
}
