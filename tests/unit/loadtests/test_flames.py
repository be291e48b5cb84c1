"""The picture of a profile: what is seen of stacks, and how wide each function is."""

import sys
from pathlib import Path

import pytest

from loadtests import flames
from loadtests.flames import SHARE_MIN, Bar, bars, busiest, kind, read

STACKS = """\
run (threading.py:982);_worker (concurrent/futures/thread.py:81) 500
main (app/cli.py:10);run (asyncio/events.py:80);seek (sessions/service.py:5);encode (orjson/__init__.py:1) 30
main (app/cli.py:10);run (asyncio/events.py:80);seek (sessions/service.py:9) 10
main (app/cli.py:10);run (asyncio/events.py:81);write (asyncio/selector_events.py:2) 60
"""


def test_a_function_is_as_wide_as_it_was_seen_whatever_its_line() -> None:
    found = list(bars(busiest(read(STACKS.splitlines()))))
    assert found == [
        Bar("run (asyncio/events.py)", 0, 0.0, 1.0),
        Bar("seek (sessions/service.py)", 1, 0.0, 0.4),
        Bar("encode (orjson/__init__.py)", 2, 0.0, 0.3),
        Bar("write (asyncio/selector_events.py)", 1, 0.4, 0.6),
    ]


def test_what_is_too_narrow_keeps_its_place_and_is_not_shown() -> None:
    rare = int(1 / SHARE_MIN) + 1
    found = list(bars(read(["a 1\n", f"b {rare - 1}\n"])))
    assert [bar.name for bar in found] == ["", "b"] and found[1].start == pytest.approx(1 / rare)


@pytest.mark.parametrize(
    ("name", "whose"),
    [
        ("seek (sessions/service.py)", "playhead"),
        ("dispatch (engine/websockets.py)", "playhead"),
        ("send_packet (socketio/server.py)", "libraries"),
        ("_run_once (asyncio/base_events.py)", "python"),
    ],
)
def test_whose_a_function_is(name: str, whose: str) -> None:
    assert kind(name) == whose


def test_it_is_drawn_with_its_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stacks").write_text(STACKS)
    monkeypatch.setattr(sys, "argv", ["flames", str(tmp_path / "stacks"), "A title", str(tmp_path / "flame.svg")])
    flames.main()
    picture = (tmp_path / "flame.svg").read_text()
    assert picture.startswith("<?xml") and "<!-- seek -->" in picture and "<!-- A title -->" in picture


def test_without_stacks_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stacks").write_text("")
    monkeypatch.setattr(sys, "argv", ["flames", str(tmp_path / "stacks"), "A title", str(tmp_path / "flame.svg")])
    with pytest.raises(SystemExit, match="has no stack"):
        flames.main()
