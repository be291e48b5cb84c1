"""Things by their time, and values that are forgotten; and that neither grows with what has passed."""

import random

from playhead.sessions.timetable import STALE_MIN, Expiring, Fading, Timetable


def test_what_is_due_comes_up_once_the_earliest_first() -> None:
    times: Timetable[str] = Timetable()
    for key, at_ms in (("c", 30), ("a", 10), ("b", 20), ("later", 31)):
        times.put(key, at_ms)
    assert times.take(9, 10) == []
    assert times.take(30, 10) == ["a", "b", "c"]
    assert times.take(30, 10) == []
    assert len(times) == 1


def test_those_of_one_time_come_in_the_order_they_were_put() -> None:
    times: Timetable[str] = Timetable()
    for key in ("b", "a", "c"):
        times.put(key, 5)
    assert times.take(5, 10) == ["b", "a", "c"]


def test_no_more_is_taken_than_asked_for() -> None:
    times: Timetable[int] = Timetable()
    for number in range(5):
        times.put(number, number)
    assert times.take(9, 2) == [0, 1]
    assert times.take(9, 9) == [2, 3, 4]


def test_the_last_time_that_was_said_counts() -> None:
    times: Timetable[str] = Timetable()
    times.put("a", 10)
    times.put("a", 20)
    times.put("b", 20)
    times.put("b", 10)
    assert times.take(10, 9) == ["b"]
    assert times.take(20, 9) == ["a"]


def test_what_was_dropped_does_not_come_up_and_may_be_put_again() -> None:
    times: Timetable[str] = Timetable()
    times.put("a", 10)
    times.drop("a")
    times.drop("never there")
    assert times.take(10, 9) == [] and "a" not in times
    times.put("a", 10)
    times.drop("a")
    times.put("a", 10)
    assert times.take(10, 9) == ["a"]
    assert times.take(10, 9) == []


def test_any_changes_end_as_in_a_plain_list() -> None:
    random.seed(20_260_101)
    times: Timetable[int] = Timetable()
    plain: dict[int, int] = {}
    for now_ms in range(3_000):
        key = random.randrange(40)
        match random.randrange(4):
            case 0:
                times.drop(key)
                plain.pop(key, None)
            case 1:
                due = [number for number, at_ms in plain.items() if at_ms <= now_ms]
                taken = times.take(now_ms, 1_000)
                assert sorted(taken) == sorted(due)
                moments = [plain.pop(number) for number in taken]
                assert moments == sorted(moments)
            case _:
                plain[key] = now_ms + random.randrange(100)
                times.put(key, plain[key])
        assert len(times) == len(plain)


def test_a_time_that_is_put_off_again_and_again_takes_no_more_room() -> None:
    times: Timetable[str] = Timetable()
    for number in range(10_000):
        times.put("a", number)
    assert len(times._heap) <= 2 + STALE_MIN + 1
    assert times.take(9_998, 9) == []
    assert times.take(9_999, 9) == ["a"]


def test_a_value_is_there_until_its_time_is_over() -> None:
    values: Expiring[str, int] = Expiring()
    values.put("a", 1, 10)
    assert (values.get("a", 9), values.get("a", 10), values.get("b", 0)) == (1, None, None)
    values.put("a", 2, 20)
    values.forget(19, 9)
    assert (values.get("a", 19), len(values), list(values)) == (2, 1, ["a"])
    values.forget(20, 9)
    assert len(values) == 0


def test_forgetting_is_bounded_and_goes_on_with_the_next() -> None:
    values: Expiring[int, int] = Expiring()
    for number in range(5):
        values.put(number, number, number)
    values.forget(9, 3)
    assert list(values) == [3, 4]
    values.forget(9, 3)
    assert len(values) == 0


def test_a_value_can_be_taken_out_or_all_of_them() -> None:
    values: Expiring[str, int] = Expiring()
    values.put("a", 1, 10)
    assert values.pop("a") == 1
    assert values.pop("a") is None
    values.put("a", 1, 10)
    values.put("b", 1, 10)
    values.clear()
    values.forget(10, 9)
    assert len(values) == 0


def test_values_that_have_equally_long_go_in_the_order_they_came() -> None:
    values: Fading[str, int] = Fading()
    values.put("a", 1, 10)
    values.put("b", 2, 20)
    assert (values.get("a", 9), values.get("a", 10), values.get("b", 10), values.get("c", 0)) == (1, None, 2, None)
    values.put("a", 3, 30)  # anew: it comes after the other
    values.forget(19, 10)
    assert len(values) == 2
    values.forget(29, 10)
    assert (len(values), values.get("a", 29)) == (1, 3)
    values.pop("a")
    values.pop("a")
    assert len(values) == 0


def test_forgetting_such_values_is_bounded_as_well() -> None:
    values: Fading[int, int] = Fading()
    for number in range(5):
        values.put(number, number, 10)
    values.forget(10, 3)
    assert len(values) == 2
    values.forget(10, 3)
    assert len(values) == 0
