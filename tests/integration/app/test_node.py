"""One process at a time on one machine and data folder; told apart by a name that stays."""

import multiprocessing
import os
import shutil
import signal
from pathlib import Path

import pytest

from playhead.app import node
from playhead.app.errors import CommandFailed
from playhead.app.node import exclusive_node
from playhead.runtime.settings import SettingsError


def test_the_name_stays_and_is_another_one_in_another_folder(tmp_path: Path) -> None:
    names = []
    for folder in (tmp_path / "one", tmp_path / "one", tmp_path / "two"):
        with exclusive_node(folder) as name:
            names.append(name)
    assert names[0] == names[1] != names[2]


def test_a_copied_folder_on_another_machine_is_another_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with exclusive_node(tmp_path / "one") as name:
        pass
    shutil.copytree(tmp_path / "one", tmp_path / "copy")
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    with exclusive_node(tmp_path / "copy") as other:
        assert other != name


def hold(folder: Path, held: "multiprocessing.connection.Connection[str, str]") -> None:
    with exclusive_node(folder) as name:
        held.send(name)
        signal.pause()


def test_a_second_process_is_refused_until_the_first_has_ended_however_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "LOCK_WAIT_S", 0.0)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=hold, args=(tmp_path, theirs))
    process.start()
    name = ours.recv()
    with pytest.raises(CommandFailed, match="there may be only one"), exclusive_node(tmp_path):
        raise AssertionError("not reached")
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with exclusive_node(tmp_path) as again:
        assert again == name


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="PLAYHEAD_DATA_DIR"), exclusive_node(tmp_path / "file"):
        raise AssertionError("not reached")
