"""The traffic of the journal's benchmark is what sessions could do; its goals and figures are said as they are.

To renew the figures in docs/durability.md: python -m tests.unit.loadtests.test_bench_journal"""

import pytest

from loadtests.bench_journal import goals, lag_row
from loadtests.journal_traffic import HOUR_MS, sessions_of
from loadtests.keeping import percentile
from playhead.playback.listened import total_ms
from tests.support.figures import PAGE, filled, renew, table
from tests.support.states import NOW_MS, SCRIPT_ID

FIGURES = {
    "memory_session_bytes": 2_048.0,
    "lag_commands_per_s": 1_000.0,
    "lag_p50_ms": 100.0,
    "lag_p95_ms": 999.0,
    "lag_p99_ms": 1_200.0,
    "drain_entries_per_s": 20_000.0,
}


def test_changes_of_a_session_follow_each_other_and_some_are_seeks() -> None:
    rows = sessions_of(SCRIPT_ID, 3, seeks=0.25, now_ms=NOW_MS)
    entries = [rows.next(number % 3) for number in range(60)]
    own = [entry.state for entry in entries[::3]]
    assert [state.version for state in own] == list(range(41, 61))
    assert len({state.session_id for state in own}) == 1
    assert sum(bool(entry.moves) for entry in entries) == 15
    for entry in entries:
        state = entry.state
        assert 0 <= state.heard_ms < HOUR_MS and 0 <= state.position_ms <= HOUR_MS
        assert total_ms(state.listened) <= HOUR_MS
        assert all(move.revision == state.revision for move in entry.moves)
        assert state.played_slots[-1][1] <= state.played_ms


def test_goals_hold_at_the_limit_and_not_past_it() -> None:
    assert {name: goal.met for name, goal in goals(FIGURES).items()} == dict.fromkeys(
        ("memory_session_bytes", "lag_p95_ms", "drain_entries_per_s"), True
    )
    past = {"memory_session_bytes": 2_049.0, "lag_p95_ms": 1_000.0, "drain_entries_per_s": 19_999.0}
    assert not any(goal.met for goal in goals(FIGURES | past).values())


@pytest.mark.parametrize(("percent", "expected"), [(0, 1), (50, 51), (95, 96), (99, 100), (100, 100)])
def test_percentiles_of_what_is_in_order(percent: int, expected: int) -> None:
    assert percentile(range(1, 101), percent) == expected
    assert percentile([7], percent) == 7


def test_the_lag_is_one_row_of_the_plot() -> None:
    row = lag_row(FIGURES, seconds=30)
    assert (row.count, row.p50_ms, row.p95_ms, row.p99_ms) == (30_000, 100.0, 999.0, 1_200.0)


def test_the_figures_in_the_documentation_are_those_that_were_kept() -> None:
    text = PAGE.read_text()
    assert table("journal") in text
    assert text == filled(text, "journal")


if __name__ == "__main__":
    renew("journal")
