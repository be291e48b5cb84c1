from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from playhead.db.codecs import (
    intervals_from,
    ms_from_time,
    multirange_text,
    pairs_text,
    seqs_from,
    time_from_ms,
    time_from_us,
    us_from_time,
)

UNTIL_YEAR_9999_MS = 253_370_764_800_000


@dataclass
class FakeRange:
    lower: int
    upper: int


@given(st.integers(min_value=-62_000_000_000_000, max_value=UNTIL_YEAR_9999_MS))
def test_every_millisecond_survives_the_way_there_and_back(at_ms: int) -> None:
    assert ms_from_time(time_from_ms(at_ms)) == at_ms


@given(st.integers(min_value=0, max_value=UNTIL_YEAR_9999_MS * 1_000))
def test_every_microsecond_survives_the_way_there_and_back(at_us: int) -> None:
    assert us_from_time(time_from_us(at_us)) == at_us


def test_a_time_means_the_same_in_every_zone() -> None:
    elsewhere = datetime(2026, 11, 23, 5, 0, 0, 1_000, timezone(timedelta(hours=5)))
    assert ms_from_time(elsewhere) == ms_from_time(datetime(2026, 11, 23, 0, 0, 0, 1_000, UTC)) == 1_795_392_000_001


def test_intervals_are_half_open_ranges() -> None:
    assert multirange_text(()) == "{}"
    assert multirange_text(((0, 1_500), (2_000, 3_000))) == "{[0,1500),[2000,3000)}"
    assert intervals_from([FakeRange(0, 1_500), FakeRange(2_000, 3_000)]) == ((0, 1_500), (2_000, 3_000))


@given(st.lists(st.tuples(st.text(max_size=20), st.integers(min_value=0, max_value=2**53)), max_size=16))
def test_report_numbers_keep_their_order(seqs: list[tuple[str, int]]) -> None:
    assert seqs_from(pairs_text(seqs)) == tuple(seqs)
