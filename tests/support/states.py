"""Session states for tests: one that plays, at a round time and place; a test names the fields that matter to it."""

from typing import Any

from msgspec.structs import replace

from playhead.playback.state import Loop, SessionState

NOW_MS = 1_767_225_600_000
DURATION_MS = 3_600_000
POSITION_MS = 100_000
LISTENER_ID = "11111111-1111-4111-8111-111111111111"
OTHER_LISTENER_ID = "22222222-2222-4222-8222-222222222222"
SCRIPT_ID = "33333333-3333-4333-8333-333333333333"
OTHER_SCRIPT_ID = "44444444-4444-4444-8444-444444444444"
SESSION_ID = "55555555-5555-4555-8555-555555555555"
OTHER_SESSION_ID = "66666666-6666-4666-8666-666666666666"
MEDIA_VERSION = "0123456789abcdef"

PLAYING = SessionState(
    session_id=SESSION_ID,
    listener_id=LISTENER_ID,
    script_id=SCRIPT_ID,
    duration_ms=DURATION_MS,
    epoch=7,
    revision=5,
    version=9,
    playing=True,
    position_ms=POSITION_MS,
    anchored_at_ms=NOW_MS,
    rate=1.0,
    active_device_id="phone",
    active_connection_id="phone-1",
    heard_ms=POSITION_MS,
    heard_at_ms=NOW_MS,
    started_at_ms=NOW_MS - 1_000_000,
    changed_at_ms=NOW_MS,
    media_version=MEDIA_VERSION,
)
"""An hour's script, at 100 s since NOW_MS, sounding on the phone."""


def make_state(**fields: Any) -> SessionState:
    """`PLAYING` with other fields; what was heard last is at the position, if nothing else is said."""
    if "position_ms" in fields:
        fields.setdefault("heard_ms", fields["position_ms"])
    return replace(PLAYING, **fields)


def make_loop(start_ms: int, end_ms: int, *, enabled: bool = True) -> Loop:
    return Loop(start_ms=start_ms, end_ms=end_ms, enabled=enabled)
