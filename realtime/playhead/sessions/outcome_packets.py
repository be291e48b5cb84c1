"""What a listener's devices are told of an outcome: that a session began, what it is now, that it is over."""

from typing import Any

from playhead.playback.commands import Origin
from playhead.playback.state import SessionState
from playhead.sessions.answers import Outcome
from playhead.sessions.codec import Packet, encode_packet, encode_state_packet, seconds, state_payload


def _packet(event: str, data: dict[str, Any], skip_connection_id: str | None, outcome: Outcome) -> bytes:
    return encode_packet(
        Packet(event=event, data=data, skip_connection_id=skip_connection_id, published_at_ms=outcome.server_time_ms)
    )


def packets_of(outcome: Outcome, origin: Origin) -> list[bytes]:
    """What the listener's devices are told of an outcome; the connection that asked has it in its ack."""
    state, skip = outcome.state, origin.connection_id
    packets = []
    if outcome.created:
        told = state_payload(state, outcome.cause)
        packets.append(_packet("session_started", {**_ids(state), "state": told}, skip, outcome))
    if outcome.published:
        packets.append(encode_state_packet(state, outcome.told, outcome.server_time_ms, skip))
    if outcome.published and state.ended_at_ms is not None:
        reason = "idle" if outcome.cause.device_id is None else "ended_by_listener"
        ended = {**_ids(state), "reason": reason, "position": seconds(state.position_ms)}
        packets.append(_packet("session_ended", ended, None, outcome))
    return packets


def _ids(state: SessionState) -> dict[str, str]:
    return {"session_id": state.session_id, "script_id": state.script_id}
