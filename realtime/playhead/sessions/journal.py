"""The journal: every accepted change on its way to PostgreSQL, written in the commit that made it.

An entry is a whole state, so entries of one session coalesce into the latest; what does not (moves, what was heard
offline) lies beside it. Entries may come twice and in any order: whoever stores them compares.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from playhead.playback.history import Move
from playhead.playback.state import SessionState
from playhead.sessions.states import decode_state, encode_state

STATE_FIELD = b"s"
EXTRA_FIELD = b"x"


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineInterval:
    """What a device says that it played without a connection; its times are the client's, brought within bounds.

    `told_at_ms`: its start as the client told it. With the place it names the stretch, so that a batch that is sent
    again, when other bounds hold, is known again.
    """

    device_id: str
    start_ms: int
    end_ms: int
    told_at_ms: int
    started_at_ms: int
    ended_at_ms: int


class Entry(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One change of one session."""

    state: SessionState
    moves: tuple[Move, ...] = ()
    offline: tuple[OfflineInterval, ...] = ()


def encode_extra(entry: Entry) -> bytes:
    """What lies beside the state; empty where there is nothing."""
    if not entry.moves and not entry.offline:
        return b""
    return msgspec.json.encode({"moves": entry.moves, "offline": entry.offline})


def encode_entry(entry: Entry) -> dict[bytes, bytes]:
    """The entry as fields of a stream."""
    return {STATE_FIELD: encode_state(entry.state), EXTRA_FIELD: encode_extra(entry)}


def decode_entry(fields: Mapping[bytes, bytes]) -> Entry:
    """Raises ValueError, KeyError or TypeError for what is no entry."""
    extra: dict[str, Any] = orjson.loads(fields[EXTRA_FIELD] or b"{}")
    return Entry(
        state=decode_state(fields[STATE_FIELD]),
        moves=tuple(Move(**move) for move in extra.get("moves", ())),
        offline=tuple(OfflineInterval(**interval) for interval in extra.get("offline", ())),
    )
