"""Bookmarks: made, listed by position, deleted; each listener's own."""

from playhead.db.limits import BOOKMARKS_MAX
from tests.integration.http.world import World, new_id


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
