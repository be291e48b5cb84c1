"""What surrounds every request: other sites, metrics, failures, readiness."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from playhead.app.embedded import EmbeddedValkey
from playhead.db import Database, open_database
from playhead.http import Services, create_app, valkey_check
from playhead.http.route import API
from playhead.runtime.redis import connect
from playhead.sessions.redis_store import RedisStore
from playhead.sessions.service import SessionService
from tests.integration.http.world import Caller, World, new_id
from tests.support.clocks import SystemClock
from tests.support.counted import requests_counted

FRIEND, STRANGER = "https://app.example.org", "https://elsewhere.example"


async def _calling(services: Services) -> AsyncIterator[World]:
    async with TestClient(TestServer(create_app(services))) as client:
        yield World(client=client, services=services)


class TestOtherSites:
    async def test_a_site_that_is_allowed_may_call(self, world: World) -> None:
        reply = await world.listener().get("/scripts", headers={"Origin": FRIEND})
        assert reply.headers["Access-Control-Allow-Origin"] == FRIEND
        assert "Origin" in reply.headers["Vary"]

    async def test_a_site_that_is_not_allowed_is_told_nothing(self, world: World) -> None:
        reply = await world.listener().get("/scripts", headers={"Origin": STRANGER})
        assert "Access-Control-Allow-Origin" not in reply.headers
        assert "Origin" in reply.headers["Vary"]

    async def test_refusals_can_be_read_by_those_who_may_call(self, world: World) -> None:
        reply = await world.nobody().get("/scripts", headers={"Origin": FRIEND})
        assert (reply.status, reply.headers["Access-Control-Allow-Origin"]) == (401, FRIEND)

    async def test_a_browser_is_told_beforehand_what_it_may_send(self, world: World) -> None:
        asking = {"Origin": FRIEND, "Access-Control-Request-Method": "PUT"}
        reply = await world.nobody().call("OPTIONS", "/progress", headers=asking)
        assert reply.status == 204
        assert reply.headers["Access-Control-Allow-Origin"] == FRIEND
        assert {"GET", "POST", "PUT", "DELETE"} <= set(reply.headers["Access-Control-Allow-Methods"].split(", "))
        assert set(reply.headers["Access-Control-Allow-Headers"].split(", ")) == {
            "Authorization",
            "Content-Range",
            "Content-Type",
        }

    async def test_a_browser_of_a_stranger_is_told_nothing_beforehand(self, world: World) -> None:
        asking = {"Origin": STRANGER, "Access-Control-Request-Method": "PUT"}
        reply = await world.nobody().call("OPTIONS", "/progress", headers=asking)
        assert not [name for name in reply.headers if name.startswith("Access-Control")]

    async def test_with_a_star_every_site_may_call(self, services: Services) -> None:
        async for world in _calling(replace(services, cors_origins=("*",))):
            reply = await world.listener().get("/scripts", headers={"Origin": STRANGER})
            assert reply.headers["Access-Control-Allow-Origin"] == "*"


class TestMetrics:
    async def test_requests_are_counted_by_route_not_by_path(self, world: World) -> None:
        anna = world.listener()
        for _ in range(3):
            await anna.get(f"/scripts/{new_id()}")
        metrics = world.services.metrics
        assert requests_counted(metrics, "GET", f"{API}/scripts/{{script_id}}", "404") == 3
        requests = metrics.requests
        labels = {sample.labels["route"] for metric in requests.collect() for sample in metric.samples}
        assert labels == {f"{API}/scripts/{{script_id}}"}

    async def test_paths_and_methods_that_are_not_there_share_a_label(self, world: World) -> None:
        anna = world.listener()
        await anna.get("/nothing/one")
        await anna.get("/nothing/two")
        await anna.call("PROPFIND", "/scripts")
        metrics = world.services.metrics
        assert requests_counted(metrics, "GET", "unmatched", "404") == 2
        assert requests_counted(metrics, "other", "unmatched", "405") == 1

    async def test_commands_are_counted_with_their_result(self, world: World) -> None:
        anna = world.listener()
        session_id = (await anna.play((await world.script(anna)).script_id))["session_id"]
        await anna.post("/seek", {"session_id": session_id, "position": 1})
        await anna.post("/seek", {"session_id": session_id, "position": 9_999})
        await anna.post("/seek", {"session_id": session_id, "position": -1})
        await anna.get(f"/session/{session_id}")
        world.services.metrics.tallies.flush()
        commands = world.services.metrics.commands
        counted = {
            (sample.labels["surface"], sample.labels["command"], sample.labels["result"]): sample.value
            for metric in commands.collect()
            for sample in metric.samples
            if sample.name.endswith("_total")
        }
        assert counted == {
            ("rest", "play", "ok"): 1,
            ("rest", "seek", "ok"): 1,
            ("rest", "seek", "out_of_bounds"): 1,
            ("rest", "seek", "invalid"): 1,
        }

    async def test_what_others_serve_on_the_same_application_is_left_alone(self, services: Services) -> None:
        app = create_app(services)

        async def socket(request: web.Request) -> web.Response:
            return web.Response(text="theirs")

        app.router.add_get("/socket.io/", socket)
        async with TestClient(TestServer(app)) as client:
            reply = await client.get("/socket.io/")
            assert (reply.status, await reply.text()) == (200, "theirs")
        services.metrics.tallies.flush()
        assert not [sample for metric in services.metrics.requests.collect() for sample in metric.samples]


class TestFailures:
    async def test_what_we_did_not_foresee_is_500_without_details(self, services: Services, world: World) -> None:
        class Broken(SessionService):
            def __init__(self) -> None:
                pass

            async def play(self, *_arguments: Any, **_options: Any) -> Any:
                raise RuntimeError("secret details")

        async for broken in _calling(replace(services, sessions=Broken())):
            reply = await broken.listener().post("/play", {"script_id": new_id()})
            assert (reply.status, reply.code, reply.json["retry"]) == (500, "internal", True)
            assert b"secret" not in reply.body

    async def test_a_body_that_stops_coming_is_408(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("playhead.http.decoding.BODY_TIMEOUT_S", 0.05)
        may_end = asyncio.Event()

        async def stalled() -> AsyncIterator[bytes]:
            yield b"{"
            await may_end.wait()

        reply = await world.listener().call(
            "POST", "/seek", data=stalled(), headers={"Content-Type": "application/json"}
        )
        assert (reply.status, reply.code, reply.json["retry"]) == (408, "incomplete", True)
        may_end.set()


async def _every_request(anna: Caller, script_id: str) -> dict[str, int]:
    session_id = new_id()
    replies = {
        "play": await anna.post("/play", {"script_id": script_id}),
        "seek": await anna.post("/seek", {"session_id": session_id, "position": 1}),
        "progress": await anna.put("/progress", {"session_id": session_id, "position": 1, "playback_rate": 1}),
        "session": await anna.get(f"/session/{session_id}"),
        "end": await anna.delete(f"/session/{session_id}"),
        "stream": await anna.get(f"/stream/{script_id}"),
        "scripts": await anna.get("/scripts"),
        "bookmarks": await anna.get(f"/bookmarks/{script_id}"),
    }
    for name, reply in replies.items():
        if reply.status >= 500:
            assert (reply.status, reply.code, reply.json["retry"]) == (503, "unavailable", True), name
            assert reply.headers["Retry-After"] == "1"
    return {name: reply.status for name, reply in replies.items()}


class TestValkeyAway:
    @pytest.fixture
    def valkey(self, start_valkey: Callable[..., EmbeddedValkey]) -> EmbeddedValkey:
        return start_valkey()

    @pytest.fixture
    async def store(self, valkey: EmbeddedValkey) -> AsyncIterator[RedisStore]:
        store = RedisStore(valkey.url, SystemClock())
        yield store
        await store.stop()

    async def test_commands_are_503_and_everything_else_goes_on(self, world: World, valkey: EmbeddedValkey) -> None:
        anna = world.listener()
        script = await world.script(anna, ready=True)
        before = await anna.get(f"/stream/{script.script_id}")
        valkey.kill()
        statuses = await _every_request(anna, script.script_id)
        assert {name for name, status in statuses.items() if status == 503} == {
            *("play", "seek", "progress", "session", "end")
        }
        assert [statuses[name] for name in ("stream", "scripts", "bookmarks")] == [200, 200, 200]
        assert before.status == 200
        again = await anna.get(f"/stream/{script.script_id}")
        assert again.json["cached"], "the cache goes on in memory"
        ready = await world.nobody().get("/readyz")
        assert (ready.status, ready.json["checks"]["postgresql"]) == (503, "ok")
        assert ready.json["checks"]["valkey"] != "ok"
        assert (await world.nobody().get("/healthz")).status == 200


class TestPostgresqlAway:
    @pytest.fixture
    async def database(self, tmp_path: Path) -> AsyncIterator[Database]:
        url = f"postgresql://nobody@/nothing?host={tmp_path}"
        async with open_database(url, url) as opened:
            yield opened

    async def test_what_needs_it_is_503_and_readiness_says_so(self, world: World) -> None:
        statuses = await _every_request(world.listener(), new_id())
        assert set(statuses.values()) == {503}
        ready = await world.nobody().get("/readyz")
        assert ready.status == 503
        assert ready.json["status"] == "not_ready"
        assert ready.json["checks"]["valkey"] == "ok"
        assert "nobody" not in ready.body.decode()


class TestReadiness:
    async def test_with_everything_in_place_it_is_ready(self, world: World) -> None:
        reply = await world.nobody().get("/readyz")
        assert (reply.status, reply.json) == (
            200,
            {"status": "ready", "store": "redis", "checks": {"postgresql": "ok", "valkey": "ok"}},
        )

    async def test_a_valkey_that_may_forget_sessions_is_not_ready(
        self, services: Services, start_valkey: Callable[..., EmbeddedValkey]
    ) -> None:
        client = connect(start_valkey().url)
        async for world in _calling(replace(services, readiness={"valkey": valkey_check(client)})):
            assert (await world.nobody().get("/readyz")).status == 200
            await client.config_set("maxmemory-policy", "allkeys-lru")
            async with asyncio.timeout(10):
                while (reply := await world.nobody().get("/readyz")).status == 200:
                    await asyncio.sleep(0.05)
            assert reply.status == 503
            assert reply.json["checks"]["valkey"] == "maxmemory-policy is allkeys-lru; set it to noeviction"
        await client.aclose()
