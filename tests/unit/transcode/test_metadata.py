"""Strangers' text and chapters: what is taken of them."""

import pytest

from playhead.db import Mark
from playhead.db.limits import MARKS_MAX
from playhead.transcode.metadata import MARK_TITLE_CHARS_MAX, Chapter, clean, marks


def chapter(start: object, title: str | None = None) -> Chapter:
    return Chapter(start_time=str(start), tags={} if title is None else {"title": title})


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("A title", "A title"),
        ("  two \t\r\n lines\v\f\x85\u2028 ", "two lines"),
        ("nul\0 esc\x1b[31m del\x7f c1\x9b", "nul esc [31m del c1"),
        ("left\u202eright\u2066\u2069 \ufeff", "leftright"),
        ("half \ud800", "half"),
        ("e\u0301", "\u00e9"),
        ("\U0001f469\u200d\U0001f680", "\U0001f469\u200d\U0001f680"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("Caf\ufffd", "Caf\ufffd"),
        ("\ufffd\ufffd \ufffd", None),
        ("\0\x01", None),
        ("", None),
        ("x" * 300, "x" * 300),
        ("x" * 301, "x" * 300),
        ("y" * 299 + " z", "y" * 299),
        ("z" * 10_000_000, "z" * 300),
    ],
)
def test_text_is_one_readable_line_of_bounded_length(text: str, cleaned: str | None) -> None:
    assert clean(text, 300) == cleaned


def test_chapters_become_marks_in_their_order_whatever_order_they_come_in() -> None:
    found = marks([chapter("61.5", "Two"), chapter("0.000000", "One"), chapter(120, "")], 0.0, 180_000)
    assert found == (Mark(0, "One"), Mark(61_500, "Two"), Mark(120_000, None))


def test_chapters_that_cannot_be_are_dropped() -> None:
    nonsense = [chapter(start) for start in ("nan", "inf", "-inf", "N/A", "", 1e300, 180, 180.001)]
    assert marks([*nonsense, chapter(179.999)], 0.0, 180_000) == (Mark(179_999, None),)


def test_chapters_are_moved_to_where_the_sound_begins_and_the_one_that_runs_then_is_the_first() -> None:
    found = marks([chapter(0, "Titles"), chapter(3, "Talk"), chapter(9, "End")], 5.0, 180_000)
    assert found == (Mark(0, "Talk"), Mark(4_000, "End"))


def test_of_chapters_that_begin_together_the_last_counts() -> None:
    assert marks([chapter(1, "a"), chapter(1.0001, "b")], 0.0, 5_000) == (Mark(1_000, "b"),)


@pytest.mark.parametrize(("count", "kept"), [(MARKS_MAX, MARKS_MAX), (MARKS_MAX + 1, MARKS_MAX), (10_000, MARKS_MAX)])
def test_so_many_chapters_are_taken_and_no_more(count: int, kept: int) -> None:
    found = marks([chapter(number, f"c{number}") for number in range(count)], 0.0, 86_400_000)
    assert found == tuple(Mark(number * 1_000, f"c{number}") for number in range(kept))


def test_a_chapter_s_title_is_cleaned_and_cut() -> None:
    assert marks([chapter(0, "a\0\nb" + "c" * 500)], 0.0, 1_000)[0].title == ("a b" + "c" * 500)[:MARK_TITLE_CHARS_MAX]
