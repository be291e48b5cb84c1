"""The long simulation goes on where the last one ended, with seeds that no test has; its goals are said as they are."""

from pathlib import Path

import pytest

from loadtests.bench_simulation import FIRST_SEED, keep_next_seed, next_seed, result_of, run
from tests.simulation.mutations import MUTATIONS
from tests.simulation.test_schedules import SCHEDULES
from tests.simulation.workers import Answer
from tests.support.figures import PAGE, filled, renew, table


def test_the_seeds_go_on_from_where_the_last_run_ended(tmp_path: Path) -> None:
    kept = tmp_path / "folder" / "simulation.json"
    assert next_seed(kept) == FIRST_SEED
    keep_next_seed(FIRST_SEED + 777, kept)
    assert next_seed(kept) == FIRST_SEED + 777


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"next_seed": "many"}', '{"next_seed": null}', '{"next_seed": 5}'])
def test_what_was_kept_wrongly_begins_anew_and_never_among_the_seeds_of_the_tests(tmp_path: Path, text: str) -> None:
    kept = tmp_path / "simulation.json"
    kept.write_text(text)
    assert next_seed(kept) == FIRST_SEED > SCHEDULES + max(mutation.from_seed for mutation in MUTATIONS.values())


def test_the_processes_share_the_seeds(tmp_path: Path) -> None:
    answers = run(FIRST_SEED, 2, 2)
    assert [answer.result["failed"] for answer in answers] == [[], []]
    assert all(answer.result["schedules"] > 0 for answer in answers)


def test_goals_are_of_the_whole_run_and_a_broken_rule_misses_one() -> None:
    good = Answer("", {"schedules": 3_750, "commits": 70_000, "failed": []})
    bad = Answer("", {"schedules": 3_749, "commits": 70_000, "failed": [1_000_005]})
    met = result_of([good, good], minutes=1.0)
    assert met.figures == {
        "schedules": 7_500.0,
        "schedules_per_minute": 7_500.0,
        "commits": 140_000.0,
        "failed": 0.0,
    }
    assert all(goal.met for goal in met.goals.values())
    assert not any(goal.met for goal in result_of([good, bad], minutes=1.0).goals.values())


def mutation_table() -> str:
    rows = sorted(f"| {row.rule} | {row.broken} | {name} |" for name, row in MUTATIONS.items())
    return "\n".join(["| it breaks | what the code no longer does | mutation |", "| --- | --- | --- |", *rows])


def test_the_mutations_in_the_documentation_are_those_that_are_run() -> None:
    text = PAGE.read_text()
    assert mutation_table() in text
    assert text == filled(text, "mutations", mutation_table())


def test_the_figures_in_the_documentation_are_those_that_were_kept() -> None:
    text = PAGE.read_text()
    assert table("simulation") in text
    assert text == filled(text, "simulation")


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(), "mutations", mutation_table()))
    renew("simulation")
