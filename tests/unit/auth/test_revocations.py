"""What is revoked is refused; the copy is bounded, in the order of time, and read page by page without a gap."""

import random

import pytest

from playhead.auth.media_paths import InvalidMediaToken, MediaClaims, expiry_s, media_prefix
from playhead.auth.revocations import (
    ENDED_MARGIN_S,
    FORGET_INTERVAL_MS,
    LATE_MS_MAX,
    SIGNED_LATE_S,
    Revocation,
    Revocations,
    ended,
    taken_back,
)

NOW_MS = 1_767_225_600_000
HOUR_MS = 3_600_000
PREFIX = media_prefix("33333333-3333-4333-8333-333333333333", "0123456789abcdef")


def revocations(ended_max: int = 1_000, known_to_ms: int | None = NOW_MS) -> Revocations:
    return Revocations(lambda: known_to_ms, ended_max)


def refused(copy: Revocations, session_id: str | None = None, expires_at_s: int = 2**40, prefix: str = PREFIX) -> bool:
    try:
        copy.check(MediaClaims(key_id="k", prefix=prefix, expires_at_s=expires_at_s, session_id=session_id))
    except InvalidMediaToken:
        return True
    return False


def row(number: int, at_ms: int = NOW_MS, until_s: int = NOW_MS // 1000 + 100, by_operator: bool = False) -> Revocation:
    return Revocation(subject=f"s{number}", at_ms=at_ms, until_s=until_s, by_operator=by_operator)


def test_every_token_of_a_session_that_has_ended_is_refused_and_no_other_one() -> None:
    copy = revocations()
    assert copy.add([ended("s", NOW_MS, HOUR_MS)], NOW_MS) == 0
    assert refused(copy, "s") and copy.has_ended("s")
    assert not refused(copy, "other") and not refused(copy, None) and not refused(copy, "")


def test_a_token_is_refused_for_as_long_as_it_would_be_valid() -> None:
    """Also one that was signed after the end, by who had not heard of it yet."""
    gone = ended("s", NOW_MS, HOUR_MS)
    signed_late_ms = NOW_MS + 60_000
    assert gone.until_s > expiry_s(signed_late_ms, HOUR_MS)
    assert gone.until_s == expiry_s(NOW_MS, HOUR_MS) + ENDED_MARGIN_S


def test_a_script_taken_back_is_refused_to_whoever_got_its_address_before() -> None:
    copy = revocations()
    copy.add([taken_back(PREFIX, NOW_MS, HOUR_MS)], NOW_MS)
    last_s = expiry_s(NOW_MS, HOUR_MS) + SIGNED_LATE_S
    assert refused(copy, expires_at_s=last_s) and refused(copy, "any", expires_at_s=1)
    assert not refused(copy, expires_at_s=last_s + 1), "asked for again, and still allowed"
    assert not refused(copy, expires_at_s=1, prefix=media_prefix("3" * 36, "f" * 16)), "another version"
    copy.add([taken_back(PREFIX, NOW_MS + 60_000, HOUR_MS)], NOW_MS)
    assert refused(copy, expires_at_s=last_s + 60) and not refused(copy, expires_at_s=last_s + 61), "and once more"


def test_what_is_over_is_forgotten_and_what_is_old_is_not_taken_in() -> None:
    copy = revocations()
    copy.add([row(1, until_s=NOW_MS // 1000 + 1), row(2), row(3, until_s=NOW_MS // 1000)], NOW_MS)
    assert len(copy) == 2 and not copy.has_ended("s3")
    copy.add([], NOW_MS + FORGET_INTERVAL_MS - 1)
    assert copy.has_ended("s1"), "looked for now and then"
    copy.add([], NOW_MS + FORGET_INTERVAL_MS)
    assert not copy.has_ended("s1") and copy.has_ended("s2") and len(copy) == 1


def test_of_too_many_the_first_are_forgotten() -> None:
    copy = revocations(ended_max=10)
    assert copy.add([row(number, at_ms=NOW_MS + number) for number in range(10)], NOW_MS) == 0
    assert copy.add([row(number, at_ms=NOW_MS + number) for number in range(5, 13)], NOW_MS) == 3
    assert [copy.has_ended(f"s{number}") for number in range(13)] == [False] * 3 + [True] * 10


def test_no_number_of_endings_drops_what_an_operator_has_revoked() -> None:
    copy = revocations(ended_max=10)
    copy.add([taken_back(PREFIX, NOW_MS, HOUR_MS), row(0, by_operator=True), row(1)], NOW_MS)
    for first in range(2, 1_000, 50):
        copy.add([row(number, at_ms=NOW_MS + number) for number in range(first, first + 50)], NOW_MS + first)
    assert refused(copy, expires_at_s=1) and copy.has_ended("s0") and not copy.has_ended("s1")
    assert len(copy) == 10 + 2
    page = copy.since(0, 100)
    assert page is not None and [each.subject for each in page.rows if each.by_operator] == [PREFIX, "s0"]


def test_a_session_that_an_operator_ended_is_kept_as_his_whichever_was_heard_of_first() -> None:
    for by_operator in (False, True):
        copy = revocations(ended_max=1)
        copy.add([row(0, by_operator=by_operator)], NOW_MS)
        copy.add([row(0, by_operator=not by_operator)], NOW_MS)
        copy.add([row(1, at_ms=NOW_MS + 1), row(2, at_ms=NOW_MS + 2)], NOW_MS)
        assert copy.has_ended("s0") and not copy.has_ended("s1") and copy.has_ended("s2")


def test_what_an_operator_has_revoked_is_forgotten_when_its_time_is_over() -> None:
    copy = revocations()
    copy.add([row(1, until_s=NOW_MS // 1000 + 1, by_operator=True), row(2, by_operator=True)], NOW_MS)
    copy.add([], NOW_MS + FORGET_INTERVAL_MS)
    assert not copy.has_ended("s1") and copy.has_ended("s2") and len(copy) == 1


def test_of_what_is_entered_twice_the_longer_time_counts() -> None:
    copy = revocations()
    assert copy.until_s("s1") is None
    copy.add([row(1, until_s=NOW_MS // 1000 + 100)], NOW_MS)
    copy.add([row(1, until_s=NOW_MS // 1000 + 200, by_operator=True), row(1, until_s=NOW_MS // 1000 + 150)], NOW_MS)
    assert copy.until_s("s1") == NOW_MS // 1000 + 200


def read(copy: Revocations, since_ms: int, limit: int) -> tuple[list[str], int]:
    """All pages from there on, and where to go on."""
    found: list[str] = []
    while True:
        page = copy.since(since_ms, limit)
        assert page is not None and (page.more or page.next_ms == NOW_MS - LATE_MS_MAX)
        found += [each.subject for each in page.rows]
        if not page.more:
            return found, page.next_ms
        assert page.next_ms > since_ms, "no page is asked for twice"
        since_ms = page.next_ms


@pytest.mark.parametrize("limit", [1, 3, 7, 30, 1_000])
def test_pages_hold_everything_once_in_the_order_of_time_however_it_came_in(limit: int) -> None:
    chance = random.Random(limit)
    times = sorted(NOW_MS - 50_000 + chance.randrange(40) for _ in range(100))
    rows = [row(number, at_ms=at_ms, by_operator=chance.random() < 0.3) for number, at_ms in enumerate(times)]
    copy, mixed = revocations(), list(rows)
    chance.shuffle(mixed)
    for first in range(0, 100, 9):
        copy.add(mixed[first : first + 9] + mixed[:3], NOW_MS)
    found, _ = read(copy, 0, limit)
    assert sorted(found) == sorted(each.subject for each in rows) and len(found) == 100
    at_ms = {each.subject: each.at_ms for each in rows}
    assert [at_ms[subject] for subject in found] == times
    later, _ = read(copy, times[50], limit)
    assert {*later} == {each.subject for each in rows if each.at_ms >= times[50]}


def test_a_page_that_one_millisecond_fills_is_not_the_last_one() -> None:
    copy = revocations()
    rows = [row(number, at_ms=NOW_MS - 50, by_operator=True) for number in range(5)]
    copy.add([*rows, row(5, at_ms=NOW_MS - 40, by_operator=True), row(6, at_ms=NOW_MS - 50)], NOW_MS)
    assert sorted(read(copy, 0, 2)[0]) == [f"s{number}" for number in range(7)]


def test_whoever_goes_on_from_a_last_page_sees_what_comes_in_late() -> None:
    copy = revocations()
    copy.add([row(1, at_ms=NOW_MS - 5)], NOW_MS)
    _, next_ms = read(copy, 0, 10)
    copy.add([row(2, at_ms=NOW_MS - LATE_MS_MAX), row(3, at_ms=NOW_MS + 5)], NOW_MS)
    assert read(copy, next_ms, 10)[0] == ["s2", "s1", "s3"]


def test_a_list_that_was_not_read_yet_is_told_to_nobody_and_refuses_what_it_knows() -> None:
    copy = revocations(known_to_ms=None)
    copy.add([row(1)], NOW_MS)
    assert copy.since(0, 10) is None
    assert refused(copy, "s1")
