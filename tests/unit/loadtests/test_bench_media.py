"""What `dev.py bench media` makes of what it sees; the tables of docs/media.md are those of the run that was kept.

To renew them: python -m tests.unit.loadtests.test_bench_media"""

import asyncio
import random
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from loadtests.bench_media import options_of
from loadtests.media.cached import Answers as CachedAnswers
from loadtests.media.cached import Asking, CachedRound, Pace
from loadtests.media.crowd import BUFFER_S, Buffer, Crowd
from loadtests.media.demand import APART_SEGMENTS, Loop, places
from loadtests.media.figures import Measured, figures_of, goals_of, rows_of, stream_figures
from loadtests.media.firsts import FIRST_COLD, HTTP, SEEK_COLD, SEEK_FIRST_SEGMENT, SOCKET, random_segment
from loadtests.media.ladder import Round, Run, bare_arguments
from loadtests.media.listener import SEGMENT_S, Answers, parsed
from loadtests.media.pictures import draw_media
from loadtests.media.sources import FLAC, MP3
from loadtests.media.watching import Peak
from playhead.db import Script
from playhead.media import LADDER, Grid, media_playlist
from tests.support import media_tables
from tests.support.figures import filled
from tests.support.media_tables import TABLES

PAGE = Path(__file__).parents[3] / "docs" / "media.md"
GRID = Grid(source_rate=48_000, source_samples=48_000 * 3_600)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SCRIPT = Script(
    script_id="1", owner_id="1", title=MP3, visibility="listeners", status="queued", error=None, progress=0.0,
    source_key="sources/1", source_bytes=1, source_codec="mp3", source_rate=48_000, source_samples=172_800_000,
    source_start_s=0.0, duration_ms=3_600_000, total_samples=172_800_000, media_version="0" * 16,
    created_at=NOW, updated_at=NOW,
)  # fmt: skip


@pytest.fixture
def measured() -> Measured:
    found = Measured(
        rounds=[Round(600.0, Run(10.0, 19.0), Run(9.5, 18.0)), Round(600.0, Run(12.0, 20.0), Run(12.0, 18.0))],
        loops=[Loop(clients=2, seconds=4.0, times_ms=[100.0, 200.0], answers=Answers(refused=3))],
        peaks={"crowd_100": Peak(1, 5, 64 * 2**20, 150 * 2**20), "firsts_http": Peak(1, 0, 0, 1)},
    )
    found.samples.times_ms[FIRST_COLD, HTTP, MP3] = [300.0, 599.9]
    found.samples.times_ms[FIRST_COLD, HTTP, FLAC] = [200.0]
    found.samples.times_ms[SEEK_COLD, HTTP, MP3] = [400.0]
    found.samples.failed[SEEK_COLD, HTTP] = 1
    crowd = Crowd(
        listeners=100, first_ms=[900.0, 19_999.0], segment_ms=[900.0, 950.0, 19_000.0], stalled_ms=[0.0, 500.0]
    )
    crowd.answers.times_ms, crowd.answers.refused = [900.0, 5_000.0], 7
    found.crowds = [crowd]
    return found


def test_figures_are_of_all_formats_and_goals_hold_below_their_limits(measured: Measured) -> None:
    figures = figures_of(measured)
    assert (figures["first_cold_http_p50_ms"], figures["first_cold_http_p95_ms"]) == (300.0, 599.9)
    assert (figures["first_cold_http_count"], figures["seek_cold_http_failed"]) == (3, 1)
    assert (figures["ladder_ratio"], figures["ladder_playhead_x"]) == (0.975, 55.0)
    assert figures["ladder_bare_cpu_s_per_hour"] == 108.0
    assert (figures["demand_2_segments_per_s"], figures["demand_2_refused"]) == (0.5, 3)
    assert (figures["crowd_100_answer_max_ms"], figures["crowd_100_stalled"]) == (5_000.0, 1)
    assert (figures["crowd_100_ffmpeg_processes_max"], figures["crowd_100_server_mb_max"]) == (5, 150)
    assert "firsts_http_ffmpeg_mb_max" not in figures
    assert {name: goal.met for name, goal in goals_of(figures).items()} == {
        "first_cold_http_p95_ms": True,
        "first_cold_http_failed": True,
        "seek_cold_http_p95_ms": False,
        "seek_cold_http_failed": False,
        "ladder_ratio": True,
        "crowd_100_answer_max_ms": False,
        "crowd_100_first_sound_max_ms": True,
        "crowd_100_refused_without_retry_after": True,
        "crowd_100_gave_up": True,
        "ffmpeg_mb_max": True,
    }


def test_rows_tell_what_is_cold_by_the_kind_of_source(measured: Measured) -> None:
    rows = {row.name: (row.count, row.failed, row.p95_ms) for row in rows_of(measured)}
    assert rows["first sound, cold, over HTTP"] == (3, 0, 599.9)
    assert rows["first sound, cold, over HTTP: flac"] == (1, 0, 200.0)
    assert rows["seek, cold, over HTTP"] == (1, 1, 400.0)
    assert rows["100 come: a segment"] == (3, 7, 19_000.0)


def test_each_client_has_figures_and_goals_of_its_own(measured: Measured) -> None:
    measured.samples.times_ms[FIRST_COLD, SOCKET, MP3] = [600.0]
    figures = figures_of(measured)
    assert (figures["first_cold_socket_p95_ms"], figures["first_cold_http_p95_ms"]) == (600.0, 599.9)
    assert not goals_of(figures)["first_cold_socket_p95_ms"].met
    assert {row.name: row.count for row in rows_of(measured)}["first sound, cold, by socket"] == 1


def test_what_was_not_measured_has_neither_figure_nor_goal() -> None:
    assert figures_of(Measured()) == {"others_cores": 0.0} and goals_of({}) == {} and rows_of(Measured()) == []


def test_the_cached_stream_is_compared_round_by_round() -> None:
    rounds = [
        CachedRound(shared=Pace(per_s, 500.0, 200.0), own=Pace(per_s / 2, 1_000.0, 700.0), bare=Pace(2_000.0, 100.0))
        for per_s in (1_200.0, 1_201.0, 900.0)
    ]
    figures = stream_figures(Measured(cached=rounds))
    assert [figures[f"cached_{what}_per_s"] for what in ("shared", "own", "bare")] == [1_200, 600, 2_000]
    assert (figures["cached_own_cpu_us"], figures["cached_own_databases_cpu_us"]) == (1_000, 700)
    goals = {name: (goal.value, goal.met) for name, goal in goals_of(figures).items()}
    assert goals == {"cached_ratio": (0.6, True), "cached_own_ratio": (0.3, False)}


def test_an_answer_may_come_in_pieces_and_one_that_is_not_cached_ends_the_clients() -> None:
    class Wire(asyncio.WriteTransport):
        sent = 0

        def write(self, data: object) -> None:
            self.sent += 1

    answers, wire = CachedAnswers(length=5), Wire()
    client = Asking(b"GET", answers)
    client.connection_made(wire)
    for piece in (b"HTTP/1.1 200 OK\r\nContent-Le", b"ngth: 5\r\n", b"\r\n12", b"345"):
        assert (answers.good, wire.sent) == (0, 1)
        client.data_received(piece)
    assert (answers.good, wire.sent) == (1, 2)
    client.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n123456")
    assert (answers.good, len(answers.bad), wire.sent) == (1, 1, 2)


def test_the_picture_is_the_same_for_the_same_figures(measured: Measured, tmp_path: Path) -> None:
    for name in ("one.svg", "other.svg"):
        draw_media(measured, "a title", tmp_path / name)
    assert (tmp_path / "one.svg").read_text() == (tmp_path / "other.svg").read_text()
    draw_media(Measured(), "nothing", tmp_path / "empty.svg")


def test_a_buffer_is_filled_and_then_as_it_is_played_and_knows_how_long_it_was_empty() -> None:
    buffer = Buffer()
    for _ in range(5):
        buffer.fill(100.0)
    assert buffer.full_for_s(100.0) == pytest.approx(6 * SEGMENT_S - BUFFER_S)
    assert buffer.full_for_s(105.0) == 0
    buffer.fill(100.0 + 5 * SEGMENT_S)
    assert buffer.stalled_s == 0
    buffer.fill(100.0 + 6 * SEGMENT_S + 2.5)
    assert buffer.stalled_s == pytest.approx(2.5)


def test_places_of_a_script_lie_apart_and_beyond_what_a_player_buffers_at_first() -> None:
    found = sorted(segment for _, segment in places([SCRIPT], random.Random(7)))
    assert len(found) > 30 and found[0] >= SEEK_FIRST_SEGMENT and found[-1] < GRID.segments
    assert min(later - earlier for earlier, later in pairwise(found)) >= APART_SEGMENTS
    chance = random.Random(7)
    assert all(SEEK_FIRST_SEGMENT <= random_segment(SCRIPT, chance) < GRID.segments - 1 for _ in range(200))


def test_a_listener_reads_the_playlists_that_are_served() -> None:
    playlist = parsed("http://host/p/x/t/1/2/low/index.m3u8", media_playlist(GRID))
    assert playlist.init == "http://host/p/x/t/1/2/low/init.mp4"
    assert len(playlist.segments) == GRID.segments
    assert playlist.segments[-1] == f"http://host/p/x/t/1/2/low/{GRID.segments - 1}.m4s"


def test_the_bare_ffmpeg_makes_the_same_rungs() -> None:
    arguments = bare_arguments(Path("in.mp3"), Path("out"))
    assert [arguments[arguments.index(f"-b:a:{number}") + 1] for number in range(len(LADDER))] == [
        str(rung.bits_per_s) for rung in LADDER
    ]


def test_a_quick_run_is_small_and_a_source_is_longer_than_a_buffer() -> None:
    quick = options_of(["--quick"])
    assert (quick.rounds, quick.minutes, quick.crowds) == (1, 5, "5,10")
    with pytest.raises(SystemExit):
        options_of(["--minutes", "4"])


@pytest.mark.parametrize("name", TABLES)
def test_the_figures_in_the_documentation_are_those_that_were_kept(name: str) -> None:
    text, table = PAGE.read_text(), TABLES[name]()
    assert table in text
    assert text == filled(text, name, table)


def test_before_a_run_was_kept_the_tables_say_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media_tables, "RESULTS", tmp_path)
    assert {make() for make in TABLES.values()} == {media_tables.NOT_YET, media_tables.STREAM_NOT_YET}


if __name__ == "__main__":
    text = PAGE.read_text()
    for name, make in TABLES.items():
        text = filled(text, name, make())
    PAGE.write_text(text)
