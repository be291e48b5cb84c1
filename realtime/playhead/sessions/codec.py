"""What devices see of states and refusals, and the packets that the bus carries.

Inside, places are integer ms. Devices get float seconds: that conversion happens here, and nowhere else.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from playhead.db import Script
from playhead.playback.deadlines import sleeps_at_ms
from playhead.playback.listened import total_ms
from playhead.playback.reducer import Cause
from playhead.playback.rejections import Rejection
from playhead.playback.state import SessionState


def seconds(ms: int) -> float:
    return ms / 1000


def milliseconds(value_s: float) -> int:
    return round(value_s * 1000)


def state_payload(state: SessionState, cause: Cause | None = None) -> dict[str, Any]:
    """The `state` event: places in seconds, server times in ms since the Unix epoch. `cause` None: a snapshot."""
    loop = state.loop
    return {
        "session_id": state.session_id,
        "script_id": state.script_id,
        "epoch": state.epoch,
        "revision": state.revision,
        "playing": state.playing,
        "position": seconds(state.position_ms),
        "anchored_at": state.anchored_at_ms,
        "rate": state.rate,
        "loop": loop and {"start": seconds(loop.start_ms), "end": seconds(loop.end_ms), "enabled": loop.enabled},
        "mode": state.mode,
        "active_device": state.active_device_id,
        "sleep_at": sleeps_at_ms(state),
        "sleep_at_end_of_loop": state.sleep_at_end_of_loop,
        "duration": seconds(state.duration_ms),
        "media_version": state.media_version or None,
        "ended": state.ended_at_ms is not None,
        "cause": cause and {"command": cause.command, "device_id": cause.device_id, "command_id": cause.command_id},
    }


def encode_told(state: SessionState, cause: Cause | None = None) -> bytes:
    """The same as JSON. An ack and an event of one command hold the same bytes, written once."""
    return orjson.dumps(state_payload(state, cause))


def rejection_payload(rejection: Rejection) -> dict[str, Any]:
    """The `error` of a refused command, the same on both surfaces; `state` and `reported` where they help to decide."""
    payload: dict[str, Any] = {
        "code": rejection.code.value,
        "message": rejection.message,
        "retry": rejection.reason.retry,
    }
    if rejection.state is not None:
        payload["state"] = state_payload(rejection.state)
    if rejection.reported_ms is not None:
        payload["reported"] = seconds(rejection.reported_ms)
    if rejection.retry_after_ms is not None:
        payload["retry_after_ms"] = rejection.retry_after_ms
    return payload


def listening_payload(state: SessionState) -> dict[str, float]:
    """What a report is answered: the listened time in seconds and how far the script is, in percent of two decimals."""
    return {
        "total_listened": min(seconds(total_ms(state.listened)), seconds(state.duration_ms)),
        "progress_percent": round(100 * state.heard_ms / state.duration_ms, 2),
    }


def prepare_payload(script: Script) -> dict[str, Any]:
    """How far a script's media are: the `prepare` event, and what `POST /prepare` answers."""
    return {
        "script_id": script.script_id,
        "status": script.status,
        "progress": script.progress,
        "duration": seconds(script.duration_ms),
        "media_version": script.media_version,
    }


class Packet(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One event for all devices of a listener, except the connection that caused it (its ack says the same)."""

    event: str
    data: dict[str, Any]
    skip_connection_id: str | None = None
    published_at_ms: int = 0


class ToldState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Which state a `state` event tells."""

    session_id: str
    epoch: int
    revision: int
    ended: bool


class PacketHead(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a node needs to know of a packet; the event itself goes on as it came."""

    event: str
    skip_connection_id: str | None
    published_at_ms: int
    state: ToldState | None
    devices: tuple[int, int] | None = None
    """The order of the list that a `devices` event tells."""


def told_state(state: SessionState) -> ToldState:
    """What a node must know of the `state` event of it."""
    return ToldState(
        session_id=state.session_id,
        epoch=state.epoch,
        revision=state.revision,
        ended=state.ended_at_ms is not None,
    )


def told_devices(payload: Mapping[str, Any]) -> tuple[int, int]:
    """The order of the list, of the data of a `devices` event."""
    order = payload["devices_order"]
    return (order["epoch"], order["version"])


_head_encoder = msgspec.json.Encoder()
_head_decoder = msgspec.json.Decoder(PacketHead)


def encode_packet(packet: Packet) -> bytes:
    """Head and event, a line each: the event as sockets get it, `[name, data]`, encoded once for all nodes.

    Not for `state`, whose head says more: `encode_state_packet`.
    """
    head = PacketHead(
        event=packet.event,
        skip_connection_id=packet.skip_connection_id,
        published_at_ms=packet.published_at_ms,
        state=None,
        devices=told_devices(packet.data) if packet.event == "devices" else None,
    )
    return b"%s\n%s" % (_head_encoder.encode(head), orjson.dumps([packet.event, packet.data]))


def encode_state_packet(
    state: SessionState, told: bytes, published_at_ms: int, skip_connection_id: str | None = None
) -> bytes:
    """A `state` event; `told` is what `encode_told` made of the state."""
    head = PacketHead(
        event="state",
        skip_connection_id=skip_connection_id,
        published_at_ms=published_at_ms,
        state=told_state(state),
    )
    return b'%s\n["state",%s]' % (_head_encoder.encode(head), told)


def split_packet(raw: bytes) -> tuple[PacketHead, bytes]:
    """The head of a packet, and its event as JSON."""
    head, _, event = raw.partition(b"\n")
    return _head_decoder.decode(head), event


def decode_packet(raw: bytes) -> Packet:
    head, event = split_packet(raw)
    name, data = orjson.loads(event)
    return Packet(
        event=name,
        data=data,
        skip_connection_id=head.skip_connection_id,
        published_at_ms=head.published_at_ms,
    )
