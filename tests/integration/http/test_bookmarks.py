"""Bookmarks: made, listed by position, changed, deleted; each listener's own, and told to all of its devices."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from playhead.app.embedded import EmbeddedValkey
from playhead.db.limits import BOOKMARK_NOTE_CHARS_MAX, BOOKMARK_TITLE_CHARS_MAX, BOOKMARKS_MAX
from playhead.http import Services, create_app
from playhead.sessions.announcements import Announcements
from playhead.sessions.codec import decode_packet
from playhead.sessions.redis_store import RedisStore
from tests.integration.http.world import World, new_id
from tests.integration.sessions.lines import Line, redis_line
from tests.support.clocks import SystemClock


async def test_a_bookmark_is_made_listed_and_deleted(world: World) -> None:
    anna = world.listener()
    script_id = (await world.script(anna)).script_id
    made = await anna.post("/bookmark", {"script_id": script_id, "position": 61.5, "title": "The turn", "note": "!"})
    assert made.status == 201
    assert {name: made.json[name] for name in ("script_id", "position", "title", "note")} == {
        "script_id": script_id,
        "position": 61.5,
        "title": "The turn",
        "note": "!",
    }
    listed = await anna.get(f"/bookmarks/{script_id}")
    assert listed.json == {"bookmarks": [made.json], "next_cursor": None}
    deleted = await anna.delete(f"/bookmark/{made.json['bookmark_id']}")
    assert (deleted.status, deleted.body) == (204, b"")
    assert (await anna.get(f"/bookmarks/{script_id}")).json["bookmarks"] == []


async def test_a_bookmark_deleted_twice_was_there_once(world: World) -> None:
    anna = world.listener()
    script_id = (await world.script(anna)).script_id
    made = await anna.post("/bookmark", {"script_id": script_id, "position": 1})
    await anna.delete(f"/bookmark/{made.json['bookmark_id']}")
    again = await anna.delete(f"/bookmark/{made.json['bookmark_id']}")
    assert (again.status, again.code) == (404, "not_found")


async def test_bookmarks_are_listed_by_position_page_by_page(world: World) -> None:
    anna = world.listener()
    script_id = (await world.script(anna)).script_id
    for position in (30, 10, 20, 10, 3600):
        assert (await anna.post("/bookmark", {"script_id": script_id, "position": position})).status == 201
    places: list[float] = []
    cursor, pages = None, 0
    while pages == 0 or cursor is not None:
        params = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = (await anna.get(f"/bookmarks/{script_id}", params=params)).json
        places += [row["position"] for row in page["bookmarks"]]
        cursor, pages = page["next_cursor"], pages + 1
    assert (places, pages) == ([10.0, 10.0, 20.0, 30.0, 3600.0], 3)


async def test_a_bookmark_past_the_end_is_out_of_bounds(world: World) -> None:
    anna = world.listener()
    script_id = (await world.script(anna)).script_id
    reply = await anna.post("/bookmark", {"script_id": script_id, "position": 3600.001})
    assert (reply.status, reply.code) == (422, "out_of_bounds")


async def test_a_bookmark_in_a_script_that_is_not_there_is_404(world: World) -> None:
    reply = await world.listener().post("/bookmark", {"script_id": new_id(), "position": 1})
    assert (reply.status, reply.code) == (404, "not_found")


async def test_a_script_holds_so_many_bookmarks_and_says_so_one_past_it(world: World) -> None:
    anna = world.listener()
    script_id = (await world.script(anna)).script_id
    for _ in range(BOOKMARKS_MAX - 1):
        await world.services.bookmarks.create(anna.claims, script_id, 1_000)
    last = await anna.post("/bookmark", {"script_id": script_id, "position": 1})
    past = await anna.post("/bookmark", {"script_id": script_id, "position": 1})
    assert last.status == 201
    assert (past.status, past.code) == (503, "overloaded")
    assert "Delete one first" in past.json["detail"]


# changing


async def test_a_change_touches_what_it_names_and_nothing_else(world: World) -> None:
    anna = world.listener()
    script_id = (await world.script(anna)).script_id
    made = (await anna.post("/bookmark", {"script_id": script_id, "position": 61.5, "title": "Here", "note": "!"})).json
    path = f"/bookmark/{made['bookmark_id']}"
    moved = await anna.call("PATCH", path, json={"position": 3600})
    assert moved.status == 200 and moved.json["updated_at"] > made["updated_at"]
    assert moved.json == {**made, "position": 3600.0, "updated_at": moved.json["updated_at"]}
    bare = await anna.call("PATCH", path, json={"title": None, "note": "", "command_id": new_id()})
    assert (bare.json["title"], bare.json["note"], bare.json["position"]) == (None, None, 3600.0)
    named = await anna.call("PATCH", path, json={"title": "There"})
    assert (await anna.get(f"/bookmarks/{script_id}")).json["bookmarks"] == [named.json]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid"),
        ({"command_id": new_id()}, "invalid"),
        ({"position": None}, "invalid"),
        ({"position": -1}, "invalid"),
        ({"position": "1"}, "invalid"),
        ({"position": 3600.001}, "out_of_bounds"),
        ({"title": 1}, "invalid"),
        ({"title": "x" * (BOOKMARK_TITLE_CHARS_MAX + 1)}, "invalid"),
        ({"note": "x" * (BOOKMARK_NOTE_CHARS_MAX + 1)}, "invalid"),
        ({"note": "a\0b"}, "invalid"),
        ({"title": "x", "script_id": new_id()}, "invalid"),
        ({"title": "x", "bookmark_id": new_id()}, "invalid"),
    ],
)
async def test_a_change_that_cannot_be_is_refused_and_changes_nothing(
    world: World, body: dict[str, object], code: str
) -> None:
    anna = world.listener()
    script_id = (await world.script(anna)).script_id
    made = (await anna.post("/bookmark", {"script_id": script_id, "position": 5, "title": "Here"})).json
    reply = await anna.call("PATCH", f"/bookmark/{made['bookmark_id']}", json=body)
    assert (reply.status, reply.code) == (422, code)
    assert (await anna.get(f"/bookmarks/{script_id}")).json["bookmarks"] == [made]


async def test_a_change_of_what_is_not_there_is_404(world: World) -> None:
    for body in ({"title": "x"}, {"position": 1}):
        reply = await world.listener().call("PATCH", f"/bookmark/{new_id()}", json=body)
        assert (reply.status, reply.code) == (404, "not_found")


# telling


@pytest.fixture
async def line(valkey_url: str) -> AsyncIterator[Line]:
    """What another process is told over Valkey."""
    async with redis_line(valkey_url, SystemClock()) as line:
        yield line


async def told(line: Line, listener_id: str) -> dict[str, Any]:
    """The next bookmark event, which must be that listener's."""
    to, raw = await line.arrived()
    packet = decode_packet(raw)
    assert (to, packet.event, packet.skip_connection_id) == (listener_id, "bookmark", None)
    return packet.data


async def test_every_device_of_the_listener_is_told_what_became_of_a_bookmark(world: World, line: Line) -> None:
    anna, berta = world.listener(), world.listener()
    script_id = (await world.script(anna)).script_id
    for listener in (anna, berta):
        await line.bus.subscribe(listener.listener_id)
    made = (await anna.post("/bookmark", {"script_id": script_id, "position": 5, "title": "Here"})).json
    assert await told(line, anna.listener_id) == {"action": "created", "bookmark": made}
    path = f"/bookmark/{made['bookmark_id']}"
    changed = (await anna.call("PATCH", path, json={"position": 6.5})).json
    assert await told(line, anna.listener_id) == {"action": "changed", "bookmark": changed}
    assert (await anna.delete(path)).status == 204
    assert await told(line, anna.listener_id) == {"action": "deleted", "bookmark": changed}


async def test_what_is_refused_is_not_told(world: World, line: Line) -> None:
    anna, berta = world.listener(), world.listener()
    script_id = (await world.script(anna)).script_id
    made = (await anna.post("/bookmark", {"script_id": script_id, "position": 5})).json
    for listener in (anna, berta):
        await line.bus.subscribe(listener.listener_id)
    path = f"/bookmark/{made['bookmark_id']}"
    assert (await anna.post("/bookmark", {"script_id": script_id, "position": 3601})).status == 422
    assert (await anna.call("PATCH", path, json={"position": 3601})).status == 422
    assert (await berta.call("PATCH", path, json={"title": "Mine"})).status == 404
    assert (await berta.delete(path)).status == 404
    assert await line.arrived_until(anna.listener_id, b"marker") == []


async def test_a_bookmark_is_made_changed_and_deleted_while_nobody_can_be_told(
    services: Services, start_valkey: Callable[..., EmbeddedValkey]
) -> None:
    valkey = start_valkey()
    store = RedisStore(valkey.url, services.clock)
    valkey.kill()
    deaf = replace(services, announcements=Announcements(store, services.clock, services.metrics))
    async with TestClient(TestServer(create_app(deaf))) as client:
        world = World(client=client, services=deaf)
        anna = world.listener()
        script_id = (await world.script(anna)).script_id
        made = await anna.post("/bookmark", {"script_id": script_id, "position": 5})
        assert made.status == 201
        path = f"/bookmark/{made.json['bookmark_id']}"
        assert (await anna.call("PATCH", path, json={"title": "Here"})).status == 200
        assert (await anna.delete(path)).status == 204
    await store.stop()
