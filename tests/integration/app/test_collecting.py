"""`playhead gc` beside `playhead run`: shows what no script needs, and removes it."""

import os
import time
import uuid
from pathlib import Path

import pytest

from playhead.app.cli import run
from tests.integration.app.test_ingest import SOUND, data_dir, running
from tests.support.audio import make

__all__ = ["data_dir", "running"]

TWO_HOURS_S = 2 * 3_600.0


def test_what_no_script_needs_is_shown_and_then_removed(
    running: str, data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = f"sources/{uuid.uuid4()}/upload"
    file = data_dir / "media" / key
    file.parent.mkdir(parents=True)
    file.write_bytes(bytes(10))
    old = time.time() - TWO_HOURS_S
    os.utime(file, (old, old))
    assert run(["gc"]) == 0
    assert "Removed 0 objects" in capsys.readouterr().out, "it is younger than a day"
    assert run(["gc", "--dry-run", "--older-than-hours", "1"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{key}\t1 objects\t10 bytes\nWould remove 1 objects with 10 bytes.")
    assert "Of 1 scripts in the storage 0 have a row" in shown
    assert run(["gc", "--older-than-hours", "1"]) == 1
    told = capsys.readouterr()
    assert "Removed 0 objects" in told.out
    assert "playhead: Of 1 scripts in the storage 0 have a row" in told.err
    assert file.exists()
    assert run(["gc", "--older-than-hours", "1", "--even-if-most"]) == 0
    assert "Removed 1 objects with 10 bytes" in capsys.readouterr().out
    assert not file.exists()


def test_an_empty_folder_is_not_taken_for_that_of_the_scripts(
    running: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    assert run(["ingest", str(make(tmp_path, SOUND, 2.0))]) == 0
    monkeypatch.setenv("PLAYHEAD_MEDIA_DIR", str(empty))
    assert run(["gc"]) != 0
    assert f"The media folder {empty} is empty, but the database has scripts" in capsys.readouterr().err
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize("hours", ["0", "0.99", "-1", "nan", "day"])
def test_an_age_at_which_uploads_may_still_be_under_way_is_refused(
    hours: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        run(["gc", "--older-than-hours", hours])
    assert left.value.code == 2
    assert "--older-than-hours" in capsys.readouterr().err
