"""Session states as bytes, as the store and the journal keep them: a JSON list of the fields of SessionState.

Without the names it is half as long, and states are most of what the store holds. Two releases may run side by side, so
the list only ever grows at its end: what is missing there has its default value, and what is not known is left out.
"""

from operator import attrgetter
from typing import Any

import msgspec
import orjson

from playhead.playback.state import Loop, SessionState

FIELDS = (
    "session_id",
    "listener_id",
    "script_id",
    "duration_ms",
    "epoch",
    "revision",
    "version",
    "playing",
    "position_ms",
    "anchored_at_ms",
    "rate",
    "loop",
    "mode",
    "active_device_id",
    "active_connection_id",
    "heard_ms",
    "heard_at_ms",
    "listened",
    "report_seqs",
    "played_ms",
    "played_slots",
    "moved",
    "sleep_at_ms",
    "sleep_at_end_of_loop",
    "absent_since_ms",
    "absent_until_ms",
    "started_at_ms",
    "changed_at_ms",
    "ended_at_ms",
    "finished",
)
"""In the order in which they are kept; a new one goes to the end."""
PAIRS = ("listened", "report_seqs", "played_slots")

_values = attrgetter(*FIELDS)
_encoder = msgspec.json.Encoder()


def encode_state(state: SessionState) -> bytes:
    return _encoder.encode(_values(state))


def decode_state(raw: bytes) -> SessionState:
    """Raises ValueError, KeyError or TypeError for what is no state."""
    fields: dict[str, Any] = dict(zip(FIELDS, orjson.loads(raw), strict=False))
    loop = fields["loop"]
    fields["loop"] = None if loop is None else Loop(**loop)
    fields["moved"] = tuple(fields["moved"])
    for name in PAIRS:
        fields[name] = tuple(map(tuple, fields[name]))
    return SessionState(**fields)
