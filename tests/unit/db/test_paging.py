import base64
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.db.errors import InvalidValue
from playhead.db.limits import PAGE_SIZE_MAX
from playhead.db.paging import (
    AFTER_ALL,
    BEFORE_ALL,
    CURSOR_CHARS_MAX,
    Place,
    decode_cursor,
    encode_cursor,
    page,
    rows_wanted,
)

KEYS = st.integers(min_value=BEFORE_ALL.key, max_value=AFTER_ALL.key)


def cursor_of(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


@given(KEYS, st.uuids())
def test_a_cursor_names_the_place_that_it_was_made_of(key: int, row_id: uuid.UUID) -> None:
    place = Place(key, str(row_id))
    cursor = encode_cursor(place)
    assert decode_cursor(cursor) == place
    assert len(cursor) <= CURSOR_CHARS_MAX and cursor.isascii() and "=" not in cursor


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "=",
        "ä",
        "a b",
        "A" * (CURSOR_CHARS_MAX + 1),
        cursor_of("12"),
        cursor_of("12:nonsense"),
        cursor_of(f"x:{AFTER_ALL.row_id}"),
        cursor_of(f"{BEFORE_ALL.key - 1}:{AFTER_ALL.row_id}"),
        cursor_of(f"{AFTER_ALL.key + 1}:{AFTER_ALL.row_id}"),
        cursor_of(f"nan:{AFTER_ALL.row_id}"),
    ],
)
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidValue):
        decode_cursor(cursor)


@given(st.text(max_size=150))
def test_any_text_is_a_cursor_or_refused(text: str) -> None:
    try:
        decode_cursor(text)
    except InvalidValue:
        pass


def test_a_page_is_as_long_as_its_limit_and_names_a_next_one_only_if_there_is_more() -> None:
    def place_of(number: int) -> Place:
        return Place(number, AFTER_ALL.row_id)

    assert page([1, 2], 2, place_of).next_cursor is None
    assert page([], 2, place_of).items == ()
    more = page([1, 2, 3], 2, place_of)
    assert more.items == (1, 2)
    assert more.next_cursor is not None and decode_cursor(more.next_cursor).key == 2


def test_the_size_of_a_page_has_limits() -> None:
    assert (rows_wanted(1), rows_wanted(PAGE_SIZE_MAX)) == (2, PAGE_SIZE_MAX + 1)
    for limit in (0, PAGE_SIZE_MAX + 1):
        with pytest.raises(InvalidValue):
            rows_wanted(limit)
