"""The player's own unit tests, which run in Node, as part of every test run."""

import re

import pytest

from playhead.app.player_build import run_script, source_folder


@pytest.mark.timeout(600)  # the first run installs the packages
def test_the_players_unit_tests_pass() -> None:
    player = source_folder()
    assert player is not None
    output = run_script(player, "test")
    assert re.search(r"\bpass [1-9]", output), output
