"""Answers that are kept: a command that is sent again under its id is answered as the first time, and applied once.

What makes a command the same is its fingerprint: what was asked, of which session or script, by which device. What it
was expected to find (`expected_revision`) is no part of it: who asks again may know more by then.
"""

from hashlib import blake2b

import msgspec
from msgspec.structs import replace

from playhead.db import Script
from playhead.playback.commands import COMMAND_NAMES, Command, Origin
from playhead.playback.reducer import Cause
from playhead.playback.rejections import Code, Rejection
from playhead.playback.state import SessionState
from playhead.sessions.codec import encode_told
from playhead.sessions.states import decode_state, encode_state

FINGERPRINT_BYTES = 12


class Outcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An accepted command: the state after it, and the server time at which it was decided."""

    state: SessionState
    cause: Cause
    server_time_ms: int
    published: bool
    """Whether devices see a new revision; a command that changed nothing for them is accepted all the same."""
    told: bytes
    """`state` with its cause, as devices are told it: JSON."""
    created: bool = False
    missed_until_ms: int | None = None
    """How long the sounding device, which is back by it, would have been missed; None: it was not missed. Not kept."""
    script: Script | None = None
    """The session's script, where the command has looked it up. Not kept."""

    @property
    def cause_of_state(self) -> Cause | None:
        """Why `state` is at its revision; None when another command than this one made it, as in a snapshot."""
        return self.cause if self.published else None


class _Kept(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An outcome as it is kept, under its command's fingerprint."""

    mark: str
    state: msgspec.Raw
    cause: Cause
    server_time_ms: int
    published: bool
    created: bool


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Kept)


def fingerprint(command: Command, target: str, origin: Origin, asked: str | None = None) -> str:
    """`target`: the id of the session or script, whichever was asked for. `asked`: what else was, where that may mean
    another command by now."""
    meant = command if asked is None else asked
    content = _encoder.encode([COMMAND_NAMES[type(command)], meant, target, origin.device_id])
    return blake2b(content, digest_size=FINGERPRINT_BYTES).hexdigest()


def encode_answer(mark: str, outcome: Outcome) -> bytes:
    """The outcome under its command's fingerprint; of the state what an answer can tell."""
    told = replace(outcome.state, report_seqs=(), played_slots=())
    kept = _Kept(
        mark=mark,
        state=msgspec.Raw(encode_state(told)),
        cause=outcome.cause,
        server_time_ms=outcome.server_time_ms,
        published=outcome.published,
        created=outcome.created,
    )
    return _encoder.encode(kept)


def decode_answer(raw: bytes, mark: str) -> Outcome | Rejection:
    """The first answer of the command with this fingerprint; a refusal when its id named another command."""
    kept = _decoder.decode(raw)
    if kept.mark != mark:
        return Rejection(code=Code.COMMAND_ID_REUSED)
    state = decode_state(bytes(kept.state))
    return Outcome(
        state=state,
        cause=kept.cause,
        server_time_ms=kept.server_time_ms,
        published=kept.published,
        told=encode_told(state, kept.cause if kept.published else None),
        created=kept.created,
    )
