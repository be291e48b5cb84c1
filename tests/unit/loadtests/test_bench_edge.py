"""The benchmark of the edge: what it asks for stands for whole hours, and its sums are right."""

from collections import Counter
from uuid import UUID

from loadtests.bench_edge import (
    FIRST_SEGMENTS,
    HOUR,
    LISTENERS,
    SCRIPTS,
    STEPS,
    Round,
    StubOrigin,
    Trace,
    counts_of,
    figures_of,
)
from playhead.media import FIRST_RUNG


def test_what_is_asked_for_stands_for_a_whole_hour_in_its_order() -> None:
    for run in (1, 6, 100):
        trace = Trace("", run)
        asked = [trace.objects(age) for age in range(trace.steps)]
        assert round(sum(weight for step in asked for _, weight in step)) == 3 + HOUR.segments
        tails = [tail for step in asked for tail, _ in step]
        assert tails[3:] == [f"{FIRST_RUNG.name}/{number}.m4s" for number in range(FIRST_SEGMENTS + run)]
        assert [len(step) for step in asked[: run + 2]] == [3 + FIRST_SEGMENTS, *[1] * run, 0]
        assert trace.objects(-1) == []


def test_what_the_origin_was_asked_for_weighs_what_the_listeners_asks_do() -> None:
    trace = Trace("", 6)
    hearing = trace.draw()[0]
    for age in range(trace.steps):
        for tail, weight in trace.objects(age):
            assert trace.weight(hearing.prefix + tail) == weight, tail
    unused = f"{hearing.prefix}{FIRST_RUNG.name}/{FIRST_SEGMENTS + 6}.m4s"
    assert trace.weight(unused) == trace.weight(f"{hearing.prefix}grid.json") == 1.0


def test_popularity_is_zipfs_and_listeners_begin_in_all_steps() -> None:
    trace, again = Trace("", 6), Trace("", 6)
    rounds = [trace.draw() for _ in range(50)]
    drawn = Counter(hearing.prefix.split("/")[2] for hearings in rounds for hearing in hearings)
    assert len(drawn) == SCRIPTS and all(str(UUID(script)) == script for script in drawn)
    first, tenth = (drawn.most_common(rank)[-1][1] for rank in (1, 10))
    assert 8 < first / tenth < 12
    assert abs(first / (50 * LISTENERS) - 1 / sum(1 / rank for rank in range(1, SCRIPTS + 1))) < 0.01
    begins = Counter(hearing.begins for hearing in rounds[0])
    assert set(begins) == set(range(STEPS)) and max(begins.values()) < 2 * LISTENERS / STEPS
    assert [(one.prefix, one.begins) for one in again.draw()] == [(one.prefix, one.begins) for one in rounds[0]]


def test_figures_are_of_all_rounds_and_of_each() -> None:
    cold = Round(requests=100.0, hits=70.0, joined=5.0, new=20.0, from_origin=25.0, starts=10.0, start_hits=2.0)
    warm = Round(requests=300.0, hits=297.0, new=3.0, from_origin=3.0, starts=10.0, start_hits=9.0, failed=1)
    warm.latencies_ms["hit"] = [1.0] * 40
    figures = figures_of([cold, warm], [2.0, 2.0], {"origin_segment_requests": 28})
    assert figures["hit_percent_round_1"] == 70.0 and figures["ceiling_percent_round_1"] == 80.0
    assert figures["hit_percent_last_round"] == figures["hit_percent_round_2"] == 99.0
    assert figures["hit_percent"] == 91.75 and figures["ceiling_percent"] == 94.25
    waited = [figures[f"waited{part}_percent"] for part in ("", "_own", "_joined")]
    assert waited == [8.25, 7.0, 1.25]
    assert (figures["start_hit_percent_round_1"], figures["start_hit_percent"]) == (20.0, 55.0)
    assert (figures["not_from_origin_percent_round_1"], figures["not_from_origin_percent"]) == (75.0, 93.0)
    assert (figures["failed"], figures["requests_sent"], figures["requests_per_s"]) == (1, 40, 10.0)
    assert figures["origin_segment_requests"] == 28


def test_what_was_fetched_and_never_asked_for_is_told_and_so_is_what_was_fetched_twice() -> None:
    stub = StubOrigin()
    for path, count in (("low/0.m4s", 1), ("low/1.m4s", 3), ("low/2.m4s", 1), ("low/init.mp4", 2)):
        stub.paths[path] = count
        stub.asked["segment" if path.endswith(".m4s") else "init"] += count
    assert counts_of(["master.m3u8", "low/init.mp4", "low/0.m4s", "low/1.m4s"], stub) == {
        "origin_init_requests": 2,
        "origin_segment_requests": 5,
        "segments_asked_for": 2,
        "segments_fetched_twice": 2,
        "ahead_unused_percent": 20.0,
    }
