"""The routes of what was listened to, and of the commands that came with it; rows of the table in `routes.py`."""

from playhead.http import listening, playing
from playhead.http.answers import StateAnswer
from playhead.http.listening_answers import HistoryAnswer, OfflineAnswer, SessionsAnswer, StatsAnswer
from playhead.http.listening_bodies import (
    HistoryPath,
    ModeBody,
    OfflineBody,
    RestoreBody,
    SessionsFields,
    SleepBody,
    StatsFields,
)
from playhead.http.refusals import COMMAND
from playhead.http.route import Good, api
from playhead.playback.rejections import Code

_STATE = (Good(200, "The state after it, which every device sees.", StateAnswer),)

LISTENING = (
    api(
        "POST",
        "/mode",
        "mode",
        playing.steer,
        fields=ModeBody,
        tag="playback",
        summary="One device sounds (`handoff`), or all of them do in unison (`together`).",
        good=_STATE,
        refusals=COMMAND,
        command=True,
    ),
    api(
        "POST",
        "/sleep",
        "sleep",
        playing.steer,
        fields=SleepBody,
        tag="playback",
        summary="Pause by itself after a time, or at the end of the loop; without either, no longer.",
        good=_STATE,
        refusals=(*COMMAND, Code.NO_LOOP),
        command=True,
    ),
    api(
        "GET",
        "/sessions/{session_id}/history",
        "history",
        listening.history,
        fields=HistoryPath,
        tag="listening",
        summary="The latest places that a session was moved from and to, and those that were refused; newest first.",
        good=(Good(200, "The history.", HistoryAnswer),),
        refusals=(Code.NOT_FOUND,),
    ),
    api(
        "POST",
        "/restore",
        "restore",
        listening.restore,
        fields=RestoreBody,
        tag="listening",
        summary="Go back to the place of an entry of the session's history.",
        good=_STATE,
        refusals=COMMAND,
        command=True,
    ),
    api(
        "POST",
        "/offline",
        "offline",
        listening.offline,
        fields=OfflineBody,
        tag="listening",
        summary="Tell what was played without a connection. A place that is not taken is 409; its time is credited.",
        good=(Good(200, "Credited, and its end is the place.", OfflineAnswer),),
        refusals=(*COMMAND, Code.SCRIPT_NOT_READY, Code.SCRIPT_FAILED),
        command=True,
    ),
    api(
        "GET",
        "/sessions",
        "sessions",
        listening.sessions,
        fields=SessionsFields,
        tag="listening",
        summary="The listener's sessions as they are now, latest started first.",
        good=(Good(200, "A page of sessions.", SessionsAnswer),),
    ),
    api(
        "GET",
        "/stats",
        "stats",
        listening.stats,
        fields=StatsFields,
        tag="listening",
        summary="How long was played on each day, by the calendar of a time zone; repeats count.",
        good=(Good(200, "One row per day, and the totals.", StatsAnswer),),
    ),
)
