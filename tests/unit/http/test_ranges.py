"""Byte ranges (RFC 9110 section 14)."""

import pytest

from playhead.http.ranges import Unsatisfiable, byte_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-", (0, 100)),
        ("bytes=10-19", (10, 20)),
        ("bytes=99-", (99, 100)),
        ("bytes=99-99", (99, 100)),
        ("bytes=50-1000", (50, 100)),
        ("bytes=-1", (99, 100)),
        ("bytes=-100", (0, 100)),
        ("bytes=-1000", (0, 100)),
        ("BYTES=0-9", (0, 10)),
        (" bytes=0-9 ", (0, 10)),
    ],
)
def test_a_range_within_the_body_is_that_part_of_it(header: str, expected: tuple[int, int]) -> None:
    assert byte_range(header, 100) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=999999999999-"])
def test_a_range_that_begins_past_the_end_cannot_be_satisfied(header: str) -> None:
    assert byte_range(header, 100) is Unsatisfiable.BEYOND


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes=",
        "bytes=-",
        "bytes=5-4",
        "bytes=a-b",
        "items=0-1",
        "bytes=0-1,5-6",
        "bytes=1_0-2_0",
        "bytes=+1-2",
    ],
)
def test_no_range_several_ranges_and_what_is_no_range_mean_all_of_it(header: str | None) -> None:
    assert byte_range(header, 100) is None


def test_of_nothing_no_range_can_be_satisfied() -> None:
    assert byte_range("bytes=0-", 0) is Unsatisfiable.BEYOND
    assert byte_range(None, 0) is None
