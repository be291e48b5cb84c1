"""Who is let in when, at each limit and one past it; and what becomes of a crowd that comes back as it was told."""

import heapq
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.engine import admission
from playhead.engine.admission import (
    CROWDED_SHARE,
    CROWDED_US,
    FULL_RETRY_MS,
    JITTER,
    PATIENCE_US,
    RETRY_MS_MAX,
    RETRY_MS_MIN,
    SECOND_US,
    Admission,
    Gate,
    Limits,
    Reason,
    Refusal,
)

START_US = 5_000_000_000
PHONE, DESK = "192.0.2.1", "192.0.2.2"
LIMITS = Limits(sockets_max=10, per_s=100, burst=8, address_sockets_max=4, address_per_s=10, address_burst=3)


class Watched:
    """An admission without jitter, and what it counted."""

    def __init__(self, **limits: int) -> None:
        self.refused: list[Reason] = []
        fields = {name: getattr(LIMITS, name) for name in LIMITS.__slots__} | limits
        self.admission = Admission(Limits(**fields), self.refused.append, chance=lambda: 0.0)

    def come(self, address: str | None = None, now_us: int = START_US) -> Refusal | None:
        refusal = self.admission.refusal(address, now_us)
        if refusal is None:
            self.admission.enter(address, now_us)
        return refusal


def test_a_process_takes_as_many_as_it_may_and_another_one_when_one_has_left() -> None:
    watched = Watched(burst=100)
    assert [watched.come() for _ in range(10)] == [None] * 10
    assert watched.come() == Refusal(Reason.PROCESS, FULL_RETRY_MS)
    watched.admission.leave(None)
    assert watched.come() is None
    assert (watched.refused, len(watched.admission)) == ([Reason.PROCESS], 10)


def test_an_address_takes_as_many_as_it_may_and_harms_no_other_one() -> None:
    watched = Watched(address_burst=100)
    assert [watched.come(PHONE) for _ in range(4)] == [None] * 4
    assert watched.come(PHONE) == Refusal(Reason.ADDRESS, FULL_RETRY_MS)
    assert watched.come(DESK) is None and watched.come(None) is None
    watched.admission.leave(PHONE)
    assert watched.come(PHONE) is None
    assert watched.refused == [Reason.ADDRESS]


def test_who_left_is_forgotten() -> None:
    watched = Watched()
    watched.come(PHONE)
    watched.admission.leave(PHONE)
    assert (len(watched.admission), watched.admission.of_address(PHONE)) == (0, 0)
    assert not watched.admission._by_address


def test_a_burst_is_taken_and_one_past_it_is_promised_the_next_turn() -> None:
    watched = Watched()
    assert [watched.come() for _ in range(8)] == [None] * 8
    assert watched.come() == Refusal(Reason.RATE, RETRY_MS_MIN)
    assert watched.come(now_us=START_US + SECOND_US // 100 - 1) is not None
    assert watched.come(now_us=START_US + SECOND_US // 100) is None


def test_it_is_crowded_with_half_of_the_pace_and_for_a_while_after_the_rate_kept_somebody_out() -> None:
    watched = Watched(address_burst=1)
    crowded = watched.admission.crowded
    assert watched.come(PHONE) is None and not crowded(START_US)
    assert watched.come(PHONE) is not None and not crowded(START_US), "that was its own fault"
    for share, so in ((CROWDED_SHARE + 0.01, False), (CROWDED_SHARE, True), (1.0, False)):
        watched.admission.slow_to(share)
        assert crowded(START_US) is so
    while watched.come() is None:
        assert not crowded(START_US)
    assert watched.refused[-1] is Reason.RATE
    assert crowded(START_US + CROWDED_US - 1) and not crowded(START_US + CROWDED_US)


def test_an_address_that_comes_too_fast_costs_nobody_else_a_turn() -> None:
    watched = Watched()
    assert [watched.come(PHONE) for _ in range(3)] == [None] * 3
    for _ in range(1_000):
        assert watched.come(PHONE) is not None
    assert set(watched.refused) == {Reason.ADDRESS_RATE}
    assert [watched.come(DESK) for _ in range(3)] == [None] * 3
    assert watched.come() is None


def test_whoever_is_turned_away_is_promised_a_turn_of_his_own() -> None:
    watched = Watched()
    for _ in range(8):
        watched.come()
    waits = [refusal.retry_after_ms for _ in range(1_000) if (refusal := watched.come())]
    assert waits == sorted(waits) and waits[-1] == 10 * 1_001
    assert max(waits.count(wait) for wait in waits if wait > RETRY_MS_MIN) == 1


def test_past_the_longest_wait_all_are_spread_out_and_nothing_more_is_promised() -> None:
    chances = iter([0.0, 0.0, 1.0, 1.0])
    asked = Admission(Limits(per_s=1, burst=1), chance=lambda: next(chances))
    asked.enter(None, START_US)
    for _ in range(RETRY_MS_MAX // 1_000 - 1):
        asked._gate.promise_us(START_US, RETRY_MS_MAX * 1_000)
    waits = [asked.refusal(None, START_US), asked.refusal(None, START_US)]
    assert [wait.retry_after_ms for wait in waits if wait] == [RETRY_MS_MAX // 2, round(RETRY_MS_MAX * (1 + JITTER))]


def test_a_refusal_tells_whole_seconds_rounded_up() -> None:
    refusal = Refusal(Reason.RATE, 1_001)
    assert refusal.retry_after_s == 2
    assert refusal.payload() == {
        "code": "overloaded",
        "reason": "rate",
        "message": "Too many sockets come at once. Wait `retry_after_ms`, then connect again.",
        "retry": True,
        "retry_after_ms": 1_001,
    }


def test_addresses_are_forgotten_when_their_pace_is_as_good_as_new() -> None:
    watched = Watched(sockets_max=10_000, burst=10_000)
    for number in range(500):
        watched.come(f"10.0.0.{number}")
    assert len(watched.admission._gates) == 500
    watched.come(PHONE, START_US + 10 * SECOND_US)
    assert list(watched.admission._gates) == [PHONE]


def test_no_more_addresses_are_remembered_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "ADDRESSES_MAX", 5)
    watched = Watched(burst=100)
    for number in range(9):
        watched.come(f"10.0.0.{number}")
    assert list(watched.admission._gates) == [f"10.0.0.{number}" for number in range(4, 9)]


@given(st.lists(st.integers(0, 30_000), min_size=1, max_size=400), st.integers(1, 200), st.integers(1, 50))
def test_never_more_are_taken_than_the_burst_and_the_rate_allow(steps: list[int], per_s: int, burst: int) -> None:
    gate, now_us, taken = Gate(per_s, burst), START_US, 0
    for step_us in steps:
        now_us += step_us
        if not gate.wait_us(now_us):
            gate.take(now_us)
            taken += 1
        assert taken <= burst + (now_us - START_US) // (SECOND_US // per_s)


@given(st.lists(st.integers(0, 30_000), min_size=1, max_size=200), st.integers(1, 200), st.integers(1, 50))
def test_whoever_comes_back_after_the_wait_is_taken(steps: list[int], per_s: int, burst: int) -> None:
    gate, now_us = Gate(per_s, burst), START_US
    for step_us in steps:
        now_us += step_us + gate.wait_us(now_us + step_us)
        assert gate.wait_us(now_us) == 0
        gate.take(now_us)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("crowd", [600, 5_000, 20_000])
def test_a_crowd_that_comes_at_one_moment_is_in_as_fast_as_the_rate_allows_and_asks_few_times(
    crowd: int, seed: int
) -> None:
    """Each waits as it was told, and up to half of that longer, as the clients do."""
    chance = random.Random(seed)
    per_s = 500
    asked = Admission(Limits(per_s=per_s, burst=per_s), chance=chance.random)
    coming = [(START_US + chance.randrange(100_000), number) for number in range(crowd)]
    heapq.heapify(coming)
    attempts, inside, last_us = 0, 0, START_US
    in_second: dict[int, int] = {}
    while coming:
        now_us, number = heapq.heappop(coming)
        attempts += 1
        refusal = asked.refusal(None, now_us)
        if refusal is None:
            asked.enter(None, now_us)
            inside, last_us = inside + 1, now_us
            in_second[(now_us - START_US) // SECOND_US] = in_second.get((now_us - START_US) // SECOND_US, 0) + 1
        else:
            heapq.heappush(coming, (now_us + round(refusal.retry_after_ms * 1_000 * (1 + chance.random() / 2)), number))
    assert inside == crowd
    assert max(in_second.values()) <= 2 * per_s
    assert last_us - START_US <= 2 * SECOND_US * crowd / per_s + 5 * SECOND_US
    assert attempts <= 3 * crowd


class Stranger:
    def __init__(self, asked: Admission, now_us: int = START_US) -> None:
        self.asked, self.crowded_out = asked, False
        asked.half_open.add(self, now_us)

    def crowd_out(self) -> None:
        self.crowded_out = True
        self.asked.half_open.remove(self)


def test_of_too_many_strangers_the_oldest_makes_room() -> None:
    watched = Watched(half_open_max=3)
    first, second, third = (Stranger(watched.admission) for _ in range(3))
    assert watched.refused == []
    second.asked.half_open.remove(second)
    fourth = Stranger(watched.admission)
    assert not first.crowded_out
    Stranger(watched.admission)
    assert (first.crowded_out, second.crowded_out, third.crowded_out, fourth.crowded_out) == (True, False, False, False)
    assert (watched.refused, len(watched.admission.half_open)) == ([Reason.HALF_OPEN], 3)


def test_while_the_oldest_stranger_may_still_say_something_nobody_need_be_taken_in_its_place() -> None:
    strangers = Watched(half_open_max=3).admission
    room = strangers.half_open.room
    assert room(5, START_US) == 3
    first = Stranger(strangers, START_US)
    for since_us in (300, 500):
        Stranger(strangers, START_US + since_us)
    assert room(5, START_US + PATIENCE_US - 1) == 0
    assert room(5, START_US + PATIENCE_US + 300) == 2
    assert room(1, START_US + PATIENCE_US + 300) == 1
    strangers.half_open.remove(first)
    assert room(5, START_US + 600) == 1
