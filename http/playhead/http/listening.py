"""The use cases of what was listened to: histories and going back in them, offline batches, sessions, played time."""

from playhead.http.bodies import origin_of
from playhead.http.listening_answers import (
    HistoryAnswer,
    SessionsAnswer,
    history_entry,
    listed_session,
    offline_answer,
    stats_answer,
)
from playhead.http.listening_bodies import HistoryPath, OfflineBody, RestoreBody, SessionsFields, StatsFields
from playhead.http.playing import state_after
from playhead.http.route import Answer, Call
from playhead.playback.rejections import Rejection


async def history(call: Call[HistoryPath]) -> Answer | Rejection:
    session_id = call.fields.session_id
    found = await call.services.sessions.history(call.principal.listener_id, session_id)
    if isinstance(found, Rejection):
        return found
    return Answer(HistoryAnswer(session_id=session_id, entries=[history_entry(move) for move in found]))


async def restore(call: Call[RestoreBody]) -> Answer | Rejection:
    body, origin = call.fields, origin_of(call.fields.device_id, call.fields.command_id)
    return state_after(
        await call.services.sessions.restore(
            call.principal.listener_id, body.session_id, body.entry_id, origin, *body.expected
        )
    )


async def offline(call: Call[OfflineBody]) -> Answer | Rejection:
    services, body = call.services, call.fields
    origin, now_ms = origin_of(body.device_id, body.command_id), services.clock.now_ms()
    outcome = await services.sessions.offline(
        call.principal,
        body.script_id,
        body.command(),
        origin,
        [row.interval(origin.device_id, now_ms) for row in body.intervals],
        body.base_session_id,
    )
    return outcome if isinstance(outcome, Rejection) else Answer(offline_answer(outcome))


async def sessions(call: Call[SessionsFields]) -> Answer | Rejection:
    services, fields = call.services, call.fields
    page = await services.listening.sessions(call.principal.listener_id, fields.limit, fields.cursor)
    now_ms = services.clock.now_ms()
    rows = [listed_session(listed, now_ms) for listed in page.items]
    return Answer(SessionsAnswer(sessions=rows, next_cursor=page.next_cursor))


async def stats(call: Call[StatsFields]) -> Answer | Rejection:
    fields = call.fields
    played = await call.services.listening.played(call.principal.claims, fields.zone, fields.from_, fields.to)
    return Answer(stats_answer(fields.tz, fields.days, played))
