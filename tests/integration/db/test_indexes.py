"""Every query of a listener's request can be answered from an index, in the index's order, whatever the tables hold.

Not which plan the planner prefers (that depends on statistics, costs and the version), but whether the indexes allow
one without reading a table through or sorting: with both switched off, they appear only where nothing else is possible.
"""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from playhead.db import bookmarks, journal, leases, listening, loudness, scripts, sessions
from playhead.db.codecs import time_from_us
from playhead.db.migrate import Connection
from playhead.db.paging import AFTER_ALL, BEFORE_ALL
from playhead.db.pool import begin_as
from tests.integration.db.rows import new_id

LISTENER, SCRIPT = new_id(), new_id()
LATEST = (time_from_us(AFTER_ALL.key), AFTER_ALL.row_id)

AS_LISTENER: dict[str, tuple[str, tuple[object, ...]]] = {
    "a script": (scripts.GET, (SCRIPT,)),
    "scripts to pick from": (scripts.LIST_VISIBLE, (*LATEST, 50)),
    "own session": (sessions.GET, (SCRIPT,)),
    "a bookmark": (bookmarks.GET, (SCRIPT,)),
    "played by day": (listening.PLAYED, ([1, 2, 3], 1, 3)),
    "played offline by day": (listening.PLAYED_OFFLINE, ([LATEST[0]] * 3, LATEST[0], LATEST[0])),
    "scripts that were played": (listening.SCRIPTS, (1, 3, LATEST[0], LATEST[0])),
    "bookmarks of a script": (bookmarks.LIST, (SCRIPT, BEFORE_ALL.key, BEFORE_ALL.row_id, 50)),
}
AS_SERVICE: dict[str, tuple[str, tuple[object, ...]]] = {
    "a script": (scripts.GET, (SCRIPT,)),
    "the next script to measure": (loudness.TAKE, (60.0,)),
    "chapters of many": (scripts.MARKS_OF, ([SCRIPT],)),
    "unfinished scripts": (scripts.UNFINISHED, (100,)),
    "an owner's unfinished scripts": (scripts.UNFINISHED_OF, (LISTENER, 100)),
    "an owner's script of the same file": (scripts.SAME_FILE, (LISTENER, "0" * 16, 10, "private")),
    "a session": (sessions.GET, (SCRIPT,)),
    "a session's moves": (sessions.MOVES, (SCRIPT,)),
    "the moves to forget": (journal.FORGET_MOVES, ([SCRIPT], 100)),
    "sessions of many": (sessions.GET_OF, ([SCRIPT],)),
    "the last places of many": (sessions.LATEST_OF, ([LISTENER], [SCRIPT])),
    "recent sessions": (sessions.LIST_RECENT, (LISTENER, *LATEST, 50)),
    "live sessions": (sessions.LIST_LIVE, (LISTENER, *LATEST, 50)),
    "sessions without an end": (sessions.UNENDED, (100,)),
    "the latest epoch of a session that may come back": (leases.TAKE, (LISTENER, "here", 15.0, leases.SERVERS, None)),
}


@pytest.fixture
async def explaining(owner: Connection) -> AsyncIterator[Connection]:
    await owner.execute("analyze")
    await owner.execute("set enable_seqscan = off; set enable_sort = off; set enable_bitmapscan = off")
    yield owner


def nodes(plan: dict[str, Any]) -> Iterator[str]:
    """The kinds of the plan's steps, with what they read."""
    yield f"{plan['Node Type']} {plan.get('Index Name', plan.get('Relation Name', ''))}".strip()
    for part in plan.get("Plans", []):
        yield from nodes(part)


async def explain(connection: Connection, query: str, arguments: tuple[object, ...]) -> list[str]:
    answer = await connection.fetchval(f"explain (format json, costs off) {query}", *arguments)
    return list(nodes(json.loads(answer)[0]["Plan"]))


def refuse_scans(steps: list[str]) -> None:
    scans = [step for step in steps if step.startswith(("Seq Scan", "Sort", "Incremental Sort", "Bitmap"))]
    assert not scans, f"no index serves this: {scans} in {steps}"
    assert any("Index" in step for step in steps)


@pytest.mark.parametrize("name", AS_LISTENER)
async def test_a_listeners_query_is_served_by_an_index_under_row_level_security(
    explaining: Connection, name: str
) -> None:
    query, arguments = AS_LISTENER[name]
    await explaining.execute(begin_as({"sub": LISTENER}))
    try:
        refuse_scans(await explain(explaining, query, arguments))
    finally:
        await explaining.execute("rollback")


@pytest.mark.parametrize("name", AS_SERVICE)
async def test_the_services_query_is_served_by_an_index(explaining: Connection, name: str) -> None:
    query, arguments = AS_SERVICE[name]
    await explaining.execute("begin; set local role service_role")
    try:
        refuse_scans(await explain(explaining, query, arguments))
    finally:
        await explaining.execute("rollback")


@pytest.mark.parametrize("table", ["audio_sessions", "audio_bookmarks", "audio_offline_intervals"])
async def test_deleting_a_script_finds_what_hangs_on_it_by_an_index(explaining: Connection, table: str) -> None:
    refuse_scans(await explain(explaining, f"delete from {table} where script_id = $1", (SCRIPT,)))


@pytest.mark.parametrize("table", ["audio_position_history", "audio_listening"])
async def test_deleting_a_session_finds_what_hangs_on_it_by_an_index(explaining: Connection, table: str) -> None:
    refuse_scans(await explain(explaining, f"delete from {table} where session_id = $1", (SCRIPT,)))


async def test_the_check_itself_notices_a_query_without_an_index(explaining: Connection) -> None:
    with pytest.raises(AssertionError, match="no index"):
        refuse_scans(await explain(explaining, "select * from audio_sessions where rate = 2", ()))
    with pytest.raises(AssertionError, match="no index"):
        refuse_scans(await explain(explaining, "select id from audio_bookmarks order by title", ()))
