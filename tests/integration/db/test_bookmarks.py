import asyncio

import pytest

from playhead.db.bookmarks import Bookmark, BookmarkRefusal, BookmarkRepository
from playhead.db.errors import InvalidValue
from playhead.db.limits import BOOKMARK_NOTE_CHARS_MAX, BOOKMARK_TITLE_CHARS_MAX, BOOKMARKS_MAX, DURATION_MS_MAX
from playhead.db.migrate import Connection
from playhead.db.pool import Claims
from playhead.db.scripts import ScriptRepository
from tests.integration.db.rows import listener, new_id, uploaded


@pytest.fixture
async def script_id(scripts: ScriptRepository) -> str:
    return (await uploaded(scripts)).script_id


async def made(bookmarks: BookmarkRepository, claims: Claims, script_id: str, position_ms: int) -> Bookmark:
    bookmark = await bookmarks.create(claims, script_id, position_ms)
    assert isinstance(bookmark, Bookmark)
    return bookmark


async def fill(owner: Connection, claims: Claims, script_id: str, count: int) -> None:
    """`count` bookmarks made behind the back of the limit."""
    await owner.execute("set session_replication_role = replica")
    await owner.execute(
        "insert into audio_bookmarks (listener_id, script_id, position_ms) select $1, $2, generate_series(1, $3::int)",
        claims["sub"],
        script_id,
        count,
    )
    await owner.execute("reset session_replication_role")


async def test_a_bookmark_comes_back_as_it_was_made(bookmarks: BookmarkRepository, script_id: str) -> None:
    claims = listener()
    bookmark = await bookmarks.create(claims, script_id, 120_500, title="Here", note="It begins.")
    assert isinstance(bookmark, Bookmark)
    assert (bookmark.listener_id, bookmark.script_id, bookmark.position_ms) == (claims["sub"], script_id, 120_500)
    assert (bookmark.title, bookmark.note) == ("Here", "It begins.")
    assert await bookmarks.get(claims, bookmark.bookmark_id) == bookmark


async def test_empty_texts_are_no_texts(bookmarks: BookmarkRepository, script_id: str) -> None:
    bookmark = await bookmarks.create(listener(), script_id, 0, title="", note="")
    assert isinstance(bookmark, Bookmark) and (bookmark.title, bookmark.note) == (None, None)


async def test_there_is_no_bookmark_in_a_script_that_may_not_be_heard(
    bookmarks: BookmarkRepository, scripts: ScriptRepository
) -> None:
    private = await uploaded(scripts, visibility="private")
    for script_id in (private.script_id, new_id()):
        assert await bookmarks.create(listener(), script_id, 0) is BookmarkRefusal.NO_SCRIPT


async def test_a_change_leaves_alone_what_it_does_not_name(bookmarks: BookmarkRepository, script_id: str) -> None:
    claims = listener()
    bookmark = await bookmarks.create(claims, script_id, 1_000, title="Here", note="A note")
    assert isinstance(bookmark, Bookmark)
    changed = await bookmarks.update(claims, bookmark.bookmark_id, title="There")
    assert changed is not None and (changed.position_ms, changed.title, changed.note) == (1_000, "There", "A note")
    assert changed.updated_at > bookmark.updated_at and changed.created_at == bookmark.created_at
    changed = await bookmarks.update(claims, bookmark.bookmark_id, position_ms=2_000, note="")
    assert changed is not None and (changed.position_ms, changed.title, changed.note) == (2_000, "There", None)


async def test_a_bookmark_is_deleted_once(bookmarks: BookmarkRepository, script_id: str) -> None:
    claims = listener()
    bookmark = await made(bookmarks, claims, script_id, 0)
    assert await bookmarks.delete(listener(), bookmark.bookmark_id) is None, "somebody else's"
    assert await bookmarks.delete(claims, bookmark.bookmark_id) == bookmark
    assert await bookmarks.delete(claims, bookmark.bookmark_id) is None
    assert await bookmarks.get(claims, bookmark.bookmark_id) is None


async def test_a_listener_sees_and_changes_own_bookmarks_alone(bookmarks: BookmarkRepository, script_id: str) -> None:
    bookmark, other = await made(bookmarks, listener(), script_id, 0), listener()
    assert await bookmarks.get(other, bookmark.bookmark_id) is None
    assert await bookmarks.update(other, bookmark.bookmark_id, title="mine now") is None
    assert (await bookmarks.list_of(other, script_id)).items == ()


async def test_bookmarks_are_listed_by_position_and_the_pages_do_not_shift(
    bookmarks: BookmarkRepository, script_id: str
) -> None:
    claims = listener()
    there = [await made(bookmarks, claims, script_id, position_ms) for position_ms in (9_000, 0, 4_000, 4_000, 4_000)]
    there.sort(key=lambda bookmark: (bookmark.position_ms, bookmark.bookmark_id))
    await made(bookmarks, listener(), script_id, 4_000)

    first = await bookmarks.list_of(claims, script_id, limit=2)
    await made(bookmarks, claims, script_id, 0)  # before the place that was reached
    await bookmarks.delete(claims, there[1].bookmark_id)  # the row that the cursor names
    second = await bookmarks.list_of(claims, script_id, limit=2, cursor=first.next_cursor)
    third = await bookmarks.list_of(claims, script_id, limit=2, cursor=second.next_cursor)
    assert [first.items, second.items, third.items] == [tuple(there[:2]), tuple(there[2:4]), tuple(there[4:])]
    assert third.next_cursor is None


async def test_a_page_that_ends_with_the_list_names_no_next_one(bookmarks: BookmarkRepository, script_id: str) -> None:
    claims = listener()
    for position_ms in (1, 2):
        await made(bookmarks, claims, script_id, position_ms)
    assert (await bookmarks.list_of(claims, script_id, limit=2)).next_cursor is None
    assert (await bookmarks.list_of(claims, script_id, limit=1)).next_cursor is not None


async def test_the_last_bookmark_fits_and_one_more_does_not(
    bookmarks: BookmarkRepository, script_id: str, owner: Connection
) -> None:
    claims = listener()
    await fill(owner, claims, script_id, BOOKMARKS_MAX - 1)
    last = await made(bookmarks, claims, script_id, 5)
    assert await bookmarks.create(claims, script_id, 6) is BookmarkRefusal.LIMIT_REACHED
    await made(bookmarks, listener(), script_id, 6)
    await bookmarks.delete(claims, last.bookmark_id)
    await made(bookmarks, claims, script_id, 6)


async def test_devices_at_once_do_not_get_past_the_limit(
    bookmarks: BookmarkRepository, script_id: str, owner: Connection
) -> None:
    claims = listener()
    await fill(owner, claims, script_id, BOOKMARKS_MAX - 2)
    answers = await asyncio.gather(*(bookmarks.create(claims, script_id, 1) for _ in range(4)))
    assert answers.count(BookmarkRefusal.LIMIT_REACHED) == 2
    count = "select count(*) from audio_bookmarks where listener_id = $1"
    assert await owner.fetchval(count, claims["sub"]) == BOOKMARKS_MAX


@pytest.mark.parametrize(
    ("position_ms", "title", "note"),
    [
        (-1, None, None),
        (DURATION_MS_MAX + 1, None, None),
        (2**63, None, None),
        (0, "t" * (BOOKMARK_TITLE_CHARS_MAX + 1), None),
        (0, None, "n" * (BOOKMARK_NOTE_CHARS_MAX + 1)),
        (0, "with \0", None),
        (0, None, "half a \ud83c"),
    ],
)
async def test_what_cannot_be_stored_is_an_invalid_value(
    bookmarks: BookmarkRepository, script_id: str, position_ms: int, title: str | None, note: str | None
) -> None:
    claims = listener()
    with pytest.raises(InvalidValue) as refusal:
        await bookmarks.create(claims, script_id, position_ms, title=title, note=note)
    assert "ttt" not in str(refusal.value) and "nnn" not in str(refusal.value), "errors are logged: no private text"
    assert (await bookmarks.list_of(claims, script_id)).items == ()


async def test_the_longest_texts_fit_counted_in_code_points(bookmarks: BookmarkRepository, script_id: str) -> None:
    title, note = "🎧" * BOOKMARK_TITLE_CHARS_MAX, "é" * BOOKMARK_NOTE_CHARS_MAX
    bookmark = await bookmarks.create(listener(), script_id, DURATION_MS_MAX, title=title, note=note)
    assert isinstance(bookmark, Bookmark) and (bookmark.title, bookmark.note) == (title, note)


async def test_deleting_a_script_takes_its_bookmarks_with_it(
    bookmarks: BookmarkRepository, script_id: str, owner: Connection
) -> None:
    bookmark = await made(bookmarks, listener(), script_id, 0)
    await owner.execute("delete from audio_scripts where id = $1", script_id)
    assert not await owner.fetchval("select exists (select from audio_bookmarks where id = $1)", bookmark.bookmark_id)


@pytest.mark.parametrize("cursor", ["x", "AAAA", "ä", "é" * 300, "A" * 129])
async def test_a_cursor_that_was_never_given_out_is_an_invalid_value(
    bookmarks: BookmarkRepository, script_id: str, cursor: str
) -> None:
    with pytest.raises(InvalidValue):
        await bookmarks.list_of(listener(), script_id, cursor=cursor)
