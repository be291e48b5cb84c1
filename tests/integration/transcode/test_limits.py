"""What one upload may take of the machine: memory, CPU, disk; and what its programs get to know."""

import resource
import shutil
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from playhead.media import FIRST_RUNG
from playhead.storage import DISK_RESERVE_BYTES, LocalStorage, StorageFailed
from playhead.transcode import EncodeFailed, Encoder, Ingest, Programs, Refusal, RefusalKind, encoder
from playhead.transcode import programs as programs_module
from playhead.transcode.arguments import conform_arguments
from playhead.transcode.probe import measure
from playhead.transcode.processes import PASSED_ON, run
from playhead.transcode.programs import MEMORY_BYTES_MAX, Limits
from tests.integration.transcode.conftest import SourceMaker
from tests.integration.transcode.test_encoder import Collect, measured
from tests.integration.transcode.test_ingest import KEY, MP3, VERSION, WEBM, upload
from tests.support.audio import FFMPEG, wheel_programs

BOMB_SAMPLES = 60_000_000
"""ffprobe makes 36 bytes of each: 2 GB."""
MIB = 1024**2


@pytest.fixture
def limited(programs: Programs) -> Programs:
    if not programs.limiter:
        pytest.skip("prlimit of util-linux is not there")
    return programs


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + kind + body


def full_box(kind: bytes, *parts: bytes) -> bytes:
    return box(kind, bytes(4), *parts)


def bomb(samples: int) -> bytes:
    """An m4a of 1 kB whose tables, of one row each, stand for `samples` packets of AAC."""
    config = bytes.fromhex("03190001000411401500000000000000000000000005021190060102")
    entry = box(b"mp4a", struct.pack(">6xH8xHHHHI", 1, 2, 16, 0, 0, 48_000 << 16), full_box(b"esds", config))
    table = box(
        b"stbl",
        full_box(b"stsd", struct.pack(">I", 1), entry),
        full_box(b"stts", struct.pack(">III", 1, samples, 1_024)),
        full_box(b"stsc", struct.pack(">IIII", 1, 1, samples, 1)),
        full_box(b"stsz", struct.pack(">II", 1, samples)),
        full_box(b"stco", struct.pack(">II", 1, 40)),
    )
    location = box(b"dinf", full_box(b"dref", struct.pack(">I", 1), box(b"url ", struct.pack(">I", 1))))
    media = box(
        b"mdia",
        full_box(b"mdhd", struct.pack(">IIIIHH", 0, 0, 48_000, 2**31, 0x55C4, 0)),
        full_box(b"hdlr", bytes(4), b"soun", bytes(13)),
        box(b"minf", full_box(b"smhd", bytes(4)), location, table),
    )
    track = box(b"trak", full_box(b"tkhd", struct.pack(">IIIII60x", 0, 0, 1, 0, 48_000)), media)
    movie = box(b"moov", full_box(b"mvhd", struct.pack(">IIII80x", 0, 0, 48_000, 48_000)), track)
    return box(b"ftyp", b"M4A \0\0\0\0M4A ") + box(b"mdat", bytes(1_000)) + movie


async def test_a_small_file_that_asks_for_much_memory_is_refused_and_does_not_get_it(
    limited: Programs, tmp_path: Path
) -> None:
    path = tmp_path / "bomb.m4a"
    path.write_bytes(bomb(BOMB_SAMPLES))
    refusal = await measure(limited, path)
    assert isinstance(refusal, Refusal) and refusal.kind is RefusalKind.BROKEN
    assert f"{BOMB_SAMPLES} packets" in refusal.reason
    most_kib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert most_kib * 1_024 < MEMORY_BYTES_MAX * 1.1


@pytest.mark.parametrize(
    ("work", "ended_by"),
    [("while :; do :; done", signal.SIGXCPU), ("trap '' XCPU; while :; do :; done", signal.SIGKILL)],
    ids=["as any", "one that will not end"],
)
async def test_a_program_past_its_seconds_of_cpu_is_ended(
    work: str, ended_by: signal.Signals, limited: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a signal that tells it from one that the kernel ends for want of memory."""
    monkeypatch.setattr(programs_module, "CPU_GRACE_S", 1)
    command = limited.command(["sh", "-c", work], Limits(cpu_s=1))
    assert (await run(command, timeout_s=60, output_bytes_max=0)).code == -ended_by


async def test_a_program_past_its_memory_gets_no_more(limited: Programs) -> None:
    work = [sys.executable, "-c", f"bytearray({256 * MIB})"]
    enough = await run(limited.command(work, Limits(cpu_s=30)), timeout_s=30, output_bytes_max=0)
    less = limited.command(work, Limits(cpu_s=30, memory_bytes_max=200 * MIB))
    assert (enough.code, (await run(less, timeout_s=30, output_bytes_max=0)).last_error) == (0, "MemoryError")


async def test_a_program_writes_a_file_up_to_its_limit_and_none_unless_it_is_told(
    limited: Programs, tmp_path: Path
) -> None:
    for bytes_max in (0, 1_000):
        target = tmp_path / f"{bytes_max}"
        work = ["dd", "if=/dev/zero", f"of={target}", "bs=2000", "count=1"]
        await run(limited.command(work, Limits(cpu_s=5, file_bytes_max=bytes_max)), timeout_s=30, output_bytes_max=0)
        assert target.stat().st_size == bytes_max


def test_a_limit_is_never_above_what_this_process_has_itself(limited: Programs) -> None:
    """Or prlimit would fail, and every upload with it."""
    script = "from playhead.transcode.programs import Limits; print(*Limits(cpu_s=50, file_bytes_max=9000).options())"
    for own_s, cpu in ((60, "50:55"), (52, "47:52"), (4, "1:4")):
        command = ["prlimit", "--fsize=7000", f"--cpu={own_s}", sys.executable, "-P", "-c", script]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        assert {f"--cpu={cpu}", "--fsize=7000", "--core=0"} < set(said)


async def test_programs_get_none_of_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLAYHEAD_JWT_KEY", "a secret")
    monkeypatch.setenv("DATABASE_URL", "postgresql://a:secret@host/database")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    said = (await run(["env"], timeout_s=10, output_bytes_max=100_000)).output.decode()
    names = {line.partition("=")[0] for line in said.splitlines()}
    assert "LC_ALL" in names and names <= set(PASSED_ON)


@pytest.mark.parametrize(
    "ending", ["kill -ABRT $$", "kill -SEGV $$", "kill -XCPU $$", "echo Cannot allocate memory >&2; exit 1"]
)
async def test_a_file_on_which_the_program_dies_is_broken(ending: str, programs: Programs, tmp_path: Path) -> None:
    for name in ("ffprobe", "ffmpeg"):
        (tmp_path / name).write_text(f"#!/bin/sh\n{ending}\n")
        (tmp_path / name).chmod(0o755)
    path = tmp_path / "file"
    path.write_bytes(b"anything")
    dying = Programs(ffmpeg=f"{tmp_path}/ffmpeg", ffprobe=f"{tmp_path}/ffprobe", version="8", limiter=programs.limiter)
    refusal = await measure(dying, path)
    assert isinstance(refusal, Refusal) and refusal.kind is RefusalKind.BROKEN
    assert "more memory" in refusal.reason


async def test_a_source_that_takes_more_than_it_may_cannot_be_encoded(
    limited: Programs, source: SourceMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    encodable = await measured(limited, source(MP3, 5.0))
    monkeypatch.setattr(encoder, "CHUNK_LIMITS", Limits(cpu_s=30, memory_bytes_max=8 * MIB))
    with pytest.raises(EncodeFailed, match="could not be decoded"):
        await Encoder(limited).encode(encodable, 0, 1, [FIRST_RUNG], Collect())


@pytest.mark.parametrize("limiter", [True, False], ids=["with prlimit", "without"])
async def test_a_source_that_is_too_large_when_decoded_is_refused(
    limiter: bool, limited: Programs, storage: LocalStorage, source: SourceMaker, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    await upload(storage, source(WEBM, 12.0))
    taking = Ingest(limited if limiter else wheel_programs(), storage, scratch, conformed_bytes_max=200_000)
    refusal = await taking(KEY, VERSION)
    assert isinstance(refusal, Refusal) and refusal.kind is RefusalKind.TOO_LARGE
    assert refusal.reason == "Decoded, the file has more than 200000 bytes. Split it."
    assert not await storage.exists(KEY) and list(scratch.iterdir()) == []


def test_decoding_stops_at_the_limit_also_without_prlimit(source: SourceMaker, tmp_path: Path) -> None:
    target = tmp_path / "decoded.flac"
    subprocess.run(conform_arguments(FFMPEG, source(WEBM, 12.0), target, 60.0, 200_000), check=True)
    assert 200_000 <= target.stat().st_size < 300_000


async def test_a_disk_without_room_for_a_decoded_source_is_not_the_files_fault(
    programs: Programs, storage: LocalStorage, source: SourceMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    await upload(storage, source(WEBM, 12.0))
    for room_bytes, says in ((-1_000_000, "nearly full"), (400_000, "too full")):
        usage = shutil.disk_usage("/")._replace(free=DISK_RESERVE_BYTES + room_bytes)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, usage=usage: usage)
        with pytest.raises(StorageFailed, match=says):
            await Ingest(programs, storage)(KEY, VERSION)
