"""The use cases on the real stores: several processes, sessions in PostgreSQL, a Valkey that forgets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
from msgspec.structs import replace

from playhead.app.embedded import EmbeddedValkey
from playhead.auth.tokens import Principal
from playhead.db import Database, JournalRepository, Script, ScriptRepository, SessionRepository
from playhead.db.migrate import Connection
from playhead.playback.commands import Command, End, Offline, Origin, Pause, Play, Report, Seek
from playhead.playback.rejections import Code, Rejection
from playhead.sessions.answers import Outcome
from playhead.sessions.journal import OfflineInterval
from playhead.sessions.service import Snapshot
from tests.integration.db.rows import listener, uploaded
from tests.integration.sessions.flushing import flushing
from tests.integration.sessions.lines import eventually
from tests.support.nodes import Node, start_node
from tests.support.sessions import make_principal, new_id

PHONE = Origin(device_id="phone", connection_id="phone-1")
DESK = Origin(device_id="desk", connection_id="desk-1")


@pytest.fixture
def sessions(database: Database) -> SessionRepository:
    return SessionRepository(database)


@pytest.fixture
async def script(database: Database) -> Script:
    return await uploaded(ScriptRepository(database))


@pytest.fixture
async def nodes(database: Database, valkey_url: str) -> AsyncIterator[tuple[Node, Node]]:
    """Two processes on one Valkey and one PostgreSQL, and a flusher between the two."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(flushing(valkey_url, JournalRepository(database)))
        one, two = [
            await stack.enter_async_context(
                start_node(valkey_url, SessionRepository(database), ScriptRepository(database))
            )
            for _ in range(2)
        ]
        yield one, two


@pytest.fixture
def principal() -> Principal:
    """Somebody whom nobody has seen before."""
    return make_principal(new_id())


async def play(node: Node, principal: Principal, script: Script, origin: Origin = PHONE, **fields: int) -> Outcome:
    outcome = await node.service.play(principal, script.script_id, Play(**fields), origin)  # type: ignore[arg-type]
    assert isinstance(outcome, Outcome), outcome
    return outcome


async def apply(node: Node, outcome: Outcome, command: Command, origin: Origin = PHONE) -> Outcome:
    state = outcome.state
    answer = await node.service.apply(state.listener_id, state.session_id, command, origin)
    assert isinstance(answer, Outcome), answer
    return answer


async def test_devices_that_press_play_at_once_on_several_processes_share_one_session(
    nodes: tuple[Node, Node], principal: Principal, script: Script
) -> None:
    outcomes = await asyncio.gather(
        *(
            play(nodes[number % 2], principal, script, Origin(device_id=f"d{number}", connection_id=f"c{number}"))
            for number in range(6)
        )
    )
    assert len({outcome.state.session_id for outcome in outcomes}) == 1
    assert sum(outcome.created for outcome in outcomes) == 1
    states = [await node.service.live_states(principal.listener_id) for node in nodes]
    assert states[0] == states[1] and len(states[0]) == 1


async def test_commands_of_two_processes_are_all_applied_and_counted(
    nodes: tuple[Node, Node], principal: Principal, script: Script
) -> None:
    begun = await play(nodes[0], principal, script)
    outcomes = [
        await asyncio.gather(
            *(apply(node, begun, Seek(position_ms=1_000 * turn + at)) for at, node in enumerate(nodes, 1))
        )
        for turn in range(15)
    ]
    revisions = [outcome.state.revision for pair in outcomes for outcome in pair]
    assert sorted(revisions) == list(range(2, 32))


async def test_what_was_accepted_becomes_a_row_exactly(
    nodes: tuple[Node, Node], principal: Principal, script: Script, sessions: SessionRepository
) -> None:
    begun = await play(nodes[0], principal, script, position_ms=5_000)
    await apply(nodes[1], begun, Seek(position_ms=90_000))
    last = await apply(nodes[0], begun, Report(position_ms=90_000, revision=2, seq=1))

    # its device is not connected, so that it is missed again after the report
    (state,) = await nodes[0].service.live_states(principal.listener_id)
    assert (state.order, state.position_ms, state.report_seqs) == (last.state.order, 90_000, last.state.report_seqs)

    async def written() -> bool:
        return await sessions.get(begun.state.session_id) == state

    await eventually(written)


async def test_a_report_that_comes_late_takes_no_time_from_a_device_that_is_missed(
    nodes: tuple[Node, Node], principal: Principal, script: Script
) -> None:
    node, listener_id = nodes[0], principal.listener_id
    assert await node.presence.attach(listener_id, "phone-1", "phone", "Phone", "phone")
    begun = await play(node, principal, script)
    # its server goes away, which gives it more time than others have
    await node.service.device_lost(listener_id, "phone", "phone-1", None, 90_000)
    await node.presence.drop(listener_id, "phone-1")
    (missed,) = await node.service.live_states(listener_id)
    assert missed.absent_until_ms is not None
    back = await apply(node, begun, Report(position_ms=0, revision=begun.state.revision, seq=1))
    assert back.state.absent_until_ms is None
    (state,) = await node.service.live_states(listener_id)
    assert state.playing and state.absent_until_ms == missed.absent_until_ms


async def test_an_emptied_valkey_gets_the_session_back_in_a_later_epoch(
    nodes: tuple[Node, Node], principal: Principal, script: Script, sessions: SessionRepository
) -> None:
    begun = await play(nodes[0], principal, script)
    paused = await apply(nodes[0], begun, Seek(position_ms=77_000))

    (state,) = await nodes[0].service.live_states(principal.listener_id)

    async def written() -> bool:
        return await sessions.get(begun.state.session_id) == state

    await eventually(written)
    await nodes[0].store.client.flushall()
    snapshot = await nodes[1].service.join_script(principal, script.script_id)
    assert isinstance(snapshot, Snapshot) and snapshot.state is not None
    assert snapshot.state.epoch > paused.state.epoch
    # its device is not connected, and has a while to come back
    assert snapshot.state.absent_until_ms is not None
    there = {"absent_since_ms": None, "absent_until_ms": None, "epoch": 0, "version": 0}
    assert replace(snapshot.state, **there) == replace(state, **there)
    again = await apply(nodes[1], begun, Pause(position_ms=77_000))
    assert (again.state.revision, again.state.position_ms) == (paused.state.revision + 1, 77_000)
    assert again.state.epoch > paused.state.epoch


async def test_a_session_ended_on_one_process_is_known_on_the_other_at_once(
    nodes: tuple[Node, Node], principal: Principal, script: Script
) -> None:
    begun = await play(nodes[0], principal, script, position_ms=500_000)
    await apply(nodes[0], begun, Pause(position_ms=500_000))
    await apply(nodes[0], begun, End())
    again = await play(nodes[1], principal, script, DESK)
    assert (again.created, again.state.position_ms) == (True, 500_000)


async def test_another_listeners_session_does_not_exist_even_as_a_row(
    nodes: tuple[Node, Node], principal: Principal, script: Script, sessions: SessionRepository
) -> None:
    begun = await play(nodes[0], principal, script)

    async def written() -> bool:
        return await sessions.get(begun.state.session_id) is not None

    await eventually(written)
    await nodes[0].store.client.flushall()
    stranger = listener()["sub"]
    answer = await nodes[1].service.apply(stranger, begun.state.session_id, Pause(), DESK)
    assert isinstance(answer, Rejection) and answer.code is Code.NOT_FOUND


async def test_after_a_crash_of_valkey_the_sessions_go_on_and_a_lower_epoch_is_never_seen_again(
    database: Database, principal: Principal, script: Script, start_valkey: Callable[..., EmbeddedValkey]
) -> None:
    valkey = start_valkey(append_sync="always")
    async with start_node(valkey.url, SessionRepository(database), ScriptRepository(database)) as node:
        begun = await play(node, principal, script, position_ms=5_000)
        paused = await apply(node, begun, Pause(position_ms=5_000))
        valkey.kill()
        valkey.start()
        for _ in range(5):
            await asyncio.sleep(0)
        after = await apply(node, begun, Seek(position_ms=6_000))
        assert after.state.epoch > paused.state.epoch
        assert (after.state.revision, after.state.position_ms) == (paused.state.revision + 1, 6_000)


async def test_batches_that_change_nothing_begin_their_session_and_store_what_they_tell(
    nodes: tuple[Node, Node], principal: Principal, script: Script, sessions: SessionRepository, owner: Connection
) -> None:
    async def tell(position_ms: int, *told: OfflineInterval) -> Outcome:
        batch = Offline(intervals=tuple((row.start_ms, row.end_ms) for row in told), position_ms=position_ms, base=None)
        answer = await nodes[0].service.offline(principal, script.script_id, batch, PHONE, told)
        assert isinstance(answer, Outcome), answer
        return answer

    begun = await tell(0)
    assert begun.created
    assert await nodes[1].service.live_states(principal.listener_id) == (begun.state,)
    times = {"started_at_ms": 1_700_000_000_000, "ended_at_ms": 1_700_000_060_000}
    for told_at_ms in (1, 2):
        stretch = OfflineInterval(device_id="phone", start_ms=0, end_ms=60_000, told_at_ms=told_at_ms, **times)
        last = await tell(60_000, stretch)
    assert last.state.session_id == begun.state.session_id and last.state.revision == 2

    async def written() -> bool:
        count = await owner.fetchval(
            "select count(*) from audio_offline_intervals where listener_id = $1", principal.listener_id
        )
        return count == 2 and await sessions.get(begun.state.session_id) == last.state

    await eventually(written)
