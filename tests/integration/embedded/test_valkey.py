"""The embedded Valkey as a process: life, death, sharing, and what a broken folder says."""

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from playhead.app.embedded import EmbeddedError, EmbeddedValkey
from tests.support.orphans import ends, pid_after_parent_is_killed

StartValkey = Callable[..., EmbeddedValkey]


def config(server: EmbeddedValkey, name: str) -> str:
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        return str(client.config_get(name)[name])


def write(server: EmbeddedValkey, key: str, value: str) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.set(key, value)


def read(server: EmbeddedValkey, key: str) -> object:
    with redis.Redis.from_url(server.url) as client:
        return client.get(key)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("appendonly", "yes"),
        ("appendfsync", "no"),  # as the tests' server was told
        ("auto-aof-rewrite-percentage", "400"),
        ("auto-aof-rewrite-min-size", str(256 * 1024**2)),
        ("maxmemory-policy", "noeviction"),
        ("port", "0"),
        ("save", ""),
    ],
)
def test_it_keeps_what_it_was_told(valkey_server: EmbeddedValkey, name: str, value: str) -> None:
    assert config(valkey_server, name) == value


def test_what_it_has_written_is_synced_every_second_where_nothing_else_was_said(start_valkey: StartValkey) -> None:
    assert config(start_valkey(), "appendfsync") == "everysec"


def test_slow_subscribers_are_cut_off_at_a_limit(valkey_server: EmbeddedValkey) -> None:
    assert config(valkey_server, "client-output-buffer-limit").endswith("pubsub 67108864 16777216 30")


def test_every_write_can_be_synced_and_settings_reach_the_server(start_valkey: StartValkey, free_port: int) -> None:
    server = start_valkey(append_sync="always", settings={"port": str(free_port)})
    assert config(server, "appendfsync") == "always"
    with redis.Redis(port=free_port) as client:
        assert client.ping()


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_what_was_written_is_there_after_the_server_ended(start_valkey: StartValkey, end: str) -> None:
    server = start_valkey(append_sync="always")
    write(server, "place", "120.5")
    getattr(server, end)()
    server.start()
    assert read(server, "place") == b"120.5"


def test_a_second_launcher_attaches_and_its_stop_leaves_the_server_alone(start_valkey: StartValkey) -> None:
    first = start_valkey()
    second = EmbeddedValkey(first.data_dir)
    second.start()
    assert (second.owned, second.url) == (False, first.url)
    second.stop()
    write(first, "still", "here")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has ended")
def test_it_ends_when_its_parent_is_killed(run_folder: Path) -> None:
    pid = pid_after_parent_is_killed(
        """
        import pathlib, sys, redis
        from playhead.app.embedded import EmbeddedValkey
        server = EmbeddedValkey(pathlib.Path(sys.argv[1]))
        server.start()
        print(redis.Redis.from_url(server.url).info("server")["process_id"], flush=True)
        """,
        Path(tempfile.mkdtemp(dir=run_folder)) / "data",
        temp=run_folder,
    )
    assert ends(pid)


def test_an_append_only_file_cut_off_by_a_crash_loads_up_to_the_cut(start_valkey: StartValkey) -> None:
    server = start_valkey(append_sync="always")
    write(server, "first", "1")
    write(server, "second", "2")
    server.stop()
    (log,) = server.data_dir.glob("appendonlydir/*.incr.aof")
    log.write_bytes(log.read_bytes()[:-3])
    server.start()
    assert (read(server, "first"), read(server, "second")) == (b"1", None)


def test_a_corrupt_append_only_file_shows_the_log_and_says_what_to_do(start_valkey: StartValkey) -> None:
    server = start_valkey(append_sync="always")
    write(server, "first", "1")
    server.stop()
    (log,) = server.data_dir.glob("appendonlydir/*.incr.aof")
    log.write_bytes(b"\x00garbage\r\n" + log.read_bytes())
    with pytest.raises(EmbeddedError, match=r"move .* away") as caught:
        server.start()
    assert "Bad file format reading the append only file" in str(caught.value)
    assert not server.owned


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(EmbeddedError, match="is not a folder"):
        EmbeddedValkey(tmp_path / "data").start()
