"""The use cases of playback over REST: each asks the session service once and shapes its answer."""

from playhead.http.answers import PlayAnswer, ProgressAnswer, State, session_answer, state_answer, summary_answer
from playhead.http.bodies import (
    EndFields,
    LoopBody,
    PauseBody,
    PlayBody,
    ProgressBody,
    RateBody,
    SeekBody,
    SessionPath,
    TransferBody,
    origin_of,
)
from playhead.http.listening_bodies import ModeBody, SleepBody
from playhead.http.route import Answer, Call
from playhead.playback.commands import Command, End
from playhead.playback.rejections import Code, Rejection
from playhead.playback.state import position_at
from playhead.sessions.answers import Outcome
from playhead.sessions.codec import listening_payload, seconds, state_payload
from playhead.sessions.streams import session_stream

Steering = PauseBody | SeekBody | LoopBody | RateBody | ModeBody | SleepBody
"""Bodies of commands that answer the state and name the device that acts."""


async def play(call: Call[PlayBody]) -> Answer | Rejection:
    sessions, principal, body = call.services.sessions, call.principal, call.fields
    origin = origin_of(body.device_id, body.command_id)
    if body.session_id is not None:
        outcome = await sessions.resume(principal, body.session_id, body.command(), origin, *body.expected)
    else:
        assert body.script_id is not None, "the model takes one of both"
        outcome = await sessions.play(principal, body.script_id, body.command(), origin, *body.expected)
    return outcome if isinstance(outcome, Rejection) else await _playing(call, outcome)


async def _playing(call: Call[PlayBody], outcome: Outcome) -> Answer:
    services, state = call.services, outcome.state
    link = await session_stream(services.scripts, services.links, call.principal.claims, state, outcome.script)
    body = PlayAnswer(
        session_id=state.session_id,
        stream_url=None if link is None else link.url,
        start_position=seconds(position_at(state, outcome.server_time_ms)),
        revision=state.revision,
        state=State.model_validate(state_payload(state, outcome.cause_of_state)),
        server_time=outcome.server_time_ms,
    )
    return Answer(body, status=201 if outcome.created else 200)


async def steer(call: Call[Steering]) -> Answer | Rejection:
    """pause, seek, loop, rate, mode, sleep: the session after it."""
    body = call.fields
    return state_after(await _apply(call, body.session_id, body.command(), body.device_id))


async def transfer(call: Call[TransferBody]) -> Answer | Rejection:
    body = call.fields
    return state_after(await _apply(call, body.session_id, body.command(), None))


async def progress(call: Call[ProgressBody]) -> Answer | Rejection:
    body = call.fields
    outcome = await _apply(call, body.session_id, body.command(), body.device_id)
    if isinstance(outcome, Rejection):
        return outcome
    body.note(call.services.metrics)
    return Answer(ProgressAnswer(saved=True, **listening_payload(outcome.state), revision=outcome.state.revision))


async def end(call: Call[EndFields]) -> Answer | Rejection:
    fields = call.fields
    origin = origin_of(fields.device_id, fields.command_id)
    outcome = await call.services.sessions.apply(call.principal.listener_id, fields.session_id, End(), origin)
    return outcome if isinstance(outcome, Rejection) else Answer(summary_answer(outcome.state))


async def session(call: Call[SessionPath]) -> Answer | Rejection:
    """The session as it is, also for the while after its end in which the store still has it."""
    services, listener_id = call.services, call.principal.listener_id
    found = await services.sessions.join_session(listener_id, call.fields.session_id)
    if isinstance(found, Rejection) and found.code is not Code.SESSION_ENDED:
        return found
    assert found.state is not None, "a session that was found has a state"
    devices = await services.presence.devices(listener_id)
    return Answer(session_answer(found.state, devices, services.clock.now_ms()))


async def _apply(
    call: Call[Steering] | Call[TransferBody] | Call[ProgressBody],
    session_id: str,
    command: Command,
    device_id: str | None,
) -> Outcome | Rejection:
    body = call.fields
    return await call.services.sessions.apply(
        call.principal.listener_id,
        session_id,
        command,
        origin_of(device_id, body.command_id),
        *body.expected,
    )


def state_after(outcome: Outcome | Rejection) -> Answer | Rejection:
    """What a command answers that leaves a state behind."""
    if isinstance(outcome, Rejection):
        return outcome
    return Answer(state_answer(outcome.state, outcome.cause_of_state, outcome.server_time_ms))
