"""How fast a listener may ask: a burst at once, then the rate; what is refused changes nothing and hits nobody else."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from aiohttp.test_utils import TestClient

from playhead.http import Services, create_app
from playhead.http.pacing import PACING, Pacing
from playhead.runtime.limits import COMMAND_RATE, Rate
from tests.integration.http.conftest import Server
from tests.integration.http.world import Caller, World, new_id

RATE = Rate(per_s=2, burst=5)
APART_NS = 1_000_000_000 // RATE.per_s


@dataclass
class Hand:
    """A clock that stands until it is moved."""

    now_ns: int = 5_000_000_000

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
async def world(services: Services, hand: Hand) -> AsyncIterator[World]:
    app = create_app(services)
    app[PACING] = Pacing(RATE, services.metrics, hand)
    async with TestClient(Server(app)) as client:
        yield World(client=client, services=services)


async def exhaust(caller: Caller, already: int = 0) -> None:
    """Asks until nothing of the burst is left."""
    for _ in range(RATE.burst - already):
        assert (await caller.get("/scripts")).status == 200


async def test_a_burst_is_answered_and_one_past_it_is_told_to_wait(world: World, hand: Hand) -> None:
    anna = world.listener()
    await exhaust(anna)
    refused = await anna.get("/scripts")
    assert (refused.status, refused.code, refused.json["retry"]) == (429, "too_fast", True)
    assert (refused.headers["Retry-After"], refused.json["retry_after_ms"]) == ("1", APART_NS // 1_000_000)
    hand.now_ns += APART_NS - 1_000
    assert (await anna.get("/scripts")).status == 429
    hand.now_ns += 1_000
    assert (await anna.get("/scripts")).status == 200
    assert (await anna.get("/scripts")).status == 429


async def test_who_waits_as_long_as_it_was_told_is_answered(world: World, hand: Hand) -> None:
    anna = world.listener()
    await exhaust(anna)
    for _ in range(3):
        refused = await anna.get("/scripts")
        hand.now_ns += int(refused.headers["Retry-After"]) * 1_000_000_000
        assert (await anna.get("/scripts")).status == 200
        assert (await anna.get("/scripts")).status == 200, "two a second"
        assert (await anna.get("/scripts")).status == 429


async def test_all_requests_of_a_listener_count_together_and_nobody_else_s(world: World) -> None:
    anna, bert = world.listener(), world.listener()
    await anna.get(f"/scripts/{new_id()}")
    await anna.post("/seek", {"session_id": "no id"})
    await anna.call("POST", "/scripts", data=b"")
    await exhaust(anna, already=3)
    for refused in (
        await anna.post("/play", {"script_id": new_id()}),
        await anna.call("POST", "/scripts", data=b"sound"),
        await anna.get("/sessions"),
        await anna.delete(f"/bookmark/{new_id()}"),
    ):
        assert refused.code == "too_fast"
    assert (await bert.get("/scripts")).status == 200


async def test_what_is_refused_changes_nothing_and_is_counted(world: World, hand: Hand) -> None:
    anna = world.listener()
    script = await world.script(anna)
    session_id = (await anna.play(script.script_id, position=0))["session_id"]
    await exhaust(anna, already=1)
    refused = await anna.post("/seek", {"session_id": session_id, "position": 60})
    assert refused.code == "too_fast"
    metrics = world.services.metrics
    metrics.tallies.flush()
    assert metrics.requests_limited._value.get() == 1
    assert metrics.commands.labels("rest", "seek", "too_fast")._value.get() == 1
    hand.now_ns += 1_000_000_000
    session = (await anna.get(f"/session/{session_id}")).json
    assert session["revision"] == 1


async def test_who_shows_no_token_takes_nothing_from_anybody(world: World) -> None:
    anna = world.listener()
    for _ in range(2 * RATE.burst):
        assert (await world.nobody().get("/scripts")).status == 401
    await exhaust(anna)


async def test_pages_of_another_site_may_read_how_long_to_wait(world: World) -> None:
    anna = world.listener()
    await exhaust(anna)
    refused = await anna.get("/scripts", headers={"Origin": "https://app.example.org"})
    assert refused.status == 429
    assert "Retry-After" in refused.headers["Access-Control-Expose-Headers"].split(", ")


async def test_without_settings_it_is_the_rate_of_a_socket(services: Services) -> None:
    assert services.rate == COMMAND_RATE
    async with TestClient(Server(create_app(services))) as client:
        anna = World(client=client, services=services).listener()
        for _ in range(COMMAND_RATE.burst):
            assert (await anna.get("/scripts")).status == 200
