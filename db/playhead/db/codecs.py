"""Values of the core as PostgreSQL keeps them, and back. Pure, and exact: no float ever carries a time.

| core                          | PostgreSQL      | on the wire                |
| ----------------------------- | --------------- | -------------------------- |
| ms since the Unix epoch       | timestamptz     | datetime in UTC            |
| union of intervals            | int8multirange  | text in, list of Range out |
| report numbers, in order      | jsonb           | text both ways             |
| played slots, in order        | jsonb           | text both ways             |

Multiranges and jsonb go in as text and are cast by the statement: the driver cannot tell an array of multiranges from a
matrix, and a codec of our own would cost each new connection a query.
"""

import json
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from playhead.db.errors import InvalidValue
from playhead.playback.state import Interval, Slot

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
MICROSECOND = timedelta(microseconds=1)


class IntegerRange(Protocol):
    """A range as the driver answers it: of a discrete type, so always `[lower, upper)`."""

    @property
    def lower(self) -> int: ...
    @property
    def upper(self) -> int: ...


def time_from_ms(at_ms: int) -> datetime:
    return EPOCH + at_ms * MILLISECOND


def time_from_us(at_us: int) -> datetime:
    return EPOCH + at_us * MICROSECOND


def ms_from_time(time: datetime) -> int:
    return (time - EPOCH) // MILLISECOND


def us_from_time(time: datetime) -> int:
    return (time - EPOCH) // MICROSECOND


def multirange_text(intervals: Iterable[Interval]) -> str:
    """`{[0,1500),[2000,3000)}`: the form that PostgreSQL reads as int8multirange."""
    return "{" + ",".join(f"[{start_ms},{end_ms})" for start_ms, end_ms in intervals) + "}"


def intervals_from(ranges: Sequence[IntegerRange]) -> tuple[Interval, ...]:
    return tuple((stretch.lower, stretch.upper) for stretch in ranges)


def pairs_text(pairs: Iterable[tuple[str, int]] | Iterable[Slot]) -> str:
    """A JSON list of pairs, not an object: jsonb does not keep the order of keys."""
    return json.dumps([list(pair) for pair in pairs])


def seqs_from(text: str) -> tuple[tuple[str, int], ...]:
    return tuple((device_id, seq) for device_id, seq in json.loads(text))


def slots_from(text: str) -> tuple[Slot, ...]:
    return tuple((slot, played_ms) for slot, played_ms in json.loads(text))


def uuid_from(text: str) -> uuid.UUID:
    """Raises InvalidValue."""
    try:
        return uuid.UUID(text)
    except ValueError:
        raise InvalidValue("The value is no UUID.") from None
