"""Byte ranges (RFC 9110 section 14) of a body that is at hand: one range, or none."""

import re
from enum import Enum

_RANGE = re.compile(r"bytes=([0-9]{0,12})-([0-9]{0,12})", re.IGNORECASE)


class Unsatisfiable(Enum):
    """The range begins past the end."""

    BEYOND = "beyond"


def byte_range(header: str | None, size: int) -> tuple[int, int] | Unsatisfiable | None:
    """The asked-for `[start, end)` of `size` bytes. None: all of it, as for several ranges and for what is no range."""
    found = _RANGE.fullmatch(header.strip()) if header is not None else None
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        wanted = min(int(found[2]), size)
        return (size - wanted, size) if wanted else Unsatisfiable.BEYOND
    start, last = int(found[1]), int(found[2]) if found[2] else size - 1
    if found[2] and last < start:
        return None
    return (start, min(last + 1, size)) if start < size else Unsatisfiable.BEYOND
