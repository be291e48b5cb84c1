"""The plain contract of design section 5, for an app that knows nothing else."""

from tests.integration.http.world import World


async def test_play_at_0_and_at_once_a_report_at_120_5_of_3600_seconds_is_saved(world: World) -> None:
    anna = world.listener()
    script = await world.script(anna)
    played = await anna.post("/play", {"script_id": script.script_id, "position": 0})
    assert played.status == 201
    assert played.json["start_position"] == 0
    assert played.json["stream_url"].startswith("https://media.example.org/p/")
    session_id = played.json["session_id"]
    saved = await anna.put("/progress", {"session_id": session_id, "position": 120.5, "playback_rate": 1.0})
    assert saved.status == 200
    assert {name: saved.json[name] for name in ("saved", "total_listened", "progress_percent")} == {
        "saved": True,
        "total_listened": 120.5,
        "progress_percent": 3.35,
    }
