"""States and packets as bytes and back, and what devices are shown of them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields, replace

from playhead.playback.reducer import Cause
from playhead.playback.rejections import Code, Rejection
from playhead.playback.state import SessionState
from playhead.sessions.codec import (
    Packet,
    ToldState,
    decode_packet,
    encode_packet,
    encode_state_packet,
    encode_told,
    listening_payload,
    milliseconds,
    rejection_payload,
    seconds,
    split_packet,
    state_payload,
)
from playhead.sessions.states import decode_state, encode_state
from tests.support.states import DURATION_MS, MEDIA_VERSION, NOW_MS, SCRIPT_ID, SESSION_ID, make_loop, make_state
from tests.unit.playback.inventing import sessions

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
    "media_version",
    "longest_ms",
)
"""As they lie in the store and the journal of every release: none may change its place."""


@given(sessions(), st.none() | st.integers(0, NOW_MS), st.sampled_from(["handoff", "together"]), st.text(max_size=9))
def test_a_state_comes_back_from_the_store_unchanged(
    state: SessionState, ended_at_ms: int | None, mode: str, connection_id: str
) -> None:
    kept = replace(state, ended_at_ms=ended_at_ms, mode=mode, active_connection_id=connection_id)
    assert decode_state(encode_state(kept)) == kept


def test_what_the_store_keeps_is_a_plain_json_list_in_milliseconds() -> None:
    state = make_state(loop=make_loop(1, 251), listened=((0, 5),), report_seqs=(("phone", 3),))
    kept = dict(zip(FIELDS, json.loads(encode_state(state)), strict=True))
    assert kept["position_ms"] == 100_000 and kept["loop"] == {"start_ms": 1, "end_ms": 251, "enabled": True}
    assert (kept["listened"], kept["report_seqs"]) == ([[0, 5]], [["phone", 3]])


def test_every_field_of_a_state_is_kept_in_its_place() -> None:
    assert FIELDS == tuple(field.name for field in fields(SessionState))


def test_a_state_of_another_release_is_read() -> None:
    """Of a newer one that keeps more, and of an older one that did not know the last field yet."""
    state = make_state(longest_ms=5)
    values = json.loads(encode_state(state))
    assert decode_state(json.dumps([*values, "news"]).encode()) == state
    assert decode_state(json.dumps(values[:-2]).encode()) == make_state(media_version="", longest_ms=0)


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b'["torn', b"[1, 2]", b"null", b"7"])
def test_what_is_no_state_is_told_so(raw: bytes) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        decode_state(raw)


@given(st.text(max_size=20), st.none() | st.text(max_size=20), st.integers(0, 2**53))
def test_a_packet_comes_back_from_the_bus_unchanged(event: str, skipped: str | None, published_at_ms: int) -> None:
    packet = Packet(event=event, data={"a": [1.5, None]}, skip_connection_id=skipped, published_at_ms=published_at_ms)
    assert decode_packet(encode_packet(packet)) == packet


def test_a_node_reads_the_head_of_a_packet_and_passes_the_event_on_as_it_is() -> None:
    state = make_state(ended_at_ms=NOW_MS)
    told = encode_told(state, Cause(command="end", device_id="phone"))
    head, event = split_packet(encode_state_packet(state, told, NOW_MS, "phone-1"))
    assert json.loads(event) == ["state", state_payload(state, Cause(command="end", device_id="phone"))]
    assert (head.event, head.skip_connection_id, head.published_at_ms) == ("state", "phone-1", NOW_MS)
    assert head.state == ToldState(session_id=SESSION_ID, epoch=7, revision=5, ended=True)
    listed = {"devices": ["a\nb"], "devices_order": {"epoch": 7, "version": 9}}
    devices, _ = split_packet(encode_packet(Packet(event="devices", data=listed)))
    assert (devices.state, devices.devices, head.devices) == (None, (7, 9), None)


def test_a_packet_of_the_release_before_has_no_order_of_devices() -> None:
    head, _ = split_packet(b'{"event":"devices","skip_connection_id":null,"published_at_ms":0,"state":null}\n[]')
    assert head.devices is None


@given(st.integers(0, 7 * 24 * 3_600_000))
def test_seconds_and_milliseconds_are_the_same_time(place_ms: int) -> None:
    assert milliseconds(seconds(place_ms)) == place_ms
    assert milliseconds(json.loads(json.dumps(seconds(place_ms)))) == place_ms


def test_devices_see_the_whole_session_in_seconds() -> None:
    cause = Cause(command="seek", device_id="desk", command_id="command")
    assert state_payload(make_state(loop=make_loop(1_500, 2_250, enabled=False)), cause) == {
        "session_id": SESSION_ID,
        "script_id": SCRIPT_ID,
        "epoch": 7,
        "revision": 5,
        "playing": True,
        "position": 100.0,
        "anchored_at": NOW_MS,
        "rate": 1.0,
        "loop": {"start": 1.5, "end": 2.25, "enabled": False},
        "mode": "handoff",
        "active_device": "phone",
        "sleep_at": None,
        "sleep_at_end_of_loop": False,
        "duration": 3600.0,
        "media_version": MEDIA_VERSION,
        "ended": False,
        "cause": {"command": "seek", "device_id": "desk", "command_id": "command"},
    }


def test_a_snapshot_has_no_cause_and_an_ended_session_says_so() -> None:
    payload = state_payload(make_state(ended_at_ms=NOW_MS))
    assert (payload["cause"], payload["loop"], payload["ended"]) == (None, None, True)


def test_a_device_never_sees_what_is_the_stores_alone() -> None:
    hidden = ("listener_id", "active_connection_id", "version", "heard_ms", "listened", "report_seqs")
    assert not set(hidden) & set(state_payload(make_state()))
    assert "phone-1" not in json.dumps(state_payload(make_state()))


def test_a_refusal_carries_code_message_retry_and_both_places_where_there_are_two() -> None:
    plain = rejection_payload(Rejection(code=Code.OVERLOADED))
    assert (plain["code"], plain["retry"], set(plain)) == ("overloaded", True, {"code", "message", "retry"})
    conflict = rejection_payload(Rejection(code=Code.CONFLICT, detail="Why.", state=make_state(), reported_ms=0))
    assert (conflict["message"], conflict["reported"], conflict["retry"]) == ("Why.", 0.0, False)
    assert conflict["state"]["position"] == 100.0


@pytest.mark.parametrize(
    ("heard_ms", "listened", "total_s", "percent"),
    [
        (120_500, ((0, 120_500),), 120.5, 3.35),
        (0, (), 0.0, 0.0),
        (DURATION_MS, ((0, DURATION_MS),), 3600.0, 100.0),
        (60_000, ((0, 10_000), (50_000, 60_000)), 20.0, 1.67),
    ],
)
def test_a_report_is_answered_with_the_time_listened_and_the_percentage(
    heard_ms: int, listened: tuple[tuple[int, int], ...], total_s: float, percent: float
) -> None:
    payload = listening_payload(make_state(heard_ms=heard_ms, listened=listened))
    assert payload == {"total_listened": total_s, "progress_percent": percent}
