"""Session states as bytes, as the store and the journal keep them: the fields of SessionState, integer ms and all."""

import orjson

from playhead.playback.state import Loop, SessionState


def encode_state(state: SessionState) -> bytes:
    return orjson.dumps(state)


def decode_state(raw: bytes) -> SessionState:
    """Raises ValueError, KeyError or TypeError for what is no state."""
    fields = orjson.loads(raw)
    loop = fields["loop"]
    fields["loop"] = None if loop is None else Loop(**loop)
    fields["moved"] = tuple(fields["moved"])
    for name in ("listened", "report_seqs", "played_slots"):
        fields[name] = tuple((first, second) for first, second in fields[name])
    return SessionState(**fields)
