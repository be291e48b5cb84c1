"""What bad input gets: a problem that names what is wrong, the state unchanged, the connection kept."""

from typing import Any

import pytest

from playhead.http.decoding import BODY_BYTES_MAX
from playhead.http.route import API, Route
from playhead.http.routes import ROUTES
from tests.integration.http.world import Caller, World, new_id

NOBODYS_ID = "0f0e0d0c-0b0a-4908-8706-050403020100"
COMMANDS = [route for route in ROUTES if route.takes_json]


def _path(route: Route) -> str:
    """The route's path below the API's root, of something that nobody has."""
    return route.path.removeprefix(API).format(**{name: new_id() for name in route.path_names})


async def _send(caller: Caller, body: bytes, **headers: str) -> Any:
    sent = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return await caller.call("POST", "/seek", data=body, headers=sent)


@pytest.mark.parametrize("route", COMMANDS, ids=lambda route: route.name)
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"null", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"\xff"])
async def test_what_is_no_json_object_is_422_on_every_route(world: World, route: Route, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    reply = await world.listener().call(route.method, _path(route), data=body, headers=headers)
    assert (reply.status, reply.code) == (422, "invalid")


@pytest.mark.parametrize("route", COMMANDS, ids=lambda route: route.name)
async def test_every_missing_and_every_unknown_field_is_listed(world: World, route: Route) -> None:
    reply = await world.listener().call(route.method, _path(route), json={"unknown": 1})
    assert (reply.status, reply.code) == (422, "invalid")
    fields = route.fields
    assert fields is not None
    required = {name for name, field in fields.model_fields.items() if field.is_required()}
    assert {row["field"] for row in reply.json["errors"]} == (required | {"unknown"}) - set(route.path_names)


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml"],
)
async def test_a_body_that_is_not_said_to_be_json_is_415(world: World, content_type: str) -> None:
    reply = await _send(world.listener(), b"{}", Content_Type=content_type)
    assert (reply.status, reply.code) == (415, "unsupported_media_type")


async def test_json_in_another_charset_is_415_and_in_utf_8_is_taken(world: World) -> None:
    anna = world.listener()
    assert (await _send(anna, b"{}", Content_Type="application/json; charset=latin-1")).status == 415
    assert (await _send(anna, b"{}", Content_Type="application/json; charset=UTF-8")).status == 422


@pytest.mark.parametrize(("past", "status"), [(0, 422), (1, 413)])
async def test_a_body_is_read_up_to_its_limit(world: World, past: int, status: int) -> None:
    frame = len(b'{"x":""}')
    reply = await _send(world.listener(), b'{"x":"' + b"a" * (BODY_BYTES_MAX - frame + past) + b'"}')
    assert (reply.status, reply.code) == (status, "invalid" if status == 422 else "too_large")


async def test_a_body_past_the_limit_that_did_not_say_its_length_is_413(world: World) -> None:
    async def endless() -> Any:
        for _ in range(BODY_BYTES_MAX // 1_024 + 2):
            yield b" " * 1_024

    reply = await world.listener().call("POST", "/seek", data=endless(), headers={"Content-Type": "application/json"})
    assert (reply.status, reply.code) == (413, "too_large")


WRONG: list[tuple[str, str, dict[str, Any], str]] = [
    ("POST", "/seek", {"position": -0.001}, "invalid"),
    ("POST", "/seek", {"position": "12"}, "invalid"),
    ("POST", "/seek", {"position": True}, "invalid"),
    ("POST", "/seek", {"position": None}, "invalid"),
    ("POST", "/seek", {"position": 3_600.001}, "out_of_bounds"),
    ("POST", "/seek", {"position": 1, "from": 3_601}, "out_of_bounds"),
    ("POST", "/seek", {"position": 1, "device_id": "no spaces"}, "invalid"),
    ("POST", "/seek", {"position": 1, "device_id": "x" * 65}, "invalid"),
    ("POST", "/seek", {"position": 1, "expected_revision": -1}, "invalid"),
    ("POST", "/seek", {"position": 1, "expected_revision": 1.5}, "invalid"),
    ("POST", "/seek", {"position": 1, "expected_revision": 99}, "conflict"),
    ("POST", "/seek", {"position": 1, "command_id": "not-a-uuid"}, "invalid"),
    ("POST", "/pause", {"position": 3_601}, "out_of_bounds"),
    ("POST", "/rate", {"rate": 0.1}, "invalid"),
    ("POST", "/rate", {"rate": 4.1}, "invalid"),
    ("POST", "/rate", {"rate": "1"}, "invalid"),
    ("POST", "/loop", {"start": 10, "end": 9, "enabled": True}, "out_of_bounds"),
    ("POST", "/loop", {"start": 10, "end": 10, "enabled": True}, "out_of_bounds"),
    ("POST", "/loop", {"start": 10, "end": 3_601, "enabled": True}, "out_of_bounds"),
    ("POST", "/loop", {"start": 10, "end": 10.249, "enabled": True}, "loop_too_short"),
    ("POST", "/loop", {"start": 10, "end": 20, "enabled": "yes"}, "invalid"),
    ("POST", "/loop", {"start": 10, "end": 20, "enabled": 1}, "invalid"),
    ("POST", "/transfer", {"device_id": "nowhere"}, "device_not_connected"),
    ("PUT", "/progress", {"position": 3_601, "playback_rate": 1}, "out_of_bounds"),
    ("PUT", "/progress", {"position": 1}, "invalid"),
    ("PUT", "/progress", {"position": 1, "playback_rate": 0}, "invalid"),
    ("PUT", "/progress", {"position": 1, "playback_rate": 1, "seq": -1}, "invalid"),
    ("PUT", "/progress", {"position": 1, "playback_rate": 1, "at": 1.5}, "invalid"),
    ("PUT", "/progress", {"position": 1, "playback_rate": 1, "revision": 2**53}, "invalid"),
    ("PUT", "/progress", {"position": 1, "playback_rate": 1, "device_id": "somebody"}, "conflict"),
]


async def test_a_refused_request_names_its_code_and_changes_nothing(world: World) -> None:
    anna = world.listener()
    script = await world.script(anna)
    session_id = (await anna.play(script.script_id, position=30))["session_id"]
    before = (await anna.get(f"/session/{session_id}")).json
    for method, path, fields, code in WRONG:
        reply = await anna.call(method, path, json={"session_id": session_id, **fields})
        assert (reply.code, reply.status >= 400) == (code, True), (path, fields)
    after = (await anna.get(f"/session/{session_id}")).json
    moving = {"server_time", "current_position", "progress_percent"}
    assert {name: value for name, value in after.items() if name not in moving} == {
        name: value for name, value in before.items() if name not in moving
    }


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400"])
async def test_numbers_that_are_none_are_refused(world: World, number: bytes) -> None:
    anna = world.listener()
    body = b'{"session_id": "%s", "position": %s}' % (new_id().encode(), number)
    reply = await _send(anna, body)
    assert (reply.status, reply.code) == (422, "invalid")


async def test_play_takes_a_script_or_a_session_but_not_both_and_not_neither(world: World) -> None:
    anna = world.listener()
    for fields in ({}, {"script_id": new_id(), "session_id": new_id()}):
        reply = await anna.post("/play", fields)
        assert (reply.status, reply.code) == (422, "invalid")
        assert reply.json["errors"] == [{"field": "", "message": "give either `session_id` or `script_id`"}]


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/scripts?limit=0", ["limit"]),
        ("/scripts?limit=201", ["limit"]),
        ("/scripts?limit=ten&unknown=1", ["limit", "unknown"]),
        ("/scripts?cursor=" + "x" * 200, ["cursor"]),
        ("/stream/not-a-uuid", ["script_id"]),
        (f"/stream/{NOBODYS_ID}?quality=best", ["quality"]),
        ("/session/1", ["session_id"]),
        (f"/bookmarks/{NOBODYS_ID}?limit=-1", ["limit"]),
    ],
)
async def test_wrong_queries_and_paths_are_422_and_name_their_fields(
    world: World, path: str, fields: list[str]
) -> None:
    reply = await world.listener().get(path)
    assert (reply.status, reply.code) == (422, "invalid")
    assert sorted(row["field"] for row in reply.json["errors"]) == fields


async def test_a_cursor_of_nobody_s_making_is_422(world: World) -> None:
    anna = world.listener()
    script = await world.script(anna)
    for path in ("/scripts", f"/bookmarks/{script.script_id}"):
        for cursor in ("x", "MTox", "%00", "4pyT"):
            reply = await anna.get(f"{path}?cursor={cursor}")
            assert (reply.status, reply.code) == (422, "invalid"), cursor


async def test_a_query_parameter_given_twice_is_422(world: World) -> None:
    assert (await world.listener().get("/scripts?limit=1&limit=2")).code == "invalid"


async def test_an_id_in_the_path_cannot_be_given_again_in_the_query(world: World) -> None:
    assert (await world.listener().get(f"/stream/{new_id()}?script_id={new_id()}")).code == "invalid"


@pytest.mark.parametrize("path", ["/nothing", "", "/", "/play/", "/stream", "/stream/a/b", "/..", "/scripts/a/b/c"])
async def test_an_unknown_path_is_a_404_problem(world: World, path: str) -> None:
    reply = await world.listener().get(path)
    assert (reply.status, reply.code) == (404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/play", {"POST"}),
        ("DELETE", "/progress", {"PUT"}),
        ("PATCH", "/session/x", {"GET", "HEAD", "DELETE"}),
        ("PUT", "/scripts", {"GET", "HEAD", "POST"}),
        ("OPTIONS", "/scripts", {"GET", "HEAD", "POST"}),
        ("PROPFIND", "/scripts", {"GET", "HEAD", "POST"}),
    ],
)
async def test_a_wrong_method_is_a_405_problem_that_names_the_right_ones(
    world: World, method: str, path: str, allowed: set[str]
) -> None:
    reply = await world.listener().call(method, path)
    assert (reply.status, reply.code) == (405, "method_not_allowed")
    assert {name.strip() for name in reply.headers["Allow"].split(",")} == allowed


async def test_a_connection_outlives_bad_requests(world: World) -> None:
    """All on one connection: refusing one request does not cost the next."""
    anna = world.listener()
    for _ in range(3):
        assert (await _send(anna, b"{")).status == 422
    assert (await anna.get("/scripts")).status == 200
    assert world.client.session.connector is not None
    assert len(world.client.session.connector._conns) == 1
