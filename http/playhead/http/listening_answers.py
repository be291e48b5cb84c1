"""What REST answers of what was listened to: sessions, their histories, played time by day."""

from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from playhead.db import Played
from playhead.http.answers import SCRIPT_ID, SESSION_ID, STATE_EXAMPLE, StateAnswer, calendar_time, state_answer
from playhead.playback.history import Move
from playhead.playback.state import SessionState, position_at
from playhead.sessions.answers import Outcome
from playhead.sessions.codec import listening_payload, seconds
from playhead.sessions.listening import Listed


class ListedSession(BaseModel):
    """One of the listener's sessions, as it is now."""

    session_id: str
    script_id: str
    live: bool = Field(description="Whether it can still be played: it has not ended, nor been left alone for 2 h.")
    playing: bool
    position: float = Field(description="Where the playhead is now, in seconds.")
    duration: float
    rate: float
    total_listened: float = Field(description="Seconds of the script that were heard, each counted once.")
    played_seconds: float = Field(description="Seconds that were played, repeats included.")
    finished: bool
    started_at: datetime
    changed_at: datetime
    ended_at: datetime | None


class SessionsAnswer(BaseModel):
    """The listener's sessions, latest started first. `next_cursor` null: there are no more."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "sessions": [
                        {
                            "session_id": SESSION_ID,
                            "script_id": SCRIPT_ID,
                            "live": False,
                            "playing": False,
                            "position": 130.5,
                            "duration": 3600.0,
                            "rate": 1.0,
                            "total_listened": 130.5,
                            "played_seconds": 190.0,
                            "finished": False,
                            "started_at": "2026-11-23T03:11:00Z",
                            "changed_at": "2026-11-23T03:20:10Z",
                            "ended_at": "2026-11-23T03:20:10Z",
                        }
                    ],
                    "next_cursor": None,
                }
            ]
        }
    )

    sessions: list[ListedSession]
    next_cursor: str | None


class HistoryEntry(BaseModel):
    """A place that the playhead was moved from and to, or one that was refused."""

    model_config = ConfigDict(serialize_by_alias=True)

    entry_id: str = Field(description="What `restore` takes.")
    kind: Literal["move", "conflict"] = Field(description="`conflict`: `to` was reported, and not taken.")
    cause: str = Field(description="The command that moved it; `conflict` for a refused place.")
    from_: float = Field(alias="from", description="Where the playhead was, in seconds.")
    to: float
    restores: float = Field(description="The place that `restore` leads back to, in seconds.")
    device_id: str | None = Field(description="null: the server did it by itself.")
    at: datetime


class HistoryAnswer(BaseModel):
    """The latest moves of a session, and the latest places that were refused; newest first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "session_id": SESSION_ID,
                    "entries": [
                        {
                            "entry_id": "1795402260000-7",
                            "kind": "move",
                            "cause": "seek",
                            "from": 120.5,
                            "to": 0.0,
                            "restores": 120.5,
                            "device_id": "phone-1",
                            "at": "2026-11-23T03:11:00Z",
                        }
                    ],
                }
            ]
        }
    )

    session_id: str
    entries: list[HistoryEntry]


class OfflineAnswer(StateAnswer):
    """The session after a batch that was taken with its place."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **STATE_EXAMPLE,
                    "server_time": 1_763_868_000_000,
                    "saved": True,
                    "total_listened": 120.5,
                    "progress_percent": 3.35,
                }
            ]
        }
    )

    saved: bool
    total_listened: float = Field(description="Seconds of the script that were heard, each counted once.")
    progress_percent: float = Field(description="100 x position / duration, two decimals.")


class PlayedDay(BaseModel):
    """Seconds of audio that were played on one day, repeats included."""

    date: date
    played_seconds: float
    offline_seconds: float = Field(description="The part of it that was played without a connection.")


class PlayedTotals(BaseModel):
    played_seconds: float
    offline_seconds: float
    days: int = Field(description="Days on which something was played.")
    scripts: int = Field(description="Different scripts that were played.")


class StatsAnswer(BaseModel):
    """Played time of each day from `from` to `to`, both included, in the time zone `tz`."""

    model_config = ConfigDict(
        serialize_by_alias=True,
        json_schema_extra={
            "examples": [
                {
                    "tz": "Europe/Berlin",
                    "from": "2026-11-01",
                    "to": "2026-11-02",
                    "days": [
                        {"date": "2026-11-01", "played_seconds": 1830.5, "offline_seconds": 600.0},
                        {"date": "2026-11-02", "played_seconds": 0.0, "offline_seconds": 0.0},
                    ],
                    "totals": {"played_seconds": 1830.5, "offline_seconds": 600.0, "days": 1, "scripts": 2},
                }
            ]
        },
    )

    tz: str
    from_: date = Field(alias="from")
    to: date
    days: list[PlayedDay]
    totals: PlayedTotals


def listed_session(listed: Listed, now_ms: int) -> ListedSession:
    state = listed.state
    return ListedSession(
        session_id=state.session_id,
        script_id=state.script_id,
        live=listed.live,
        playing=listed.live and state.playing,
        position=seconds(_place_ms(listed, now_ms)),
        duration=seconds(state.duration_ms),
        rate=state.rate,
        total_listened=listening_payload(state)["total_listened"],
        played_seconds=seconds(state.played_ms),
        finished=state.finished,
        started_at=calendar_time(state.started_at_ms),
        changed_at=calendar_time(state.changed_at_ms),
        ended_at=None if state.ended_at_ms is None else calendar_time(state.ended_at_ms),
    )


def _place_ms(listed: Listed, now_ms: int) -> int:
    """Of a session that was lost while it played, the place that was heard last."""
    state: SessionState = listed.state
    return position_at(state, now_ms) if listed.live or not state.playing else state.heard_ms


def history_entry(move: Move) -> HistoryEntry:
    return HistoryEntry.model_validate(
        {
            "entry_id": move.entry_id,
            "kind": "conflict" if move.refused else "move",
            "cause": move.cause,
            "from": seconds(move.from_ms),
            "to": seconds(move.to_ms),
            "restores": seconds(move.restored_ms),
            "device_id": move.device_id,
            "at": calendar_time(move.at_ms),
        }
    )


def offline_answer(outcome: Outcome) -> OfflineAnswer:
    answer = state_answer(outcome.state, outcome.cause_of_state, outcome.server_time_ms)
    fields: dict[str, Any] = {**answer.model_dump(), **listening_payload(outcome.state)}
    return OfflineAnswer(**fields, saved=True)


def stats_answer(tz: str, days: list[date], played: Played) -> StatsAnswer:
    rows = [
        PlayedDay(
            date=day, played_seconds=seconds(row.online_ms + row.offline_ms), offline_seconds=seconds(row.offline_ms)
        )
        for day, row in zip(days, played.days, strict=True)
    ]
    offline_ms = sum(row.offline_ms for row in played.days)
    totals = PlayedTotals(
        played_seconds=seconds(offline_ms + sum(row.online_ms for row in played.days)),
        offline_seconds=seconds(offline_ms),
        days=sum(row.played_seconds > 0 for row in rows),
        scripts=played.scripts,
    )
    return StatsAnswer.model_validate({"tz": tz, "from": days[0], "to": days[-1], "days": rows, "totals": totals})
