"""Turns of a round: everybody has one, it is always the same, and they are spread evenly."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from playhead.sessions.turns import TURNS, Turns
from tests.simulation.loop import VirtualLoop

OVER_S = 30.0
NEVER = 10**9


class Round:
    """Rounds in a time that jumps; `at_s`: when whose turn was."""

    def __init__(self) -> None:
        self.errors: list[dict[str, Any]] = []
        self.loop, self.turns = VirtualLoop(self.errors.append), Turns()
        self.at_s: dict[str, list[float]] = {}
        self.parts: list[Sequence[str]] = []

    def begin(self, length_max: int = NEVER, rounds: int = 1) -> None:
        self.loop.create_task(self._go(length_max, rounds))

    async def _go(self, length_max: int, rounds: int) -> None:
        for _ in range(rounds):
            async for part in self.turns.parts(OVER_S, length_max):
                self.parts.append(part)
                for listener_id in part:
                    self.at_s.setdefault(listener_id, []).append(asyncio.get_running_loop().time())

    def add(self, *names: object) -> None:
        for name in names:
            self.turns.add(str(name))

    def until_s(self, at_s: float) -> None:
        self.loop.advance(round(at_s * 1000))
        assert self.errors == []


@pytest.fixture
def round_() -> Iterator[Round]:
    made = Round()
    yield made
    made.loop.cancel_everything()
    made.loop.close()


@pytest.mark.parametrize("count", [2, 10, 40, 150])
def test_turns_of_however_many_are_spread_over_the_round(round_: Round, count: int) -> None:
    round_.add(*range(count))
    round_.begin()
    round_.until_s(OVER_S)
    times_s = sorted(at_s for (at_s,) in round_.at_s.values())
    assert len(times_s) == count
    waits_s = [after - before for before, after in zip([0.0, *times_s], [*times_s, OVER_S], strict=True)]
    assert max(waits_s) < 3 * OVER_S / count


def test_as_many_as_there_are_turns_have_one_each(round_: Round) -> None:
    round_.add(*range(2 * TURNS))
    round_.begin()
    round_.until_s(OVER_S)
    assert [len(part) for part in round_.parts] == [2] * TURNS


def test_who_comes_before_their_turn_has_it_in_this_round_already(round_: Round) -> None:
    round_.add("first")
    round_.begin()
    round_.until_s(1.0)
    round_.add("second")
    round_.until_s(OVER_S)
    assert round_.at_s.keys() == {"first", "second"}


def test_a_turn_stays_whoever_comes_and_goes(round_: Round) -> None:
    round_.add(*range(100), "stays", *range(100, 120))
    round_.begin(rounds=2)
    round_.until_s(OVER_S + 0.05)
    for name in range(120):
        round_.turns.remove(str(name))
    round_.add(*range(200, 210), "stays")
    round_.until_s(2 * OVER_S)
    first_s, second_s = round_.at_s["stays"]
    assert second_s - first_s == pytest.approx(OVER_S)
    assert all(len(round_.at_s[str(name)]) == 1 for name in range(120))


def test_a_turn_of_many_is_taken_in_parts(round_: Round) -> None:
    round_.add(*range(5 * TURNS))
    assert round_.turns.parts_in_a_round(5) == TURNS
    assert round_.turns.parts_in_a_round(4) == 2 * TURNS
    round_.begin(length_max=4)
    round_.until_s(OVER_S)
    assert [len(part) for part in round_.parts] == [4, 1] * TURNS
