"""How many processes can run at once."""

import os
from pathlib import Path

import pytest

from playhead.runtime.cores import usable_cores

CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000\n", CORES),
        ("50000 100000\n", 1),
        ("100000 100000\n", 1),
        ("100001 100000\n", min(2, CORES)),
        ("99900000 100000\n", CORES),
        ("", CORES),
    ],
)
def test_a_container_uses_what_it_is_allowed_and_no_more_than_there_is(tmp_path: Path, quota: str, cores: int) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    assert usable_cores(file) == cores


def test_where_there_is_no_quota_all_cores_count(tmp_path: Path) -> None:
    assert usable_cores(tmp_path / "none") == CORES
