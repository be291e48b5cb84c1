"""`playhead migrate` over a real PostgreSQL: what an operator runs before every release."""

import json
from pathlib import Path

import pytest

from playhead.app.cli import run
from playhead.db.migrate import read_migrations


@pytest.fixture
def data_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, postgres_url: str) -> Path:
    monkeypatch.setenv("PLAYHEAD_DATABASE_URL", postgres_url)
    monkeypatch.setenv("PLAYHEAD_DATA_DIR", str(tmp_path))
    return tmp_path


def test_it_brings_an_empty_database_up_to_date_and_has_nothing_to_do_then(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for applied in (len(read_migrations()), 0):
        assert run(["migrate"]) == 0
        assert capsys.readouterr().out == f"Applied {applied} migrations; the database is up to date.\n"
    assert (data_dir / "logins.json").stat().st_mode & 0o777 == 0o600


def test_logins_get_a_new_password_when_that_is_asked_for_alone(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def passwords() -> dict[str, str]:
        found: dict[str, str] = json.loads((data_dir / "logins.json").read_text())
        return found

    assert run(["migrate"]) == 0
    first = passwords()
    assert run(["migrate"]) == 0
    assert passwords() == first
    capsys.readouterr()
    assert run(["migrate", "--reset-logins"]) == 0
    assert "restart all processes" in capsys.readouterr().out
    second = passwords()
    assert second.keys() == first.keys() and not set(second.values()) & set(first.values())
    (data_dir / "logins.json").unlink()
    assert run(["migrate", "--reset-logins"]) == 0
    assert passwords().keys() == first.keys() and not set(passwords().values()) & set(second.values())
