"""Lines of one of several processes say which one it is."""

import json
import logging

import pytest
import structlog

from playhead.runtime.logging import configure


@pytest.mark.parametrize("process", ["3", None])
def test_a_line_names_its_process_where_there_are_several(
    process: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    configure("info", "json", process)
    structlog.get_logger("ours").info("Ours.", action="ours")
    logging.getLogger("a_library").warning("Theirs.")
    ours, theirs = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert (ours["message"], theirs["message"]) == ("Ours.", "Theirs.")
    assert ours.get("process") == theirs.get("process") == process
    assert ("process" in ours) is (process is not None)
