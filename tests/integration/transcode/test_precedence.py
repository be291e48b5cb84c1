"""What nobody waits for stands still while somebody waits for something else, whichever process of the machine."""

import asyncio
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from playhead.cache import OwnClaims
from playhead.media import FIRST_RUNG, LADDER, Rung
from playhead.runtime.metrics import Metrics
from playhead.storage import LocalStorage
from playhead.transcode import BULK_UNREAD_BYTES_MAX, Demand, Encoder, EncoderSource, GivesWay, Precedence, Programs
from playhead.transcode.demand import UNREAD_BYTES_MAX
from playhead.transcode.precedence import FILE, LOOK_S, STILL_PER_S, STILL_S_MAX
from tests.integration.transcode.conftest import SourceMaker
from tests.integration.transcode.demanding import DURATION_S, GRID, SOURCE, stored_script

ENDED_S = 60.0
TIMEOUT_S = 6.0
OF_BULK = 1
"""A niceness: of what nobody waits for."""
OTHER_PROCESS = """
import sys
from pathlib import Path
from playhead.transcode import Precedence

precedence = Precedence(Path(sys.argv[1]))
precedence.claim()
print("claimed", flush=True)
sys.stdin.read()
"""


class Waiting:
    """A clock that nothing moves but `sleep`."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.stood: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        await asyncio.sleep(0)

    def gives_way(self, precedence: Precedence) -> GivesWay:
        return GivesWay(precedence, self.stood.append, now_s=lambda: self.now_s, sleep=self.sleep)


class Counted:
    """A sink that counts."""

    def __init__(self) -> None:
        self.segments = 0

    async def __call__(self, rung: Rung, segment: int, body: bytes) -> None:
        self.segments += 1


@contextmanager
def other_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """One that has precedence."""
    command = [sys.executable, "-c", OTHER_PROCESS, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "claimed\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def source_path(source: SourceMaker) -> Path:
    return source(SOURCE, DURATION_S)


def test_precedence_is_each_processs_own_and_ends_with_it(tmp_path: Path) -> None:
    here = Precedence(tmp_path)
    assert not here.is_claimed and not (tmp_path / FILE).exists()
    here.claim()
    here.claim()
    assert Precedence(tmp_path).is_claimed
    with other_process(tmp_path) as other:
        here.give_up()
        here.give_up()
        assert here.is_claimed
        other.kill()
        other.wait()
        assert not here.is_claimed


def test_where_its_folder_cannot_be_used_nobody_has_precedence(tmp_path: Path) -> None:
    nowhere = Precedence(tmp_path / "away")
    nowhere.claim()
    assert not nowhere.is_claimed
    (tmp_path / "away").mkdir()
    nowhere.claim()
    assert nowhere.is_claimed


async def test_nobody_stands_still_where_nobody_has_precedence(tmp_path: Path) -> None:
    waiting = Waiting()
    await waiting.gives_way(Precedence(tmp_path))()
    assert waiting.now_s == 100.0 and waiting.stood == []


async def test_all_go_on_once_precedence_is_given_up_and_their_time_counts_once(tmp_path: Path) -> None:
    waiting, precedence = Waiting(), Precedence(tmp_path)
    give_way = waiting.gives_way(Precedence(tmp_path))
    precedence.claim()
    both = asyncio.gather(give_way(), give_way())
    while waiting.now_s < 101.0:
        await asyncio.sleep(0)
    assert not both.done()
    precedence.give_up()
    await both
    assert sum(waiting.stood) == pytest.approx(1.0, abs=2 * LOOK_S)


@pytest.mark.parametrize("claimed_s", [0.1, 0.5, 1.9, 1_000.0])
async def test_a_crowd_leaves_a_third_of_the_time_however_it_comes(claimed_s: float, tmp_path: Path) -> None:
    waiting, precedence = Waiting(), Precedence(tmp_path)
    went_on_s = 0.0

    async def sleep(seconds: float) -> None:
        """Between two claims there is hardly a moment."""
        await Waiting.sleep(waiting, seconds)
        in_claim_s = (waiting.now_s - 100.0) % (claimed_s + LOOK_S)
        (precedence.claim if in_claim_s < claimed_s else precedence.give_up)()

    waiting.sleep = sleep  # type: ignore[method-assign]
    give_way = waiting.gives_way(Precedence(tmp_path))
    while waiting.now_s < 190.0:
        await give_way()
        await sleep(0.01)
        went_on_s += 0.01
    precedence.give_up()
    assert 1 / 3 - 0.05 < went_on_s / 90.0 < 0.5
    assert sum(waiting.stood) == pytest.approx(90.0 - went_on_s, rel=0.05)


async def test_who_is_cancelled_while_standing_still_is_not_reckoned_any_more(tmp_path: Path) -> None:
    waiting, precedence = Waiting(), Precedence(tmp_path)
    give_way = waiting.gives_way(Precedence(tmp_path))
    precedence.claim()
    for _ in range(2):
        standing = asyncio.create_task(give_way())
        until_s = waiting.now_s + 0.5
        while waiting.now_s < until_s:
            await asyncio.sleep(0)
        standing.cancel()
        with suppress(asyncio.CancelledError):
            await standing
        waiting.now_s += 10.0
    assert sum(waiting.stood) == pytest.approx(1.0, abs=4 * LOOK_S)


async def test_what_two_stand_still_counts_until_the_last_goes_on(tmp_path: Path) -> None:
    waiting, precedence = Waiting(), Precedence(tmp_path)
    give_way = waiting.gives_way(Precedence(tmp_path))
    precedence.claim()
    first, second = asyncio.create_task(give_way()), asyncio.create_task(give_way())
    while waiting.now_s < 100.2:
        await asyncio.sleep(0)
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first
    while waiting.now_s < 101.0:
        await asyncio.sleep(0)
    precedence.give_up()
    await second
    assert sum(waiting.stood) == pytest.approx(1.0, abs=3 * LOOK_S)


async def test_a_process_that_was_frozen_while_it_stood_still_gives_way_again_soon(tmp_path: Path) -> None:
    waiting, precedence = Waiting(), Precedence(tmp_path)
    give_way = waiting.gives_way(Precedence(tmp_path))
    precedence.claim()
    standing = asyncio.create_task(give_way())
    await asyncio.sleep(0)
    waiting.now_s += 3_600.0
    await standing
    before_s = sum(waiting.stood)
    waiting.now_s += STILL_S_MAX / STILL_PER_S
    await give_way()
    assert sum(waiting.stood) - before_s == pytest.approx(STILL_S_MAX, abs=2 * LOOK_S)


@pytest.mark.parametrize("refusal", [errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_without_locks_keeps_nobody_waiting_and_takes_no_descriptors(
    refusal: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_descriptor: int, _kind: int) -> None:
        raise OSError(refusal, "no locks here")

    monkeypatch.setattr("playhead.transcode.precedence.fcntl.flock", refused)
    here, there = Precedence(tmp_path), Precedence(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        here.claim()
        assert not there.is_claimed
        here.give_up()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_it_is_looked_for_at_most_so_often(tmp_path: Path) -> None:
    """Encoders ask with each frame."""
    waiting, precedence = Waiting(), Precedence(tmp_path)
    give_way = waiting.gives_way(precedence)
    await give_way()
    precedence.claim()
    await give_way()
    assert waiting.stood == []
    waiting.now_s += LOOK_S
    asking = asyncio.create_task(give_way())
    await asyncio.sleep(0.01)
    precedence.give_up()
    await asking
    assert waiting.stood != []


async def test_an_encoder_of_bulk_stands_still_while_others_are_made_and_goes_on_afterwards(
    tmp_path: Path, programs: Programs, source_path: Path
) -> None:
    waiting, precedence = Waiting(), Precedence(tmp_path)
    give_way = GivesWay(Precedence(tmp_path), waiting.stood.append, now_s=lambda: waiting.now_s)  # it stands still
    encoder = Encoder(programs, unread_bytes_max=BULK_UNREAD_BYTES_MAX, give_way=give_way)
    encodable = EncoderSource(path=source_path, grid=GRID, start_s=0.0)
    made, hurried = Counted(), Counted()
    precedence.claim()
    encoding = asyncio.create_task(encoder.encode(encodable, 0, GRID.segments, LADDER, made, niceness=OF_BULK))
    await encoder.encode(encodable, 0, GRID.segments, LADDER, hurried)
    assert hurried.segments == GRID.segments * len(LADDER)
    assert made.segments == 0
    precedence.give_up()
    async with asyncio.timeout(ENDED_S):
        await encoding
    assert made.segments == GRID.segments * len(LADDER)


async def test_what_it_stands_still_is_none_of_an_encoders_time(
    tmp_path: Path, programs: Programs, source_path: Path
) -> None:
    stands = 0

    async def stands_still_twice() -> None:
        nonlocal stands
        stands += 1
        if stands <= 2:
            await asyncio.sleep(0.6 * TIMEOUT_S)

    encoder = Encoder(programs, chunk_timeout_s=TIMEOUT_S, give_way=stands_still_twice)
    encodable, made = EncoderSource(path=source_path, grid=GRID, start_s=0.0), Counted()
    await encoder.encode(encodable, 0, 1, [FIRST_RUNG], made, niceness=OF_BULK)
    assert made.segments == 1 and stands > 2


async def test_who_encodes_on_demand_has_precedence_until_nobody_needs_more(
    tmp_path: Path, programs: Programs, source_path: Path, storage: LocalStorage, metrics: Metrics
) -> None:
    script = await stored_script(storage, source_path.read_bytes())
    encoder = Encoder(programs, unread_bytes_max=UNREAD_BYTES_MAX, coder="fast")
    demand = Demand(encoder, storage, OwnClaims(), metrics, slots=1, precedence=Precedence(tmp_path))
    others, seen = Precedence(tmp_path), []

    def wanted() -> bool:
        seen.append(others.is_claimed)
        return True

    assert not others.is_claimed
    assert await demand.segment(script, FIRST_RUNG, 3, wanted)
    assert any(seen)
    async with asyncio.timeout(ENDED_S):  # what follows is made ahead first
        while others.is_claimed:
            await asyncio.sleep(0.01)
    assert await demand.segment(script, FIRST_RUNG, 9, wanted)
    await demand.stop()
    assert not others.is_claimed
