"""The formula in Python against the examples that the browser's copy is tested with."""

import json

import pytest

from playhead.playback.state import end_reached, position_at
from tests.vectors.make_playhead import PATH, states, vectors

VECTORS = json.loads(PATH.read_text())


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_python_agrees_with_the_shared_examples(vector: dict[str, object]) -> None:
    state = states()[str(vector["name"])]
    moments = vector["moments"]
    assert isinstance(moments, list) and moments
    for now_ms, position_ms, ended in moments:
        assert (now_ms, position_at(state, now_ms), end_reached(state, now_ms)) == (now_ms, position_ms, ended)


def test_the_shared_examples_hold_the_states_they_were_made_from() -> None:
    assert json.loads(json.dumps(vectors())) == VECTORS
