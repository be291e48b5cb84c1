"""History and going back, offline batches, lists of sessions and played time over REST, as an app meets them."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from playhead.db import Database, JournalRepository
from playhead.runtime.metrics import create_metrics
from playhead.sessions.flushing import Flusher
from playhead.sessions.redis_journal import RedisJournal
from tests.integration.http.world import Caller, Reply, World
from tests.support.clocks import SystemClock

Flush = Callable[[], Awaitable[None]]


@pytest.fixture
async def anna(world: World) -> Caller:
    return world.listener()


@pytest.fixture
async def script_id(world: World, anna: Caller) -> str:
    return (await world.script(anna)).script_id


@pytest.fixture
async def session_id(anna: Caller, script_id: str) -> str:
    """A session that the REST device plays from 60 s on."""
    found: str = (await anna.play(script_id, position=60))["session_id"]
    return found


@pytest.fixture
async def flush(database: Database, valkey_url: str) -> AsyncIterator[Flush]:
    """Takes the whole journal to PostgreSQL."""
    journal = RedisJournal(valkey_url)
    flusher = Flusher(journal, JournalRepository(database), SystemClock(), create_metrics(CollectorRegistry()))

    async def run() -> None:
        await flusher.turn()
        while (await journal.backlog()).entries:
            await flusher.turn()

    yield run
    await journal.stop()


async def history(caller: Caller, session_id: str) -> list[dict[str, Any]]:
    reply = await caller.get(f"/sessions/{session_id}/history")
    assert reply.status == 200, reply.body
    entries: list[dict[str, Any]] = reply.json["entries"]
    return entries


# History


async def test_a_seek_is_in_the_history_and_can_be_taken_back(anna: Caller, session_id: str, flush: Flush) -> None:
    await anna.post("/pause", {"session_id": session_id, "position": 60})
    await anna.post("/seek", {"session_id": session_id, "position": 1_000, "device_id": "desk"})
    for stored in (False, True):
        if stored:
            await flush()
        seek = (await history(anna, session_id))[0]
        assert (seek["kind"], seek["cause"], seek["from"], seek["to"]) == ("move", "seek", 60.0, 1_000.0)
        assert (seek["restores"], seek["device_id"]) == (60.0, "desk")
        assert abs(datetime.fromisoformat(seek["at"]).timestamp() - time.time()) < 60
    restored = await anna.post("/restore", {"session_id": session_id, "entry_id": seek["entry_id"]})
    assert (restored.status, restored.json["position"], restored.json["cause"]["command"]) == (200, 60.0, "restore")
    newest = (await history(anna, session_id))[0]
    assert (newest["cause"], newest["from"], newest["to"]) == ("restore", 1_000.0, 60.0)


async def test_a_refused_report_is_in_the_history_as_a_conflict_that_can_be_restored(
    anna: Caller, session_id: str
) -> None:
    await anna.post("/pause", {"session_id": session_id, "position": 60})
    report = {"session_id": session_id, "position": 500, "playback_rate": 1, "device_id": "desk", "revision": 1}
    assert (await anna.put("/progress", report)).status == 409
    (conflict,) = [entry for entry in await history(anna, session_id) if entry["kind"] == "conflict"]
    assert (conflict["to"], conflict["restores"], conflict["device_id"]) == (500.0, 500.0, "desk")
    restored = await anna.post("/restore", {"session_id": session_id, "entry_id": conflict["entry_id"]})
    assert restored.json["position"] == 500.0


async def test_the_history_outlives_the_session(anna: Caller, session_id: str, flush: Flush) -> None:
    await anna.post("/seek", {"session_id": session_id, "position": 1_000})
    await anna.delete(f"/session/{session_id}")
    await flush()
    assert [entry["cause"] for entry in await history(anna, session_id)][:2] == ["end", "seek"]


async def test_nobody_sees_or_restores_a_place_of_another(world: World, anna: Caller, session_id: str) -> None:
    entry_id = (await history(anna, session_id) or [{"entry_id": "1-1"}])[0]["entry_id"]
    eve = world.listener()
    for reply in (
        await eve.get(f"/sessions/{session_id}/history"),
        await eve.post("/restore", {"session_id": session_id, "entry_id": entry_id}),
    ):
        assert (reply.status, reply.code) == (404, "not_found")


@pytest.mark.parametrize("entry_id", ["1-1", "conflict:1-1:desk", "nonsense"])
async def test_an_entry_that_is_not_in_the_history_is_404(anna: Caller, session_id: str, entry_id: str) -> None:
    reply = await anna.post("/restore", {"session_id": session_id, "entry_id": entry_id})
    assert (reply.status, reply.code) == (404, "not_found")


# Mode and sleep


async def test_mode_and_sleep_answer_the_state_after_them(anna: Caller, session_id: str) -> None:
    mode = await anna.post("/mode", {"session_id": session_id, "mode": "together"})
    assert (mode.status, mode.json["mode"]) == (200, "together")
    sleep = await anna.post("/sleep", {"session_id": session_id, "after": 600})
    assert sleep.json["sleep_at"] - sleep.json["server_time"] == 600_000
    off = await anna.post("/sleep", {"session_id": session_id})
    assert off.json["sleep_at"] is None


async def test_sleep_at_the_end_of_a_loop_wants_one(anna: Caller, session_id: str) -> None:
    refused = await anna.post("/sleep", {"session_id": session_id, "at_end_of_loop": True})
    assert (refused.status, refused.code) == (409, "no_loop")
    await anna.post("/loop", {"session_id": session_id, "start": 50, "end": 90, "enabled": True})
    taken = await anna.post("/sleep", {"session_id": session_id, "at_end_of_loop": True})
    assert taken.json["sleep_at_end_of_loop"] is True


# Offline


def batch(script_id: str, **fields: Any) -> dict[str, Any]:
    """A minute from the start of the script, listened to until two minutes ago."""
    ended_at = int(time.time() * 1000) - 120_000
    stretch = {"start": 0, "end": 60, "started_at": ended_at - 60_000, "ended_at": ended_at}
    return {"script_id": script_id, "position": 60, "intervals": [stretch], "device_id": "phone", **fields}


async def test_an_offline_batch_is_credited_and_its_end_is_the_place(anna: Caller, script_id: str) -> None:
    body = batch(script_id)
    reply = await anna.post("/offline", body)
    assert (reply.status, reply.json["saved"], reply.json["position"]) == (200, True, 60.0)
    assert (reply.json["total_listened"], reply.json["playing"]) == (60.0, False)
    again = await anna.post("/offline", body)
    assert again.json["total_listened"] == 60.0


async def test_an_offline_place_that_was_overtaken_is_409_with_both_places_and_its_time_is_credited(
    anna: Caller, script_id: str, session_id: str
) -> None:
    before = (await anna.get(f"/session/{session_id}")).json
    base = {"session_id": session_id, "epoch": before["epoch"], "revision": before["revision"]}
    await anna.post("/seek", {"session_id": session_id, "position": 1_000})
    await anna.post("/pause", {"session_id": session_id, "position": 1_000})
    refused = await anna.post("/offline", batch(script_id, base=base))
    assert (refused.status, refused.code) == (409, "conflict")
    assert refused.json["places"] == {"reported": 60.0, "current": 1_000.0}
    assert (await anna.get(f"/session/{session_id}")).json["total_listened"] >= 60.0


@pytest.mark.parametrize(
    "changed",
    [
        {"intervals": [{"start": 60, "end": 0, "started_at": 1, "ended_at": 100_000}]},
        {"intervals": [{"start": 0, "end": 60, "started_at": 1, "ended_at": 1_000}]},
        {"intervals": [{"start": 0, "end": 60}]},
        {"position": -1},
        {"base": {"epoch": 1}},
        {"intervals": "all"},
    ],
)
async def test_a_batch_that_cannot_be_is_422(anna: Caller, script_id: str, changed: dict[str, Any]) -> None:
    reply = await anna.post("/offline", batch(script_id, **changed))
    assert (reply.status, reply.code) == (422, "invalid")


# Sessions


async def test_sessions_are_listed_as_they_are_now(world: World, anna: Caller, session_id: str, flush: Flush) -> None:
    other = (await world.script(anna)).script_id
    ended_id = (await anna.play(other))["session_id"]
    summary = (await anna.delete(f"/session/{ended_id}")).json
    await flush()
    await anna.post("/seek", {"session_id": session_id, "position": 700})
    rows = (await anna.get("/sessions")).json["sessions"]
    assert [row["session_id"] for row in rows] == [ended_id, session_id]
    assert (rows[0]["live"], rows[0]["ended_at"], rows[0]["script_id"]) == (False, summary["ended_at"], other)
    assert (rows[1]["live"], rows[1]["ended_at"], rows[1]["position"] >= 700) == (True, None, True)
    assert (await world.listener().get("/sessions")).json == {"sessions": [], "next_cursor": None}


async def test_a_session_is_listed_before_postgresql_has_it(anna: Caller, session_id: str) -> None:
    rows = (await anna.get("/sessions")).json["sessions"]
    assert [(row["session_id"], row["live"]) for row in rows] == [(session_id, True)]


async def test_sessions_come_page_by_page(world: World, anna: Caller, flush: Flush) -> None:
    expected = [(await anna.play((await world.script(anna)).script_id))["session_id"] for _ in range(3)]
    await flush()
    first = (await anna.get("/sessions?limit=2")).json
    second = (await anna.get(f"/sessions?limit=2&cursor={first['next_cursor']}")).json
    found = [row["session_id"] for row in (*first["sessions"], *second["sessions"])]
    assert (found, second["next_cursor"]) == (expected[::-1], None)


# Played time


async def stats(caller: Caller, query: str) -> Reply:
    return await caller.get(f"/stats?{query}")


async def test_played_time_of_today_online_and_offline(anna: Caller, script_id: str, flush: Flush) -> None:
    await anna.post("/offline", batch(script_id))
    await flush()
    yesterday = (datetime.now(UTC) - timedelta(days=1)).date()
    tomorrow = yesterday + timedelta(days=2)
    reply = await stats(anna, f"tz=UTC&from={yesterday}&to={tomorrow}")
    assert reply.status == 200, reply.body
    assert [day["date"] for day in reply.json["days"]] == [str(yesterday + timedelta(days=n)) for n in range(3)]
    assert sum(day["offline_seconds"] for day in reply.json["days"]) == pytest.approx(60.0)
    assert reply.json["totals"]["played_seconds"] == pytest.approx(60.0)
    assert reply.json["totals"]["scripts"] == 1
    assert (reply.json["tz"], reply.json["from"], reply.json["to"]) == ("UTC", str(yesterday), str(tomorrow))


async def test_a_batch_sent_again_counts_once(anna: Caller, script_id: str, flush: Flush) -> None:
    """Also when the device's clock runs ahead, so that its times are brought back to another moment each time."""
    body = batch(script_id)
    for row in body["intervals"]:
        row |= {"started_at": row["started_at"] + 10**9, "ended_at": row["ended_at"] + 10**9}
    for _ in range(3):
        assert (await anna.post("/offline", body)).status == 200
        await flush()
    day = datetime.now(UTC).date()
    reply = await stats(anna, f"from={day - timedelta(days=1)}&to={day + timedelta(days=1)}")
    assert reply.json["totals"]["played_seconds"] == pytest.approx(60.0)


async def test_a_day_of_the_listeners_zone_is_not_one_of_utc(
    anna: Caller, database: Database, script_id: str, session_id: str, flush: Flush
) -> None:
    """A quarter of an hour from 22:45 UTC on is the last of that day in London and the first of the next in Berlin."""
    await flush()
    slot = int(datetime(2026, 10, 31, 22, 45, tzinfo=UTC).timestamp()) // 900
    async with database.as_service() as connection:
        await connection.execute(
            "insert into audio_listening values ($1, $2, $3, $4, 1000), ($1, $2 + 1, $3, $4, 500)",
            session_id,
            slot,
            anna.listener_id,
            script_id,
        )
    for zone, days in (("Europe/London", [1.5, 0.0]), ("Europe/Berlin", [1.0, 0.5]), ("Asia/Kolkata", [0.0, 1.5])):
        reply = await stats(anna, f"tz={zone}&from=2026-10-31&to=2026-11-01")
        assert [day["played_seconds"] for day in reply.json["days"]] == days, zone


async def test_a_whole_leap_year_is_the_most(anna: Caller) -> None:
    longest = await stats(anna, "from=2028-01-01&to=2028-12-31")
    assert (longest.status, len(longest.json["days"])) == (200, 366)
    one_more = await stats(anna, "from=2028-01-01&to=2029-01-01")
    assert (one_more.status, one_more.code) == (422, "invalid")
    assert "366 days" in one_more.json["detail"]


@pytest.mark.parametrize(
    "query",
    [
        "",
        "from=2026-11-01",
        "to=2026-11-01",
        "from=2026-11-02&to=2026-11-01",
        "from=2026-11-1&to=2026-11-02",
        "from=1793491200&to=1793491200",
        "from=2026-02-30&to=2026-03-01",
        "from=2026-11-01T00:00&to=2026-11-01",
        "from=1999-12-31&to=2000-01-01",
        "from=2999-12-31&to=3000-01-01",
        "tz=&from=2026-11-01&to=2026-11-01",
        "tz=Berlin&from=2026-11-01&to=2026-11-01",
        "tz=europe/berlin&from=2026-11-01&to=2026-11-01",
        "tz=Europe&from=2026-11-01&to=2026-11-01",
        "tz=../../etc/passwd&from=2026-11-01&to=2026-11-01",
        "tz=/etc/localtime&from=2026-11-01&to=2026-11-01",
        "tz=localtime&from=2026-11-01&to=2026-11-01",
        "tz=CET-1CEST&from=2026-11-01&to=2026-11-01",
        "tz=%00&from=2026-11-01&to=2026-11-01",
        "from=2026-11-01&to=2026-11-01&days=1",
    ],
)
async def test_days_that_are_none_and_zones_that_are_none_are_422(anna: Caller, query: str) -> None:
    reply = await stats(anna, query)
    assert (reply.status, reply.code) == (422, "invalid"), reply.body
