"""The Worker's own tests, which run in Node against a server of ours, as part of every test run."""

import os
import re
import sys

import pytest

from playhead.app.player_build import PlayerBuildError, find_node, run_script, source_folder


@pytest.mark.timeout(600)  # the first run installs the packages
def test_the_edges_own_tests_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    edge = source_folder("edge")
    assert edge is not None
    try:
        node = find_node(os.environ.get("PATH"))
    except PlayerBuildError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("PLAYHEAD_PYTHON", sys.executable)
    output = run_script(edge, "test", node)
    assert re.search(r"\bpass [1-9]", output), output
