"""Who may: a token for every route that wants one, and of another listener's things not even that they exist.

Both run over the whole route table, so that a new route cannot be forgotten.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from playhead.http.route import API, Route
from playhead.http.routes import ROUTES
from tests.integration.http.world import Caller, World, new_id, token
from tests.support.tags import png

BEARER = [route for route in ROUTES if route.access == "bearer"]
OPEN = [route for route in ROUTES if route.access != "bearer"]


@dataclass(frozen=True, slots=True)
class Things:
    """Ids of a script, a session, a bookmark, an entry of the session's history, and an upload that is not whole."""

    script_id: str
    session_id: str
    bookmark_id: str
    entry_id: str = "1-1"
    upload_id: str = field(default_factory=new_id)


def _request(route: Route, things: Things) -> tuple[str, dict[str, Any]]:
    """A valid request of the route for those things: its path below the API's root, and its options."""
    path = route.path.removeprefix(API).format(**{name: getattr(things, name) for name in route.path_names})
    if route.name == "put_part":
        return path, {"headers": {"Content-Range": "bytes */10"}}
    bodies: Mapping[str, dict[str, object]] = {
        "play": {"script_id": things.script_id},
        "progress": {"session_id": things.session_id, "position": 1.0, "playback_rate": 1.0},
        "pause": {"session_id": things.session_id},
        "seek": {"session_id": things.session_id, "position": 1.0},
        "loop": {"session_id": things.session_id, "start": 1.0, "end": 2.0, "enabled": True},
        "rate": {"session_id": things.session_id, "rate": 1.5},
        "transfer": {"session_id": things.session_id, "device_id": "phone"},
        "mode": {"session_id": things.session_id, "mode": "together"},
        "sleep": {"session_id": things.session_id, "after": 60.0},
        "restore": {"session_id": things.session_id, "entry_id": things.entry_id},
        "offline": {"script_id": things.script_id, "position": 1.0, "intervals": []},
        "bookmark": {"script_id": things.script_id, "position": 1.0},
        "begin_upload": {"size": 10},
        "change_bookmark": {"title": "Another", "position": 2.0},
    }
    return path, {"json": bodies[route.name]} if route.takes_json else {}


async def _things_of(world: World, owner: Caller) -> Things:
    script = await world.script(owner, cover=png())
    session_id = (await owner.play(script.script_id))["session_id"]
    made = await owner.post("/bookmark", {"script_id": script.script_id, "position": 5.0})
    await owner.post("/seek", {"session_id": session_id, "position": 1.0})
    history = (await owner.get(f"/sessions/{session_id}/history")).json["entries"]
    upload_id = (await owner.post("/uploads", {"size": 10})).json["upload_id"]
    return Things(script.script_id, session_id, made.json["bookmark_id"], history[0]["entry_id"], upload_id)


OWN_LISTS = {"scripts", "sessions", "stats", "uploads"}
"""Routes that name nothing of anybody's: they answer the caller's own."""
CREATES = {"upload", "begin_upload"}
"""Routes that make something; test_uploads.py and test_resumable_uploads.py try them on another's id."""


@pytest.mark.parametrize("route", BEARER, ids=lambda route: route.name)
async def test_without_a_token_each_route_answers_401_before_it_looks_at_anything(world: World, route: Route) -> None:
    path, _ = _request(route, Things(new_id(), new_id(), new_id()))
    reply = await world.nobody().call(route.method, path, data=b"no JSON, no audio")
    assert (reply.status, reply.code) == (401, "unauthorized")
    assert reply.headers["WWW-Authenticate"].startswith("Bearer")


def _without_signature(good: str) -> str:
    """The `alg: none` forgery of RFC 8725 section 2.1."""
    head = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode()).decode().rstrip("=")
    return f"{head}.{good.split('.')[1]}."


@pytest.mark.parametrize(
    "bad",
    [
        lambda good: "",
        lambda good: "Bearer",
        lambda good: "Bearer ",
        lambda good: good,
        lambda good: f"Basic {good}",
        lambda good: f"Token {good}",
        lambda good: f"Bearer {good}x",
        lambda good: f"Bearer {good[:-2]}",
        lambda good: f"Bearer {_without_signature(good)}",
        lambda good: f"Bearer {good} {good}",
        lambda good: f"Bearer {token(new_id(), expires_in_s=-60)}",
        lambda good: f"Bearer {token(new_id(), key='another key that is just as long as ours')}",
        lambda good: f"Bearer {token('no-uuid')}",
        lambda good: "Bearer " + "x" * 7_000,
    ],
)
async def test_a_bad_token_is_401_whatever_is_wrong_with_it(world: World, bad: Any) -> None:
    anna = world.listener()
    reply = await world.nobody().get("/scripts", headers={"Authorization": bad(anna.token)})
    assert (reply.status, reply.code) == (401, "unauthorized")


async def test_a_token_in_the_query_is_no_token(world: World) -> None:
    anna = world.listener()
    for name in ("token", "access_token"):
        assert (await world.nobody().get(f"/scripts?{name}={anna.token}")).status == 401


async def test_two_authorization_headers_are_none(world: World) -> None:
    anna = world.listener()
    headers = [("Authorization", f"Bearer {anna.token}"), ("Authorization", f"Bearer {anna.token}")]
    async with world.client.get(f"{API}/scripts", headers=headers) as response:
        assert response.status == 401


async def test_the_scheme_is_taken_in_any_case(world: World) -> None:
    anna = world.listener()
    assert (await world.nobody().get("/scripts", headers={"Authorization": f"bEARER {anna.token}"})).status == 200


@pytest.mark.parametrize(
    "route", [route for route in BEARER if route.name not in OWN_LISTS | CREATES], ids=lambda route: route.name
)
async def test_another_listener_s_things_are_answered_like_things_that_do_not_exist(world: World, route: Route) -> None:
    anna, boris = world.listener(), world.listener()
    things = await _things_of(world, anna)
    path, options = _request(route, things)
    foreign = await boris.call(route.method, path, **options)
    path, options = _request(route, Things(new_id(), new_id(), new_id()))
    missing = await boris.call(route.method, path, **options)
    assert (foreign.status, foreign.code) == (404, "not_found")
    assert foreign.body == missing.body
    assert {name for name in foreign.headers if name != "Date"} == {name for name in missing.headers if name != "Date"}


@pytest.mark.parametrize(
    "route", [route for route in BEARER if route.name not in OWN_LISTS | CREATES], ids=lambda route: route.name
)
async def test_the_same_requests_are_good_for_whom_the_things_belong_to(world: World, route: Route) -> None:
    """So that the 404 of others is theirs, and not that of a wrong request."""
    anna = world.listener()
    path, options = _request(route, await _things_of(world, anna))
    reply = await anna.call(route.method, path, **options)
    if route.name == "transfer":
        assert (reply.status, reply.code) == (409, "device_not_connected")
    else:
        assert reply.status in {good.status for good in route.good}, reply.body


async def test_what_others_may_hear_is_heard_and_bookmarked_by_each_for_themselves(world: World) -> None:
    anna, boris = world.listener(), world.listener()
    script = await world.script(anna, visibility="listeners")
    await anna.post("/bookmark", {"script_id": script.script_id, "position": 5.0})
    assert (await boris.get(f"/stream/{script.script_id}")).status == 200
    assert (await boris.get(f"/bookmarks/{script.script_id}")).json["bookmarks"] == []
    sessions = [(await caller.play(script.script_id))["session_id"] for caller in (anna, boris)]
    assert sessions[0] != sessions[1]


async def test_a_listener_s_scripts_are_not_in_another_s_list(world: World) -> None:
    anna, boris = world.listener(), world.listener()
    script = await world.script(anna)
    assert script.script_id in [row["script_id"] for row in (await anna.get("/scripts")).json["scripts"]]
    assert script.script_id not in [row["script_id"] for row in (await boris.get("/scripts")).json["scripts"]]


@pytest.mark.parametrize("route", OPEN, ids=lambda route: route.name)
async def test_open_routes_ask_for_no_header(world: World, route: Route) -> None:
    names = dict.fromkeys(route.path_names, "x")
    reply = await world.nobody().call(route.method, route.path.format(**names))
    assert reply.status in (200, 403, 404)
