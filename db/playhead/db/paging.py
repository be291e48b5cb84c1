"""Pages by key, not by number: a cursor names the last row that was seen, so rows that come or go shift nothing.

A cursor is opaque to clients: base64url of `<key>:<id>`, where key is the integer that the list is ordered by.
"""

import base64
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from playhead.db.errors import InvalidValue
from playhead.db.limits import PAGE_SIZE_MAX

CURSOR_CHARS_MAX = 128

Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows of a list, in its order. `next_cursor` None: there are no more."""

    items: tuple[Row, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class Place:
    """A row's place in a list: what the list is ordered by, then the id, which makes it unique."""

    key: int
    row_id: str


BEFORE_ALL = Place(-1, "00000000-0000-0000-0000-000000000000")
"""Where a list that counts up begins."""
AFTER_ALL = Place(253_370_764_800_000_000, "ffffffff-ffff-ffff-ffff-ffffffffffff")
"""Where a list that counts down begins: the year 9999 in µs, the last time that Python and PostgreSQL both know."""


def encode_cursor(place: Place) -> str:
    return base64.urlsafe_b64encode(f"{place.key}:{place.row_id}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> Place:
    """The place that `encode_cursor` was given. Raises InvalidValue for what it never made."""
    try:
        if len(cursor) > CURSOR_CHARS_MAX:
            raise ValueError("too long")
        key, _, row_id = (
            base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode().partition(":")
        )
        place = Place(int(key), str(uuid.UUID(row_id)))
        if not BEFORE_ALL.key <= place.key <= AFTER_ALL.key:
            raise ValueError("out of range")
    except ValueError:
        raise InvalidValue("The cursor is not one of this list's. Leave it out to begin at the beginning.") from None
    return place


def rows_wanted(limit: int) -> int:
    """How many rows to ask for: one more than the page holds tells whether there is a next one."""
    if not 1 <= limit <= PAGE_SIZE_MAX:
        raise InvalidValue(f"A page holds between 1 and {PAGE_SIZE_MAX} rows.")
    return limit + 1


def page(rows: Sequence[Row], limit: int, place_of: Callable[[Row], Place]) -> Page[Row]:
    """The page that `rows` make, which were fetched with `rows_wanted(limit)`."""
    items = tuple(rows[:limit])
    more = len(rows) > limit
    return Page(items, encode_cursor(place_of(items[-1])) if more else None)
