import asyncio
from dataclasses import asdict
from typing import Any

import asyncpg
import pytest

from playhead.db.errors import InvalidValue
from playhead.db.limits import (
    ARTIST_CHARS_MAX,
    COVER_KEY_CHARS_MAX,
    DURATION_MS_MAX,
    ERROR_CHARS_MAX,
    MARKS_MAX,
    PAGE_SIZE_MAX,
    SOURCE_CODEC_CHARS_MAX,
    SOURCE_KEY_CHARS_MAX,
    TITLE_CHARS_MAX,
)
from playhead.db.migrate import Connection
from playhead.db.script_rows import Creation, Mark, Tags
from playhead.db.scripts import ScriptRepository
from tests.integration.db.rows import SOURCE, listener, new_id, upload, uploaded


async def test_an_upload_appears_queued_with_everything_that_was_measured(scripts: ScriptRepository) -> None:
    owner = listener()
    created = await upload(scripts, owner, title="Morning", visibility="private")
    assert created.outcome is Creation.CREATED and created.script is not None
    script = created.script
    measured = {name: value for name, value in asdict(SOURCE).items() if name != "tags"}
    assert asdict(script).items() >= measured.items()
    assert (script.owner_id, script.title, script.visibility) == (owner["sub"], "Morning", "private")
    assert (script.status, script.error, script.progress) == ("queued", None, 0.0)
    assert await scripts.get(owner, script.script_id) == script == await scripts.stored(script.script_id)


async def test_several_scripts_are_read_at_once_whoever_may_hear_them_and_missing_ones_are_left_out(
    scripts: ScriptRepository,
) -> None:
    first, second = await uploaded(scripts), await uploaded(scripts)
    await uploaded(scripts)
    found = await scripts.stored_of([first.script_id, new_id(), second.script_id])
    assert sorted(found, key=lambda script: script.script_id) == sorted((first, second), key=lambda s: s.script_id)
    assert await scripts.stored_of([]) == ()


async def test_the_same_file_under_the_same_id_is_the_row_that_stands(scripts: ScriptRepository) -> None:
    owner = listener()
    first = await upload(scripts, owner, title="First")
    assert first.script is not None
    again = await upload(scripts, owner, script_id=first.script.script_id, title="Second")
    assert (again.outcome, again.script) == (Creation.UNCHANGED, first.script)


async def test_another_file_under_a_used_id_changes_nothing(scripts: ScriptRepository) -> None:
    owner = listener()
    first = await upload(scripts, owner)
    assert first.script is not None
    other = await upload(scripts, owner, script_id=first.script.script_id, media_version="f" * 16)
    assert (other.outcome, other.script) == (Creation.EXISTS, first.script)


async def test_an_id_of_another_owner_is_taken_and_tells_nothing_of_the_script(scripts: ScriptRepository) -> None:
    first = await uploaded(scripts)
    for media_version in (SOURCE.media_version, "f" * 16):
        stolen = await upload(scripts, listener(), script_id=first.script_id, media_version=media_version)
        assert (stolen.outcome, stolen.script) == (Creation.TAKEN, None)
    assert await scripts.stored(first.script_id) == first


async def test_an_id_whose_owner_failed_is_still_not_for_others(scripts: ScriptRepository) -> None:
    script_id = new_id()
    await scripts.create_failed(listener(), script_id=script_id, title="x", visibility="private", error="no audio")
    assert (await upload(scripts, listener(), script_id=script_id)).outcome is Creation.TAKEN


async def test_a_failed_upload_keeps_its_reason_and_no_source(scripts: ScriptRepository) -> None:
    owner, script_id = listener(), new_id()
    failed = await scripts.create_failed(
        owner, script_id=script_id, title="Broken", visibility="private", error="This is not audio."
    )
    assert failed.outcome is Creation.CREATED and failed.script is not None
    assert (failed.script.status, failed.script.error) == ("failed", "This is not audio.")
    assert (failed.script.source_key, failed.script.total_samples) == (None, 0)
    assert await scripts.requeue(script_id, unfinished_max=1) is None


async def test_a_failed_upload_is_replaced_by_its_owner(scripts: ScriptRepository) -> None:
    owner, script_id = listener(), new_id()
    await scripts.create_failed(owner, script_id=script_id, title="x", visibility="private", error="cut off")
    replaced = await upload(scripts, owner, script_id=script_id, title="Whole")
    assert replaced.outcome is Creation.REPLACED and replaced.script is not None
    assert (replaced.script.status, replaced.script.error, replaced.script.title) == ("queued", None, "Whole")


async def test_the_same_file_after_its_transcoding_failed_starts_over(scripts: ScriptRepository) -> None:
    owner = listener()
    script = await uploaded(scripts, owner)
    await scripts.claim(script.script_id)
    await scripts.progress(script.script_id, 0.5)
    await scripts.failed(script.script_id, "The encoder died.")
    again = await upload(scripts, owner, script_id=script.script_id)
    assert again.outcome is Creation.REPLACED and again.script is not None
    assert (again.script.status, again.script.progress) == ("queued", 0.0)
    claimed = await scripts.claim(script.script_id)
    assert claimed is not None and claimed.attempts == 1


async def test_each_claim_counts_before_the_work_is_done(scripts: ScriptRepository) -> None:
    script = await uploaded(scripts)
    for attempts in (1, 2, 3):
        claimed = await scripts.claim(script.script_id)
        assert claimed is not None
        assert (claimed.attempts, claimed.script.status) == (attempts, "processing")


async def test_progress_then_ready(scripts: ScriptRepository) -> None:
    script = await uploaded(scripts)
    assert not await scripts.progress(script.script_id, 0.5), "nobody has claimed it"
    await scripts.claim(script.script_id)
    assert await scripts.progress(script.script_id, 0.5)
    stored = await scripts.stored(script.script_id)
    assert stored is not None and (stored.status, stored.progress) == ("processing", 0.5)
    assert await scripts.ready(script.script_id)
    stored = await scripts.stored(script.script_id)
    assert stored is not None and (stored.status, stored.progress) == ("ready", 1.0)
    assert stored.updated_at > script.updated_at


async def test_a_ready_script_is_neither_claimed_nor_failed_any_more(scripts: ScriptRepository) -> None:
    script = await uploaded(scripts)
    await scripts.claim(script.script_id)
    await scripts.ready(script.script_id)
    assert await scripts.claim(script.script_id) is None
    assert not await scripts.failed(script.script_id, "too late")
    assert not await scripts.progress(script.script_id, 0.1)
    assert await scripts.claim(new_id()) is None


async def test_an_earlier_attempt_does_not_speak_for_a_later_one(scripts: ScriptRepository) -> None:
    script = await uploaded(scripts)
    await scripts.claim(script.script_id)
    await scripts.claim(script.script_id)
    assert not await scripts.progress(script.script_id, 0.9, attempt=1)
    assert not await scripts.ready(script.script_id, attempt=1)
    assert not await scripts.failed(script.script_id, "The first worker was slow.", attempt=1)
    assert await scripts.ready(script.script_id, attempt=2)


async def test_an_attempt_that_is_given_back_does_not_count(scripts: ScriptRepository) -> None:
    script = await uploaded(scripts)
    await scripts.claim(script.script_id)
    await scripts.claim(script.script_id)
    assert not await scripts.give_back(script.script_id, attempt=1), "another attempt has taken over"
    assert await scripts.give_back(script.script_id, attempt=2)
    claimed = await scripts.claim(script.script_id)
    assert claimed is not None and claimed.attempts == 2


async def test_a_failed_script_whose_source_is_kept_can_be_requeued(scripts: ScriptRepository) -> None:
    script = await uploaded(scripts)
    await scripts.claim(script.script_id)
    assert await scripts.failed(script.script_id, "The worker died 3 times.")
    assert await scripts.claim(script.script_id) is None
    requeued = await scripts.requeue(script.script_id, unfinished_max=1)
    assert requeued is not None and (requeued.status, requeued.error, requeued.progress) == ("queued", None, 0.0)
    assert await scripts.requeue(script.script_id, unfinished_max=1) is None
    claimed = await scripts.claim(script.script_id)
    assert claimed is not None and claimed.attempts == 1


async def test_no_more_scripts_are_requeued_than_an_owner_may_have_in_work(scripts: ScriptRepository) -> None:
    owner = listener()
    made = [await uploaded(scripts, owner) for _ in range(24)]
    for script in made[1:]:
        await scripts.failed(script.script_id, "It went wrong.")
    await uploaded(scripts)
    at_once = [scripts.requeue(script.script_id, unfinished_max=3) for script in made[1:]]
    requeued = [script for script in await asyncio.gather(*at_once) if script is not None]
    assert len(requeued) == 2
    assert await scripts.unfinished_of(owner["sub"], 10) == 3


async def test_any_reason_can_be_stored_cut_to_its_limit(scripts: ScriptRepository) -> None:
    script = await uploaded(scripts)
    assert await scripts.failed(script.script_id, "\0\ud800" + "x" * (2 * ERROR_CHARS_MAX))
    stored = await scripts.stored(script.script_id)
    assert stored is not None and stored.error == "?" + "x" * (ERROR_CHARS_MAX - 1)


async def test_unfinished_scripts_are_those_a_worker_still_owes(scripts: ScriptRepository) -> None:
    owed = [await uploaded(scripts) for _ in range(3)]
    await scripts.claim(owed[1].script_id)
    done = await uploaded(scripts)
    await scripts.claim(done.script_id)
    await scripts.ready(done.script_id)
    found = [script.script_id for script in await scripts.unfinished()]
    mine = {script.script_id for script in [*owed, done]}
    assert [script_id for script_id in found if script_id in mine] == [script.script_id for script in owed]


async def test_of_all_who_ask_at_once_each_gets_what_it_may_hear(scripts: ScriptRepository) -> None:
    owner, other = listener(), listener()
    public = await uploaded(scripts, owner)
    private = await uploaded(scripts, owner, visibility="private")
    asked = [(claims, script_id) for script_id in (public.script_id, private.script_id) for claims in (owner, other)]
    found = await asyncio.gather(*(scripts.get(*each) for each in asked), scripts.get(owner, new_id()))
    assert found == [public, public, private, None, None]


async def test_a_private_script_is_seen_by_its_owner_alone(scripts: ScriptRepository) -> None:
    owner = listener()
    private = await uploaded(scripts, owner, visibility="private")
    assert await scripts.get(listener(), private.script_id) is None
    assert await scripts.get(owner, private.script_id) == private


async def test_the_list_holds_shared_and_own_scripts_newest_first_page_by_page(scripts: ScriptRepository) -> None:
    owner, other = listener(), listener()
    mine = [
        (await uploaded(scripts, owner, visibility="private" if number % 2 else "listeners")).script_id
        for number in range(7)
    ]
    theirs = await uploaded(scripts, other, visibility="private")
    seen: list[str] = []
    cursor = None
    while True:
        found = await scripts.list_visible(owner, limit=2, cursor=cursor)
        assert len(found.items) <= 2
        seen += [script.script_id for script in found.items]
        await uploaded(scripts, other)  # what comes in between shifts nothing
        cursor = found.next_cursor
        if cursor is None:
            break
    assert theirs.script_id not in seen
    assert len(seen) == len(set(seen))
    assert [script_id for script_id in seen if script_id in mine] == mine[::-1]


async def test_scripts_of_the_same_instant_are_paged_by_their_ids(scripts: ScriptRepository, owner: Connection) -> None:
    listener_claims = listener()
    ids = sorted([(await uploaded(scripts, listener_claims, visibility="private")).script_id for _ in range(5)])
    await owner.execute("update audio_scripts set created_at = '2100-01-01' where id = any($1)", ids)
    first = await scripts.list_visible(listener_claims, limit=3)
    rest = await scripts.list_visible(listener_claims, limit=3, cursor=first.next_cursor)
    found = [script.script_id for script in (*first.items, *rest.items)]
    assert found[:5] == ids[::-1]


@pytest.mark.parametrize("limit", [0, -1, PAGE_SIZE_MAX + 1])
async def test_a_page_of_another_size_is_refused(scripts: ScriptRepository, limit: int) -> None:
    with pytest.raises(InvalidValue):
        await scripts.list_visible(listener(), limit=limit)


async def test_the_largest_page_is_served(scripts: ScriptRepository) -> None:
    assert len((await scripts.list_visible(listener(), limit=PAGE_SIZE_MAX)).items) <= PAGE_SIZE_MAX


async def test_an_id_that_is_no_uuid_is_an_invalid_value(scripts: ScriptRepository) -> None:
    with pytest.raises(InvalidValue):
        await scripts.get(listener(), "nonsense")


@pytest.mark.parametrize(
    ("column", "at_limit", "past_it"),
    [
        ("title", "t" * TITLE_CHARS_MAX, "t" * (TITLE_CHARS_MAX + 1)),
        ("title", "t", ""),
        ("visibility", "private", "everybody"),
        ("source_key", "k" * SOURCE_KEY_CHARS_MAX, "k" * (SOURCE_KEY_CHARS_MAX + 1)),
        ("source_codec", "c" * SOURCE_CODEC_CHARS_MAX, "c" * (SOURCE_CODEC_CHARS_MAX + 1)),
        ("duration_ms", DURATION_MS_MAX, DURATION_MS_MAX + 1),
        ("duration_ms", 1, 0),
        ("total_samples", 1, 0),
        ("source_samples", 1, 0),
        ("source_rate", 1, 0),
        ("source_bytes", 1, 0),
        ("source_start_s", -0.5, float("nan")),
        ("source_start_s", 1e9, float("inf")),
        ("media_version", "0" * 16, "0" * 15),
        ("media_version", "a" * 16, "A" * 16),
        ("media_version", "f" * 16, ""),
    ],
)
async def test_a_value_at_its_limit_is_stored_and_one_past_it_is_not(
    scripts: ScriptRepository, column: str, at_limit: object, past_it: object
) -> None:
    changed: dict[str, Any] = {column: at_limit}
    created = await upload(scripts, listener(), **changed)
    assert created.script is not None and getattr(created.script, column) == at_limit
    changed[column] = past_it
    with pytest.raises(InvalidValue):
        await upload(scripts, listener(), **changed)


@pytest.mark.parametrize(("fraction", "fits"), [(0.0, True), (1.0, True), (-0.01, False), (1.01, False)])
async def test_progress_lies_between_nothing_and_all(scripts: ScriptRepository, fraction: float, fits: bool) -> None:
    script = await uploaded(scripts)
    await scripts.claim(script.script_id)
    if fits:
        assert await scripts.progress(script.script_id, fraction)
        return
    with pytest.raises(InvalidValue):
        await scripts.progress(script.script_id, fraction)


async def test_progress_that_is_no_number_is_refused(scripts: ScriptRepository) -> None:
    script = await uploaded(scripts)
    await scripts.claim(script.script_id)
    with pytest.raises(InvalidValue):
        await scripts.progress(script.script_id, float("nan"))


async def test_no_script_is_half_made(owner: Connection) -> None:
    """Whoever writes: what is not failed is measured, and what is failed says why."""
    for columns, values in (
        ("owner_id, title", "gen_random_uuid(), 'x'"),
        ("owner_id, title, status", "gen_random_uuid(), 'x', 'failed'"),
        ("owner_id, title, status, error", "gen_random_uuid(), 'x', 'failed', ''"),
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            await owner.execute(f"insert into audio_scripts ({columns}) values ({values})")


async def test_an_owner_s_unfinished_scripts_are_counted_up_to_a_limit(scripts: ScriptRepository) -> None:
    owner = listener()
    await uploaded(scripts)
    assert await scripts.unfinished_of(owner["sub"], 10) == 0
    made = [await uploaded(scripts, owner) for _ in range(4)]
    await scripts.claim(made[0].script_id)
    assert await scripts.unfinished_of(owner["sub"], 10) == 4
    assert await scripts.unfinished_of(owner["sub"], 3) == 3
    await scripts.ready(made[0].script_id)
    await scripts.failed(made[1].script_id, "It went wrong.")
    assert await scripts.unfinished_of(owner["sub"], 10) == 2


async def test_what_a_file_says_of_itself_is_kept_with_its_row_and_goes_with_the_file(
    scripts: ScriptRepository,
) -> None:
    owner = listener()
    marks = (Mark(0, None), Mark(61_500, "Zwei ä \U0001f469"), Mark(3_599_999, '"\\'))
    tags = Tags(title="not the row's", artist="Ann", cover_key="sources/one.cover.jpg", marks=marks)
    created = await upload(scripts, owner, title="The row's", tags=tags)
    assert created.script is not None
    script = created.script
    assert (script.title, script.artist, script.cover_key) == ("The row's", "Ann", "sources/one.cover.jpg")
    assert script.keys == {SOURCE.source_key, "sources/one.cover.jpg"}
    assert await scripts.marks(script.script_id) == marks
    await scripts.failed(script.script_id, "It went wrong.")
    replaced = await upload(scripts, owner, script_id=script.script_id, media_version="f" * 16)
    assert replaced.script is not None
    assert replaced.script.artist is None and replaced.script.keys == {SOURCE.source_key}
    assert await scripts.marks(script.script_id) == () == await scripts.marks(new_id())


async def test_tags_at_their_limits_are_stored_and_past_them_are_not(scripts: ScriptRepository) -> None:
    most = Tags(
        artist="a" * ARTIST_CHARS_MAX,
        cover_key="k" * COVER_KEY_CHARS_MAX,
        marks=tuple(Mark(number, "t" * 200) for number in range(MARKS_MAX)),
    )
    created = await upload(scripts, listener(), tags=most)
    assert created.script is not None and await scripts.marks(created.script.script_id) == most.marks
    too_much: dict[str, Any] = {
        "artist": f"{most.artist}a",
        "cover_key": f"{most.cover_key}k",
        "marks": (*most.marks, Mark(1, None)),
    }
    for name, value in too_much.items():
        with pytest.raises(InvalidValue):
            await upload(scripts, listener(), tags=Tags(**{name: value}))
