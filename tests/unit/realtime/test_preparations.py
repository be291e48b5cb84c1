"""Devices are told how far the scripts are that they have joined: once at the join, then what is heard, to the end."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from structlog.testing import capture_logs

from playhead.db import DatabaseUnavailable, Script
from playhead.realtime import preparations
from playhead.realtime.connections import Connection, Connections
from playhead.realtime.preparations import FOLLOWED_MAX, READY_TOLD_MS, Preparations
from playhead.sessions.memory_store import MemoryStore
from playhead.sessions.requests import Device
from playhead.sessions.script_news import News, OnMissed, OnNews, news_of
from playhead.sessions.store import StoreUnavailable
from tests.support.sessions import HeldScripts, SetClock, make_principal, make_script
from tests.support.states import LISTENER_ID, NOW_MS, OTHER_LISTENER_ID, OTHER_SCRIPT_ID, SCRIPT_ID

NOW = datetime.fromtimestamp(NOW_MS / 1000, UTC)
HALF = make_script(status="processing", progress=0.5, updated_at=NOW)
READY = make_script(updated_at=NOW)
LONG_READY = replace(READY, updated_at=datetime.fromtimestamp((NOW_MS - READY_TOLD_MS) / 1000, UTC))


class Rows(HeldScripts):
    """Scripts with their visibility. `meanwhile`: what happens while the next row is read."""

    def __init__(self) -> None:
        super().__init__(HALF, replace(HALF, script_id=OTHER_SCRIPT_ID))
        self.reads, self.questions = 0, 0
        self.meanwhile: list[Any] = []

    async def get(self, claims: Mapping[str, str], script_id: str) -> Script | None:
        self.questions += 1
        script = await super().get(claims, script_id)
        heard = script is not None and (script.visibility == "listeners" or script.owner_id == claims["sub"])
        return script if heard else None

    async def stored_of(self, script_ids: Sequence[str]) -> tuple[Script, ...]:
        self.reads += 1
        if self.down:
            raise DatabaseUnavailable("PostgreSQL is away.")
        rows = tuple(self.by_id[script_id] for script_id in script_ids if script_id in self.by_id)
        if self.meanwhile:
            await self.meanwhile.pop(0)
        return rows


class HandNews:
    """ScriptNews that the test tells by hand."""

    look_interval_s = 3_600.0

    def __init__(self) -> None:
        self.following: set[str] = set()
        self.down = False
        self.heard: OnNews | None = None
        self.missed: OnMissed | None = None

    def start(self, heard: OnNews, missed: OnMissed) -> None:
        self.heard, self.missed = heard, missed

    async def stop(self) -> None:
        pass

    async def follow(self, script_id: str) -> None:
        self.following.add(script_id)
        if self.down:
            raise StoreUnavailable("away")

    def unfollow(self, script_id: str) -> None:
        self.following.remove(script_id)

    async def hear(self, script: Script) -> None:
        assert self.heard is not None
        if script.script_id in self.following:
            await self.heard(script.script_id, news_of(script))


class Desk:
    """A node with connections, and what each was told: connection, status and progress."""

    def __init__(self) -> None:
        self.rows, self.news, self.clock = Rows(), HandNews(), SetClock()
        self.connections = Connections(MemoryStore(self.clock))
        self.preparations = Preparations(self.connections, self.rows, self.news, self.clock)
        self.sent: asyncio.Queue[tuple[str, str, float]] = asyncio.Queue()

    async def send(self, connection_id: str, event: str, data: dict[str, Any]) -> None:
        assert event == "prepare"
        await self.sent.put((connection_id, data["status"], data["progress"]))

    async def connect(self, connection_id: str = "c1", listener_id: str = LISTENER_ID) -> Connection:
        connection = Connection(
            connection_id=connection_id,
            principal=make_principal(listener_id),
            device=Device(id=connection_id, name="n", kind="phone"),
            last_packet_at_ms=NOW_MS,
        )
        await self.connections.enter(connection)
        return connection

    async def join(
        self, connection_id: str = "c1", listener_id: str = LISTENER_ID, script_id: str = SCRIPT_ID
    ) -> Connection:
        connection = self.connections.get(connection_id) or await self.connect(connection_id, listener_id)
        self.preparations.join(connection, script_id)
        await self.preparations.work()
        return connection

    def set(self, **fields: Any) -> Script:
        """The script's row changes."""
        script = self.rows.by_id[SCRIPT_ID] = replace(self.rows.by_id[SCRIPT_ID], **fields)
        return script

    def told(self) -> list[tuple[str, str, float]]:
        """All that was sent since the last call."""
        return [self.sent.get_nowait() for _ in range(self.sent.qsize())]


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """Its task does not run: a test calls `work` where the task would."""
    desk = Desk()
    desk.preparations.start(desk.send)
    await desk.preparations.stop()
    yield desk


async def test_a_device_that_joins_is_told_how_far_the_script_is_and_then_what_is_heard(desk: Desk) -> None:
    await desk.join()
    assert desk.told() == [("c1", "processing", 0.5)]
    await desk.news.hear(replace(HALF, progress=0.75))
    assert desk.told() == [("c1", "processing", 0.75)]


async def test_the_end_is_the_last_that_is_told_and_the_node_leaves_the_channel(desk: Desk) -> None:
    await desk.join("c1")
    await desk.join("c2", OTHER_LISTENER_ID)
    assert desk.news.following == {SCRIPT_ID}
    desk.told()
    await desk.news.hear(READY)
    assert sorted(desk.told()) == [("c1", "ready", 1.0), ("c2", "ready", 1.0)]
    assert desk.news.following == set()


async def test_a_script_that_has_failed_is_followed_on_as_it_may_be_put_back_to_work(desk: Desk) -> None:
    await desk.join()
    await desk.news.hear(replace(HALF, status="failed"))
    await desk.news.hear(replace(HALF, progress=0.0))
    assert desk.told()[1:] == [("c1", "failed", 0.5), ("c1", "processing", 0.0)]


async def test_the_node_leaves_the_channel_with_the_last_device_that_leaves_or_goes(desk: Desk) -> None:
    await desk.join("c1")
    await desk.join("c2")
    desk.preparations.leave("c1", SCRIPT_ID)
    desk.told()
    await desk.news.hear(replace(HALF, progress=0.75))
    assert desk.told() == [("c2", "processing", 0.75)]
    await desk.connections.leave("c2")
    assert desk.news.following == set()


async def test_nobody_who_may_not_hear_the_script_is_told_of_it(desk: Desk) -> None:
    desk.set(visibility="private")
    await desk.join("c2", OTHER_LISTENER_ID)
    assert desk.told() == [] and desk.news.following == set()
    await desk.join("c1")
    await desk.news.hear(desk.set(progress=0.75))
    assert [connection_id for connection_id, _, _ in desk.told()] == ["c1", "c1"]


@pytest.mark.parametrize("heard", [True, False])
async def test_when_its_audience_changes_all_who_follow_it_are_asked_for_anew(desk: Desk, heard: bool) -> None:
    """Whether that comes with its news, or is found in its row."""
    await desk.join("c1")
    await desk.join("c2", OTHER_LISTENER_ID)
    desk.told()
    private = desk.set(visibility="private", progress=0.75)
    if heard:
        await desk.news.hear(private)
    else:
        await desk.preparations._miss(SCRIPT_ID)
    await desk.preparations.work()
    assert desk.told() == [("c1", "processing", 0.75)]


async def test_a_script_that_became_ready_lately_is_told_so_at_the_join_and_followed_no_further(desk: Desk) -> None:
    """A device that was away may still show an earlier progress."""
    desk.rows.by_id[SCRIPT_ID] = READY
    await desk.join()
    assert desk.told() == [("c1", "ready", 1.0)] and desk.news.following == set()


async def test_of_a_script_that_has_long_been_ready_nothing_is_told_and_only_once_is_asked(desk: Desk) -> None:
    desk.rows.by_id[SCRIPT_ID] = LONG_READY
    await desk.join("c1")
    await desk.join("c2")
    assert desk.told() == [] and desk.rows.reads == 1


async def test_who_may_hear_it_is_asked_of_a_private_script_alone(desk: Desk) -> None:
    """After a restart very many devices come at once."""
    for number in range(3):
        await desk.join(f"c{number}")
    assert desk.rows.questions == 0
    desk.set(visibility="private")
    await desk.join("c3")
    assert desk.rows.questions > 0


async def test_a_script_that_is_not_there_is_nothing(desk: Desk) -> None:
    del desk.rows.by_id[SCRIPT_ID]
    await desk.join()
    assert desk.told() == [] and not desk.preparations._newcomers


async def test_a_device_that_joins_again_is_told_again_and_everything_once_after_that(desk: Desk) -> None:
    await desk.join()
    await desk.join()
    assert desk.told() == [("c1", "processing", 0.5)] * 2
    await desk.news.hear(replace(HALF, progress=0.75))
    assert desk.told() == [("c1", "processing", 0.75)]


async def test_what_happens_between_the_row_and_the_channel_is_told(desk: Desk) -> None:
    """The row says a half when it is read first; by the time of the subscription it is ready, and no news will come."""

    async def finish() -> None:
        desk.rows.by_id[SCRIPT_ID] = READY

    desk.rows.meanwhile = [finish()]
    await desk.join()
    assert desk.told() == [("c1", "ready", 1.0)]


async def test_what_is_heard_while_a_row_is_read_is_later_than_the_row(desk: Desk) -> None:
    await desk.join()
    desk.told()
    desk.rows.meanwhile = [desk.news.hear(replace(HALF, progress=0.75))]
    await desk.preparations._miss(SCRIPT_ID)
    await desk.preparations.work()
    assert desk.told() == [("c1", "processing", 0.75)]


async def test_after_a_gap_the_row_tells_what_was_lost_and_nothing_twice(desk: Desk) -> None:
    await desk.join()
    desk.told()
    await desk.preparations._miss(SCRIPT_ID)
    await desk.preparations.work()
    assert desk.told() == []
    desk.rows.by_id[SCRIPT_ID] = READY
    await desk.preparations._miss(SCRIPT_ID)
    await desk.preparations.work()
    assert desk.told() == [("c1", "ready", 1.0)]


async def test_while_the_store_is_away_the_row_is_told_and_the_channel_stays_wanted(desk: Desk) -> None:
    desk.news.down = True
    await desk.join()
    assert desk.told() == [("c1", "processing", 0.5)] and desk.news.following == {SCRIPT_ID}


async def test_while_postgresql_is_away_who_has_joined_waits(desk: Desk) -> None:
    desk.rows.down = True
    with pytest.raises(DatabaseUnavailable):
        await desk.join()
    desk.rows.down = False
    await desk.preparations.work()
    assert desk.told() == [("c1", "processing", 0.5)]


async def test_an_outage_of_postgresql_is_logged_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparations, "RETRY_INTERVAL_S", 0.001)
    desk.preparations.start(desk.send)
    for told in (1, 2):
        with capture_logs() as logs:
            desk.rows.down, desk.rows.reads = True, 0
            desk.preparations.join(await desk.connect(f"c{told}"), SCRIPT_ID)
            async with asyncio.timeout(5):
                while desk.rows.reads < 5:
                    await asyncio.sleep(0)
                desk.rows.down = False
                await desk.sent.get()
        assert [row["action"] for row in logs] == ["progress_unread"]
    await desk.preparations.stop()


async def test_a_device_that_goes_while_it_is_asked_about_is_not_followed_for(desk: Desk) -> None:
    connection = await desk.connect()
    desk.rows.meanwhile = [desk.connections.leave("c1")]
    desk.preparations.join(connection, SCRIPT_ID)
    await desk.preparations.work()
    desk.preparations.join(connection, SCRIPT_ID)
    await desk.preparations.work()
    assert desk.told() == [] and desk.news.following == set() and not desk.preparations._joined


@pytest.mark.parametrize("past", [0, 1])
async def test_a_connection_hears_of_the_scripts_that_it_joined_last(desk: Desk, past: int) -> None:
    ids = [f"script-{number}" for number in range(FOLLOWED_MAX + past)]
    for script_id in ids:
        desk.rows.by_id[script_id] = replace(HALF, script_id=script_id)
        await desk.join(script_id=script_id)
    assert desk.news.following == set(ids[past:])


async def test_the_task_looks_when_somebody_joins_and_by_itself_after_a_while(desk: Desk) -> None:
    desk.news.look_interval_s = 0.01
    desk.preparations.start(desk.send)
    async with asyncio.timeout(10):
        connection = await desk.connect()
        desk.preparations.join(connection, SCRIPT_ID)
        assert await desk.sent.get() == ("c1", "processing", 0.5)
        desk.set(progress=0.75)
        assert await desk.sent.get() == ("c1", "processing", 0.75)
    await desk.preparations.stop()


def test_who_may_hear_a_script_is_part_of_its_news() -> None:
    assert news_of(HALF).audience == "listeners"
    assert news_of(replace(HALF, visibility="private")).audience == LISTENER_ID
    assert not news_of(HALF).final and news_of(READY).final
    assert isinstance(news_of(HALF), News)
