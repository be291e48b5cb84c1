"""Whoever begins sessions too fast over REST is told when he may go on; those that live are played meanwhile."""

import pytest

from playhead.sessions import redis_store
from tests.integration.http.world import World


async def test_one_session_past_the_burst_is_503_with_when_to_come_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "SESSION_BURST", 3)
    monkeypatch.setattr(redis_store, "SESSION_APART_MS", 3_600_000)
    anna, bob = world.listener(), world.listener()
    script, other = await world.script(anna, visibility="listeners"), await world.script(anna)
    live = await anna.play(other.script_id)
    for _ in range(2):
        await anna.delete(f"/session/{(await anna.play(script.script_id))['session_id']}")
    reply = await anna.post("/play", {"script_id": script.script_id})
    assert (reply.status, reply.code, reply.json["retry"]) == (503, "overloaded", True)
    assert "begins new sessions faster" in reply.json["detail"]
    assert 3_500 < int(reply.headers["Retry-After"]) <= 3_600
    assert 3_500_000 < reply.json["retry_after_ms"] <= 3_600_000
    assert (await anna.play(other.script_id))["session_id"] == live["session_id"]
    await bob.play(script.script_id)
