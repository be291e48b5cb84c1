"""What the function `commit` of functions.lua is called with: its keys and arguments, in the order that it reads."""

from collections.abc import Sequence

import msgspec

from playhead.playback.history import CONFLICTS_MAX, MOVES_MAX
from playhead.sessions.journal import Entry, encode_extra
from playhead.sessions.keys import CONFLICTS, MOVES, SESSION, ListenerKeys
from playhead.sessions.states import encode_state
from playhead.sessions.store import (
    ANSWER_TTL_MS,
    ANSWERS_MAX,
    ENDED_TTL_MS,
    LIVE_SESSIONS_MAX,
    MOVES_TTL_MS,
    REVOKED_PER_PARTITION_MAX,
    SESSION_TTL_MS,
    Answer,
    Change,
)


def commit_keys(keys: ListenerKeys, changes: Sequence[Change], answer: Answer | None) -> list[str]:
    """Without an answer the function gets names that it does not touch; all keys must be of one slot."""
    answered = [keys.answer(answer.command_id if answer else ""), keys.answers(answer.session_id if answer else "")]
    sessions = [keys.session(change.after.session_id) for change in changes]
    return [keys.epoch, keys.live, keys.deadlines, keys.journal, *answered, *sessions]


def commit_arguments(
    keys: ListenerKeys,
    epoch: int,
    journal_length_max: int,
    changes: Sequence[Change],
    answer: Answer | None,
    live: int | None,
) -> list[str | bytes | int]:
    """All but the packets, which come last."""
    fixed = _fixed_arguments(keys, epoch, journal_length_max, answer, live)
    return [*fixed, *(argument for change in changes for argument in _change_arguments(change))]


def _fixed_arguments(
    keys: ListenerKeys, epoch: int, journal_length_max: int, answer: Answer | None, live: int | None
) -> list[str | bytes | int]:
    """In the order of `at` in functions.lua."""
    return [
        epoch,
        keys.channel,
        SESSION_TTL_MS,
        ENDED_TTL_MS,
        LIVE_SESSIONS_MAX,
        SESSION,
        keys.suffix,
        keys.ended_prefix,
        keys.listener_id,
        journal_length_max,
        answer.command_id if answer else "",
        answer.content if answer else "",
        ANSWER_TTL_MS,
        ANSWERS_MAX,
        keys.answer_prefix,
        MOVES,
        MOVES_MAX,
        CONFLICTS,
        CONFLICTS_MAX,
        MOVES_TTL_MS,
        "" if live is None else live,
        keys.revoked,
        REVOKED_PER_PARTITION_MAX,
    ]


def _change_arguments(change: Change) -> tuple[str | bytes | int, ...]:
    """In the order of `change_at` in functions.lua."""
    state, entry, due_at_ms = change.after, change.entry, change.due_at_ms
    moves = () if entry is None else (entry,)
    return (
        "" if change.expected_version is None else change.expected_version,
        state.session_id,
        state.script_id,
        state.version,
        0 if state.ended_at_ms is None else 1,
        encode_state(state),
        "" if due_at_ms is None else due_at_ms,
        encode_extra(Entry(state=state, moves=moves, offline=change.offline)),
        b"" if entry is None else msgspec.json.encode(entry),
        entry.entry_id if entry is not None and entry.refused else "",
        "" if change.revoked_until_s is None else change.revoked_until_s,
    )
