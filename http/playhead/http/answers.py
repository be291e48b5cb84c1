"""What REST answers: one model per answer, places in float seconds.

Calendar times are RFC 3339 in UTC. `anchored_at` and `server_time` belong to the playhead's formula and are server time
in ms since the Unix epoch, as on Socket.IO.
"""

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from playhead.db import Bookmark, Script, Status, Visibility
from playhead.http.loudness_answer import LOUDNESS_EXAMPLE, LoudnessAnswer, loudness_answer
from playhead.playback.reducer import Cause
from playhead.playback.state import SessionState, position_at
from playhead.sessions.codec import listening_payload, prepare_payload, seconds, state_payload

SCRIPT_ID = "73616d70-6c65-4265-8174-000000000001"
SESSION_ID = "3f1f2b0e-7c8a-4a43-9a53-0a1d2e3f4a5b"
STATE_EXAMPLE: dict[str, Any] = {
    "session_id": SESSION_ID,
    "script_id": SCRIPT_ID,
    "epoch": 1,
    "revision": 7,
    "playing": True,
    "position": 120.5,
    "anchored_at": 1_763_868_000_000,
    "rate": 1.0,
    "loop": None,
    "mode": "handoff",
    "active_device": "rest",
    "sleep_at": None,
    "sleep_at_end_of_loop": False,
    "duration": 3600.0,
    "media_version": "0123456789abcdef",
    "ended": False,
    "cause": {"command": "seek", "device_id": "rest", "command_id": None},
}


def _example(**fields: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [fields]})


class LoopAnswer(BaseModel):
    """An A-B loop over `[start, end)` in seconds; without effect while it is not enabled."""

    start: float
    end: float
    enabled: bool


class CauseAnswer(BaseModel):
    """Why a state is what it is. `device_id` null: the server did it by itself."""

    command: str
    device_id: str | None
    command_id: str | None


class State(BaseModel):
    """The state of one session, as every device has it.

    position(now) = playing ? position + max(0, now - anchored_at) * rate : position; loops fold, see docs/protocol.md.
    """

    model_config = _example(**STATE_EXAMPLE)

    session_id: str
    script_id: str
    epoch: int
    revision: int = Field(description="States are ordered by (epoch, revision).")
    playing: bool
    position: float = Field(description="Where playback was at `anchored_at`, in seconds.")
    anchored_at: int = Field(description="Server time in ms since the Unix epoch.")
    rate: float
    loop: LoopAnswer | None
    mode: Literal["handoff", "together"]
    active_device: str | None = Field(description="The device whose speaker is on.")
    sleep_at: int | None = Field(description="Server time in ms at which playback pauses by itself.")
    sleep_at_end_of_loop: bool
    duration: float
    media_version: str | None = Field(
        description="The file that is played; the script may have another one by now. Null: not known yet."
    )
    ended: bool
    cause: CauseAnswer | None


class StateAnswer(State):
    """The session after a command."""

    model_config = _example(**STATE_EXAMPLE, server_time=1_763_868_000_000)

    server_time: int = Field(description="When it was decided, in ms since the Unix epoch.")


class PlayAnswer(BaseModel):
    """The session that plays, and where its media are."""

    model_config = _example(
        session_id=SESSION_ID,
        stream_url=f"https://example.org/p/token/t/{SCRIPT_ID}/0123456789abcdef/master.m3u8",
        start_position=120.5,
        revision=7,
        state=STATE_EXAMPLE,
        server_time=1_763_868_000_000,
    )

    session_id: str
    stream_url: str | None = Field(description="Signed; null if the script may no longer be heard.")
    start_position: float = Field(description="Where the sound is now, in seconds.")
    revision: int
    state: State
    server_time: int


class ProgressAnswer(BaseModel):
    """A report that was taken."""

    model_config = _example(saved=True, total_listened=120.5, progress_percent=3.35, revision=2)

    saved: bool
    total_listened: float = Field(description="Seconds of the script that were heard, each counted once.")
    progress_percent: float = Field(description="100 x position / duration, two decimals.")
    revision: int = Field(description="The session's revision, for the next report.")


class DeviceAnswer(BaseModel):
    """A connected device of the listener."""

    id: str
    name: str
    kind: str
    connected_at: int = Field(description="Server time in ms since the Unix epoch.")


class SessionAnswer(StateAnswer):
    """A session as it is now."""

    model_config = _example(
        **STATE_EXAMPLE,
        server_time=1_763_868_010_000,
        current_position=130.5,
        total_listened=120.5,
        progress_percent=3.35,
        devices=[{"id": "phone-1", "name": "Phone", "kind": "phone", "connected_at": 1_763_867_000_000}],
    )

    current_position: float = Field(description="The formula's place at `server_time`, in seconds.")
    total_listened: float
    progress_percent: float
    devices: list[DeviceAnswer]


class SummaryAnswer(BaseModel):
    """A session that has ended."""

    model_config = _example(
        session_id=SESSION_ID,
        script_id=SCRIPT_ID,
        position=130.5,
        duration=3600.0,
        total_listened=130.5,
        progress_percent=3.63,
        finished=False,
        started_at="2025-11-23T03:11:00Z",
        ended_at="2025-11-23T03:20:10Z",
    )

    session_id: str
    script_id: str
    position: float
    duration: float
    total_listened: float
    progress_percent: float
    finished: bool
    started_at: datetime
    ended_at: datetime


class StreamAnswer(BaseModel):
    """Where a script's media are."""

    model_config = _example(
        stream_url=f"https://example.org/p/token/t/{SCRIPT_ID}/0123456789abcdef/master.m3u8",
        duration=3600.0,
        bitrate=128_000,
        format="hls",
        cached=False,
        expires_at="2025-11-23T16:11:00Z",
        ready=True,
        media_version="0123456789abcdef",
        loudness=LOUDNESS_EXAMPLE,
    )

    stream_url: str = Field(description="Signed for this script until `expires_at`.")
    duration: float
    bitrate: int = Field(description="Bits per second; with `auto` those of the rung that players start with.")
    format: Literal["hls"]
    cached: bool = Field(description="Whether all but the signature came from the cache.")
    expires_at: datetime
    ready: bool = Field(description="Whether every segment is encoded. Playback can begin before.")
    media_version: str
    loudness: LoudnessAnswer | None = Field(description="Null until it was measured, soon after the upload.")


class PrepareAnswer(BaseModel):
    """How far a script's media are."""

    model_config = _example(
        script_id=SCRIPT_ID, status="processing", progress=0.42, duration=3600.0, media_version="0123456789abcdef"
    )

    script_id: str
    status: Status
    progress: float = Field(description="0 to 1.")
    duration: float
    media_version: str


SCRIPT_EXAMPLE: dict[str, Any] = {
    "script_id": SCRIPT_ID,
    "title": "A beat each second",
    "visibility": "listeners",
    "owned": True,
    "status": "ready",
    "error": None,
    "progress": 1.0,
    "duration": 120.0,
    "media_version": "0123456789abcdef",
    "artist": "A metronome",
    "has_cover": False,
    "loudness": LOUDNESS_EXAMPLE,
    "created_at": "2025-11-23T03:11:00Z",
    "updated_at": "2025-11-23T03:11:20Z",
}


class ScriptAnswer(BaseModel):
    """One script."""

    model_config = _example(**SCRIPT_EXAMPLE)

    script_id: str
    title: str
    visibility: Visibility
    owned: bool = Field(description="Whether the caller uploaded it.")
    status: Status
    error: str | None = Field(description="Why it failed; told to its owner alone.")
    progress: float = Field(description="How much is encoded, 0 to 1.")
    duration: float
    media_version: str
    artist: str | None = Field(description="Who made it, as its file says.")
    has_cover: bool = Field(description="Whether `GET /scripts/{script_id}/cover` has a picture.")
    loudness: LoudnessAnswer | None = Field(description="Null until it was measured, soon after the upload.")
    created_at: datetime
    updated_at: datetime


class ScriptsAnswer(BaseModel):
    """Scripts that the caller may hear, newest first. `next_cursor` null: there are no more."""

    scripts: list[ScriptAnswer]
    next_cursor: str | None


class BookmarkAnswer(BaseModel):
    """A place that the listener marked."""

    model_config = _example(
        bookmark_id="9a1b6c1e-0a55-4a4e-8b1e-1f6f5f6b7c8d",
        script_id=SCRIPT_ID,
        position=61.5,
        title="The turn",
        note=None,
        created_at="2025-11-23T03:11:00Z",
        updated_at="2025-11-23T03:11:00Z",
    )

    bookmark_id: str
    script_id: str
    position: float
    title: str | None
    note: str | None
    created_at: datetime
    updated_at: datetime


class BookmarksAnswer(BaseModel):
    """The caller's bookmarks in a script, ordered by position. `next_cursor` null: there are no more."""

    bookmarks: list[BookmarkAnswer]
    next_cursor: str | None


class HealthAnswer(BaseModel):
    """This process runs."""

    model_config = _example(status="ok")

    status: Literal["ok"]


class ReadyAnswer(BaseModel):
    """Whether this process can serve; `checks` says of each part `ok` or what is wrong. Sessions live in `store`."""

    model_config = _example(status="ready", store="redis", checks={"postgresql": "ok", "valkey": "ok", "clock": "ok"})

    status: Literal["ready", "not_ready"]
    store: Literal["redis", "memory"]
    checks: dict[str, str]


def state_answer(state: SessionState, cause: Cause | None, server_time_ms: int) -> StateAnswer:
    return StateAnswer(**state_payload(state, cause), server_time=server_time_ms)


def session_answer(state: SessionState, devices: list[dict[str, Any]], server_time_ms: int) -> SessionAnswer:
    current_ms = position_at(state, server_time_ms)
    return SessionAnswer(
        **state_payload(state),
        server_time=server_time_ms,
        current_position=seconds(current_ms),
        total_listened=listening_payload(state)["total_listened"],
        progress_percent=_percent(current_ms, state.duration_ms),
        devices=[DeviceAnswer(**device) for device in devices],
    )


def summary_answer(state: SessionState) -> SummaryAnswer:
    """The summary of a session that has ended."""
    assert state.ended_at_ms is not None
    return SummaryAnswer(
        session_id=state.session_id,
        script_id=state.script_id,
        position=seconds(state.position_ms),
        duration=seconds(state.duration_ms),
        total_listened=listening_payload(state)["total_listened"],
        progress_percent=_percent(state.position_ms, state.duration_ms),
        finished=state.finished,
        started_at=calendar_time(state.started_at_ms),
        ended_at=calendar_time(state.ended_at_ms),
    )


def prepare_answer(script: Script) -> PrepareAnswer:
    return PrepareAnswer(**prepare_payload(script))


def script_answer(script: Script, listener_id: str) -> ScriptAnswer:
    """The script as that listener may know it."""
    owned = script.owner_id == listener_id
    return ScriptAnswer(
        script_id=script.script_id,
        title=script.title,
        visibility=script.visibility,
        owned=owned,
        status=script.status,
        error=script.error if owned else None,
        progress=script.progress,
        duration=seconds(script.duration_ms),
        media_version=script.media_version,
        artist=script.artist,
        has_cover=script.cover_key is not None,
        loudness=loudness_answer(script.loudness),
        created_at=script.created_at,
        updated_at=script.updated_at,
    )


def bookmark_answer(bookmark: Bookmark) -> BookmarkAnswer:
    return BookmarkAnswer(
        bookmark_id=bookmark.bookmark_id,
        script_id=bookmark.script_id,
        position=seconds(bookmark.position_ms),
        title=bookmark.title,
        note=bookmark.note,
        created_at=bookmark.created_at,
        updated_at=bookmark.updated_at,
    )


def _percent(place_ms: int, duration_ms: int) -> float:
    return round(100 * place_ms / duration_ms, 2)


def calendar_time(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
