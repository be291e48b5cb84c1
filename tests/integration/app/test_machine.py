"""Which ffmpeg a process runs, as its environment says."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from playhead.app import machine
from playhead.runtime.settings import SettingsError
from playhead.transcode import Programs, find_programs
from tests.support.audio import FFMPEG, FFPROBE


def test_programs_are_looked_for_once_and_again_where_others_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Mapping[str, str]] = []

    def find(environment: Mapping[str, str]) -> Programs:
        asked.append(environment)
        return find_programs(environment)

    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")  # nobody has asked for these yet
    monkeypatch.setattr(machine, "find_programs", find)
    monkeypatch.setenv("FFMPEG", FFMPEG)
    monkeypatch.setenv("FFPROBE", FFPROBE)
    assert machine.programs() is machine.programs()
    assert len(asked) == 1
    monkeypatch.setenv("FFMPEG", "/nowhere/ffmpeg")
    for _ in range(2):  # what is missing may be there the next time
        with pytest.raises(SettingsError, match="/nowhere/ffmpeg"):
            machine.programs()
    assert [environment["FFMPEG"] for environment in asked] == [FFMPEG, "/nowhere/ffmpeg", "/nowhere/ffmpeg"]
