"""Session states as bytes, as the store and the journal keep them: a JSON list of the fields of SessionState.

Without the names it is half as long, and states are most of what the store holds. Two releases may run side by side, so
the struct only ever grows at its end: what is missing there has its default value, and what is not known is left out.
"""

import msgspec

from playhead.playback.state import SessionState

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(SessionState)


def encode_state(state: SessionState) -> bytes:
    return _encoder.encode(state)


def decode_state(raw: bytes) -> SessionState:
    """Raises ValueError for what is no state."""
    try:
        return _decoder.decode(raw)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error
