"""What was asked, decided, committed and answered: everything that the oracles judge, in one place.

The reducer is watched, not replaced: `watch_reducer` puts an observer around the function that the use cases call, so
that each commit is known with the state and the command that it was made from. One schedule runs at a time.
"""

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from playhead.playback.commands import Command, Origin
from playhead.playback.history import Move
from playhead.playback.reducer import Decision, reduce
from playhead.playback.rejections import Rejection
from playhead.playback.state import SessionState
from playhead.sessions import committing

StateKey = tuple[str, int, int, int]
"""Session, epoch, revision, version: names one written state."""


@dataclass(slots=True)
class Step:
    """One call of the reducer that accepted."""

    before: SessionState
    command: Command
    origin: Origin
    now_ms: int
    decision: Decision


@dataclass(slots=True)
class Asked:
    """Something that one of the nodes was asked, by a device or by its own clock."""

    who: str
    event: str
    device_id: str = ""
    payload: Mapping[str, Any] = field(default_factory=dict)
    command_id: str | None = None
    sent_us: int = 0
    received_us: int = 0
    begun_us: int = 0
    """When a node began with it: what came before it over the same connection goes first."""
    commits: "list[Commit]" = field(default_factory=list)
    refusals: list[Rejection] = field(default_factory=list)
    """What the reducer refused on the way, the last one last."""
    unavailable: bool = False
    """Whether a store or the database failed it on the way."""


@dataclass(slots=True)
class Commit:
    """One session's part of what the store has taken."""

    index: int
    at_us: int
    listener_id: str
    after: SessionState
    before: SessionState | None
    """The state that it was made from."""
    parent: "Commit | None"
    step: Step | None
    asked: Asked | None
    entry: Move | None
    command_id: str | None
    written: bool
    """Whether it changed the session; else only an entry, an answer or a deadline was kept."""
    lost: "Loss | None" = None
    covered: bool = False
    """A row had it when the store lost it."""

    @property
    def key(self) -> StateKey:
        return key_of(self.after)


@dataclass(slots=True)
class Loss:
    """The store has gone back, or was emptied."""

    at_us: int
    kind: str
    loses_ms: int
    epoch: int


def key_of(state: SessionState) -> StateKey:
    return (state.session_id, state.epoch, state.revision, state.version)


ASKED: ContextVar[Asked | None] = ContextVar("asked", default=None)
"""What the running task is about."""


@dataclass(slots=True)
class Record:
    """Everything that happened in one schedule, as far as it can be judged."""

    commits: list[Commit] = field(default_factory=list)
    by_key: dict[StateKey, Commit] = field(default_factory=dict)
    by_command: dict[str, list[Commit]] = field(default_factory=dict)
    steps: dict[int, Step] = field(default_factory=dict)
    """By the identity of the state that was decided."""
    losses: list[Loss] = field(default_factory=list)
    acked: list[tuple[int, Asked, dict[str, Any]]] = field(default_factory=list)
    """When a good answer left its node, of what, and what it said."""

    def note_step(self, step: Step) -> None:
        self.steps[id(step.decision.state)] = step

    def note_commit(self, commit: Commit) -> None:
        self.commits.append(commit)
        if commit.written:
            self.by_key[commit.key] = commit
        if commit.command_id is not None:
            self.by_command.setdefault(commit.command_id, []).append(commit)
        if commit.asked is not None:
            commit.asked.commits.append(commit)

    def note_loss(self, loss: Loss, kept: int, rows: Mapping[str, SessionState]) -> None:
        """`kept`: how many commits the store still knows. What a row has comes back, if the row can be read."""
        self.losses.append(loss)
        for commit in self.commits[kept:]:
            if commit.lost is None:
                row = rows.get(commit.after.session_id)
                commit.lost = loss
                commit.covered = row is not None and _up_to(row) >= _up_to(commit.after)

    def commit_of(self, state: SessionState) -> Commit | None:
        """The commit that wrote the state; of one that was given another epoch when it was read, the latest."""
        found = self.by_key.get(key_of(state))
        if found is not None:
            return found
        same = (
            commit
            for commit in reversed(self.commits)
            if commit.written
            and (commit.after.session_id, commit.after.revision, commit.after.version)
            == (state.session_id, state.revision, state.version)
        )
        return next(same, None)


def _up_to(state: SessionState) -> tuple[tuple[int, int], int]:
    return (state.order, state.version)


class Watcher:
    """Whose schedule is running in this process."""

    record: Record | None = None


def _watched(*arguments: Any, **options: Any) -> Decision | Rejection:
    decision = reduce(*arguments, **options)
    record = Watcher.record
    if record is not None:
        state, command, origin = arguments
        if isinstance(decision, Decision):
            record.note_step(Step(state, command, origin, options["now_ms"], decision))
        elif (asked := ASKED.get()) is not None:
            asked.refusals.append(decision)
    return decision


def watch_reducer() -> None:
    """From now on every decision of this process's use cases is noted in `Watcher.record`."""
    module: Any = committing
    module.reduce = _watched
