"""`playhead run` as a process: real PostgreSQL and Valkey, with a stand-in for server and worker."""

import contextlib
import itertools
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from playhead.app.embedded import EmbeddedPostgres, EmbeddedValkey
from tests.support import stand_in
from tests.support.orphans import ends, pid_after_parent_is_killed

PROGRAM = (
    "import asyncio, sys, pathlib\n"
    "from playhead.app.development import DevelopmentOptions\n"
    "from playhead.app.development.children import Backoff\n"
    "from playhead.app.development.supervisor import supervise\n"
    "program, servers, sample = (sys.executable, sys.argv[1]), int(sys.argv[2]), bool(int(sys.argv[3]))\n"
    "options = DevelopmentOptions(program=program, servers=servers, sample=sample, backoff=Backoff(first_s=0.01))\n"
    "sys.exit(asyncio.run(supervise(options)))\n"
)
UP = "Ctrl-C stops everything."


class Run:
    """One data folder with its ports, on which the supervisor is started."""

    def __init__(self, folder: Path, port: int, metrics_port: int) -> None:
        self.data_dir = folder
        self.port = port
        self.variables = {
            "PLAYHEAD_DATA_DIR": str(folder),
            "PLAYHEAD_PORT": str(port),
            "PLAYHEAD_METRICS_PORT": str(metrics_port),
            "PLAYHEAD_PLAYER_DIR": str(folder),
            "TMPDIR": str(folder),
        }

    def command(self, servers: int = 1, sample: bool = False) -> list[str]:
        return [sys.executable, "-c", PROGRAM, stand_in.__file__, str(servers), str(int(sample))]

    def start(
        self, servers: int = 1, sample: bool = False, variables: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[str]":
        environment = {**os.environ, **self.variables, **(variables or {})}
        pipe = subprocess.PIPE
        command = self.command(servers, sample)
        return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True)

    def refuses(self, variables: Mapping[str, str] | None = None) -> str:
        """What it says on standard error when it cannot start."""
        with self.start(variables=variables) as process:
            _, said = process.communicate()
        assert process.returncode == 1
        assert "Traceback" not in said
        return said

    def pids(self, command: str) -> list[int]:
        rows = [line.split() for line in (self.data_dir / "starts").read_text().splitlines()]
        return [int(row[1]) for row in rows if row[0] == command]


def until_up(process: "subprocess.Popen[str]") -> str:
    """What it printed on standard output until everything was up."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if UP in line:
            return "".join(lines)
    raise AssertionError(process.communicate()[1])


@contextlib.contextmanager
def up(run: Run, servers: int = 1, sample: bool = False, variables: Mapping[str, str] | None = None) -> Iterator[str]:
    with run.start(servers, sample, variables) as process:
        yield until_up(process)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate()
        assert (process.returncode, said.splitlines()[-1]) == (0, "playhead: Stopped."), said


@pytest.fixture
def run(run_folder: Path) -> Run:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(8)]
        while True:  # blocks of ports that follow each other, for several servers
            base = 20_000 + int.from_bytes(os.urandom(2), "big") % 10_000
            try:
                for number, probe in enumerate(sockets):
                    probe.bind(("127.0.0.1", base + number))
                break
            except OSError:
                held.close()
                sockets = [held.enter_context(socket.socket()) for _ in range(8)]
    return Run(Path(tempfile.mkdtemp(prefix="run-", dir=run_folder)), base, base + 4)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_whole_terminal_stops_everything_in_order(run: Run, number: signal.Signals) -> None:
    with run.start() as process:
        until_up(process)
        os.killpg(process.pid, number)
        _, said = process.communicate()
    assert process.returncode == 0
    assert said.splitlines()[-2:] == ["playhead: Stopping …", "playhead: Stopped."]
    assert "KeyboardInterrupt" not in "".join(log.read_text() for log in (run.data_dir / "logs").iterdir())
    assert all(ends(pid) for pid in run.pids("serve") + run.pids("flush") + run.pids("worker"))
    assert not (run.data_dir / "postgres" / "postmaster.pid").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has ended")
def test_it_stops_when_its_parent_is_killed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in run.variables.items():
        monkeypatch.setenv(name, value)
    program = f"""
    import subprocess, sys
    process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, text=True)
    while "{UP}" not in process.stdout.readline(): pass
    print(process.pid, flush=True)
    """
    assert ends(pid_after_parent_is_killed(program, *run.command(), temp=run.data_dir))
    assert all(ends(pid) for pid in run.pids("serve") + run.pids("flush") + run.pids("worker"))
    assert not (run.data_dir / "postgres" / "postmaster.pid").exists()


def test_killed_itself_it_leaves_nothing_running_and_the_next_start_works(run: Run) -> None:
    with run.start() as process:
        until_up(process)
        process.kill()
    assert all(ends(pid) for pid in run.pids("serve") + run.pids("flush") + run.pids("worker"))
    with up(run):
        pass


def test_a_second_start_keeps_the_sample_the_keys_and_the_logins(run: Run) -> None:
    kept = ("keys.json", "logins.json")
    with up(run, sample=True):
        before = [(run.data_dir / name).read_text() for name in kept]
    with up(run, sample=True):
        assert [(run.data_dir / name).read_text() for name in kept] == before
    assert len(run.pids("ingest")) == 1
    assert (run.data_dir / "ingested").read_bytes().startswith(b"fLaC")


def test_keys_and_logins_are_for_the_owner_alone(run: Run) -> None:
    with up(run):
        modes = {(run.data_dir / name).stat().st_mode & 0o777 for name in ("keys.json", "logins.json")}
    assert modes == {0o600}


def test_it_prints_links_for_two_devices_spread_over_the_servers(run: Run) -> None:
    with up(run, servers=2) as said:
        links = [line.strip() for line in said.splitlines() if "#token=" in line]
    assert [link.split("/#")[0] for link in links] == [f"http://127.0.0.1:{run.port + n}" for n in (0, 1)]
    assert ["device=Phone" in links[0], "device=Desk" in links[1]] == [True, True]
    assert len(run.pids("serve")) == 2


def test_children_are_not_told_the_owners_login(
    run: Run, start_postgres: Callable[..., EmbeddedPostgres], start_valkey: Callable[..., EmbeddedValkey]
) -> None:
    database, redis = start_postgres(), start_valkey()
    with up(run, variables={"DATABASE_URL": database.url(), "REDIS_URL": redis.url}):
        told = (run.data_dir / "starts").read_text()
    assert "PLAYHEAD_DATABASE_APP_URL" in told
    assert "PLAYHEAD_DATABASE_SERVICE_URL" in told
    assert "DATABASE_URL " not in told
    assert not (run.data_dir / "postgres").exists()
    assert not (run.data_dir / "valkey").exists()


def test_a_port_in_use_names_the_setting_and_who_has_it(run: Run) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", run.port))
        holder.listen()
        said = run.refuses()
    assert f"Port {run.port} on 127.0.0.1 cannot be used" in said
    assert "--port or PLAYHEAD_PORT" in said
    if sys.platform == "linux":
        assert f"by process {os.getpid()} (" in said


@pytest.mark.parametrize("setting", ["PLAYHEAD_HOST", "PLAYHEAD_METRICS_HOST"])
@pytest.mark.parametrize("host", ["nowhere.invalid", "192.0.2.1", "a..b"])
def test_an_address_that_is_not_this_machines_names_its_setting_and_no_port(run: Run, setting: str, host: str) -> None:
    said = run.refuses({setting: host})
    assert f"'{host}' is no address of this machine" in said
    assert f"Set {setting} to 127.0.0.1" in said and "Port" not in said


def test_ports_that_cannot_be_are_refused_at_once(run: Run) -> None:
    assert "Port 0 will not do" in run.refuses({"PLAYHEAD_PORT": "0"})
    assert not (run.data_dir / "postgres").exists()


def test_a_second_supervisor_on_the_same_folder_is_refused(run: Run) -> None:
    with run.start() as first:
        until_up(first)
        assert f"already runs with {run.data_dir} (process {first.pid})" in run.refuses()
        first.terminate()
        first.communicate()


def test_a_broken_data_folder_says_what_to_do(run: Run) -> None:
    (run.data_dir / "postgres").mkdir()
    (run.data_dir / "postgres" / "holiday.jpg").touch()
    assert "holds files, but no PostgreSQL cluster" in run.refuses()


def test_damaged_keys_say_what_to_do(run: Run) -> None:
    (run.data_dir / "keys.json").write_text("{")
    assert "keys.json is damaged" in run.refuses()


def test_wrong_settings_are_told_all_at_once(run: Run) -> None:
    said = run.refuses({"PLAYHEAD_UPLOAD_BYTES_MAX": "none", "PLAYHEAD_LOG_LEVEL": "loud"})
    assert "PLAYHEAD_UPLOAD_BYTES_MAX" in said
    assert "PLAYHEAD_LOG_LEVEL" in said


def test_a_worker_that_does_not_stay_up_ends_it_all_with_its_log(run: Run) -> None:
    (run.data_dir / "worker-is-broken").touch()
    said = run.refuses()
    assert "it starts again in 0.02 s" in said
    assert "The worker ended 5 times in a row, last with exit code 1" in said
    assert "the worker has no hands" in said
    assert all(ends(pid) for pid in run.pids("serve"))


@pytest.mark.skipif(sys.platform != "linux", reason="finds the servers in /proc")
@pytest.mark.parametrize(("name", "program"), [("PostgreSQL", "postgres"), ("Valkey", "valkey-server")])
def test_an_embedded_server_that_is_killed_is_started_again(run: Run, name: str, program: str) -> None:
    with run.start() as process:
        until_up(process)
        killed = child_called(process.pid, program)
        os.kill(killed, signal.SIGKILL)
        assert process.stderr is not None
        told = list(itertools.takewhile(lambda line: f"{name} is back" not in line, process.stderr))
        assert any(f"{name} ended with SIGKILL" in line for line in told)
        assert child_called(process.pid, program) != killed
        process.terminate()
        _, said = process.communicate()
        assert (process.returncode, said.splitlines()[-1]) == (0, "playhead: Stopped."), said
    assert all(ends(pid) for pid in (killed, *run.pids("serve"), *run.pids("worker")))
    assert not (run.data_dir / "postgres" / "postmaster.pid").exists()


def child_called(parent_pid: int, program: str) -> int:
    """The process of that name that `parent_pid` has started."""
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
            if fields["Name"].strip() == program and int(fields["PPid"]) == parent_pid:
                return int(fields["Pid"])
    raise AssertionError(f"{parent_pid} has no child {program}")
