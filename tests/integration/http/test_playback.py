"""Playback over REST: the same use cases as over sockets, for an app that names its device or none."""

from collections.abc import AsyncIterator

import pytest

from playhead.playback.commands import REST_DEVICE_ID
from tests.integration.http.world import Caller, World, new_id

PHONE = "phone-1"


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
async def phone(world: World, anna: Caller) -> AsyncIterator[str]:
    """A connected device of anna's."""
    connection_id = new_id()
    assert await world.services.presence.attach(anna.listener_id, connection_id, PHONE, "Phone", "phone")
    yield PHONE
    await world.services.presence.detach(anna.listener_id, connection_id)


async def test_play_begins_a_session_with_201_and_joins_it_with_200(anna: Caller, script_id: str) -> None:
    first = await anna.post("/play", {"script_id": script_id, "position": 10})
    again = await anna.post("/play", {"script_id": script_id})
    assert (first.status, again.status) == (201, 200)
    assert first.json["session_id"] == again.json["session_id"]
    assert first.json["state"]["active_device"] == REST_DEVICE_ID
    assert first.json["revision"] == first.json["state"]["revision"] == 1


async def test_play_of_a_script_begins_where_the_last_session_stopped(anna: Caller, script_id: str) -> None:
    session_id = (await anna.play(script_id, position=500))["session_id"]
    paused = await anna.post("/pause", {"session_id": session_id})
    await anna.delete(f"/session/{session_id}")
    resumed = await anna.post("/play", {"script_id": script_id})
    assert resumed.status == 201
    assert resumed.json["session_id"] != session_id
    assert resumed.json["start_position"] == paused.json["position"]


async def test_play_resumes_a_session_by_its_id(anna: Caller, session_id: str) -> None:
    await anna.post("/pause", {"session_id": session_id})
    resumed = await anna.post("/play", {"session_id": session_id})
    assert (resumed.status, resumed.json["state"]["playing"]) == (200, True)


async def test_play_of_a_script_that_failed_is_409(world: World, anna: Caller, script_id: str) -> None:
    await world.fail(script_id)
    reply = await anna.post("/play", {"script_id": script_id})
    assert (reply.status, reply.code) == (409, "script_failed")


async def test_a_report_may_tell_how_well_it_sounds(world: World, anna: Caller, session_id: str) -> None:
    report = {"session_id": session_id, "position": 61, "playback_rate": 1.0}
    told = {**report, "stalled_ms": 250, "first_audio_ms": 412}
    assert (await anna.call("PUT", "/progress", json=told)).status == 200
    figures = world.services.metrics.sound
    assert (figures.stalled_seconds._sum.get(), figures.first_audio_seconds._sum.get()) == (0.25, 0.412)
    refused = await anna.call("PUT", "/progress", json={**report, "stalled_ms": -1})
    assert (refused.status, refused.code) == (422, "invalid")


async def test_a_device_that_names_itself_acts_and_sounds(anna: Caller, script_id: str) -> None:
    played = await anna.play(script_id, device_id="my-app")
    assert played["state"]["active_device"] == "my-app"
    assert played["state"]["cause"]["device_id"] == "my-app"


async def test_commands_answer_the_state_after_them(anna: Caller, session_id: str) -> None:
    seek = await anna.post("/seek", {"session_id": session_id, "position": 100.25})
    assert (seek.status, seek.json["position"], seek.json["revision"]) == (200, 100.25, 2)
    loop = await anna.post("/loop", {"session_id": session_id, "start": 90, "end": 110.5, "enabled": True})
    assert loop.json["loop"] == {"start": 90.0, "end": 110.5, "enabled": True}
    rate = await anna.post("/rate", {"session_id": session_id, "rate": 1.5})
    assert (rate.json["rate"], rate.json["revision"]) == (1.5, 4)
    pause = await anna.post("/pause", {"session_id": session_id, "position": 101})
    assert (pause.json["playing"], pause.json["position"]) == (False, 101.0)
    assert pause.json["server_time"] >= rate.json["server_time"]


async def test_a_command_s_id_and_device_come_back_in_the_cause(anna: Caller, session_id: str) -> None:
    command_id = new_id()
    reply = await anna.post(
        "/seek", {"session_id": session_id, "position": 1, "device_id": "desk", "command_id": command_id}
    )
    assert reply.json["cause"] == {"command": "seek", "device_id": "desk", "command_id": command_id}


async def test_a_command_that_expects_another_revision_is_409_with_the_state_that_won(
    anna: Caller, session_id: str
) -> None:
    reply = await anna.post("/seek", {"session_id": session_id, "position": 1, "expected_revision": 7})
    assert (reply.status, reply.code) == (409, "conflict")
    assert reply.json["state"]["session_id"] == session_id
    assert reply.json["state"]["revision"] == 1


async def test_a_revision_of_another_life_of_the_store_is_409(anna: Caller, session_id: str) -> None:
    at = {"session_id": session_id, "expected_revision": 1}
    epoch = (await anna.get(f"/session/{session_id}")).json["epoch"]
    reply = await anna.post("/seek", {**at, "position": 1, "expected_epoch": epoch + 1})
    assert (reply.status, reply.code) == (409, "conflict")
    assert (await anna.post("/seek", {**at, "position": 1, "expected_epoch": epoch})).status == 200


async def test_sound_moves_to_a_connected_device_and_stays_where_it_was(
    anna: Caller, session_id: str, phone: str
) -> None:
    reply = await anna.post("/transfer", {"session_id": session_id, "device_id": phone})
    assert (reply.status, reply.json["active_device"]) == (200, phone)
    assert (reply.json["playing"], reply.json["position"] >= 60) == (True, True)


async def test_sound_does_not_move_to_a_device_that_is_not_connected(anna: Caller, session_id: str) -> None:
    reply = await anna.post("/transfer", {"session_id": session_id, "device_id": PHONE})
    assert (reply.status, reply.code) == (409, "device_not_connected")
    assert (await anna.get(f"/session/{session_id}")).json["active_device"] == REST_DEVICE_ID


async def test_a_session_says_where_it_is_now_and_which_devices_there_are(
    anna: Caller, session_id: str, phone: str
) -> None:
    reply = await anna.get(f"/session/{session_id}")
    assert reply.status == 200
    assert reply.json["current_position"] >= reply.json["position"] == 60.0
    assert [(row["id"], row["name"], row["kind"]) for row in reply.json["devices"]] == [(phone, "Phone", "phone")]


async def test_ending_a_session_answers_what_it_came_to_also_when_repeated(anna: Caller, session_id: str) -> None:
    await anna.put("/progress", {"session_id": session_id, "position": 120.5, "playback_rate": 1.0})
    await anna.post("/pause", {"session_id": session_id, "position": 120.5})
    first = await anna.delete(f"/session/{session_id}")
    again = await anna.delete(f"/session/{session_id}")
    assert first.status == again.status == 200
    assert first.json == again.json
    assert (first.json["position"], first.json["total_listened"], first.json["progress_percent"]) == (120.5, 60.5, 3.35)
    assert first.json["finished"] is False
    assert first.json["started_at"] <= first.json["ended_at"]
    assert first.json["ended_at"].endswith("Z")


async def test_an_ended_session_takes_no_command_but_can_be_looked_at(anna: Caller, session_id: str) -> None:
    await anna.delete(f"/session/{session_id}")
    refused = await anna.post("/seek", {"session_id": session_id, "position": 1})
    assert (refused.status, refused.code) == (409, "session_ended")
    seen = await anna.get(f"/session/{session_id}")
    assert (seen.status, seen.json["ended"], seen.json["playing"]) == (200, True, False)


class TestProgress:
    """Reports: believed where they can be true, refused with both places where not."""

    async def test_a_plain_report_that_goes_forward_counts_as_listened(self, anna: Caller, session_id: str) -> None:
        reply = await anna.put("/progress", {"session_id": session_id, "position": 90, "playback_rate": 1.0})
        assert (reply.status, reply.json["saved"]) == (200, True)
        assert (reply.json["total_listened"], reply.json["progress_percent"]) == (30.0, 2.5)

    async def test_a_plain_report_that_goes_back_is_409_with_both_places(self, anna: Caller, session_id: str) -> None:
        reply = await anna.put("/progress", {"session_id": session_id, "position": 57.9, "playback_rate": 1.0})
        assert (reply.status, reply.code) == (409, "conflict")
        assert reply.json["reported"] == 57.9
        assert reply.json["state"]["position"] == 60.0
        places = reply.json["places"]
        assert places["reported"] == 57.9
        assert 60.0 <= places["current"] < 65.0

    async def test_a_report_while_another_device_sounds_is_409_and_moves_nothing(
        self, anna: Caller, session_id: str, phone: str
    ) -> None:
        await anna.post("/transfer", {"session_id": session_id, "device_id": phone})
        reply = await anna.put("/progress", {"session_id": session_id, "position": 90, "playback_rate": 1.0})
        assert (reply.status, reply.code) == (409, "conflict")
        assert reply.json["places"]["reported"] == 90.0
        assert (await anna.get(f"/session/{session_id}")).json["current_position"] < 70

    async def test_a_report_of_an_older_revision_is_409(self, anna: Caller, session_id: str) -> None:
        await anna.post("/seek", {"session_id": session_id, "position": 61})
        report = {"session_id": session_id, "position": 61, "playback_rate": 1.0}
        assert (await anna.put("/progress", {**report, "revision": 1})).status == 409
        taken = await anna.put("/progress", {**report, "revision": 2})
        assert (taken.status, taken.json["revision"]) == (200, 2)

    async def test_a_report_sent_twice_counts_once(self, anna: Caller, session_id: str) -> None:
        report = {"session_id": session_id, "position": 90, "playback_rate": 1.0, "seq": 1}
        first, again = await anna.put("/progress", report), await anna.put("/progress", report)
        assert first.json["total_listened"] == again.json["total_listened"] == 30.0

    async def test_another_rate_in_a_report_sets_the_rate(self, anna: Caller, session_id: str) -> None:
        await anna.put("/progress", {"session_id": session_id, "position": 61, "playback_rate": 1.5})
        assert (await anna.get(f"/session/{session_id}")).json["rate"] == 1.5

    async def test_a_late_report_counts_as_of_the_time_that_it_names(self, anna: Caller, script_id: str) -> None:
        state = (await anna.play(script_id, position=60, device_id="my-app"))["state"]
        report = {"session_id": state["session_id"], "device_id": "my-app", "playback_rate": 1.0, "revision": 1}
        told = await anna.put("/progress", {**report, "position": 61, "at": state["anchored_at"]})
        assert (told.status, told.json["revision"]) == (200, 2)
        moved = (await anna.get(f"/session/{state['session_id']}")).json
        assert (moved["position"], moved["anchored_at"]) == (61, state["anchored_at"])

    async def test_a_report_of_a_device_that_plays_by_its_own_name_is_taken(self, anna: Caller, script_id: str) -> None:
        session_id = (await anna.play(script_id, position=0, device_id="my-app"))["session_id"]
        report = {"session_id": session_id, "position": 30, "playback_rate": 1.0}
        assert (await anna.put("/progress", report)).status == 409
        assert (await anna.put("/progress", {**report, "device_id": "my-app"})).status == 200
