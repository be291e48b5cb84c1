"""BoundedMap: what it holds, and what goes first."""

from playhead.cache import BoundedMap


def _map(entries_max: int = 3, weight_max: int = 10) -> BoundedMap[str, str]:
    return BoundedMap(entries_max, weight_max, len)


def test_holds_as_many_as_allowed_and_lets_the_least_recently_used_go_one_past_it() -> None:
    held = _map()
    for key in "abc":
        held.put(key, key)
    assert [held.get(key) for key in "abc"] == ["a", "b", "c"]
    held.get("a")
    held.put("d", "d")
    assert [held.get(key) for key in "abcd"] == ["a", None, "c", "d"]


def test_holds_as_much_weight_as_allowed_and_lets_the_least_recently_used_go_one_past_it() -> None:
    held = _map()
    held.put("a", "12345")
    held.put("b", "12345")
    assert (held.weight, len(held)) == (10, 2)
    held.put("c", "1")
    assert held.get("a") is None
    assert (held.get("b"), held.weight) == ("12345", 6)


def test_a_value_heavier_than_everything_may_weigh_is_not_held_and_pushes_nothing_out() -> None:
    held = _map()
    held.put("a", "1")
    held.put("b", "12345678901")
    assert (held.get("a"), held.get("b")) == ("1", None)


def test_replacing_a_value_by_one_that_is_too_heavy_leaves_neither() -> None:
    held = _map()
    held.put("a", "1")
    held.put("a", "12345678901")
    assert (held.get("a"), held.weight) == (None, 0)


def test_a_replaced_value_no_longer_weighs() -> None:
    held = _map()
    held.put("a", "12345")
    held.put("a", "12")
    assert held.weight == 2


def test_cleared_it_holds_and_weighs_nothing() -> None:
    held = _map()
    held.put("a", "1")
    held.clear()
    assert (len(held), held.weight, held.get("a")) == (0, 0, None)
