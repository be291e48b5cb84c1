"""A process lets in as many as it can serve: fewer while its loop is late, all of its pace when it is not."""

import asyncio
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from playhead.engine.admission import SECOND_US, Admission, Gate, Limits, Reason
from playhead.engine.strain import DOWN, LATE_S, LOOK_S, SHARE_MIN, Strain

START_US = 5_000_000_000
LATE, ON_TIME = LATE_S * 1.01, LATE_S


def strain_after(*late_s: float) -> Strain:
    strain = Strain(lambda _share: None)
    for each in late_s:
        strain.looked(each)
    return strain


def test_one_look_at_a_late_loop_is_one_step_however_late_it_was() -> None:
    assert strain_after(LATE).share == strain_after(60.0).share == DOWN


def test_newcomers_are_held_back_to_the_least_share_and_get_all_of_it_back() -> None:
    assert strain_after(*[LATE] * 50).share == SHARE_MIN
    assert strain_after(*[LATE] * 50, *[ON_TIME] * 50).share == 1.0


@given(st.lists(st.floats(0, 10), max_size=200))
def test_the_share_stays_within_its_bounds_and_each_change_is_told(late_s: list[float]) -> None:
    told: list[float] = []
    strain, before = Strain(told.append), 1.0
    for each in late_s:
        strain.looked(each)
        assert SHARE_MIN <= strain.share <= 1.0
        assert strain.share <= before if each > LATE_S else strain.share >= before
        before = strain.share
    assert (told or [1.0])[-1] == strain.share


@given(
    st.lists(st.integers(0, 30_000), min_size=1, max_size=300),
    st.integers(1, 200),
    st.integers(1, 50),
    st.floats(SHARE_MIN, 1),
)
def test_never_more_are_taken_than_the_share_of_burst_and_rate(
    steps: list[int], per_s: int, burst: int, share: float
) -> None:
    gate, now_us, taken = Gate(per_s, burst), START_US, 0
    gate.slow_to(share)
    for step_us in steps:
        now_us += step_us
        if not gate.wait_us(now_us):
            gate.take(now_us)
            taken += 1
        assert taken <= max(1, burst * share) + (now_us - START_US) / int(SECOND_US / (per_s * share))


def test_an_address_keeps_its_pace_while_the_process_is_busy() -> None:
    asked = Admission(Limits(per_s=100, burst=100, address_per_s=100, address_burst=2), chance=lambda: 0.0)
    asked.slow_to(SHARE_MIN)
    reasons = []
    for _ in range(3):
        refusal = asked.refusal("192.0.2.1", START_US)
        reasons.append(refusal and refusal.reason)
        if refusal is None:
            asked.enter("192.0.2.1", START_US)
    assert reasons == [None, None, Reason.ADDRESS_RATE]


def crowd_comes(joins_per_s: int, heeds_strain: bool) -> tuple[float, float]:
    """How long a crowd takes to come in, and a command of who is in to have its turn meanwhile, on average; seconds.

    A model of a loop: a turn accepts, does whatever has become ready since the turn before, and is as long as that.
    Joining is four pieces of work with a round trip after each. Set is a pace of 500.
    """
    crowd, pieces, accepted_at_once = 3_000, 4, 64
    piece_us = SECOND_US // joins_per_s // pieces
    asked = Admission(Limits(per_s=500, burst=500), chance=lambda: 0.0)
    strain = Strain(asked.slow_to if heeds_strain else lambda _share: None)
    ready: Counter[int] = Counter()
    outside, joined, now_us, look_at_us, turns_us = crowd, 0, START_US, START_US, []
    while joined < crowd:
        began_us = now_us
        if now_us >= look_at_us:
            strain.looked((now_us - look_at_us) / SECOND_US)
            look_at_us = now_us + round(LOOK_S * SECOND_US)
        joined += ready[1]
        now_us += ready.total() * piece_us
        ready = Counter({left - 1: count for left, count in ready.items() if left > 1})
        for _ in range(min(outside, accepted_at_once)):
            if asked.refusal(None, now_us) is None:
                asked.enter(None, now_us)
                outside -= 1
                ready[pieces] += 1
        now_us = max(now_us, began_us + 1_000)
        turns_us.append(now_us - began_us)
    mean_us = sum(turn_us**2 for turn_us in turns_us) / sum(turns_us)
    return (now_us - START_US) / SECOND_US, mean_us / SECOND_US


@pytest.mark.parametrize("joins_per_s", [200, 300])
def test_where_a_crowd_is_too_much_who_is_in_waits_half_as_long_and_the_crowd_no_longer(joins_per_s: int) -> None:
    came_s, waited_s = crowd_comes(joins_per_s, heeds_strain=True)
    heedless_came_s, heedless_waited_s = crowd_comes(joins_per_s, heeds_strain=False)
    assert waited_s < 0.6 * heedless_waited_s
    assert came_s < 1.1 * heedless_came_s


def test_where_a_crowd_is_no_more_than_the_machine_can_do_nobody_is_held_back() -> None:
    assert crowd_comes(1_000, heeds_strain=True) == crowd_comes(1_000, heeds_strain=False)


async def test_a_loop_that_is_held_up_is_seen_and_a_stop_ends_the_looks() -> None:
    told: list[float] = []
    strain = Strain(told.append)
    strain.watch(asyncio.get_running_loop())
    for _ in range(3):
        time.sleep(LATE_S * 4)
        await asyncio.sleep(LOOK_S * 1.5)
    assert told and told[0] == DOWN
    strain.stop()
    told.clear()
    time.sleep(LATE_S * 4)
    await asyncio.sleep(LOOK_S * 2)
    assert not told
