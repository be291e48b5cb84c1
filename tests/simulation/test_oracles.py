"""Every oracle can fail: with the code broken on purpose, some schedule breaks the rule that the oracle guards."""

import pytest

from tests.simulation.mutations import MUTATIONS
from tests.simulation.workers import PROCESSES, ask

SEEDS_MAX = 700
RULES = {"rule 1", "rule 2", "rule 3", "rule 4", "rule 5", "rule 6", "section 4"}


def test_every_rule_is_broken_by_some_mutation() -> None:
    assert {mutation.rule for mutation in MUTATIONS.values()} == RULES


@pytest.mark.timeout(600)
def test_each_mutation_breaks_its_rule_in_some_schedule() -> None:
    names = list(MUTATIONS)
    answers = ask(*[("mutated", SEEDS_MAX, *names[number::PROCESSES]) for number in range(PROCESSES)])
    found = {name: result for answer in answers for name, result in answer.result.items()}
    assert found.keys() == MUTATIONS.keys()
    wrong = {name: result for name, result in found.items() if result["rule"] != MUTATIONS[name].rule}
    assert wrong == {}
