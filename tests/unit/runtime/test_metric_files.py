"""What dead processes have counted: kept, in two files however many there were, and never seen twice or not at all."""

import threading
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from playhead.runtime.metric_files import LockedCollector, fold_process

DEAD, LIVING = 4_711, 4_712


def write(folder: Path, kind: str, pid: int, name: str, value: float, **labels: str) -> None:
    values = MmapedDict(str(folder / f"{kind}_{pid}.db"))  # type: ignore[no-untyped-call]
    key = mmap_key(name, name, list(labels), list(labels.values()), "help")
    values.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
    values.close()  # type: ignore[no-untyped-call]


def counted(folder: Path) -> dict[tuple[str, tuple[str, ...]], float]:
    samples = [sample for metric in LockedCollector(folder).collect() for sample in metric.samples]
    return {(sample.name, tuple(sample.labels.values())): sample.value for sample in samples}


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix == ".db")


def test_what_a_dead_process_counted_stays_and_what_only_a_living_one_has_goes(tmp_path: Path) -> None:
    write(tmp_path, "counter", DEAD, "commands_total", 3, result="ok")
    write(tmp_path, "counter", DEAD, "commands_total", 2, result="conflict")
    write(tmp_path, "counter", LIVING, "commands_total", 5, result="ok")
    write(tmp_path, "histogram", DEAD, "ack_seconds_sum", 0.25)
    write(tmp_path, "gauge_livesum", DEAD, "sockets", 7)
    write(tmp_path, "gauge_livesum", LIVING, "sockets", 4)
    before = counted(tmp_path)
    fold_process(tmp_path, DEAD)
    assert counted(tmp_path) == {**before, ("sockets", ()): 4.0}
    assert before["commands_total", ("ok",)] == 8
    living = [f"{kind}_{LIVING}.db" for kind in ("counter", "gauge_livesum")]
    assert files(tmp_path) == sorted(["counter_0.db", "histogram_0.db", *living])


def test_however_many_die_there_is_one_file_of_a_kind(tmp_path: Path) -> None:
    for pid in range(1, 101):
        write(tmp_path, "counter", pid, "commands_total", pid, result="ok")
        write(tmp_path, "counter", pid, "commands_total", 1, result=f"number {pid % 3}")
        fold_process(tmp_path, pid)
    assert files(tmp_path) == ["counter_0.db"]
    assert counted(tmp_path)["commands_total", ("ok",)] == 5_050
    assert (tmp_path / "counter_0.db").stat().st_size <= 1 << 20


def test_a_process_is_folded_once(tmp_path: Path) -> None:
    write(tmp_path, "counter", DEAD, "commands_total", 3)
    for _ in range(3):
        fold_process(tmp_path, DEAD)
    assert counted(tmp_path) == {("commands_total", ()): 3}


def test_what_an_interrupted_folding_left_behind_does_no_harm(tmp_path: Path) -> None:
    write(tmp_path, "counter", 1, "commands_total", 3)
    fold_process(tmp_path, 1)
    (tmp_path / "counter_0.new").write_bytes(b"half of it")
    write(tmp_path, "counter", DEAD, "commands_total", 4)
    fold_process(tmp_path, DEAD)
    assert counted(tmp_path) == {("commands_total", ()): 7}
    assert not (tmp_path / "counter_0.new").exists()


def test_a_file_that_cannot_be_read_is_left_and_the_others_are_folded(tmp_path: Path) -> None:
    write(tmp_path, "histogram", DEAD, "ack_seconds_sum", 0.25)
    (tmp_path / f"counter_{DEAD}.db").write_bytes(b"\x40\0\0\0")
    fold_process(tmp_path, DEAD)
    assert files(tmp_path) == [f"counter_{DEAD}.db", "histogram_0.db"]


def test_nobody_who_reads_meanwhile_sees_a_count_twice_or_not_at_all(tmp_path: Path) -> None:
    for pid in range(1, 61):
        write(tmp_path, "counter", pid, "commands_total", 1)
    over, seen = threading.Event(), set()

    def read() -> None:
        while not over.is_set():
            seen.add(counted(tmp_path)["commands_total", ()])

    reader = threading.Thread(target=read)
    reader.start()
    for pid in range(1, 61):
        fold_process(tmp_path, pid)
    over.set()
    reader.join()
    assert seen == {60.0}


@pytest.mark.parametrize("pid", [1, DEAD])
def test_a_process_that_counted_nothing_leaves_nothing(tmp_path: Path, pid: int) -> None:
    fold_process(tmp_path, pid)
    assert files(tmp_path) == [] and counted(tmp_path) == {}


def test_a_folder_that_has_gone_costs_counts_and_nothing_else(tmp_path: Path) -> None:
    fold_process(tmp_path / "gone", DEAD)
