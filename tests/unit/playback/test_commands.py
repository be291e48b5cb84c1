"""Commands are values; each has one name on every surface."""

from typing import get_args

import pytest

from playhead.playback.commands import COMMAND_NAMES, Command, Seek


def test_every_command_has_a_name_of_its_own() -> None:
    assert set(COMMAND_NAMES) == set(get_args(Command))
    assert len(set(COMMAND_NAMES.values())) == len(COMMAND_NAMES)


def test_a_command_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Seek(position_ms=1).position_ms = 2  # type: ignore[misc]
