"""The embedded PostgreSQL as a process: life, death, sharing, and what a broken folder says."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from playhead.app.embedded import EmbeddedError, EmbeddedPostgres
from playhead.app.embedded.exec_stub import NOBODY_ID
from playhead.app.embedded.postgres_cluster import choose_identity
from playhead.app.embedded.postgres_programs import find_postgres
from playhead.app.embedded.process import Identity
from tests.support.orphans import ends, pid_after_parent_is_killed

StartPostgres = Callable[..., EmbeddedPostgres]


def usable_identities() -> list[Identity]:
    if os.geteuid() != 0:
        return ["own"]
    chosen = choose_identity(Path("/nowhere"), find_postgres(os.environ))
    return ["nobody"] if chosen == "nobody" else ["namespace", "nobody"]


async def ask(server: EmbeddedPostgres, query: str) -> object:
    connection = await asyncpg.connect(server.url())
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def run(server: EmbeddedPostgres, statement: str) -> None:
    connection = await asyncpg.connect(server.url())
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def refusal_to_start(data_dir: Path) -> str:
    with pytest.raises(EmbeddedError) as caught:
        EmbeddedPostgres(data_dir).start()
    return str(caught.value)


@pytest.fixture
def stopped(start_postgres: StartPostgres) -> EmbeddedPostgres:
    """A server that has made its cluster and was stopped."""
    server = start_postgres()
    server.stop()
    return server


async def test_commits_are_synchronous_and_text_sorts_by_code_point(start_postgres: StartPostgres) -> None:
    server = start_postgres()
    assert await ask(server, "show synchronous_commit") == "on"
    assert await ask(server, "select string_agg(x, '' order by x) from unnest('{a,B,ä,Z}'::text[]) x") == "BZaä"


async def test_settings_reach_the_server(start_postgres: StartPostgres) -> None:
    assert await ask(start_postgres(settings={"work_mem": "7MB"}), "show work_mem") == "7MB"


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_what_was_committed_is_there_after_the_server_ended(start_postgres: StartPostgres, end: str) -> None:
    server = start_postgres()
    await run(server, "create table kept as select 42 as number")
    getattr(server, end)()
    server.start()
    assert await ask(server, "select number from kept") == 42


async def test_after_a_crash_it_waits_for_what_the_old_server_left_running(start_postgres: StartPostgres) -> None:
    server = start_postgres()
    connection = await asyncpg.connect(server.url())
    busy = asyncio.create_task(connection.fetchval("select count(*) from generate_series(1, 5e6::bigint)"))
    while await ask(server, "select count(*) from pg_stat_activity where query like '%generate_series(1, 5e6%'") != 2:
        pass
    server.kill()
    server.start()
    await asyncio.gather(busy, return_exceptions=True)
    connection.terminate()
    assert await ask(server, "select 1") == 1


def test_a_server_that_is_not_running_has_no_url(stopped: EmbeddedPostgres) -> None:
    with pytest.raises(EmbeddedError, match="start"):
        stopped.url()


async def test_a_second_launcher_attaches_and_its_stop_leaves_the_server_alone(start_postgres: StartPostgres) -> None:
    first = start_postgres()
    second = EmbeddedPostgres(first.data_dir)
    second.start()
    assert (second.owned, second.url()) == (False, first.url())
    second.stop()
    assert await ask(first, "select 1") == 1


def test_of_two_processes_that_start_at_once_one_owns_the_server(run_folder: Path) -> None:
    data_dir = Path(tempfile.mkdtemp(dir=run_folder)) / "data"
    program = (
        "import sys, pathlib; from playhead.app.embedded import EmbeddedPostgres\n"
        "with EmbeddedPostgres(pathlib.Path(sys.argv[1])) as server:\n"
        "    print(server.owned, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(data_dir)]
    starters = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    owned = [starter.stdout.readline().strip() for starter in starters if starter.stdout]
    for starter in starters:
        starter.communicate()
    assert sorted(owned) == ["False", "True"]


@pytest.mark.parametrize("identity", usable_identities())
async def test_it_runs_where_only_the_owner_may_enter(run_folder: Path, identity: Identity) -> None:
    closed = Path(tempfile.mkdtemp(dir=run_folder))
    assert closed.stat().st_mode & 0o077 == 0
    with EmbeddedPostgres(closed / "data", identity=identity) as server:
        assert await ask(server, "select 1") == 1


async def test_a_cluster_stays_usable_when_namespaces_get_closed(stopped: EmbeddedPostgres) -> None:
    with EmbeddedPostgres(stopped.data_dir, identity=usable_identities()[-1]) as server:
        assert await ask(server, "select 1") == 1
    with EmbeddedPostgres(stopped.data_dir) as server:
        assert await ask(server, "select 1") == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has ended")
@pytest.mark.parametrize("identity", usable_identities())
def test_it_ends_when_its_parent_is_killed(run_folder: Path, identity: Identity) -> None:
    pid = pid_after_parent_is_killed(
        """
        import pathlib, sys
        from playhead.app.embedded import EmbeddedPostgres
        server = EmbeddedPostgres(pathlib.Path(sys.argv[1]), identity=sys.argv[2])
        server.start()
        print(server.pid, flush=True)
        """,
        Path(tempfile.mkdtemp(dir=run_folder)) / "data",
        identity,
        temp=run_folder,
    )
    assert ends(pid)


def test_the_pid_file_of_a_dead_server_whose_pid_is_in_use_again_is_no_obstacle(stopped: EmbeddedPostgres) -> None:
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as stranger:
        lines = [stranger.pid, stopped.data_dir, 0, 5432, "/nowhere", "", "0 0", "ready", ""]
        (stopped.data_dir / "postmaster.pid").write_text("\n".join(map(str, lines)))
        try:
            stopped.start()
        finally:
            stranger.kill()
    assert stopped.owned


def test_an_interrupted_set_up_is_done_again(run_folder: Path) -> None:
    folder = Path(tempfile.mkdtemp(dir=run_folder))
    (folder / "data.initdb" / "global").mkdir(parents=True)
    (folder / "data.initdb" / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(folder / "data") as server:
        assert server.owned
    assert not (folder / "data.initdb").exists()


def test_a_folder_with_other_files_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_text("not a cluster")
    assert "holds files, but no PostgreSQL cluster" in refusal_to_start(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["holiday.jpg"]


def test_a_cluster_of_another_major_version_says_which_programs_it_needs(stopped: EmbeddedPostgres) -> None:
    (stopped.data_dir / "PG_VERSION").write_text("15\n")
    assert "Set PG_BINDIR to the programs of PostgreSQL 15" in refusal_to_start(stopped.data_dir)


def test_a_damaged_cluster_shows_the_log_and_says_what_to_do(stopped: EmbeddedPostgres) -> None:
    (stopped.data_dir / "global" / "pg_control").unlink()
    message = refusal_to_start(stopped.data_dir)
    assert "pg_control" in message
    assert f"move {stopped.data_dir} away" in message


def test_a_set_up_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    scripts = {"postgres": "echo 'postgres (PostgreSQL) 18.0'", "initdb": 'mkdir "$2"; echo out of disk; exit 3'}
    for name, text in scripts.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    found = find_postgres({"PG_BINDIR": str(programs)})
    with pytest.raises(EmbeddedError, match=r"exit code 3:\nout of disk"):
        EmbeddedPostgres(tmp_path / "data", programs=found, identity="own").start()
    assert {entry.name for entry in tmp_path.iterdir()} == {"programs", "data.lock"}


def test_data_of_another_user_are_refused(tmp_path: Path) -> None:
    data_dir = tmp_path if os.geteuid() == 0 else Path("/")
    if os.geteuid() == 0:
        os.chown(data_dir, 12345, -1)
    with pytest.raises(EmbeddedError, match="belongs to the user with id"):
        choose_identity(data_dir, find_postgres(os.environ))


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "PLAYHEAD_DATA_DIR" in refusal_to_start(tmp_path / "file" / "data")


def test_a_socket_path_that_is_too_long_names_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", f"/tmp/{'x' * 100}")
    with pytest.raises(EmbeddedError, match="Set TMPDIR to a shorter folder"):
        EmbeddedPostgres(tmp_path / "data")._launch(find_postgres(os.environ), "own")


def test_a_socket_folder_of_somebody_else_is_refused(
    stopped: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = stopped.data_dir.parent / "elsewhere"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    # a link where the folder should be: another user's way to choose where our socket lies
    target = folder / "theirs"
    target.mkdir()
    stopped.start()
    socket_folder = Path(stopped.url().split("host=")[1].split("&")[0])
    stopped.stop()
    shutil.rmtree(socket_folder, ignore_errors=True)
    socket_folder.symlink_to(target)
    assert "belongs to another user" in refusal_to_start(stopped.data_dir)


def test_nobody_is_known_to_the_system() -> None:
    import pwd

    assert pwd.getpwuid(NOBODY_ID).pw_name == "nobody"
