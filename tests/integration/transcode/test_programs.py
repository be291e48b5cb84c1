"""Which ffmpeg is taken, with the wheel's real programs and with stand-ins that state other versions."""

from pathlib import Path

import pytest

from playhead.transcode import ProgramsMissing, find_programs
from playhead.transcode.programs import NEEDED
from tests.support.audio import FFMPEG, FFPROBE

EVERYTHING = " ".join(name for names in NEEDED.values() for name in names)


def stand_in(folder: Path, version: str, has: str = EVERYTHING) -> dict[str, str]:
    """An environment whose PATH leads to programs that state `version` and list `has` for every question."""
    folder.mkdir(exist_ok=True)
    for name in ("ffmpeg", "ffprobe"):
        program = folder / name
        program.write_text(
            f'#!/bin/sh\ncase "$*" in *-version*) echo "{name} version {version}";; *) echo "{has}";; esac\n'
        )
        program.chmod(0o755)
    return {"PATH": f"{folder}"}


def test_what_the_operator_names_is_taken() -> None:
    programs = find_programs({"FFMPEG": FFMPEG, "FFPROBE": FFPROBE, "PATH": ""})
    assert (programs.ffmpeg, programs.ffprobe) == (FFMPEG, FFPROBE)
    assert programs.version.startswith("n8.")


@pytest.mark.parametrize("version", ["5.1.9-0+deb12u1", "n9.0.2", "7.0"])
def test_the_systems_are_taken_before_the_wheels(version: str, tmp_path: Path) -> None:
    programs = find_programs(stand_in(tmp_path, version))
    assert (programs.ffmpeg, programs.version) == (str(tmp_path / "ffmpeg"), version)


@pytest.mark.parametrize("version", ["4.4.2-0ubuntu0.22.04.1", "N-112345-gabcdef", ""])
def test_the_systems_are_passed_over_when_too_old_or_without_a_release(version: str, tmp_path: Path) -> None:
    assert find_programs(stand_in(tmp_path, version)).ffmpeg == FFMPEG


def test_the_systems_are_passed_over_when_they_lack_what_we_need(tmp_path: Path) -> None:
    assert find_programs(stand_in(tmp_path, "8.0", has=EVERYTHING.replace("atrim", ""))).ffmpeg == FFMPEG


def test_without_the_systems_the_wheels_are_taken() -> None:
    assert find_programs({"PATH": ""}).ffmpeg == FFMPEG


def test_what_the_operator_names_and_is_not_there_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ProgramsMissing, match=r"\$FFMPEG and \$FFPROBE.*/nowhere/ffmpeg.*pip install"):
        find_programs({"FFMPEG": "/nowhere/ffmpeg", "FFPROBE": FFPROBE})


def test_what_the_operator_names_and_is_too_old_is_an_error(tmp_path: Path) -> None:
    stand_in(tmp_path, "4.4")
    with pytest.raises(ProgramsMissing, match=r"is version 4\.4"):
        find_programs({"FFMPEG": f"{tmp_path}/ffmpeg", "FFPROBE": f"{tmp_path}/ffprobe"})
