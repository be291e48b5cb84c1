"""The command line says in one line what is wrong, exits with a code that scripts can use, and shows no traceback."""

import time
from pathlib import Path

import jwt
import pytest

from playhead.app.cli import run
from playhead.auth.tokens import TokenVerifier

JWT_KEY = "a-key-of-more-than-thirty-two-bytes-for-tests"
LISTENER_ID = "7b0c7c3e-3f0e-4f0c-9a55-0d2c5a1f6a11"
DONE, FAILED, WRONG_USAGE = 0, 1, 2


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment of the person who runs the tests is not that of the commands."""
    import os

    for name in list(os.environ):
        if name.startswith("PLAYHEAD_") or name in ("DATABASE_URL", "REDIS_URL"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PLAYHEAD_DATA_DIR", str(tmp_path))


def test_serve_without_settings_names_every_one_that_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve"]) == FAILED
    said = capsys.readouterr().err
    assert [
        name for name in ("REDIS_URL", "JWT_KEY", "MEDIA_KEYS", "DATABASE_URL") if f"PLAYHEAD_{name}" not in said
    ] == []


def test_wrong_settings_are_told_all_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PLAYHEAD_PORT", "eighty")
    monkeypatch.setenv("PLAYHEAD_JWT_KEY", "short")
    assert run(["config"]) == FAILED
    said = capsys.readouterr().err
    assert "PLAYHEAD_PORT" in said and "PLAYHEAD_JWT_KEY" in said and "short" not in said.replace("shorter", "")


def test_flush_names_the_one_login_that_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["flush"]) == FAILED
    said = capsys.readouterr().err
    assert "PLAYHEAD_REDIS_URL" in said and "PLAYHEAD_DATABASE_SERVICE_URL" in said
    assert "PLAYHEAD_DATABASE_APP_URL" not in said and "JWT" not in said


def test_with_sessions_in_memory_no_redis_is_asked_for_and_there_is_nothing_to_flush(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PLAYHEAD_STORE", "memory")
    assert run(["serve"]) == FAILED
    assert "REDIS_URL" not in capsys.readouterr().err
    monkeypatch.setenv("PLAYHEAD_DATABASE_SERVICE_URL", "postgresql://service@/x")
    assert run(["flush"]) == FAILED
    assert "there is nothing to flush" in capsys.readouterr().err


def test_several_processes_with_sessions_in_memory_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PLAYHEAD_STORE", "memory")
    assert run(["serve", "--processes", "2"]) == FAILED
    assert "PLAYHEAD_PROCESSES: must be 1 where PLAYHEAD_STORE is memory" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["worker", "ingest"])
def test_without_a_database_the_variables_to_set_are_named(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "sound.mp3"
    file.write_bytes(b"sound")
    assert run([command, *([str(file)] if command == "ingest" else [])]) == FAILED
    assert "PLAYHEAD_DATABASE_URL" in capsys.readouterr().err


def test_migrate_needs_the_owners_login(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["migrate"]) == FAILED
    assert "PLAYHEAD_DATABASE_URL is not set" in capsys.readouterr().err


def test_a_database_that_does_not_answer_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], free_port: int
) -> None:
    monkeypatch.setenv("PLAYHEAD_DATABASE_URL", f"postgresql://owner:secret@127.0.0.1:{free_port}/playhead")
    assert run(["migrate"]) == FAILED
    said = capsys.readouterr().err
    assert "PostgreSQL" in said and "secret" not in said and "Traceback" not in said


def test_a_token_is_valid_for_the_server_with_the_same_settings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PLAYHEAD_JWT_KEY", JWT_KEY)
    assert run(["token", "--listener", LISTENER_ID.upper(), "--hours", "1", "--scope", "scripts:write"]) == DONE
    principal = TokenVerifier(JWT_KEY, ["HS256"], "authenticated").verify(capsys.readouterr().out.strip())
    assert principal.listener_id == LISTENER_ID and principal.may_publish
    assert 3_500 < principal.expires_at_s - time.time() <= 3_601


@pytest.mark.parametrize("hours", ["nan", "inf", "-inf", "0", "-1", "1e300", "87841", "many"])
def test_a_token_that_would_be_worth_nothing_is_not_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], hours: str
) -> None:
    monkeypatch.setenv("PLAYHEAD_JWT_KEY", JWT_KEY)
    with pytest.raises(SystemExit) as ended:
        run(["token", "--listener", LISTENER_ID, f"--hours={hours}"])
    assert ended.value.code == WRONG_USAGE
    told = capsys.readouterr()
    assert "--hours" in told.err and "hours" in told.err.splitlines()[-1] and not told.out


@pytest.mark.parametrize("hours", ["1e-9", "87840"])
def test_the_shortest_and_the_longest_token_are_valid_now(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], hours: str
) -> None:
    monkeypatch.setenv("PLAYHEAD_JWT_KEY", JWT_KEY)
    now_s = time.time()
    assert run(["token", "--listener", LISTENER_ID, "--hours", hours]) == DONE
    claims = jwt.decode(capsys.readouterr().out.strip(), options={"verify_signature": False})
    assert claims["exp"] > now_s


def test_tokens_of_a_public_key_are_not_ours_to_sign(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PLAYHEAD_JWT_ALGORITHMS", "RS256")
    monkeypatch.setenv("PLAYHEAD_JWT_KEY", "-----BEGIN PUBLIC KEY-----")
    assert run(["token", "--listener", LISTENER_ID]) == FAILED
    assert "private key" in capsys.readouterr().err


def test_a_file_that_is_not_there_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["ingest", "nowhere.mp3"]) == FAILED
    assert "nowhere.mp3" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["unknown"], ["token"], ["token", "--listener", "me"]])
def test_wrong_usage_ends_with_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(arguments)
    assert ended.value.code == WRONG_USAGE
    assert "usage: playhead" in capsys.readouterr().err


def test_the_reference_of_all_settings_needs_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "--markdown"]) == DONE
    assert "`PLAYHEAD_DATABASE_URL` (also `DATABASE_URL`)" in capsys.readouterr().out


def test_check_hls_says_what_is_no_address_and_what_does_not_answer(
    free_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check-hls", "master.m3u8"]) == FAILED
    assert run(["check-hls", f"http://127.0.0.1:{free_port}/t/master.m3u8", "--all"]) == FAILED
    first, second = capsys.readouterr().err.splitlines()
    assert "no http(s) address" in first
    assert "master.m3u8 does not answer" in second


@pytest.mark.parametrize("options", [["--segments", "1"], ["--segments", "many"], ["--segments", "2", "--all"], []])
def test_check_hls_with_wrong_options_is_wrong_usage(options: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(["check-hls", *options, *(["http://example.org/master.m3u8"] if options else [])])
    assert ended.value.code == WRONG_USAGE
